//! Reads the stored form: single frames by the index, or a whole file.
//!
//! Promise: a frame is checked (length, checksum, every field) before a segment of it is given out.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::columns::{
    OP_ETAG, OP_KIND, OP_LITERAL, OP_NUMBERS, OP_OBJECT, OP_PART, OP_VERSION, OP_ZEROS,
    UNIT_MILLISECOND, UNIT_SECOND,
};
use super::encode::hash;
use super::index::{Index, Tail};
use super::numbered::{FoundNumber, Length, parse_lengths, parse_numbers, with_numbers};
use super::{HEADER_BYTES, StoredError, TRAILER_BYTES, check_magic};
use crate::builder::RopeBuilder;
use crate::name::FileName;
use crate::rope::Rope;
use crate::segment::{MAX_OBJECT_TEXT_BYTES, Reference, Segment, SourceObject};
use crate::varint::{Cursor, Syntax};

/// Decodes a whole stored rope: the rope and its annotation.
///
/// # Errors
/// When any bit of it is not what was written.
pub fn decode(bytes: &[u8]) -> Result<(Rope, Bytes), StoredError> {
    let index = match Index::parse(bytes, bytes.len() as u64)? {
        Tail::Index(index) => index,
        // The whole file was given: only a file too short for its own index could ask for more.
        Tail::NeedMore { .. } => {
            return Err(StoredError::TooShort {
                bytes: bytes.len() as u64,
            });
        }
    };
    check_magic(&bytes[..HEADER_BYTES as usize], "header")?;
    // The index was checked against the file's size, so every frame lies inside it.
    let stored = |frame: usize| {
        let file = &index.frames()[frame].file;
        &bytes[file.start as usize..file.end as usize]
    };
    let mut builder = RopeBuilder::new();
    for frame in index.segment_frames() {
        index
            .decode_frame(frame, stored(frame))?
            .into_iter()
            .for_each(|segment| builder.push(segment));
    }
    let mut annotation = Vec::new();
    for frame in index.annotation_frames() {
        annotation.extend_from_slice(&index.raw_frame(frame, stored(frame))?);
    }
    let found = FileName {
        hash: hash(&bytes[..bytes.len() - TRAILER_BYTES as usize]),
        size: index.name().size,
    };
    if found != index.name() {
        return Err(StoredError::Fingerprint {
            expected: index.name(),
            found,
        });
    }
    Ok((builder.finish(), annotation.into()))
}

impl Index {
    /// Decodes the stored bytes of a frame of segments, which make exactly the bytes that the frame covers.
    ///
    /// # Errors
    /// When there is no such frame, or its bytes are not what was written.
    pub fn decode_frame(&self, frame: usize, stored: &[u8]) -> Result<Vec<Segment>, StoredError> {
        let raw = self.raw_frame(frame, stored)?;
        let wrong = |(at, reason)| StoredError::Frame { frame, at, reason };
        let segments = parse_segments(&raw).map_err(wrong)?;
        // Each length was checked to keep the sum in bounds.
        let made: u64 = segments.iter().map(Segment::len).sum();
        let covers = &self.frames()[frame].covers;
        if made != covers.end - covers.start {
            return Err(wrong((
                0,
                "segments that make another number of bytes than the index says",
            )));
        }
        Ok(segments)
    }

    /// Checks and decompresses a frame: one of the annotation is nothing but its bytes.
    fn raw_frame(&self, number: usize, stored: &[u8]) -> Result<Bytes, StoredError> {
        let found = stored.len() as u64;
        let Some(frame) = self.frames().get(number) else {
            return Err(StoredError::FrameLength {
                frame: number,
                expected: 0,
                found,
            });
        };
        let (offset, expected) = (frame.file.start, frame.file.end - frame.file.start);
        if found != expected {
            return Err(StoredError::FrameLength {
                frame: number,
                expected,
                found,
            });
        }
        if crc32c::crc32c(stored) != frame.crc32c {
            return Err(StoredError::FrameChecksum {
                frame: number,
                offset,
            });
        }
        let raw_bytes = frame.raw_bytes as usize;
        if stored.len() == raw_bytes {
            return Ok(Bytes::copy_from_slice(stored));
        }
        match decompress(stored, raw_bytes) {
            Some(raw) => Ok(raw.into()),
            None => Err(StoredError::FrameCompression {
                frame: number,
                offset,
            }),
        }
    }
}

