//! The listing of a bucket.
//!
//! It promises every key that was there all the time, whatever order the service lists in, or an error. Keys of one page may
//! also come on another (SeaweedFS under writes); the listing keeps each once.
//!
//! **Parallel where it pays.** Pages of one prefix can only be asked for one after the other, so a large prefix is divided
//! by the folders in it. Whether that pays is read from the first page: if its keys lie in few folders, the folders are
//! large, and each is listed by itself, in the same way. Many small folders are cheaper in one go.
//!
//! ```text
//!   first page of prefix, flat ---- complete ------------------------------------------------> done, 1 request
//!            | truncated
//!   few folders among its keys? ----- no ---> go on flat, page after page
//!            | yes
//!   one page with delimiter / ------- truncated, or no folder ----------> go on flat
//!            | complete
//!   its objects, and every folder by itself, REQUESTS_MAX at a time
//! ```
//!
//! Dropping the future aborts all requests. Memory is that of the entries and of at most [`REQUESTS_MAX`] pages.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vdt_rope::SourceObject;
use vdt_table::SourceContext;

use super::client::Client;
use super::pages::{Pages, REQUESTS_MAX, Requests};
use super::xml::{Object, Page};
use crate::source::SourceError;
use crate::source::globs::Globs;
use crate::source::key::unservable;
use crate::source::listing::{Entry, Listing, Part, SkipReason};

/// Folders among the keys of the first page up to which dividing pays: at least 125 keys a request on average.
const FOLDERS_WORTHWHILE: usize = 8;

/// Levels of folders that are divided.
const LEVELS_MAX: u8 = 6;

/// What all branches of one listing share.
struct Shared {
    requests: Requests,
    globs: Globs,
    context: Arc<SourceContext>,
    /// Whether rows are pinned to versions.
    pinned: bool,
    parts: mpsc::Sender<Part>,
}

/// A prefix to list.
struct Branch {
    prefix: String,
    level: u8,
}

