use std::{fs, path::Path};

use super::*;

#[test]
fn the_documentation_has_every_reason_once() {
    let doc = include_str!("../../../docs/kubernetes/troubleshooting.md");
    let table: Vec<&str> = doc.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = ADVICE
        .iter()
        .map(|one| format!("| `{}` | {} | {} |", one.reason, one.means, one.next))
        .collect();
    assert_eq!(
        table,
        expected,
        "write the table anew:\n{}",
        expected.join("\n")
    );
}

#[test]
fn names_are_filled_in() {
    let next = next("Paused", "docs", "manuals").unwrap();
    assert_eq!(
        next,
        "kubectl -n docs annotate vt/manuals vdt.io/paused- resumes it"
    );
}

/// Words in CamelCase between quotes.
fn literals(text: &str) -> Vec<&str> {
    let is_reason = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(|one| one.is_ascii_alphanumeric())
            && word.chars().any(|one| one.is_ascii_lowercase())
    };
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(is_reason).collect()
}

/// The part of a source text that begins with `from` and ends before `to`.
fn part<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let begin = text.split_once(from).map(|(_, rest)| rest);
    let part = begin
        .and_then(|rest| rest.split_once(to))
        .map(|(part, _)| part);
    part.unwrap_or_else(|| {
        panic!("{from:?} is not there: name the place where the reasons stand now")
    })
}

/// Every reason that a crate may say which this one must not depend on, from where it stands in the source text.
fn reasons_of_others() -> Vec<&'static str> {
    let store = include_str!("../../../vdt/store/src/error.rs");
    let source = include_str!("../../../vdt/store/src/source/error.rs");
    let report = include_str!("../../../vdt/store/src/refresh/report.rs");
    let server = include_str!("../../../vdt/server/src/serve/pod.rs");
    let tiers = include_str!("../../../sidecar/src/tiers/stats.rs");
    let references = include_str!("../../../operator/src/dereference.rs");
    let parts = [
        part(store, "fn reason(&self)", "\n    }\n"),
        part(store, "const OTHER_OWNER", ";"),
        part(source, "fn reason(&self)", "\n    }\n"),
        part(report, "const LISTED", "///"),
        part(server, "let reason = match", "};"),
        part(tiers, "pub mod reason {", "\n}\n"),
    ];
    let mut all = Vec::new();
    for text in parts {
        let found = literals(text);
        assert!(!found.is_empty(), "no reasons in {text}");
        all.extend(found);
    }
    // Kinds of objects stand beside them.
    let missing = literals(part(references, "fn problem(&self)", "};"));
    all.extend(missing.into_iter().filter(|one| one.ends_with("NotFound")));
    all
}

/// Every constant of the operator whose documentation says that it is a reason, whatever file it stands in.
fn reasons_of_the_operator(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(reasons_of_the_operator(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named = text.split("\n/// Reason: ").skip(1);
            all.extend(named.map(|rest| literals(rest)[0].to_owned()));
        }
    }
    all
}

#[test]
fn reasons_of_every_part_have_advice_or_are_fine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/src");
    let mut all = reasons_of_the_operator(&folder);
    all.extend(reasons_of_others().into_iter().map(str::to_owned));
    for known in [
        "StateLocked",
        "OtherOwner",
        "TlsFailed",
        "Shrunk",
        "StateFailed",
        "CacheSmaller",
        "ClaimDiffers",
        "SecretNotFound",
        "WouldDropCache",
        "NameTaken",
        "OperatorsOverlap",
        "DefinitionMissing",
        "Paused",
        "PodFailed",
    ] {
        let is_found = all.iter().any(|reason| reason == known);
        assert!(is_found, "{known} was not found in the sources");
    }
    for reason in all {
        let is_fine = ["CacheReady", "Listed"].contains(&reason.as_str());
        assert!(is_fine || next(&reason, "", "").is_some(), "{reason}");
    }
}

#[test]
fn reasons_of_the_resource_have_advice_or_are_fine() {
    use vdt_crds::status::reason;
    let fine = [
        reason::READY,
        reason::SERVING,
        reason::LISTED,
        reason::ACCEPTED,
        reason::CACHE_READY,
    ];
    for reason in [
        reason::PENDING,
        reason::LISTING,
        reason::SOURCE_FAILED,
        reason::SOURCE_SHRUNK,
        reason::INVALID_SPEC,
        reason::UNSUPPORTED,
        reason::STATE_UNAVAILABLE,
        reason::CACHE_DEGRADED,
        reason::SUSPENDED,
    ] {
        assert!(next(reason, "", "").is_some(), "{reason}");
        assert!(!fine.contains(&reason));
    }
}
