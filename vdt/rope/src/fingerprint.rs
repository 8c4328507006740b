//! The fingerprint that names a file: the first 16 bytes of SHA-256 over the whole rope.
//!
//! What is hashed is a canonical encoding of its own, not the stored form: a better compression or other frames never
//! rename a file. Integers are little-endian; every field says its length before its bytes, so that two different ropes
//! never give the same input.
//!
//! ```text
//! "vdt rope 1\n"
//! per segment   01  length u64  bytes                                              literal
//!               02  length u64                                                     zeros
//!               03  offset u64  length u64  size u64  last_modified_ms i64         reference
//!                   source: length u32  bytes      key: length u32  bytes
//!                   etag: 00, or 01  length u32  bytes      version: likewise
//! finally       04  length u64  annotation
//! ```

use sha2::{Digest, Sha256};

use crate::segment::{Reference, Segment};

const DOMAIN: &[u8] = b"vdt rope 1\n";
const LITERAL: u8 = 1;
const ZEROS: u8 = 2;
const REFERENCE: u8 = 3;
const ANNOTATION: u8 = 4;

/// Fields gather here before they are hashed: SHA-256 is fastest on whole blocks.
const BUFFER_BYTES: usize = 8 * 1024;

/// The fingerprint of canonical `segments` and their annotation.
pub(crate) fn fingerprint(segments: &[Segment], annotation: &[u8]) -> [u8; 16] {
    let mut hasher = Hasher {
        sha: Sha256::new(),
        buffer: Vec::with_capacity(BUFFER_BYTES),
    };
    hasher.bytes(DOMAIN);
    for segment in segments {
        match segment {
            Segment::Literal(bytes) => {
                hasher.tagged(LITERAL, bytes.len() as u64);
                hasher.bytes(bytes);
            }
            Segment::Zeros(length) => hasher.tagged(ZEROS, *length),
            Segment::Reference(reference) => hasher.reference(reference),
        }
    }
    hasher.tagged(ANNOTATION, annotation.len() as u64);
    hasher.bytes(annotation);
    hasher.finish()
}

struct Hasher {
    sha: Sha256,
    buffer: Vec<u8>,
}

impl Hasher {
    fn bytes(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.sha.update(&self.buffer);
            self.buffer.clear();
            if bytes.len() > BUFFER_BYTES / 2 {
                self.sha.update(bytes);
                return;
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn tagged(&mut self, tag: u8, length: u64) {
        let mut field = [tag; 9];
        field[1..].copy_from_slice(&length.to_le_bytes());
        self.bytes(&field);
    }

    fn text(&mut self, text: &str) {
        // A key has at most a few thousand bytes; longer ones could not have been stored.
        self.bytes(&(text.len() as u32).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.bytes(&[u8::from(text.is_some())]);
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn reference(&mut self, reference: &Reference) {
        let object = &reference.object;
        let mut field = [REFERENCE; 33];
        field[1..9].copy_from_slice(&reference.offset.to_le_bytes());
        field[9..17].copy_from_slice(&reference.length.to_le_bytes());
        field[17..25].copy_from_slice(&object.size.to_le_bytes());
        field[25..33].copy_from_slice(&object.last_modified_ms.to_le_bytes());
        self.bytes(&field);
        self.text(&object.source);
        self.text(&object.key);
        self.optional_text(object.etag.as_deref());
        self.optional_text(object.version.as_deref());
    }

    fn finish(mut self) -> [u8; 16] {
        self.sha.update(&self.buffer);
        let digest = self.sha.finalize();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        hash
    }
}
