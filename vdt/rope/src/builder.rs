//! Builds ropes in their canonical form.
//!
//! Promise: ropes of the same content are equal whatever way they were built. Empty segments vanish, adjacent literals
//! become one, so do adjacent zeros, and so do references that continue each other in the same object.

use bytes::{Bytes, BytesMut};

use crate::rope::{MAX_LENGTH, Rope};
use crate::segment::{Reference, Segment};

/// Literals are gathered in shared buffers of this many bytes, so that a page header costs no allocation of its own.
const LITERAL_BUFFER_BYTES: usize = 32 * 1024;

/// Collects segments, front to back, into a canonical [`Rope`].
#[derive(Debug, Default)]
pub struct RopeBuilder {
    segments: Vec<Segment>,
    ends: Vec<u64>,
    length: u64,
    /// A pending literal that was given as a whole: kept without a copy as long as no other literal follows it.
    whole: Bytes,
    /// A pending literal gathered from parts. At most one of `whole` and `gathered` is not empty.
    gathered: BytesMut,
}

impl RopeBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the virtual file so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing but empty segments has been pushed.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends a copy of `bytes`.
    ///
    /// # Panics
    /// When the rope grows past [`MAX_LENGTH`].
    pub fn push_literal(&mut self, bytes: &[u8]) {
        self.grow(bytes.len() as u64);
        if !self.whole.is_empty() {
            let whole = std::mem::take(&mut self.whole);
            self.gather(&whole);
        }
        self.gather(bytes);
    }

    /// Appends `bytes`, without a copy where no other literal is adjacent.
    ///
    /// # Panics
    /// When the rope grows past [`MAX_LENGTH`].
    pub fn push_bytes(&mut self, bytes: Bytes) {
        if self.whole.is_empty() && self.gathered.is_empty() {
            self.grow(bytes.len() as u64);
            self.whole = bytes;
        } else {
            self.push_literal(&bytes);
        }
    }

    /// Appends `length` zero bytes.
    ///
    /// # Panics
    /// When the rope grows past [`MAX_LENGTH`].
    pub fn push_zeros(&mut self, length: u64) {
        if length == 0 {
            return;
        }
        self.grow(length);
        self.finish_literal();
        if let Some(Segment::Zeros(last)) = self.segments.last_mut() {
            *last += length;
            self.extend_last(length);
        } else {
            self.append(Segment::Zeros(length));
        }
    }

    /// Appends a byte range of a source object.
    ///
    /// # Panics
    /// When the range ends past its object, when the object's texts do not fit
    /// ([`SourceObject::fits_a_rope`](crate::SourceObject::fits_a_rope)), or when the rope grows past [`MAX_LENGTH`].
    pub fn push_reference(&mut self, reference: Reference) {
        assert!(
            reference.is_in_bounds(),
            "a reference past the end of its object: {reference:?}"
        );
        assert!(
            reference.object.fits_a_rope(),
            "an object with texts too long for a rope"
        );
        if reference.length == 0 {
            return;
        }
        self.grow(reference.length);
        self.finish_literal();
        let length = reference.length;
        match self.segments.last_mut() {
            Some(Segment::Reference(last)) if last.is_continued_by(&reference) => {
                last.length += length;
                self.extend_last(length);
            }
            _ => self.append(Segment::Reference(reference)),
        }
    }

    /// Appends a segment of any kind.
    ///
    /// # Panics
    /// As the method for its kind does.
    pub fn push(&mut self, segment: Segment) {
        match segment {
            Segment::Literal(bytes) => self.push_bytes(bytes),
            Segment::Zeros(length) => self.push_zeros(length),
            Segment::Reference(reference) => self.push_reference(reference),
        }
    }

    /// The rope.
    pub fn finish(mut self) -> Rope {
        self.finish_literal();
        Rope::from_canonical(self.segments, self.ends)
    }

    fn grow(&mut self, by: u64) {
        self.length = self
            .length
            .checked_add(by)
            .filter(|&length| length <= MAX_LENGTH)
            .expect("a rope has at most MAX_LENGTH bytes");
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(LITERAL_BUFFER_BYTES.max(bytes.len()));
        }
        self.gathered.extend_from_slice(bytes);
    }

    fn finish_literal(&mut self) {
        let literal = if !self.whole.is_empty() {
            std::mem::take(&mut self.whole)
        } else if !self.gathered.is_empty() {
            self.gathered.split().freeze()
        } else {
            return;
        };
        self.append(Segment::Literal(literal));
    }

    fn append(&mut self, segment: Segment) {
        let start = self.ends.last().copied().unwrap_or(0);
        self.ends.push(start + segment.len());
        self.segments.push(segment);
    }

    fn extend_last(&mut self, by: u64) {
        if let Some(end) = self.ends.last_mut() {
            *end += by;
        }
    }
}
