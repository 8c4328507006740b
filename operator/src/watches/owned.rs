//! Children and pods, found by their label: whatever happens to one of them puts its table into the queue, which is the one that owns it.

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher::{self, Event},
    },
};
use tokio::task::JoinSet;

use super::{
    Queue, config,
    kept::{pack, prune, prune_pod},
    table_ref,
};
use crate::names;

/// Watches objects of one kind.
pub(super) fn start(
    api: Api<DynamicObject>,
    resource: ApiResource,
    tables: Store<DynamicObject>,
    queue: Queue,
    tasks: &mut JoinSet<()>,
) -> Store<DynamicObject> {
    let writer = reflector::store::Writer::new(resource.clone());
    let store = writer.as_reader();
    let of = resource.clone();
    let config = config().labels(&format!("{}={}", names::MANAGED_BY, names::OPERATOR));
    let stream = watcher::watcher(api, config)
        .default_backoff()
        .modify(move |object| {
            prune(object, &of);
            match of.kind.as_str() {
                "Pod" => prune_pod(object),
                // Small, and looked at as a whole.
                "PersistentVolumeClaim" => {}
                _ => pack(object),
            }
        });
    tasks.spawn(async move {
        let mut stream = Box::pin(reflector::reflector(writer, stream));
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(object) | Event::Delete(object)) => {
                    if let Some(server) = server_of(&object) {
                        let namespace = object.namespace().unwrap_or_default();
                        queue.send(table_ref(server, &namespace));
                    }
                }
                // A new list: what went while nobody watched is not in it, and no event says so.
                Ok(Event::InitDone) => queue.send_all(&tables),
                Ok(Event::Init | Event::InitApply(_)) => {}
                Err(error) => tracing::warn!(
                    kind = resource.kind,
                    error = vdt_crds::chain(&error),
                    "a watch failed and is begun again"
                ),
            }
        }
    });
    store
}

/// The table that an object belongs to: the one that controls it, or whose StatefulSet does; by its label where nobody controls it. What has the labels and
/// is controlled by somebody else is nobody's: copies of pods, say.
fn server_of(object: &DynamicObject) -> Option<&str> {
    let labelled = names::server_of(object.metadata.labels.as_ref());
    let owners = object.metadata.owner_references.as_deref();
    let mut owners = owners.unwrap_or_default().iter();
    let Some(controller) = owners.find(|owner| owner.controller == Some(true)) else {
        return labelled;
    };
    let name = controller.name.as_str();
    match controller.kind.as_str() {
        vdt_crds::KIND => Some(name),
        "StatefulSet" if labelled == Some(name) => labelled,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_object_belongs_to_the_table_that_owns_it_whatever_its_label_says() {
        let of = |label: &str, controller: Option<(&str, &str)>| {
            let owner = |(kind, name)| json!({"apiVersion": "x/v1", "kind": kind, "name": name, "uid": "u", "controller": true});
            let owners: Vec<Value> = controller.map(owner).into_iter().collect();
            let metadata =
                json!({"name": "x", "labels": {names::INSTANCE: label}, "ownerReferences": owners});
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            server_of(&object).map(str::to_owned)
        };
        let (manuals, others) = (Some("manuals".to_owned()), Some(("VirtualTable", "others")));
        assert_eq!(of("manuals", Some(("VirtualTable", "manuals"))), manuals);
        assert_eq!(of("elsewhere", Some(("VirtualTable", "manuals"))), manuals);
        assert_eq!(of("manuals", others).as_deref(), Some("others"));
        assert_eq!(of("manuals", Some(("StatefulSet", "manuals"))), manuals);
        assert_eq!(of("manuals", Some(("StatefulSet", "others"))), None);
        assert_eq!(of("manuals", Some(("ReplicaSet", "manuals"))), None);
        // The claim of a state, and pods around which their StatefulSet is made anew.
        assert_eq!(of("manuals", None), manuals);
    }
}
