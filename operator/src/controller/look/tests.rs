//! What a look is judged by, without a cluster.

use super::*;

#[test]
fn what_is_older_than_what_was_applied_is_known_by_its_generation() {
    let applied = |generations: &str| {
        let text = format!(
            r#"{{"inputs": "", "generations": {generations}, "operator": "", "template": {{}}, "claims": []}}"#
        );
        serde_json::from_str::<Rendered>(&text).unwrap()
    };
    for (generations, known, expected) in [
        ("[6]", Some(5), true),
        ("[6]", Some(6), false),
        ("[6]", Some(7), false),
        ("[]", Some(5), false),
        ("[6]", None, false),
    ] {
        let applied = applied(generations);
        assert_eq!(is_newer(Some(&applied), known), expected);
    }
    assert!(!is_newer(None, Some(5)));
}

#[test]
fn what_was_neither_acted_upon_nor_refused_is_not_observed() {
    let refusal = || {
        Some(Refusal {
            reason: reason::INVALID_SPEC,
            message: String::new(),
        })
    };
    for (held, refusal, failure, is_complete) in [
        (None, None, None, true),
        (None, refusal(), None, true),
        (None, None, Some(LookError::Slow), false),
        (Some(Held::Suspended), None, None, true),
        (Some(Held::Suspended), None, Some(LookError::Slow), false),
        (Some(Held::Paused), None, None, false),
        (Some(Held::Paused), refusal(), None, true),
    ] {
        let acted = Acted {
            refusal,
            failure,
            ..Acted::default()
        };
        assert_eq!(acted.is_complete(held), is_complete, "{held:?}");
    }
    let mut acted = Acted::default();
    acted.wait_for(&[("Service", "manuals".to_owned())]);
    assert!(!acted.is_complete(None));
    assert_eq!(
        acted.waiting.as_deref(),
        Some("Service manuals is being deleted")
    );
}
