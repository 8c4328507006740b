//! `vdt plan`: what would be served. Lists and lays out; writes nothing, reads no artifact.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
};

use anyhow::Context;
use serde::Serialize;
use vdt_store::{
    Definition, SourceError,
    plan::{Current, Listed, ListedAt, Policy, plan as make_plan},
    source::Listing,
};
use vdt_table::{Artifact, FileGroup, lay_out};

use crate::{
    args::{Output, PlanArgs},
    manifests::{self, Declared},
    progress::ListingProgress,
    stdout, units,
};
use vdt_sidecar::process::now_ms;

/// What would be served of one table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TablePlan {
    table: String,
    artifacts: u64,
    artifact_bytes: u64,
    /// Files of the table with `data`.
    files: u64,
    row_groups: u64,
    /// Bytes of those files as clients see them.
    file_bytes: u64,
    /// Bytes that vdt makes: page headers, small columns, footers. Zero padding is not counted.
    literal_bytes: u64,
    /// Bytes of ropes that the state store would hold.
    state_bytes: u64,
    /// Artifacts whose `data` is null: too large to be inline.
    over_inline_max: u64,
    /// Artifacts whose `data` is null: archived.
    archived: u64,
    /// Path parts that do not parse and are null.
    unparsed: u64,
    /// Artifacts that are too young to be published now.
    unsettled: u64,
    /// Keys that cannot be served, by reason.
    skipped: BTreeMap<String, u64>,
    /// For people: what deserves a look.
    warnings: Vec<String>,
    /// First rows, without `data`.
    rows: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// Runs the command.
///
/// # Errors
/// Bad manifests and sources that cannot be listed.
pub(crate) async fn run(args: PlanArgs) -> anyhow::Result<()> {
    let declared = manifests::load(&args.sources)?;
    let mut plans = Vec::new();
    for one in declared {
        let plan = plan_table(&one, args.rows).await;
        plans.push(plan.with_context(|| format!("table {}", one.table.table_name()))?);
    }
    match args.output {
        Output::Json => stdout::print_json(&plans),
        Output::Text => stdout::print(&plans.iter().map(text).collect::<String>()),
    }
}

async fn plan_table(declared: &Declared, rows: u64) -> anyhow::Result<TablePlan> {
    let definition =
        Definition::open(&declared.table, &declared.env).map_err(manifests::refused)?;
    let began_ms = now_ms();
    let mut listed = Vec::new();
    let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
    let mut unreadable = Vec::new();
    {
        let progress = ListingProgress::start(&definition.name);
        for source in &definition.sources {
            let callback = progress.callback();
            let listing: Result<Listing, SourceError> = source
                .list(&move |artifacts, bytes| callback(artifacts, bytes))
                .await;
            let listing = listing?;
            for (reason, found) in &listing.skipped {
                *skipped.entry(reason.to_string()).or_default() += found.count;
            }
            unreadable.extend(listing.warning());
            listed.push(Listed {
                context: source.context(),
                listing: Some(listing),
                relay: false,
                edited: false,
            });
        }
    }
    let listed_at = ListedAt {
        began_ms,
        ended_ms: now_ms(),
    };
    let policy = Policy {
        settle_ms: i64::try_from(definition.refresh.settle.as_millis()).unwrap_or(i64::MAX),
        hold_shrunk: false,
    };
    tokio::task::spawn_blocking(move || {
        let plan = make_plan(
            Current::default(),
            listed,
            &definition.layout,
            policy,
            listed_at,
        );
        let unsettled = plan.changes.unsettled;
        let mut summary = summarise(&definition, &plan.add, rows, skipped, unsettled)?;
        summary.warnings.extend(unreadable);
        Ok(summary)
    })
    .await?
}

