//! The ready file: that the front door serves, and where its tables are found. Written once, when every declared table has a version or has had time
//! enough to get one; what the server does not tell in time is left out.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use tokio::time::{sleep, timeout};
use tracing::info;
use vdt_crds::api::TableReport;

use super::FrontDoor;
use crate::{
    link::Forward,
    ready::{Ready, ReadyTable},
};

/// For so long the server is asked again until it has listed every table that has a version, and after such a pause.
const UNTIL_LISTED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(50));

impl FrontDoor<'_> {
    /// Writes the ready file when every declared table has a version, or has had time enough to get one.
    pub(super) fn announce(
        &self,
        listen: Option<SocketAddr>,
        admin: Option<SocketAddr>,
    ) -> impl Future<Output = anyhow::Result<()>> + 'static {
        let mut link = self.link.clone();
        let forward = Forward::new(&self.socket);
        let is_tls = self.front.tls().is_some();
        let shown = |table| ReadyTable::of(table, listen, is_tls);
        let tables = self.tables.iter();
        let tables: Vec<_> = tables
            .map(|table| (table.table_path(), shown(table)))
            .collect();
        let ready_file = self.args.ready_file.clone();
        async move {
            let all = link.wait_for(|link| {
                let mut paths = tables.iter().map(|(path, _)| path);
                paths.all(|path| link.versions.contains_key(path))
            });
            // In time or not: what there is, is told.
            drop(timeout(Duration::from_secs(120), all).await);
            let versions = link.borrow().versions.clone();
            let paths = tables.iter().map(|(path, _)| path);
            let with_version = paths.filter(|path| versions.contains_key(*path));
            let reports = reports_of(&forward, with_version.collect()).await;
            let tables = tables
                .into_iter()
                .filter_map(|(path, table)| {
                    let report = reports.iter().find(|report| report.table == path);
                    Some(ReadyTable {
                        version: *versions.get(&path)?,
                        artifacts: report.and_then(|report| report.artifacts).unwrap_or(0),
                        ..table
                    })
                })
                .collect();
            let ready = Ready {
                listen,
                admin,
                socket: None,
                tables,
            };
            write(&ready, ready_file.as_deref())
        }
    }
}

fn write(ready: &Ready, file: Option<&Path>) -> anyhow::Result<()> {
    info!(listen = ?ready.listen, admin = ?ready.admin, tables = ready.tables.len(), "serving");
    match file {
        Some(path) => ready
            .write(path)
            .with_context(|| format!("writing the ready file {}", path.display())),
        None => Ok(()),
    }
}

/// The server's reports, waited for a moment: a version is known when it is committed, its artifacts when the refresh has ended.
async fn reports_of(forward: &Forward, tables: Vec<&String>) -> Vec<TableReport> {
    let mut told = Vec::new();
    let asking = async {
        loop {
            told = reports(forward).await;
            let is_listed = |table: &&String| {
                let mut reports = told.iter().filter(|report| report.table == **table);
                reports.any(|report| report.artifacts.is_some())
            };
            if tables.iter().all(is_listed) {
                return;
            }
            sleep(UNTIL_LISTED.1).await;
        }
    };
    // In time or not: what there is, is told.
    drop(timeout(UNTIL_LISTED.0, asking).await);
    told
}

/// The server's reports of its tables; none if it does not answer.
async fn reports(forward: &Forward) -> Vec<TableReport> {
    let answer = forward.tables().await.ok();
    answer
        .and_then(|answer| serde_json::from_slice(answer.body()).ok())
        .unwrap_or_default()
}
