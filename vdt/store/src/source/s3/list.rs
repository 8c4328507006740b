//! The listing of a bucket.
//!
//! It promises every key that was there all the time, whatever order the service lists in, or an error. The service's own
//! continuation tokens are the only way on: `start-after` leaves keys out on services that list in the order of a directory
//! tree. Keys of one page may also come on another (SeaweedFS under writes); the listing keeps each once.
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
//!   one page with delimiter / ------- truncated, or a folder less than 2 --> go on flat
//!            | complete
//!   its objects, and every folder by itself, REQUESTS_MAX at a time
//! ```
//!
//! Dropping the future aborts all requests. Memory is that of the entries and of at most [`REQUESTS_MAX`] pages.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use vdt_rope::SourceObject;
use vdt_table::SourceContext;

use super::client::Client;
use super::writing::{PROBE, Writing};
use super::xml::{Object, Page, Written};
use crate::source::SourceError;
use crate::source::globs::Globs;
use crate::source::key::unservable;
use crate::source::listing::{Entry, Listing, Part, SkipReason};

/// Requests at the same time: services slow a client down that asks for much more, and the gain is small.
const REQUESTS_MAX: usize = 8;

/// Keys of a page; the most that S3 gives.
const PAGE_KEYS: usize = 1000;

/// Pages of one listing, 100 million keys: a service that never ends is an error.
const PAGES_MAX: u64 = 100_000;

/// Folders among the keys of the first page up to which dividing pays: at least 125 keys a request on average.
const FOLDERS_WORTHWHILE: usize = 8;

/// Levels of folders that are divided.
const LEVELS_MAX: u8 = 6;

/// Pages asked for again with one key less, because the token was not one that can be sent back.
const SHORTER_PAGES_MAX: usize = 16;

/// What all requests of one listing share.
struct Shared {
    client: Arc<Client>,
    globs: Globs,
    context: Arc<SourceContext>,
    pinned: bool,
    gate: Semaphore,
    pages: AtomicU64,
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
        client: Arc::clone(client),
        globs: globs.clone(),
        context: Arc::clone(context),
        pinned,
        gate: Semaphore::new(REQUESTS_MAX),
        pages: AtomicU64::new(0),
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
                    for branch in ended.unwrap_or_else(|error| Err(lost(client, &error)))? {
                        spawn(&mut branches, branch);
                    }
                }
            },
        }
    }
    while let Ok(part) = received.try_recv() {
        listing.add(part);
    }
    listing.requests = shared.pages.load(Ordering::Relaxed);
    Ok(listing)
}

fn lost(client: &Client, error: &JoinError) -> SourceError {
    SourceError::Protocol {
        name: Arc::clone(&client.settings.name),
        endpoint: client.settings.place(),
        problem: format!("a part of the listing ended early: {error}"),
    }
}

impl Shared {
    /// Lists a prefix, or divides it and returns its branches.
    async fn branch(self: Arc<Self>, branch: Branch) -> Result<Vec<Branch>, SourceError> {
        let Branch { prefix, level } = branch;
        let mut cursor = Cursor::new(&self, &prefix, None);
        let Some(first) = cursor.next().await? else {
            return Ok(Vec::new());
        };
        if !cursor.is_done()
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
        while let Some(page) = cursor.next().await? {
            self.deliver(page).await;
        }
        Ok(Vec::new())
    }

