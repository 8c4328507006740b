//! The admin listener of the front door: its own health, metrics, cache and the page; all else is the server's, asked over the socket.

mod state;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::Request;
use serde::Deserialize;
use tokio::time::timeout;
use vdt_crds::{VirtualTable, api::TableReport};
use vdt_dialect::admin::{Gate, Tokens, healthz, metrics_text, page, system_seconds};

pub use self::state::AdminState;
use crate::link::unavailable;

/// Longest wait of a question whether the door is open.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// The routes of the admin listener, to be given to [`Gate::protect`].
pub fn router(admin: Arc<AdminState>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/cache", get(cache))
        .route("/api/v1/tables", get(tables))
        .merge(page())
        .fallback(forward)
        .with_state(admin)
}

async fn metrics(State(admin): State<Arc<AdminState>>) -> Response {
    metrics_text(admin.metrics().await)
}

/// How `/readyz` is asked.
#[derive(Debug, Default, Deserialize)]
struct Patience {
    /// Milliseconds that a door that is not open may take to open before the answer; [`PATIENCE_MAX`] at most.
    #[serde(default)]
    wait_ms: u64,
}

async fn readyz(
    State(admin): State<Arc<AdminState>>,
    Query(patience): Query<Patience>,
) -> Response {
    let patience = Duration::from_millis(patience.wait_ms).min(PATIENCE_MAX);
    // In time or not: the answer says which.
    let _ = timeout(patience, admin.settled()).await;
    admin.ready().into_response()
}

async fn cache(State(admin): State<Arc<AdminState>>) -> Response {
    Json(admin.cache()).into_response()
}

/// What the server says of its tables, and of each what is known here.
async fn tables(State(admin): State<Arc<AdminState>>) -> Response {
    let answer = match admin.forward.tables().await {
        Ok(answer) => answer,
        Err(error) => return unavailable(&error).into_response(),
    };
    let Ok(mut tables) = serde_json::from_slice::<Vec<TableReport>>(answer.body()) else {
        return (answer.status(), answer.into_body()).into_response();
    };
    admin.add_to(&mut tables);
    Json(tables).into_response()
}

async fn forward(
    State(admin): State<Arc<AdminState>>,
    request: Request<axum::body::Body>,
) -> Response {
    admin.forward.call(request).await.into_response()
}

/// Who may see the admin surface: this machine, and bearers of tokens for one of `tables` that were signed by one of `keys`.
///
/// # Errors
/// When a file of keys cannot be used.
pub async fn gate<'a>(
    keys: &[PathBuf],
    tables: impl Iterator<Item = &'a VirtualTable>,
) -> anyhow::Result<Gate> {
    if keys.is_empty() {
        return Ok(Gate::local());
    }
    let audiences = audiences(tables);
    let tokens = Tokens::open(keys, &audiences, system_seconds());
    Ok(Gate::local().with_tokens(tokens.await.context("--admin-keys")?))
}

/// Whom tokens are for that open the admin surface of these tables.
pub fn audiences<'a>(tables: impl IntoIterator<Item = &'a VirtualTable>) -> Vec<String> {
    let one = |table: &VirtualTable| {
        let name = table.metadata.name.as_deref().unwrap_or_default();
        format!("{}/{name}", table.namespace())
    };
    tables.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use prometheus_client::registry::Registry;
    use tokio::{sync::watch, time::Instant};

    use super::*;
    use crate::link::{Forward, LinkState, Socket};

    #[tokio::test(start_paused = true)]
    async fn tables_of_a_server_that_hangs_are_unavailable_after_one_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin.sock");
        // Whoever connects waits in its queue for ever.
        let _listener = tokio::net::UnixListener::bind(&path).expect("a socket");
        let (_link, seen) = watch::channel(LinkState::default());
        let admin = AdminState::new(
            seen,
            Forward::new(&Socket::new(path)),
            &[],
            Registry::default(),
        );
        let began = Instant::now();
        let answer = tables(State(Arc::new(admin))).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), Forward::TABLES_TIME_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_door_that_does_not_open_is_waited_for_as_long_as_asked_and_one_that_closes_is_not() {
        let (_link, seen) = watch::channel(LinkState::default());
        let forward = Forward::new(&Socket::new("/nowhere"));
        let admin = Arc::new(AdminState::new(seen, forward, &[], Registry::default()));
        let ask = |wait_ms| readyz(State(admin.clone()), Query(Patience { wait_ms }));
        let began = Instant::now();
        assert_eq!(ask(0).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(ask(1500).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), Duration::from_millis(1500));
        assert_eq!(
            ask(u64::MAX).await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(began.elapsed(), Duration::from_millis(6500));
        let (status, ()) = tokio::join!(ask(1500), async { admin.stopping() });
        assert_eq!(status.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), Duration::from_millis(6500));
    }
}
