//! The admin surface over the tables that this process serves.

mod files;
mod groups;
mod report;
mod rope;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use object_store::path::Path;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vdt_crds::{
    api::{RefreshOutcome, RefreshReport},
    chain,
};
use vdt_dialect::{Admin, AdminError, Readiness, Reason};
use vdt_sidecar::{process::now_ms, stack::Stack};
use vdt_store::{Outcome, RequestError, StateStore};

use crate::{
    late_origin::LateOrigin,
    metrics::Metrics,
    tables::{Claim, Served, Tables},
    units,
};

/// What the admin listener shows.
pub(crate) struct AdminState {
    tables: Arc<Tables>,
    origin: LateOrigin,
    metrics: Arc<Metrics>,
    files: files::Files,
    groups: groups::Groups,
    /// Of a data listener of this process.
    stack: Option<Stack>,
    /// Cancelled when nothing new should be sent here.
    stopping: CancellationToken,
    started_ms: i64,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

impl AdminState {
    /// The admin surface of `tables`, of a process that is ready for more until `stopping`.
    pub(crate) fn new(
        tables: Arc<Tables>,
        origin: LateOrigin,
        metrics: Arc<Metrics>,
        stopping: CancellationToken,
    ) -> Self {
        metrics.show(origin.requests());
        Self {
            tables,
            groups: groups::Groups::new(origin.clone()),
            origin,
            metrics,
            files: files::Files::default(),
            stack: None,
            stopping,
            started_ms: now_ms(),
        }
    }

    /// Shows how the cache of `stack` is doing, too.
    #[must_use]
    pub(crate) fn with_stack(self, stack: Option<Stack>) -> Self {
        Self { stack, ..self }
    }

    /// The served table behind a path, or behind that of its metadata twin, and the path.
    fn log_path(&self, table: &str) -> Result<(Arc<Served>, Path), AdminError> {
        let all = self.tables.served();
        let base = table
            .strip_suffix(vdt_crds::META_SUFFIX)
            .filter(|base| all.iter().any(|served| served.path == *base))
            .unwrap_or(table);
        let served = all.iter().find(|served| served.path == base);
        match (served, Path::parse(table)) {
            (Some(served), Ok(path)) if served.whose() == Claim::Ours => {
                Ok((Arc::clone(served), path))
            }
            (Some(served), Ok(_)) if served.whose() == Claim::Unclaimed => {
                Err(AdminError::unavailable(format!(
                    "whether {table} is this resource's is not known yet"
                )))
            }
            _ => Err(AdminError::NotFound {
                table: table.to_owned(),
            }),
        }
    }

    fn state(&self) -> Result<StateStore, AdminError> {
        let state = self.tables.state();
        state.ok_or_else(|| AdminError::unavailable("the state store is not open yet"))
    }
}

#[async_trait]
impl Admin for AdminState {
    async fn refresh(&self, table: Option<&str>, wait: bool) -> Result<Value, AdminError> {
        let all = self.tables.served();
        let chosen: Vec<&Arc<Served>> = all
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
            if let Some(refused) = served.refusal() {
                reports.push(report(served, &Err(Arc::new(refused))));
                continue;
            }
            reports.push(match wait {
                false => {
                    served.ask().map_err(not_asked)?;
                    outcome(served, RefreshOutcome::Queued)
                }
                true => match served.ask_and_wait().await.map_err(not_asked)? {
                    Some(refreshed) => report(served, &refreshed),
                    None => RefreshReport {
                        message: served.status().error.map(|(_, message)| message),
                        ..outcome(served, RefreshOutcome::Failed)
                    },
                },
            });
        }
        Ok(json!(reports))
    }

    async fn tables(&self) -> Result<Value, AdminError> {
        let cache = self.stack.as_ref().and_then(Stack::report);
        let report = |served: &Arc<Served>| {
            let status = served.status();
            let mut report = report::table(
                &served.path,
                served.is_given,
                &status,
                cache.as_ref(),
                now_ms(),
                self.started_ms,
            );
            report.manifest = served.manifest().if_any();
            report
        };
        let (all, problems) = (self.tables.served(), self.tables.problems());
        let problems = problems
            .iter()
            .map(|one| report::problem(&one.manifest, &one.message, self.started_ms));
        to_json(&all.iter().map(report).chain(problems).collect::<Vec<_>>())
    }

