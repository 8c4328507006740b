//! `kubectl vt refresh NAME [--wait]`: lists the sources of a table now.
//!
//! One pod is asked, by `POST /refresh` of its admin API; one that does not answer is passed over. With `--wait` the answer comes when the sources are
//! listed, and then every ready pod is asked until it serves what was found, for they share the state and not the listing. On cancel a refresh that
//! has begun goes on.

use std::{
    io::{IsTerminal, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use vdt_crds::api::{RefreshOutcome, RefreshReport, TableReport};

use crate::{
    args::{Format, RefreshArgs},
    cluster::Cluster,
    output,
    pods::{self, Door, PodRef},
    table::Table,
};

/// From one look at the pods' versions to the next.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a person hears that it goes on.
const TICK: Duration = Duration::from_secs(1);

/// What became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    #[serde(flatten)]
    refreshed: RefreshReport,
    /// The pod that did it.
    pod: String,
}

/// Refreshes, and prints what became of it. Fails where the sources were not taken over.
pub(crate) async fn run(cluster: &Cluster, args: &RefreshArgs) -> anyhow::Result<ExitCode> {
    let table = Table::of(&cluster.table(&args.name).await?);
    let Some(path) = table.path() else {
        bail!(
            "VirtualTable {} is of another version: this one cannot read it",
            args.name
        );
    };
    if table.object["spec"]["suspend"] == true {
        bail!(
            "VirtualTable {} is suspended: nothing is refreshed before spec.suspend is false",
            args.name
        );
    }
    let found = pods::of_table(cluster, &table).await?;
    let ready: Vec<PodRef> = found.into_iter().filter(|pod| pod.is_ready).collect();
    if ready.is_empty() {
        bail!(
            "no pod of {}/{} is ready; kubectl vt status {} says why",
            table.namespace,
            table.name,
            table.name
        );
    }
    let end = Instant::now() + Duration::from_secs(args.timeout);
    let (mut report, silent) = ask(cluster, &ready, &path, args, end).await?;
    // Those that said nothing are named, not waited for.
    let asked: Vec<PodRef> = ready.into_iter().skip(silent.len()).collect();
    for silence in &silent {
        output::warn(silence);
    }
    let done = match report.refreshed.outcome {
        RefreshOutcome::Queued | RefreshOutcome::Committed | RefreshOutcome::Unchanged => true,
        RefreshOutcome::Held | RefreshOutcome::Failed => false,
    };
    let mut served = true;
    if args.wait && done {
        let progress = Progress::start();
        let behind = until_served(
            cluster,
            &asked,
            &path,
            report.refreshed.version,
            end,
            &progress,
        )
        .await;
        progress.clear();
        if !behind.is_empty() {
            served = false;
            report.refreshed.message = Some(format!("not yet served by {}", behind.join(", ")));
        }
    }
    match args.output.output {
        Format::Table | Format::Wide => {
            output::print(&output::harmless(&sentence(&table, &report)))?
        }
        format => output::show(format, &report, |_| String::new())?,
    }
    Ok(output::code(done && served))
}

/// Asks the first pod that answers. Returns what it says, and what is to be said of those before it.
async fn ask(
    cluster: &Cluster,
    pods: &[PodRef],
    path: &str,
    args: &RefreshArgs,
    end: Instant,
) -> anyhow::Result<(Report, Vec<String>)> {
    let name = utf8_percent_encode(path, NON_ALPHANUMERIC);
    let request = format!("/refresh?table={name}&wait={}", args.wait);
    let mut silent = Vec::new();
    for pod in pods {
        let asked = async {
            let mut door = Door::open(cluster, pod).await?;
            let patience = match args.wait {
                true => end.saturating_duration_since(Instant::now()),
                false => cluster.patience,
            };
            door.ask::<Vec<RefreshReport>>(Method::POST, &request, patience)
                .await
        };
        let progress = Progress::start();
        let answer = progress
            .during(&format!("{} lists the sources", pod.name), asked)
            .await;
        progress.clear();
        match answer {
            Ok(reports) => match reports.into_iter().next() {
                Some(refreshed) => {
                    let pod = pod.name.clone();
                    return Ok((Report { refreshed, pod }, silent));
                }
                None => silent.push(format!("pod {}: it does not know the table", pod.name)),
            },
            Err(silence) => silent.push(format!("pod {}: {silence}", pod.name)),
        }
    }
    bail!("no pod took the refresh: {}", silent.join("; "))
}

/// Waits until every pod serves a version. Returns those that did not.
async fn until_served(
    cluster: &Cluster,
    pods: &[PodRef],
    path: &str,
    version: Option<i64>,
    end: Instant,
    progress: &Progress,
) -> Vec<String> {
    let mut behind: Vec<PodRef> = match version {
        Some(_) => pods.to_vec(),
        None => Vec::new(),
    };
    loop {
        let look = pods::ask_each::<Vec<TableReport>>(cluster, &behind, "/api/v1/tables");
        // A pod that went away since does not hold anybody up: its successor starts with the newest version.
        let answers = timeout(end.saturating_duration_since(Instant::now()), look).await;
        if let Ok(answers) = answers {
            let mut answers = answers.into_iter();
            behind.retain(|_| match answers.next() {
                Some(Ok(tables)) => !serves(&tables, path, version),
                _ => true,
            });
        }
        if behind.is_empty() || Instant::now() >= end {
            return behind.into_iter().map(|pod| pod.name).collect();
        }
        let names: Vec<&str> = behind.iter().map(|pod| pod.name.as_str()).collect();
        progress.say(&format!("waiting for {}", names.join(", ")));
        sleep(PAUSE).await;
    }
}

fn serves(tables: &[TableReport], path: &str, version: Option<i64>) -> bool {
    let table = tables.iter().find(|table| table.table == path);
    table.is_some_and(|table| table.version >= version)
}

fn sentence(table: &Table, report: &Report) -> String {
    let title = format!("{}/{}", table.namespace, table.name);
    let refreshed = &report.refreshed;
    let version = output::or_dash(refreshed.version);
    let artifacts = output::or_dash(refreshed.artifacts);
    let of = |count: Option<u64>| count.unwrap_or_default();
    let said = match refreshed.outcome {
        RefreshOutcome::Queued => {
            format!("refresh queued by {}; --wait waits for it", report.pod)
        }
        RefreshOutcome::Committed => format!(
            "version {version}: {artifacts} artifacts ({} new, {} changed, {} gone)",
            of(refreshed.added),
            of(refreshed.changed),
            of(refreshed.removed)
        ),
        RefreshOutcome::Unchanged => {
            format!("version {version} is as its sources are: {artifacts} artifacts")
        }
        RefreshOutcome::Held => {
            format!("version {version}: held at its last state; spec.refresh.onShrink decides")
        }
        RefreshOutcome::Failed => format!("Failed at {}", report.pod),
    };
    let message = refreshed.message.as_deref();
    let message = message.map_or_else(String::new, |message| {
        format!("\n  {}", output::one_line(message))
    });
    format!("{title}: {said}{message}\n")
}

/// A line that changes while somebody looks at it; nothing where nobody does.
struct Progress {
    since: Instant,
    shows: bool,
}

impl Progress {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            shows: std::io::stderr().is_terminal(),
        }
    }

    /// Shows what goes on until it is over.
    async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = timeout(TICK, &mut work).await {
                return done;
            }
            self.say(what);
        }
    }

    fn say(&self, what: &str) {
        if self.shows {
            let seconds = self.since.elapsed().as_secs();
            let _ = write!(std::io::stderr(), "\r\x1b[K{what} ({seconds} s)");
        }
    }

    fn clear(&self) {
        if self.shows {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(refreshed: serde_json::Value) -> String {
        let object = json!({"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "metadata": {"name": "manuals", "namespace": "docs"}});
        let table = Table::of(&serde_json::from_value(object).unwrap());
        let mut report = json!({"table": "main.docs.manuals"});
        report
            .as_object_mut()
            .unwrap()
            .append(&mut refreshed.as_object().unwrap().clone());
        let report = Report {
            refreshed: serde_json::from_value(report).unwrap(),
            pod: "manuals-0".to_owned(),
        };
        sentence(&table, &report)
    }

    #[test]
    fn outcomes_are_sentences() {
        for (report, expected) in [
            (
                json!({"outcome": "Committed", "version": 4, "artifacts": 413, "added": 1}),
                "docs/manuals: version 4: 413 artifacts (1 new, 0 changed, 0 gone)\n",
            ),
            (
                json!({"outcome": "Unchanged", "version": 4, "artifacts": 413}),
                "docs/manuals: version 4 is as its sources are: 413 artifacts\n",
            ),
            (
                json!({"outcome": "Failed", "message": "no such bucket"}),
                "docs/manuals: Failed at manuals-0\n  no such bucket\n",
            ),
            (
                json!({"outcome": "Queued"}),
                "docs/manuals: refresh queued by manuals-0; --wait waits for it\n",
            ),
        ] {
            assert_eq!(said(report), expected);
        }
    }

    #[test]
    fn a_later_version_will_do() {
        let tables: Vec<TableReport> =
            serde_json::from_value(json!([{"table": "main/docs/manuals", "version": 5}])).unwrap();
        assert!(serves(&tables, "main/docs/manuals", Some(4)));
        assert!(!serves(&tables, "main/docs/manuals", Some(6)));
        assert!(!serves(&tables, "main/docs/other", Some(4)));
    }
}
