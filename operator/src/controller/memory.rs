//! What is kept of a table between looks: what saves requests, and nothing that a restart would miss. A table that was made anew under its name begins
//! with nothing; of one that is gone nothing is kept, neither here nor in metrics and references.

use std::sync::Arc;

use kube::api::DynamicObject;
use tokio::time::Instant;
use vdt_crds::VirtualTableStatus;

use super::{Context, answers::Answers, overlap::Hold};
use crate::{
    apply::{Sent, Version},
    backoff::Backoff,
    build::Kind,
    dereference::Known,
    names,
    watches::TableRef,
};

/// What is kept of one table between looks.
#[derive(Default)]
pub(crate) struct Memory {
    /// Whose memory it is: a table of the same name that was made since begins anew.
    uid: Option<String>,
    pub(super) backoff: Backoff,
    pub(super) hold: Hold,
    pub(super) known: Known,
    pub(super) generation: Option<i64>,
    pub(super) sent: Sent,
    pub(super) sent_since: Option<Instant>,
    pub(super) answers: Answers,
    pub(super) counted: Option<Instant>,
    pub(super) missing_since: Option<Instant>,
    /// A pod that should be there and is not, and since when.
    pub(super) absent: Option<(String, Instant)>,
    /// What the pods were last made to read again, and since when; not for what was found at the first look.
    pub(super) reload: Option<String>,
    pub(super) reloaded: Option<Instant>,
    pub(super) conditions: Vec<String>,
    /// The status as it was written last, and the version of the table that this made.
    written: Option<(u64, VirtualTableStatus)>,
}

impl Memory {
    /// Keeps what was written of a status. `answered`: the table that this made.
    pub(super) fn wrote(&mut self, status: &VirtualTableStatus, answered: &DynamicObject) {
        self.written = version(answered).map(|version| (version, status.clone()));
    }

    /// Returns the status that was written last, where `seen` is the table before that: a store lags behind.
    pub(super) fn unseen_status(&mut self, seen: &DynamicObject) -> Option<VirtualTableStatus> {
        let (written, status) = self.written.take()?;
        if version(seen)? >= written {
            return None;
        }
        self.written = Some((written, status.clone()));
        Some(status)
    }
}

/// The version of an object; the larger one is the later one (KEP-5504). None where a server counts in another way.
fn version(object: &DynamicObject) -> Option<u64> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}

impl Context {
    /// Returns what is kept of a table; nothing yet of one that was not looked at before.
    pub(super) fn memory_of(
        &self,
        key: &TableRef,
        server: &str,
        uid: Option<String>,
    ) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut memory = self.memory.lock();
        let new = |conditions| {
            let mut memory = Memory {
                uid: uid.clone(),
                conditions,
                ..Memory::default()
            };
            // Whether an earlier operator made these is not known: the first sweep asks.
            for (kind, name) in [
                (Kind::PodMonitor, server.to_owned()),
                (Kind::Certificate, names::certificate(server)),
            ] {
                if self.defined.contains(&kind) {
                    memory.sent.insert((kind, name), Version::default());
                }
            }
            Arc::new(tokio::sync::Mutex::new(memory))
        };
        let known = memory.entry(key.clone()).or_insert_with(|| new(Vec::new()));
        // Looks at one table follow each other, so nobody holds that of an older one. What metrics show of it has to be taken back.
        let older = known
            .try_lock()
            .ok()
            .filter(|known| known.uid != uid)
            .map(|mut known| std::mem::take(&mut known.conditions));
        if let Some(conditions) = older {
            *known = new(conditions);
        }
        known.clone()
    }

    /// Drops everything that is kept of a table.
    pub(crate) fn forget(&self, key: &TableRef) {
        let removed = self.memory.lock().remove(key);
        let Some(namespace) = &key.namespace else {
            return;
        };
        if let Some(memory) = removed
            && let Ok(memory) = memory.try_lock()
        {
            self.metrics.forget(
                namespace,
                &key.name,
                memory.conditions.iter().map(String::as_str),
            );
        }
        self.watches.references.forget(&key.name, namespace);
        self.metrics.queue.forget(key);
    }
}