/// Lists every key with the prefix; with `pinned`, the newest version of each.
pub(super) async fn list(
    client: &Arc<Client>,
    context: &Arc<SourceContext>,
    globs: &Globs,
    pinned: bool,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Listing, SourceError> {
    let (parts, mut received) = mpsc::channel(REQUESTS_MAX);
    let shared = Arc::new(Shared {
        requests: Requests::new(client, pinned),
        globs: globs.clone(),
        context: Arc::clone(context),
        pinned,
        parts,
    });
    let mut branches = JoinSet::new();
    let spawn = {
        let shared = Arc::clone(&shared);
        move |branches: &mut JoinSet<_>, branch| branches.spawn(Arc::clone(&shared).branch(branch))
    };
    spawn(
        &mut branches,
        Branch {
            prefix: context.prefix.clone(),
            level: 0,
        },
    );
    let mut listing = Listing::default();
    loop {
        tokio::select! {
            // The shared sender lives as long as this function: `None` does not come.
            Some(part) = received.recv() => {
                listing.add(part);
                progress(listing.entries.len() as u64, listing.bytes);
            }
            ended = branches.join_next() => match ended {
                None => break,
                Some(ended) => {
                    let found = ended.unwrap_or_else(|error| {
                        let problem = format!("a part of the listing ended early: {error}");
                        Err(shared.requests.error(problem))
                    });
                    for branch in found? {
                        spawn(&mut branches, branch);
                    }
                }
            },
        }
    }
    while let Ok(part) = received.try_recv() {
        listing.add(part);
    }
    listing.requests = shared.requests.sent();
    Ok(listing)
}

impl Shared {
    /// Lists a prefix, or divides it and returns its branches.
    async fn branch(self: Arc<Self>, branch: Branch) -> Result<Vec<Branch>, SourceError> {
        let Branch { prefix, level } = branch;
        let mut pages = Pages::new(&self.requests, &prefix, None);
        let Some(first) = pages.next().await? else {
            return Ok(Vec::new());
        };
        if !pages.is_done()
            && level < LEVELS_MAX
            && worthwhile(&prefix, &first)
            && let Some(folders) = self.divide(&prefix).await?
        {
            return Ok(folders
                .into_iter()
                .map(|prefix| Branch {
                    prefix,
                    level: level + 1,
                })
                .collect());
        }
        self.deliver(first).await;
        while let Some(page) = pages.next().await? {
            self.deliver(page).await;
        }
        Ok(Vec::new())
    }

    /// Delivers the objects right below the prefix and returns its folders, if one page holds them all.
    async fn divide(&self, prefix: &str) -> Result<Option<BTreeSet<String>>, SourceError> {
        let mut pages = Pages::new(&self.requests, prefix, Some("/"));
        let Some(page) = pages.next().await? else {
            return Ok(None);
        };
        let inside = |folder: &String| folder.starts_with(prefix) && folder.len() > prefix.len();
        let folders: BTreeSet<_> = page
            .prefixes
            .iter()
            .filter(|folder| inside(folder))
            .cloned()
            .collect();
        // A folder that cannot be asked for by itself is listed, and its keys are counted, where all are.
        let is_lacking = folders.len() != page.prefixes.len() || page.lost_prefixes > 0;
        if !pages.is_done() || folders.is_empty() || is_lacking {
            return Ok(None);
        }
        self.deliver(page).await;
        Ok(Some(folders))
    }

    async fn deliver(&self, page: Page) {
        let mut part = Part::default();
        let mut classes = Classes::default();
        for object in page.objects {
            self.take(object, &mut part, &mut classes);
        }
        // The receiver is gone only when nobody waits for the listing any more.
        let _ = self.parts.send(part).await;
    }

    fn take(&self, object: Object, part: &mut Part, classes: &mut Classes) {
        // Not asked for: an older version, or a key that a service adds although it lies elsewhere.
        let Some(filename) = object
            .key
            .strip_prefix(self.context.prefix.as_bytes())
            .filter(|_| object.latest)
        else {
            return;
        };
        if !self.globs.pass(filename) {
            part.excluded += 1;
            return;
        }
        let Ok(key) = std::str::from_utf8(&object.key) else {
            return part.skip(SkipReason::NotUtf8, &object.key);
        };
        if let Some(reason) = unservable(key, object.size) {
            return part.skip(reason, &object.key);
        }
        if filename.is_empty() {
            return part.skip(SkipReason::EmptyName, &object.key);
        }
        // Without a tag the time tells whether an object is the listed one, and a GET tells it in whole seconds (RFC 9110 5.6.7).
        let last_modified_ms = match object.etag {
            Some(_) => object.last_modified_ms,
            None => object.last_modified_ms - object.last_modified_ms.rem_euclid(1000),
        };
        let listed = SourceObject {
            source: Arc::clone(&self.context.id),
            key: key.into(),
            size: object.size,
            etag: object.etag.map(Into::into),
            last_modified_ms,
            version: object.version.filter(|_| self.pinned).map(Into::into),
        };
        if !listed.fits_a_rope() {
            return part.skip(SkipReason::TooLong, &object.key);
        }
        part.entries.push(Entry {
            object: Arc::new(listed),
            archived: object.storage_class.as_deref().is_some_and(archived),
            storage_class: object.storage_class.map(|class| classes.intern(class)),
        });
    }
}

/// Storage classes that must be restored before they can be read.
fn archived(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

/// The few classes of a page, each held once.
#[derive(Default)]
struct Classes(HashSet<Arc<str>>);

impl Classes {
    fn intern(&mut self, class: String) -> Arc<str> {
        match self.0.get(class.as_str()) {
            Some(known) => Arc::clone(known),
            None => {
                let class: Arc<str> = class.into();
                self.0.insert(Arc::clone(&class));
                class
            }
        }
    }
}

/// True if the keys of a first page lie in few folders.
fn worthwhile(prefix: &str, page: &Page) -> bool {
    let folders: HashSet<&[u8]> = page
        .objects
        .iter()
        .filter_map(|object| {
            let rest = object.key.strip_prefix(prefix.as_bytes())?;
            rest.iter()
                .position(|byte| *byte == b'/')
                .map(|end| &rest[..end])
        })
        .collect();
    folders.len() <= FOLDERS_WORTHWHILE
}
