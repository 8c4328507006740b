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
