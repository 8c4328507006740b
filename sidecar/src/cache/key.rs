//! Keys of entries.
//!
//! A key is the first 16 bytes of SHA-256 over a text that names the bytes and nothing else. The text is a list of fields; each is
//! written with its length before it, and a field that may be absent with a byte that says so. So no two lists have one text:
//!
//! ```text
//!   domain   "vdt-cache-1"
//!   kind     one byte: 1 source object, 2 log object, 3 pack
//!   fields   u64 length, bytes (little-endian) | u64 | 0 or 1, then the field
//! ```
//!
//! A block's key has the block size too: another size makes other blocks. The order of the fields is part of the format.

use sha2::{Digest, Sha256};
use vdt_rope::SourceObject;

use crate::tiers::{EntryMeta, Key};

const DOMAIN: &[u8] = b"vdt-cache-1";

/// A text under way.
#[derive(Clone)]
struct Text(Sha256);

impl Text {
    fn new(kind: u8) -> Self {
        Self(Sha256::new_with_prefix(DOMAIN)).byte(kind)
    }

    fn byte(mut self, byte: u8) -> Self {
        self.0.update([byte]);
        self
    }

    fn number(mut self, number: u64) -> Self {
        self.0.update(number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn optional(self, text: Option<&str>) -> Self {
        match text {
            None => self.byte(0),
            Some(text) => self.byte(1).bytes(text.as_bytes()),
        }
    }

    fn key(self) -> Key {
        let digest: [u8; 32] = self.0.finalize().into();
        Key(u128::from_le_bytes(std::array::from_fn(|at| digest[at])))
    }
}

/// What an object is, so that bytes of another one are never found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(Key);

/// Kinds of texts.
const SOURCE: u8 = 1;
const LOG: u8 = 2;
const PACK: u8 = 3;

/// Kinds of what is kept under an identity.
const META: u8 = 0;
const BLOCK: u8 = 1;

impl Identity {
    /// A source object by its ETag (without quotes), and version where versions are pinned.
    pub(super) fn tagged(source: &str, key: &str, etag: &str, version: Option<&str>) -> Self {
        let text = Text::new(SOURCE)
            .bytes(source.as_bytes())
            .bytes(key.as_bytes())
            .optional(Some(etag))
            .optional(version);
        Self(text.key())
    }

    /// A source object as it was listed: by its ETag, else by size and time.
    pub(super) fn listed(object: &SourceObject) -> Self {
        let version = object.version.as_deref();
        match object.etag.as_deref() {
            Some(etag) => Self::tagged(&object.source, &object.key, etag, version),
            None => {
                let text = Text::new(SOURCE)
                    .bytes(object.source.as_bytes())
                    .bytes(object.key.as_bytes())
                    .optional(None)
                    .optional(version)
                    .number(object.size)
                    .number(object.last_modified_ms.cast_unsigned());
                Self(text.key())
            }
        }
    }

    /// The name of a log object or a rope. What it is now tells [`Identity::of_content`].
    pub(super) fn named(store_id: &str, path: &str) -> Self {
        let text = Text::new(LOG)
            .bytes(store_id.as_bytes())
            .bytes(path.as_bytes());
        Self(text.key())
    }

    /// The object that has this name and these properties.
    pub(super) fn of_content(self, meta: &EntryMeta) -> Self {
        let text = Text::new(LOG)
            .number(meta.size)
            .optional(meta.etag.as_deref())
            .optional(meta.version.as_deref())
            .number(meta.last_modified_ms.cast_unsigned());
        Self(text.bytes(&self.0.0.to_le_bytes()).key())
    }

    /// Where the object's properties are kept.
    pub(super) fn meta_key(self) -> Key {
        Text::new(META).bytes(&self.0.0.to_le_bytes()).key()
    }

    /// Where a block is kept.
    pub(super) fn block_key(self, block_bytes: u64, block: u64) -> Key {
        let text = Text::new(SOURCE).byte(BLOCK).number(block_bytes);
        text.number(block).bytes(&self.0.0.to_le_bytes()).key()
    }
}

/// The key of a pack of whole objects.
pub(super) fn pack_key<'a>(members: impl Iterator<Item = &'a SourceObject>) -> Key {
    let text = members.fold(Text::new(PACK), |text, member| {
        text.number(member.size)
            .bytes(&Identity::listed(member).0.0.to_le_bytes())
    });
    text.key()
}

/// The hash that decides whether a pack ends behind a member: the same wherever the member lies.
pub(super) fn boundary_hash(identity: Identity) -> u64 {
    // Part of a digest: evenly spread.
    (identity.0.0 >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(source: &str, key: &str, etag: Option<&str>, version: Option<&str>) -> SourceObject {
        SourceObject {
            source: source.into(),
            key: key.into(),
            size: 5,
            etag: etag.map(Into::into),
            last_modified_ms: 7,
            version: version.map(Into::into),
        }
    }

    #[test]
    fn different_objects_have_different_keys() {
        let mut objects = vec![
            object("s", "k", Some("e"), None),
            object("sk", "", Some("e"), None),
            object("", "sk", Some("e"), None),
            object("s", "k", Some("e2"), None),
            object("s", "k", Some("e"), Some("v")),
            object("s", "k", Some("ev"), None),
            object("s", "k", Some(""), None),
            object("s", "k", None, None),
            object("s", "k", None, Some("")),
        ];
        objects.push(SourceObject {
            size: 6,
            ..object("s", "k", None, None)
        });
        objects.push(SourceObject {
            last_modified_ms: 8,
            ..object("s", "k", None, None)
        });
        let mut keys: Vec<_> = objects.iter().map(Identity::listed).collect();
        keys.push(Identity::named("s", "k"));
        keys.push(Identity::named("sk", ""));
        let mut all: Vec<_> = keys
            .iter()
            .flat_map(|id| {
                [
                    id.meta_key(),
                    id.block_key(1, 0),
                    id.block_key(1, 1),
                    id.block_key(2, 0),
                ]
            })
            .chain([pack_key(objects.iter()), pack_key(objects[1..].iter())])
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn an_etag_is_enough_to_know_an_object() {
        let listed = object("s", "k", Some("e"), None);
        let other = SourceObject {
            size: 9,
            last_modified_ms: 1,
            ..listed.clone()
        };
        assert_eq!(Identity::listed(&listed), Identity::listed(&other));
        assert_eq!(
            Identity::listed(&listed),
            Identity::tagged("s", "k", "e", None)
        );
    }

    #[test]
    fn keys_are_the_same_on_every_run() {
        let key = Identity::tagged("s", "k", "e", None).block_key(1 << 20, 3);
        assert_eq!(format!("{:032x}", key.0), GOLDEN);
    }

    const GOLDEN: &str = "1264f46c94a43bdd699c1fd71eabbebb";
}
