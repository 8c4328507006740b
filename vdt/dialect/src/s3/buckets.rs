//! LIST (version 2 and 1), ListBuckets, HeadBucket and GetBucketLocation; GetBucketAcl, by which old clients ask whether there is a bucket.
//!
//! A bucket exists when something lies below it. A LIST of a prefix that holds nothing is 200 and empty in a bucket that exists
//! (clients probe for tables like that) and 404 NoSuchBucket in one that does not.

use std::sync::Arc;
use std::time::SystemTime;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use ::http::{Extensions, StatusCode};
use object_store::ObjectStore;
use s3s::dto::{
    Bucket, GetBucketAclInput, GetBucketAclOutput, GetBucketLocationInput, GetBucketLocationOutput,
    HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Timestamp,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::list::{Page, Query, page};
use super::list_request::{ListRequest, token, token_key};
use super::refusal::BUSY;
use super::signed::{caller, denied};
use crate::access::visible;
use crate::answer::Failure;
use crate::edge::{Authenticator, RETRY_AFTER_SECONDS};
use crate::key::exact_path;
use crate::listings::{Listings, exists};
use crate::metrics::DialectLabel;

/// Listings at a time. A page is small, but what the store says of a folder is not, and clients list before each query.
const LISTINGS: usize = 32;

/// The region of every bucket. Clients that sign have to name one; any of lower-case letters, digits and hyphens is accepted.
const REGION: &str = "us-east-1";

/// Listings over one store. Everything that is not implemented here is s3s's 501.
pub(crate) struct Buckets {
    store: Arc<dyn ObjectStore>,
    auth: Authenticator,
    listings: Listings,
}

/// The store as the caller of one request sees it.
struct View {
    store: Arc<dyn ObjectStore>,
}

impl Buckets {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, auth: Authenticator) -> Self {
        Self {
            store,
            listings: Listings::new(DialectLabel::S3, LISTINGS, auth.metrics.clone()),
            auth,
        }
    }

    /// Lists one page of what the caller may see: what both versions of LIST answer, and the name that the next page begins after, if there is one.
    async fn list(
        &self,
        extensions: &Extensions,
        request: &ListRequest,
    ) -> S3Result<(ListObjectsV2Output, Option<String>)> {
        let folder = folder(&request.bucket, &request.prefix);
        let view = self.view(extensions, &folder)?;
        let permit = self.listings.permit(&folder).await;
        let _permit = permit.ok_or_else(slow_down)?;
        let page = view.list(request).await?;
        let truncated = page.truncated;
        let last = page.items.last().filter(|_| truncated);
        let last = last.map(|item| item.name().to_owned());
        let (contents, prefixes) = request.lists(page);
        let delimiter = request.delimiter.as_deref();
        let listed = ListObjectsV2Output {
            key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            is_truncated: Some(truncated),
            max_keys: Some(request.max_keys),
            prefix: Some(request.text(&request.prefix)),
            delimiter: delimiter.map(|delimiter| request.text(delimiter)),
            encoding_type: request.encoding(),
            name: Some(request.bucket.clone()),
            ..ListObjectsV2Output::default()
        };
        Ok((listed, last))
    }

    /// Decides what the caller may see, and refuses what it asks for by name and may not read.
    fn view(&self, extensions: &Extensions, folder: &str) -> S3Result<View> {
        let caller = caller(&self.auth, extensions)?;
        if caller.is_denied(folder) {
            return Err(denied(&self.auth, &caller));
        }
        Ok(View {
            store: visible(&self.store, &caller),
        })
    }
}

impl View {
    async fn list(&self, request: &ListRequest) -> S3Result<Page> {
        let query = Query {
            bucket: &request.bucket,
            prefix: &request.prefix,
            delimiter: request.delimiter.as_deref(),
            after: &request.after,
            max_items: usize::try_from(request.max_keys).unwrap_or(0),
        };
        let page = page(&*self.store, query)
            .await
            .map_err(|failure| error(&request.bucket, failure))?;
        if page.items.is_empty() {
            self.require(&request.bucket).await?;
        }
        Ok(page)
    }

