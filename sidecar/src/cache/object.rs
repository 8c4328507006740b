//! Objects as the cache knows them: how they are named, what they are, and how the origin is asked for them.
//!
//! A source object is known as a rope lists it: what the listing says stands for what the origin would, so that a read needs no HEAD. Others are
//! known by their name and by what the origin said when they were first read.

use std::{ops::Range, sync::Arc};

use object_store::{GetOptions, GetRange, ObjectMeta, path::Path};
use vdt_rope::{ReadContext, SourceObject, unquoted};

use super::key::Identity;
use crate::tiers::{Class, EntryMeta};

/// An object whose size is known.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) location: Path,
    pub(super) class: Class,
    pub(super) identity: Identity,
    pub(super) size: u64,
    known: Known,
}

/// What an object is, and who said so.
#[derive(Clone, Debug)]
enum Known {
    /// A rope: what the read is for is told to the origin. The link needs it for objects without an ETag, and for those that no source
    /// declares any more.
    Listed(ReadContext),
    /// The origin.
    Said(EntryMeta, Named),
}

impl Object {
    /// The object that a read is about, as a rope lists it.
    pub(super) fn listed(location: Path, context: ReadContext) -> Self {
        let object = &*context.object;
        Self {
            location,
            class: Class::Block,
            identity: Identity::listed(object),
            size: object.size,
            known: Known::Listed(context),
        }
    }

    /// The object that begins at `at` of the file that `context` reads, whole; `None` for a key that no path can hold.
    pub(super) fn neighbour(
        context: &ReadContext,
        object: &Arc<SourceObject>,
        at: u64,
    ) -> Option<Self> {
        let raw = format!("sources/{}/{}", object.source, object.key);
        let context = ReadContext {
            at,
            object: Arc::clone(object),
            ..context.clone()
        };
        Some(Self::listed(Path::parse(&raw).ok()?, context))
    }

    /// What it is.
    pub(super) fn meta(&self) -> EntryMeta {
        match &self.known {
            Known::Listed(context) => listed_meta(&context.object),
            Known::Said(meta, _) => meta.clone(),
        }
    }

    /// What the read is for; source objects in a file only.
    pub(super) fn context(&self) -> Option<&ReadContext> {
        match &self.known {
            Known::Listed(context) => Some(context),
            Known::Said(..) => None,
        }
    }

    /// Whether the identity has the object's ETag.
    pub(super) fn is_tagged(&self) -> bool {
        match &self.known {
            Known::Listed(context) => context.object.etag.is_some(),
            Known::Said(_, named) => named.if_match.is_some(),
        }
    }

    /// The name that its properties are remembered under, where that does not stand for one content.
    pub(super) fn name(&self) -> Option<Identity> {
        match &self.known {
            Known::Said(_, named) if named.if_match.is_none() => Some(named.name),
            Known::Said(..) | Known::Listed(_) => None,
        }
    }

    /// How the origin is asked for a half-open range of it.
    pub(super) fn options(&self, range: Range<u64>) -> GetOptions {
        let mut options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        match &self.known {
            Known::Listed(context) => {
                options.if_match = context.object.etag.as_deref().map(Into::into);
                options.version = context.object.version.as_deref().map(Into::into);
                options.extensions.insert(context.clone());
            }
            Known::Said(_, named) => {
                options.if_match.clone_from(&named.if_match);
                options.version.clone_from(&named.version);
            }
        }
        options
    }
}

/// An object of which only the name is known.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) location: Path,
    pub(super) class: Class,
    pub(super) name: Identity,
    /// The ETag without quotes, where the name stands for one content.
    pub(super) if_match: Option<String>,
    pub(super) version: Option<String>,
    /// Whether another object may take the name: the origin is asked what it stands for.
    pub(super) is_replaceable: bool,
}

impl Named {
    /// The object, now that its properties are known.
    pub(super) fn object(&self, meta: EntryMeta) -> Object {
        Object {
            location: self.location.clone(),
            class: self.class,
            identity: match self.if_match {
                Some(_) => self.name,
                None => self.name.of_content(&meta),
            },
            size: meta.size,
            known: Known::Said(meta, self.clone()),
        }
    }
}

/// What the origin says of an object.
pub(super) fn entry_meta(meta: &ObjectMeta) -> EntryMeta {
    EntryMeta {
        size: meta.size,
        last_modified_ms: meta.last_modified.timestamp_millis(),
        etag: meta.e_tag.as_deref().map(Into::into),
        version: meta.version.as_deref().map(Into::into),
    }
}

/// What differs between an object and what the origin says of it.
pub(super) fn difference(expected: &EntryMeta, found: &ObjectMeta) -> Option<String> {
    match expected.etag.as_deref().map(unquoted) {
        Some(etag) => {
            let other = found.e_tag.as_deref().map(unquoted);
            if other != Some(etag) {
                return Some(format!("ETag {other:?}, not {etag:?}"));
            }
        }
        None => {
            let modified = found.last_modified.timestamp_millis();
            if modified != expected.last_modified_ms {
                let listed = expected.last_modified_ms;
                return Some(format!("modified at {modified} ms, not at {listed} ms"));
            }
        }
    }
    (found.size != expected.size).then(|| format!("{} bytes, not {}", found.size, expected.size))
}

/// What the origin would say of an object, as far as the listing knows.
pub(super) fn listed_meta(object: &SourceObject) -> EntryMeta {
    EntryMeta {
        size: object.size,
        last_modified_ms: object.last_modified_ms,
        etag: object
            .etag
            .as_deref()
            .map(|etag| format!("\"{etag}\"").into()),
        version: object.version.as_deref().map(Into::into),
    }
}
