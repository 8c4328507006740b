//! Why changes of a table are stopped: by an annotation, for emergencies, or by its spec.

use kube::api::ObjectMeta;
use vdt_crds::status::reason;

use crate::names;

/// Reason: `vdt.io/paused` is set.
const PAUSED: &str = "Paused";

/// Why changes are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// [`names::PAUSED`] is `true`: nothing but status is written.
    Paused,
    /// `spec.suspend` is set: the pods are told of it, and of nothing else.
    Suspended,
}

impl Held {
    /// Returns why changes of a table are stopped, if they are. A pause goes before what the spec asks for.
    pub(crate) fn of(metadata: &ObjectMeta, is_suspended: bool) -> Option<Self> {
        let annotations = metadata.annotations.as_ref();
        match annotations.and_then(|all| all.get(names::PAUSED)) {
            Some(paused) if paused == "true" => Some(Self::Paused),
            _ => is_suspended.then_some(Self::Suspended),
        }
    }

    /// Reason of conditions.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Paused => PAUSED,
            Self::Suspended => reason::SUSPENDED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_goes_before_a_suspend_and_is_true_or_none() {
        let of = |paused: Option<&str>, is_suspended| {
            let paused = paused.map(|text| (names::PAUSED.to_owned(), text.to_owned()));
            let metadata = ObjectMeta {
                annotations: Some(paused.into_iter().collect()),
                ..ObjectMeta::default()
            };
            Held::of(&metadata, is_suspended)
        };
        for is_suspended in [true, false] {
            assert_eq!(of(Some("true"), is_suspended), Some(Held::Paused));
            for none in [None, Some("false"), Some("")] {
                let expected = is_suspended.then_some(Held::Suspended);
                assert_eq!(of(none, is_suspended), expected);
            }
        }
    }
}
