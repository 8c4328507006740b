//! What the pods say about themselves: their admin API, asked with a token and with patience that ends.
//!
//! A pod that does not answer in time is a pod that said nothing; the next look asks again. Nothing here fails.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::Client, client::legacy::connect::HttpConnector, rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use vdt_crds::api::{CacheReport, TableReport};

use crate::{apply::rollout::PodView, build::ADMIN_PORT};

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
/// The same about the cache, which is a few numbers.
const CACHE_BYTES_MAX: usize = 16 << 10;

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
}

impl Pods {
    /// Makes a client that keeps few connections open: there are many pods, and each is asked rarely.
    pub(crate) fn new(port: Option<u16>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(1)
            .build(connector);
        Self {
            client,
            port: port.unwrap_or(ADMIN_PORT),
            servers: Arc::new(Semaphore::new(SERVERS)),
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
        let (tables, cache) = tokio::join!(
            self.get::<Vec<TableReport>>(token, format!("{base}/tables"), TABLES_BYTES_MAX),
            self.get(token, format!("{base}/cache"), CACHE_BYTES_MAX),
        );
        report.tables = tables.map(|mut tables| {
            tables.retain(|table| table.table == path);
            tables.shrink_to_fit();
            tables
        });
        report.cache = cache;
        report
    }

    async fn get<T: DeserializeOwned>(
        &self,
        token: &str,
        url: String,
        bytes_max: usize,
    ) -> Option<T> {
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
            let body = Limited::new(response.into_body(), bytes_max);
            let read = body.collect().await.inspect_err(|error| {
                tracing::debug!(url, error, "a pod's answer was not read to its end")
            });
            Some(read.ok()?.to_bytes())
        });
        let bytes = answer.await.ok()??;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::debug!(url, %error, "a pod's answer cannot be read"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A pod that answers with these tables and this cache.
    async fn answering(tables: Value, cache: Value) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
                let body = match asked.starts_with("GET /api/v1/tables ") {
                    true => tables.to_string(),
                    false => cache.to_string(),
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // Who asked may have heard enough.
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        port
    }

    async fn ask(tables: Value, cache: Value) -> PodReport {
        let seen = json!({
            "metadata": {"name": "t-0", "uid": "u"},
            "status": {"phase": "Running", "podIP": "127.0.0.1"},
        });
        let pods = vec![PodView::of("t", &seen).unwrap()];
        let asker = Pods::new(Some(answering(tables, cache).await));
        let path = "main/docs/t".to_owned();
        asker.ask(String::new(), path, pods).await.reports.remove(0)
    }

    #[tokio::test]
    async fn what_a_pod_says_of_other_tables_is_dropped() {
        let tables =
            json!([{"table": "main/docs/x", "version": 1}, {"table": "main/docs/t", "version": 3}]);
        let report = ask(tables, json!({})).await;
        let [table] = &report.tables.as_ref().unwrap()[..] else {
            panic!("{report:?}")
        };
        assert_eq!(
            (table.table.as_str(), table.version),
            ("main/docs/t", Some(3))
        );
        assert!(report.cache.is_some());
    }

    #[tokio::test]
    async fn a_pod_that_says_too_much_said_nothing() {
        let name = |length: usize| json!([{"table": "x".repeat(length)}]);
        let report = ask(name(TABLES_BYTES_MAX - 100), json!({})).await;
        assert_eq!(report.tables, Some(Vec::new()));
        let padded = json!({"padding": "x".repeat(CACHE_BYTES_MAX)});
        let report = ask(name(TABLES_BYTES_MAX), padded).await;
        assert_eq!(
            report,
            PodReport::of(
                &PodView::of("t", &json!({"metadata": {"name": "t-0", "uid": "u"}})).unwrap()
            )
        );
    }

    #[tokio::test]
    async fn many_pods_that_hang_are_given_up_together() {
        // Takes connections and never answers.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let pods: Vec<PodView> = (0..200)
            .map(|ordinal| {
                let seen = json!({
                    "metadata": {"name": format!("t-{ordinal}"), "uid": "u"},
                    "status": {"phase": "Running", "podIP": "127.0.0.1"},
                });
                PodView::of("t", &seen).unwrap()
            })
            .collect();
        let asker = Pods::new(Some(listener.local_addr().unwrap().port()));
        tokio::time::pause();
        let Answer { reports, took } = asker.ask(String::new(), String::new(), pods.clone()).await;
        assert!(took <= ALL + Duration::from_millis(1));
        assert_eq!(reports.len(), 200);
        assert!(
            reports
                .iter()
                .zip(&pods)
                .all(|(report, pod)| report.pod == pod.name && report.tables.is_none())
        );
    }
}
