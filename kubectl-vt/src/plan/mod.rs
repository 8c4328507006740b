//! `kubectl vt plan`: what a manifest would change, and what would follow. Nothing is changed.
//!
//! ```text
//! manifest --dry run--> the object as the API server would store it, or its refusals (the rules of the definition, in their words)
//!              |
//!              +-- against the live object: fields that change
//!              +-- through the operator's own stages: pods that are replaced or changed in place, children that come and go
//! ```

mod show;
mod submit;

use std::{io::Read, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vdt_crds::VirtualTable;
use vdt_operator::{Live, Preview, preview};

use crate::{
    args::{Format, PlanArgs},
    cluster::Cluster,
    diff::{Change, changes},
    live, output,
    table::Table,
};

use submit::Verdict;

/// Largest manifest that is read, bytes: more than the API server takes.
const MAX_BYTES: u64 = 4 << 20;

/// What would become of one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TablePlan {
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
    /// It does not exist yet.
    is_new: bool,
    /// Why the API server refuses it.
    refusals: Vec<Refusal>,
    /// Fields of the resource that would change.
    changes: Vec<Change>,
    /// What would follow; absent where it could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    follows: Option<Preview>,
    /// Fields of the pod template that would change.
    template: Vec<Change>,
    /// Why it could not be told what would follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
    /// What is not known, and why.
    notes: Vec<String>,
}

/// One reason of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Refusal {
    /// The field, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Why.
    message: String,
}

impl TablePlan {
    fn is_refused(&self) -> bool {
        let by_operator = self
            .follows
            .as_ref()
            .is_some_and(|follows| follows.refused.is_some());
        by_operator || !self.refusals.is_empty()
    }
}

/// Prints the plan of every table. Fails where one is refused, or it could not be told what would follow.
pub(crate) async fn run(cluster: &Cluster, args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let plans = match (&args.filename, &args.name) {
        (Some(file), _) => of_file(cluster, file, args).await?,
        (None, Some(name)) => vec![of_live(cluster, name).await?],
        (None, None) => bail!("name a table, or a manifest with -f"),
    };
    let wide = args.output.output == Format::Wide;
    output::show(args.output.output, &plans, |paint| {
        let parts: Vec<String> = plans
            .iter()
            .map(|plan| show::write(plan, wide, paint))
            .collect();
        parts.join("\n")
    })?;
    let is_told = |plan: &TablePlan| !plan.is_refused() && plan.unknown.is_none();
    Ok(output::code(plans.iter().all(is_told)))
}

async fn of_file(
    cluster: &Cluster,
    file: &Path,
    args: &PlanArgs,
) -> anyhow::Result<Vec<TablePlan>> {
    let text = read(file)?;
    let mut plans = Vec::new();
    let mut others = 0;
    for manifest in documents(&text).with_context(|| format!("{}", file.display()))? {
        if manifest["kind"] != vdt_crds::KIND {
            others += 1;
            continue;
        }
        plans.push(of_manifest(cluster, manifest, args).await?);
    }
    if plans.is_empty() {
        bail!("{} holds no VirtualTable", file.display());
    }
    if others > 0 {
        output::warn(&format!(
            "{others} of the documents are no VirtualTables: not looked at"
        ));
    }
    Ok(plans)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text),
        _ => std::fs::File::open(file)
            .and_then(|open| open.take(MAX_BYTES + 1).read_to_string(&mut text)),
    };
    read.with_context(|| format!("reading {}", file.display()))?;
    if text.len() as u64 > MAX_BYTES {
        bail!("{} is larger than {MAX_BYTES} bytes", file.display());
    }
    Ok(text)
}

/// Documents of a YAML stream (JSON is YAML), lists taken apart.
fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        match Value::deserialize(document).context("the manifest is no YAML")? {
            Value::Null => {}
            list if list["kind"] == "List" => {
                all.extend(list["items"].as_array().cloned().unwrap_or_default());
            }
            one => all.push(one),
        }
    }
    Ok(all)
}

async fn of_manifest(
    cluster: &Cluster,
    mut manifest: Value,
    args: &PlanArgs,
) -> anyhow::Result<TablePlan> {
    let Some(name) = manifest["metadata"]["name"].as_str().map(str::to_owned) else {
        bail!("a VirtualTable without metadata.name");
    };
    let namespace = namespace_of(&manifest, &cluster.namespace, cluster.is_asked)?;
    manifest["metadata"]["namespace"] = namespace.clone().into();
    let what = format!("get VirtualTable {namespace}/{name}");
    let api = cluster.tables(&namespace);
    let before = cluster.ask(&what, api.get_opt(&name)).await?;
    let before = before.map(|found| Table::of(&found));
    let mut plan = TablePlan {
        namespace,
        name,
        is_new: before.is_none(),
        ..TablePlan::default()
    };
    let before_object = before.as_ref().map(|table| &table.object);
    match submit::dry_run(cluster, &plan.namespace, &manifest, before_object, args).await? {
        Verdict::Refused(refusals) => plan.refusals = refusals,
        Verdict::Taken(after) => {
            let none = json!({"metadata": {}});
            plan.changes = differences(before_object.unwrap_or(&none), &after);
            let before = before.and_then(|table| table.typed);
            Box::pin(follow(cluster, &mut plan, before.as_ref(), after)).await;
        }
    }
    Ok(plan)
}

/// The namespace that `kubectl apply` would use: the manifest's, else the one that was asked for, else the context's. The first two have to agree.
fn namespace_of(manifest: &Value, namespace: &str, is_asked: bool) -> anyhow::Result<String> {
    match manifest["metadata"]["namespace"].as_str() {
        Some(written) if is_asked && written != namespace => bail!(
            "the manifest is of namespace {written}, --namespace says {namespace}: leave --namespace out, or take metadata.namespace out of the manifest"
        ),
        Some(written) => Ok(written.to_owned()),
        None => Ok(namespace.to_owned()),
    }
}

