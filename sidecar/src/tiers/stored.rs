//! How an entry lies on the disk.
//!
//! A value on the disk (integers little-endian):
//!
//! ```text
//!   0  u8   version, 1
//!   1  u8   class: 0 metadata, 1 block, 2 pack
//!   2  u16  bytes of the ETag, 0xffff without one
//!   4  u16  bytes of the version id, 0xffff without one
//!   6  u16  zero
//!   8  u64  size of the whole object, bytes
//!  16  i64  last modification of the object, milliseconds of the Unix epoch
//!  24  u32  bytes that follow the two texts
//!  28  ETag, version id, bytes
//! ```
//!
//! foyer puts its own header with a 64-bit checksum over key and value before it, and verifies it at every load; that is what
//! finds bit rot, so no second checksum is kept here.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use foyer::{Code, Error, ErrorKind};

use super::entry::{Class, Entry, EntryMeta, Held, MAX_ENTRY_BYTES, MAX_TEXT_BYTES, text_bytes};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 28;
const NONE: u16 = u16::MAX;

impl Code for Held {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        let Entry { meta, bytes } = &self.entry;
        let mut header = [0u8; HEADER_BYTES];
        header[0] = VERSION;
        header[1] = self.class.index() as u8;
        header[2..4].copy_from_slice(&text_length(&meta.etag)?.to_le_bytes());
        header[4..6].copy_from_slice(&text_length(&meta.version)?.to_le_bytes());
        header[8..16].copy_from_slice(&meta.size.to_le_bytes());
        header[16..24].copy_from_slice(&meta.last_modified_ms.to_le_bytes());
        let length = u32::try_from(bytes.len()).map_err(|_| malformed("an entry is too large"))?;
        header[24..28].copy_from_slice(&length.to_le_bytes());
        let parts = [
            &header[..],
            meta.etag.as_deref().unwrap_or_default().as_bytes(),
            meta.version.as_deref().unwrap_or_default().as_bytes(),
            bytes,
        ];
        parts
            .iter()
            .try_for_each(|part| writer.write_all(part))
            .map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut header = [0u8; HEADER_BYTES];
        reader.read_exact(&mut header).map_err(Error::io_error)?;
        let [version, class, ..] = header;
        if version != VERSION || header[6..8] != [0, 0] {
            return Err(malformed("an entry has another version"));
        }
        let class = *Class::ALL
            .get(usize::from(class))
            .ok_or_else(|| malformed("an entry has an unknown class"))?;
        let etag = read_text(reader, u16::from_le_bytes([header[2], header[3]]))?;
        let object_version = read_text(reader, u16::from_le_bytes([header[4], header[5]]))?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let length = u32::from_le_bytes(std::array::from_fn(|i| header[24 + i])) as usize;
        if length > MAX_ENTRY_BYTES {
            return Err(malformed("an entry is larger than any that was written"));
        }
        let mut bytes = Vec::with_capacity(length);
        reader
            .take(length as u64)
            .read_to_end(&mut bytes)
            .map_err(Error::io_error)?;
        if bytes.len() != length {
            return Err(malformed("an entry is cut short"));
        }
        let meta = EntryMeta {
            size: number(8),
            last_modified_ms: i64::from_le_bytes(number(16).to_le_bytes()),
            etag,
            version: object_version,
        };
        Ok(Self {
            class,
            entry: Entry {
                meta,
                bytes: bytes.into(),
            },
        })
    }

    fn estimated_size(&self) -> usize {
        HEADER_BYTES + text_bytes(&self.entry.meta) + self.entry.bytes.len()
    }
}

fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Parse, what)
}

fn text_length(text: &Option<Arc<str>>) -> foyer::Result<u16> {
    match text {
        None => Ok(NONE),
        Some(text) if text.len() <= MAX_TEXT_BYTES => Ok(text.len() as u16),
        Some(_) => Err(malformed("a text of an entry is too long")),
    }
}

fn read_text(reader: &mut impl Read, length: u16) -> foyer::Result<Option<Arc<str>>> {
    if length == NONE {
        return Ok(None);
    }
    if usize::from(length) > MAX_TEXT_BYTES {
        return Err(malformed(
            "a text of an entry is longer than any that was written",
        ));
    }
    let mut text = vec![0u8; usize::from(length)];
    reader.read_exact(&mut text).map_err(Error::io_error)?;
    let text = String::from_utf8(text).map_err(|_| malformed("a text of an entry is not UTF-8"))?;
    Ok(Some(text.into()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn held(class: Class, etag: Option<&str>, version: Option<&str>, bytes: &[u8]) -> Held {
        let meta = EntryMeta {
            size: 1 << 40,
            last_modified_ms: -5,
            etag: etag.map(Arc::from),
            version: version.map(Arc::from),
        };
        Held {
            class,
            entry: Entry {
                meta,
                bytes: Bytes::copy_from_slice(bytes),
            },
        }
    }

    fn encoded(held: &Held) -> Vec<u8> {
        let mut out = Vec::new();
        held.encode(&mut out).expect("memory takes it");
        out
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        for class in Class::ALL {
            for (etag, version, bytes) in [
                (None, None, &b""[..]),
                (Some("\"abc\""), None, b"bytes"),
                (Some(""), Some("v-1"), &[0u8; 70_000]),
            ] {
                let held = held(class, etag, version, bytes);
                let out = encoded(&held);
                assert_eq!(out.len(), held.estimated_size());
                assert_eq!(
                    Held::decode(&mut out.as_slice()).expect("it was just written"),
                    held
                );
            }
        }
    }

    #[test]
    fn the_header_is_what_the_picture_says() {
        let out = encoded(&held(Class::Pack, Some("e"), None, b"xy"));
        let mut expected = vec![1, 2, 1, 0, 0xff, 0xff, 0, 0];
        expected.extend((1u64 << 40).to_le_bytes());
        expected.extend((-5i64).to_le_bytes());
        expected.extend([2, 0, 0, 0, b'e', b'x', b'y']);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_header_that_was_never_written_is_refused() {
        let good = encoded(&held(
            Class::Block,
            Some("etag"),
            Some("version"),
            b"0123456789",
        ));
        for (at, byte) in [(0, 2), (1, 3), (3, 0x7f), (6, 1), (27, 0x7f), (28, 0xff)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(Held::decode(&mut bad.as_slice()).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(
                Held::decode(&mut &good[..length]).is_err(),
                "cut to {length}"
            );
        }
    }

    #[test]
    fn a_text_too_long_for_the_disk_is_not_storable() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let held = held(Class::Block, Some(&long), None, b"");
        assert!(!held.is_storable());
        assert!(held.encode(&mut Vec::new()).is_err());
    }
}
