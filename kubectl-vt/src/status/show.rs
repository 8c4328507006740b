//! Status for people.

use std::fmt::Write;

use vdt_crds::ConditionStatus;

use super::{ConditionLine, TableStatus};
use crate::{
    output::{Columns, Paint, Tone, one_line, or_dash, plain, toned},
    top,
    units::age,
};

/// One line a table.
pub(super) fn many(all: &[TableStatus], everywhere: bool, wide: bool, paint: Paint) -> String {
    let mut heading = vec!["NAME", "READY", "REASON", "VERSION", "ARTIFACTS", "PODS"];
    if everywhere {
        heading.insert(0, "NAMESPACE");
    }
    if wide {
        heading.extend(["TABLE", "ENDPOINT"]);
    }
    heading.push("NEXT");
    let mut columns = Columns::new(&heading);
    for table in all {
        let mut row = match everywhere {
            true => vec![plain(table.namespace.clone())],
            false => Vec::new(),
        };
        let ready = table.ready();
        row.push(plain(table.name.clone()));
        row.push(match ready {
            Some(ready) => toned(tone(ready), ready.status.clone()),
            None => toned(Tone::Wait, "Unknown"),
        });
        row.push(plain(or_dash(ready.map(|ready| &ready.reason))));
        row.push(plain(or_dash(table.version)));
        row.push(plain(or_dash(table.artifacts)));
        row.push(plain(format!(
            "{}/{}",
            table.replicas.ready, table.replicas.wanted
        )));
        if wide {
            row.push(plain(or_dash(table.s3.as_ref())));
            row.push(plain(or_dash(table.endpoint.as_ref())));
        }
        row.push(plain(table.next().into_iter().next().unwrap_or_default()));
        columns.row(row);
    }
    columns.render("", paint)
}

/// Everything about one table.
pub(super) fn one(table: &TableStatus, paint: Paint) -> String {
    let mut text = String::new();
    let title = format!("{}/{}", table.namespace, table.name);
    let (tone, verdict) = verdict(table);
    let _ = writeln!(
        text,
        "{}: {}",
        paint.of(Tone::Strong, &title),
        paint.of(tone, &verdict)
    );
    let mut line = |name: &str, said: String| {
        let _ = writeln!(text, "  {name:<9} {said}");
    };
    if let Some(s3) = &table.s3 {
        let endpoint = table.endpoint.as_ref();
        line(
            "reads",
            format!(
                "{s3}{}",
                endpoint.map_or_else(String::new, |at| format!("   at {at}"))
            ),
        );
    }
    let version = match (table.version, table.artifacts) {
        (None, _) => "none yet".to_owned(),
        (Some(version), None) => version.to_string(),
        (Some(version), Some(artifacts)) => format!("{version}, {artifacts} artifacts"),
    };
    let lag = table.lag_seconds.map(|lag| {
        let lag = i64::try_from(lag).unwrap_or(i64::MAX);
        format!("; the sources were so {} ago", age(lag))
    });
    line("version", version + &lag.unwrap_or_default());
    let replicas = table.replicas;
    line(
        "pods",
        format!(
            "{} of {} serve, {} of {} run the latest template",
            replicas.ready, replicas.wanted, replicas.updated, replicas.there
        ),
    );
    if !table.is_observed {
        line(
            "spec",
            "changed; the operator has not acted upon it yet".to_owned(),
        );
    }
    conditions(&mut text, table, paint);
    sources(&mut text, table, paint);
    pods(&mut text, table, paint);
    for note in &table.notes {
        let _ = writeln!(text, "\nnote: {}", one_line(note));
    }
    let next = table.next();
    if !next.is_empty() {
        let _ = writeln!(text, "\nNEXT");
        for next in next {
            let _ = writeln!(text, "  {next}");
        }
    }
    text
}

fn verdict(table: &TableStatus) -> (Tone, String) {
    match table.ready() {
        Some(ready) => {
            let word = match ready.status.as_str() {
                "True" => "ready",
                "False" => "not ready",
                _ => "not known",
            };
            (tone(ready), format!("{word} ({})", ready.reason))
        }
        None => (Tone::Wait, "no operator has looked at it yet".to_owned()),
    }
}

