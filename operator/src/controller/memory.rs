//! What is kept of a table between looks: what saves requests, and nothing that a restart would miss. A table that was made anew under its name begins
//! with nothing; of one that is gone nothing is kept, neither here nor in metrics and references.

use std::sync::Arc;

use kube::api::DynamicObject;
use tokio::time::Instant;
use vdt_crds::VirtualTableStatus;

use super::{Context, answers::Answers, look::RESYNC, overlap::Hold};
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
    /// A pod that should be there and is not, or is nobody's, and since when.
    pub(super) absent: Option<(String, Instant)>,
    /// What the pods were last made to read again, and since when; not for what was found at the first look.
    pub(super) reload: Option<String>,
    pub(super) reloaded: Option<Instant>,
    pub(super) conditions: Vec<String>,
    /// The status as it was written last, the version of the table that this made, and when.
    written: Option<(u64, VirtualTableStatus, Instant)>,
}

impl Memory {
    /// Keeps what was written of a status. `answered`: the table that this made.
    pub(super) fn wrote(&mut self, status: &VirtualTableStatus, answered: &DynamicObject) {
        self.written = version(answered).map(|version| (version, status.clone(), Instant::now()));
    }

    /// Returns the status that was written last, where `seen` is the table before that: a store lags behind. It does not for
    /// longer than [`RESYNC`]: what is seen then was restored from a backup, with lower versions.
    pub(super) fn unseen_status(&mut self, seen: &DynamicObject) -> Option<VirtualTableStatus> {
        let (written, status, since) = self.written.take()?;
        if version(seen)? >= written || since.elapsed() >= RESYNC {
            return None;
        }
        self.written = Some((written, status.clone(), since));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn table(version: &str) -> DynamicObject {
        let metadata = json!({"name": "t", "resourceVersion": version});
        let table =
            json!({"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "metadata": metadata});
        serde_json::from_value(table).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_no_store_shows_is_believed_for_a_while_and_not_for_ever() {
        let mut memory = Memory::default();
        let status = VirtualTableStatus {
            observed_generation: Some(3),
            ..VirtualTableStatus::default()
        };
        memory.wrote(&status, &table("20"));
        tokio::time::advance(RESYNC - Duration::from_secs(1)).await;
        assert_eq!(memory.unseen_status(&table("19")), Some(status.clone()));
        // The store of the cluster was restored: its versions begin again below.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(memory.unseen_status(&table("19")), None);
        memory.wrote(&status, &table("20"));
        assert_eq!(memory.unseen_status(&table("20")), None);
        assert_eq!(memory.unseen_status(&table("19")), None);
    }
}