fn summarise(
    definition: &Definition,
    groups: &[FileGroup],
    rows: u64,
    skipped: BTreeMap<String, u64>,
    unsettled: u64,
) -> anyhow::Result<TablePlan> {
    let mut summary = TablePlan {
        table: definition.path().to_string(),
        artifacts: 0,
        artifact_bytes: 0,
        files: 0,
        row_groups: 0,
        file_bytes: 0,
        literal_bytes: 0,
        state_bytes: 0,
        over_inline_max: 0,
        archived: 0,
        unparsed: 0,
        unsettled,
        skipped,
        warnings: Vec::new(),
        rows: Vec::new(),
    };
    let mut names: BTreeMap<String, BTreeSet<Arc<str>>> = BTreeMap::new();
    for group in groups {
        let file = lay_out(&definition.columns, &definition.layout, group)?;
        summary.files += 1;
        summary.artifacts += file.rows;
        summary.row_groups += file.row_groups as u64;
        summary.file_bytes += file.name.size;
        summary.literal_bytes += file.literal_bytes;
        summary.state_bytes += file.stored.len() as u64;
        summary.unparsed += file.unparsed;
        for artifact in &group.artifacts {
            summary.artifact_bytes += artifact.object.size;
            summary.archived += u64::from(artifact.archived);
            let is_inline = definition.layout.inlined_bytes(artifact).is_some();
            summary.over_inline_max += u64::from(!is_inline && !artifact.archived);
            if definition.sources.len() > 1 {
                let filename = &artifact.object.key[group.source.prefix.len()..];
                names
                    .entry(filename.to_owned())
                    .or_default()
                    .insert(group.source.name.clone());
            }
            if (summary.rows.len() as u64) < rows {
                summary.rows.push(row_values(definition, group, artifact)?);
            }
        }
    }
    let doubled = names.values().filter(|sources| sources.len() > 1).count() as u64;
    summary.warnings = warnings(definition, &summary, doubled);
    Ok(summary)
}

/// The values of one row without `data`: the least values of a file that holds this row alone.
fn row_values(
    definition: &Definition,
    group: &FileGroup,
    artifact: &Artifact,
) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let alone = FileGroup {
        source: group.source.clone(),
        artifacts: vec![artifact.clone()],
    };
    let file = lay_out(&definition.columns, &definition.layout, &alone)?;
    let action = file.add(0, true);
    let stats = action["add"]["stats"].as_str().unwrap_or("{}");
    let mut stats: serde_json::Value = serde_json::from_str(stats)?;
    let mut values = match stats["minValues"].take() {
        serde_json::Value::Object(values) => values,
        _ => serde_json::Map::new(),
    };
    for column in definition.columns.columns() {
        if column.column_type != vdt_table::ColumnType::Binary {
            values
                .entry(column.name.clone())
                .or_insert(serde_json::Value::Null);
        }
    }
    Ok(values)
}

fn warnings(definition: &Definition, summary: &TablePlan, doubled: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    if summary.artifacts == 0 {
        warnings.push("no artifacts: an empty table would be served".to_owned());
    }
    if summary.over_inline_max > 0 {
        warnings.push(format!(
            "{} larger than layout.inlineMaxBytes ({}) and would have data null; they stay reachable by url",
            units::count(summary.over_inline_max, "artifact"),
            units::bytes(definition.layout.inline_max_bytes)
        ));
    }
    if summary.archived > 0 {
        warnings.push(format!(
            "{} in an archived storage class and would have data null until restored",
            units::count(summary.archived, "artifact")
        ));
    }
    for (reason, count) in &summary.skipped {
        warnings.push(format!(
            "{} left out: {reason}",
            units::count(*count, "key")
        ));
    }
    if summary.unsettled > 0 {
        warnings.push(format!(
            "{} younger than refresh.settleSeconds ({} s) and not published yet",
            units::count(summary.unsettled, "artifact"),
            definition.refresh.settle.as_secs()
        ));
    }
    if summary.unparsed > 0 {
        warnings.push(format!(
            "{} of pathPattern would be null: the key does not match it, or the part does not parse as its column's type",
            units::count(summary.unparsed, "value")
        ));
    }
    if doubled > 0 {
        warnings.push(format!(
            "{} in more than one source: such rows are told apart by id and url",
            units::count(doubled, "filename")
        ));
    }
    warnings
}

fn text(plan: &TablePlan) -> String {
    let mut text = format!("{}\n", plan.table);
    let _ = writeln!(
        text,
        "  artifacts   {}, {}",
        plan.artifacts,
        units::bytes(plan.artifact_bytes)
    );
    let _ = writeln!(
        text,
        "  files       {}, {}, {} as seen by clients",
        plan.files,
        units::count(plan.row_groups, "row group"),
        units::bytes(plan.file_bytes)
    );
    let _ = writeln!(
        text,
        "  literals    {} ({})",
        units::bytes(plan.literal_bytes),
        share(plan.literal_bytes, plan.artifact_bytes)
    );
    let _ = writeln!(
        text,
        "  state       {} ({})",
        units::bytes(plan.state_bytes),
        share(plan.state_bytes, plan.artifact_bytes)
    );
    for warning in &plan.warnings {
        let _ = writeln!(text, "  warning     {warning}");
    }
    if !plan.rows.is_empty() {
        text.push_str("  first rows\n");
        for row in &plan.rows {
            let values: Vec<String> = row
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let _ = writeln!(text, "    {}", values.join("  "));
        }
    }
    text
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "no artifact bytes".to_owned();
    }
    format!(
        "{:.3} % of the artifacts",
        part as f64 * 100.0 / whole as f64
    )
}
