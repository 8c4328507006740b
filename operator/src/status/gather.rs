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
use vdt_crds::api::{CacheReport, TableReport};

use crate::{apply::rollout::PodView, build::ADMIN_PORT, token::Signer};

/// A pod answers within this, or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Pods of one server that are asked at once.
const CONCURRENCY: usize = 8;
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

    /// Asks all pods of a server, in the order given.
    pub(crate) async fn ask(
        &self,
        signer: &Signer,
        audience: &str,
        pods: &[PodView],
    ) -> Vec<PodReport> {
        let token = signer.token(audience).unwrap_or_default();
        stream::iter(pods)
            .map(|pod| self.ask_one(&token, pod))
            .buffered(CONCURRENCY)
            .collect()
            .await
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
