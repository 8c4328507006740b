//! What the cache holds and did, as the admin API tells it.

use vdt_crds::api::{
    CacheReport, CacheTiers, ClassReport, OriginReport, TierCounts, TierReport, TierState, time,
};

use super::CacheStore;
use crate::tiers::{Class, DiskState, Tier};

impl CacheStore {
    /// What the cache holds and what it saved. How the origin was last met is not known here.
    pub fn report(&self) -> CacheReport {
        let (counters, tiers) = (&self.shared.counters, self.shared.tiers.stats());
        let state = match &tiers.disk.state {
            DiskState::Off => TierState::Off,
            DiskState::Ok => TierState::Ok,
            DiskState::Degraded { .. } => TierState::Degraded,
        };
        let (reason, message) = tiers.disk.state.degraded().unzip();
        let class = |class: Class| {
            let memory = tiers.classes.iter().find(|stats| stats.class == class);
            ClassReport {
                class: class.label().to_owned(),
                memory_entries: memory.map_or(0, |stats| stats.memory_entries),
                memory_bytes: memory.map_or(0, |stats| stats.memory_bytes),
                hits: TierCounts {
                    memory: counters.hits_of(class, Tier::Memory),
                    disk: counters.hits_of(class, Tier::Disk),
                },
                misses: counters.misses_of(class),
            }
        };
        CacheReport {
            tiers: CacheTiers {
                memory: TierReport {
                    state: TierState::Ok,
                    since: Some(time(tiers.memory.since_ms)),
                    capacity: tiers.memory.capacity_bytes,
                    bytes: tiers.memory.bytes,
                    entries: tiers.memory.entries,
                    evictions: tiers.classes.iter().map(|it| it.memory_evictions).sum(),
                    ..TierReport::default()
                },
                disk: TierReport {
                    state,
                    since: tiers.disk.since_ms.map(time),
                    capacity: tiers.disk.capacity_bytes,
                    bytes: tiers.disk.bytes,
                    entries: tiers.disk.entries,
                    evictions: tiers.disk.evictions,
                    dropped_writes: tiers.disk.dropped_writes,
                    reason: reason.map(str::to_owned),
                    message: message.map(str::to_owned),
                },
            },
            classes: Class::ALL.map(class).into(),
            hits: TierCounts {
                memory: counters.hits(Tier::Memory),
                disk: counters.hits(Tier::Disk),
            },
            misses: counters.misses(),
            joins: counters.joins.get(),
            read_ahead_bytes: counters.read_ahead.get(),
            hour: counters.hour(),
            hottest: counters.hottest(),
            origin: OriginReport {
                requests: counters.requests.get(),
                bytes: counters.bytes.get(),
                ..OriginReport::default()
            },
        }
    }
}
