//! Folders of ours and folders of artifacts must not lie in one another.

use std::{
    io,
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

/// Folders of this process that no source may meet, whenever it is declared. They are looked at once: what is in use stays so where a link on their path
/// is switched, and nothing waits for one that hangs later.
#[derive(Debug, Default)]
pub(super) struct OwnFolders {
    cache: Option<OwnFolder>,
    /// Of a state that is a directory.
    state: Option<OwnFolder>,
}

/// A folder of ours.
#[derive(Debug)]
struct OwnFolder {
    given: PathBuf,
    /// Where that leads.
    place: PathBuf,
    what: &'static str,
    /// Names it.
    flag: &'static str,
    /// Whether no source may lie in it.
    is_ours_alone: bool,
}

impl OwnFolders {
    /// Those that `args` name, or the default ones of these sources.
    ///
    /// # Errors
    /// As [`state_folder`], and where one of them cannot be looked at.
    pub(super) async fn of(args: &ServeArgs) -> anyhow::Result<Self> {
        let is_bucket = args.state.as_deref().is_some_and(|at| at.contains("://"));
        let state = match is_bucket {
            true => None,
            false => Some(state_folder(args)?),
        };
        Self::find(args.cache.cache_dir.clone(), state, leads).await
    }

    /// As [`Self::of`], of a cache and a state.
    pub(super) async fn find(
        cache: Option<PathBuf>,
        state: Option<PathBuf>,
        leads: Leads,
    ) -> anyhow::Result<Self> {
        let find = async |given: Option<PathBuf>, what, flag, is_ours_alone| match given {
            Some(given) => OwnFolder::find(given, (what, flag), is_ours_alone, leads)
                .await
                .map(Some),
            None => Ok(None),
        };
        Ok(Self {
            cache: find(cache, "cache folder", "--cache-dir", false).await?,
            // What is in a state directory is vdt's. A cache removes nothing but what it marks as its own.
            state: find(state, "state directory", "--state", true).await?,
        })
    }

    /// The folder of the state as it was given, where the state is one.
    pub(super) fn state(&self) -> Option<&FsPath> {
        self.state.as_ref().map(|state| state.given.as_path())
    }

    /// Refuses what is `declared` where one of them lies in a source: it would be listed as artifacts, and change with every refresh. So it does where a
    /// source lies in the state.
    ///
    /// A source that does not say in time where it leads is where it is written. Our folders have said so, and so has all that they lie in: what
    /// hangs holds them, if at all, by a link that hangs too.
    ///
    /// # Errors
    /// The first one, with both places.
    pub(super) async fn refuse(&self, declared: &[Declared]) -> Result<(), BadInput> {
        self.refuse_by(declared, leads).await
    }

    async fn refuse_by(&self, declared: &[Declared], leads: Leads) -> Result<(), BadInput> {
        let folders: Vec<_> = declared.iter().flat_map(SourceFolder::of).collect();
        let places = folders.iter().map(|folder| leads(folder.root.clone()));
        for (folder, place) in folders.iter().zip(future::join_all(places).await) {
            let written = || std::path::absolute(&folder.root).ok();
            let place = place.ok().flatten().or_else(written);
            let place = place.as_ref().unwrap_or(&folder.root);
            for own in [&self.cache, &self.state].into_iter().flatten() {
                if let Some(met) = own.met(place) {
                    return Err(BadInput::new(folder.refused(&met)));
                }
            }
        }
        Ok(())
    }
}

impl OwnFolder {
    async fn find(
        given: PathBuf,
        (what, flag): (&'static str, &'static str),
        is_ours_alone: bool,
        leads: Leads,
    ) -> anyhow::Result<Self> {
        let place = leads(given.clone()).await;
        let place = place.with_context(|| format!("the {what}"))?;
        let hangs = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
        let place = place.ok_or_else(hangs).with_context(|| {
            let folder = given.display();
            format!("the file system of the {what} {folder} does not answer; mend it, or give another {flag}")
        })?;
        Ok(Self {
            given,
            place,
            what,
            flag,
            is_ours_alone,
        })
    }

    /// How it meets a source, if it does.
    fn met(&self, source: &FsPath) -> Option<String> {
        let Self {
            place, what, flag, ..
        } = self;
        let (named, source_named) = (
            format!("the {what} {}", place.display()),
            format!("the source {}", source.display()),
        );
        if place.starts_with(source) {
            Some(format!(
                "{named} lies inside {source_named}; give a {flag} outside of it"
            ))
        } else if self.is_ours_alone && source.starts_with(place) {
            Some(format!(
                "{source_named} lies inside {named}; give a {flag} that holds no source"
            ))
        } else {
            None
        }
    }
}

/// The folder of a source, and the manifest that names it.
struct SourceFolder<'a> {
    declared: &'a Declared,
    index: usize,
    written: &'a FsPath,
    root: PathBuf,
}

impl<'a> SourceFolder<'a> {
    /// Those that a resource declares.
    fn of(declared: &'a Declared) -> impl Iterator<Item = Self> {
        let sources = declared.table.spec.sources.iter().enumerate();
        sources.filter_map(move |(index, source)| {
            let file = source.file.as_ref()?;
            let written = FsPath::new(file.path());
            let root = match (&file.claim_name, &declared.env.claims_dir) {
                (Some(claim), Some(claims)) => claims.join(claim).join(written),
                _ => declared.env.base_dir.join(written),
            };
            Some(Self {
                declared,
                index,
                written,
                root,
            })
        })
    }

