//! What the admin listener shows: whether the front door is open, what it follows, metrics of both processes.

use std::{
    collections::BTreeSet,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::RwLock;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use vdt_crds::{
    VirtualTable,
    api::{CacheReport, ManifestReport, RefusedManifest, TableReport},
};
use vdt_dialect::{Readiness, Reason};

use crate::{
    link::{Forward, LinkState},
    process::now_ms,
    stack::Stack,
};

/// Most bytes of the server's metrics, and the time for them: a scrape must not wait for a server that hangs.
const SERVER_METRICS: (usize, Duration) = (4 << 20, Duration::from_secs(2));
/// The line that ends a metrics text (OpenMetrics 1.0).
const END: &str = "# EOF\n";

/// What the admin listener shows.
#[derive(Debug)]
pub struct AdminState {
    link: watch::Receiver<LinkState>,
    /// Asks the server.
    pub(super) forward: Forward,
    declared: RwLock<Declared>,
    registry: OnceLock<Registry>,
    /// The last metrics that were collected, and when that began.
    collected: Mutex<Option<(Instant, Bytes)>>,
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
    /// Tables to which rights wait.
    awaited: BTreeSet<String>,
}

impl Declared {
    fn of(tables: &[VirtualTable]) -> Self {
        let one = |table: &VirtualTable| (table.table_path(), table.metadata.generation);
        Self {
            tables: tables.iter().map(one).collect(),
            ..Self::default()
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
            collected: Mutex::default(),
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

    /// These tables are declared now, and their manifests followed. Returns whether newer ones were refused before.
    pub fn redeclared(&self, tables: &[VirtualTable]) -> bool {
        let mut declared = self.declared.write();
        let now = Declared {
            awaited: std::mem::take(&mut declared.awaited),
            ..Declared::of(tables)
        };
        std::mem::replace(&mut *declared, now).refused.is_some()
    }

    /// Nobody is given rights to these tables yet.
    pub fn rights_wait(&self, tables: &BTreeSet<String>) {
        self.declared.write().awaited.clone_from(tables);
    }

    /// Newer manifests are not followed. Returns whether that is news.
    pub fn refused(&self, refused: RefusedManifest) -> bool {
        let mut declared = self.declared.write();
        let is_news = declared.refused.as_ref() != Some(&refused);
        declared.refused = Some(refused);
        is_news
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
        let declared = self.declared.read();
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
        for table in &declared.awaited {
            say(
                "RightsWait",
                format!(
                    "nobody may read {table} until the server serves it as the resource's that declares it"
                ),
            );
        }
        let nothing = missing.count() == declared.tables.len() && !declared.tables.is_empty();
        Readiness {
            ready: stack.is_some() && !nothing && !self.stopping.load(Ordering::Acquire),
            reasons,
        }
    }

    /// Waits until requests can be answered, or never will be again.
    pub(super) async fn settled(&self) {
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

    /// Metrics of both processes, as far as the server answers, as they are now. All who wait for them meanwhile are given the same: they are collected
    /// once at a time, however many ask.
    pub(super) async fn metrics(&self) -> Bytes {
        let asked = Instant::now();
        let mut last = self.collected.lock().await;
        if let Some((began, text)) = &*last
            && *began > asked
        {
            return text.clone();
        }
        let began = Instant::now();
        let text = Bytes::from(self.collect().await);
        *last = Some((began, text.clone()));
        text
    }

    async fn collect(&self) -> String {
        let mut text = String::new();
        if let Some(registry) = self.registry.get() {
            // Writing to a String does not fail.
            let _ = encode(&mut text, registry);
        }
        let is_up = self.link.borrow().up;
        if is_up {
            let (bytes_max, time_max) = SERVER_METRICS;
            let answer = self.forward.get("/metrics", bytes_max, time_max).await;
            let answer = answer.ok().filter(|answer| answer.status().is_success());
            if let Some(answer) = answer {
                let servers = std::str::from_utf8(answer.body()).unwrap_or_default();
                return joined(&text, servers);
            }
        }
        joined(&text, "")
    }

    /// What the cache holds and did; `None` before it is open.
    pub(super) fn cache(&self) -> Option<CacheReport> {
        self.stack.get().and_then(Stack::report)
    }

    /// Adds to what the server says of its tables how the cache is, and which manifests are followed here.
    pub(super) fn add_to(&self, tables: &mut [TableReport]) {
        let cache = self.cache().map(|cache| cache.condition(self.started_ms));
        let declared = self.declared.read();
        for table in tables {
            table.conditions.extend(cache.clone());
            let servers = table.manifest.take().unwrap_or_default();
            let is_followed = servers.generation.is_some();
            let mut both = servers.and(declared.manifest(&table.table));
            if !is_followed {
                // A server that says nothing has not followed anything yet.
                both.generation = None;
            }
            table.manifest = both.if_any();
        }
    }
}

/// One metrics text of two that name no series both: it ends once, also where there is nothing in it.
fn joined(ours: &str, servers: &str) -> String {
    let [ours, servers] = [ours, servers].map(|text| text.strip_suffix(END).unwrap_or(text));
    format!("{ours}{servers}{END}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Socket;

    #[tokio::test]
    async fn metrics_end_once_also_before_the_first_contact() {
        let (_link, seen) = watch::channel(LinkState::default());
        let admin = AdminState::new(seen, Forward::new(&Socket::new("/nowhere")), &[]);
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
    async fn metrics_are_collected_once_for_all_who_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("origin.sock");
        // Whoever connects waits in its queue for ever.
        let _listener = tokio::net::UnixListener::bind(&path).expect("a socket");
        let up = LinkState {
            up: true,
            ..LinkState::default()
        };
        let (_link, seen) = watch::channel(up);
        let admin = AdminState::new(seen, Forward::new(&Socket::new(path)), &[]);
        let began = Instant::now();
        let all = [(); 5].map(|()| admin.metrics());
        let all = futures::future::join_all(all).await;
        assert!(all.iter().all(|text| text == END));
        // The first one's, which began before the others asked, and theirs.
        assert_eq!(began.elapsed(), SERVER_METRICS.1 * 2);
    }
}
