//! What only the inside can try: raw frames and indexes that no encoder would write, under checksums that match.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::columns::Columns;
use super::decode::parse_segments;
use super::*;
use crate::segment::{Reference, Segment, SourceObject};
use crate::varint::{self, Cursor};

fn object(number: u64) -> Arc<SourceObject> {
    Arc::new(SourceObject {
        source: ["00000000000000aa", "00000000000000bb"][number as usize % 2].into(),
        key: format!("k/{number}").into(),
        size: 1_000 + number,
        etag: (!number.is_multiple_of(3)).then(|| "abc".into()),
        last_modified_ms: 1_700_000_000_123 + number as i64,
        version: number.is_multiple_of(5).then(|| "v1".into()),
    })
}

/// A raw frame with everything in it, and its segments.
fn frame() -> (Vec<u8>, Vec<Segment>) {
    let mut columns = Columns::default();
    let mut segments = Vec::new();
    for number in 0..10 {
        let part = Reference {
            object: object(number),
            offset: 10,
            length: 20,
        };
        let whole = Reference::whole(object(number));
        segments.push(Segment::Literal(Bytes::from(format!("header {number}"))));
        segments.push(Segment::Reference(whole));
        segments.push(Segment::Zeros(number + 1));
        segments.push(Segment::Reference(part));
    }
    for segment in &segments {
        assert!(match segment {
            Segment::Literal(bytes) => columns.push_literal(bytes),
            Segment::Zeros(length) => columns.push_zeros(*length),
            Segment::Reference(reference) => {
                columns.push_reference(&reference.object, reference.offset, reference.length)
            }
        });
    }
    let mut literal = Numbered::from(b"footer".to_vec());
    for number in 0..20 {
        literal.number(Sequence::Second, 70_000 * (number + 1));
        literal.number(Sequence::Fourth, u64::MAX - number);
        literal.extend_from_slice(b" and ");
    }
    let added = columns.push_numbered(literal.as_slice(), literal.numbers(), 0);
    assert_eq!(added, (literal.len(), 40));
    segments.push(Segment::Literal(literal.as_slice().to_vec().into()));
    let mut raw = Vec::new();
    columns.drain_to(&mut raw);
    assert!(columns.is_empty());
    (raw, segments)
}

