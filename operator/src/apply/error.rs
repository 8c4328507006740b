//! Why something was not applied.

use vdt_crds::status::reason;

use crate::validate::{Refusal, shorten};

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

/// How an API server begins to say that an apply has a field that its kind does not: with a code of its own failures.
const NO_SUCH_FIELD: &str = "failed to create typed patch object";
/// What webhooks and policies of admission say. They change without the resource, so it is tried again.
const DENIED: [&str; 2] = [" denied the request", " denied request"];

/// Says whether admission refuses something.
pub(super) fn is_denied(said: &str) -> bool {
    DENIED.iter().any(|denied| said.contains(denied))
}

impl ApplyError {
    /// Says why an object is not taken as it is asked for, where the answer will be the same until somebody asks for something else.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let Self::Api {
            verb: "apply",
            kind,
            name,
            source,
        } = self
        else {
            return None;
        };
        let kube::Error::Api(status) = &**source else {
            return None;
        };
        let said = &status.message;
        let is_invalid = [400, 422].contains(&status.code) || said.contains(NO_SUCH_FIELD);
        (is_invalid && !is_denied(said)).then(|| Refusal {
            reason: reason::INVALID_SPEC,
            message: shorten(&format!(
                "spec.server: the API server does not take {kind} {name} as it follows from it: {said}"
            )),
        })
    }

    pub(crate) fn api(
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
