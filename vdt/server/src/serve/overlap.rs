//! Folders of ours and folders of artifacts must not lie in one another.

use std::{
    collections::BTreeSet,
    path::{Path as FsPath, PathBuf},
    time::Duration,
};

use anyhow::Context;
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use tokio::{task::spawn_blocking, time::timeout};
use vdt_sidecar::exit::BadInput;

use super::open::state_folder;
use crate::{args::ServeArgs, manifests::Declared};

/// Folders of this process that no source may meet, whenever it is declared.
#[derive(Debug, Default)]
pub(super) struct Ours {
    pub(super) cache: Option<PathBuf>,
    /// Of a state that is a directory.
    pub(super) state: Option<PathBuf>,
}

impl Ours {
    /// Those that `args` name, or the default ones of these sources.
    ///
    /// # Errors
    /// As [`state_folder`].
    pub(super) fn of(args: &ServeArgs) -> anyhow::Result<Self> {
        let is_bucket = args.state.as_deref().is_some_and(|at| at.contains("://"));
        Ok(Self {
            cache: args.cache.cache_dir.clone(),
            state: match is_bucket {
                true => None,
                false => Some(state_folder(args)?),
            },
        })
    }

    /// Refuses what is `declared` where a source meets one of them, as [`refuse`] does.
    ///
    /// # Errors
    /// [`BadInput`] with both places, and where a folder of ours cannot be looked at.
    pub(super) async fn refuse(&self, declared: &[Declared]) -> anyhow::Result<()> {
        if let Some(cache) = &self.cache {
            let what = ("cache folder", "--cache-dir");
            refuse(declared, cache, what, false, leads).await?;
        }
        if let Some(state) = &self.state {
            let what = ("state directory", "--state");
            refuse(declared, state, what, true, leads).await?;
        }
        Ok(())
    }
}

/// Time for a file system to say where a path leads.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// Refuses a folder of ours that lies in a source: it would be listed as artifacts, and change with every refresh. A state that
/// a source lies in is refused too: what is in a state directory is vdt's. `what` the folder is, and the flag that names it.
///
/// A source that does not say in time where it leads is where it is written. Our folder has said so, and so has all that it lies in: what hangs holds
/// it, if at all, by a link that hangs too. A folder of ours that does not say it is not used.
async fn refuse(
    declared: &[Declared],
    folder: &FsPath,
    what: (&str, &str),
    holds_state: bool,
    leads: Leads,
) -> anyhow::Result<()> {
    let (named, flag) = what;
    let ours = leads(folder.to_owned()).await;
    let ours = ours.with_context(|| format!("the {named}"))?;
    let ours = ours.with_context(|| {
        let folder = folder.display();
        format!("the file system of the {named} {folder} does not answer; mend it, or give another {flag}")
    })?;
    let mut roots = BTreeSet::new();
    for one in declared {
        for source in &one.table.spec.sources {
            if let Some(file) = &source.file {
                let root = match (&file.claim_name, &one.env.claims_dir) {
                    (Some(claim), Some(claims)) => claims.join(claim).join(file.path()),
                    _ => one.env.base_dir.join(file.path()),
                };
                roots.insert(root);
            }
        }
    }
    let theirs = roots.iter().map(|root| leads(root.clone()));
    for (root, place) in roots.iter().zip(future::join_all(theirs).await) {
        let theirs = match place? {
            Some(place) => place,
            None => std::path::absolute(root)?,
        };
        refuse_with(&theirs, &ours, what, holds_state)?;
    }
    Ok(())
}

/// As [`refuse`], of places.
fn refuse_with(
    theirs: &FsPath,
    ours: &FsPath,
    (what, flag): (&str, &str),
    holds_state: bool,
) -> anyhow::Result<()> {
    let (named, source) = (
        format!("the {what} {}", ours.display()),
        format!("the source {}", theirs.display()),
    );
    let refused = if ours.starts_with(theirs) {
        format!("{named} lies inside {source}; give a {flag} outside of it")
    } else if holds_state && theirs.starts_with(ours) {
        format!("{source} lies inside {named}; give a {flag} that holds no source")
    } else {
        return Ok(());
    };
    Err(BadInput::new(refused).into())
}

/// Where a path leads; `None` if its file system does not say so in time.
type Leads = fn(PathBuf) -> BoxFuture<'static, anyhow::Result<Option<PathBuf>>>;

fn leads(path: PathBuf) -> BoxFuture<'static, anyhow::Result<Option<PathBuf>>> {
    in_time(PLACE_WAIT, move || real(&path)).boxed()
}

