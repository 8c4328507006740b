//! Strict reading of manifests.
//!
//! A manifest is YAML (so JSON too), one or more documents. What is read is exactly what is written: unknown fields, fields written twice and values of
//! the wrong type are refused, all of them at once, with the field's path and the nearest name. Nulls are absent fields, as for the API server.
//!
//! Input is hostile until proven otherwise. The file, the number of documents, nesting, and what aliases expand to are all bounded, and nothing panics.

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};

use crate::{
    crd::{METADATA, SCHEMA},
    schema,
    spec::VirtualTable,
    validate::{Profile, validate},
    violation::{Violation, ViolationKind as Kind},
};

/// Largest manifest file, in bytes. The API server's own limit is of this order.
pub const MAX_BYTES: usize = 1 << 20;
/// Most documents in a file.
pub const MAX_DOCUMENTS: usize = 64;
/// Deepest nesting in a document. The resource itself needs 9, an affinity some more.
pub const MAX_DEPTH: usize = 48;
/// Most opening brackets and braces of a YAML document, not counting lines that plainly close what they open, times its bytes: well above the 512
/// columns that a table can have, each in brackets and quotes. A file of JSON has no such bound. A reader in a debug build needs some seconds for it.
const MAX_BRACKET_BYTES: usize = 1 << 27;
/// Most values in a document after aliases are expanded. The largest good manifest has some thousand.
pub const MAX_VALUES: usize = 100_000;
/// Most bytes of text in a document after aliases are expanded.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

const API_VERSION: &str = "vdt.io/v1alpha1";
const KIND: &str = "VirtualTable";

/// A manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is larger than any manifest needs to be.
    #[error(
        "the manifest has {bytes} bytes, at most {MAX_BYTES} are read: is it a manifest at all?"
    )]
    TooLarge {
        /// Bytes of the file.
        bytes: usize,
    },
    /// It is no text.
    #[error("the manifest is not UTF-8 text: the first bad byte is at offset {offset}")]
    NotText {
        /// Offset of the first byte that is not UTF-8, in bytes.
        offset: usize,
    },
    /// It holds nothing.
    #[error(
        "the manifest holds no document: write apiVersion {API_VERSION}, kind {KIND}, metadata and spec"
    )]
    Empty,
    /// It holds too many documents.
    #[error("the manifest holds more than {MAX_DOCUMENTS} documents: split it")]
    TooManyDocuments,
    /// It may nest brackets deeper than the YAML reader can stand.
    #[error(
        "a document of the manifest opens {brackets} brackets and braces, too many for its size: write lists as lines that begin with -, or the file as JSON"
    )]
    TooManyBrackets {
        /// Brackets and braces on lines that do not plainly close them.
        brackets: usize,
    },
    /// It is not YAML, or goes beyond a bound. The text says where.
    #[error("document {document} cannot be read: {problem}")]
    Syntax {
        /// Number of the document, from 1.
        document: usize,
        /// What is wrong, with line and column where they are known.
        problem: String,
    },
    /// Documents are YAML, but not good `VirtualTable`s.
    #[error("{}", listed(.0))]
    Invalid(Vec<InvalidDocument>),
}

/// A document that is no good `VirtualTable`, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDocument {
    /// Number of the document, from 1.
    pub document: usize,
    /// The resource's name, if it has one.
    pub name: Option<String>,
    /// What is wrong, never empty.
    pub violations: Vec<Violation>,
}

/// Reads the documents of a manifest. Their shape is right then; whether they keep the rules is for [`validate`] to say, or [`read`] in one step.
///
/// # Errors
/// The text is not YAML, or a document is not shaped like the resource. All documents are looked at, and all their violations returned.
pub fn parse(manifest: &[u8]) -> Result<Vec<VirtualTable>, ParseError> {
    collect(manifest, None)
}

/// Reads the documents of a manifest and checks every rule of `profile`.
///
/// # Errors
/// As [`parse`], and if a document breaks a rule.
pub fn read(manifest: &[u8], profile: Profile) -> Result<Vec<VirtualTable>, ParseError> {
    collect(manifest, Some(profile))
}

