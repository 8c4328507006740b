//! The admin listener of the front door: its own health, metrics, cache and the page; all else is the server's, asked over the socket.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::Request;
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde::Deserialize;
use tokio::{sync::watch, time::timeout};
use vdt_crds::{
    VirtualTable,
    api::{ManifestReport, RefusedManifest, TableReport},
};
use vdt_dialect::{
    Readiness, Reason,
    admin::{Gate, Tokens, healthz, metrics_text, page, system_seconds},
};

use crate::{
    link::{Forward, LinkState, unavailable},
    process::now_ms,
    stack::Stack,
};

/// Most bytes of the server's metrics, and the time for them: a scrape must not wait for a server that hangs.
const SERVER_METRICS: (usize, Duration) = (4 << 20, Duration::from_secs(2));
/// Most bytes of the server's tables, and the time for them.
const SERVER_TABLES: (usize, Duration) = (16 << 20, Duration::from_secs(30));
/// Longest wait of a question whether the door is open.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// The line that ends a metrics text (OpenMetrics 1.0).
const END: &str = "# EOF\n";

/// What the admin listener shows.
#[derive(Debug)]
pub struct AdminState {
    link: watch::Receiver<LinkState>,
    forward: Forward,
    declared: RwLock<Declared>,
    registry: OnceLock<Registry>,
    stack: OnceLock<Stack>,
    /// Told when the door opens or closes.
    moved: watch::Sender<()>,
    stopping: AtomicBool,
    unsecured: AtomicBool,
    started_ms: i64,
}

/// What the front door follows: tables by path, each with the generation of its manifest.
#[derive(Debug, Default)]
struct Declared {
    tables: Vec<(String, Option<i64>)>,
    refused: Option<RefusedManifest>,
}

impl Declared {
    fn of(tables: &[VirtualTable]) -> Self {
        let one = |table: &VirtualTable| (table.table_path(), table.metadata.generation);
        Self {
            tables: tables.iter().map(one).collect(),
            refused: None,
        }
    }

    fn manifest(&self, table: &str) -> ManifestReport {
        let found = self.tables.iter().find(|(path, _)| path == table);
        ManifestReport {
            generation: found.and_then(|(_, generation)| *generation),
            refused: self.refused.clone(),
        }
    }
}

impl AdminState {
    /// A door that is not open yet, of these tables.
    #[must_use]
    pub fn new(
        link: watch::Receiver<LinkState>,
        forward: Forward,
        tables: &[VirtualTable],
    ) -> Self {
        Self {
            link,
            forward,
            declared: RwLock::new(Declared::of(tables)),
            registry: OnceLock::new(),
            stack: OnceLock::new(),
            moved: watch::Sender::new(()),
            stopping: AtomicBool::new(false),
            unsecured: AtomicBool::new(false),
            started_ms: now_ms(),
        }
    }

    /// The door is open from now on: `stack` is served, and measured in `registry`.
    pub fn opened(&self, stack: Stack, registry: Registry) {
        // A door opens once.
        let _ = self.registry.set(registry);
        let _ = self.stack.set(stack);
        self.moved.send_replace(());
    }

    /// Says whether the data listener waits for its certificate.
    pub fn unsecured(&self, waits: bool) {
        self.unsecured.store(waits, Ordering::Release);
    }

    /// These tables are declared now, and their manifests followed.
    pub fn redeclared(&self, tables: &[VirtualTable]) {
        *self
            .declared
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Declared::of(tables);
    }

    /// Newer manifests are not followed. Returns whether that is news.
    pub fn refused(&self, refused: RefusedManifest) -> bool {
        let mut declared = self
            .declared
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_news = declared.refused.as_ref() != Some(&refused);
        declared.refused = Some(refused);
        is_news
    }

