//! What the pods say about themselves: their admin API, asked with a token and with patience that ends.
//!
//! A pod that does not answer in time is a pod that said nothing; the next look asks again. Nothing here fails.

use std::time::Duration;

use futures::{StreamExt, stream};
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::Client, client::legacy::connect::HttpConnector, rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use vdt_crds::api::{CacheReport, TableReport};

use crate::{apply::rollout::PodView, build::ADMIN_PORT, token::Signer};

/// A pod answers within this, or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Pods of one server that are asked at once.
const CONCURRENCY: usize = 16;
/// All pods of a server together are given this long: a status that says less is better than one that is not written in time.
const ALL: Duration = Duration::from_secs(10);
/// Largest answer that is read, bytes.
const MAX_BYTES: usize = 4 << 20;

/// What one pod said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodReport {
    /// Its name.
    pub(crate) pod: String,
    /// Its tables; None if it did not answer.
    pub(crate) tables: Option<Vec<TableReport>>,
    /// Its cache; None if it did not answer, or has none.
    pub(crate) cache: Option<CacheReport>,
}

/// Asks pods.
pub(crate) struct Pods {
    client: Client<HttpConnector, Empty<Bytes>>,
    port: u16,
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
        }
    }

    /// Asks all pods of a server; those that are ready first, for they answer. Reports are in the order of `pods`, also of those that there was no time for.
    pub(crate) async fn ask(
        &self,
        signer: &Signer,
        audience: &str,
        pods: &[PodView],
    ) -> Vec<PodReport> {
        let token = signer.token(audience).unwrap_or_default();
        let mut reports: Vec<PodReport> = pods
            .iter()
            .map(|pod| PodReport {
                pod: pod.name.clone(),
                ..PodReport::default()
            })
            .collect();
        let (ready, others): (Vec<_>, Vec<_>) =
            pods.iter().enumerate().partition(|(_, pod)| pod.is_ready);
        let token = &token;
        let asked: Vec<_> = ready
            .into_iter()
            .chain(others)
            .map(|(index, pod)| async move { (index, self.ask_one(token, pod).await) })
            .collect();
        let mut answers = stream::iter(asked).buffer_unordered(CONCURRENCY);
        let deadline = Instant::now() + ALL;
        while let Ok(Some((index, report))) = timeout_at(deadline, answers.next()).await {
            if let Some(place) = reports.get_mut(index) {
                *place = report;
            }
        }
        reports
    }

    async fn ask_one(&self, token: &str, pod: &PodView) -> PodReport {
        let mut report = PodReport {
            pod: pod.name.clone(),
            ..PodReport::default()
        };
        let Some(ip) = pod.ip.as_deref().filter(|_| pod.phase == "Running") else {
            return report;
        };
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        let base = format!("http://{host}:{}/api/v1", self.port);
        let (tables, cache) = tokio::join!(
            self.get(token, format!("{base}/tables")),
            self.get(token, format!("{base}/cache")),
        );
        report.tables = tables;
        report.cache = cache;
        report
    }

    async fn get<T: DeserializeOwned>(&self, token: &str, url: String) -> Option<T> {
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
            let body = Limited::new(response.into_body(), MAX_BYTES);
            Some(body.collect().await.ok()?.to_bytes())
        });
        let bytes = answer.await.ok()??;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::debug!(url, %error, "a pod's answer cannot be read"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

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
        let signer = Signer::ephemeral();
        tokio::time::pause();
        let began = Instant::now();
        let reports = asker.ask(&signer, "docs/t", &pods).await;
        assert!(began.elapsed() <= ALL + Duration::from_millis(1));
        assert_eq!(reports.len(), 200);
        assert!(
            reports
                .iter()
                .zip(&pods)
                .all(|(report, pod)| report.pod == pod.name && report.tables.is_none())
        );
    }
}
