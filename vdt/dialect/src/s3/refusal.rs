//! What is not served, and how it is said: an S3 error document.

use ::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Response, StatusCode};
use http_body_util::Full;

use super::signed::Form;
use crate::exchange::ErrorCode;
use crate::metrics::Operation;
use crate::surface::{DialectBody, boxed};

const READ_ONLY: &str =
    "vdt tables are read-only: change the artifacts at their source and the table follows";

/// What is said when there is too much to do.
pub(crate) const BUSY: &str = "the server has as much to do as it can: try again";

/// The refusal of an operation, `None` when it is served.
pub(crate) fn of(operation: Operation, method: &Method) -> Option<Response<DialectBody>> {
    match operation {
        Operation::GetObject
        | Operation::HeadObject
        | Operation::ListObjects
        | Operation::ListBuckets
        | Operation::HeadBucket
        | Operation::GetBucketLocation => None,
        Operation::Write => Some(forbidden(READ_ONLY)),
        Operation::Options => Some(document(
            StatusCode::FORBIDDEN,
            "AccessForbidden",
            "CORS is not enabled: browsers cannot read these tables across origins",
        )),
        Operation::Unknown if method == Method::GET || method == Method::HEAD => Some(document(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            "this subresource of an object is not served",
        )),
        Operation::Unknown | Operation::Propfind => {
            let mut response = document(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "the S3 dialect serves GET and HEAD",
            );
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            Some(response)
        }
    }
}

/// The answer when there is too much to do.
pub(crate) fn slow_down() -> Response<DialectBody> {
    document(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", BUSY)
}

/// The answer to a listing of the bucket that the host names.
pub(crate) fn host_style() -> Response<DialectBody> {
    document(
        StatusCode::BAD_REQUEST,
        "InvalidRequest",
        "the bucket is named by the path, not by the host: use path-style addressing",
    )
}

/// The answer to a request that nobody may make so. `message` needs no escaping.
pub(crate) fn forbidden(message: &str) -> Response<DialectBody> {
    document(StatusCode::FORBIDDEN, "AccessDenied", message)
}

/// The answer to credentials of a kind that is not taken.
pub(crate) fn form(form: Form) -> Response<DialectBody> {
    let (status, code, message) = match form {
        Form::Other => (
            StatusCode::FORBIDDEN,
            "AccessDenied",
            "this path takes requests signed with AWS Signature Version 4; bearer tokens are for /v1/",
        ),
        Form::Version2 => (
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "the authorization mechanism is not supported: use AWS4-HMAC-SHA256",
        ),
        Form::Several => (
            StatusCode::BAD_REQUEST,
            "InvalidArgument",
            "the request is signed in more than one way",
        ),
        Form::TooLong => (
            StatusCode::BAD_REQUEST,
            "AuthorizationQueryParametersError",
            "X-Amz-Expires is at most 604800 seconds, a week",
        ),
        Form::Scope => (
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "the credential's scope is not of the service s3",
        ),
    };
    document(status, code, message)
}

/// The answer when s3s itself fails.
pub(crate) fn internal() -> Response<DialectBody> {
    document(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "the request could not be answered",
    )
}

/// Gives an error that s3s answers the extension that ours have: its code.
pub(crate) fn coded(mut response: Response<s3s::Body>) -> Response<s3s::Body> {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    // Of an object that is under way nothing is in memory.
    let document = response.body().bytes().filter(|_| is_error);
    let code = document.as_deref().and_then(code_of).map(str::to_owned);
    if let Some(code) = code {
        response.extensions_mut().insert(ErrorCode(code.into()));
    }
    response
}

fn code_of(document: &[u8]) -> Option<&str> {
    let (_, rest) = str::from_utf8(document).ok()?.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// An S3 error document. `code` and `message` need no escaping.
fn document(status: StatusCode, code: &'static str, message: &str) -> Response<DialectBody> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(boxed(Full::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.extensions_mut().insert(ErrorCode(code.into()));
    response
}
