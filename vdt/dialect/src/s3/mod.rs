//! The S3 dialect, path style: `/<bucket>/<key>`.
//!
//! ```text
//!   request ── operation ── write or unknown ──────────────> refused (refusal)
//!                   │
//!                   └── read ── signature dropped ── s3s ──> objects   GET and HEAD of one object (answer)
//!                               (anonymous)               └> buckets   LIST, ListBuckets, HeadBucket, GetBucketLocation
//!                               or its form checked (keys)
//! ```
//!
//! - s3s speaks the wire protocol: routing, XML, and with keys the check of signatures: version 4, in the header or presigned. Nothing else is taken.
//!   With keys, who asks is decided after that check (signed) and goes with the request as an extension.
//! - Objects are read in a route of s3s, which runs after its signature check but before its own parsing of headers: s3s refuses
//!   some conditions and ranges that RFC 9110 allows, and evaluates none.
//! - Whatever would write is refused with 403 AccessDenied and a sentence, before any of it is read.
//! - Virtual-host addressing is not served.
//! - s3s logs every request that it cannot parse as an ERROR of target `s3s`; whoever sets up logging silences that target, what matters is logged here.

mod anonymous;
mod buckets;
mod list;
mod list_request;
mod objects;
mod operation;
mod refusal;
mod signed;

pub use list_request::PageKeys;

use std::sync::Arc;

use ::http::{Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use object_store::ObjectStore;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;

use crate::access::Access;
use crate::edge::Authenticator;
use crate::exchange::Who;
use crate::metrics::{DialectLabel, Operation};
use crate::surface::{DialectBody, boxed};

/// S3 over one store.
#[derive(Debug)]
pub(crate) struct S3Dialect {
    service: S3Service,
    auth: Authenticator,
}

impl S3Dialect {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, auth: Authenticator) -> Self {
        let buckets = buckets::Buckets::new(Arc::clone(&store), auth.clone());
        let mut builder = S3ServiceBuilder::new(buckets);
        builder.set_route(objects::Objects::new(store, auth.clone()));
        builder.set_validation(AnyBucket);
        if let Access::Keys(ring) = &auth.access {
            builder.set_auth(signed::Secrets::new(Arc::clone(ring)));
            builder.set_access(signed::Signers::new(auth.clone()));
        }
        Self {
            service: builder.build(),
            auth,
        }
    }

    /// The answer when there is too much to do.
    pub(crate) fn slow_down() -> Response<DialectBody> {
        refusal::slow_down()
    }

    /// The answer to a request that nobody may make so. `message` needs no escaping.
    pub(crate) fn forbidden(message: &str) -> Response<DialectBody> {
        refusal::forbidden(message)
    }

    /// Classifies a request.
    pub(crate) fn operation(method: &Method, uri: &Uri) -> Operation {
        operation::classify(method, uri)
    }

    /// Answers a request that was classified as `operation`.
    pub(crate) async fn handle<B>(
        &self,
        operation: Operation,
        request: Request<B>,
        who: &Who,
    ) -> Response<DialectBody>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let (mut parts, body) = request.into_parts();
        if let Some(refused) = refusal::of(operation, &parts.method) {
            self.auth.drains.drain(body).await;
            return refused;
        }
        if operation::is_of_host(&parts.uri) {
            return refusal::host_style();
        }
        // No read has a body worth reading.
        drop(body);
        match &self.auth.access {
            Access::Everything | Access::Anonymous(_) => anonymous::drop_signature(&mut parts),
            Access::Keys(_) => {
                if let Err(form) = signed::check_form(&parts) {
                    self.auth.unauthenticated(DialectLabel::S3);
                    return refusal::form(form);
                }
                parts.extensions.insert(who.clone());
            }
        }
        let request = Request::from_parts(parts, s3s::Body::empty());
        match self.service.call(request).await {
            Ok(response) => {
                // Unknown keys, wrong signatures and clocks are refused by s3s, before it is known here who asks.
                let asks_for_keys = matches!(self.auth.access, Access::Keys(_));
                let is_refused = response.status() == StatusCode::FORBIDDEN;
                if asks_for_keys && is_refused && !who.is_known() {
                    self.auth.unauthenticated(DialectLabel::S3);
                }
                refusal::coded(response).map(boxed)
            }
            Err(error) => {
                tracing::error!(?error, "s3s could not answer");
                refusal::internal()
            }
        }
    }
}

/// Any name may be asked for: a bucket that does not exist is NoSuchBucket, whatever it is called.
struct AnyBucket;

impl NameValidation for AnyBucket {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty()
    }
}
