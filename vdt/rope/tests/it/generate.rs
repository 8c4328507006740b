//! Random ropes, and the bytes behind them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use vdt_rope::{Reference, Rope, RopeBuilder, Segment, SourceObject};

/// The bytes of an object: a function of its identity and the offset.
pub(crate) fn content(object: &SourceObject, range: Range<u64>) -> Vec<u8> {
    let seed = object
        .key
        .bytes()
        .chain(object.etag.iter().flat_map(|etag| etag.bytes()))
        .fold(7u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
    range
        .map(|at| (seed.wrapping_add(at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// The file that a rope stands for.
pub(crate) fn materialise(segments: &[Segment]) -> Vec<u8> {
    let mut file = Vec::new();
    for segment in segments {
        match segment {
            Segment::Literal(bytes) => file.extend_from_slice(bytes),
            Segment::Zeros(length) => file.resize(file.len() + *length as usize, 0),
            Segment::Reference(reference) => {
                file.extend(content(&reference.object, reference.range()))
            }
        }
    }
    file
}

pub(crate) fn object() -> impl Strategy<Value = Arc<SourceObject>> {
    let etag = prop_oneof![3 => "[0-9a-f]{8}".prop_map(Some), 1 => Just(None)];
    let version = prop_oneof![4 => Just(None), 1 => "[a-z]{4}".prop_map(Some)];
    let time = prop_oneof![
        (1_600_000_000i64..1_700_000_000).prop_map(|seconds| seconds * 1_000),
        1_600_000_000_000i64..1_700_000_000_000,
        Just(i64::MIN),
        Just(i64::MAX),
    ];
    let source = prop_oneof![4 => Just("00000000000000aa"), 1 => Just("00000000000000bb")];
    (
        source,
        "[a-zé/ %+#]{1,12}[a-z]",
        0u64..300,
        etag,
        time,
        version,
    )
        .prop_map(|(source, key, size, etag, last_modified_ms, version)| {
            Arc::new(SourceObject {
                source: source.into(),
                key: key.into(),
                size,
                etag: etag.map(Into::into),
                last_modified_ms,
                version: version.map(Into::into),
            })
        })
}

pub(crate) fn segment() -> impl Strategy<Value = Segment> {
    let literal = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0usize..150_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let whole = object().prop_map(Reference::whole);
    let part = (
        object(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(object, a, b)| {
            let (a, b) = (
                a.index(object.size as usize + 1) as u64,
                b.index(object.size as usize + 1) as u64,
            );
            Reference {
                object,
                offset: a.min(b),
                length: a.abs_diff(b),
            }
        });
    prop_oneof![
        4 => literal.prop_map(|bytes| Segment::Literal(Bytes::from(bytes))),
        1 => (0u64..5_000).prop_map(Segment::Zeros),
        3 => whole.prop_map(Segment::Reference),
        2 => part.prop_map(Segment::Reference),
    ]
}

pub(crate) fn segments() -> impl Strategy<Value = Vec<Segment>> {
    prop::collection::vec(segment(), 0..40)
}

pub(crate) fn rope() -> impl Strategy<Value = Rope> {
    segments().prop_map(|segments| segments.into_iter().collect())
}

/// A rope and two ordered offsets in it.
pub(crate) fn rope_and_range() -> impl Strategy<Value = (Rope, Range<u64>)> {
    (
        rope(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(rope, a, b)| {
            let ends = rope.len() as usize + 1;
            let (a, b) = (a.index(ends) as u64, b.index(ends) as u64);
            (rope, a.min(b)..a.max(b))
        })
}

/// A small deterministic generator for texts that do not compress.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 33)
    }
}

/// A file of `artifacts` artifacts of about 100 kB, laid out as Parquet would be: per row group of 20 the small columns,
/// then a page header before each artifact; 512 KiB of padding; a footer.
pub(crate) fn parquet_like(artifacts: usize) -> Rope {
    let mut random = Random(42);
    let mut rope = RopeBuilder::new();
    let source: Arc<str> = "0123456789abcdef".into();
    for group in 0..artifacts.div_ceil(20) {
        let objects: Vec<_> = (group * 20..artifacts.min(group * 20 + 20))
            .map(|number| {
                let (a, b) = (random.next(), random.next());
                let customer = number / 500;
                SourceObject {
                    source: Arc::clone(&source),
                    key: format!(
                        "manuals/customer-{customer:04}/2024/{:08x}-document-{number:010}.pdf",
                        a as u32
                    )
                    .into(),
                    size: 100_000 + b % 1_000,
                    etag: Some(format!("{a:016x}{b:016x}").into()),
                    last_modified_ms: 1_700_000_000_000
                        + (random.next() % 10_000_000) as i64 * 1_000,
                    version: None,
                }
            })
            .map(Arc::new)
            .collect();
        let mut column = Vec::new();
        for number in 0..objects.len() {
            column.extend_from_slice(&((group * 20 + number) as u64).to_le_bytes());
        }
        let mut text = |text: &str| {
            column.extend_from_slice(&(text.len() as u32).to_le_bytes());
            column.extend_from_slice(text.as_bytes());
        };
        objects
            .iter()
            .for_each(|object| text(object.key.strip_prefix("manuals/").unwrap()));
        objects.iter().for_each(|_| text("application/pdf"));
        objects
            .iter()
            .for_each(|object| text(&format!("s3://corporate-bucket/{}", object.key)));
        objects
            .iter()
            .for_each(|object| text(object.etag.as_ref().unwrap()));
        objects.iter().for_each(|_| text("etag"));
        objects
            .iter()
            .for_each(|object| column.extend_from_slice(&object.size.to_le_bytes()));
        rope.push_literal(&column);
        for object in objects {
            let mut header =
                *b"\x15\x00\x15______\x15______\x2c\x15\x02\x15\x00\x15\x06\x15\x06\x1c\x36\x00";
            header[3..9].copy_from_slice(&object.size.to_be_bytes()[2..]);
            header[10..16].copy_from_slice(&object.size.to_be_bytes()[2..]);
            rope.push_literal(&header);
            rope.push_literal(&(object.size as u32).to_le_bytes());
            rope.push_reference(Reference::whole(object));
        }
    }
    rope.push_zeros(512 * 1024);
    let mut footer = Vec::new();
    for group in 0..artifacts.div_ceil(20) as u64 {
        for column in 0..8u64 {
            footer.extend_from_slice(b"\x19\x1c\x16________\x26\x00\x1c\x15\x0c\x19\x35\x00\x06\x08\x19\x18\x08filename\x15\x00\x16\x28\x16");
            footer.extend_from_slice(&(group * 2_000_000 + column * 1_000).to_be_bytes()[3..]);
            footer.extend_from_slice(b"\x16________\x00\x00");
        }
    }
    footer.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    footer.extend_from_slice(b"PAR1");
    rope.push_literal(&footer);
    rope.finish()
}
