//! Artifacts as a listing shows them, and the sources they come from.

use std::sync::Arc;

use vdt_rope::SourceObject;

/// What a table needs to know of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceContext {
    /// Name in the manifest, the value of [`Attribute::Source`](crate::Attribute::Source).
    pub name: Arc<str>,
    /// Id of the source, equal to [`SourceObject::source`] of its artifacts.
    pub id: Arc<str>,
    /// What every key begins with; the file name is the rest of the key.
    pub prefix: String,
    /// What a URL begins with; the percent-encoded full key follows.
    pub url_prefix: String,
    /// Whether the ETag comes from the store, and not from us as for a folder of files.
    pub etag_is_checksum: bool,
}

/// An artifact with its place in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The number given at first sight.
    pub id: i64,
    /// The object that holds the bytes.
    pub object: Arc<SourceObject>,
    /// Storage class, as the store names it.
    pub storage_class: Option<Arc<str>>,
    /// Whether the bytes cannot be read without restoring them first: `data` is null.
    pub archived: bool,
}

/// The artifacts that share one virtual file: of one source, in byte order of their keys, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileGroup {
    /// The source of all of them.
    pub source: Arc<SourceContext>,
    /// The rows of the file, in their order.
    pub artifacts: Vec<Artifact>,
}
