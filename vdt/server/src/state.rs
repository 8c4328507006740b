//! The state store that the command line names: where it lies, and what is said when it cannot be opened.

use std::{
    env,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use vdt_crds::VirtualTable;
use vdt_sidecar::exit::BadInput;
use vdt_store::{OpenMode, StateStore, StoreError, source::without_parents};

/// Opens the state that `--state` names.
///
/// # Errors
/// A URL of no bucket, and those of [`StateStore::open`].
pub(crate) async fn open(state: &str, mode: OpenMode) -> anyhow::Result<StateStore> {
    check(state)?;
    let opened = StateStore::open(state, mode).await;
    opened.map_err(|error| located(error, state))
}

/// Opens the state in `folder`.
///
/// # Errors
/// Those of [`StateStore::open_directory`].
pub(crate) async fn open_folder(folder: &Path, mode: OpenMode) -> anyhow::Result<StateStore> {
    let opened = StateStore::open_directory(folder, mode).await;
    opened.map_err(|error| located(error, &folder.display().to_string()))
}

/// An error of an object says which, and not where.
fn located(error: StoreError, state: &str) -> anyhow::Error {
    let is_of_object = matches!(error, StoreError::Json { .. });
    let error = anyhow::Error::new(error);
    match is_of_object {
        true => error.context(format!("state {state}")),
        false => error,
    }
}

fn check(state: &str) -> Result<(), BadInput> {
    if !state.starts_with("s3://") {
        return Ok(());
    }
    match VirtualTable::for_s3_url(state) {
        Ok(_) => Ok(()),
        Err(error) => Err(BadInput::new(format!("--state {error}"))),
    }
}

/// The state directory for these tables when none is given: below `$XDG_STATE_HOME/vdt`, named after what is served.
///
/// # Errors
/// When neither `XDG_STATE_HOME` nor `HOME` is set.
pub(crate) fn default_folder(
    given: &[String],
    manifests: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let base = match env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .map(|home| PathBuf::from(home).join(".local/state"))
            .ok_or_else(|| {
                BadInput::new("neither XDG_STATE_HOME nor HOME is set; give --state".to_owned())
            })?,
    };
    let mut names: Vec<String> = given
        .iter()
        .map(String::as_str)
        .chain(manifests.and_then(Path::to_str))
        .map(|given| match given.contains("://") {
            true => given.trim_end_matches('/').to_owned(),
            false => without_parents(Path::new(given))
                .map_or_else(|_| given.to_owned(), |path| path.display().to_string()),
        })
        .collect();
    names.sort();
    let digest = Sha256::digest(names.join("\n"));
    let short: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(base.join("vdt").join(short))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_state_in_no_bucket_is_refused_in_the_words_of_a_source() {
        assert!(check("s3://corp/state").is_ok() && check("/var/vdt").is_ok());
        let refused = check("s3://").expect_err("no bucket");
        assert_eq!(
            refused.to_string(),
            "--state \"s3://\" is not the URL of a bucket: write s3://bucket or s3://bucket/prefix/"
        );
    }

    #[tokio::test]
    async fn a_broken_object_is_told_with_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("store.json"), "{").expect("written");
        let refused = open_folder(folder.path(), OpenMode::ReadOnly)
            .await
            .expect_err("it is broken");
        let text = vdt_crds::chain(refused.as_ref());
        let place = folder.path().display().to_string();
        assert!(
            text.contains(&place) && text.contains("store.json"),
            "{text}"
        );
    }
}
