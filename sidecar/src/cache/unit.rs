//! What of a window is missed, as it is fetched and kept: a pack, or an object that is an entry by itself.

use std::{ops::Range, sync::Arc};

use vdt_rope::SourceObject;

use super::{fill::Target, object::listed_meta, pack::Pack};
use crate::tiers::{Class, EntryMeta, Key};

/// What is missed: a pack, or an object that is one entry.
pub(super) enum Unit {
    Pack(Arc<Pack>),
    Single {
        at: u64,
        object: Arc<SourceObject>,
        key: Key,
    },
}

impl Unit {
    /// The half-open range of the file that its bytes lie in.
    pub(super) fn span(&self) -> Range<u64> {
        match self {
            Self::Pack(pack) => pack.begin()..pack.end(),
            Self::Single { at, object, .. } => *at..at + object.size,
        }
    }

    /// The bytes of the entry.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Pack(pack) => pack.bytes,
            Self::Single { object, .. } => object.size,
        }
    }

    /// Id of the source that it lies in.
    pub(super) fn source(&self) -> &str {
        match self {
            // A pack has members, all of one source.
            Self::Pack(pack) => pack.members.first().map_or("", |it| &it.object.source),
            Self::Single { object, .. } => &object.source,
        }
    }

    /// Keys of the blocks that its objects are by themselves.
    pub(super) fn object_keys(&self) -> Vec<Key> {
        match self {
            Self::Pack(pack) => pack.members.iter().map(|member| member.key).collect(),
            Self::Single { key, .. } => vec![*key],
        }
    }

    pub(super) fn references(&self) -> usize {
        match self {
            Self::Pack(pack) => pack.members.len(),
            Self::Single { .. } => 1,
        }
    }

    pub(super) fn target(&self) -> Target {
        match self {
            Self::Pack(pack) => {
                let spans = pack.members.iter();
                let spans = spans.map(|member| member.at..member.at + member.object.size);
                let meta = Some(pack_meta(pack));
                Target::new(pack.key, Class::Pack, pack.bytes, meta, spans)
            }
            Self::Single { object, key, .. } => {
                let meta = Some(Arc::new(listed_meta(object)));
                Target::new(*key, Class::Block, object.size, meta, [self.span()])
            }
        }
    }
}

/// A pack is no object of a source: only its size is known.
pub(super) fn pack_meta(pack: &Pack) -> Arc<EntryMeta> {
    Arc::new(EntryMeta {
        size: pack.bytes,
        last_modified_ms: 0,
        etag: None,
        version: None,
    })
}
