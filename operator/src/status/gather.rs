//! What the pods say about themselves: their admin API, asked with a token and with patience that ends.
//!
//! A pod that does not answer in time is a pod that said nothing; the next look asks again. Nothing here fails.
//!
//! Whoever may make a pod decides what it says, so memory is bounded whatever pods say, and whoever says little needs no place among those who say much:
//!
//! ```text
//! the first SMALL_BYTES of an answer    at any time
//! the rest of it                        one of LARGE places, given back when the answer has become values or its time is over
//! an answer that was read               becomes values one at a time: JSON may take fifty times its size then
//! what is kept of it                    what a status is computed from, as long as it may be there: some 60 KiB a pod at most
//! ```

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes};
use hyper_util::{
    client::legacy::Client, client::legacy::connect::HttpConnector, rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};
use vdt_crds::{
    api::{CacheReport, RESTART_NEEDED, TableReport},
    status::condition,
};

use super::REASON_CHARS;
use crate::{apply::rollout::PodView, build::ADMIN_PORT, validate::shorten};

/// A pod answers within this, or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Pods of one server that are asked at once.
const CONCURRENCY: usize = 16;
/// Servers whose pods are asked at once: a thousand that are silent and asked once a minute keep fifty of them busy.
const SERVERS: usize = 64;
/// All pods of a server together are given this long: a status that says less is better than one that is not written in time.
const ALL: Duration = Duration::from_secs(10);
/// Largest answer about tables that is read, bytes: a server has one table, of at most 32 sources, each of which may tell
/// its message twice.
const TABLES_BYTES_MAX: usize = 512 << 10;
/// The same about the cache: numbers of an hour's minutes, and the keys of its hottest artifacts, of up to 1 KiB each.
const CACHE_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer that are read at any time. Most answers have fewer.
const SMALL_BYTES: usize = 16 << 10;
/// Answers at once of which more than that is read.
const LARGE: usize = 16;
/// All answers that are being read, two of each pod, are no more than 40 MiB together.
const _: () = assert!(
    SERVERS * CONCURRENCY * 2 * SMALL_BYTES + LARGE * (TABLES_BYTES_MAX - SMALL_BYTES) <= 40 << 20
);

/// Conditions that a status is computed from.
const CONDITIONS: [&str; 3] = [
    condition::READY,
    condition::SOURCES_READY,
    condition::SCHEMA_ACCEPTED,
];
/// Most sources of a table, and most characters of a source's name, as the definition of the resource has it.
const SOURCES: usize = 32;
const SOURCE_NAME_CHARS: usize = 63;
/// Bytes of the messages of all sources of a table: those that come after have none.
const SOURCE_MESSAGES_BYTES: usize = 16 << 10;

/// What one pod said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodReport {
    /// Its name.
    pub(crate) pod: String,
    /// Its identity.
    pub(crate) uid: String,
    /// What it says of the table that was asked about; None if it did not answer.
    pub(crate) tables: Option<Vec<TableReport>>,
    /// Its cache; None if it did not answer, or has none.
    pub(crate) cache: Option<CacheReport>,
}

impl PodReport {
    fn of(pod: &PodView) -> Self {
        Self {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            ..Self::default()
        }
    }

    /// Says whether it answered anything.
    pub(crate) fn said_something(&self) -> bool {
        self.tables.is_some() || self.cache.is_some()
    }

    /// Says whether it follows this generation of the table that was asked about only when it is started anew. What it refused of an earlier one is settled.
    pub(crate) fn needs_restart(&self, generation: Option<i64>) -> bool {
        let tables = self.tables.iter().flatten();
        let mut refused = tables.filter_map(|table| table.manifest.as_ref()?.refused.as_ref());
        generation.is_some()
            && refused
                .any(|refused| refused.reason == RESTART_NEEDED && refused.generation == generation)
    }
}

/// What the pods of a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    /// In the order in which they were given.
    pub(crate) reports: Vec<PodReport>,
    /// From the first question to the last answer.
    pub(crate) took: Duration,
}

/// Says whether a pod can answer at all.
pub(crate) fn can_answer(pod: &PodView) -> bool {
    pod.ip.is_some() && pod.phase == "Running"
}

/// Asks pods.
#[derive(Clone)]
pub(crate) struct Pods {
    client: Client<HttpConnector, Empty<Bytes>>,
    port: u16,
    servers: Arc<Semaphore>,
    large: Arc<Semaphore>,
    parsing: Arc<Mutex<()>>,
}

impl Pods {
    /// Makes a client that keeps few connections open: there are many pods, and each is asked rarely.
    pub(crate) fn new(port: Option<u16>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(1)
            // The least that there is, per connection. By itself it grows to fifty times as much with what comes.
            .http1_max_buf_size(8 << 10)
            .build(connector);
        Self {
            client,
            port: port.unwrap_or(ADMIN_PORT),
            servers: Arc::new(Semaphore::new(SERVERS)),
            large: Arc::new(Semaphore::new(LARGE)),
            parsing: Arc::default(),
        }
    }

