//! Stores and a queue as tests need them.

use kube::runtime::{reflector, watcher::Event};

use super::*;

/// A store that holds these objects and that nobody fills.
pub(crate) fn filled(resource: &ApiResource, objects: Vec<DynamicObject>) -> Store<DynamicObject> {
    let mut writer = reflector::store::Writer::new(resource.clone());
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
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
            undefined: Undefined::default(),
            queue: queue().0,
        }
    }

    /// Returns what is put into the queue from now on.
    pub(crate) fn heard(&mut self) -> mpsc::UnboundedReceiver<TableRef> {
        let (queue, heard) = queue();
        self.queue = queue;
        heard
    }
}

#[test]
fn pods_are_those_that_their_set_selects() {
    let seen = |name: &str, namespace: &str, labels: serde_json::Value| {
        let metadata = serde_json::json!({"name": name, "namespace": namespace, "labels": labels});
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
        serde_json::from_value(pod).unwrap()
    };
    let mut let_go = names::labels("t");
    let_go["app.kubernetes.io/component"] = "debug".into();
    let mut watches = Watches::of(Vec::new());
    let pods = vec![
        seen("t-0", "docs", names::labels("t")),
        seen("t-1", "docs", let_go),
        seen("t-2", "other", names::labels("t")),
        seen("u-0", "docs", names::labels("u")),
    ];
    watches.pods = filled(&pod_resource(), pods);
    let found = watches.pods_of("t", "docs");
    let found: Vec<String> = found.iter().map(|pod| pod.name_any()).collect();
    assert_eq!(found, ["t-0"]);
}

/// A queue that takes everything.
pub(super) fn queue() -> (Queue, mpsc::UnboundedReceiver<TableRef>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let is_leading = Arc::new(AtomicBool::new(true));
    let queue = Queue {
        sender,
        is_leading,
        work: WorkQueue::unread(),
    };
    (queue, receiver)
}