/// Decompresses to exactly `raw_bytes` bytes.
fn decompress(stored: &[u8], raw_bytes: usize) -> Option<Vec<u8>> {
    thread_local! {
        /// A context is some hundred kilobytes, so each thread keeps one.
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            None => decompressor.insert(zstd::bulk::Decompressor::new().ok()?),
        };
        let raw = decompressor.decompress(stored, raw_bytes).ok()?;
        (raw.len() == raw_bytes).then_some(raw)
    })
}

/// Parses a raw frame. Literals are slices of it.
pub(super) fn parse_segments(raw: &Bytes) -> Result<Vec<Segment>, Syntax> {
    let mut cursor = Cursor::new(raw);
    let segments = cursor.count()?;
    let sources = cursor.count()?;
    let objects = cursor.count()?;
    let ops_at = cursor.position();
    let ops = cursor.take(segments)?;
    let counts = Counts::of(ops, ops_at)?;
    if counts.objects != objects {
        return Err((
            ops_at,
            "ops that name another number of objects than the frame has",
        ));
    }
    let lengths = parse_lengths(&mut cursor, ops, counts.lengths)?;
    let numbers = parse_numbers(&mut cursor, &lengths)?;
    let objects = parse_objects(&mut cursor, ops, sources, objects, counts.parts)?;
    assemble(raw, &mut cursor, ops, lengths, numbers, objects)
}

/// How many values the columns have, by the ops.
#[derive(Default)]
struct Counts {
    lengths: usize,
    objects: usize,
    parts: usize,
}

impl Counts {
    fn of(ops: &[u8], ops_at: usize) -> Result<Self, Syntax> {
        let mut counts = Self::default();
        for (number, &op) in ops.iter().enumerate() {
            let allowed = match op & OP_KIND {
                OP_LITERAL => OP_KIND | OP_NUMBERS,
                OP_ZEROS => OP_KIND,
                OP_OBJECT => OP_KIND | OP_PART | OP_ETAG | OP_VERSION,
                _ if counts.objects == 0 => {
                    return Err((ops_at + number, "a reference to an object before the first"));
                }
                _ => OP_KIND | OP_PART,
            };
            if op & !allowed != 0 {
                return Err((ops_at + number, "an unknown op"));
            }
            match op & OP_KIND {
                OP_LITERAL => counts.lengths += 1 + usize::from(op & OP_NUMBERS != 0),
                OP_ZEROS => counts.lengths += 1,
                kind => {
                    counts.objects += usize::from(kind == OP_OBJECT);
                    counts.parts += usize::from(op & OP_PART != 0);
                }
            }
        }
        Ok(counts)
    }
}

/// The objects of a frame in their order, and offset and length of each part.
struct Objects {
    objects: Vec<Arc<SourceObject>>,
    parts: Vec<u64>,
}

fn parse_objects(
    cursor: &mut Cursor<'_>,
    ops: &[u8],
    sources: usize,
    count: usize,
    parts: usize,
) -> Result<Objects, Syntax> {
    let sources = (0..sources)
        .map(|_| cursor.counted_text().map(Arc::from))
        .collect::<Result<Vec<Arc<str>>, _>>()?;
    let sources_at = cursor.position();
    let object_sources = if sources.len() > 1 {
        numbers(cursor, count)?
    } else {
        Vec::new()
    };
    let sizes = numbers(cursor, count)?;
    let times = parse_times(cursor, count)?;
    let parts = numbers(cursor, 2 * parts)?;
    let new_objects = || ops.iter().copied().filter(|op| op & OP_KIND == OP_OBJECT);
    let keys = new_objects()
        .map(|_| text(cursor).map(Some))
        .collect::<Result<Vec<_>, _>>()?;
    let etags = new_objects()
        .map(|op| optional_text(cursor, op & OP_ETAG != 0))
        .collect::<Result<Vec<_>, _>>()?;
    let versions = new_objects()
        .map(|op| optional_text(cursor, op & OP_VERSION != 0))
        .collect::<Result<Vec<_>, _>>()?;
    let mut objects = Vec::with_capacity(count);
    for (number, ((key, etag), version)) in keys.into_iter().zip(etags).zip(versions).enumerate() {
        let source = object_sources.get(number).copied().unwrap_or(0);
        let source = usize::try_from(source)
            .ok()
            .and_then(|source| sources.get(source));
        let object = SourceObject {
            source: Arc::clone(source.ok_or((sources_at, "an object of an unknown source"))?),
            key: key.unwrap_or_default().into(),
            size: sizes[number],
            etag: etag.map(Into::into),
            last_modified_ms: times[number],
            version: version.map(Into::into),
        };
        if !object.fits_a_rope() {
            return Err((sources_at, "an object with texts too long"));
        }
        objects.push(Arc::new(object));
    }
    Ok(Objects { objects, parts })
}