/// A stored file of `frames` (bytes as they are) and `index`, with checksums that match.
fn file(frames: &[u8], index: &[u8], virtual_bytes: u64) -> Vec<u8> {
    let mut out = magic().to_vec();
    out.extend_from_slice(frames);
    out.extend_from_slice(index);
    let trailer = out.len();
    out.extend_from_slice(&(index.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(index).to_le_bytes());
    out.extend_from_slice(&virtual_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&(trailer as u64 + TRAILER_BYTES).to_le_bytes());
    let crc = crc32c::crc32c(&out[trailer..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&magic());
    out
}

fn parse(file: &[u8]) -> Result<Tail, StoredError> {
    Index::parse(file, file.len() as u64)
}

#[test]
fn a_frame_parses_back() {
    let (raw, segments) = frame();
    assert_eq!(parse_segments(&Bytes::from(raw)).unwrap(), segments);
}

proptest! {
    #[test]
    fn any_raw_frame_parses_or_says_where_it_is_wrong(raw in prop::collection::vec(any::<u8>(), 0..500)) {
        let length = raw.len();
        if let Err((at, reason)) = parse_segments(&raw.into()) {
            prop_assert!(at <= length && !reason.is_empty());
        }
    }

    #[test]
    fn a_changed_raw_frame_keeps_the_rules(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let (mut raw, _) = frame();
        let at = at.index(raw.len());
        raw[at] = byte;
        if let Ok(segments) = parse_segments(&raw.clone().into()) {
            for segment in segments {
                prop_assert!(!segment.is_empty());
                if let Segment::Reference(reference) = segment {
                    prop_assert!(reference.is_in_bounds() && reference.object.fits_a_rope());
                }
            }
        }
        let (raw, _) = frame();
        prop_assert!(parse_segments(&raw[..cut.index(raw.len())].to_vec().into()).is_err());
    }

    #[test]
    fn any_index_parses_or_says_where_it_is_wrong(
        frames in prop::collection::vec(any::<u8>(), 0..50),
        index in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..50),
        virtual_bytes in prop_oneof![0u64..20, any::<u64>()],
    ) {
        let bytes = file(&frames, &index, virtual_bytes);
        match parse(&bytes) {
            Ok(Tail::Index(index)) => {
                prop_assert_eq!(index.len(), virtual_bytes);
                prop_assert!(decode(&bytes).is_err());
            }
            Ok(Tail::NeedMore { .. }) => prop_assert!(false, "the whole file was given"),
            Err(StoredError::Index { at, .. }) => prop_assert!(at <= index.len()),
            Err(other) => prop_assert!(matches!(other, StoredError::Trailer { .. }), "{}", other),
        }
    }

    #[test]
    fn varints_are_inverse(value: u64, signed: i64) {
        let mut bytes = Vec::new();
        varint::push(&mut bytes, value);
        prop_assert_eq!(bytes.len(), varint::len(value));
        prop_assert_eq!(Cursor::new(&bytes).varint(), Ok(value));
        prop_assert_eq!(varint::unzigzag(varint::zigzag(signed)), signed);
    }
}

#[test]
fn lying_indexes_are_refused() {
    let entry = |stored: u64, raw: u64, covers: u64| {
        let mut index = vec![1, 0];
        varint::push(&mut index, stored);
        varint::push(&mut index, raw);
        index.extend_from_slice(&crc32c::crc32c(b"abcd").to_le_bytes());
        varint::push(&mut index, covers);
        index
    };
    assert!(matches!(
        parse(&file(b"abcd", &entry(4, 4, 10), 10)),
        Ok(Tail::Index(_))
    ));
    for (index, reason) in [
        (
            entry(3, 4, 10),
            "bytes between the last frame and the index",
        ),
        (
            entry(5, 5, 10),
            "a frame that ends past the start of the index",
        ),
        (
            entry(4, 4, 9),
            "frames that make fewer bytes than the virtual file has",
        ),
        (
            entry(4, 4, 11),
            "frames that make more bytes than the virtual file has",
        ),
        (entry(4, 4, 0), "a frame that makes no byte"),
        (entry(4, 3, 10), "a frame of an impossible size"),
        (entry(4, 1 << 40, 10), "a frame of an impossible size"),
        (entry(0, 4, 10), "a frame of an impossible size"),
        (
            [entry(4, 4, 10), vec![0]].concat(),
            "bytes after the last frame",
        ),
        (vec![200, 1, 0, 0], "a count over the bytes that follow"),
        (
            vec![2, 2, 0, 0, 0, 0],
            "more frames than the index has room for",
        ),
        (Vec::new(), "a field ends past the end"),
    ] {
        let Err(StoredError::Index { reason: found, .. }) = parse(&file(b"abcd", &index, 10))
        else {
            panic!("{reason}");
        };
        assert_eq!(found, reason);
    }
    let over = parse(&file(b"abcd", &entry(4, 4, 10), 1 << 63));
    assert_eq!(
        over,
        Err(StoredError::Trailer {
            reason: "the virtual file is over 2^63 - 1 bytes"
        })
    );
}

#[test]
fn an_index_larger_than_its_file_is_refused_unread() {
    let mut bytes = file(b"", &[0, 0], 0);
    let trailer = bytes.len() - TRAILER_BYTES as usize;
    bytes[trailer..trailer + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[trailer..trailer + 40]);
    bytes[trailer + 40..trailer + 44].copy_from_slice(&crc.to_le_bytes());
    let refused = StoredError::Trailer {
        reason: "the index is larger than the file has room for",
    };
    assert_eq!(parse(&bytes), Err(refused));
}

#[test]
fn a_frame_that_is_no_zstd_or_inflates_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 10 * FRAME_BYTES_MAX], 1).unwrap();
    for stored in [b"not zstd".to_vec(), bomb] {
        let mut index = vec![1, 0];
        varint::push(&mut index, stored.len() as u64);
        varint::push(&mut index, FRAME_BYTES_MAX as u64);
        index.extend_from_slice(&crc32c::crc32c(&stored).to_le_bytes());
        varint::push(&mut index, 10);
        let refused = StoredError::FrameCompression {
            frame: 0,
            offset: HEADER_BYTES,
        };
        assert_eq!(decode(&file(&stored, &index, 10)), Err(refused));
    }
}
