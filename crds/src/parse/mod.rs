//! Strict reading of manifests.
//!
//! A manifest is YAML (so JSON too), one or more documents. What is read is exactly what is written: unknown fields, fields written twice and values of
//! the wrong type are refused, all of them at once, with the field's path and the nearest name. Nulls are absent fields, as for the API server.
//!
//! Input is hostile until proven otherwise. The file, the number of documents, nesting, and what aliases expand to are all bounded, and nothing panics.

mod document;

use serde_json::Value;

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

/// `apiVersion` of the resource.
pub const API_VERSION: &str = "vdt.io/v1alpha1";
/// `kind` of the resource.
pub const KIND: &str = "VirtualTable";

/// A manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is larger than any manifest needs to be.
    #[error(
        "the manifest has more than {MAX_BYTES} bytes, which is the most that is read: is it a manifest at all?"
    )]
    TooLarge,
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

impl ParseError {
    /// Everything that is wrong, a line each, which begins with the place that the manifest comes from.
    #[must_use]
    pub fn lines(&self, place: &str) -> Vec<String> {
        match self {
            Self::Invalid(documents) => documents
                .iter()
                .flat_map(|document| &document.violations)
                .map(|violation| format!("{place}: {violation}"))
                .collect(),
            other => vec![format!("{place}: {other}")],
        }
    }
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
    for (document, value, duplicates) in document::documents(manifest)? {
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