    /// Delivers the objects right below the prefix and returns its folders, if one page holds them all.
    async fn divide(&self, prefix: &str) -> Result<Option<BTreeSet<String>>, SourceError> {
        let mut cursor = Cursor::new(self, prefix, Some("/"));
        let Some(page) = cursor.next().await? else {
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
        if !cursor.is_done() || folders.is_empty() || is_lacking {
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

/// Goes from page to page of one prefix.
struct Cursor<'a> {
    shared: &'a Shared,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    next: Option<String>,
    next_version: Option<String>,
    done: bool,
}

impl<'a> Cursor<'a> {
    fn new(shared: &'a Shared, prefix: &'a str, delimiter: Option<&'a str>) -> Self {
        Self {
            shared,
            prefix,
            delimiter,
            next: None,
            next_version: None,
            done: false,
        }
    }

    /// True after the last page.
    fn is_done(&self) -> bool {
        self.done
    }

    async fn next(&mut self) -> Result<Option<Page>, SourceError> {
        if self.done {
            return Ok(None);
        }
        for shorter in 0..SHORTER_PAGES_MAX {
            let page = self.ask(PAGE_KEYS - shorter).await?;
            if !page.truncated {
                self.done = true;
                return Ok(Some(page));
            }
            let Some(next) = page.next.clone().filter(|next| !next.is_empty()) else {
                return Err(self.error(
                    "a page says that more follow, but not how to ask for them".to_owned(),
                ));
            };
            if (Some(&next), &page.next_version) == (self.next.as_ref(), &self.next_version) {
                return Err(self.error("two pages in a row end at the same place".to_owned()));
            }
            // A token made of a key that XML cannot hold (SeaweedFS), or a marker that is not UTF-8, would skip whatever lies
            // between; the page that ends one key earlier has a better one.
            if !next.contains(char::REPLACEMENT_CHARACTER) && !next.contains('\0') {
                self.next = Some(next);
                self.next_version.clone_from(&page.next_version);
                return Ok(Some(page));
            }
        }
        Err(self.error(
            "its continuation tokens cannot be sent back; remove keys with control characters and keys that are not UTF-8"
                .to_owned(),
        ))
    }

    async fn ask(&self, keys: usize) -> Result<Page, SourceError> {
        let keys = keys.to_string();
        let mut query = if self.shared.pinned {
            vec![("versions", "")]
        } else {
            vec![("list-type", "2")]
        };
        query.extend([
            ("prefix", self.prefix),
            ("max-keys", keys.as_str()),
            ("encoding-type", "url"),
        ]);
        query.extend(self.delimiter.map(|delimiter| ("delimiter", delimiter)));
        let (next, next_version) = if self.shared.pinned {
            ("key-marker", "version-id-marker")
        } else {
            ("continuation-token", "")
        };
        query.extend(self.next.as_deref().map(|token| (next, token)));
        if self.shared.pinned {
            query.extend(
                self.next_version
                    .as_deref()
                    .map(|version| (next_version, version)),
            );
        }
        let written = self.get(&query).await?;
        let writing = match written.writing() {
            Some(writing) => writing,
            None => self.asked_writing().await?,
        };
        Ok(written.read(writing))
    }

    /// Asks the service how it writes keys, once for each source. Without an answer there is no listing: keys that are read in another way
    /// than before would be other keys.
    async fn asked_writing(&self) -> Result<Writing, SourceError> {
        let asked = &self.shared.client.writing;
        asked.get_or_try_init(|| self.probe()).await.copied()
    }

    /// Lists what lies below a prefix with a space and a plus, which tells how they are written. Where that may not be listed, by a policy
    /// that names prefixes, the service is taken for one like AWS, which has such policies.
    async fn probe(&self) -> Result<Writing, SourceError> {
        let prefix = format!("{}{PROBE}", self.prefix);
        let query = [
            ("list-type", "2"),
            ("prefix", prefix.as_str()),
            ("max-keys", "1"),
            ("encoding-type", "url"),
        ];
        match self.get(&query).await {
            Ok(written) => Ok(Writing::echoed(&written.prefix)),
            Err(error @ SourceError::Forbidden { .. }) => {
                tracing::warn!(%error, "whether a plus in a key is a space is not known; taken for one, as AWS means it");
                Ok(Writing::Form)
            }
            Err(error) => Err(error),
        }
    }

    async fn get(&self, query: &[(&str, &str)]) -> Result<Written, SourceError> {
        if self.shared.pages.fetch_add(1, Ordering::Relaxed) >= PAGES_MAX {
            return Err(self.error(format!("the listing has more than {PAGES_MAX} pages")));
        }
        let permit = self.shared.gate.acquire().await;
        let written = self.shared.client.page(query).await;
        drop(permit);
        written
    }

    fn error(&self, problem: String) -> SourceError {
        SourceError::Protocol {
            name: Arc::clone(&self.shared.client.settings.name),
            endpoint: self.shared.client.settings.place(),
            problem,
        }
    }
}
