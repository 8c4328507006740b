//! The stored form: round trips, damage, and what a ranged read touches.

use bytes::Bytes;
use proptest::prelude::*;
use vdt_rope::{
    Compression, Encoder, Index, Numbered, Rope, RopeBuilder, Segment, Sequence, StoredError,
    StoredRope, Tail, decode, encode, stored::FRAME_BYTES_MAX,
};

use crate::generate::{materialise, parquet_like, rope, rope_and_range};

fn index_of(bytes: &[u8]) -> Index {
    match Index::parse(bytes, bytes.len() as u64).unwrap() {
        Tail::Index(index) => index,
        Tail::NeedMore { .. } => panic!("the whole file was given"),
    }
}

/// Decodes a range the way a reader of ranges does; the rope and the number of frames decoded.
fn decode_range(index: &Index, bytes: &[u8], range: std::ops::Range<u64>) -> (Rope, usize) {
    let frames = index.frames_for(range.clone());
    let mut builder = RopeBuilder::new();
    let start = frames
        .clone()
        .next()
        .map_or(range.start, |frame| index.frames()[frame].covers.start);
    for frame in frames.clone() {
        let file = index.frames()[frame].file.clone();
        let stored = &bytes[file.start as usize..file.end as usize];
        index
            .decode_frame(frame, stored)
            .unwrap()
            .into_iter()
            .for_each(|segment| builder.push(segment));
    }
    let rope = builder.finish();
    (
        rope.slice(range.start - start..range.end - start).unwrap(),
        frames.len(),
    )
}

/// Stores a file of one literal.
fn stored(literal: &Numbered) -> StoredRope {
    let mut encoder = Encoder::new(Compression::Zstd);
    encoder.numbered(literal);
    encoder.finish(b"")
}

