//! Metrics of the cache, for Prometheus.
//!
//! A lookup is what a reader wants; the tiers count their probes by themselves (`vdt_cache_hits`), and a lookup may take several.

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use super::CacheStore;
use crate::{
    metrics::{Series, counters, gauges, one},
    tiers::{Class, Tier},
};

/// Reads the counters of a [`CacheStore`] when Prometheus asks.
#[derive(Debug)]
pub struct CacheMetrics {
    store: CacheStore,
}

impl CacheMetrics {
    /// Adds the metrics of `store`.
    pub fn register(registry: &mut Registry, store: &CacheStore) {
        let store = store.clone();
        registry.register_collector(Box::new(Self { store }));
    }
}

impl Collector for CacheMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counted = &self.store.shared.counters;
        let of_class = |class: Class| {
            Tier::ALL.map(|tier| {
                let labels = vec![("class", class.label()), ("tier", tier.label())];
                (labels, counted.hits_of(class, tier))
            })
        };
        let hits = Class::ALL.into_iter().flat_map(of_class).collect();
        let of_class =
            |class: Class| -> Series { (vec![("class", class.label())], counted.misses_of(class)) };
        let misses = Class::ALL.map(of_class).into();
        let mut counter = |name, help, series| counters(&mut encoder, name, help, series);
        counter(
            "vdt_cache_lookup_hits",
            "Lookups that the cache answered",
            hits,
        )?;
        counter(
            "vdt_cache_lookup_misses",
            "Lookups that the origin answered, also where it was asked for several things at once",
            misses,
        )?;
        for (name, help, total) in [
            (
                "vdt_cache_joins",
                "Lookups that waited for a fetch that another one had begun",
                &counted.joins,
            ),
            (
                "vdt_cache_runs",
                "Requests to the origin for runs of neighbours",
                &counted.runs,
            ),
            (
                "vdt_cache_read_ahead_bytes",
                "Bytes that were fetched before they were asked for",
                &counted.read_ahead,
            ),
            (
                "vdt_cache_fetches_given_up",
                "Fetches that ended because nobody wanted them any longer",
                &counted.given_up,
            ),
            (
                "vdt_cache_served_bytes",
                "Bytes given to readers",
                &counted.served,
            ),
            (
                "vdt_origin_requests",
                "Requests to the origin",
                &counted.requests,
            ),
            (
                "vdt_origin_bytes",
                "Bytes that came from the origin",
                &counted.bytes,
            ),
        ] {
            counter(name, help, one(total.get()))?;
        }
        gauges(
            &mut encoder,
            "vdt_cache_flights",
            "Entries that are being fetched",
            one(self.store.in_flight() as u64),
        )
    }
}