    async fn files(
        &self,
        table: &str,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Value, AdminError> {
        let (served, path) = self.log_path(table)?;
        // The twin has versions of its own.
        let last = served.status().last;
        let shown = last
            .filter(|_| served.path == table)
            .map(|last| last.version);
        let state = self.state()?;
        let mut page = self
            .files
            .page(&state, path.clone(), shown, after, limit)
            .await?;
        self.groups.count(&path, &mut page.files).await;
        to_json(&page)
    }

    async fn rope(&self, table: &str, file: &str) -> Result<Value, AdminError> {
        let (_, path) = self.log_path(table)?;
        to_json(&self.files.draw(&self.state()?, path, file).await?)
    }

    async fn cache(&self) -> Option<Value> {
        let report = self.stack.as_ref()?.report()?;
        to_json(&report).ok()
    }

    fn ready(&self) -> Readiness {
        let stopping = self.stopping.is_cancelled().then(|| Reason {
            reason: "Stopping".to_owned(),
            message: "the server is stopping".to_owned(),
        });
        let all = self.tables.served();
        let missing = all
            .iter()
            .filter(|served| served.status().last.is_none())
            .map(|served| Reason {
                reason: "NoVersion".to_owned(),
                message: format!("{} has no version yet", served.path),
            });
        let reasons: Vec<Reason> = stopping.into_iter().chain(missing).collect();
        Readiness {
            ready: reasons.is_empty(),
            reasons,
        }
    }

    async fn metrics(&self) -> String {
        let all = self.tables.served();
        let reads = self.origin.get().map(|origin| origin.source_reads());
        self.metrics.encode(&all, reads.unwrap_or_default())
    }
}

fn to_json(report: &impl serde::Serialize) -> Result<Value, AdminError> {
    serde_json::to_value(report).map_err(|error| AdminError::unavailable(error.to_string()))
}

fn not_asked(error: RequestError) -> AdminError {
    AdminError::unavailable(error.to_string())
}

fn outcome(served: &Served, outcome: RefreshOutcome) -> RefreshReport {
    RefreshReport::new(served.path.replace('/', "."), outcome)
}

fn report(served: &Served, refreshed: &Outcome) -> RefreshReport {
    let done = match refreshed {
        Ok(done) => done,
        Err(error) => {
            return RefreshReport {
                message: Some(chain(error.as_ref())),
                ..outcome(served, RefreshOutcome::Failed)
            };
        }
    };
    let mut notes = report::held(done, served.is_given);
    let is_held = !notes.is_empty();
    if done.unsettled > 0 {
        let count = units::count(done.unsettled, "artifact");
        notes.push(format!(
            "{count} written just now, shown once unchanged for spec.refresh.settleSeconds"
        ));
    }
    if done.merged > 0 {
        let files = units::count(done.merged, "small file");
        notes.push(format!("{files} merged"));
    }
    let name = match (is_held, done.committed) {
        (true, _) => RefreshOutcome::Held,
        (false, true) => RefreshOutcome::Committed,
        (false, false) => RefreshOutcome::Unchanged,
    };
    RefreshReport {
        version: i64::try_from(done.version).ok(),
        artifacts: Some(done.artifacts),
        added: Some(done.new),
        changed: Some(done.changed),
        removed: Some(done.deleted),
        message: (!notes.is_empty()).then(|| notes.join("; ")),
        ..outcome(served, name)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use vdt_crds::VirtualTable;
    use vdt_store::{Definition, OpenMode, SourceEnv, TableRefresh, TableStatus, schedule};

    use super::*;

    #[tokio::test]
    async fn a_suspended_table_is_not_refreshed_whether_that_is_waited_for_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut table = VirtualTable::for_folder(std::path::Path::new("/papers"));
        table.spec.suspend = true;
        let env = SourceEnv {
            base_dir: folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let definition = Arc::new(Definition::open(&table, &env).expect("it opens"));
        let memory = Arc::new(InMemory::new());
        let state = StateStore::from_store(memory, "memory", OpenMode::ReadWrite).await;
        let path = definition.path().to_string();
        let refresh = TableRefresh::new(definition, state.expect("a state"), Arc::new(now_ms));
        // As it was when it was suspended.
        let mut last = vdt_store::RefreshReport::of_version(&path, 3);
        last.sources = vec![vdt_store::SourceOutcome {
            name: "papers".to_owned(),
            reason: "AccessDenied",
            message: String::new(),
            artifacts: None,
            skipped: std::collections::BTreeMap::new(),
        }];
        let (refresher, _task) = schedule(refresh, TableStatus::after(last, 0));
        let served = Arc::new(Served::open(path, "papers".to_owned(), refresher));
        let metrics = Arc::new(Metrics::new(false).0);
        let tables = Arc::new(Tables::new(vec![served], Vec::new()));
        let late = LateOrigin::new(tables.clone());
        let admin = AdminState::new(tables, late, metrics, CancellationToken::new());
        for wait in [false, true] {
            let reports = admin.refresh(None, wait).await.expect("it answers");
            assert_eq!(reports[0]["outcome"], "Failed", "{reports}");
            let message = reports[0]["message"].as_str().unwrap_or_default();
            assert!(message.contains("is suspended"), "{reports}");
        }
        let text = admin.metrics().await;
        assert!(text.contains("vdt_table_version{"), "{text}");
        assert!(!text.contains("vdt_source_current{"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_stops_is_not_ready() {
        let tables = Arc::new(Tables::new(Vec::new(), Vec::new()));
        let (late, metrics) = (LateOrigin::new(tables.clone()), Metrics::new(false).0);
        let stopping = CancellationToken::new();
        let admin = AdminState::new(tables, late, Arc::new(metrics), stopping.clone());
        assert!(admin.ready().ready);
        stopping.cancel();
        let Readiness { ready, reasons } = admin.ready();
        assert_eq!((ready, reasons[0].reason.as_str()), (false, "Stopping"));
    }
}