fn tone(condition: &ConditionLine) -> Tone {
    match (
        condition.is_fine(),
        condition.r#type.as_str(),
        condition.status.as_str(),
    ) {
        (true, ..) => Tone::Good,
        (false, "Reconciling", _) | (false, _, "Unknown") => Tone::Wait,
        _ if condition.reason == "RollingOut" => Tone::Wait,
        _ => Tone::Bad,
    }
}

fn conditions(text: &mut String, table: &TableStatus, paint: Paint) {
    let mut columns = Columns::new(&["CONDITION", "STATUS", "REASON", "FOR", "MESSAGE"]);
    for one in &table.conditions {
        columns.row(vec![
            plain(one.r#type.clone()),
            toned(tone(one), one.status.clone()),
            plain(one.reason.clone()),
            plain(age(one.for_seconds)),
            plain(one.message.clone()),
        ]);
    }
    let _ = write!(text, "\n{}", columns.render("", paint));
}

fn sources(text: &mut String, table: &TableStatus, paint: Paint) {
    if table.sources.is_empty() {
        return;
    }
    let mut columns = Columns::new(&["SOURCE", "LISTED", "REASON", "MESSAGE"]);
    for source in &table.sources {
        let tone = match source.status {
            ConditionStatus::True => Tone::Good,
            ConditionStatus::False => Tone::Bad,
            ConditionStatus::Unknown => Tone::Wait,
        };
        columns.row(vec![
            plain(source.name.clone()),
            toned(tone, source.status.as_str()),
            plain(or_dash(source.reason.as_ref())),
            plain(source.message.clone().unwrap_or_default()),
        ]);
    }
    let _ = write!(text, "\n{}", columns.render("", paint));
}

fn pods(text: &mut String, table: &TableStatus, paint: Paint) {
    if table.pods.is_empty() {
        return;
    }
    let mut columns = Columns::new(&["POD", "READY", "PHASE", "VERSION", "LAG", "NODE"]);
    for pod in &table.pods {
        let (tone, word) = match pod.is_ready {
            true => (Tone::Good, "True"),
            false => (Tone::Bad, "False"),
        };
        let lag = pod
            .lag_seconds
            .map(|lag| age(i64::try_from(lag).unwrap_or(i64::MAX)));
        columns.row(vec![
            plain(pod.name.clone()),
            toned(tone, word),
            plain(pod.phase.clone()),
            plain(or_dash(pod.version)),
            plain(or_dash(lag)),
            plain(or_dash(pod.node.as_ref())),
        ]);
    }
    let _ = write!(text, "\n{}", columns.render("", paint));
    let caches: Vec<String> = table
        .pods
        .iter()
        .filter_map(|pod| pod.cache.as_ref())
        .map(top::line)
        .collect();
    if !caches.is_empty() {
        let _ = writeln!(text, "\nCACHE");
        for cache in caches {
            let _ = writeln!(text, "  {cache}");
        }
    }
    for pod in &table.pods {
        if let Some(error) = &pod.error {
            let _ = writeln!(
                text,
                "  {} was not asked, or did not answer: {}",
                pod.name,
                one_line(error)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{pods::Silence, status::PodLine, table::Table};

    fn table(conditions: serde_json::Value) -> TableStatus {
        let object = json!({
            "apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable",
            "metadata": {"name": "manuals", "namespace": "docs", "generation": 2},
            "spec": {"sources": [{"name": "bucket", "type": "S3", "s3": {"bucket": "corp", "anonymous": true}}],
                "server": {"replicas": 2, "state": {"type": "Ephemeral"}, "access": {"mode": "Anonymous"}}},
            "status": {"observedGeneration": 2, "version": 3, "artifacts": 412, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
                "endpoint": "http://manuals.docs.svc:8080", "conditions": conditions,
                "sources": [{"name": "bucket", "status": "True", "reason": "Listed", "message": "412 artifacts"}]},
        });
        let now = Timestamp::from_second(3600).unwrap();
        TableStatus::of(&Table::of(&serde_json::from_value(object).unwrap()), now)
    }

    fn condition(kind: &str, status: &str, reason: &str) -> serde_json::Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "said so", "lastTransitionTime": "1970-01-01T00:00:00Z"})
    }

    #[test]
    fn a_table_that_is_fine_asks_for_nothing() {
        let mut fine = table(json!([
            condition("Ready", "True", "Serving"),
            condition("CacheReady", "True", "Ready")
        ]));
        fine.lag_seconds = Some(12);
        fine.pods = vec![PodLine {
            name: "manuals-0".to_owned(),
            phase: "Running".to_owned(),
            is_ready: true,
            version: Some(3),
            lag_seconds: Some(12),
            ..PodLine::default()
        }];
        let expected = "\
docs/manuals: ready (Serving)
  reads     s3://main/docs/manuals   at http://manuals.docs.svc:8080
  version   3, 412 artifacts; the sources were so 12s ago
  pods      2 of 2 serve, 2 of 2 run the latest template

CONDITION    STATUS   REASON    FOR   MESSAGE
Ready        True     Serving   60m   said so
CacheReady   True     Ready     60m   said so

SOURCE   LISTED   REASON   MESSAGE
bucket   True     Listed   412 artifacts

POD         READY   PHASE     VERSION   LAG   NODE
manuals-0   True    Running   3         12s   -
";
        assert_eq!(one(&fine, Paint(false)), expected);
    }

    #[test]
    fn what_is_not_fine_says_what_to_do_once() {
        let missing = table(json!([
            condition("Ready", "False", "SecretNotFound"),
            condition("SourcesReady", "False", "SecretNotFound"),
            condition("Reconciling", "True", "RollingOut"),
        ]));
        let text = one(&missing, Paint(false));
        assert!(text.starts_with("docs/manuals: not ready (SecretNotFound)\n"));
        let next = text.split("\nNEXT\n").nth(1).unwrap();
        let of = |reason| crate::advice::next(reason, "docs", "manuals").unwrap();
        let (missing, rolling) = (of("SecretNotFound"), of("RollingOut"));
        assert_eq!(next, format!("  {missing}\n  {rolling}\n"));
    }

    #[test]
    fn a_source_says_what_to_do_by_its_own_reason() {
        let mut failed = table(json!([condition("SourcesReady", "False", "SourceFailed")]));
        failed.sources[0].status = ConditionStatus::False;
        failed.sources[0].reason = Some("AccessDenied".to_owned());
        let next = crate::advice::next("AccessDenied", "docs", "manuals").unwrap();
        let text = one(&failed, Paint(false));
        assert!(text.ends_with(&format!("\n  {next}\n")), "{text}");
    }

    #[test]
    fn many_tables_are_a_line_each() {
        let all = [
            table(json!([condition("Ready", "True", "Serving")])),
            table(json!([
                condition("Ready", "False", "Unschedulable"),
                condition("Stalled", "True", "Unschedulable")
            ])),
        ];
        let text = many(&all, true, false, Paint(false));
        let expected = "\
NAMESPACE   NAME      READY   REASON          VERSION   ARTIFACTS   PODS   NEXT
docs        manuals   True    Serving         3         412         2/2
docs        manuals   False   Unschedulable   3         412         2/2    kubectl -n docs describe pod says why: cpu, memory, a volume's node, or taints
";
        assert_eq!(text, expected);
        assert!(
            many(&all, false, true, Paint(false))
                .contains("s3://main/docs/manuals   http://manuals.docs.svc:8080")
        );
    }

    #[test]
    fn silent_pods_are_named_and_the_least_lag_counts() {
        let mut heard = table(json!([]));
        let pod = |name: &str| crate::pods::tests::pod(name);
        let report = |lag: u64| {
            Ok(serde_json::from_value(
                json!([{"table": "main/docs/manuals", "version": 3, "lagSeconds": lag}]),
            )
            .unwrap())
        };
        let answers = vec![
            report(9),
            Err(Silence("no answer\nwithin 20 s".to_owned())),
            report(4),
        ];
        heard.hear(
            &[pod("manuals-0"), pod("manuals-1"), pod("manuals-2")],
            answers,
            Vec::new(),
        );
        assert_eq!(heard.lag_seconds, Some(4));
        let text = one(&heard, Paint(false));
        assert!(
            text.contains("manuals-1 was not asked, or did not answer: no answer within 20 s"),
            "{text}"
        );
    }
}
