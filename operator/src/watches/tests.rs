use serde_json::json;

use super::*;

fn filled(resource: &ApiResource, objects: Vec<DynamicObject>) -> Store<DynamicObject> {
    let mut writer = reflector::store::Writer::new(resource.clone());
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(object));
    }
    writer.as_reader()
}

impl Watches {
    /// Stores that hold these children and nothing else, and that nobody fills.
    pub(crate) fn of(children: Vec<(Kind, serde_json::Value)>) -> Self {
        let of_kind = |kind: Kind| {
            let objects = children
                .iter()
                .filter(|(other, _)| *other == kind)
                .map(|(_, object)| serde_json::from_value(object.clone()).unwrap())
                .collect();
            (kind, filled(&kind.resource(), objects))
        };
        Self {
            tables: filled(&table_resource(), Vec::new()),
            children: Kind::BUILT_IN.into_iter().map(of_kind).collect(),
            pods: filled(&pod_resource(), Vec::new()),
            nodes: Some(Arc::new(Nodes::default())),
            references: Arc::default(),
            queue: queue().0,
        }
    }
}

fn queue() -> (Queue, mpsc::UnboundedReceiver<TableRef>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let is_leading = Arc::new(AtomicBool::new(true));
    (Queue { sender, is_leading }, receiver)
}

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
    acted_upon.heed(Event::Apply(table("a", 1)), &all, &queue);
    assert_eq!(queued.try_recv().unwrap().name, "manuals");
    acted_upon.heed(Event::Apply(table("a", 1)), &all, &queue);
    assert!(queued.try_recv().is_err());
    acted_upon.heed(Event::Apply(table("a", 2)), &all, &queue);
    assert!(queued.try_recv().is_ok());
    // A new list says nothing of what is acted upon, so all are queued.
    acted_upon.heed(Event::InitDone, &all, &queue);
    assert!(queued.try_recv().is_ok() && queued.try_recv().is_err());
}

#[test]
fn a_table_that_was_made_anew_is_queued() {
    for is_listed_in_between in [true, false] {
        let (queue, mut queued) = queue();
        let none = filled(&table_resource(), Vec::new());
        let mut acted_upon = ActedUpon::default();
        acted_upon.heed(Event::Apply(table("a", 1)), &none, &queue);
        assert!(queued.try_recv().is_ok());
        if is_listed_in_between {
            acted_upon.heed(Event::Init, &none, &queue);
            acted_upon.heed(Event::InitDone, &none, &queue);
            assert!(acted_upon.0.is_empty());
        }
        acted_upon.heed(Event::Apply(table("b", 1)), &none, &queue);
        assert!(queued.try_recv().is_ok());
    }
}
