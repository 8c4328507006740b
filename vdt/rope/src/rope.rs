//! The rope: a virtual file as a sequence of segments, and its algebra.
//!
//! Promises: a rope is canonical (see [`RopeBuilder`]), so equal content built from the same objects is equal as a
//! value, and `slice(a..b)` followed by `slice(b..c)` is `slice(a..c)`. Nothing here reads a byte of an artifact.

use std::ops::Range;

use crate::builder::RopeBuilder;
use crate::name::FileName;
use crate::segment::Segment;
use crate::stored;

/// Most bytes of a virtual file: sizes in a Delta log are signed 64-bit numbers.
pub const MAX_LENGTH: u64 = i64::MAX as u64;

/// A virtual file: literals, zeros and references in the order of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rope {
    segments: Vec<Segment>,
    /// `ends[i]` is the offset one past segment `i`.
    ends: Vec<u64>,
}

impl Rope {
    /// Segments that already are canonical, with the offset one past each.
    pub(crate) fn from_canonical(segments: Vec<Segment>, ends: Vec<u64>) -> Self {
        debug_assert_eq!(segments.len(), ends.len());
        Self { segments, ends }
    }

    /// Bytes of the virtual file.
    pub fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The segments, none of them empty.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The rope of the half-open `range`; `None` when it is decreasing or ends past the file.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Option<Rope> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let first = self.ends.partition_point(|&end| end <= range.start);
        let spans = self.segments[first..].iter().zip(&self.ends[first..]);
        let pieces =
            spans.map_while(|(segment, &end)| {
                let start = end - segment.len();
                if start >= range.end {
                    None
                } else if range.start <= start && end <= range.end {
                    Some(segment.clone())
                } else {
                    Some(segment.slice(
                        range.start.saturating_sub(start)..segment.len().min(range.end - start),
                    ))
                }
            });
        Some(pieces.collect())
    }

    /// This file followed by `next`.
    ///
    /// # Panics
    /// When both together have more than [`MAX_LENGTH`] bytes.
    #[must_use]
    pub fn concat(&self, next: &Rope) -> Rope {
        self.segments
            .iter()
            .chain(&next.segments)
            .cloned()
            .collect()
    }

    /// The name of this file stored with `annotation`: see [`encode`](crate::encode), which is what this costs.
    pub fn file_name(&self, annotation: &[u8]) -> FileName {
        stored::encode(self, annotation).name
    }
}

impl FromIterator<Segment> for Rope {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Self {
        let mut builder = RopeBuilder::new();
        segments
            .into_iter()
            .for_each(|segment| builder.push(segment));
        builder.finish()
    }
}
