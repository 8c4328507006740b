//! `kubectl vt status [NAME]`: how tables are, in words, and what to do where one is not fine.
//!
//! Without a name: one line a table, from their status alone. With a name: conditions, sources, pods, and what the pods say of lag and caches. A pod
//! that does not answer is named; what the status says stands without it.

mod show;

use std::{collections::HashMap, process::ExitCode};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use vdt_crds::{ConditionStatus, SourceStatus, api::TableReport};

use crate::{
    advice,
    args::{Format, StatusArgs},
    cluster::Cluster,
    output,
    pods::{self, PodRef},
    table::Table,
    top::{self, PodCache},
};

/// A table as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TableStatus {
    namespace: String,
    name: String,
    /// `s3://<catalog>/<schema>/<table>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    s3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// The operator has seen the latest spec.
    is_observed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<i64>,
    /// Seconds since the sources were last known to be as served, by the pod that knows best.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u64>,
    replicas: Replicas,
    conditions: Vec<ConditionLine>,
    sources: Vec<SourceStatus>,
    pods: Vec<PodLine>,
    /// What could not be looked at, and why.
    notes: Vec<String>,
}

/// Numbers of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replicas {
    wanted: u64,
    there: i32,
    ready: i32,
    updated: i32,
}

/// One condition, with what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionLine {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    /// Seconds since its status changed.
    for_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodLine {
    name: String,
    phase: String,
    is_ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<PodCache>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl PodLine {
    /// What the API server says of a pod.
    fn of(pod: &PodRef) -> Self {
        Self {
            name: pod.name.clone(),
            phase: pod.phase.clone(),
            is_ready: pod.is_ready,
            node: pod.node.clone(),
            ..Self::default()
        }
    }
}

impl ConditionLine {
    /// Whether it is as it should be. Two types are bad news when they are true.
    fn is_fine(&self) -> bool {
        match self.r#type.as_str() {
            "Reconciling" | "Stalled" => self.status == "False",
            _ => self.status == "True",
        }
    }
}

impl TableStatus {
    /// What the status of the resource says.
    fn of(table: &Table, now: Timestamp) -> Self {
        let status = &table.status;
        let conditions = status.conditions.iter().map(|one| {
            let mut line = ConditionLine {
                r#type: one.type_.clone(),
                status: one.status.clone(),
                reason: one.reason.clone(),
                message: one.message.clone(),
                for_seconds: now.as_second() - one.last_transition_time.0.as_second(),
                next: None,
            };
            let held = ["Suspended", "Paused", "ScaledToZero"].contains(&line.reason.as_str());
            if !line.is_fine() || held {
                line.next = advice::next(&line.reason, &table.namespace, &table.name);
            }
            line
        });
        Self {
            namespace: table.namespace.clone(),
            name: table.name.clone(),
            s3: table.path().map(|path| format!("s3://{path}")),
            endpoint: status.endpoint.clone(),
            is_observed: status.observed_generation == Some(table.generation()),
            version: status.version,
            artifacts: status.artifacts,
            lag_seconds: None,
            replicas: Replicas {
                wanted: table.replicas(),
                there: status.replicas.unwrap_or_default(),
                ready: status.ready_replicas.unwrap_or_default(),
                updated: status.updated_replicas.unwrap_or_default(),
            },
            conditions: conditions.collect(),
            sources: status.sources.clone(),
            pods: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn ready(&self) -> Option<&ConditionLine> {
        self.conditions.iter().find(|one| one.r#type == "Ready")
    }

    /// What to do, each thing once: first what Ready says, last what each source says of itself.
    fn next(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let conditions = self.ready().into_iter().chain(&self.conditions);
        let of_sources = self.sources.iter().filter_map(|source| {
            let is_fine = source.status == ConditionStatus::True;
            let reason = source.reason.as_deref().filter(|_| !is_fine)?;
            advice::next(reason, &self.namespace, &self.name)
        });
        let of_conditions = conditions.filter_map(|one| one.next.clone());
        for next in of_conditions.chain(of_sources) {
            if !all.contains(&next) {
                all.push(next);
            }
        }
        all
    }

    /// Adds what pods said.
    fn hear(
        &mut self,
        pods: &[PodRef],
        tables: Vec<Result<Vec<TableReport>, pods::Silence>>,
        caches: Vec<PodCache>,
    ) {
        let path = self.s3.as_deref().and_then(|s3| s3.strip_prefix("s3://"));
        let path = path.unwrap_or_default().to_owned();
        let mut caches: HashMap<String, PodCache> = caches
            .into_iter()
            .map(|cache| (cache.pod.clone(), cache))
            .collect();
        for (pod, tables) in pods.iter().zip(tables) {
            let (report, error) = match tables {
                Ok(tables) => (tables.into_iter().find(|table| table.table == path), None),
                Err(silence) => (None, Some(silence.to_string())),
            };
            let lag = report.as_ref().and_then(|report| report.lag_seconds);
            self.pods.push(PodLine {
                version: report.as_ref().and_then(|report| report.version),
                lag_seconds: lag,
                // Said once that it is silent.
                cache: caches.remove(&pod.name).filter(|_| error.is_none()),
                error,
                ..PodLine::of(pod)
            });
            self.lag_seconds = match (self.lag_seconds, lag) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
    }
}

/// Prints the status of one table, or of all.
pub(crate) async fn run(cluster: &Cluster, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let format = args.output.output;
    let now = Timestamp::now();
    if let Some(name) = &args.name {
        let table = Table::of(&cluster.table(name).await?);
        let mut status = TableStatus::of(&table, now);
        look_at_pods(cluster, &table, &mut status, !args.no_pods).await;
        output::show(format, &status, |paint| show::one(&status, paint))?;
        return Ok(ExitCode::SUCCESS);
    }
    let tables = cluster.list_tables(args.all_namespaces).await?;
    let all: Vec<TableStatus> = tables
        .iter()
        .map(|table| TableStatus::of(&Table::of(table), now))
        .collect();
    if all.is_empty() {
        let place = match args.all_namespaces {
            true => "in any namespace".to_owned(),
            false => format!("in namespace {}", cluster.namespace),
        };
        output::warn(&format!("no VirtualTables {place}"));
    }
    let wide = format == Format::Wide;
    output::show(format, &all, |paint| match all.is_empty() {
        true => String::new(),
        false => show::many(&all, args.all_namespaces, wide, paint),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn look_at_pods(cluster: &Cluster, table: &Table, status: &mut TableStatus, asks: bool) {
    let pods = match pods::of_table(cluster, table).await {
        Ok(pods) => pods,
        Err(error) => return status.notes.push(format!("pods: {error:#}")),
    };
    if !asks {
        status.pods = pods.iter().map(PodLine::of).collect();
        return;
    }
    let (tables, caches) = tokio::join!(
        pods::ask_each(cluster, &pods, "/api/v1/tables"),
        top::ask(cluster, &pods)
    );
    status.hear(&pods, tables, caches);
}
