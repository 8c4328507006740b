//! `kubectl vt top`: how full the pods' caches are, and how often they spare the bucket.
//!
//! | column | says |
//! |---|---|
//! | MEMORY, DISK | bytes that a tier holds, and their share of what it may hold |
//! | HITS/H, HITS | lookups that the cache answered: of the last hour, and since the process started |
//! | ORIGIN/H | bytes that the last hour read from the source |
//! | SERVED/H | bytes that it gave to readers |

use std::process::ExitCode;

use serde::Serialize;
use vdt_crds::api::{CacheReport, TierReport, TierState};

use crate::{
    args::{Format, TopArgs},
    cluster::Cluster,
    output::{self, Columns, Paint, Tone, one_line, or_dash, plain, toned},
    pods::{self, PodRef},
    table::Table,
    units::{bytes, percent},
};

/// What a pod without a cache says instead of a report.
const NO_CACHE: &str = "the pod has no cache open";

/// One pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodCache {
    /// Its namespace.
    namespace: String,
    /// The table that it serves.
    table: String,
    /// Its name.
    pub(crate) pod: String,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<CacheReport>,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Prints a line a pod. Fails where there are pods and none of them answered.
pub(crate) async fn run(cluster: &Cluster, args: &TopArgs) -> anyhow::Result<ExitCode> {
    let pods = match &args.name {
        Some(name) => {
            let table = Table::of(&cluster.table(name).await?);
            pods::of_table(cluster, &table).await?
        }
        None => pods::of_all(cluster, args.all_namespaces).await?,
    };
    let caches = ask(cluster, &pods).await;
    if caches.is_empty() {
        let place = match (args.all_namespaces, &args.name) {
            (true, _) => "in any namespace".to_owned(),
            (false, Some(name)) => format!("of {}/{name}", cluster.namespace),
            (false, None) => format!("in namespace {}", cluster.namespace),
        };
        output::warn(&format!("no pods of VirtualTables {place}"));
    }
    let format = args.output.output;
    output::show(format, &caches, |paint| match caches.is_empty() {
        true => String::new(),
        false => write(&caches, args.all_namespaces, format == Format::Wide, paint),
    })?;
    for cache in &caches {
        if let Some(error) = &cache.error {
            output::warn(&format!("pod {}/{}: {error}", cache.namespace, cache.pod));
        }
    }
    let answered = caches.iter().any(|cache| cache.error.is_none());
    Ok(output::code(caches.is_empty() || answered))
}

/// Asks every pod for its cache.
pub(crate) async fn ask(cluster: &Cluster, pods: &[PodRef]) -> Vec<PodCache> {
    let answers = pods::ask_each::<Option<CacheReport>>(cluster, pods, "/api/v1/cache").await;
    let answers = pods.iter().zip(answers);
    let made = answers.map(|(pod, answer)| {
        let (cache, error) = match answer {
            Ok(Some(cache)) => (Some(cache), None),
            Ok(None) => (None, Some(NO_CACHE.to_owned())),
            Err(silence) => (None, Some(silence.to_string())),
        };
        PodCache {
            namespace: pod.namespace.clone(),
            table: pod.table.clone(),
            pod: pod.name.clone(),
            cache,
            error,
        }
    });
    made.collect()
}

fn write(caches: &[PodCache], everywhere: bool, wide: bool, paint: Paint) -> String {
    let mut heading = vec![
        "POD", "MEMORY", "DISK", "HITS/H", "HITS", "ORIGIN/H", "SERVED/H",
    ];
    if everywhere {
        heading.insert(0, "NAMESPACE");
    }
    if wide {
        heading.extend([
            "ENTRIES",
            "EVICTED",
            "DROPPED",
            "JOINS",
            "READ-AHEAD",
            "ORIGIN",
        ]);
    }
    let mut columns = Columns::new(&heading);
    for one in caches {
        let mut row = match everywhere {
            true => vec![plain(one.namespace.clone())],
            false => Vec::new(),
        };
        row.push(plain(one.pod.clone()));
        match &one.cache {
            Some(cache) => cells(cache, wide, &mut row),
            None => row.push(toned(Tone::Bad, "<unreachable>")),
        }
        columns.row(row);
    }
    columns.render("", paint)
}

