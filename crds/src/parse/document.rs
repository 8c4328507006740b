//! Reading documents into plain values, within bounds.
//!
//! JSON and YAML go through the same visitor, which counts values and text as they come (aliases are expanded by the reader, so each use counts), knows
//! how deep it is, and notes fields that are written twice. What the YAML reader does before it hands out the first value is bounded by a look at
//! the text alone.

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, json};

use super::{MAX_BYTES, MAX_DOCUMENTS, ParseError};
use crate::violation::{Violation, ViolationKind as Kind};

/// Deepest nesting in a document. The resource itself needs 9, an affinity some more.
const MAX_DEPTH: usize = 48;

/// Most opening brackets and braces of a YAML document, not counting lines that plainly close what they open, times its bytes: well above the 512
/// columns that a table can have, each in brackets and quotes. A file of JSON has no such bound. A reader in a debug build needs some seconds for it.
const MAX_BRACKET_BYTES: usize = 1 << 27;

/// Most values in a document after aliases are expanded. The largest good manifest has some thousand.
const MAX_VALUES: usize = 100_000;

/// Most bytes of text in a document after aliases are expanded.
const MAX_TEXT_BYTES: usize = 4 << 20;

/// A document: its number from 1, its value, and the fields that it writes twice.
pub(super) type Document = (usize, Value, Vec<Violation>);

/// Returns the documents that are not empty.
pub(super) fn documents(manifest: &[u8]) -> Result<Vec<Document>, ParseError> {
    if manifest.len() > MAX_BYTES {
        return Err(ParseError::TooLarge);
    }
    let text = std::str::from_utf8(manifest).map_err(|error| ParseError::NotText {
        offset: error.valid_up_to(),
    })?;
    // What editors of some systems write before the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
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
            problem: match is_indented_with_tabs(text, &error) {
                true => format!("{error}: indent with spaces, not with tabs"),
                false => error.to_string(),
            },
        })?;
        if !value.is_null() {
            documents.push((index + 1, value, budget.into_inner().duplicates));
        }
    }
    Ok(documents)
}

/// Whether the line of `text` that an error names begins with blanks of which one is a tab.
fn is_indented_with_tabs(text: &str, error: &serde_yaml::Error) -> bool {
    let line = error
        .location()
        .and_then(|at| text.lines().nth(at.line().checked_sub(1)?));
    line.is_some_and(|line| {
        let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
        line[..blanks].contains('\t')
    })
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
/// they open; on all others every opening bracket counts. A line that begins with `---` and a blank is a new document wherever it stands (YAML 1.2, 9.1.2).
fn check_brackets(text: &str) -> Result<(), ParseError> {
    let (mut brackets, mut bytes) = (0_usize, 0_usize);
    for line in text.split_inclusive('\n') {
        if line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim_ascii_start().len() < rest.len() || rest.is_empty())
        {
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
