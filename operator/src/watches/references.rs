//! Secrets and ConfigMaps that tables refer to. With a watch of their metadata a change is seen at once; nothing of them is kept, only who asked for which.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures::TryStreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Queue, Scope, config, table_ref};

/// Which tables refer to a Secret or ConfigMap, by kind, namespace and name.
#[derive(Default)]
pub(crate) struct ReferenceIndex {
    index: Mutex<HashMap<(String, String, String), BTreeSet<String>>>,
    /// Tables, by namespace and name, of whose references one changed, and how often one did.
    changed: Mutex<HashMap<(String, String), u64>>,
}

impl ReferenceIndex {
    /// Replaces what a table refers to.
    pub(crate) fn set(
        &self,
        table: &str,
        namespace: &str,
        references: &BTreeSet<(&'static str, String)>,
    ) {
        let mut index = self.index.lock();
        index.retain(|(kind, of, name), tables| {
            if of == namespace
                && !references
                    .iter()
                    .any(|(other, wanted)| other == kind && wanted == name)
            {
                tables.remove(table);
            }
            !tables.is_empty()
        });
        for (kind, name) in references {
            let key = ((*kind).to_owned(), namespace.to_owned(), name.clone());
            index.entry(key).or_default().insert(table.to_owned());
        }
    }

    /// Returns how often something that a table refers to has changed since that was last [settled](Self::settle); none if it did not.
    pub(crate) fn changed(&self, table: &str, namespace: &str) -> Option<u64> {
        let changed = self.changed.lock();
        let key = (namespace.to_owned(), table.to_owned());
        changed.get(&key).copied()
    }

    /// Takes down that what was changed is known now. What changed since `seen` was asked for is not.
    pub(crate) fn settle(&self, table: &str, namespace: &str, seen: u64) {
        let mut changed = self.changed.lock();
        let key = (namespace.to_owned(), table.to_owned());
        if changed.get(&key) == Some(&seen) {
            changed.remove(&key);
        }
    }

    /// Drops everything about a table.
    pub(crate) fn forget(&self, table: &str, namespace: &str) {
        self.set(table, namespace, &BTreeSet::new());
        let mut changed = self.changed.lock();
        changed.remove(&(namespace.to_owned(), table.to_owned()));
    }

    fn change(&self, table: &str, namespace: &str) {
        let mut changed = self.changed.lock();
        let key = (namespace.to_owned(), table.to_owned());
        *changed.entry(key).or_default() += 1;
    }

    /// Returns the tables that refer to an object.
    fn tables(&self, kind: &str, namespace: &str, name: &str) -> Vec<String> {
        let index = self.index.lock();
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        index.get(&key).into_iter().flatten().cloned().collect()
    }
}

/// Watches the metadata of all objects of a kind and keeps none of it.
pub(super) fn start<K>(
    client: &Client,
    scope: &Scope,
    references: Arc<ReferenceIndex>,
    queue: Queue,
    tasks: &mut JoinSet<()>,
) where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = match scope {
        Scope::Cluster => Api::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let stream = watcher::watcher(api, config()).default_backoff();
    tasks.spawn(async move {
        let mut stream = Box::pin(stream);
        let kind = K::kind(&());
        loop {
            match stream.try_next().await {
                Ok(Some(
                    Event::Apply(object) | Event::Delete(object) | Event::InitApply(object),
                )) => {
                    let namespace = object.namespace().unwrap_or_default();
                    for table in references.tables(&kind, &namespace, &object.name_any()) {
                        references.change(&table, &namespace);
                        queue.send(table_ref(&table, &namespace));
                    }
                }
                Ok(Some(Event::Init | Event::InitDone)) => {}
                Ok(None) => break,
                Err(error) => tracing::warn!(%kind, error = vdt_crds::chain(&error), "a watch failed and is begun again"),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_stays_until_it_is_known() {
        let index = ReferenceIndex::default();
        assert_eq!(index.changed("manuals", "docs"), None);
        index.change("manuals", "docs");
        let seen = index.changed("manuals", "docs").unwrap();
        // Asking failed: it is there the next time.
        assert_eq!(index.changed("manuals", "docs"), Some(seen));
        // Another one while the first was asked for.
        index.change("manuals", "docs");
        index.settle("manuals", "docs", seen);
        let seen = index.changed("manuals", "docs").unwrap();
        index.settle("manuals", "docs", seen);
        assert_eq!(index.changed("manuals", "docs"), None);
        index.change("manuals", "docs");
        index.forget("manuals", "docs");
        assert_eq!(index.changed("manuals", "docs"), None);
    }
}
