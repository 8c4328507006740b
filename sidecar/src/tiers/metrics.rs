//! The tiers as Prometheus metrics, read off [`TiersStats`] at each scrape.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::{ClassStats, Tier, Tiers, TiersStats, reason};
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
    let (memory, disk) = (&stats.memory, &stats.disk);
    let of = |tier: Tier, class: &ClassStats, value| {
        let labels = vec![("tier", tier.label()), ("class", class.class.label())];
        (labels, value)
    };
    let by_class = |count: fn(&ClassStats) -> [u64; 2]| -> Vec<Series> {
        let of_class = |class| {
            let tiers = Tier::ALL.into_iter().zip(count(class));
            tiers.map(move |(tier, value)| of(tier, class, value))
        };
        stats.classes.iter().flat_map(of_class).collect()
    };
    let by_tier = |values: [u64; 2]| -> Vec<Series> {
        let tiers = Tier::ALL.into_iter().zip(values);
        tiers
            .map(|(tier, value)| (vec![("tier", tier.label())], value))
            .collect()
    };
    let by_reason = |reason, value| -> Series { (vec![("reason", reason)], value) };
    let of_memory = |class| of(Tier::Memory, class, class.memory_evictions);
    let mut evictions: Vec<_> = stats.classes.iter().map(of_memory).collect();
    // The disk keeps entries of all classes together.
    let labels = vec![("tier", Tier::Disk.label()), ("class", "all")];
    evictions.push((labels, disk.evictions));
    for (name, help, series) in [
        (
            "vdt_cache_hits",
            "Lookups that a tier answered",
            by_class(|class| [class.memory_hits, class.disk_hits]),
        ),
        (
            "vdt_cache_misses",
            "Lookups that a tier was asked for and did not answer",
            by_class(|class| [class.memory_misses, class.disk_misses]),
        ),
        (
            "vdt_cache_evictions",
            "Entries that a tier had no room for any longer",
            evictions,
        ),
        (
            "vdt_cache_disk_writes",
            "Entries written to the disk",
            one(disk.writes),
        ),
        (
            "vdt_cache_dropped_writes",
            "Entries not written to the disk: it was too slow, it failed, or a scan passed them by",
            vec![
                by_reason("overflow", disk.dropped_writes),
                by_reason("failed", disk.failed_writes),
                by_reason("candidate", disk.rejected_writes),
            ],
        ),
        (
            "vdt_cache_rescued_writes",
            "Hot entries written again before their region was freed",
            one(disk.rescued_writes),
        ),
        (
            "vdt_cache_bad_entries",
            "Entries on the disk that could not be read or did not verify",
            one(disk.bad_entries),
        ),
        (
            "vdt_cache_disk_written_bytes",
            "Bytes written to the disk",
            one(disk.write_bytes),
        ),
        (
            "vdt_cache_disk_read_bytes",
            "Bytes read from the disk",
            one(disk.read_bytes),
        ),
    ] {
        counters(&mut encoder, name, help, series)?;
    }
    let degraded = disk.state.degraded().map(|(reason, _)| reason);
    let is_degraded = |reason| by_reason(reason, u64::from(degraded == Some(reason)));
    for (name, help, series) in [
        (
            "vdt_cache_bytes",
            "Bytes held",
            by_tier([memory.bytes, disk.bytes]),
        ),
        (
            "vdt_cache_capacity_bytes",
            "Bytes that may be held",
            by_tier([memory.capacity_bytes, disk.capacity_bytes]),
        ),
        (
            "vdt_cache_entries",
            "Entries held",
            by_tier([memory.entries, disk.entries]),
        ),
        (
            "vdt_cache_disk_entries_max",
            "Entries on the disk that the memory for their index allows",
            one(disk.entries_max),
        ),
        (
            "vdt_cache_disk_degraded",
            "Whether the disk tier is degraded, by reason",
            REASONS.map(is_degraded).into(),
        ),
    ] {
        gauges(&mut encoder, name, help, series)?;
    }
    Ok(())
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
