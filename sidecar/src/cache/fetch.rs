//! One request to the origin, and the entries that it fills.
//!
//! A fetch runs as a task of its own, so that a reader who leaves does not end it while others wait, and a slow reader does not hold it
//! back. It takes its bytes from the fill budget first, asks, compares the answer with what was asked for, and deals the body out to
//! its flights. An entry becomes resident when all its bytes have come; the last one only when the body has ended where it was
//! to end. Whatever goes wrong fails the flights that are not complete, and nothing of them is kept.
//!
//! When nobody wants any of its flights the request is dropped. Read-ahead wants its own.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use futures::StreamExt;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, path::Path};
use vdt_rope::{ReadContext, unquoted};

use super::{
    Shared,
    error::{CacheError, Failure},
    fill::Fill,
    key::Identity,
};
use crate::tiers::{Class, EntryMeta};

/// An object whose size is known.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) location: Path,
    pub(super) class: Class,
    pub(super) identity: Identity,
    /// What it is, as listed or as the origin said before.
    pub(super) meta: Arc<EntryMeta>,
    /// Sent along: the ETag without quotes.
    pub(super) if_match: Option<String>,
    pub(super) version: Option<String>,
    /// The name that its properties are remembered under, where it is known by name.
    pub(super) name: Option<Identity>,
    /// What the read is for, where it told: the link to an origin needs it for objects without an ETag, and for those that no
    /// source declares any more.
    pub(super) context: Option<ReadContext>,
}

impl Object {
    fn options(&self, range: Range<u64>) -> GetOptions {
        let mut options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: self.if_match.clone(),
            version: self.version.clone(),
            ..GetOptions::default()
        };
        if let Some(context) = &self.context {
            options.extensions.insert(context.clone());
        }
        options
    }
}

/// What the origin says of an object.
pub(super) fn entry_meta(meta: &ObjectMeta) -> EntryMeta {
    EntryMeta {
        size: meta.size,
        last_modified_ms: meta.last_modified.timestamp_millis(),
        etag: meta.e_tag.as_deref().map(Into::into),
        version: meta.version.as_deref().map(Into::into),
    }
}

/// What differs between an object and what the origin says of it.
fn difference(expected: &EntryMeta, found: &ObjectMeta) -> Option<String> {
    match expected.etag.as_deref().map(unquoted) {
        Some(etag) => {
            let other = found.e_tag.as_deref().map(unquoted);
            if other != Some(etag) {
                return Some(format!("ETag {other:?}, not {etag:?}"));
            }
        }
        None => {
            let modified = found.last_modified.timestamp_millis();
            if modified != expected.last_modified_ms {
                let listed = expected.last_modified_ms;
                return Some(format!("modified at {modified} ms, not at {listed} ms"));
            }
        }
    }
    (found.size != expected.size).then(|| format!("{} bytes, not {}", found.size, expected.size))
}

/// Blocks of one object, one after another, with one request. `range` is theirs.
pub(super) async fn segment(mut fill: Fill, object: Object, range: Range<u64>) {
    if fill.admit().await.is_none() {
        return;
    }
    let shared = Arc::clone(&fill.shared);
    let request = shared.get(&object.location, object.options(range.clone()));
    let Some(answer) = fill.unless_lost(request).await else {
        return;
    };
    let result = match answer {
        Ok(result) => result,
        Err(error) => return fill.fail(Failure::new(error)),
    };
    if let Some(what) = difference(&object.meta, &result.meta) {
        if let Some(name) = object.name {
            // The next one who asks finds what is there now.
            shared.remember(name, &entry_meta(&result.meta));
        }
        let location = object.location;
        return fill.fail(Failure::new(CacheError::Changed { location, what }));
    }
    if result.range != range {
        return fill.fail(Failure::new(CacheError::Range {
            location: object.location,
            expected: range,
            found: result.range,
        }));
    }
    fill.answered(entry_meta(&result.meta));
    fill.pump(range, result.into_stream(), false).await;
}

/// A run of references with one request for the composed file. `range` is the part of the file that holds all of them.
pub(super) async fn run(
    mut fill: Fill,
    files: Arc<dyn ObjectStore>,
    file: Path,
    file_bytes: u64,
    range: Range<u64>,
) {
    if fill.admit().await.is_none() {
        return;
    }
    let shared = Arc::clone(&fill.shared);
    shared.counters.requests.fetch_add(1, Relaxed);
    let options = GetOptions {
        range: Some(GetRange::Bounded(range.clone())),
        ..GetOptions::default()
    };
    let Some(answer) = fill.unless_lost(files.get_opts(&file, options)).await else {
        return;
    };
    let result = match answer {
        Ok(result) => result,
        // One member that changed or may not be read, or a file that the origin does not have (yet): the others may still be there.
        Err(error) => return fill.fail(Failure::new(error)),
    };
    if let Some(what) = other_file(&file, file_bytes, &result) {
        return fill.fail(Failure::new(CacheError::Changed {
            location: file,
            what,
        }));
    }
    if result.range != range {
        return fill.fail(Failure::new(CacheError::Range {
            location: file,
            expected: range,
            found: result.range,
        }));
    }
    fill.answered(entry_meta(&result.meta));
    fill.pump(range, result.into_stream(), false).await;
}

/// Why an answer is not from the file that was asked for: its name says its content and its size.
fn other_file(file: &Path, file_bytes: u64, result: &GetResult) -> Option<String> {
    if result.meta.size != file_bytes {
        return Some(format!("{} bytes, not {file_bytes}", result.meta.size));
    }
    let name = file
        .filename()
        .and_then(vdt_rope::FileName::parse_parquet_file)?;
    let found = result.meta.e_tag.as_deref().map(unquoted)?;
    (found != name.hash_hex()).then(|| format!("ETag {found:?}"))
}

