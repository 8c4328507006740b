//! What a read of a source object is for: told to the store below, so that a cache there can fetch neighbours together, read
//! ahead, and keep tiny artifacts in packs.
//!
//! A [`ReadContext`] travels in [`GetOptions::extensions`]: it is no part of a request on the wire, and whoever does not know
//! it ignores it.

use std::fmt;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{GetOptions, Result};

use super::cache::Weigh;
use crate::segment::{Reference, Segment, SourceObject};

/// Where in a virtual file a source object is read for.
#[derive(Debug, Clone)]
pub struct ReadContext {
    /// The file, as shown: `<catalog>/<schema>/<table>/<hash>-<bytes>.parquet`.
    pub file: Arc<Path>,
    /// Offset in that file of the first byte that is read.
    pub at: u64,
    /// The object, as listed.
    pub object: Arc<SourceObject>,
    /// What the client asked for: a half-open range of the file.
    pub body: Range<u64>,
    /// The rest of the file.
    pub map: Arc<dyn FileMap>,
}

impl ReadContext {
    /// The context that a read came with.
    pub fn of(options: &GetOptions) -> Option<&Self> {
        options.extensions.get()
    }
}

/// Travels in [`GetOptions::extensions`] of a read of a rope whose bytes, as they came the first time, were not what was written: a
/// cache below is to ask its origin and not give what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reread;

impl Reread {
    /// Whether a read is one.
    pub fn is_asked(options: &GetOptions) -> bool {
        options.extensions.get::<Self>().is_some()
    }
}

/// What a virtual file is made of, frame by frame of its stored rope.
#[async_trait::async_trait]
pub trait FileMap: Send + Sync + fmt::Debug {
    /// Bytes of the virtual file.
    fn bytes(&self) -> u64;

    /// The frame that byte `at` lies in; `None` at or behind the end of the file. Read through the same store as every rope; frames
    /// that were read lately cost nothing.
    ///
    /// # Errors
    /// As reading the file would.
    async fn frame(&self, at: u64) -> Result<Option<Arc<Frame>>>;
}

/// Consecutive segments of a virtual file: one frame of its stored rope.
#[derive(Debug)]
pub struct Frame {
    covers: Range<u64>,
    segments: Vec<Segment>,
}

impl Frame {
    /// `segments` make exactly the bytes of `covers`.
    pub(super) fn new(covers: Range<u64>, segments: Vec<Segment>) -> Self {
        Self { covers, segments }
    }

    /// The half-open range of the virtual file that the frame makes.
    pub fn covers(&self) -> Range<u64> {
        self.covers.clone()
    }

    /// Its segments, each with its offset in the virtual file.
    pub fn segments(&self) -> impl Iterator<Item = (u64, &Segment)> {
        let mut at = self.covers.start;
        self.segments.iter().map(move |segment| {
            let here = at;
            at += segment.len();
            (here, segment)
        })
    }

    /// Its references, each with its offset in the virtual file.
    pub fn references(&self) -> impl Iterator<Item = (u64, &Reference)> {
        self.segments().filter_map(|(at, segment)| match segment {
            Segment::Reference(reference) => Some((at, reference)),
            Segment::Literal(_) | Segment::Zeros(_) => None,
        })
    }
}

impl Weigh for Arc<Frame> {
    fn bytes(&self) -> usize {
        /// A source object, its key and its ETag, which nobody else may hold.
        const OBJECT_BYTES: usize = 256;
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(bytes) => bytes.len(),
            Segment::Zeros(_) => 0,
            Segment::Reference(_) => OBJECT_BYTES,
        });
        size_of::<Frame>() + self.segments.len() * size_of::<Segment>() + segments.sum::<usize>()
    }
}
