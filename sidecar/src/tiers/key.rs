//! Names of entries, and the hash that places them. The hash is the same on every run, for the index of the disk outlives the process and knows
//! nothing else of a key.

use std::{
    hash::{BuildHasherDefault, Hash, Hasher},
    io::{Read, Write},
};

use equivalent::Equivalent;
use foyer::Code;

/// Names an entry: the first 16 bytes of the SHA-256 of a text that says what it is.
///
/// The same key always names the same bytes; entries are never changed in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u128);

impl Key {
    /// Returns the 64 bits that place the key in shards and in the index of the disk. The same on every run.
    pub(crate) fn hash64(self) -> u64 {
        // The finaliser of SplitMix64: keys made by hand in tests must spread as well as digests do.
        let mut x = (self.0 as u64) ^ ((self.0 >> 64) as u64).rotate_left(32);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash64());
    }
}

/// Finds an entry by the hash of its key alone, which is all that the index of the disk knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByHash(pub(crate) u64);

impl Hash for ByHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Equivalent<Key> for ByHash {
    fn equivalent(&self, key: &Key) -> bool {
        key.hash64() == self.0
    }
}

/// Passes a key's own hash through, so that entries can be found by it, and so that it is the same on every run.
#[derive(Debug, Default, Clone)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub(crate) type KeyHash = BuildHasherDefault<KeyHasher>;

impl Code for Key {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.0.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        Ok(Self(u128::decode(reader)?))
    }

    fn estimated_size(&self) -> usize {
        size_of::<u128>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_hash() {
        use std::hash::BuildHasher;
        let key = Key(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let build = KeyHash::default();
        assert_eq!(build.hash_one(key), build.hash_one(ByHash(key.hash64())));
        assert!(ByHash(key.hash64()).equivalent(&key));
    }
}