    /// Refuses a bucket that does not exist.
    async fn require(&self, bucket: &str) -> S3Result<()> {
        let there = match exact_path(bucket) {
            Some(path) => exists(&*self.store, &path)
                .await
                .map_err(|failure| error(bucket, failure))?,
            None => false,
        };
        if there {
            Ok(())
        } else {
            Err(s3_error!(
                NoSuchBucket,
                "there is no such bucket: a bucket is a catalog of tables"
            ))
        }
    }
}

#[async_trait::async_trait]
impl S3 for Buckets {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let mut list = ListRequest::new(
            input.bucket,
            input.prefix,
            input.delimiter,
            input.max_keys,
            input.encoding_type.as_ref(),
            &request.extensions,
        )?;
        // The token wins: clients go on sending the start of their first page.
        list.after = match &input.continuation_token {
            Some(token) => token_key(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let (listed, last) = self.list(&request.extensions, &list).await?;
        Ok(S3Response::new(ListObjectsV2Output {
            next_continuation_token: last.map(|last| token(&last)),
            continuation_token: input.continuation_token,
            start_after: input.start_after.map(|after| list.text(&after)),
            ..listed
        }))
    }

    async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let mut list = ListRequest::new(
            input.bucket,
            input.prefix,
            input.delimiter,
            input.max_keys,
            input.encoding_type.as_ref(),
            &request.extensions,
        )?;
        list.after = input.marker.unwrap_or_default();
        let (listed, last) = self.list(&request.extensions, &list).await?;
        Ok(S3Response::new(ListObjectsOutput {
            next_marker: last.map(|last| list.text(&last)),
            marker: Some(list.text(&list.after)),
            contents: listed.contents,
            common_prefixes: listed.common_prefixes,
            is_truncated: listed.is_truncated,
            max_keys: listed.max_keys,
            prefix: listed.prefix,
            delimiter: listed.delimiter,
            encoding_type: listed.encoding_type,
            name: listed.name,
            ..ListObjectsOutput::default()
        }))
    }

    async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let view = self.view(&request.extensions, "")?;
        let listed = view
            .store
            .list_with_delimiter(None)
            .await
            .map_err(|source| error("", Failure::from(source)))?;
        let mut names: Vec<String> = listed
            .common_prefixes
            .iter()
            .map(ToString::to_string)
            .collect();
        names.sort_unstable();
        let buckets = names
            .into_iter()
            .map(|name| Bucket {
                name: Some(name),
                // Required by clients and known to nobody: a catalog is not created.
                creation_date: Some(Timestamp::from(SystemTime::UNIX_EPOCH)),
                ..Bucket::default()
            })
            .collect();
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            ..ListBucketsOutput::default()
        }))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let view = self.view(&request.extensions, &request.input.bucket)?;
        view.require(&request.input.bucket).await?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..HeadBucketOutput::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let view = self.view(&request.extensions, &request.input.bucket)?;
        view.require(&request.input.bucket).await?;
        // us-east-1 is told by the absence of a constraint.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    /// `doesBucketExist` of the AWS SDK for Java 1 asks for this; it takes a refusal for a yes.
    async fn get_bucket_acl(
        &self,
        request: S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        let view = self.view(&request.extensions, &request.input.bucket)?;
        view.require(&request.input.bucket).await?;
        Err(s3_error!(
            AccessDenied,
            "vdt has no access control lists: what may be read is said by the table's manifest"
        ))
    }
}

/// The folder that a prefix names: what comes after its last slash is a pattern.
fn folder(bucket: &str, prefix: &str) -> String {
    prefix.rsplit_once('/').map_or_else(
        || bucket.to_owned(),
        |(folder, _)| format!("{bucket}/{folder}"),
    )
}

/// The answer when there is too much to list.
fn slow_down() -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::SlowDown, BUSY);
    // In place of those that an error has by itself.
    error.set_headers(HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/xml")),
        (RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS)),
    ]));
    error
}

fn error(bucket: &str, failure: Failure) -> S3Error {
    failure.log(&exact_path(bucket).unwrap_or_default());
    let code =
        S3ErrorCode::from_bytes(failure.s3_code().as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    // A listing has no object that could be missing or have changed: whatever failed, trying again is right.
    let mut error = S3Error::with_message(code, "the listing failed; try again");
    error.set_status_code(match failure.status() {
        StatusCode::NOT_IMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    });
    error
}
