//! Why something was not applied.

/// Something was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The API server refused it, or did not answer.
    #[error("{verb} of {kind} {name} failed")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The object is on its way out; it is made anew once it is gone.
    #[error("{kind} {name} is being deleted")]
    Terminating {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// A child could not be read as an object, which the tests rule out.
    #[error("{kind} {name} is no object")]
    NoObject {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl ApplyError {
    pub(super) fn api(
        verb: &'static str,
        kind: &'static str,
        name: &str,
    ) -> impl FnOnce(kube::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::Api {
            verb,
            kind,
            name,
            source: Box::new(source),
        }
    }
}
