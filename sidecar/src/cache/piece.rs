//! One block of a read, held or under way, and parts of it.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::{error::Failure, flight::Follower};
use crate::tiers::EntryMeta;

/// One block, or where it will be.
pub(super) enum Piece {
    /// The block's bytes.
    Held(Arc<EntryMeta>, Bytes),
    /// A fetch, and where the block begins in its entry.
    Flying(Follower, u64),
    /// The same in a pack, of which the object's properties are no part.
    Packed(Follower, u64, Arc<EntryMeta>),
}

impl Piece {
    /// What is known of the object, when the origin has answered.
    pub(super) async fn meta(&mut self) -> Result<Arc<EntryMeta>, Failure> {
        match self {
            Self::Held(meta, _) => Ok(Arc::clone(meta)),
            Self::Flying(follower, _) => follower.meta().await,
            Self::Packed(follower, _, meta) => {
                follower.meta().await?;
                Ok(Arc::clone(meta))
            }
        }
    }

    /// The bytes of a half-open range of the block.
    pub(super) fn into_stream(
        self,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, Failure>> {
        let (follower, base, whole) = match self {
            Self::Held(_, bytes) => {
                let bytes = part_of(&bytes, range.start as usize..range.end as usize);
                return stream::once(std::future::ready(Ok(bytes))).boxed();
            }
            Self::Flying(follower, base) => {
                let whole = follower.length();
                (follower, base, whole)
            }
            Self::Packed(follower, base, meta) => (follower, base, meta.size),
        };
        let is_small = is_small(range.end - range.start, whole);
        let chunks = follow(follower, base + range.start..base + range.end);
        match is_small {
            true => chunks
                .map_ok(|chunk| Bytes::copy_from_slice(&chunk))
                .boxed(),
            false => chunks.boxed(),
        }
    }
}

/// The bytes of a half-open range of an entry under way.
fn follow(follower: Follower, range: Range<u64>) -> impl Stream<Item = Result<Bytes, Failure>> {
    stream::unfold(Some((follower, range)), |state| async move {
        let (mut follower, mut range) = state?;
        let next = follower.next(&mut range).await?;
        let state = next.is_ok().then_some((follower, range));
        Some((next, state))
    })
}

/// Whether a part of an entry is passed on as a copy: as a slice it would keep the whole entry in memory for as long as its reader
/// leaves it untaken, though the cache has long let it go.
fn is_small(part: u64, whole: u64) -> bool {
    part < whole / 4
}

/// A part of an entry, copied where it is small.
pub(super) fn part_of(whole: &Bytes, part: Range<usize>) -> Bytes {
    if is_small(part.len() as u64, whole.len() as u64) {
        Bytes::copy_from_slice(&whole[part])
    } else {
        whole.slice(part)
    }
}