    /// Asks all pods of a server, once fewer than [`SERVERS`] are being asked; those that are ready first, for they answer. There is a report of each, also of
    /// those that there was no time for. What they say of tables other than that of `path` is dropped.
    pub(crate) async fn ask(self, token: String, path: String, pods: Vec<PodView>) -> Answer {
        // It is never closed.
        let _turn = self.servers.acquire().await;
        let began = Instant::now();
        let mut reports: Vec<PodReport> = pods.iter().map(PodReport::of).collect();
        let (ready, others): (Vec<_>, Vec<_>) =
            pods.iter().enumerate().partition(|(_, pod)| pod.is_ready);
        let (this, token, path) = (&self, &token, &path);
        let asked: Vec<_> = ready
            .into_iter()
            .chain(others)
            .map(|(index, pod)| async move { (index, this.ask_one(token, path, pod).await) })
            .collect();
        let mut answers = stream::iter(asked).buffer_unordered(CONCURRENCY);
        while let Ok(Some((index, report))) = timeout_at(began + ALL, answers.next()).await {
            if let Some(place) = reports.get_mut(index) {
                *place = report;
            }
        }
        Answer {
            reports,
            took: began.elapsed(),
        }
    }

    async fn ask_one(&self, token: &str, path: &str, pod: &PodView) -> PodReport {
        let mut report = PodReport::of(pod);
        let Some(ip) = pod.ip.as_deref().filter(|_| can_answer(pod)) else {
            return report;
        };
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        let base = format!("http://{host}:{}/api/v1", self.port);
        let of_table = |tables: Vec<TableReport>| -> Vec<TableReport> {
            let mut tables = tables.into_iter().filter(|table| table.table == path);
            tables.next().map(bounded).into_iter().collect()
        };
        let tiers_of = |mut cache: CacheReport| {
            for tier in [&mut cache.tiers.memory, &mut cache.tiers.disk] {
                tier.reason.iter_mut().for_each(cut_to_a_word);
                tier.message.iter_mut().for_each(cut_to_a_sentence);
            }
            CacheReport {
                tiers: cache.tiers,
                ..CacheReport::default()
            }
        };
        (report.tables, report.cache) = tokio::join!(
            self.get(token, format!("{base}/tables"), TABLES_BYTES_MAX, of_table),
            self.get(token, format!("{base}/cache"), CACHE_BYTES_MAX, tiers_of),
        );
        report
    }

    /// Asks for `url`. Returns what `keep` makes of the answer.
    async fn get<T: DeserializeOwned, K>(
        &self,
        token: &str,
        url: String,
        bytes_max: usize,
        keep: impl FnOnce(T) -> K,
    ) -> Option<K> {
        let request = Request::get(&url)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .ok()?;
        let answer = tokio::time::timeout(TIMEOUT, async {
            let response = self.client.request(request).await.ok()?;
            if !response.status().is_success() {
                tracing::debug!(
                    url,
                    status = response.status().as_u16(),
                    "a pod did not answer as asked"
                );
                return None;
            }
            let read = read(response.into_body(), bytes_max, &self.large).await;
            if read.is_none() {
                tracing::debug!(url, "a pod's answer was not read to its end");
            }
            read
        });
        let (bytes, _place) = answer.await.ok()??;
        let _turn = self.parsing.lock().await;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::debug!(url, %error, "a pod's answer cannot be read"))
            .ok()
            .map(keep)
    }
}

/// Reads a body, and returns it with its place among those of which more than [`SMALL_BYTES`] are read. None of one that breaks off, or is longer than
/// `bytes_max`.
async fn read<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    bytes_max: usize,
    large: &Semaphore,
) -> Option<(Vec<u8>, Option<SemaphorePermit<'_>>)> {
    let mut bytes = Vec::with_capacity(SMALL_BYTES);
    let mut place = None;
    while let Some(frame) = body.frame().await {
        // Copied: a frame of a byte may hold a buffer of thousands.
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        let length = bytes.len() + data.len();
        if length > bytes_max {
            return None;
        }
        if length > SMALL_BYTES && place.is_none() {
            place = Some(large.acquire().await.ok()?);
            bytes.reserve_exact(bytes_max - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Some((bytes, place))
}

fn cut_to_a_word(text: &mut String) {
    *text = vdt_crds::shorten(text, REASON_CHARS);
}

fn cut_to_a_sentence(text: &mut String) {
    *text = shorten(text);
}

/// Cuts what a pod says of its table to what a status may say: it is kept until the next answer.
pub(super) fn bounded(mut table: TableReport) -> TableReport {
    let mut kinds = CONDITIONS.to_vec();
    table.conditions.retain(|said| {
        let known = kinds.iter().position(|kind| *kind == said.type_);
        known.map(|at| kinds.swap_remove(at)).is_some()
    });
    table.conditions.shrink_to_fit();
    for condition in &mut table.conditions {
        cut_to_a_word(&mut condition.status);
        cut_to_a_word(&mut condition.reason);
        cut_to_a_sentence(&mut condition.message);
    }
    // Names are there once, or the API server would take none of the status.
    let mut names = BTreeSet::new();
    table.sources.retain(|source| {
        let name = &source.status.name;
        name.chars().count() <= SOURCE_NAME_CHARS && names.insert(name.clone())
    });
    table.sources.truncate(SOURCES);
    table.sources.shrink_to_fit();
    let mut left = SOURCE_MESSAGES_BYTES;
    for source in &mut table.sources {
        source.skipped.clear();
        source.status.reason.iter_mut().for_each(cut_to_a_word);
        source.status.message.iter_mut().for_each(cut_to_a_sentence);
        let length = source.status.message.as_ref().map_or(0, String::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => source.status.message = None,
        }
    }
    let manifest = table.manifest.iter_mut();
    for refused in manifest.filter_map(|manifest| manifest.refused.as_mut()) {
        cut_to_a_word(&mut refused.reason);
        cut_to_a_sentence(&mut refused.message);
    }
    table
}
