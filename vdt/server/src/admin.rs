//! The admin surface over the tables that this process serves.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use serde_json::{Value, json};
use vdt_dialect::{Admin, AdminError, Readiness, Reason, RefreshReport};
use vdt_store::{Origin, Outcome, Refresher, RequestError, TableStatus, chain};

use crate::{clock::now_ms, metrics::Metrics};

/// A served table and the handle of its refreshes.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// `<catalog>/<schema>/<table>`.
    pub(crate) path: String,
    /// Third part of the name.
    pub(crate) name: String,
    /// Asks for refreshes.
    pub(crate) refresher: Refresher,
}

impl Served {
    /// A table is asked for by its whole path, with slashes or dots, or by its name alone.
    fn is_called(&self, asked: &str) -> bool {
        self.path == asked || self.name == asked || self.path.replace('/', ".") == asked
    }
}

/// What the admin listener shows.
#[derive(Debug)]
pub(crate) struct AdminState {
    tables: Vec<Served>,
    origin: Arc<Origin>,
    metrics: Arc<Metrics>,
}

impl AdminState {
    /// The admin surface of `tables`.
    pub(crate) fn new(tables: Vec<Served>, origin: Arc<Origin>, metrics: Arc<Metrics>) -> Self {
        Self {
            tables,
            origin,
            metrics,
        }
    }
}

#[async_trait]
impl Admin for AdminState {
    async fn refresh(
        &self,
        table: Option<&str>,
        wait: bool,
    ) -> Result<Vec<RefreshReport>, AdminError> {
        let chosen: Vec<&Served> = self
            .tables
            .iter()
            .filter(|served| table.is_none_or(|asked| served.is_called(asked)))
            .collect();
        if let (Some(asked), true) = (table, chosen.is_empty()) {
            return Err(AdminError::NotFound {
                table: asked.to_owned(),
            });
        }
        let mut reports = Vec::new();
        for served in chosen {
            reports.push(match wait {
                false => {
                    served.refresher.ask().map_err(unavailable)?;
                    outcome(served, "Queued")
                }
                true => report(
                    served,
                    &served.refresher.ask_and_wait().await.map_err(unavailable)?,
                ),
            });
        }
        Ok(reports)
    }

    fn tables(&self) -> Value {
        let now = now_ms();
        Value::from(
            self.tables
                .iter()
                .map(|served| table(served, &served.refresher.status(), now))
                .collect::<Vec<_>>(),
        )
    }

    fn ready(&self) -> Readiness {
        let reasons: Vec<Reason> = self
            .tables
            .iter()
            .filter(|served| served.refresher.status().last.is_none())
            .map(|served| Reason {
                reason: "NoVersion".to_owned(),
                message: format!("{} has no version yet", served.path),
            })
            .collect();
        Readiness {
            ready: reasons.is_empty(),
            reasons,
        }
    }

    fn metrics(&self) -> String {
        let tables = self
            .tables
            .iter()
            .map(|served| (served.path.clone(), served.refresher.status()));
        self.metrics.encode(tables, self.origin.source_reads())
    }
}

fn unavailable(error: RequestError) -> AdminError {
    AdminError::Unavailable {
        message: error.to_string(),
    }
}

fn outcome(served: &Served, outcome: &str) -> RefreshReport {
    RefreshReport {
        table: served.path.replace('/', "."),
        outcome: outcome.to_owned(),
        ..RefreshReport::default()
    }
}

fn report(served: &Served, refreshed: &Outcome) -> RefreshReport {
    let done = match refreshed {
        Ok(done) => done,
        Err(error) => {
            return RefreshReport {
                message: Some(chain(error.as_ref())),
                ..outcome(served, "Failed")
            };
        }
    };
    let held = held(done);
    let name = match (held.is_empty(), done.committed) {
        (false, _) => "Held",
        (true, true) => "Committed",
        (true, false) => "Unchanged",
    };
    RefreshReport {
        version: Some(done.version),
        artifacts: Some(done.artifacts),
        added: Some(done.new),
        changed: Some(done.changed),
        removed: Some(done.deleted),
        message: (!held.is_empty()).then(|| held.join("; ")),
        ..outcome(served, name)
    }
}

/// Sources that the newest version does not show as they are, and why.
fn held(report: &vdt_store::RefreshReport) -> Vec<String> {
    let sources = report.sources.iter().filter(|source| !source.is_current());
    sources
        .map(|source| format!("{}: {}", source.name, source.message))
        .collect()
}

/// A table as the operator reads it: numbers, lag, and conditions in the shape of the resource's status.
fn table(served: &Served, status: &TableStatus, now_ms: i64) -> Value {
    let last = status.last.as_deref();
    let lag = status
        .last_success_ms
        .map(|success| (now_ms - success).max(0) as f64 / 1000.0);
    let stale = last.map(held).unwrap_or_default();
    let (ready, reason, message) = match (&status.error, stale.is_empty()) {
        (Some((reason, message)), _) => ("False", *reason, message.clone()),
        (None, false) => ("False", "SourcesHeld", stale.join("; ")),
        (None, true) => (
            "True",
            "Listed",
            "every source is shown as it was listed".to_owned(),
        ),
    };
    let time = status
        .last_success_ms
        .and_then(DateTime::from_timestamp_millis)
        .map(|time| time.to_rfc3339());
    json!({
        "table": served.path,
        "version": last.map(|last| last.version),
        "artifacts": last.map(|last| last.artifacts),
        "lagSeconds": lag,
        "lastSuccess": time,
        "conditions": [
            {"type": "SourcesReady", "status": ready, "reason": reason, "message": message},
        ],
        "sources": last.map(|last| last.sources.iter().map(|source| json!({
            "name": source.name,
            "status": if source.is_current() { "True" } else { "False" },
            "reason": source.reason,
            "message": source.message,
        })).collect::<Vec<_>>()),
    })
}
