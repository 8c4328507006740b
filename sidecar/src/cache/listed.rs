//! Source objects as ropes list them: what the listing says stands for what the origin would, so that a read needs no HEAD.

use std::sync::Arc;

use vdt_rope::{ReadContext, SourceObject};

use super::{fetch::Object, key::Identity};
use crate::tiers::{Class, EntryMeta};

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

/// The object that a read is about, as it was listed; `None` for a key that no path can hold.
pub(super) fn listed(context: &ReadContext) -> Option<Object> {
    let object = &*context.object;
    let raw = format!("sources/{}/{}", object.source, object.key);
    let location = object_store::path::Path::parse(&raw).ok()?;
    Some(listed_at(location, context))
}

/// The same, where its path is known.
pub(super) fn listed_at(location: object_store::path::Path, context: &ReadContext) -> Object {
    let object = &*context.object;
    Object {
        location,
        class: Class::Block,
        identity: Identity::listed(object),
        meta: Arc::new(listed_meta(object)),
        if_match: object.etag.as_deref().map(Into::into),
        version: object.version.as_deref().map(Into::into),
        name: None,
        context: Some(context.clone()),
    }
}

/// A neighbour of the object that a read is about: it begins at `at` of the same file.
pub(super) fn neighbour(context: &ReadContext, object: &Arc<SourceObject>, at: u64) -> ReadContext {
    ReadContext {
        at,
        object: Arc::clone(object),
        ..context.clone()
    }
}
