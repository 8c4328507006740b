//! Sources that exist as a formula only, and files made of them.

use std::sync::Arc;

use bytes::Bytes;
use vdt_rope::{Rope, Segment, SourceObject};
use vdt_table::{Artifact, FileGroup, SourceContext};

pub(crate) const SOURCE_ID: &str = "0123456789abcdef";

pub(crate) fn source(prefix: &str) -> Arc<SourceContext> {
    Arc::new(SourceContext {
        name: "bucket".into(),
        id: SOURCE_ID.into(),
        prefix: prefix.into(),
        url_prefix: "s3://corp/".into(),
        etag_is_checksum: true,
    })
}

pub(crate) fn artifact(id: i64, key: &str, size: u64) -> Artifact {
    let object = SourceObject {
        source: SOURCE_ID.into(),
        key: key.into(),
        size,
        etag: Some(format!("{:032x}", hash(key)).into()),
        last_modified_ms: 1_763_970_000_123 + id,
        version: None,
    };
    Artifact {
        id,
        object: Arc::new(object),
        storage_class: None,
        archived: false,
    }
}

/// Artifacts `k/00000`, `k/00001`, ... of these sizes.
pub(crate) fn group(sizes: impl IntoIterator<Item = u64>) -> FileGroup {
    let artifacts = sizes.into_iter().enumerate();
    let artifacts = artifacts.map(|(i, size)| artifact(i as i64, &format!("k/{i:05}.pdf"), size));
    FileGroup {
        source: source("k/"),
        artifacts: artifacts.collect(),
    }
}

pub(crate) fn hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The bytes of an object: a formula of its key.
pub(crate) fn content(object: &SourceObject) -> Vec<u8> {
    let seed = hash(&object.key);
    (0..object.size)
        .map(|i| (seed.wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// The bytes of a file.
pub(crate) fn materialise(rope: &Rope) -> Bytes {
    let mut out = Vec::new();
    for segment in rope.segments() {
        match segment {
            Segment::Literal(bytes) => out.extend_from_slice(bytes),
            Segment::Zeros(count) => out.resize(out.len() + *count as usize, 0),
            Segment::Reference(reference) => {
                let range = reference.range();
                let bytes = content(&reference.object);
                out.extend_from_slice(&bytes[range.start as usize..range.end as usize]);
            }
        }
    }
    out.into()
}

/// The last bytes of a file, which must be literals or zeros.
pub(crate) fn tail(rope: &Rope, from: u64) -> Bytes {
    materialise(&rope.slice(from..rope.len()).unwrap())
}
