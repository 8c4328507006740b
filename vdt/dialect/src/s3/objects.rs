//! GetObject and HeadObject, as a route of s3s.

use std::sync::Arc;

use ::http::{HeaderMap, Method, StatusCode, Uri};
use object_store::ObjectStore;
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use s3s::route::S3Route;
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::operation::{classify, parameters, part};
use super::signed::{admit, caller, denied, introduce};
use crate::access::Caller;
use crate::answer::{self, Answer, Failure, HeadRange, ReadRequest};
use crate::edge::Authenticator;
use crate::key::exact_path;
use crate::metrics::Operation;

/// Reads of single objects.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    auth: Authenticator,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, auth: Authenticator) -> Self {
        Self { store, auth }
    }

    async fn read(
        &self,
        caller: &Caller,
        location: &Path,
        request: &S3Request<Body>,
    ) -> Result<Answer, Failure> {
        if !caller.may_read(location.as_ref()) {
            return Err(Failure::NotFound);
        }
        let asked = || ReadRequest::parse(&request.method, &request.headers, HeadRange::Honoured);
        if part(&request.uri).is_some() {
            match answer::read(&*self.store, location, &asked().into_part()).await {
                // The only part of nothing is all of it.
                Err(Failure::RangeNotSatisfiable { size: 0 }) => {}
                answered => return answered,
            }
        }
        answer::read(&*self.store, location, &asked()).await
    }
}

#[async_trait::async_trait]
impl S3Route for Objects {
    fn is_match(
        &self,
        method: &Method,
        uri: &Uri,
        _: &HeaderMap,
        _: &mut ::http::Extensions,
    ) -> bool {
        matches!(
            classify(method, uri),
            Operation::GetObject | Operation::HeadObject
        )
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let caller = admit(&self.auth, request.credentials.as_ref())?;
        introduce(&mut request.extensions, caller);
        Ok(())
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        if names_a_version(&request.uri) {
            return respond_error(
                StatusCode::NOT_FOUND,
                "NoSuchVersion",
                "objects of vdt have no versions: leave versionId out".to_owned(),
                HeaderMap::new(),
            );
        }
        if part(&request.uri).is_some_and(|part| part != "1") {
            return respond_error(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidPartNumber",
                "objects of vdt have one part: partNumber is 1".to_owned(),
                HeaderMap::new(),
            );
        }
        let Some(location) = location(&request.uri) else {
            return respond_failure(&Failure::NotFound);
        };
        let caller = caller(&self.auth, &request.extensions)?;
        if caller.is_denied(location.as_ref()) {
            return Err(denied(&self.auth, &caller));
        }
        match self.read(&caller, &location, &request).await {
            Ok(Answer {
                status,
                headers,
                body,
            }) => {
                let mut response = S3Response::new(Body::http_body(body));
                response.status = Some(status);
                response.headers = headers;
                Ok(response)
            }
            Err(failure) => {
                failure.log(&location);
                respond_failure(&failure)
            }
        }
    }
}

/// The object that a URI names. A key that the store cannot hold, such as one with `..` in it, names none.
fn location(uri: &Uri) -> Option<Path> {
    let text = percent_decode_str(uri.path().strip_prefix('/')?)
        .decode_utf8()
        .ok()?;
    exact_path(&text)
}

fn names_a_version(uri: &Uri) -> bool {
    parameters(uri).any(|(name, value)| name == "versionId" && value != "null")
}

fn respond_failure(failure: &Failure) -> S3Result<S3Response<Body>> {
    if failure.status() == StatusCode::NOT_MODIFIED {
        let mut response = S3Response::new(Body::empty());
        response.status = Some(StatusCode::NOT_MODIFIED);
        response.headers = failure.headers();
        return Ok(response);
    }
    respond_error(
        failure.status(),
        failure.s3_code(),
        failure.to_string(),
        failure.headers(),
    )
}

/// An S3 error document as an ordinary response: s3s logs errors returned to it, and a 404 is not an error of the server.
fn respond_error(
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: HeaderMap,
) -> S3Result<S3Response<Body>> {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message);
    error.set_status_code(status);
    let (mut parts, body) = error.to_http_response()?.into_parts();
    parts.headers.extend(headers);
    let mut response = S3Response::new(body);
    response.status = Some(status);
    response.headers = parts.headers;
    Ok(response)
}
