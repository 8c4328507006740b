//! What the socket gives: the tables of this process as one `ObjectStore` of two buckets, and source objects one by one.
//!
//! ```text
//! log/<catalog>/<schema>/<table>/...             the origin's log and ropes
//! files/<catalog>/<schema>/<table>/<name>.parquet   the same tables' files, composed here
//! sources/<source id>/<key>                      source objects that are declared; no part of the store
//! ```
//!
//! Of `log` and `files` there is what is ours: a state may hold tables of others, whose readers are not ours. As long as the state has not said
//! whose a table is, reads of it fail: that there is nothing would be believed.
//!
//! What a source declares no longer is not served under `sources`. A retained rope may still refer to it: such bytes are read through
//! `files`, where the rope itself is the proof.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    Error, GetOptions, GetResult, ListResult, ObjectMeta, ObjectStore, Result, path::Path,
};
use vdt_rope::{RopeStore, RopeStoreOptions};
use vdt_sidecar::link::wire::{FILES, LOG, MadeUpTag};

use crate::late_origin::{LateOrigin, not_found, nothing, read_only};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct SocketStore {
    origin: LateOrigin,
    files: RopeStore,
}

impl SocketStore {
    /// The buckets over `origin`; `options` are those of composing.
    pub(crate) fn new(origin: LateOrigin, options: RopeStoreOptions) -> Self {
        let files = RopeStore::new(Arc::new(origin.clone()), options);
        Self { origin, files }
    }

    /// Whether the state is open. Nothing can be read before.
    pub(super) fn is_open(&self) -> bool {
        self.origin.get().is_some()
    }

    /// Whether the object at `path` (`sources/<id>/<key>`) is declared by a source of an open table.
    pub(crate) fn declares(&self, path: &str) -> bool {
        let mut parts = path.splitn(3, '/').skip(1);
        match (self.origin.get(), parts.next(), parts.next()) {
            (Some(origin), Some(id), Some(key)) => origin.declares(id, key),
            _ => false,
        }
    }

    /// Reads the source object at `location`, which the caller knows to be declared.
    pub(super) async fn get_source(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> Result<GetResult> {
        // A tag that was made up here is for us to compare; the source does not know it.
        let made_up = options.if_match.as_deref().and_then(MadeUpTag::parse);
        let mut result = match made_up {
            None => self.origin.get_opts(location, options).await?,
            Some(expected) => {
                let options = GetOptions {
                    if_match: None,
                    ..options
                };
                let head = GetOptions {
                    head: true,
                    version: options.version.clone(),
                    ..GetOptions::default()
                };
                match self.origin.get_opts(location, options).await {
                    Ok(result) => {
                        compare(location, expected, &result.meta)?;
                        result
                    }
                    // A range past the end of an object that has shrunk is an error of any kind.
                    Err(error) => {
                        if let Ok(found) = self.origin.get_opts(location, head).await {
                            compare(location, expected, &found.meta)?;
                        }
                        return Err(error);
                    }
                }
            }
        };
        let is_strong = result
            .meta
            .e_tag
            .as_deref()
            .is_some_and(|tag| !tag.starts_with("W/"));
        if !is_strong {
            let made_up = tag_of(&result.meta);
            result.meta.e_tag = Some(format!("\"{made_up}\""));
        }
        Ok(result)
    }
}

impl fmt::Display for SocketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket of {}", self.origin)
    }
}

fn tag_of(meta: &ObjectMeta) -> MadeUpTag {
    MadeUpTag {
        size: meta.size,
        last_modified_ms: meta.last_modified.timestamp_millis(),
    }
}

fn compare(location: &Path, expected: MadeUpTag, found: &ObjectMeta) -> Result<()> {
    let found = tag_of(found);
    if found == expected {
        return Ok(());
    }
    Err(Error::Precondition {
        path: location.to_string(),
        source: format!("{expected} was asked for, {found} is there").into(),
    })
}

fn first(path: &Path) -> String {
    path.parts()
        .next()
        .map(|part| part.as_ref().to_owned())
        .unwrap_or_default()
}

#[async_trait]
impl ObjectStore for SocketStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match first(location).as_str() {
            LOG => self.origin.get_opts(location, options).await,
            FILES => {
                // What has been composed before asks for no rope again.
                self.origin.permit(location)?;
                let shown: Path = location.parts().skip(1).collect();
                let mut result = self.files.get_opts(&shown, options).await?;
                result.meta.location = location.clone();
                Ok(result)
            }
            _ => Err(not_found(location)),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(prefix) if first(prefix) == LOG => self.origin.list(Some(prefix)),
            _ => stream::empty().boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(prefix) if first(prefix) == LOG => {
                self.origin.list_with_offset(Some(prefix), offset)
            }
            _ => stream::empty().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match prefix {
            Some(prefix) if first(prefix) == LOG => {
                self.origin.list_with_delimiter(Some(prefix)).await
            }
            _ => Ok(nothing()),
        }
    }

    vdt_rope::refuse_writes!(read_only);
}
