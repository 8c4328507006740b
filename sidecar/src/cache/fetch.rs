//! One request to the origin, and the entries that it fills.
//!
//! A fetch runs as a task of its own, so that a reader who leaves does not end it while others wait, and a slow reader does not hold it
//! back. It waits for its permit, asks, compares the answer with what was asked for, and deals the body out to its flights. An entry becomes
//! resident when all its bytes have come; the last one only when the body has ended where it was to end. Whatever goes wrong fails the flights that are not complete, and nothing of them is kept.
//!
//! When nobody wants any of its flights the request is dropped. Read-ahead wants its own.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, path::Path};
use vdt_rope::unquoted;

use super::{
    Shared,
    error::{CacheError, Failure},
    fill::Fill,
    object::{Named, Object, difference, entry_meta},
};
use crate::tiers::EntryMeta;

/// Entries of the most bytes that are asked for when the end of an object is wanted of which nothing is known.
pub(super) const TAIL_ENTRIES: u64 = 2;

/// Blocks of one object, one after another, with one request. `range` is theirs.
pub(super) async fn segment(fill: Fill, object: Object, range: Range<u64>) {
    let (shared, location) = (Arc::clone(&fill.shared), &object.location);
    let request = shared.get(location, object.options(range.clone()));
    let Some((mut fill, result)) = fill.answer(request).await else {
        return;
    };
    let other = difference(&object.meta(), &result.meta);
    if let (Some(_), Some(name)) = (&other, object.name()) {
        // The next one who asks finds what is there now.
        shared.remember(name, &entry_meta(&result.meta));
    }
    let same = same_object(location, other).and_then(|()| same_range(location, &range, &result));
    if let Err(error) = same {
        return fill.fail(Failure::new(error));
    }
    fill.answered(entry_meta(&result.meta));
    fill.pump(range, result.into_stream(), false).await;
}

/// A run of references with one request for the composed file. `range` is the part of the file that holds all of them.
pub(super) async fn run(
    fill: Fill,
    files: Arc<dyn ObjectStore>,
    file_bytes: u64,
    range: Range<u64>,
) {
    let (shared, file) = (Arc::clone(&fill.shared), fill.order.location.clone());
    let options = GetOptions {
        range: Some(GetRange::Bounded(range.clone())),
        ..GetOptions::default()
    };
    let request = async {
        shared.counters.requests.inc();
        files.get_opts(&file, options).await
    };
    // Where it fails: one member that changed or may not be read, or a file that the origin does not have (yet). The others may still be there.
    let Some((mut fill, result)) = fill.answer(request).await else {
        return;
    };
    let other = other_file(&file, file_bytes, &result);
    let same = same_object(&file, other).and_then(|()| same_range(&file, &range, &result));
    if let Err(error) = same {
        return fill.fail(Failure::new(error));
    }
    fill.answered(entry_meta(&result.meta));
    fill.pump(range, result.into_stream(), false).await;
}

/// Whether an answer is of the object that was asked for; `other` says how it differs.
fn same_object(location: &Path, other: Option<String>) -> Result<(), CacheError> {
    match other {
        None => Ok(()),
        Some(what) => Err(CacheError::Changed {
            location: location.clone(),
            what,
        }),
    }
}

/// Whether an answer has the range that was asked for.
fn same_range(
    location: &Path,
    expected: &Range<u64>,
    result: &GetResult,
) -> Result<(), CacheError> {
    if result.range == *expected {
        return Ok(());
    }
    Err(CacheError::Range {
        location: location.clone(),
        expected: expected.clone(),
        found: result.range.clone(),
    })
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
    (found != name.e_tag()).then(|| format!("ETag {found:?}"))
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
        self.counters.requests.inc();
        self.origin.get_opts(location, options).await
    }

    /// All bytes of a tiny object, verified.
    async fn whole(&self, object: &Object) -> object_store::Result<Bytes> {
        let (location, range) = (&object.location, 0..object.size);
        let result = self.get(location, object.options(range.clone())).await?;
        same_object(location, difference(&object.meta(), &result.meta))?;
        same_range(location, &range, &result)?;
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
                location: location.clone(),
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
pub(super) async fn open(fill: Fill, named: Named, asked: Option<GetRange>) {
    let shared = Arc::clone(&fill.shared);
    let options = &shared.options;
    let segment_bytes = options.block_bytes * options.segment_blocks;
    // A block of whatever the object turns out to be begins there.
    let whole_bytes = options.whole_bytes;
    let range = match asked {
        None => None,
        // The last block may be short: with so much there is one that is whole.
        Some(GetRange::Suffix(_)) => Some(GetRange::Suffix(TAIL_ENTRIES * whole_bytes)),
        Some(GetRange::Bounded(Range { start, .. }) | GetRange::Offset(start)) => {
            let start = start - start % whole_bytes;
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
    let request = shared.get(&named.location, options);
    let Some((mut fill, result)) = fill.answer(request).await else {
        return;
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
    let found_tag = result.meta.e_tag.as_deref().map(unquoted);
    let other = (named.if_match.is_some() && found_tag != named.if_match.as_deref())
        .then(|| format!("ETag {found_tag:?}, not {:?}", named.if_match));
    let location = &named.location;
    let same = same_range(location, &expected, &result).and_then(|()| same_object(location, other));
    if let Err(error) = same {
        return fill.fail(Failure::new(error));
    }
    let meta = entry_meta(&result.meta);
    shared.remember(named.name, &meta);
    let object = named.object(meta.clone());
    // Of an object that was asked for as a whole a segment is taken.
    let end = match range {
        None => expected.end.min(segment_bytes),
        Some(_) => expected.end,
    };
    fill.open_blocks(&object, expected.start..end);
    fill.answered(meta);
    fill.complete_opening();
    if fill.targets.is_empty() {
        return;
    }
    fill.pump(
        expected.start..end,
        result.into_stream(),
        end < expected.end,
    )
    .await;
}
