//! What a listener runs.

use std::convert::Infallible;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;

use crate::surface::BoxError;

/// A service that a listener can run: it answers every request, and its bodies are bytes. Whatever is one implements this.
pub trait HttpService:
    tower::Service<
        Request<Incoming>,
        Response = Response<<Self as HttpService>::Body>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    /// Bodies of its responses.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;
}

impl<S, B> HttpService for S
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Body = B;
}
