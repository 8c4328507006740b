//! The tiers as Prometheus metrics, read off [`TiersStats`] at each scrape.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::{Tiers, TiersStats, reason};
use crate::metrics::{Series, counters, gauges, one};

/// Every reason that a disk tier may be degraded for: the values of a label.
const REASONS: [&str; 6] = [
    reason::CACHE_SMALLER,
    reason::DISK_TOO_SMALL,
    reason::DISK_FULL,
    reason::DISK_READ_ONLY,
    reason::DISK_GONE,
    reason::DISK_FAILED,
];

/// Adds the metrics `vdt_cache_*` of the tiers to a registry without a prefix. They end with the tiers.
pub(super) fn register(tiers: &Arc<Tiers>, registry: &mut Registry) {
    registry.register_collector(Box::new(Scrape(Arc::downgrade(tiers))));
}

#[derive(Debug)]
struct Scrape(Weak<Tiers>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.0.upgrade() {
            Some(tiers) => encode(&tiers.stats(), encoder),
            None => Ok(()),
        }
    }
}

fn encode(stats: &TiersStats, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let disk = &stats.disk;
    let by_tier = |memory: u64, on_disk: u64| {
        vec![
            (vec![("tier", "memory")], memory),
            (vec![("tier", "disk")], on_disk),
        ]
    };
    let by_class = |of: fn(&super::ClassStats) -> (u64, u64)| -> Vec<Series> {
        let of_class = |class| {
            let (memory, on_disk) = of(class);
            let labels = |tier| vec![("tier", tier), ("class", class.class.label())];
            [(labels("memory"), memory), (labels("disk"), on_disk)]
        };
        stats.classes.iter().flat_map(of_class).collect()
    };
    let evictions = {
        let of_memory = |class: &super::ClassStats| {
            (
                vec![("tier", "memory"), ("class", class.class.label())],
                class.memory_evictions,
            )
        };
        let mut series: Vec<Series> = stats.classes.iter().map(of_memory).collect();
        // The disk keeps entries of all classes together.
        series.push((vec![("tier", "disk"), ("class", "all")], disk.evictions));
        series
    };
    let mut counter = |name, help, series| counters(&mut encoder, name, help, series);
    counter(
        "vdt_cache_hits",
        "Lookups that a tier answered",
        by_class(|class| (class.memory_hits, class.disk_hits)),
    )?;
    counter(
        "vdt_cache_misses",
        "Lookups that a tier was asked for and did not answer",
        by_class(|class| (class.memory_misses, class.disk_misses)),
    )?;
    counter(
        "vdt_cache_evictions",
        "Entries that a tier had no room for any longer",
        evictions,
    )?;
    counter(
        "vdt_cache_disk_writes",
        "Entries written to the disk",
        one(disk.writes),
    )?;
    let not_written = |outcome, value| (vec![("reason", outcome)], value);
    counter(
        "vdt_cache_dropped_writes",
        "Entries not written to the disk: it was too slow, it failed, or a scan passed them by",
        vec![
            not_written("overflow", disk.dropped_writes),
            not_written("failed", disk.failed_writes),
            not_written("candidate", disk.rejected_writes),
        ],
    )?;
    counter(
        "vdt_cache_rescued_writes",
        "Hot entries written again before their region was freed",
        one(disk.rescued_writes),
    )?;
    counter(
        "vdt_cache_bad_entries",
        "Entries on the disk that could not be read or did not verify",
        one(disk.bad_entries),
    )?;
    counter(
        "vdt_cache_disk_written_bytes",
        "Bytes written to the disk",
        one(disk.write_bytes),
    )?;
    counter(
        "vdt_cache_disk_read_bytes",
        "Bytes read from the disk",
        one(disk.read_bytes),
    )?;

    let mut gauge = |name, help, series| gauges(&mut encoder, name, help, series);
    gauge(
        "vdt_cache_bytes",
        "Bytes held",
        by_tier(stats.memory.bytes, disk.bytes),
    )?;
    gauge(
        "vdt_cache_capacity_bytes",
        "Bytes that may be held",
        by_tier(stats.memory.capacity_bytes, disk.capacity_bytes),
    )?;
    gauge(
        "vdt_cache_entries",
        "Entries held",
        by_tier(stats.memory.entries, disk.entries),
    )?;
    gauge(
        "vdt_cache_disk_entries_max",
        "Entries on the disk that the memory for their index allows",
        one(disk.entries_max),
    )?;
    let states = REASONS.iter().map(|reason| {
        let is_so = disk.state.degraded().is_some_and(|(it, _)| it == *reason);
        (vec![("reason", *reason)], u64::from(is_so))
    });
    gauge(
        "vdt_cache_disk_degraded",
        "Whether the disk tier is degraded, by reason",
        states.collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiers::{Class, Entry, EntryMeta, Insert, Key, TiersOptions};

    #[tokio::test]
    async fn the_metrics_say_what_happened() {
        let tiers = Arc::new(
            Tiers::open(TiersOptions::default())
                .await
                .expect("it opens"),
        );
        let mut registry = Registry::default();
        tiers.register(&mut registry);
        let meta = EntryMeta {
            size: 1,
            last_modified_ms: 0,
            etag: None,
            version: None,
        };
        tiers.insert(
            Class::Pack,
            Key(1),
            Entry {
                meta,
                bytes: "x".into(),
            },
            Insert::Resident,
        );
        tiers.get(Class::Pack, Key(1)).await;
        tiers.get(Class::Block, Key(2)).await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes it");
        for line in [
            r#"vdt_cache_hits_total{tier="memory",class="pack"} 1"#,
            r#"vdt_cache_misses_total{tier="memory",class="block"} 1"#,
            r#"vdt_cache_misses_total{tier="disk",class="block"} 1"#,
            r#"vdt_cache_entries{tier="memory"} 1"#,
            r#"vdt_cache_dropped_writes_total{reason="overflow"} 0"#,
            r#"vdt_cache_disk_degraded{reason="DiskFull"} 0"#,
            "vdt_cache_disk_written_bytes_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        drop(tiers);
        text.clear();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes it");
        assert!(
            !text.contains("vdt_cache"),
            "the registry keeps no tiers open"
        );
    }
}
