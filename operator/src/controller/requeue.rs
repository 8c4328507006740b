//! When a table is looked at again without an event: soon while something is under way that no event tells of, seldom where nothing can happen.

use std::time::Duration;

use tokio::time::Instant;
use vdt_crds::{Server as ServerSpec, VirtualTableStatus, status::condition};

use super::{
    look::{Acted, Look},
    memory::Memory,
};
use crate::{metrics::Outcome, status};

/// From one look to the next where all is well: this old may a status be.
const STEADY: Duration = Duration::from_secs(20);
/// The same while something is under way.
const BUSY: Duration = Duration::from_secs(3);
/// This long after a Secret or ConfigMap of it has changed, a table is looked at as if something were under way: what comes of it shows in the pods.
const FOLLOW: Duration = Duration::from_secs(30);
/// The same where nothing can happen without an event.
const IDLE: Duration = Duration::from_secs(600);
/// A missing Secret is asked for this often, for [`EAGER`]; then every [`STEADY`].
const MISSING: Duration = Duration::from_secs(4);
const EAGER: Duration = Duration::from_secs(600);
/// The same while pods are on their way to follow a changed manifest.
const FOLLOWING: Duration = Duration::from_secs(1);

/// When to look again.
pub(super) struct Next {
    pub(super) after: Duration,
    /// How the look ended.
    pub(super) outcome: Outcome,
}

impl Look<'_> {
    /// Decides when to look again.
    pub(super) fn next(
        &self,
        status: &VirtualTableStatus,
        acted: &Acted,
        spec: &ServerSpec,
        memory: &mut Memory,
    ) -> Next {
        let find = |kind: &str| status.conditions.iter().find(|one| one.type_ == kind);
        let is_stalled = find(condition::STALLED).is_some();
        let is_missing = !acted.dereferenced.missing.is_empty();
        if is_missing {
            memory.missing_since.get_or_insert_with(Instant::now);
        } else {
            memory.missing_since = None;
        }
        let is_ready = find(condition::READY).is_some_and(|ready| ready.status == "True");
        let is_followed = memory
            .reloaded
            .is_some_and(|since| since.elapsed() < FOLLOW);
        let mut after = if memory
            .missing_since
            .is_some_and(|since| since.elapsed() < EAGER)
        {
            MISSING
        } else if find(condition::RECONCILING).is_some_and(|one| one.reason == status::FOLLOWING) {
            FOLLOWING
        } else if acted.is_busy || is_followed {
            BUSY
        } else if !is_ready && !is_stalled && !is_missing {
            // Pods that say nothing are asked again no sooner, and what happens to them is an event.
            memory
                .answers
                .silence()
                .map_or(BUSY, |silence| silence.min(STEADY))
        } else if spec.replicas == 0 && status.replicas == Some(0) {
            IDLE
        } else {
            STEADY
        };
        if let Some(wait) = acted.wait {
            after = after.min(wait + Duration::from_secs(1));
        }
        let outcome = match is_stalled {
            true => Outcome::Stalled,
            false => Outcome::Success,
        };
        Next { after, outcome }
    }
}