fn parse_times(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<i64>, Syntax> {
    let at = cursor.position();
    let scale = match cursor.u8()? {
        UNIT_MILLISECOND => 1,
        UNIT_SECOND => 1_000,
        _ => return Err((at, "an unknown unit of time")),
    };
    let mut last = 0i64;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let at = cursor.position();
        last = last.wrapping_add(cursor.signed()?);
        times.push(last.checked_mul(scale).ok_or((at, "a time over 64 bits"))?);
    }
    Ok(times)
}

/// Puts the segments together. What remains of the frame is the bytes of its literals.
fn assemble(
    raw: &Bytes,
    cursor: &mut Cursor<'_>,
    ops: &[u8],
    lengths: Vec<Length>,
    numbers: Vec<FoundNumber>,
    objects: Objects,
) -> Result<Vec<Segment>, Syntax> {
    let columns_end = cursor.position();
    let mut lengths = lengths.into_iter();
    let mut length = || {
        lengths
            .next()
            .map_or((0, 0), |length| (length.bytes, length.numbers as usize))
    };
    let mut numbers = numbers.as_slice();
    let mut new_objects = objects.objects.into_iter();
    let mut parts = objects.parts.into_iter();
    let mut object = None;
    let mut made = 0u64;
    let mut segments = Vec::with_capacity(ops.len());
    // The columns were read by the counts of these very ops, so each `next` has a value.
    for &op in ops {
        let segment = match op & OP_KIND {
            OP_LITERAL => {
                let (length, count) = length();
                let start = cursor.position();
                let bytes = cursor.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                // All numbers were parsed by these very counts.
                let (own, others) = numbers.split_at(count);
                numbers = others;
                Segment::Literal(match own {
                    [] => raw.slice(start..cursor.position()),
                    numbers => with_numbers(bytes, numbers)
                        .ok_or((start, "a number past the end of its literal"))?,
                })
            }
            OP_ZEROS => Segment::Zeros(length().0),
            kind => {
                if kind == OP_OBJECT {
                    object = new_objects.next();
                }
                let object = object
                    .clone()
                    .ok_or((columns_end, "a reference without an object"))?;
                let reference = if op & OP_PART == 0 {
                    Reference::whole(object)
                } else {
                    Reference {
                        object,
                        offset: parts.next().unwrap_or(0),
                        length: parts.next().unwrap_or(0),
                    }
                };
                if !reference.is_in_bounds() {
                    return Err((columns_end, "a reference past the end of its object"));
                }
                Segment::Reference(reference)
            }
        };
        if segment.is_empty() {
            return Err((cursor.position(), "an empty segment"));
        }
        made = made
            .checked_add(segment.len())
            .ok_or((cursor.position(), "segments over 2^64 bytes"))?;
        segments.push(segment);
    }
    if cursor.remaining() != 0 {
        return Err((cursor.position(), "bytes after the last literal"));
    }
    Ok(segments)
}

pub(super) fn numbers(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<u64>, Syntax> {
    // Counts come from ops that are there, or were held against the bytes that follow: a frame has at most 65,536.
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        numbers.push(cursor.varint()?);
    }
    Ok(numbers)
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Syntax> {
    let length = cursor.u32()? as usize;
    if length > MAX_OBJECT_TEXT_BYTES {
        return Err((cursor.position() - 4, "a text over 32 KiB"));
    }
    cursor.text(length)
}

fn optional_text<'a>(cursor: &mut Cursor<'a>, is_there: bool) -> Result<Option<&'a str>, Syntax> {
    if is_there {
        text(cursor).map(Some)
    } else {
        Ok(None)
    }
}
