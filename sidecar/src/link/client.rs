//! The server's origin as an `ObjectStore`: three buckets behind one socket.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::DateTime;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    BackoffConfig, Error, GetOptions, GetRange, GetResult, ListResult, ObjectMeta, ObjectStore,
    Result, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::{Path, PathPart},
};
use vdt_rope::{ReadContext, Segment};

use super::{
    connector::OverSocket,
    pool::Socket,
    wire::{FILES, LOG, MadeUpTag, SOURCES},
};

const STORE: &str = "origin link";
/// How long a request waits for a server that is away: a restart takes a second or two, and a reader is waiting.
const RETRY_TIME: Duration = Duration::from_secs(4);
/// Tries within [`RETRY_TIME`], more than fit in: time is what ends them.
const RETRIES: usize = 20;

/// See the module's documentation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OriginClient {
    log: Arc<AmazonS3>,
    files: Arc<AmazonS3>,
    sources: Arc<AmazonS3>,
    socket: Socket,
}

impl OriginClient {
    /// A client of the server behind `socket`. Nothing is asked of it yet.
    ///
    /// # Errors
    /// Those of object_store's builder.
    pub fn new(socket: Socket) -> Result<Self> {
        let bucket = |name: &str| -> Result<Arc<AmazonS3>> {
            let store = AmazonS3Builder::new()
                .with_endpoint("http://origin")
                .with_allow_http(true)
                .with_region("us-east-1")
                .with_bucket_name(name)
                .with_virtual_hosted_style_request(false)
                .with_skip_signature(true)
                .with_retry(RetryConfig {
                    backoff: BackoffConfig {
                        init_backoff: Duration::from_millis(10),
                        max_backoff: Duration::from_millis(250),
                        base: 2.0,
                    },
                    max_retries: RETRIES,
                    retry_timeout: RETRY_TIME,
                })
                .with_http_connector(OverSocket(socket.clone()))
                .build()?;
            Ok(Arc::new(store))
        };
        Ok(Self {
            log: bucket(LOG)?,
            files: bucket(FILES)?,
            sources: bucket(SOURCES)?,
            socket,
        })
    }

    /// The files that the server composes, by the paths that they are shown under: `<catalog>/<schema>/<table>/<name>.parquet`.
    pub fn files(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.files) as _
    }

    /// The bucket that `path` lies in, and its key there.
    fn locate(&self, path: &Path) -> Option<(&Arc<AmazonS3>, Path)> {
        let mut parts = path.parts();
        let bucket = match parts.next()?.as_ref() {
            LOG => &self.log,
            FILES => &self.files,
            SOURCES => &self.sources,
            _ => return None,
        };
        Some((bucket, parts.collect()))
    }

    /// The bucket and folder of a listing. `sources` and `files` are not listed.
    fn listed(&self, prefix: Option<&Path>) -> Option<(&Arc<AmazonS3>, Path)> {
        self.locate(prefix?)
            .filter(|(bucket, _)| Arc::ptr_eq(bucket, &self.log))
    }

    async fn get_source(
        &self,
        location: &Path,
        key: &Path,
        mut options: GetOptions,
    ) -> Result<GetResult> {
        if options.if_match.is_none() {
            options.if_match = ReadContext::of(&options).map(|context| {
                let (size, last_modified_ms) =
                    (context.object.size, context.object.last_modified_ms);
                match &context.object.etag {
                    Some(tag) => tag.to_string(),
                    None => MadeUpTag {
                        size,
                        last_modified_ms,
                    }
                    .to_string(),
                }
            });
        }
        if options.if_match.is_none() {
            let source = "a source object is read with If-Match or a ReadContext only".into();
            return Err(Error::NotSupported { source });
        }
        let (context, range) = (ReadContext::of(&options).cloned(), options.range.clone());
        let head = options.head;
        let mut result = match self.sources.get_opts(key, options).await {
            Ok(result) => result,
            // Declared no longer. Files of older versions still refer to it, and those the server composes.
            Err(error @ Error::PermissionDenied { .. }) if !head => {
                return match (context, range) {
                    (Some(context), Some(GetRange::Bounded(range))) => {
                        self.through_file(location, &context, range, error).await
                    }
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let tag = result.meta.e_tag.as_deref().and_then(MadeUpTag::parse);
        if let Some(tag) = tag {
            result.meta.e_tag = None;
            if let Some(time) = DateTime::from_timestamp_millis(tag.last_modified_ms) {
                result.meta.last_modified = time;
            }
        }
        Ok(result)
    }

    /// Reads `range` of the context's object out of the virtual file that refers to it. The server reads the object with its
    /// ETag for that, so what arrives is of the object as listed.
    async fn through_file(
        &self,
        location: &Path,
        context: &ReadContext,
        range: std::ops::Range<u64>,
        refused: Error,
    ) -> Result<GetResult> {
        let Some(frame) = context.map.frame(context.at).await? else {
            return Err(refused);
        };
        let found = frame.segments().find_map(|(at, segment)| match segment {
            Segment::Reference(reference)
                if (at..at + reference.length).contains(&context.at)
                    && reference.object == context.object
                    && reference.offset <= range.start
                    && range.end <= reference.range().end =>
            {
                Some(at + (range.start - reference.offset))
            }
            _ => None,
        });
        let Some(start) = found else {
            return Err(refused);
        };
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..start + (range.end - range.start))),
            ..GetOptions::default()
        };
        let read = self.files.get_opts(&context.file, options).await?;
        if read.range.start != start || read.range.end - start != range.end - range.start {
            return Err(refused);
        }
        let object = &context.object;
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: DateTime::from_timestamp_millis(object.last_modified_ms)
                .unwrap_or_default(),
            size: object.size,
            e_tag: object.etag.as_deref().map(str::to_owned),
            version: object.version.as_deref().map(str::to_owned),
        };
        Ok(GetResult {
            meta,
            range,
            ..read
        })
    }
}