fn cells(cache: &CacheReport, wide: bool, row: &mut Vec<(String, Option<Tone>)>) {
    let CacheReport { tiers, hour, .. } = cache;
    let (mut hits, mut misses, mut origin, mut served) = (0_u64, 0_u64, 0_u64, 0_u64);
    for minute in hour {
        hits = hits
            .saturating_add(minute.hits_memory)
            .saturating_add(minute.hits_disk);
        misses = misses.saturating_add(minute.misses);
        origin = origin.saturating_add(minute.origin_bytes);
        served = served.saturating_add(minute.served_bytes);
    }
    row.push(tier(&tiers.memory));
    row.push(tier(&tiers.disk));
    row.push(plain(percent(hits, hits.saturating_add(misses))));
    row.push(plain(hit_rate(cache)));
    row.push(plain(bytes(origin)));
    row.push(plain(bytes(served)));
    if wide {
        let sum = |of: fn(&TierReport) -> u64| of(&tiers.memory).saturating_add(of(&tiers.disk));
        row.push(plain(sum(|tier| tier.entries).to_string()));
        row.push(plain(sum(|tier| tier.evictions).to_string()));
        row.push(plain(sum(|tier| tier.dropped_writes).to_string()));
        row.push(plain(cache.joins.to_string()));
        row.push(plain(bytes(cache.read_ahead_bytes)));
        let (tone, word) = match cache.origin.up {
            true => (Tone::Good, "up"),
            false => (Tone::Bad, "away"),
        };
        row.push(toned(tone, word));
    }
}

/// Share of lookups that the cache answered since the process started.
fn hit_rate(cache: &CacheReport) -> String {
    let hits = cache.hits.memory.saturating_add(cache.hits.disk);
    percent(hits, hits.saturating_add(cache.misses))
}

fn tier(tier: &TierReport) -> (String, Option<Tone>) {
    let fill = format!(
        "{} {}",
        bytes(tier.bytes),
        percent(tier.bytes, tier.capacity)
    );
    match tier.state {
        TierState::Off => toned(Tone::Faint, "off"),
        TierState::Ok => plain(fill),
        TierState::Degraded => toned(
            Tone::Bad,
            format!("{fill} {}", or_dash(tier.reason.as_deref())),
        ),
    }
}

/// One line about the cache of a table's pods: for its status.
pub(crate) fn line(cache: &PodCache) -> String {
    let Some(report) = &cache.cache else {
        return format!(
            "{}: {}",
            cache.pod,
            one_line(cache.error.as_deref().unwrap_or(NO_CACHE))
        );
    };
    format!(
        "{}: memory {}, disk {}, hits {}",
        cache.pod,
        tier(&report.tiers.memory).0,
        tier(&report.tiers.disk).0,
        hit_rate(report)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn caches() -> Vec<PodCache> {
        let report = serde_json::from_value(json!({
            "tiers": {
                "memory": {"state": "Ok", "bytes": 256 << 20, "capacity": 512 << 20, "entries": 10},
                "disk": {"state": "Degraded", "bytes": 1 << 30, "capacity": 4_u64 << 30, "reason": "DiskFull", "entries": 5, "droppedWrites": 3},
            },
            "hits": {"memory": 80, "disk": 10}, "misses": 10,
            "hour": [{"minute": 1, "hitsMemory": 1, "hitsDisk": 1, "misses": 2, "originBytes": 1024, "servedBytes": 2048}],
            "origin": {"up": true},
        }));
        let of = |pod: &str| PodCache {
            namespace: "docs".to_owned(),
            table: "manuals".to_owned(),
            pod: pod.to_owned(),
            cache: None,
            error: Some("no answer within 20 s".to_owned()),
        };
        vec![
            PodCache {
                cache: Some(report.unwrap()),
                error: None,
                ..of("manuals-0")
            },
            of("manuals-1"),
        ]
    }

    #[test]
    fn fill_and_hits_are_shown_and_silent_pods_are_named() {
        let expected = "\
POD         MEMORY          DISK                   HITS/H   HITS    ORIGIN/H   SERVED/H
manuals-0   256Mi 50.0%     1.0Gi 25.0% DiskFull   50.0%    90.0%   1.0Ki      2.0Ki
manuals-1   <unreachable>
";
        assert_eq!(write(&caches(), false, false, Paint(false)), expected);
    }

    #[test]
    fn wide_and_everywhere_add_columns() {
        let text = write(&caches(), true, true, Paint(false));
        assert!(text.starts_with("NAMESPACE   POD "));
        let row = text.lines().nth(1).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[words.len() - 6..], ["15", "0", "3", "0", "0", "up"]);
    }

    #[test]
    fn a_line_of_status_says_the_same() {
        let caches = caches();
        assert_eq!(
            line(&caches[0]),
            "manuals-0: memory 256Mi 50.0%, disk 1.0Gi 25.0% DiskFull, hits 90.0%"
        );
        assert_eq!(line(&caches[1]), "manuals-1: no answer within 20 s");
    }
}