    /// What is told where it has `met` a folder of ours: of a manifest, the field that can be changed too.
    fn refused(&self, met: &str) -> String {
        let Declared { table, origin, .. } = self.declared;
        if table.spec.given.is_some() {
            return met.to_owned();
        }
        format!(
            "{origin}: table {}: spec.sources[{}].file.path is {:?}, where {met}, or name another folder",
            table.table_path(),
            self.index,
            self.written.display().to_string(),
        )
    }
}

/// Time for a file system to say where a path leads.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// Where a path leads; `None` if its file system does not say so in time.
pub(super) type Leads = fn(PathBuf) -> BoxFuture<'static, anyhow::Result<Option<PathBuf>>>;

pub(super) fn leads(path: PathBuf) -> BoxFuture<'static, anyhow::Result<Option<PathBuf>>> {
    in_time(PLACE_WAIT, move || real(&path)).boxed()
}

/// What a file system says; `None` if it does not in time. No thread that serves waits for one that hangs.
async fn in_time<T: Send + 'static>(
    wait: Duration,
    look: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> anyhow::Result<Option<T>> {
    match timeout(wait, spawn_blocking(look)).await {
        Ok(said) => Ok(Some(said??)),
        Err(_) => Ok(None),
    }
}

/// Where `path` leads, or would lead once it is there: what exists of it by way of its links.
fn real(path: &FsPath) -> io::Result<PathBuf> {
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
        let refused = |source: &str, ours: &str, is_ours_alone| {
            let place = |name| real(&at(name)).expect("it leads somewhere");
            let own = OwnFolder {
                given: at(ours),
                place: place(ours),
                what: "state directory",
                flag: "--state",
                is_ours_alone,
            };
            let met = own.met(&place(source));
            met.map(|met| met.replace(&*root.to_string_lossy(), ""))
        };
        let holds = "the source /all/papers lies inside the state directory /all; give a --state that holds no source";
        let lies = "the state directory /all/papers/new lies inside the source /all/papers; give a --state outside of it";
        for (source, ours, is_ours_alone, expected) in [
            ("all/papers", "all", true, Some(holds)),
            ("link", "all", true, Some(holds)),
            ("all/papers", "all/papers/new", true, Some(lies)),
            ("link", "link/new", false, Some(lies)),
            ("all/papers", "state", true, None),
            ("all/papers", "all/paper", true, None),
            // A cache removes nothing but what it marks as its own.
            ("all/papers", "all", false, None),
        ] {
            let refused = refused(source, ours, is_ours_alone);
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

    /// A resource whose source is `path` in `base_dir`.
    fn declared(base_dir: &FsPath, path: &str) -> Declared {
        let text = format!(
            "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {{name: t}}\nspec:\n  \
             sources: [{{name: a, type: File, file: {{path: {path}}}}}]\n"
        );
        Declared {
            table: vdt_crds::parse(text.as_bytes())
                .expect("it parses")
                .remove(0),
            env: SourceEnv {
                base_dir: base_dir.to_owned(),
                ..SourceEnv::default()
            },
            origin: "t.yaml".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_source_that_hangs_is_where_it_is_written_and_a_state_that_hangs_is_not_used() {
        let root = FsPath::new("/somewhere");
        let leads: Leads = |path| {
            let said = (!path.ends_with("hung")).then_some(path);
            future::ready(Ok(said)).boxed()
        };
        let declared = [declared(root, "hung")];
        for (ours, expected) in [
            ("state", None),
            ("hung/state", Some("lies inside the source")),
            ("hung", Some("does not answer")),
        ] {
            let refused = match OwnFolders::find(None, Some(root.join(ours)), leads).await {
                Ok(found) => found.refuse_by(&declared, leads).await.map_err(Into::into),
                Err(error) => Err(error),
            };
            let refused = refused.err().map(|error| error.to_string());
            let is_expected = match (&refused, expected) {
                (Some(refused), Some(expected)) => refused.contains(expected),
                (refused, expected) => refused.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{ours}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_state_lies_where_it_was_opened_whatever_becomes_of_the_link_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let link = root.join("link");
        std::fs::create_dir_all(root.join("one/state")).expect("made");
        std::os::unix::fs::symlink("one/state", &link).expect("made");
        let ours = OwnFolders::find(None, Some(link.clone()), leads).await;
        let ours = ours.expect("it is there");
        assert_eq!(ours.state(), Some(&*link));
        std::fs::remove_file(&link).expect("it was there");
        std::os::unix::fs::symlink("two/state", &link).expect("made");
        let refused = async |path| ours.refuse(&[declared(&root, path)]).await.err();
        assert!(refused("two").await.is_none());
        let refused = refused("one").await.expect("the state lies in it");
        let root = root.display();
        assert_eq!(
            refused.to_string(),
            format!(
                "t.yaml: table main/default/t: spec.sources[0].file.path is \"one\", where the state directory {root}/one/state lies \
                 inside the source {root}/one; give a --state outside of it, or name another folder"
            )
        );
    }
}
