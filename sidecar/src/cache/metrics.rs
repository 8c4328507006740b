//! Metrics of the cache, for Prometheus.
//!
//! A lookup is what a reader wants; the tiers count their probes by themselves (`vdt_cache_hits`), and a lookup may take several.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::CacheStore;
use crate::tiers::{Class, Tier};

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
        let counters = &self.store.shared.counters;
        {
            let hits = ConstCounter::new(0u64);
            let mut family = encoder.encode_descriptor(
                "vdt_cache_lookup_hits",
                "Lookups that the cache answered",
                None,
                hits.metric_type(),
            )?;
            for class in Class::ALL {
                for tier in Tier::ALL {
                    let labels = [("class", class.label()), ("tier", tier.label())];
                    ConstCounter::new(counters.hits_of(class, tier))
                        .encode(family.encode_family(&labels)?)?;
                }
            }
        }
        {
            let misses = ConstCounter::new(0u64);
            let mut family = encoder.encode_descriptor(
                "vdt_cache_lookup_misses",
                "Lookups that went to the origin",
                None,
                misses.metric_type(),
            )?;
            for class in Class::ALL {
                let labels = [("class", class.label())];
                ConstCounter::new(counters.misses_of(class))
                    .encode(family.encode_family(&labels)?)?;
            }
        }
        let totals: [(&str, &str, &AtomicU64); 7] = [
            (
                "vdt_cache_joins",
                "Lookups that waited for a fetch that another one had begun",
                &counters.joins,
            ),
            (
                "vdt_cache_runs",
                "Requests to the origin for runs of neighbours",
                &counters.runs,
            ),
            (
                "vdt_cache_read_ahead_bytes",
                "Bytes that were fetched before they were asked for",
                &counters.read_ahead,
            ),
            (
                "vdt_cache_fetches_given_up",
                "Fetches that ended because nobody wanted them any longer",
                &counters.given_up,
            ),
            (
                "vdt_cache_served_bytes",
                "Bytes given to readers",
                &counters.served,
            ),
            (
                "vdt_origin_requests",
                "Requests to the origin",
                &counters.requests,
            ),
            (
                "vdt_origin_bytes",
                "Bytes that came from the origin",
                &counters.bytes,
            ),
        ];
        for (name, help, total) in totals {
            let total = ConstCounter::new(total.load(Relaxed));
            total.encode(encoder.encode_descriptor(name, help, None, total.metric_type())?)?;
        }
        let flights = i64::try_from(self.store.in_flight()).unwrap_or(i64::MAX);
        let flights = ConstGauge::new(flights);
        let help = "Entries that are being fetched";
        flights.encode(encoder.encode_descriptor(
            "vdt_cache_flights",
            help,
            None,
            flights.metric_type(),
        )?)
    }
}
