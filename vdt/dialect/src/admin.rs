//! The admin surface: the page, its JSON, refreshes, metrics and health.
//!
//! ```text
//!   /metrics  /healthz  /readyz                                to all
//!   /         the page                                      ─┐
//!   /api/v1/tables                                           │
//!   /api/v1/tables/<catalog>/<schema>/<table>/files          ├ to this machine, or with a token: see [`Gate`]
//!   /api/v1/tables/<catalog>/<schema>/<table>/files/<name>   │
//!   /api/v1/cache                                            │
//!   POST /refresh                                           ─┘
//! ```
//!
//! Everything but the page and the metrics is JSON, errors too: `{"error": "..."}`. What the answers say comes from the process, through [`Admin`].
//! [`router`] asks nobody who they are; [`Gate::protect`] does, and belongs around it wherever others can connect.

mod gate;
mod page;
mod token;

use std::sync::Arc;

use ::http::StatusCode;
use ::http::header::CONTENT_TYPE;
use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use gate::Gate;
pub use page::page;
pub use token::{KeyFileError, Seconds, Tokens, system_seconds};

/// What prometheus-client's text encoder writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the server tells and does through its admin listener.
#[async_trait::async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Refreshes one table, or all without a name. Returns when the refresh is queued, or with `wait` when it is done: the body of the answer, an array
    /// with one object a table.
    ///
    /// The future is dropped when the client leaves; that must not stop a refresh that has begun.
    ///
    /// # Errors
    /// [`AdminError`], which becomes the status.
    async fn refresh(&self, table: Option<&str>, wait: bool) -> Result<Value, AdminError>;

    /// The body of `GET /api/v1/tables`: an array, one object a table.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] where another process has to be asked.
    async fn tables(&self) -> Result<Value, AdminError>;

    /// The files of the version that is served: `<catalog>/<schema>/<table>`, names after `after`, at most `limit` of them (the process may give less).
    ///
    /// # Errors
    /// [`AdminError`], which becomes the status.
    async fn files(
        &self,
        table: &str,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Value, AdminError>;

    /// What one file is made of. Any retained file of the table, also of older versions.
    ///
    /// # Errors
    /// [`AdminError`], which becomes the status.
    async fn rope(&self, table: &str, file: &str) -> Result<Value, AdminError>;

    /// The body of `GET /api/v1/cache`; `None`, which is `null`, for a process without a cache.
    async fn cache(&self) -> Option<Value> {
        None
    }

    /// Whether requests can be answered.
    fn ready(&self) -> Readiness;

    /// All metrics in OpenMetrics' text form.
    async fn metrics(&self) -> String;
}

/// Why a question was not answered, or a refresh not made.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// 404.
    #[error("there is no table {table}")]
    NotFound {
        /// The name asked for.
        table: String,
    },
    /// 404.
    #[error("table {table} has no file {file}")]
    NoFile {
        /// The table.
        table: String,
        /// The name asked for.
        file: String,
    },
    /// 503: try again.
    #[error("not now: {message}")]
    Unavailable {
        /// What is not available.
        message: String,
    },
}

impl AdminError {
    /// [`AdminError::Unavailable`] for this reason.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } | Self::NoFile { .. } => StatusCode::NOT_FOUND,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Whether the server can answer, and why not or how well: the body of `/readyz`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Readiness {
    /// 200 when true, 503 otherwise.
    pub ready: bool,
    /// Reasons, also of a server that is ready but degraded.
    pub reasons: Vec<Reason>,
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let status = match self.ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        json(status, &self)
    }
}

/// One reason of a [`Readiness`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// PascalCase, as in a condition of the resource's status.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Every route, for whoever can connect: for a listener that is guarded itself, or to be given to [`Gate::protect`].
pub fn router(admin: Arc<dyn Admin>) -> Router {
    Router::new()
        .route("/refresh", post(refresh))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/tables", get(tables))
        .route(
            "/api/v1/tables/{catalog}/{schema}/{table}/files",
            get(files),
        )
        .route(
            "/api/v1/tables/{catalog}/{schema}/{table}/files/{name}",
            get(rope),
        )
        .route("/api/v1/cache", get(cache))
        .merge(page())
        .fallback(async || error(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not serve the method",
            )
        })
        .with_state(admin)
}

