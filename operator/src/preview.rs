//! What would follow from a change of a table: the pure stages of a look, run on what its namespace shows. Nothing is written.
//!
//! ```text
//! before, after, what is there --validate--> refused, or
//!                              --build-----> children that come and go, the pod template --rollout--> pods that are replaced, or changed in place
//! ```
//!
//! The images that the operator brings along are not in the resource: they are taken from the template that is there. So a preview is of the operator
//! that rendered it; where a newer one renders the next template, pods move to its images too. Where the resource names an image, the template has that
//! one, and what the operator would bring along is not known.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use vdt_crds::VirtualTable;

use crate::{
    apply::{
        claim_templates_differ,
        rollout::{self, PodView, Step},
    },
    args::{SERVER_IMAGE, SIDECAR_IMAGE},
    build::{self, Children, Kind, Rendered, Shipped},
    dereference,
    held::Held,
    names, validate,
};

/// Objects of a table's namespace as the API gives them.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Its StatefulSet.
    pub stateful_set: Option<Value>,
    /// The ConfigMap [`Live::config_name`].
    pub config: Option<Value>,
    /// Its pods, found by [`Live::selector`].
    pub pods: Vec<Value>,
}

impl Live {
    /// Name of the ConfigMap with what the pods are told.
    #[must_use]
    pub fn config_name(table: &str) -> String {
        names::config(table)
    }

    /// Selects the pods of a table, as `kubectl --selector` takes it.
    #[must_use]
    pub fn selector(table: &str) -> String {
        names::selector_text(table)
    }

    fn rendered(&self) -> Option<Rendered> {
        self.stateful_set.as_ref().and_then(Rendered::of)
    }

    /// What the operator brings along, as far as the template that is there tells; `before` is what it was rendered from.
    fn shipped(&self, before: Option<&VirtualTable>) -> Shipped {
        let template = self.rendered().map(|rendered| rendered.template);
        let of = |list: &str, name: &str, field: &str| {
            let containers = template.as_ref()?["spec"][list].as_array()?;
            let found = containers.iter().find(|one| one["name"] == name)?;
            found[field].as_str().map(str::to_owned)
        };
        let named = named_images(before);
        let image = |list, name, default: &str| match named.contains(&name) {
            true => UNKNOWN_IMAGE.to_owned(),
            false => of(list, name, "image").unwrap_or_else(|| default.to_owned()),
        };
        let keys = self.config.as_ref();
        let keys = keys.and_then(|config| config["data"][build::ADMIN_KEYS].as_str());
        Shipped {
            server_image: image("initContainers", names::SERVER, SERVER_IMAGE),
            sidecar_image: image("containers", names::SIDECAR, SIDECAR_IMAGE),
            pull_policy: of("containers", names::SIDECAR, "imagePullPolicy"),
            assign_ids: build::assigns_ids(template.as_ref(), before),
            admin_keys: keys.unwrap_or_default().to_owned(),
            // It admits the operator to the pods: a NetworkPolicy's content, which a preview does not show.
            namespace: String::new(),
            operator: String::new(),
        }
    }
}

/// Stands for the image that the operator brings along where nothing tells which. No image is called so, so the template is another one.
const UNKNOWN_IMAGE: &str = "(the operator's own)";

/// Containers whose image a resource names.
fn named_images(table: Option<&VirtualTable>) -> Vec<&'static str> {
    let server = table.and_then(|table| table.spec.server.as_ref());
    let images = server.and_then(|server| server.images.as_ref());
    let of = |image: fn(&vdt_crds::Images) -> Option<&String>| images.and_then(image).is_some();
    let mut named = Vec::new();
    if of(|images| images.server.as_ref()) {
        named.push(names::SERVER);
    }
    if of(|images| images.sidecar.as_ref()) {
        named.push(names::SIDECAR);
    }
    named
}

/// Why the operator would not act upon a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Reason of the conditions.
    pub reason: &'static str,
    /// Message; names the field.
    pub message: String,
}

/// What would follow.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The operator would refuse it, and change nothing.
    pub refused: Option<Refused>,
    /// Changes are stopped (`Suspended`, `Paused`): all below waits.
    pub held: Option<&'static str>,
    /// Pods that are wanted now; none where there is no StatefulSet.
    pub replicas_before: Option<u32>,
    /// Pods that would be wanted.
    pub replicas_after: u32,
    /// Pods that would be replaced, in this order.
    pub replaced: Vec<String>,
    /// Pods whose CPU and memory would be changed in place.
    pub resized: Vec<String>,
    /// Running pods would be told of other manifests, and read them.
    pub told: bool,
    /// Pods that may be away at once.
    pub max_unavailable: u32,
    /// The StatefulSet would be made anew around its pods: claim templates cannot be changed.
    pub set_anew: bool,
    /// Children that would be made: kind and name.
    pub created: Vec<String>,
    /// Children that would be deleted.
    pub deleted: Vec<String>,
    /// Containers whose image would be the operator's own, which is not known here: their pods count as replaced.
    pub unknown_images: Vec<&'static str>,
    /// Secrets, ConfigMaps and claims that the pods would mount and do not yet.
    pub mounted: Vec<String>,
    /// The pod template that is there.
    #[serde(skip)]
    pub template_before: Value,
    /// The one that would be.
    #[serde(skip)]
    pub template_after: Value,
}

