//! Slices, concatenation and names.

use bytes::Bytes;
use proptest::prelude::*;
use vdt_rope::{Rope, RopeBuilder, Segment};

use crate::generate::{materialise, rope, rope_and_range, segments};

proptest! {
    #[test]
    fn any_range_of_any_rope_is_that_slice_of_the_file((rope, range) in rope_and_range()) {
        let file = materialise(rope.segments());
        prop_assert_eq!(file.len() as u64, rope.len());
        let slice = rope.slice(range.clone()).unwrap();
        prop_assert_eq!(slice.len(), range.end - range.start);
        prop_assert_eq!(materialise(slice.segments()), &file[range.start as usize..range.end as usize]);
    }

    #[test]
    fn slices_compose((rope, range) in rope_and_range()) {
        let (before, middle, after) = (rope.slice(0..range.start), rope.slice(range.clone()), rope.slice(range.end..rope.len()));
        let (before, middle, after) = (before.unwrap(), middle.unwrap(), after.unwrap());
        prop_assert_eq!(before.concat(&middle).concat(&after), rope.clone());
        prop_assert_eq!(before.concat(&middle), rope.slice(0..range.end).unwrap());
        let half = middle.len() / 2;
        prop_assert_eq!(middle.slice(0..half), rope.slice(range.start..range.start + half));
    }

    #[test]
    fn ropes_are_canonical(segments in segments()) {
        let rope: Rope = segments.iter().cloned().collect();
        prop_assert_eq!(materialise(rope.segments()), materialise(&segments));
        prop_assert!(rope.segments().iter().all(|segment| !segment.is_empty()));
        for pair in rope.segments().windows(2) {
            let may_touch = match pair {
                [Segment::Literal(_), Segment::Literal(_)] | [Segment::Zeros(_), Segment::Zeros(_)] => false,
                [Segment::Reference(a), Segment::Reference(b)] => !a.is_continued_by(b),
                _ => true,
            };
            prop_assert!(may_touch, "{:?}", pair);
        }
    }

    #[test]
    fn name_does_not_depend_on_literal_chunking(segments in segments(), chunk in 1usize..50, annotation: Vec<u8>) {
        let whole: Rope = segments.iter().cloned().collect();
        let mut builder = RopeBuilder::new();
        for (number, segment) in segments.iter().enumerate() {
            match segment {
                Segment::Literal(bytes) => bytes.chunks(chunk).enumerate().for_each(|(at, part)| {
                    if (at + number) % 2 == 0 {
                        builder.push_literal(part);
                    } else {
                        builder.push_bytes(Bytes::copy_from_slice(part));
                    }
                }),
                Segment::Zeros(length) => {
                    builder.push_zeros(length / 2);
                    builder.push_zeros(length - length / 2);
                }
                reference => {
                    let half = reference.len() / 2;
                    builder.push(reference.slice(0..half));
                    builder.push(reference.slice(half..reference.len()));
                }
            }
        }
        prop_assert_eq!(builder.len(), whole.len());
        let chunked = builder.finish();
        prop_assert_eq!(chunked.file_name(&annotation), whole.file_name(&annotation));
        prop_assert_eq!(chunked, whole);
    }

    #[test]
    fn name_depends_on_every_segment_and_the_annotation(a in rope(), b in rope(), annotation: Vec<u8>) {
        prop_assert_eq!(a == b, a.file_name(&annotation) == b.file_name(&annotation));
        let mut other = annotation.clone();
        other.push(0);
        prop_assert_ne!(a.file_name(&annotation), a.file_name(&other));
    }
}

#[test]
fn ranges_out_of_bounds_are_none() {
    let mut builder = RopeBuilder::new();
    builder.push_literal(b"abc");
    let rope = builder.finish();
    assert!(rope.slice(0..4).is_none());
    assert!(rope.slice(4..4).is_none());
    #[expect(clippy::reversed_empty_ranges, reason = "it is refused")]
    let reversed = rope.slice(2..1);
    assert!(reversed.is_none());
    assert!(rope.slice(3..3).unwrap().is_empty());
}

#[test]
#[should_panic(expected = "at most MAX_LENGTH bytes")]
fn a_rope_over_the_largest_size_of_delta_is_refused() {
    let mut builder = RopeBuilder::new();
    builder.push_zeros(vdt_rope::MAX_LENGTH);
    builder.push_literal(b"a");
}

#[test]
fn the_name_of_a_rope_is_fixed() {
    let object = std::sync::Arc::new(vdt_rope::SourceObject {
        source: "0123456789abcdef".into(),
        key: "a/b.pdf".into(),
        size: 10,
        etag: Some("e".into()),
        last_modified_ms: 1,
        version: None,
    });
    let mut builder = RopeBuilder::new();
    builder.push_literal(b"PAR1");
    builder.push_reference(vdt_rope::Reference {
        object,
        offset: 1,
        length: 8,
    });
    builder.push_zeros(20);
    let rope = builder.finish();
    // Changing the stored form renames files that are laid out again: it needs a new version, and a release note.
    assert_eq!(
        rope.file_name(b"note").to_string(),
        "e82e71ab723d321f2021d76beb4282b6-32"
    );
}
