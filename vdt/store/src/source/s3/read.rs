//! Reading objects of a bucket.
//!
//! `object_store` sends range, version and `If-Match`, retries, and resumes a cut body at its offset under the same ETag. Here
//! tags are quoted as HTTP wants them, and a service that falls silent ends in an error instead of a body that never does.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResult, GetResultPayload, ObjectStore, Result};

use crate::source::read_only::{Read, quoted};

/// Time to the first byte, retries included. Bodies are bounded by [`SILENCE_MAX`] only, since readers may be slow.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Silence in a body, counted only while the reader waits.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Reads the objects of a bucket.
#[derive(Debug)]
pub(super) struct S3Reader {
    store: AmazonS3,
}

impl S3Reader {
    pub(super) fn new(store: AmazonS3) -> Self {
        Self { store }
    }
}

impl fmt::Display for S3Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl Read for S3Reader {
    async fn read(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        options.if_match = options.if_match.as_deref().map(quoted);
        options.if_none_match = options.if_none_match.as_deref().map(quoted);
        let answer = tokio::time::timeout(ANSWER_MAX, self.store.get_opts(location, options)).await;
        let mut result = answer.map_err(|_| silent(location, ANSWER_MAX))??;
        result.payload = match result.payload {
            GetResultPayload::Stream(body) => {
                GetResultPayload::Stream(watched(body, location.clone()))
            }
            file @ GetResultPayload::File(..) => file,
        };
        Ok(result)
    }
}

fn watched<B: Send + 'static>(
    body: BoxStream<'static, Result<B>>,
    location: Path,
) -> BoxStream<'static, Result<B>> {
    stream::unfold(Some((body, location)), |state| async {
        let (mut body, location) = state?;
        match tokio::time::timeout(SILENCE_MAX, body.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some((body, location)))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(silent(&location, SILENCE_MAX)), None)),
        }
    })
    .fuse()
    .boxed()
}

fn silent(location: &Path, after: Duration) -> Error {
    Error::Generic {
        store: "S3",
        source: format!("no answer for {location} in {} s", after.as_secs()).into(),
    }
}