fn collect(manifest: &[u8], profile: Option<Profile>) -> Result<Vec<VirtualTable>, ParseError> {
    let (mut tables, mut invalid) = (Vec::new(), Vec::new());
    for (document, value, duplicates) in documents(manifest)? {
        let name = value["metadata"]["name"].as_str().map(str::to_owned);
        match read_document(value, duplicates, profile) {
            Ok(table) => tables.push(table),
            Err(violations) => invalid.push(InvalidDocument {
                document,
                name,
                violations,
            }),
        }
    }
    if !invalid.is_empty() {
        return Err(ParseError::Invalid(invalid));
    }
    if tables.is_empty() {
        return Err(ParseError::Empty);
    }
    Ok(tables)
}

fn read_document(
    mut value: Value,
    mut found: Vec<Violation>,
    profile: Option<Profile>,
) -> Result<VirtualTable, Vec<Violation>> {
    if !value.is_object() {
        let violation =
            Violation::new(Kind::WrongType, "the document", "must be an object").with_value(&value);
        return Err(vec![
            violation.with_remedy(format!("begin it with apiVersion: {API_VERSION}")),
        ]);
    }
    schema::drop_nulls(&mut value);
    let strangers = check_type(&value);
    if !strangers.is_empty() {
        // Nothing else can be said of a resource of another kind.
        return Err(strangers);
    }
    found.extend(schema::check("", &value, &SCHEMA));
    found.extend(schema::check("metadata", &value["metadata"], &METADATA));
    let table = match serde_json::from_value::<VirtualTable>(value) {
        Ok(table) => table,
        Err(error) if found.is_empty() => {
            return Err(vec![Violation::new(
                Kind::WrongType,
                "the document",
                format!("cannot be read: {error}"),
            )]);
        }
        Err(_) => return Err(found),
    };
    match profile {
        Some(profile) => {
            // Bounds were found in the document already; rules across fields are only known now.
            let rules = validate(&table, profile);
            found.extend(
                rules
                    .into_iter()
                    .filter(|rule| {
                        !found
                            .iter()
                            .any(|known| known.path == rule.path && known.message == rule.message)
                    })
                    .collect::<Vec<_>>(),
            );
        }
        None => found.retain(Violation::is_structural),
    }
    if found.is_empty() {
        Ok(table)
    } else {
        Err(found)
    }
}

/// Refuses resources of another kind or version.
fn check_type(value: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match value.get(field) {
            None => found.push(
                Violation::new(Kind::Missing, field, "Required value")
                    .with_remedy(format!("write {field}: {wanted}")),
            ),
            Some(Value::String(text)) if text == wanted => {}
            Some(other) => {
                let violation =
                    Violation::new(Kind::UnsupportedValue, field, format!("must be {wanted}"))
                        .with_value(other);
                found.push(match field {
                    "kind" => {
                        violation.with_remedy("keep resources of other kinds in files of their own")
                    }
                    _ => violation,
                });
            }
        }
    }
    found
}

/// A document: its number from 1, its value, and the fields that it writes twice.
type Document = (usize, Value, Vec<Violation>);

/// Returns the documents that are not empty.
fn documents(manifest: &[u8]) -> Result<Vec<Document>, ParseError> {
    if manifest.len() > MAX_BYTES {
        return Err(ParseError::TooLarge {
            bytes: manifest.len(),
        });
    }
    let text = std::str::from_utf8(manifest).map_err(|error| ParseError::NotText {
        offset: error.valid_up_to(),
    })?;
    if let Some(document) = json_document(text) {
        return Ok(vec![document]);
    }
    check_brackets(text)?;
    let mut documents = Vec::new();
    for (index, yaml) in serde_yaml::Deserializer::from_str(text).enumerate() {
        if index >= MAX_DOCUMENTS {
            return Err(ParseError::TooManyDocuments);
        }
        let budget = RefCell::new(Budget::default());
        let node = Node {
            budget: &budget,
            path: String::new(),
            depth: 0,
        };
        let value = node.deserialize(yaml).map_err(|error| ParseError::Syntax {
            document: index + 1,
            problem: error.to_string(),
        })?;
        if !value.is_null() {
            documents.push((index + 1, value, budget.into_inner().duplicates));
        }
    }
    Ok(documents)
}

/// Reads a file that is one JSON object. Anything else is left to the YAML reader, and so are its errors.
fn json_document(text: &str) -> Option<Document> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let budget = RefCell::new(Budget::default());
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Node {
        budget: &budget,
        path: String::new(),
        depth: 0,
    }
    .deserialize(&mut json)
    .ok()?;
    json.end().ok()?;
    Some((1, value, budget.into_inner().duplicates))
}

