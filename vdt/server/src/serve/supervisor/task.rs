//! One table: claimed, opened however often that takes, and refreshed from then on.

use std::{slice, sync::Arc};

use object_store::path::Path;
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use vdt_crds::chain;
use vdt_store::{
    Definition, Origin, RefreshReport, StateStore, StoreError, TableRefresh, TableStatus,
    log::TableLog, schedule,
};

use crate::{
    manifests::Declared,
    serve::{
        clock,
        open::{Opened, as_committed, as_refreshed},
        overlap::OwnFolders,
        pod::BACKOFF,
    },
    tables::Served,
};

/// Where tables are committed to, and what serves them.
#[derive(Clone)]
pub(in crate::serve) struct Stores {
    pub(in crate::serve) state: StateStore,
    pub(in crate::serve) origin: Arc<Origin>,
    /// Folders that no source meets.
    pub(in crate::serve) ours: Arc<OwnFolders>,
}

/// One table and what its task needs.
pub(super) struct TableTask {
    pub(super) declared: Declared,
    pub(super) served: Arc<Served>,
    pub(super) definition: Option<Arc<Definition>>,
    pub(super) stores: Stores,
}

/// Runs one table alone until `stop`.
pub(in crate::serve) fn run_table(
    declared: Declared,
    served: Arc<Served>,
    stores: Stores,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let task = TableTask {
        declared,
        served,
        definition: None,
        stores,
    };
    async move { drop(task.run(None, stop).await) }
}

/// Opens what is declared, unless it meets folders of ours. Folders and secrets are looked at, on file systems that may hang: a thread that serves does
/// not wait for them.
pub(super) async fn open_definition(
    declared: &Declared,
    ours: &OwnFolders,
) -> Result<Arc<Definition>, StoreError> {
    let met = ours.refuse(slice::from_ref(declared)).await;
    met.map_err(|met| StoreError::Manifest(met.to_string()))?;
    let (table, env) = (declared.table.clone(), declared.env.clone());
    let opened = spawn_blocking(move || Definition::open(&table, &env)).await;
    match opened {
        Ok(opened) => Ok(Arc::new(opened?)),
        Err(error) => Err(StoreError::Manifest(error.to_string())),
    }
}

impl TableTask {
    /// Runs the table until `stop`, from `status` on if another task has run it before. Returns its definition, for who comes after.
    pub(super) async fn run(
        mut self,
        status: Option<TableStatus>,
        stop: CancellationToken,
    ) -> Option<Arc<Definition>> {
        let mut backoff = BACKOFF.0;
        let opened = loop {
            match stop.run_until_cancelled(Box::pin(self.try_open())).await {
                None => return self.definition,
                Some(Ok(opened)) => break opened,
                Some(Err(error)) => self.served.failed(error.reason(), chain(&error)),
            }
            if stop.run_until_cancelled(sleep(backoff)).await.is_none() {
                return self.definition;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
        };
        let is_suspended = opened.definition.suspend;
        // As committed: the sources have not been asked yet, or not for this definition.
        let is_old = opened.status.refreshes == 0 && !is_suspended;
        let (refresher, task) = schedule(opened.refresh, status.unwrap_or(opened.status));
        if is_old {
            // The queue is new, so there is room.
            let _ = refresher.ask();
        }
        self.served.opened(refresher, !is_old);
        task.run(clock(), stop.cancelled_owned()).await;
        self.definition
    }

    async fn try_open(&mut self) -> Result<Opened, StoreError> {
        let Stores {
            state,
            origin,
            ours,
        } = &self.stores;
        // Before its sources are looked at: whose it is must be known of a table that cannot be opened as well.
        let owner = self.declared.table.owner();
        self.served.claim(state, &owner).await?;
        let definition = match &self.definition {
            Some(definition) => definition.clone(),
            None => {
                let opened = match open_definition(&self.declared, ours).await {
                    Ok(opened) => opened,
                    Err(error) => {
                        self.tell_committed().await;
                        return Err(error);
                    }
                };
                origin.replace_sources(&[], &opened.sources);
                self.definition.insert(opened).clone()
            }
        };
        let refresh = TableRefresh::new(definition.clone(), state.clone(), clock());
        if let Some(snapshot) = refresh.log().snapshot().await? {
            let status = TableStatus::default();
            return Ok(as_committed(definition, refresh, &snapshot, status));
        }
        let report = refresh.run(None).await?;
        Ok(as_refreshed(definition, refresh, report))
    }

    /// Has the table say which version of it is served while it cannot be opened.
    async fn tell_committed(&self) {
        let path = Path::from(self.served.path.as_str());
        let log = TableLog::new(self.stores.state.clone(), path);
        if let Ok(Some(snapshot)) = log.snapshot().await {
            let report = RefreshReport::of_snapshot(&self.served.path, &snapshot);
            self.served.committed(report);
        }
    }
}