async fn of_live(cluster: &Cluster, name: &str) -> anyhow::Result<TablePlan> {
    let table = Table::of(&cluster.table(name).await?);
    let mut plan = TablePlan {
        namespace: table.namespace.clone(),
        name: table.name.clone(),
        ..TablePlan::default()
    };
    let after = table.object.clone();
    Box::pin(follow(cluster, &mut plan, table.typed.as_ref(), after)).await;
    Ok(plan)
}

/// What is the user's: the spec, labels, annotations (but kubectl's own copy of the manifest).
fn differences(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = changes("spec", &before["spec"], &after["spec"]);
    for part in ["labels", "annotations"] {
        let path = format!("metadata.{part}");
        found.extend(changes(
            &path,
            &before["metadata"][part],
            &after["metadata"][part],
        ));
    }
    found.retain(|change| !change.path.contains(submit::LAST_APPLIED));
    found
}

/// Runs the operator's stages on what the namespace shows.
async fn follow(
    cluster: &Cluster,
    plan: &mut TablePlan,
    before: Option<&VirtualTable>,
    after: Value,
) {
    let after: VirtualTable = match serde_json::from_value(after) {
        Ok(after) => after,
        Err(error) => {
            plan.unknown = Some(format!("this version cannot read the resource: {error}"));
            return;
        }
    };
    // A table that is not there has no pods, or those of another of its name that are on their way out.
    let live = match plan.is_new {
        true => Live::default(),
        false => match Box::pin(live::read(cluster, &plan.namespace, &plan.name)).await {
            Ok(live) => live,
            Err(error) => {
                plan.unknown = Some(format!("{error:#}"));
                return;
            }
        },
    };
    let follows = preview(before, &after, &live);
    if !follows.replaced.is_empty() {
        plan.template = template_changes(&follows);
    }
    plan.notes.extend(images_note(&follows));
    plan.follows = Some(follows);
}

/// What is not known of a change that leaves images to the operator.
fn images_note(follows: &Preview) -> Option<String> {
    let names = &follows.unknown_images;
    (!names.is_empty()).then(|| {
        format!(
            "which image the operator brings along for {} is not known here: pods are replaced unless it is the one that they run",
            names.join(" and ")
        )
    })
}

/// What differs between the pod templates, but for what the operator writes beside them.
fn template_changes(follows: &Preview) -> Vec<Change> {
    // What the API server fills in is not in the template that is built: only fields of that are compared.
    let before = project(&follows.template_before, &follows.template_after);
    let mut found = changes("template", &before, &follows.template_after);
    found.retain(|change| !change.path.contains(".annotations."));
    found
}

/// `value` without what `like` has no place for: maps only, and lists item by item where they are as long.
fn project(value: &Value, like: &Value) -> Value {
    match (value, like) {
        (Value::Object(value), Value::Object(like)) => value
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), project(value, like.get(name)?))))
            .collect(),
        (Value::Array(value), Value::Array(like)) if value.len() == like.len() => value
            .iter()
            .zip(like)
            .map(|(value, like)| project(value, like))
            .collect(),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "---\nkind: VirtualTable\n---\n---\nkind: List\nitems: [{kind: Secret}, {kind: VirtualTable}]\n";
        let kinds: Vec<String> = documents(text)
            .unwrap()
            .iter()
            .map(|one| one["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["VirtualTable", "Secret", "VirtualTable"]);
        assert!(documents("a: [").is_err());
    }

    #[test]
    fn a_namespace_that_is_asked_for_must_be_that_of_the_manifest() {
        let written = json!({"metadata": {"name": "manuals", "namespace": "docs"}});
        let plain = json!({"metadata": {"name": "manuals"}});
        for (manifest, namespace, is_asked, found) in [
            (&written, "default", false, Some("docs")),
            (&written, "docs", true, Some("docs")),
            (&written, "other", true, None),
            (&plain, "other", true, Some("other")),
            (&plain, "default", false, Some("default")),
        ] {
            let planned = namespace_of(manifest, namespace, is_asked);
            assert_eq!(planned.ok().as_deref(), found, "{namespace} {is_asked}");
        }
    }

    #[test]
    fn the_copy_of_the_manifest_is_no_change() {
        let before =
            json!({"spec": {"a": 1}, "metadata": {"annotations": {submit::LAST_APPLIED: "x"}}});
        let after = json!({"spec": {"a": 1}, "metadata": {"annotations": {submit::LAST_APPLIED: "y", "b": "c"}}});
        let found = differences(&before, &after);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "metadata.annotations.b");
    }

    #[test]
    fn images_that_are_left_to_the_operator_are_said_not_to_be_known() {
        let mut follows = Preview::default();
        assert_eq!(images_note(&follows), None);
        follows.unknown_images = vec!["server", "sidecar"];
        let note = images_note(&follows).unwrap();
        assert!(note.contains("for server and sidecar"), "{note}");
    }

    #[test]
    fn what_the_api_server_fills_in_is_no_change_of_a_template() {
        let value = json!({"spec": {"containers": [{"name": "a", "terminationMessagePath": "/x", "args": ["1"]}], "dnsPolicy": "y"}});
        let like = json!({"spec": {"containers": [{"name": "a", "args": ["2"]}]}});
        assert_eq!(
            project(&value, &like),
            json!({"spec": {"containers": [{"name": "a", "args": ["1"]}]}})
        );
    }
}