/// Refuses a document whose brackets could nest so deep that the YAML reader, whose time grows with depth times length, would not come back.
///
/// Quotes and comments can hide brackets, and telling where they begin takes a YAML reader. So only lines without either are trusted to close what
/// they open; on all others every opening bracket counts. A line that begins with `---` is a new document wherever it stands (YAML 1.2, 9.1.2).
fn check_brackets(text: &str) -> Result<(), ParseError> {
    let (mut brackets, mut bytes) = (0_usize, 0_usize);
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            (brackets, bytes) = (0, 0);
        }
        let (mut opening, mut open, mut deepest) = (0_usize, 0_isize, 0_isize);
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => (opening, open) = (opening + 1, open + 1),
                b']' | b'}' => open -= 1,
                _ => {}
            }
            deepest = deepest.max(open);
        }
        bytes += line.len();
        let closes_itself = open == 0 && !line.contains(['\'', '"', '#']);
        let most = brackets
            + if closes_itself {
                deepest.unsigned_abs()
            } else {
                opening
            };
        if most * bytes > MAX_BRACKET_BYTES {
            return Err(ParseError::TooManyBrackets { brackets: most });
        }
        brackets += if closes_itself { 0 } else { opening };
    }
    Ok(())
}

/// What a document has used up, and which fields it writes twice.
#[derive(Default)]
struct Budget {
    values: usize,
    text_bytes: usize,
    duplicates: Vec<Violation>,
}

impl Budget {
    /// Accounts for one value. Aliases are expanded by the reader, so each use of one counts again.
    fn spend<E: Error>(&mut self, text_bytes: usize) -> Result<(), E> {
        self.values += 1;
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        if self.values > MAX_VALUES || self.text_bytes > MAX_TEXT_BYTES {
            return Err(E::custom(format!(
                "more than {MAX_VALUES} values or {MAX_TEXT_BYTES} bytes of text once aliases are expanded"
            )));
        }
        Ok(())
    }
}

/// Reads one value of a document.
struct Node<'a> {
    budget: &'a RefCell<Budget>,
    path: String,
    depth: usize,
}

impl Node<'_> {
    fn spend<E: Error>(&self, text_bytes: usize) -> Result<(), E> {
        self.budget.borrow_mut().spend(text_bytes)
    }

    fn below<E: Error>(&self, path: String) -> Result<Node<'_>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format!(
                "it is nested deeper than {MAX_DEPTH} levels at {}",
                self.path
            )));
        }
        Ok(Node {
            budget: self.budget,
            path,
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value, list or object")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    /// The resource has no such numbers: they are kept to be shown where they are refused.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(json!(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.spend(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(self.below(format!("{}[{}]", self.path, list.len()))?)?
        {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut object = Map::new();
        while let Some(Key(name)) = fields.next_key()? {
            self.spend(name.len())?;
            let path = if self.path.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", self.path)
            };
            let value = fields.next_value_seed(self.below(path.clone())?)?;
            if object.insert(name, value).is_some() {
                let twice = Violation::new(
                    Kind::DuplicateField,
                    path,
                    "is written twice in the same object",
                )
                .with_remedy("keep one");
                self.budget.borrow_mut().duplicates.push(twice);
            }
        }
        Ok(object.into())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom(format!(
            "it uses a YAML tag at {}, which no manifest needs",
            self.path
        )))
    }
}

/// The name of a field. YAML allows numbers and truth values there too; they are taken as they would be written in JSON.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Key, E> {
        Ok(Key(value.to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Key, E> {
        Ok(Key(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Key, E> {
        Ok(Key(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Key, E> {
        Ok(Key(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Key, E> {
        Ok(Key(value.to_string()))
    }
}

/// Returns one line for each violation, under a heading where there are several documents.
fn listed(invalid: &[InvalidDocument]) -> String {
    let mut lines = Vec::new();
    for InvalidDocument {
        document,
        name,
        violations,
    } in invalid
    {
        let name = name
            .as_deref()
            .map(|name| format!(" ({name})"))
            .unwrap_or_default();
        lines.extend(
            violations
                .iter()
                .map(|violation| format!("document {document}{name}: {violation}")),
        );
    }
    lines.join("\n")
}
