//! Folders of claims, as they are mounted into a pod.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use vdt_crds::{FileSource, SourceType};
use vdt_store::source::{Source, SourceEnv, SourceError};

use super::{keys, list, spec};

fn claim(claims: Option<&Path>, name: &str, path: Option<&str>) -> Result<Source, SourceError> {
    let file = FileSource {
        claim_name: Some(name.to_owned()),
        path: path.map(str::to_owned),
    };
    let mut spec = spec("papers", SourceType::File);
    spec.file = Some(file);
    let env = SourceEnv {
        claims_dir: claims.map(Path::to_owned),
        namespace: "docs".to_owned(),
        ..SourceEnv::default()
    };
    Source::open(&spec, &env)
}

fn write(path: impl AsRef<Path>, content: &str) {
    std::fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_claim_is_read_whole_or_below_a_path_and_nothing_outside_of_it() {
    let claims = tempfile::tempdir().unwrap();
    write(claims.path().join("papers/2026/a.pdf"), "a");
    write(claims.path().join("papers/b.pdf"), "b");
    write(claims.path().join("other/secret"), "s");
    let papers = claims.path().join("papers");
    symlink("../../other/secret", papers.join("2026/out")).unwrap();
    symlink("a.pdf", papers.join("2026/in")).unwrap();
    symlink("/etc", papers.join("etc")).unwrap();
    symlink("2026", papers.join("newest")).unwrap();

    let whole = claim(Some(claims.path()), "papers", None).unwrap();
    let listing = list(&whole).await;
    assert_eq!(
        keys(&listing),
        [
            "2026/a.pdf",
            "2026/in",
            "b.pdf",
            "newest/a.pdf",
            "newest/in"
        ]
    );
    assert_eq!(&*whole.context().url_prefix, "pvc://docs/papers/");

    let year = claim(Some(claims.path()), "papers", Some("newest")).unwrap();
    assert_eq!(keys(&list(&year).await), ["a.pdf", "in"]);
    assert_eq!(&*year.context().url_prefix, "pvc://docs/papers/newest/");
    assert!(year.store().get(&Key::from("out")).await.is_err());
    assert_ne!(year.id(), whole.id());

    let out = claim(Some(claims.path()), "papers", Some("etc")).unwrap_err();
    assert_eq!(out.reason(), "SourceInvalid");
    assert!(out.to_string().contains("leads out of the claim"), "{out}");
    let parents = claim(Some(claims.path()), "papers", Some("../other")).unwrap_err();
    assert_eq!(parents.reason(), "SourceInvalid", "{parents}");
}

#[tokio::test]
async fn a_link_that_is_switched_to_a_folder_outside_of_the_claim_shows_nothing_of_it() {
    let claims = tempfile::tempdir().unwrap();
    write(claims.path().join("papers/2026/a"), "inside");
    write(claims.path().join("other/a"), "outside");
    let newest = claims.path().join("papers/newest");
    symlink("2026", &newest).unwrap();
    let source = claim(Some(claims.path()), "papers", Some("newest")).unwrap();
    assert_eq!(keys(&list(&source).await), ["a"]);
    for outside in [PathBuf::from("../other"), claims.path().join("other")] {
        std::fs::remove_file(&newest).unwrap();
        symlink(outside, &newest).unwrap();
        let error = source.list(&|_, _| {}).await.unwrap_err();
        assert_eq!(error.reason(), "SourceInvalid");
        assert!(
            error.to_string().contains("leads out of the claim"),
            "{error}"
        );
        assert!(source.store().get(&Key::from("a")).await.is_err());
    }
}

/// Pods share a state, so what they write into it does not depend on where each of them has the claim.
#[test]
fn a_claim_is_the_same_wherever_it_is_mounted() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for claims in [&one, &other] {
        write(claims.path().join("papers/2026/a.pdf"), "a");
    }
    let open =
        |claims: &tempfile::TempDir| claim(Some(claims.path()), "papers", Some("2026")).unwrap();
    assert_eq!(open(&one).id(), open(&other).id());
    assert_eq!(open(&one).fingerprint(), open(&other).fingerprint());
}

#[tokio::test]
async fn a_link_in_a_claim_leads_to_the_same_wherever_that_is_mounted() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path().join("papers/2026/a"), "a");
    std::fs::create_dir(other.path().join("papers")).unwrap();
    std::fs::create_dir(other.path().join("papers/2026")).unwrap();
    let [there, here] = [&other, &one].map(|claims| claims.path().join("papers/2026/a"));
    std::fs::hard_link(here, there).unwrap();
    let mut listings = Vec::new();
    for claims in [&one, &other] {
        symlink("2026", claims.path().join("papers/newest")).unwrap();
        let source = claim(Some(claims.path()), "papers", Some("newest")).unwrap();
        listings.push(list(&source).await.entries);
    }
    assert_eq!(listings[0], listings[1]);
}

#[test]
fn what_is_wrong_with_a_claim_is_told_with_a_remedy() {
    let claims = tempfile::tempdir().unwrap();
    let no_claims = claim(None, "papers", Some("2026")).unwrap_err().to_string();
    assert!(
        no_claims.contains("file.claimName \"papers\"") && no_claims.contains("--claims-dir DIR"),
        "{no_claims}"
    );
    let absent = claim(Some(claims.path()), "papers", None).unwrap_err();
    assert_eq!(absent.reason(), "SourceNotFound");
    assert!(absent.to_string().contains("claim papers"), "{absent}");
    for name in ["../x", "a/b", "..", ""] {
        let error = claim(Some(claims.path()), name, None).unwrap_err();
        assert_eq!(error.reason(), "SourceInvalid", "{name:?}");
    }
}