#[derive(Debug, Default)]
struct RefreshQuery {
    table: Option<String>,
    wait: Option<String>,
}

impl RefreshQuery {
    /// What the pairs say; an unknown one may be a misspelt `table`, which would refresh all.
    fn of(pairs: Vec<(String, String)>) -> Result<Self, String> {
        const TAKES: &str = "the query takes table= and wait=, once each";
        let mut query = Self::default();
        for (key, value) in pairs {
            let field = match key.as_str() {
                "table" => &mut query.table,
                "wait" => &mut query.wait,
                other => return Err(format!("{TAKES}; {other:?} is neither")),
            };
            if field.replace(value).is_some() {
                return Err(TAKES.to_owned());
            }
        }
        Ok(query)
    }
}

#[derive(Debug, Deserialize)]
struct FilesQuery {
    after: Option<String>,
    limit: Option<usize>,
}

async fn refresh(
    State(admin): State<Arc<dyn Admin>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let pairs = query.map_err(|_| "the query cannot be read".to_owned());
    let query = match pairs.and_then(|Query(pairs)| RefreshQuery::of(pairs)) {
        Ok(query) => query,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &problem),
    };
    let wait = match query.wait.as_deref() {
        None | Some("false" | "0") => false,
        Some("" | "true" | "1") => true,
        Some(_) => return error(StatusCode::BAD_REQUEST, "wait is true or false"),
    };
    let table = query.table.as_deref().filter(|table| !table.is_empty());
    match admin.refresh(table, wait).await {
        Ok(reports) => json(
            if wait {
                StatusCode::OK
            } else {
                StatusCode::ACCEPTED
            },
            &reports,
        ),
        Err(failed) => error(failed.status(), &failed.to_string()),
    }
}

async fn metrics(State(admin): State<Arc<dyn Admin>>) -> Response {
    metrics_text(admin.metrics().await)
}

/// The answer of `/metrics`: what prometheus-client's text encoder wrote.
pub fn metrics_text(text: impl Into<Bytes>) -> Response {
    ([(CONTENT_TYPE, METRICS_TYPE)], text.into()).into_response()
}

/// The answer of `/healthz`: the process answers.
pub async fn healthz() -> Response {
    json(StatusCode::OK, &json!({"alive": true}))
}

async fn readyz(State(admin): State<Arc<dyn Admin>>) -> Response {
    admin.ready().into_response()
}

async fn tables(State(admin): State<Arc<dyn Admin>>) -> Response {
    answer(admin.tables().await)
}

async fn files(
    State(admin): State<Arc<dyn Admin>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<FilesQuery>, QueryRejection>,
) -> Response {
    let Ok(Path((catalog, schema, table))) = path else {
        return error(StatusCode::BAD_REQUEST, "the path is no UTF-8");
    };
    let Ok(Query(FilesQuery { after, limit })) = query else {
        return error(
            StatusCode::BAD_REQUEST,
            "the query takes after= (a file name) and limit= (a number), once each",
        );
    };
    let table = format!("{catalog}/{schema}/{table}");
    answer(admin.files(&table, after.as_deref(), limit).await)
}

async fn rope(
    State(admin): State<Arc<dyn Admin>>,
    path: Result<Path<(String, String, String, String)>, PathRejection>,
) -> Response {
    let Ok(Path((catalog, schema, table, file))) = path else {
        return error(StatusCode::BAD_REQUEST, "the path is no UTF-8");
    };
    let table = format!("{catalog}/{schema}/{table}");
    answer(admin.rope(&table, &file).await)
}

async fn cache(State(admin): State<Arc<dyn Admin>>) -> Response {
    json(StatusCode::OK, &admin.cache().await)
}

fn answer(answered: Result<Value, AdminError>) -> Response {
    match answered {
        Ok(body) => json(StatusCode::OK, &body),
        Err(failed) => error(failed.status(), &failed.to_string()),
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    json(status, &json!({"error": message}))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [(CONTENT_TYPE, "application/json")];
    match serde_json::to_vec(body) {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
