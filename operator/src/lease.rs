//! Leader election: one Lease, at most one holder who writes.
//!
//! ```text
//! renew every duration/5, give up duration*2/3 after the last request that was answered was sent ----> a holder that is cut off stops before its lease runs out
//! others take over at duration*24/25 after the last renewal that they *saw*, by their own clocks ----> clocks need not agree; with the write it is the duration
//! SIGTERM: the holder empties the lease, the others are told by their watch and take it at once
//! ```
//!
//! Others watch the lease, so that they see a renewal when it is made and not when they look next. A watch that ends is opened again after a pause; what it does
//! not tell is seen by looking, as often as a holder renews.
//!
//! The lease has a client of its own, without retries and with short timeouts, so that nothing else that waits can starve it. Every write names the version
//! that was read: of two who try, one fails. Who loses the lease ends the process; nothing that it still does is worth the doubt.

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{PostParams, WatchEvent, WatchParams},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Longest pause between two looks at a lease that is not watched: one small request.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Shortest pause between two looks, whatever was told.
const LOOK_MIN: Duration = Duration::from_millis(20);
/// A watch begins within this, or there is none: it must not keep anybody from looking.
const OPEN: Duration = Duration::from_millis(250);
/// Seconds after which the API server ends a watch.
const WATCH_SECONDS: u32 = 290;

/// A lease to compete for.
pub(crate) struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
    /// Version of the lease as last seen, when it was seen first, and how long it is left to its holder from then on.
    seen: Option<(String, Instant, Duration)>,
    /// When the request that last took or renewed it was sent: others may count from then on.
    renewed: Option<Instant>,
}

