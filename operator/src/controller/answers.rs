//! What the pods of a table say, asked for beside the looks: pods that do not answer keep no worker from other tables.
//!
//! A look waits [`PATIENCE`] for pods that answered in time when they were asked last, and for no others: it goes on with what was said before. An answer
//! that comes later puts the table into the queue. Who stays silent is asked less and less often, until a pod comes, goes or becomes ready.
//!
//! What is under way ends with the memory of its table; how many tables are asked at once is bounded where they are asked.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::Context;
use crate::{
    apply::rollout::PodView,
    status::gather::{Answer, PodReport, can_answer},
    watches::TableRef,
};

/// A look waits this long for pods.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pods that are as they were are not asked more often than this.
const ASK: Duration = Duration::from_millis(800);
/// Silent pods are asked again after this, twice as long each time, and at last this long.
const SILENT_MIN: Duration = Duration::from_secs(3);
const SILENT_MAX: Duration = Duration::from_secs(60);

/// What is known of a table's pods by asking them.
#[derive(Default)]
pub(crate) struct Answers {
    /// What they said last. None before the first answer.
    reports: Option<Vec<PodReport>>,
    /// When the last answer was read, or its question put.
    at: Option<Instant>,
    /// Who was asked.
    of: Vec<Seen>,
    /// How long the last answer took.
    took: Duration,
    /// Answers in a row in which nobody said anything who could have.
    silences: u32,
    open: Option<Open>,
}

/// What an answer depends on of a pod: identity, address, whether it is ready.
type Seen = (String, Option<String>, bool);

/// A question that no look waits for.
struct Open {
    answer: oneshot::Receiver<Answer>,
    _task: AbortOnDropHandle<()>,
}

impl Answers {
    /// Returns what the pods said last; None while the first answer is on its way.
    pub(super) fn reports(&self) -> Option<&[PodReport]> {
        self.reports.as_deref()
    }

    /// Returns the identities of the pods that said that they follow this generation only when they are started anew.
    pub(super) fn restarts(&self, generation: Option<i64>) -> BTreeSet<String> {
        let reports = self.reports().unwrap_or_default().iter();
        let asking = reports.filter(|report| report.needs_restart(generation));
        asking.map(|report| report.uid.clone()).collect()
    }

    /// Returns how long pods that say nothing are left alone; None if one said something.
    pub(super) fn silence(&self) -> Option<Duration> {
        let doublings = self.silences.checked_sub(1)?.min(16);
        Some(SILENT_MIN.saturating_mul(1 << doublings).min(SILENT_MAX))
    }

    /// Brings the answers up to date as far as that takes no longer than [`PATIENCE`].
    pub(super) async fn gather(
        &mut self,
        context: &Context,
        table: &TableRef,
        path: &str,
        pods: &[PodView],
    ) {
        if let Some(open) = &mut self.open {
            match open.answer.try_recv() {
                Ok(answer) => self.take(answer),
                Err(TryRecvError::Empty) => {}
                // It broke off: asked again below.
                Err(TryRecvError::Closed) => self.open = None,
            }
        }
        let seen: Vec<Seen> = pods.iter().map(seen).collect();
        let pause = match self.of == seen {
            true => self.silence().unwrap_or(ASK),
            false => Duration::ZERO,
        };
        if self.open.is_none() && self.at.is_none_or(|at| at.elapsed() >= pause) {
            (self.at, self.of) = (Some(Instant::now()), seen);
            self.ask(context, table, path, pods).await;
        }
        // A pod that was made anew under its name said nothing yet.
        if let Some(reports) = &mut self.reports {
            reports.retain(|report| pods.iter().any(|pod| pod.uid == report.uid));
        }
    }

    async fn ask(&mut self, context: &Context, table: &TableRef, path: &str, pods: &[PodView]) {
        let namespace = table.namespace.as_deref().unwrap_or_default();
        let audience = format!("{namespace}/{}", table.name);
        let token = context.signer.token(&audience).unwrap_or_default();
        let pods = context
            .pods
            .clone()
            .ask(token, path.to_owned(), pods.to_vec());
        let mut asking = Box::pin(pods);
        let patience = match self.took < PATIENCE {
            true => PATIENCE,
            false => Duration::ZERO,
        };
        let answer = tokio::select! {
            biased;
            // Of no pods it is there already.
            answer = timeout(patience, &mut asking) => answer.ok(),
            // A look that ends soon lets another replica begin soon.
            () = context.ending.cancelled() => return,
        };
        match answer {
            Some(answer) => self.take(answer),
            None => {
                let (sender, answer) = oneshot::channel();
                let (queue, table) = (context.watches.queue(), table.clone());
                let task = tokio::spawn(async move {
                    if sender.send(asking.await).is_ok() {
                        queue.send(table);
                    }
                });
                self.open = Some(Open {
                    answer,
                    _task: AbortOnDropHandle::new(task),
                });
            }
        }
    }

    fn take(&mut self, answer: Answer) {
        let is_silent = self.of.iter().any(|(_, ip, _)| ip.is_some())
            && answer.reports.iter().all(|report| !report.said_something());
        self.silences = match is_silent {
            true => self.silences.saturating_add(1),
            false => 0,
        };
        self.at = Some(Instant::now());
        self.took = answer.took;
        self.reports = Some(answer.reports);
        self.open = None;
    }
}

/// What an answer depends on of a pod. One that cannot answer has no address.
fn seen(pod: &PodView) -> Seen {
    let ip = pod.ip.clone().filter(|_| can_answer(pod));
    (pod.uid.clone(), ip, pod.is_ready)
}
