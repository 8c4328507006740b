//! The requests of the socket: which of them go where, and which are refused.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_TYPE, IF_MATCH},
    request::Parts,
};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{Instrument, debug, warn};
use vdt_dialect::{BoxError, DataSurface, PageKeys, request_span};
use vdt_sidecar::link::wire::{
    ADMIN_PREFIX, DRIFT_PATH, DriftReport, OWNERS_PATH, PROBE_PATH, SOURCES, VERSIONS_PATH,
    Version, Versions, WAIT_SECONDS_MAX,
};

use super::{sources, store::SocketStore};
use crate::tables::Tables;

/// Items of a page of LIST. The front door lists whole folders, and whoever turns a page has the state list anew: a long log should be one page.
/// Their XML has 4 MiB.
const PAGE_KEYS: PageKeys = PageKeys(10_000);
const UNDECLARED: &str = "no source declares this key";
/// Most bytes of a drift report: a key has at most 4 KiB.
const REPORT_BYTES_MAX: usize = 64 << 10;

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// The service of the socket. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SocketService {
    shared: Arc<Shared>,
}

struct Shared {
    store: SocketStore,
    surface: DataSurface,
    admin: axum::Router,
    tables: Arc<Tables>,
    /// Ends long polls.
    stop: CancellationToken,
}

impl SocketService {
    /// Serves `store` by `surface`, and `tables` beside it.
    pub(crate) fn new(
        store: SocketStore,
        surface: DataSurface,
        admin: axum::Router,
        tables: Arc<Tables>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                surface,
                admin,
                tables,
                stop,
            }),
        }
    }
}

impl Shared {
    async fn handle<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, PROBE_PATH) => text(StatusCode::OK, "serving\n"),
            (&Method::GET, VERSIONS_PATH) => self.versions(request.uri()).await,
            (&Method::GET, OWNERS_PATH) => match self.tables.store_id() {
                Some(_) => json(&self.owners()),
                None => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the state store is not open yet\n",
                ),
            },
            (&Method::POST, DRIFT_PATH) => self.drift(request.into_body()).await,
            _ if path.strip_prefix(ADMIN_PREFIX).is_some() => self.admin(request).await,
            _ if path.starts_with("/-/") => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
            _ => self.object(request).await,
        }
    }

    /// A request of the S3 protocol. Sources are read with If-Match, one declared object at a time.
    async fn object<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix('/').unwrap_or_default();
        let Ok(path) = percent_decode_str(path).decode_utf8() else {
            return denied("the path is not UTF-8");
        };
        match path.split('/').next().unwrap_or_default() {
            "v1" => denied("the socket speaks S3 alone"),
            // A normal event of a start, which is told when it has ended; what keeps a state from being opened is told by its tables.
            _ if !self.store.is_open() => {
                debug!(%path, "asked for before the state store is open");
                let why = "the state store is not open yet; ask again";
                document(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", why)
            }
            SOURCES => match refusal(&path, &parts) {
                Some(why) => denied(why),
                // Files of older versions refer to such keys; the front door reads them through those files then.
                None if !self.store.declares(&path) => {
                    debug!(%path, "{UNDECLARED}");
                    document(StatusCode::FORBIDDEN, "AccessDenied", UNDECLARED)
                }
                None => {
                    let span = request_span(&parts.headers);
                    sources::read(&self.store, &path, &parts)
                        .instrument(span)
                        .await
                }
            },
            _ => {
                drop(path);
                parts.extensions.insert(PAGE_KEYS);
                let request = Request::from_parts(parts, body);
                self.surface.handle(request).await.map(UnsyncBoxBody::new)
            }
        }
    }

    async fn versions(&self, uri: &Uri) -> Answer {
        let parameter = |name: &str| {
            uri.query()
                .unwrap_or_default()
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let number = |name| parameter(name).map_or(Ok(0), str::parse::<u64>);
        let (Ok(mut after), Ok(wait)) = (number("after"), number("wait")) else {
            return text(StatusCode::BAD_REQUEST, "after and wait are numbers\n");
        };
        let versions = self.tables.versions();
        if parameter("epoch") == Some(versions.epoch().to_string().as_str()) {
            let wait = Duration::from_secs(wait.min(WAIT_SECONDS_MAX));
            // Whatever ends the wait, the answer is what there is.
            tokio::select! {
                _ = timeout(wait, versions.wait(after)) => {}
                () = self.stop.cancelled() => {}
            }
        } else {
            after = 0;
        }
        // Others than before, if the state was opened meanwhile.
        let now = self.tables.versions();
        if now.epoch() != versions.epoch() {
            after = 0;
        }
        let (seq, newer) = now.newer_than(after);
        json(&Versions {
            epoch: now.epoch().to_string(),
            store_id: self.tables.store_id(),
            seq,
            versions: newer
                .into_iter()
                .map(|noticed| Version {
                    seq: noticed.seq,
                    table: noticed.table.to_string(),
                    version: noticed.version,
                })
                .collect(),
        })
    }

    /// Whose the tables are, by their paths; empty where nothing of one is shown.
    fn owners(&self) -> BTreeMap<String, String> {
        let served = self.tables.served();
        let owners = served.iter().map(|one| (one.path.clone(), one.owner()));
        owners.collect()
    }

    async fn drift<B>(&self, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Ok(body) = Limited::new(body, REPORT_BYTES_MAX).collect().await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the report is too long\n");
        };
        let Ok(report) = serde_json::from_slice::<DriftReport>(&body.to_bytes()) else {
            return text(StatusCode::BAD_REQUEST, "the report is not understood\n");
        };
        self.tables.drift(&report.file, &report.key, &report.reason);
        text(StatusCode::ACCEPTED, "noted\n")
    }

    async fn admin<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let inner = parts
            .uri
            .path_and_query()
            .and_then(|path| path.as_str().strip_prefix(ADMIN_PREFIX))
            .filter(|path| path.starts_with('/'))
            .and_then(|path| path.parse::<Uri>().ok());
        let Some(inner) = inner else {
            return text(StatusCode::NOT_FOUND, "there is nothing here\n");
        };
        parts.uri = inner;
        let request = Request::from_parts(parts, axum::body::Body::new(body.map_err(Into::into)));
        match self.admin.clone().oneshot(request).await {
            Ok(response) => response.map(|body| UnsyncBoxBody::new(body.map_err(Into::into))),
            Err(never) => match never {},
        }
    }
}

impl<B> tower::Service<Request<B>> for SocketService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(shared.handle(request).await) })
    }
}

/// Why the source object at `path` is not given, whether it is declared or not, if so. There is no other way to one.
fn refusal(path: &str, request: &Parts) -> Option<&'static str> {
    if path.trim_end_matches('/') == SOURCES {
        return Some("sources are not listed");
    }
    let tags = request.headers.get(IF_MATCH);
    let is_conditional = tags.is_some_and(|tags| {
        let tags = tags.as_bytes().trim_ascii();
        !tags.is_empty() && tags != b"*"
    });
    if !is_conditional {
        return Some("a source object is read with If-Match");
    }
    None
}

fn denied(why: &'static str) -> Answer {
    warn!(why, "a request to the origin's socket was refused");
    document(StatusCode::FORBIDDEN, "AccessDenied", why)
}

/// An S3 error document. `code` and `message` are ours and need no escaping.
pub(super) fn document(status: StatusCode, code: &str, message: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    answer(status, "application/xml", text)
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

fn json(body: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(body) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no answer\n"),
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut response = Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
