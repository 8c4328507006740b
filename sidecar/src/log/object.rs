//! A small object that is kept whole, and what objects' properties take in memory.

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::{
    Attributes, Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, Result,
    path::Path,
};
use vdt_rope::{requested_range, unquoted};

/// Most bytes of a hint or a checksum file.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// A small object, whole.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) meta: ObjectMeta,
    attributes: Attributes,
    pub(super) body: Bytes,
}

impl Object {
    /// Reads an object.
    pub(super) async fn get(origin: &dyn ObjectStore, location: &Path) -> Result<Self> {
        let found = origin.get_opts(location, GetOptions::default()).await?;
        if found.meta.size > OBJECT_BYTES_MAX {
            return Err(Error::Generic {
                store: "LogStore",
                source: format!(
                    "{location} has {} bytes, which no file of its kind has",
                    found.meta.size
                )
                .into(),
            });
        }
        let (meta, attributes) = (found.meta.clone(), found.attributes.clone());
        Ok(Self {
            body: found.bytes().await?,
            meta,
            attributes,
        })
    }

    /// The bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        meta_bytes(&self.meta) + self.body.len() as u64
    }

    /// Whether it is the object that a listing shows.
    pub(super) fn is(&self, listed: &ObjectMeta) -> bool {
        let is_same = match (&self.meta.e_tag, &listed.e_tag) {
            (Some(tag), Some(other)) => unquoted(tag) == unquoted(other),
            // An answer's time has whole seconds (RFC 9110 8.8.2), a listing's may have parts of them.
            _ => self.meta.last_modified.timestamp() == listed.last_modified.timestamp(),
        };
        is_same && self.meta.size == listed.size
    }

    /// Answers a read of it.
    pub(super) fn answer(&self, options: &GetOptions) -> Result<GetResult> {
        options.check_preconditions(&self.meta)?;
        let range = requested_range(options, self.meta.size, "LogStore")?;
        // In bounds: it is cut to the size, which is that of the body.
        let body = self.body.slice(range.start as usize..range.end as usize);
        Ok(GetResult {
            payload: match options.head {
                true => empty(),
                false => GetResultPayload::Stream(stream::iter([Ok(body)]).boxed()),
            },
            meta: self.meta.clone(),
            range,
            attributes: self.attributes.clone(),
        })
    }

    /// Answers a HEAD by what a listing says.
    pub(super) fn head(meta: ObjectMeta, options: &GetOptions) -> Result<GetResult> {
        options.check_preconditions(&meta)?;
        Ok(GetResult {
            payload: empty(),
            range: 0..meta.size,
            meta,
            attributes: Attributes::default(),
        })
    }
}

/// Bytes of memory that a text takes beside itself: the allocator's.
const TEXT_OVERHEAD_BYTES: u64 = 16;

/// Bytes of memory that a path takes.
pub(super) fn path_bytes(path: &Path) -> u64 {
    size_of::<Path>() as u64 + path.as_ref().len() as u64 + TEXT_OVERHEAD_BYTES
}

/// Bytes of memory that an object's properties take.
pub(super) fn meta_bytes(meta: &ObjectMeta) -> u64 {
    let text = |text: &Option<String>| {
        let bytes = text.as_ref().map(|text| text.len() as u64);
        bytes.map_or(0, |bytes| bytes + TEXT_OVERHEAD_BYTES)
    };
    (size_of::<ObjectMeta>() - size_of::<Path>()) as u64
        + path_bytes(&meta.location)
        + text(&meta.e_tag)
        + text(&meta.version)
}

fn empty() -> GetResultPayload {
    GetResultPayload::Stream(stream::empty().boxed())
}