/// The members of a pack, each with a request of its own, in order.
pub(super) async fn members(mut fill: Fill, members: Vec<Object>, concurrent: usize) {
    if fill.admit().await.is_none() {
        return;
    }
    let (shared, total) = (Arc::clone(&fill.shared), fill.bytes());
    if let Some(target) = fill.targets.front() {
        let meta = target.meta.as_deref().cloned();
        fill.answered(meta.unwrap_or(EntryMeta {
            size: total,
            last_modified_ms: 0,
            etag: None,
            version: None,
        }));
    }
    let reads = futures::stream::iter(members).map(move |object| {
        let shared = Arc::clone(&shared);
        async move { shared.whole(&object).await }
    });
    let body = reads.buffered(concurrent).boxed();
    fill.pump(0..total, body, false).await;
}

impl Shared {
    /// A request to the origin, counted.
    pub(super) async fn get(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.counters.requests.fetch_add(1, Relaxed);
        self.origin.get_opts(location, options).await
    }

    /// All bytes of a tiny object, verified.
    async fn whole(&self, object: &Object) -> object_store::Result<Bytes> {
        let range = 0..object.meta.size;
        let result = self
            .get(&object.location, object.options(range.clone()))
            .await?;
        let location = || object.location.clone();
        if let Some(what) = difference(&object.meta, &result.meta) {
            let location = location();
            return Err(CacheError::Changed { location, what }.into());
        }
        if result.range != range {
            return Err(CacheError::Range {
                location: location(),
                expected: range,
                found: result.range,
            }
            .into());
        }
        let mut body = result.into_stream();
        let mut bytes = bytes::BytesMut::with_capacity(range.end as usize);
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() as u64 > range.end {
                break;
            }
        }
        if bytes.len() as u64 != range.end {
            return Err(CacheError::Length {
                location: location(),
                expected: range.end,
                found: bytes.len() as u64,
                is_more: bytes.len() as u64 > range.end,
            }
            .into());
        }
        Ok(bytes.freeze())
    }
}

/// An object of which only the name is known: the first answer tells its size, and fills the blocks that it holds.
///
/// `fill` has one target, under the name's key; it ends when the properties are known and the blocks have flights.
pub(super) async fn open(mut fill: Fill, named: Named, asked: Option<GetRange>) {
    if fill.admit().await.is_none() {
        return;
    }
    let shared = Arc::clone(&fill.shared);
    let segment_bytes = shared.options.block_bytes * shared.options.segment_blocks;
    let range = match asked {
        None => None,
        Some(GetRange::Suffix(_)) => Some(GetRange::Suffix(shared.options.block_bytes)),
        Some(GetRange::Bounded(Range { start, .. }) | GetRange::Offset(start)) => {
            let start = start - start % shared.options.block_bytes;
            Some(GetRange::Bounded(
                start..start.saturating_add(segment_bytes),
            ))
        }
    };
    let options = GetOptions {
        range: range.clone(),
        if_match: named.if_match.clone(),
        version: named.version.clone(),
        ..GetOptions::default()
    };
    let Some(answer) = fill.unless_lost(shared.get(&named.location, options)).await else {
        return;
    };
    let result = match answer {
        Ok(result) => result,
        Err(error) => return fill.fail(Failure::new(error)),
    };
    let size = result.meta.size;
    let expected = match &range {
        None => 0..size,
        Some(range) => match range.as_range(size) {
            Ok(range) => range,
            // The origin has answered a range that there is not.
            Err(_) => 0..0,
        },
    };
    if result.range != expected {
        return fill.fail(Failure::new(CacheError::Range {
            location: named.location,
            expected,
            found: result.range,
        }));
    }
    let found_tag = result.meta.e_tag.as_deref().map(unquoted);
    if named.if_match.is_some() && found_tag != named.if_match.as_deref() {
        let what = format!("ETag {found_tag:?}, not {:?}", named.if_match);
        let location = named.location;
        return fill.fail(Failure::new(CacheError::Changed { location, what }));
    }
    let object = named.object(Arc::new(entry_meta(&result.meta)));
    shared.remember(named.name, &object.meta);
    let end = expected.end.min(
        (expected.start - expected.start % shared.options.block_bytes)
            .saturating_add(segment_bytes),
    );
    fill.open_blocks(&object, expected.start..end);
    fill.answered((*object.meta).clone());
    fill.complete_opening();
    // Only now is it known how much is to come.
    if fill.targets.is_empty() || fill.admit().await.is_none() {
        return;
    }
    fill.pump(
        expected.start..end,
        result.into_stream(),
        end < expected.end,
    )
    .await;
}

/// An object of which only the name is known.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) location: Path,
    pub(super) class: Class,
    pub(super) name: Identity,
    /// The ETag without quotes, where the name stands for one content.
    pub(super) if_match: Option<String>,
    pub(super) version: Option<String>,
}

impl Named {
    /// The object, now that its properties are known.
    pub(super) fn object(&self, meta: Arc<EntryMeta>) -> Object {
        let is_pinned = self.if_match.is_some();
        Object {
            location: self.location.clone(),
            class: self.class,
            identity: if is_pinned {
                self.name
            } else {
                self.name.of_content(&meta)
            },
            meta,
            if_match: self.if_match.clone(),
            version: self.version.clone(),
            name: (!is_pinned).then_some(self.name),
            context: None,
        }
    }
}