    fn declared(&self) -> std::sync::RwLockReadGuard<'_, Declared> {
        self.declared.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The door closes: nothing new should be sent here.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
        self.moved.send_replace(());
    }

    /// Whether requests can be answered: never before the server was reached and has a version of something; after that always, from
    /// what is held, until the door closes.
    #[must_use]
    pub fn ready(&self) -> Readiness {
        let link = self.link.borrow();
        let mut reasons = Vec::new();
        let mut say = |reason: &str, message: String| {
            reasons.push(Reason {
                reason: reason.to_owned(),
                message,
            });
        };
        let stack = self.stack.get();
        if self.stopping.load(Ordering::Acquire) {
            say("Stopping", "the front door is closing".to_owned());
        }
        if !link.up {
            say(
                "OriginAway",
                match stack {
                    Some(_) => "the server is away; what is held is served".to_owned(),
                    None => "the server has not been reached yet".to_owned(),
                },
            );
        } else if stack.is_none() && !self.unsecured.load(Ordering::Acquire) {
            say("Starting", "the cache is being opened".to_owned());
        }
        if self.unsecured.load(Ordering::Acquire) {
            say(
                "NoCertificate",
                "the certificate of the data listener is not there or of no use; the log says why"
                    .to_owned(),
            );
        }
        let declared = self.declared();
        let tables = declared.tables.iter().map(|(path, _)| path);
        let missing = tables.filter(|table| !link.versions.contains_key(*table));
        for table in missing.clone() {
            say("NoVersion", format!("{table} has no version yet"));
        }
        if let Some((reason, message)) = stack.and_then(Stack::degraded) {
            say(&reason, message);
        }
        if let Some(refused) = &declared.refused {
            say(&refused.reason, refused.message.clone());
        }
        let nothing = missing.count() == declared.tables.len() && !declared.tables.is_empty();
        Readiness {
            ready: stack.is_some() && !nothing && !self.stopping.load(Ordering::Acquire),
            reasons,
        }
    }

    /// Waits until requests can be answered, or never will be again.
    async fn settled(&self) {
        let (mut moved, mut link) = (self.moved.subscribe(), self.link.clone());
        while !self.ready().ready && !self.stopping.load(Ordering::Acquire) {
            let is_over = tokio::select! {
                changed = moved.changed() => changed.is_err(),
                changed = link.changed() => changed.is_err(),
            };
            if is_over {
                return;
            }
        }
    }

    async fn metrics(&self) -> String {
        let mut text = String::new();
        if let Some(registry) = self.registry.get() {
            // Writing to a String does not fail.
            let _ = encode(&mut text, registry);
        }
        let (bytes_max, time_max) = SERVER_METRICS;
        let servers = match self.link.borrow().up {
            true => Some(self.forward.get("/metrics", bytes_max, time_max)),
            false => None,
        };
        match servers {
            Some(servers) => match servers.await {
                Ok(answer) if answer.status().is_success() => joined(
                    &text,
                    std::str::from_utf8(answer.body()).unwrap_or_default(),
                ),
                Ok(_) | Err(_) => joined(&text, ""),
            },
            None => joined(&text, ""),
        }
    }
}

/// One metrics text of two that name no series both: it ends once, also where there is nothing in it.
fn joined(ours: &str, servers: &str) -> String {
    let [ours, servers] = [ours, servers].map(|text| text.strip_suffix(END).unwrap_or(text));
    format!("{ours}{servers}{END}")
}

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
    Json(admin.stack.get().and_then(Stack::report)).into_response()
}

/// What the server says of its tables, and of each how the cache is.
async fn tables(State(admin): State<Arc<AdminState>>) -> Response {
    let cache = admin.stack.get().and_then(Stack::report);
    let (bytes_max, time_max) = SERVER_TABLES;
    let answer = admin
        .forward
        .get("/api/v1/tables", bytes_max, time_max)
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unavailable(&error).into_response(),
    };
    let Ok(mut tables) = serde_json::from_slice::<Vec<TableReport>>(answer.body()) else {
        return (answer.status(), answer.into_body()).into_response();
    };
    let declared = admin.declared();
    for table in &mut tables {
        table.conditions.extend(
            cache
                .as_ref()
                .map(|cache| cache.condition(admin.started_ms)),
        );
        let ours = declared.manifest(&table.table);
        // A server that says nothing has not followed anything yet.
        table.manifest = match table.manifest.take() {
            Some(servers) if servers.generation.is_some() => servers.and(ours).if_any(),
            servers => ManifestReport {
                generation: None,
                ..servers.unwrap_or_default().and(ours)
            }
            .if_any(),
        };
    }
    drop(declared);
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
        let metadata = &table.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let name = metadata.name.as_deref().unwrap_or_default();
        format!("{namespace}/{name}")
    };
    tables.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::time::Instant;

    use super::*;
    use crate::link::Socket;

    #[tokio::test]
    async fn metrics_end_once_also_before_the_first_contact() {
        let (_link, seen) = watch::channel(LinkState::default());
        let admin = AdminState::new(seen, Forward::new(Socket::new("/nowhere")), &[]);
        assert_eq!(admin.metrics().await, END);
        let ours = format!("a 1\n{END}");
        for (servers, expected) in [
            (format!("b 2\n{END}"), format!("a 1\nb 2\n{END}")),
            // Cut, or not there.
            ("b 2\n".to_owned(), format!("a 1\nb 2\n{END}")),
            (String::new(), ours.clone()),
        ] {
            assert_eq!(joined(&ours, &servers), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tables_of_a_server_that_hangs_are_unavailable_after_one_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin.sock");
        // Whoever connects waits in its queue for ever.
        let _listener = tokio::net::UnixListener::bind(&path).expect("a socket");
        let (_link, seen) = watch::channel(LinkState::default());
        let admin = AdminState::new(seen, Forward::new(Socket::new(path)), &[]);
        let began = Instant::now();
        let answer = tables(State(Arc::new(admin))).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), SERVER_TABLES.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_door_that_does_not_open_is_waited_for_as_long_as_asked_and_one_that_closes_is_not() {
        let (_link, seen) = watch::channel(LinkState::default());
        let forward = Forward::new(Socket::new("/nowhere"));
        let admin = Arc::new(AdminState::new(seen, forward, &[]));
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