/// Why a lease is not held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// The API server did not take or give it.
    #[error("lease {name}")]
    Api {
        /// Name of the lease.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("lease {name}: no answer within {} ms", waited.as_millis())]
    Slow {
        /// Name of the lease.
        name: String,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl Election {
    /// Makes an election. `identity` is unlike every other competitor's.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        duration: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            duration,
            seen: None,
            renewed: None,
        }
    }

    fn period(&self) -> Duration {
        self.duration / 5
    }

    /// Waits until the lease is held.
    pub(crate) async fn acquire(&mut self) {
        let pause = (self.period() / 2).min(LOOK_MAX);
        let mut changes = None;
        loop {
            // Before the look, so that no change falls between the two.
            if changes.is_none() {
                changes = self.changes().await;
            }
            match self.try_acquire().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        error = vdt_crds::chain(&error),
                        "cannot compete for the lease"
                    );
                    sleep(pause).await;
                    continue;
                }
            }
            sleep(LOOK_MIN).await;
            let Some(told) = &mut changes else {
                sleep(self.left().min(pause)).await;
                continue;
            };
            let next = timeout(self.left().min(self.period()), told.next()).await;
            if !matches!(next, Err(_) | Ok(Some(Ok(_)))) {
                changes = None;
                sleep(pause).await;
            }
        }
    }

    /// What becomes of the lease from now on. None if nothing is told soon: then it is looked at more often.
    async fn changes(&self) -> Option<BoxStream<'static, kube::Result<WatchEvent<Lease>>>> {
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        match timeout(OPEN, self.api.watch(&params, "0")).await {
            Ok(Ok(changes)) => Some(changes.boxed()),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the lease is not watched");
                None
            }
            Err(_) => None,
        }
    }

    /// When the lease of another one runs out, if it is not renewed.
    fn left(&self) -> Duration {
        match &self.seen {
            Some((_, since, lives)) => lives.saturating_sub(since.elapsed()),
            None => self.period(),
        }
    }

    /// Renews the lease until it is lost, or given up because of `cancel`. Returns whether it was given up.
    pub(crate) async fn hold(&mut self, cancel: &CancellationToken) -> bool {
        let began = Instant::now();
        loop {
            let deadline = self.renewed.unwrap_or(began) + self.duration * 2 / 3;
            let attempt = async {
                tokio::select! {
                    () = cancel.cancelled() => return None,
                    () = sleep(self.period()) => {}
                }
                Some(self.try_acquire().await)
            };
            match timeout_at(deadline, attempt).await {
                Ok(None) => {
                    self.release().await;
                    return true;
                }
                Ok(Some(Ok(true))) => {}
                // Somebody wrote something else of it meanwhile, a label say.
                Ok(Some(Ok(false))) if self.is_mine(deadline).await => {}
                Ok(Some(Err(error))) => {
                    tracing::warn!(error = vdt_crds::chain(&error), "cannot renew the lease")
                }
                // Somebody else has it, or will soon: an answer that is still under way comes too late.
                Ok(Some(Ok(false))) | Err(_) => return false,
            }
        }
    }

    /// Says whether the lease still names this one, if that is told before `deadline`.
    async fn is_mine(&self, deadline: Instant) -> bool {
        match timeout_at(deadline, self.within(self.api.get(&self.name))).await {
            Ok(Ok(lease)) => {
                let spec = lease.spec.unwrap_or_default();
                spec.holder_identity.as_deref() == Some(&self.identity)
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Takes or renews the lease. Returns whether it is held.
    async fn try_acquire(&mut self) -> Result<bool, LeaseError> {
        let Some(lease) = self.within(self.api.get_opt(&self.name)).await? else {
            let new = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.mine(None)),
            };
            let sent = Instant::now();
            let written = self
                .within(self.api.create(&PostParams::default(), &new))
                .await;
            return self.won(written, sent);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let is_mine = spec.holder_identity.as_deref() == Some(&self.identity);
        if !is_mine && !self.is_free(&spec, version) {
            return Ok(false);
        }
        let next = Lease {
            spec: Some(self.mine(Some(&spec))),
            ..lease
        };
        let sent = Instant::now();
        let written = self
            .within(self.api.replace(&self.name, &PostParams::default(), &next))
            .await;
        self.won(written, sent)
    }

    /// Says whether nobody holds the lease: it was given up, or did not change for its duration while we looked.
    fn is_free(&mut self, spec: &LeaseSpec, version: String) -> bool {
        if spec
            .holder_identity
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            return true;
        }
        match &self.seen {
            Some((last, since, lives)) if *last == version => since.elapsed() >= *lives,
            _ => {
                let seconds = spec
                    .lease_duration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok());
                let duration = seconds.map_or(self.duration, Duration::from_secs);
                self.seen = Some((version, Instant::now(), duration * 24 / 25));
                false
            }
        }
    }

    fn mine(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let is_renewal =
            before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        let transitions = before
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: if is_renewal {
                before.and_then(|spec| spec.acquire_time.clone())
            } else {
                now.clone()
            },
            renew_time: now,
            lease_transitions: Some(
                transitions.saturating_add(i32::from(before.is_some() && !is_renewal)),
            ),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease up, as well as that can be done.
    async fn release(&self) {
        let given_up = async {
            let lease = self.within(self.api.get(&self.name)).await?;
            let is_mine = lease
                .spec
                .as_ref()
                .and_then(|spec| spec.holder_identity.as_deref())
                == Some(&self.identity);
            if is_mine {
                let spec = LeaseSpec {
                    holder_identity: Some(String::new()),
                    lease_duration_seconds: Some(1),
                    ..lease.spec.clone().unwrap_or_default()
                };
                let next = Lease {
                    spec: Some(spec),
                    ..lease
                };
                self.within(self.api.replace(&self.name, &PostParams::default(), &next))
                    .await?;
            }
            Ok::<(), LeaseError>(())
        };
        match given_up.await {
            Ok(()) => tracing::info!(lease = self.name, "gave the lease up"),
            Err(error) => tracing::warn!(
                error = vdt_crds::chain(&error),
                "cannot give the lease up; it runs out"
            ),
        }
    }

    /// A conflict means that somebody else was first.
    fn won(
        &mut self,
        written: Result<Lease, LeaseError>,
        sent: Instant,
    ) -> Result<bool, LeaseError> {
        match written {
            Ok(_) => {
                self.renewed = Some(sent);
                Ok(true)
            }
            Err(LeaseError::Api { source, .. }) if is_conflict(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn within<T>(
        &self,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, LeaseError> {
        let waited = self.period();
        match timeout(waited, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(LeaseError::Api {
                name: self.name.clone(),
                source: Box::new(source),
            }),
            Err(_) => Err(LeaseError::Slow {
                name: self.name.clone(),
                waited,
            }),
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}