/// Says what follows when `before` (none: it is new) becomes `after`, a table that the API server takes.
#[must_use]
pub fn preview(before: Option<&VirtualTable>, after: &VirtualTable, live: &Live) -> Preview {
    let refused = |refusal: validate::Refusal| Preview {
        refused: Some(Refused {
            reason: refusal.reason,
            message: refusal.message,
        }),
        ..Preview::default()
    };
    let acted_upon = |table: &VirtualTable| validate::acted_upon(table.clone());
    let (before, after) = (before.map(acted_upon), acted_upon(after));
    let (before, after) = (before.as_ref(), &after);
    if let Some(refusal) = validate::check(after) {
        return refused(refusal);
    }
    let name = after.metadata.name.as_deref().unwrap_or_default();
    let set = live.stateful_set.as_ref();
    if let Some(refusal) = set.and_then(|last| validate::check_template(name, last)) {
        return refused(refusal);
    }
    let Some(spec) = &after.spec.server else {
        return Preview::default(); // a table that is valid for a cluster has one
    };
    let replicas = set.and_then(|set| set["spec"]["replicas"].as_u64());
    let replicas_before = replicas.and_then(|replicas| u32::try_from(replicas).ok());
    // Claims are not read here: a table that sleeps may have some.
    let caches = replicas_before.unwrap_or_default() as usize;
    if let Some(refusal) = validate::check_caches(spec, set.unwrap_or(&Value::Null), caches) {
        return refused(refusal);
    }
    let shipped = live.shipped(before);
    let mut unknown_images = named_images(before);
    let still = named_images(Some(after));
    unknown_images.retain(|name| !still.contains(name));
    let wanted = children(after, spec, &shipped, live);
    let had = before.and_then(|before| {
        let spec = before.spec.server.as_ref()?;
        Some(children(before, spec, &shipped, live))
    });
    let template_after = wanted.template().clone();
    let resources = rollout::resources(&template_after["spec"]);
    let pods = live.pods.iter();
    // One that its StatefulSet has still to take in is replaced after that.
    let is_controlled = true;
    let views: Vec<PodView> = pods
        .filter_map(|pod| PodView::of(name, pod))
        .map(|pod| PodView {
            is_controlled,
            ..pod
        })
        .collect();
    let target = rollout::Target {
        replicas: spec.replicas,
        // All of them, one after the other.
        max_unavailable: spec.replicas,
        template_hash: &wanted.template_hash,
        // Nobody asks them here.
        restarts: &BTreeSet::new(),
        // Whether a cluster or a node refuses is seen when it is asked.
        resources: &resources,
        has_claims: wanted.has_claims(),
        now: Timestamp::now(),
    };
    let (mut replaced, mut resized) = (Vec::new(), Vec::new());
    for step in rollout::plan(&target, &views).steps {
        match step {
            Step::Replace { name, .. } => replaced.push(name),
            Step::Resize { name, .. } => resized.push(name),
        }
    }
    let told = live.config.as_ref().map(|live| build::hash(&live["data"]));
    Preview {
        refused: None,
        held: Held::of(&after.metadata, after.spec.suspend).map(Held::reason),
        replicas_before,
        replicas_after: spec.replicas,
        told: replaced.is_empty()
            && !views.is_empty()
            && told.is_some_and(|hash| hash != wanted.config_hash),
        replaced,
        resized,
        max_unavailable: spec.rollout.max_unavailable,
        set_anew: wanted
            .stateful_set()
            .zip(set)
            .is_some_and(|(wanted, live)| claim_templates_differ(&wanted.object, live)),
        created: beyond(Some(&wanted), had.as_ref()),
        deleted: beyond(had.as_ref(), Some(&wanted)),
        unknown_images,
        mounted: mounted(&wanted, had.as_ref()),
        template_before: set.map_or(Value::Null, |set| set["spec"]["template"].clone()),
        template_after,
    }
}

fn children(
    table: &VirtualTable,
    spec: &vdt_crds::Server,
    shipped: &Shipped,
    live: &Live,
) -> Children {
    let server = build::Server {
        namespace: table.namespace(),
        name: table.metadata.name.as_deref().unwrap_or_default(),
        spec,
        owner: json!({}),
        shipped,
        rendered: live.rendered(),
    };
    build::build(&server, &[table])
}

/// Children of `these` that `those` lack. A state's claim is never deleted, so it is never beyond.
fn beyond(these: Option<&Children>, those: Option<&Children>) -> Vec<String> {
    let children = these.into_iter().flat_map(|these| &these.objects);
    children
        .filter(|child| {
            let has = |those: &Children| those.find(child.kind, &child.name).is_some();
            !those.is_some_and(has)
                && (those.is_none() || child.kind != Kind::PersistentVolumeClaim)
        })
        .map(|child| format!("{} {}", child.kind.as_str(), child.name))
        .collect()
}

fn mounted(wanted: &Children, had: Option<&Children>) -> Vec<String> {
    let had = had.map(|had| dereference::names(&had.references));
    dereference::names(&wanted.references)
        .into_iter()
        .filter(|one| !had.as_ref().is_some_and(|had| had.contains(one)))
        .map(|(kind, name)| format!("{kind} {name}"))
        .collect()
}