impl fmt::Display for OriginClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE} {}", self.socket.path().display())
    }
}

fn refused(operation: &str) -> Error {
    Error::NotSupported {
        source: format!("{operation}: the origin is read-only").into(),
    }
}

/// A path of the log's bucket as a path of the origin.
fn in_log(path: &Path) -> Path {
    [PathPart::from(LOG)]
        .into_iter()
        .chain(path.parts())
        .collect()
}

fn shown(meta: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        location: in_log(&meta.location),
        ..meta
    }
}

#[async_trait]
impl ObjectStore for OriginClient {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some((bucket, key)) = self.locate(location) else {
            return Err(Error::NotFound {
                path: location.to_string(),
                source: "the origin has log, files and sources".into(),
            });
        };
        let mut result = if Arc::ptr_eq(bucket, &self.sources) {
            self.get_source(location, &key, options).await?
        } else {
            bucket.get_opts(&key, options).await?
        };
        result.meta.location = location.clone();
        Ok(result)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.listed(prefix) {
            Some((bucket, folder)) => bucket.list(Some(&folder)).map_ok(shown).boxed(),
            None => stream::empty().boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match (self.listed(prefix), self.locate(offset)) {
            (Some((bucket, folder)), Some((other, after))) if Arc::ptr_eq(bucket, other) => bucket
                .list_with_offset(Some(&folder), &after)
                .map_ok(shown)
                .boxed(),
            // An offset outside of the log is before or behind all of it.
            (Some(_), _) if offset.as_ref() < LOG => self.list(prefix),
            _ => stream::empty().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let Some(prefix) = prefix.filter(|path| !path.as_ref().is_empty()) else {
            return Ok(ListResult {
                common_prefixes: vec![Path::from(LOG)],
                objects: Vec::new(),
            });
        };
        let Some((bucket, folder)) = self.listed(Some(prefix)) else {
            return Ok(ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
            });
        };
        let found = bucket.list_with_delimiter(Some(&folder)).await?;
        Ok(ListResult {
            common_prefixes: found.common_prefixes.iter().map(in_log).collect(),
            objects: found.objects.into_iter().map(shown).collect(),
        })
    }

    vdt_rope::refuse_writes!(refused);
}
