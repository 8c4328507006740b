//! Kinds that the cluster does not have: one table finds out, and all others believe it for a while. Nothing tells when a definition is made.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::build::Kind;

/// This long it is believed that there is no such kind.
const BELIEVED: Duration = Duration::from_secs(60);

/// Kinds that the cluster does not have, and when it last said so.
#[derive(Default)]
pub(crate) struct Undefined(Mutex<HashMap<Kind, Instant>>);

impl Undefined {
    /// Takes down that the cluster does not have a kind.
    pub(crate) fn tell(&self, kind: Kind) {
        let mut told = self.0.lock();
        told.insert(kind, Instant::now());
    }

    /// Says whether the cluster does not have a kind, as far as is known.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        let told = self.0.lock();
        told.get(&kind)
            .is_some_and(|told| told.elapsed() < BELIEVED)
    }
}
