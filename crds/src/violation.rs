//! What is wrong with a manifest, said so that it can be put right: where, what is written there, why it is refused, what to do.

use std::{borrow::Cow, fmt};

use serde::Serialize;
use serde_json::Value;

use crate::shorten;

/// Longest value that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// Kinds of violations, for callers that treat them differently.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ViolationKind {
    /// The resource has no such field.
    UnknownField,
    /// A field is written twice in one object.
    DuplicateField,
    /// A required field is absent.
    Missing,
    /// A value has the wrong type.
    WrongType,
    /// A value is none of those that are supported.
    UnsupportedValue,
    /// A length, number or text lies outside its bounds.
    OutOfBounds,
    /// Two items of a list have the same key.
    DuplicateItem,
    /// A rule across fields is broken.
    Rule,
    /// The resource allows it, this version does not build it yet.
    NotBuilt,
}

/// One thing that is wrong, at one place.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What kind it is.
    pub kind: ViolationKind,
    /// The field, for example `spec.sources[0].s3.bucket`.
    pub path: String,
    /// What is written there, as JSON, shortened. None where nothing is, or where it may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why it is refused. The same sentence as the API server's where that has one.
    pub message: Cow<'static, str>,
    /// What to do instead, where the message does not say so already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Violation {
    /// Makes a violation without value and remedy.
    pub(crate) fn new(
        kind: ViolationKind,
        path: impl Into<String>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            path: path.into(),
            value: None,
            message: message.into(),
            remedy: None,
        }
    }

    /// Adds what is written there.
    #[must_use]
    pub(crate) fn with_value(mut self, value: &Value) -> Self {
        self.value = Some(shown(value));
        self
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Says whether the manifest's shape is wrong, so that it cannot be read as the resource at all.
    pub(crate) fn is_structural(&self) -> bool {
        match self.kind {
            ViolationKind::UnknownField
            | ViolationKind::DuplicateField
            | ViolationKind::Missing
            | ViolationKind::WrongType
            | ViolationKind::UnsupportedValue => true,
            ViolationKind::OutOfBounds
            | ViolationKind::DuplicateItem
            | ViolationKind::Rule
            | ViolationKind::NotBuilt => false,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if let Some(value) = &self.value {
            write!(f, ", is {value}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// Returns a value as JSON in one line of bounded length.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Array(items) => return format!("a list of {}", items.len()),
        Value::Object(fields) => return format!("an object of {}", fields.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    };
    shorten(&text, MAX_SHOWN_CHARS)
}
