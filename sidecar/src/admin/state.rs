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
    log::Notices,
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
    /// Of the data listener, from the start.
    http: Registry,
    /// Of the stack, once there is one.
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
    /// A door that is not open yet, of these tables; its data listener is measured in `http`.
    #[must_use]
    pub fn new(
        link: watch::Receiver<LinkState>,
        forward: Forward,
        tables: &[VirtualTable],
        http: Registry,
    ) -> Self {
        Self {
            link,
            forward,
            declared: RwLock::new(Declared::of(tables)),
            http,
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
        let is_up = self.link.borrow().up;
        let http = text_of(&self.http);
        let stack = match self.registry.get() {
            Some(registry) => text_of(registry),
            None => text_of(&before_contact(is_up)),
        };
        if is_up {
            let (bytes_max, time_max) = SERVER_METRICS;
            let answer = self.forward.get("/metrics", bytes_max, time_max).await;
            let answer = answer.ok().filter(|answer| answer.status().is_success());
            if let Some(answer) = answer {
                let servers = std::str::from_utf8(answer.body()).unwrap_or_default();
                return joined([&http, &stack, servers]);
            }
        }
        joined([&http, &stack, ""])
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

fn text_of(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut text, registry);
    text
}

/// What the stack will show once there is one and is known before: whether the server is there.
fn before_contact(is_up: bool) -> Registry {
    let mut registry = Registry::default();
    let notices = Notices::new();
    notices.set_origin_up(is_up);
    notices.register(&mut registry);
    registry
}

/// One metrics text of several that name no series twice: it ends once, also where there is nothing in it.
fn joined(texts: [&str; 3]) -> String {
    let [http, stack, servers] = texts.map(|text| text.strip_suffix(END).unwrap_or(text));
    format!("{http}{stack}{servers}{END}")
}

#[cfg(test)]
mod tests {
    use vdt_dialect::HttpMetrics;

    use super::*;
    use crate::link::Socket;

    fn admin(link: LinkState, socket: impl Into<std::path::PathBuf>) -> AdminState {
        let mut http = Registry::default();
        let _measured = HttpMetrics::register(&mut http);
        // What was sent last stays.
        let (_, seen) = watch::channel(link);
        AdminState::new(seen, Forward::new(&Socket::new(socket)), &[], http)
    }

    #[tokio::test]
    async fn that_the_server_is_away_is_shown_before_the_first_contact() {
        let text = admin(LinkState::default(), "/nowhere").metrics().await;
        let text = std::str::from_utf8(&text).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.contains(&"vdt_origin_up 0"), "{text}");
        assert!(lines.contains(&"vdt_http_connections 0"), "{text}");
        assert_eq!(lines.iter().filter(|line| **line == "# EOF").count(), 1);
        assert!(text.ends_with(END), "{text}");
    }

    #[test]
    fn metrics_end_once() {
        let ours = format!("a 1\n{END}");
        for (servers, expected) in [
            (format!("b 2\n{END}"), format!("a 1\nc 3\nb 2\n{END}")),
            // Cut, or not there.
            ("b 2\n".to_owned(), format!("a 1\nc 3\nb 2\n{END}")),
            (String::new(), format!("a 1\nc 3\n{END}")),
        ] {
            assert_eq!(joined([&ours, &format!("c 3\n{END}"), &servers]), expected);
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
        let admin = admin(up, path);
        let began = Instant::now();
        let all = [(); 5].map(|()| admin.metrics());
        let all = futures::future::join_all(all).await;
        assert!(all.iter().all(|text| text.ends_with(END.as_bytes())));
        // The first one's, which began before the others asked, and theirs.
        assert_eq!(began.elapsed(), SERVER_METRICS.1 * 2);
    }
}
