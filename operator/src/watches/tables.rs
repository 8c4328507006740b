//! The VirtualTables: one is put into the queue when its generation or its pause changed, when it was made anew and when it went. Our own writes of
//! status are told too, and are nothing that is acted upon.

use std::collections::HashMap;

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::DynamicObject,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use tokio::task::JoinSet;

use super::{
    Queue, TableRef, config,
    kept::{pack, prune},
    table_resource,
};
use crate::names;

/// Watches tables.
pub(super) fn start(
    api: Api<DynamicObject>,
    queue: Queue,
    tasks: &mut JoinSet<()>,
) -> Store<DynamicObject> {
    let writer = reflector::store::Writer::new(table_resource());
    let store = writer.as_reader();
    let all = store.clone();
    let stream = watcher::watcher(api, config())
        .default_backoff()
        .modify(|table| {
            prune(table, &table_resource());
            pack(table);
        });
    tasks.spawn(async move {
        let mut acted_upon = ActedUpon::default();
        let mut stream = Box::pin(reflector::reflector(writer, stream));
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => acted_upon.observe(event, &all, &queue),
                Err(error) => tracing::warn!(
                    kind = vdt_crds::KIND,
                    error = vdt_crds::chain(&error),
                    "a watch failed and is begun again"
                ),
            }
        }
    });
    store
}

/// What is acted upon of a table: uid, generation and pause.
type Seen = (Option<String>, Option<i64>, Option<String>);

/// What was last put into the queue of each table.
#[derive(Default)]
struct ActedUpon(HashMap<TableRef, Seen>);

impl ActedUpon {
    /// Puts a table into the queue if something changed that is acted upon. Our own writes of status are not.
    fn observe(&mut self, event: Event<DynamicObject>, all: &Store<DynamicObject>, queue: &Queue) {
        match event {
            Event::Apply(table) => {
                let key = ObjectRef::from_obj_with(&table, table_resource());
                let paused = table.annotations().get(names::PAUSED).cloned();
                let seen = (table.uid(), table.metadata.generation, paused);
                if self.0.insert(key.clone(), seen.clone()) != Some(seen) {
                    queue.send(key);
                }
            }
            Event::Delete(table) => {
                let key = ObjectRef::from_obj_with(&table, table_resource());
                self.0.remove(&key);
                queue.send(key);
            }
            // A new list: of what went while nobody watched no event says so.
            Event::InitDone => {
                self.0.retain(|table, _| all.get(table).is_some());
                queue.send_all(all);
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watches::tests::{filled, queue};

    fn table(uid: &str, generation: i64) -> DynamicObject {
        let metadata =
            json!({"name": "manuals", "namespace": "docs", "uid": uid, "generation": generation});
        let table =
            json!({"apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "metadata": metadata});
        serde_json::from_value(table).unwrap()
    }

    #[test]
    fn a_table_is_queued_when_its_spec_changes_and_not_for_its_status() {
        let (queue, mut queued) = queue();
        let all = filled(&table_resource(), vec![table("a", 1)]);
        let mut acted_upon = ActedUpon::default();
        acted_upon.observe(Event::Apply(table("a", 1)), &all, &queue);
        assert_eq!(queued.try_recv().unwrap().name, "manuals");
        acted_upon.observe(Event::Apply(table("a", 1)), &all, &queue);
        assert!(queued.try_recv().is_err());
        acted_upon.observe(Event::Apply(table("a", 2)), &all, &queue);
        assert!(queued.try_recv().is_ok());
        // A new list says nothing of what is acted upon, so all are queued.
        acted_upon.observe(Event::InitDone, &all, &queue);
        assert!(queued.try_recv().is_ok() && queued.try_recv().is_err());
    }

    #[test]
    fn a_table_that_was_made_anew_is_queued() {
        for is_listed_in_between in [true, false] {
            let (queue, mut queued) = queue();
            let none = filled(&table_resource(), Vec::new());
            let mut acted_upon = ActedUpon::default();
            acted_upon.observe(Event::Apply(table("a", 1)), &none, &queue);
            assert!(queued.try_recv().is_ok());
            if is_listed_in_between {
                acted_upon.observe(Event::Init, &none, &queue);
                acted_upon.observe(Event::InitDone, &none, &queue);
                assert!(acted_upon.0.is_empty());
            }
            acted_upon.observe(Event::Apply(table("b", 1)), &none, &queue);
            assert!(queued.try_recv().is_ok());
        }
    }
}