/// What a file system says; `None` if it does not in time. No thread that serves waits for one that hangs.
async fn in_time<T: Send + 'static>(
    wait: Duration,
    look: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    match timeout(wait, spawn_blocking(look)).await {
        Ok(said) => Ok(Some(said??)),
        Err(_) => Ok(None),
    }
}

/// Where `path` leads, or would lead once it is there: what exists of it by way of its links.
fn real(path: &FsPath) -> std::io::Result<PathBuf> {
    let given = std::path::absolute(path)?;
    let mut existing = given.as_path();
    loop {
        match (existing.canonicalize(), existing.parent()) {
            (Ok(found), _) => {
                let missing = given.strip_prefix(existing).unwrap_or(FsPath::new(""));
                // Part by part: an empty rest would end the path with a slash.
                return Ok(found.iter().chain(missing).collect());
            }
            (Err(_), Some(above)) => existing = above,
            (Err(error), None) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::RwLock;
    use vdt_store::SourceEnv;

    use super::*;

    #[test]
    fn a_state_and_a_source_do_not_lie_in_one_another_wherever_links_lead() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let at = |name: &str| root.join(name);
        std::fs::create_dir_all(at("all/papers/2024")).expect("made");
        std::os::unix::fs::symlink(at("all/papers"), at("link")).expect("made");
        let refused = |source: &str, ours: &str, holds_state| {
            let what = ("state directory", "--state");
            let place = |name| real(&at(name)).expect("it leads somewhere");
            let refused = refuse_with(&place(source), &place(ours), what, holds_state);
            refused.err().map(|error| {
                assert!(error.is::<BadInput>());
                error.to_string().replace(&*root.to_string_lossy(), "")
            })
        };
        let holds = "the source /all/papers lies inside the state directory /all; give a --state that holds no source";
        let lies = "the state directory /all/papers/new lies inside the source /all/papers; give a --state outside of it";
        for (source, ours, holds_state, expected) in [
            ("all/papers", "all", true, Some(holds)),
            ("link", "all", true, Some(holds)),
            ("all/papers", "all/papers/new", true, Some(lies)),
            ("link", "link/new", false, Some(lies)),
            ("all/papers", "state", true, None),
            ("all/papers", "all/paper", true, None),
            // A cache removes nothing but what it marks as its own.
            ("all/papers", "all", false, None),
        ] {
            let refused = refused(source, ours, holds_state);
            assert_eq!(refused.as_deref(), expected, "{source} {ours}");
        }
        // A source that is away lies where it will be.
        assert!(refused("all/away", "all", true).is_some());
        assert!(refused("all/papers", "all/papers", true).is_some());
    }

    #[test]
    fn a_file_system_that_hangs_holds_up_nothing() {
        static HANGS: RwLock<()> = RwLock::new(());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().expect("a runtime");
        let hung = HANGS.write();
        let look = || {
            let _hung = HANGS.read();
            Ok(())
        };
        let said = runtime.block_on(async { in_time(Duration::ZERO, look).await });
        assert_eq!(said.expect("nothing failed"), None);
        drop(hung);
        let said = runtime.block_on(async { in_time(Duration::MAX, look).await });
        assert_eq!(said.expect("nothing failed"), Some(()));
    }

    #[tokio::test]
    async fn a_source_that_hangs_is_where_it_is_written_and_a_state_that_hangs_is_not_used() {
        let root = FsPath::new("/somewhere");
        let leads: Leads = |path| {
            let said = (!path.ends_with("hung")).then_some(path);
            future::ready(Ok(said)).boxed()
        };
        let text = "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {name: t}\nspec:\n  \
                    sources: [{name: a, type: File, file: {path: hung}}]\n";
        let declared = Declared {
            table: vdt_crds::parse(text.as_bytes())
                .expect("it parses")
                .remove(0),
            env: SourceEnv {
                base_dir: root.to_owned(),
                ..SourceEnv::default()
            },
            origin: "t.yaml".to_owned(),
        };
        for (ours, expected) in [
            ("state", None),
            ("hung/state", Some("lies inside the source")),
            ("hung", Some("does not answer")),
        ] {
            let (what, folder) = (("state directory", "--state"), root.join(ours));
            let declared = std::slice::from_ref(&declared);
            let refused = refuse(declared, &folder, what, true, leads).await;
            let refused = refused.err().map(|error| error.to_string());
            let is_expected = match (&refused, expected) {
                (Some(refused), Some(expected)) => refused.contains(expected),
                (refused, expected) => refused.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{ours}: {refused:?}");
        }
    }
}