/// Some bytes, and a number behind them.
fn numbered_piece() -> impl Strategy<Value = (Vec<u8>, Sequence, u64)> {
    let bytes = prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (60_000usize..200_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let sequence = prop::sample::select(vec![
        Sequence::First,
        Sequence::Second,
        Sequence::Third,
        Sequence::Fourth,
    ]);
    let value = prop_oneof![0u64..40_000, any::<u64>(), Just(u64::MAX)];
    (bytes, sequence, value)
}

fn leb128(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

proptest! {
    #[test]
    fn a_literal_with_numbers_is_its_bytes(
        pieces in prop::collection::vec(numbered_piece(), 1..40),
        repeats in prop_oneof![4 => Just(1usize), 1 => 1usize..60],
        halves: bool,
        rest in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let bytes: usize = pieces.iter().map(|(bytes, ..)| bytes.len() + 1).sum();
        let repeats = repeats.min(1 + 2_000_000 / bytes);
        let pieces: Vec<_> = std::iter::repeat_n(pieces, repeats).flatten().collect();
        let (mut literal, mut second) = (Numbered::default(), Numbered::default());
        let mut expected = Vec::new();
        for (number, (bytes, sequence, value)) in pieces.iter().enumerate() {
            let half = if halves && number > pieces.len() / 2 { &mut second } else { &mut literal };
            half.extend_from_slice(bytes);
            half.number(*sequence, *value);
            expected.extend_from_slice(bytes);
            expected.extend(leb128(*value));
        }
        literal.append(&mut second);
        prop_assert!(second.is_empty());
        literal.extend_from_slice(&rest);
        expected.extend_from_slice(&rest);
        prop_assert_eq!(literal.as_slice(), &expected);
        let stored = stored(&literal);
        let (rope, _) = decode(&stored.bytes).unwrap();
        prop_assert_eq!(rope.segments(), &[Segment::Literal(expected.into())]);
        let index = index_of(&stored.bytes);
        prop_assert!(index.frames().iter().all(|frame| frame.raw_bytes as usize <= FRAME_BYTES_MAX));
    }

    #[test]
    fn encode_and_decode_are_inverse(rope in rope(), annotation in prop::collection::vec(any::<u8>(), 0..200_000)) {
        let stored = encode(&rope, &annotation);
        prop_assert_eq!(stored.name, rope.file_name(&annotation));
        prop_assert_eq!(&encode(&rope, &annotation), &stored);
        let (again, note) = decode(&stored.bytes).unwrap();
        prop_assert_eq!(again, rope);
        prop_assert_eq!(note, Bytes::from(annotation));
        let index = index_of(&stored.bytes);
        prop_assert!(index.frames().iter().all(|frame| frame.raw_bytes as usize <= FRAME_BYTES_MAX));
    }

    #[test]
    fn ranged_decoding_touches_the_frames_of_the_range((rope, range) in rope_and_range()) {
        let stored = encode(&rope, b"");
        let index = index_of(&stored.bytes);
        let (slice, _) = decode_range(&index, &stored.bytes, range.clone());
        prop_assert_eq!(&slice, &rope.slice(range.clone()).unwrap());
        prop_assert_eq!(materialise(slice.segments()).len() as u64, range.end - range.start);
        for (number, frame) in index.frames()[index.segment_frames()].iter().enumerate() {
            let overlaps = !range.is_empty() && frame.covers.start < range.end && range.start < frame.covers.end;
            prop_assert_eq!(overlaps, !range.is_empty() && index.frames_for(range.clone()).contains(&number));
        }
    }

    #[test]
    fn any_bit_flip_is_an_error(rope in rope(), annotation: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = encode(&rope, &annotation).bytes;
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err(), "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn any_truncation_or_extension_is_an_error(rope in rope(), at: prop::sample::Index, more in prop::collection::vec(any::<u8>(), 1..100)) {
        let bytes = encode(&rope, b"note").bytes;
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        let longer = [bytes.as_slice(), &more].concat();
        prop_assert!(decode(&longer).is_err());
        let shifted = [more.as_slice(), &bytes].concat();
        prop_assert!(decode(&shifted).is_err());
    }

    #[test]
    fn any_bytes_are_an_error(bytes: Vec<u8>, file_bytes: u64) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(!matches!(Index::parse(&bytes, file_bytes), Ok(Tail::Index(_))));
    }

    #[test]
    fn a_short_tail_asks_for_what_it_needs(rope in rope(), length: prop::sample::Index) {
        let bytes = encode(&rope, b"").bytes;
        let mut tail = length.index(bytes.len() + 1);
        let index = loop {
            match Index::parse(&bytes[bytes.len() - tail..], bytes.len() as u64).unwrap() {
                Tail::Index(index) => break index,
                Tail::NeedMore { bytes: more } => {
                    prop_assert!(more as usize > tail && more as usize <= bytes.len());
                    tail = more as usize;
                }
            }
        };
        prop_assert_eq!(index, index_of(&bytes));
    }
}

#[test]
fn a_tail_read_of_a_large_file_decodes_one_frame() {
    let rope = parquet_like(16_000);
    let stored = encode(&rope, b"");
    let length = stored.bytes.len();
    let tail = &stored.bytes[length - Index::TAIL_BYTES_HINT as usize..];
    let Tail::Index(index) = Index::parse(tail, length as u64).unwrap() else {
        panic!("the hint holds the index of 16,000 artifacts");
    };
    let range = rope.len() - 8..rope.len();
    let (slice, frames) = decode_range(&index, &stored.bytes, range.clone());
    assert_eq!(frames, 1);
    assert!(materialise(slice.segments()).ends_with(b"PAR1"));
    let read = index.file_range(index.frames_for(range));
    assert!(read.end - read.start <= FRAME_BYTES_MAX as u64);
    let all = index
        .frames()
        .iter()
        .map(|frame| u64::from(frame.raw_bytes))
        .sum::<u64>();
    println!(
        "16,000 artifacts: {} frames, {length} bytes stored ({:.1} an artifact), {all} raw; an 8-byte tail reads {} bytes after the index",
        index.frames().len(),
        length as f64 / 16_000.0,
        read.end - read.start
    );
}

#[test]
fn the_footer_starts_a_frame_after_the_padding() {
    let rope = parquet_like(100);
    let index = index_of(&encode(&rope, b"").bytes);
    let padding_end = rope.len() - rope.segments().last().unwrap().len();
    assert!(
        index
            .frames()
            .iter()
            .any(|frame| frame.covers.start == padding_end)
    );
}

#[test]
fn damage_is_named() {
    let rope = parquet_like(1_000);
    let stored = encode(&rope, b"note");
    let index = index_of(&stored.bytes);
    let frame = index.frames()[1].file.start;
    let flipped = |at: usize| {
        let mut bytes = stored.bytes.clone();
        bytes[at] ^= 1;
        decode(&bytes).unwrap_err()
    };
    let length = stored.bytes.len();
    assert_eq!(flipped(0), StoredError::Magic { part: "header" });
    assert_eq!(flipped(7), StoredError::Version { found: 2 });
    assert_eq!(
        flipped(frame as usize),
        StoredError::FrameChecksum {
            frame: 1,
            offset: frame
        }
    );
    assert_eq!(flipped(length - 60), StoredError::IndexChecksum);
    assert_eq!(flipped(length - 50), StoredError::TrailerChecksum);
    assert_eq!(flipped(length - 8), StoredError::Magic { part: "trailer" });
    assert_eq!(
        Index::parse(&stored.bytes[1..], length as u64 - 1).unwrap_err(),
        StoredError::FileLength {
            expected: length as u64,
            found: length as u64 - 1
        }
    );
    assert_eq!(
        decode(b"short").unwrap_err(),
        StoredError::TooShort { bytes: 5 }
    );
    assert!(flipped(frame as usize).to_string().contains("frame 1"));
}

#[test]
fn a_frame_of_another_length_or_number_is_refused() {
    let stored = encode(&parquet_like(100), b"");
    let index = index_of(&stored.bytes);
    assert!(matches!(
        index.decode_frame(0, b""),
        Err(StoredError::FrameLength { frame: 0, .. })
    ));
    assert!(matches!(
        index.decode_frame(1_000, b""),
        Err(StoredError::FrameLength { frame: 1_000, .. })
    ));
}

#[test]
fn numbers_told_apart_take_less() {
    let mut literal = Numbered::default();
    for number in 1..20_000u64 {
        literal.extend_from_slice(b"offset and size of a chunk");
        literal.number(Sequence::First, number * 1_000_003);
        literal.number(Sequence::Second, 50_000_000 + number % 7);
    }
    let plain = Rope::from_iter([Segment::Literal(literal.as_slice().to_vec().into())]);
    let (apart, plain) = (
        stored(&literal).bytes.len(),
        encode(&plain, b"").bytes.len(),
    );
    assert!(apart < plain / 4, "{apart} bytes, {plain} without");
}

#[test]
fn an_empty_rope_is_stored() {
    let stored = encode(&Rope::default(), b"");
    let (rope, annotation) = decode(&stored.bytes).unwrap();
    assert!(rope.is_empty() && annotation.is_empty());
}
