//! What is wrong with access or TLS, said so that it can be put right.

use std::fmt;

use serde::Serialize;
use vdt_crds::VirtualTable;
use vdt_dialect::access::KeyRingError;

/// One thing that is wrong, at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `<namespace>/<name>` of the manifest; none when several are at fault together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The field of the manifest, for example `spec.server.tls.secretRef.name`.
    pub field: String,
    /// What is written there. Never a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why that does not do.
    pub message: String,
    /// What to do instead, where the message does not say so already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Whether the file is there and was not to be read: the same file may be read a moment later.
    #[serde(skip)]
    pub(super) may_pass: bool,
    /// It is no fault: the process takes it when it is started again.
    #[serde(skip)]
    pub needs_restart: bool,
}

impl Problem {
    pub(super) fn new(
        table: &VirtualTable,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::of(&table.owner(), field, message, remedy)
    }

    /// The same of the manifest of `owner`, `<namespace>/<name>`.
    pub(super) fn of(
        owner: &str,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            manifest: Some(owner.to_owned()),
            field: field.into(),
            value: None,
            message: message.into(),
            remedy: Some(remedy.into()),
            may_pass: false,
            needs_restart: false,
        }
    }

    /// A section that a running process cannot take.
    pub(crate) fn fixed(table: &VirtualTable, field: &str) -> Self {
        Self {
            needs_restart: true,
            ..Self::new(
                table,
                field,
                "changes with the process alone",
                "start the process again, which an operator does pod by pod",
            )
        }
    }

    #[must_use]
    pub(super) fn with_value(mut self, value: &str) -> Self {
        self.value = Some(value.to_owned());
        self
    }

    /// Principals that cannot be told apart.
    pub(super) fn of_keys(error: &KeyRingError) -> Self {
        Self {
            manifest: None,
            field: "spec.server.access.principals".to_owned(),
            value: None,
            message: error.to_string(),
            remedy: None,
            may_pass: false,
            needs_restart: false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(manifest) = &self.manifest {
            write!(f, "{manifest}: ")?;
        }
        write!(f, "{}: {}", self.field, self.message)?;
        if let Some(value) = &self.value {
            write!(f, ", is {value:?}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}
