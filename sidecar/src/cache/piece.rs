//! One block of a read, held or under way, and parts of it.

use std::ops::Range;

use bytes::Bytes;
use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::{
    error::Failure,
    flight::Follower,
    loan::{Loans, is_small},
};
use crate::tiers::EntryMeta;

/// One block, or where it will be.
pub(super) enum Piece {
    /// The block's bytes.
    Held(EntryMeta, Bytes),
    /// A fetch.
    Flying(Follower),
    /// A fetch of neighbours, of which the object's properties are no part, and where the block begins in its entry.
    Packed(Follower, u64, EntryMeta),
}

/// A part of a block, as it is passed on.
pub(super) enum Part {
    Held(Bytes),
    Flying(BoxStream<'static, Result<Bytes, Failure>>),
}

impl Piece {
    /// What is known of the object, when the origin has answered.
    pub(super) async fn meta(&mut self) -> Result<EntryMeta, Failure> {
        match self {
            Self::Held(meta, _) => Ok(meta.clone()),
            Self::Flying(follower) => Ok((*follower.meta().await?).clone()),
            Self::Packed(follower, _, meta) => {
                follower.meta().await?;
                Ok(meta.clone())
            }
        }
    }

    /// The bytes of a half-open range of the block.
    pub(super) fn part(self, range: Range<u64>, loans: &Loans) -> Part {
        let (follower, base, whole) = match self {
            Self::Held(_, bytes) => {
                let range = range.start as usize..range.end as usize;
                return Part::Held(loans.part_of(&bytes, range));
            }
            Self::Flying(follower) => {
                let whole = follower.length();
                (follower, 0, whole)
            }
            Self::Packed(follower, base, meta) => (follower, base, meta.size),
        };
        let is_small = is_small(range.end - range.start, whole);
        let chunks = follow(follower, base + range.start..base + range.end);
        Part::Flying(match is_small {
            true => chunks
                .map_ok(|chunk| Bytes::copy_from_slice(&chunk))
                .boxed(),
            false => chunks.boxed(),
        })
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
