//! One page of a listing: prefix, delimiter, where to start, how many.
//!
//! What S3 promises and object stores do not give as such:
//! - `prefix` is a prefix of the key's text. Stores list below whole path segments, so the folder part of the prefix is listed and the rest filtered.
//! - `delimiter` is any text. Keys that hold it after the prefix are rolled up into one common prefix, up to and with it.
//! - `after` is exclusive, compared by bytes, and need not be a key. A common prefix that equals it is done; one that it lies within comes
//!   if any key of it is greater.
//! - Keys and common prefixes count alike and come in one order, so a page ends at its greatest item and the next starts after it.
//!
//! Two ways, the same answer:
//! - delimiter `/`: the store lists one level (its memory: that folder). No subtree is walked to be rolled up.
//! - all else: the store's stream is read from `after` on and dropped at the page's end. Order is the store's promise; it is checked, because
//!   a page cut out of a disordered stream would lose keys silently.

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore};

use crate::answer::Failure;
use crate::key::exact_path;

/// What a page is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
    /// Never empty.
    pub(crate) delimiter: Option<&'a str>,
    /// Exclusive lower bound; empty for none.
    pub(crate) after: &'a str,
    /// Keys and common prefixes together.
    pub(crate) max_items: usize,
}

/// A key with its object, or a common prefix.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Object { key: String, meta: ObjectMeta },
    CommonPrefix(String),
}

impl Item {
    /// The text that orders items.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Object { key, .. } => key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// Items in byte order, and whether there are more.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    pub(crate) truncated: bool,
}

impl<'a> Query<'a> {
    /// The store's folder that holds every key with this prefix, `None` when there can be no such key.
    fn folder(&self) -> Option<Path> {
        match self.prefix.rsplit_once('/') {
            None => exact_path(self.bucket),
            Some((folder, _)) => exact_path(&format!("{}/{folder}", self.bucket)),
        }
    }

    /// The common prefix that a key is rolled up into.
    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter?;
        let rest = key.get(self.prefix.len()..)?;
        let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
        key.get(..end)
    }

    /// The key of an object within the bucket.
    fn key<'p>(&self, location: &'p Path) -> Option<&'p str> {
        location
            .as_ref()
            .strip_prefix(self.bucket)?
            .strip_prefix('/')
    }
}

/// Lists one page.
///
/// # Errors
/// [`Failure`] when the store fails or does not keep the order of keys.
pub(crate) async fn page(store: &dyn ObjectStore, query: Query<'_>) -> Result<Page, Failure> {
    let Some(folder) = query.folder().filter(|_| query.max_items > 0) else {
        return Ok(Page::default());
    };
    match query.delimiter {
        Some("/") => level(store, query, &folder).await,
        _ => walk(store, query, &folder).await,
    }
}

async fn level(store: &dyn ObjectStore, query: Query<'_>, folder: &Path) -> Result<Page, Failure> {
    let listed = match store.list_with_delimiter(Some(folder)).await {
        Ok(listed) => listed,
        Err(Error::NotFound { .. }) => return Ok(Page::default()),
        Err(error) => return Err(error.into()),
    };
    let mut items = Vec::new();
    for meta in listed.objects {
        match query.key(&meta.location) {
            Some(key) if key.starts_with(query.prefix) && key > query.after => {
                let key = key.to_owned();
                items.push(Item::Object { key, meta });
            }
            _ => {}
        }
    }
    for path in listed.common_prefixes {
        let Some(name) = query.key(&path).map(|key| format!("{key}/")) else {
            continue;
        };
        if !name.starts_with(query.prefix) {
            continue;
        }
        let wanted = match query.after.strip_prefix(name.as_str()) {
            Some("") => false,
            Some(_) => anything_after(store, query, &path).await?,
            None => name.as_str() > query.after,
        };
        if wanted {
            items.push(Item::CommonPrefix(name));
        }
    }
    items.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    let truncated = items.len() > query.max_items;
    items.truncate(query.max_items);
    Ok(Page { items, truncated })
}

/// Reports whether `folder`, which holds `after`, has a greater key.
async fn anything_after(
    store: &dyn ObjectStore,
    query: Query<'_>,
    folder: &Path,
) -> Result<bool, Failure> {
    let mut stream = objects(store, query, folder);
    while let Some(meta) = stream.try_next().await? {
        if query
            .key(&meta.location)
            .is_some_and(|key| key > query.after)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn walk(store: &dyn ObjectStore, query: Query<'_>, folder: &Path) -> Result<Page, Failure> {
    let mut stream = objects(store, query, folder);
    let mut page = Page::default();
    let mut previous: Option<ObjectMeta> = None;
    loop {
        let meta = match stream.try_next().await {
            Ok(Some(meta)) => meta,
            Ok(None) | Err(Error::NotFound { .. }) => return Ok(page),
            Err(error) => return Err(error.into()),
        };
        if let Some(previous) = &previous
            && previous.location.as_ref() >= meta.location.as_ref()
        {
            return Err(Failure::internal(format!(
                "the store lists {} after {}, which is not byte order",
                meta.location, previous.location
            )));
        }
        previous = Some(meta.clone());
        let Some(key) = query.key(&meta.location) else {
            continue;
        };
        if !key.starts_with(query.prefix) {
            if key > query.prefix {
                // Past every key that has the prefix.
                return Ok(page);
            }
            continue;
        }
        if key <= query.after {
            continue;
        }
        let item = match query.common_prefix(key) {
            Some(prefix) if prefix == query.after => continue,
            Some(prefix) if page.items.last().is_some_and(|last| last.name() == prefix) => continue,
            Some(prefix) => Item::CommonPrefix(prefix.to_owned()),
            None => Item::Object {
                key: key.to_owned(),
                meta,
            },
        };
        if page.items.len() == query.max_items {
            page.truncated = true;
            return Ok(page);
        }
        page.items.push(item);
    }
}

/// The store's stream below `folder`, from about `after` on: the caller filters what is not greater.
fn objects<'s>(
    store: &'s dyn ObjectStore,
    query: Query<'_>,
    folder: &Path,
) -> futures::stream::BoxStream<'s, object_store::Result<ObjectMeta>> {
    // A bound that is no path, such as a common prefix with its slash, is lowered to one.
    let bound = query.after.trim_end_matches('/');
    match exact_path(&format!("{}/{bound}", query.bucket)) {
        Some(offset) if !bound.is_empty() => store.list_with_offset(Some(folder), &offset).boxed(),
        _ => store.list(Some(folder)),
    }
}
