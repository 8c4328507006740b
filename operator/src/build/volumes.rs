//! What pods mount, and where.
//!
//! ```text
//! /run/vdt               socket between server and front door, in memory                          both
//! /etc/vdt/tables        manifests                                                                both, read-only
//! /etc/vdt/admin         public keys of the admin API                                             sidecar, read-only
//! /etc/vdt/secrets/NAME  Secrets; configmap-NAME for ConfigMaps; optional, so that a missing one  each its own, read-only
//!                        keeps no pod from starting
//! /var/cache/vdt         disk tier of the cache                                                   sidecar
//! /var/lib/vdt           state of type Claim or Ephemeral                                         server
//! /mnt/claims/NAME       File sources; read-only on the *volume*: of a writable volume the        server, read-only
//!                        kubelet would change the group of every file
//! /scratch               temporary files                                                          server
//! ```

use serde_json::{Value, json};
use vdt_crds::{StateType, VolumeType};

use super::{Child, Kind, References, Server, config};
use crate::names;

pub(super) const RUN: &str = "/run/vdt";
/// In a folder that the server makes for itself: the volume's own is open to the pod's group.
pub(super) const SOCKET: &str = "/run/vdt/private/origin.sock";
pub(super) const TABLES: &str = "/etc/vdt/tables";
pub(super) const ADMIN: &str = "/etc/vdt/admin";
pub(super) const SECRETS: &str = "/etc/vdt/secrets";
pub(super) const CACHE: &str = "/var/cache/vdt";
pub(super) const STATE: &str = "/var/lib/vdt";
pub(super) const CLAIMS: &str = "/mnt/claims";
pub(super) const SCRATCH: &str = "/scratch";

/// Says whether the pods of a template, this version's or another one's, mount a ConfigMap.
pub(crate) fn mounts_config_map(template: &Value, name: &str) -> bool {
    let volumes = template["spec"]["volumes"].as_array();
    volumes.into_iter().flatten().any(|volume| {
        let projected = volume["projected"]["sources"].as_array();
        let mut sources = projected.into_iter().flatten().chain([volume]);
        sources.any(|source| source["configMap"]["name"] == name)
    })
}

/// Volumes of a pod and the mounts of its containers.
#[derive(Default)]
pub(super) struct Volumes {
    pub(super) volumes: Vec<Value>,
    pub(super) server: Vec<Value>,
    pub(super) sidecar: Vec<Value>,
    /// Volumes that go with the pod and must not keep an autoscaler from removing its node.
    pub(super) disposable: Vec<&'static str>,
}

impl Volumes {
    /// Returns the volumes of a server.
    pub(super) fn of(server: &Server<'_>, references: &References) -> Self {
        let mut all = Self::default();
        all.add_run();
        all.add_config(server);
        all.add_references(references);
        all.add_cache(server);
        all.add_state(server);
        all.empty_dir("scratch", json!({"sizeLimit": "1Gi"}));
        all.server.push(mount("scratch", SCRATCH));
        all
    }

    fn empty_dir(&mut self, name: &'static str, options: Value) {
        self.volumes
            .push(json!({"name": name, "emptyDir": options}));
        self.disposable.push(name);
    }

    fn add_run(&mut self) {
        self.empty_dir("run", json!({"medium": "Memory", "sizeLimit": "1Mi"}));
        self.server.push(mount("run", RUN));
        self.sidecar.push(mount("run", RUN));
    }

    fn add_config(&mut self, server: &Server<'_>) {
        let name = names::config(server.name);
        for (volume, key) in [("tables", config::MANIFESTS), ("admin", config::ADMIN_KEYS)] {
            let items = json!([{"key": key, "path": key}]);
            self.volumes
                .push(json!({"name": volume, "configMap": {"name": name, "items": items}}));
        }
        self.server.push(read_only("tables", TABLES));
        self.sidecar.push(read_only("tables", TABLES));
        self.sidecar.push(read_only("admin", ADMIN));
    }

    /// Each container sees what it needs: the front door no credentials of sources, the server no keys of readers.
    fn add_references(&mut self, references: &References) {
        for (index, name) in references.secrets().enumerate() {
            let volume = format!("secret-{index}");
            let source = json!({"secretName": name, "optional": true});
            self.volumes.push(json!({"name": volume, "secret": source}));
            let mount = read_only(&volume, &format!("{SECRETS}/{name}"));
            if references.source_secrets.contains(name) {
                self.server.push(mount.clone());
            }
            if references.front_secrets.contains(name) {
                self.sidecar.push(mount);
            }
        }
        for (index, name) in references.config_maps.iter().enumerate() {
            let volume = format!("configmap-{index}");
            let source = json!({"name": name, "optional": true});
            self.volumes
                .push(json!({"name": volume, "configMap": source}));
            self.server
                .push(read_only(&volume, &format!("{SECRETS}/configmap-{name}")));
        }
        for (index, name) in references.claims.iter().enumerate() {
            let volume = format!("claim-{index}");
            let source = json!({"claimName": name, "readOnly": true});
            self.volumes
                .push(json!({"name": volume, "persistentVolumeClaim": source}));
            self.server
                .push(read_only(&volume, &format!("{CLAIMS}/{name}")));
        }
    }

    fn add_cache(&mut self, server: &Server<'_>) {
        let disk = &server.spec.cache.disk;
        let name = names::CACHE_VOLUME;
        match disk.volume.kind {
            VolumeType::None => return,
            VolumeType::EmptyDir => {
                self.empty_dir(name, json!({"sizeLimit": disk.capacity.as_str()}));
            }
            VolumeType::EphemeralVolume => {
                let template = json!({
                    "metadata": {"labels": claim_labels(server, names::CLAIM_CACHE)},
                    "spec": claim_spec(disk.capacity.as_str(), disk.volume.storage_class_name.as_deref()),
                });
                self.volumes
                    .push(json!({"name": name, "ephemeral": {"volumeClaimTemplate": template}}));
            }
            // The StatefulSet adds the volume of its claim template.
            VolumeType::PersistentVolumeClaim => {}
        }
        self.sidecar.push(mount(name, CACHE));
    }

    fn add_state(&mut self, server: &Server<'_>) {
        let Some(state) = &server.spec.state else {
            return;
        };
        match state.kind {
            StateType::S3 | StateType::Gcs | StateType::Azure => return,
            StateType::Ephemeral => self.empty_dir("state", json!({})),
            StateType::Claim => {
                let given = state
                    .claim
                    .as_ref()
                    .and_then(|claim| claim.claim_name.clone());
                let name = given.unwrap_or_else(|| names::state_claim(server.name));
                self.volumes
                    .push(json!({"name": "state", "persistentVolumeClaim": {"claimName": name}}));
            }
        }
        self.server.push(mount("state", STATE));
    }
}

/// The claim of a state, unless the user brings one. It has no owner and no garbage collector: nothing but a person deletes it.
pub(super) fn state_claim(server: &Server<'_>) -> Option<Child> {
    let state = server.spec.state.as_ref()?;
    let claim = state.claim.as_ref()?;
    if state.kind != StateType::Claim || claim.claim_name.is_some() {
        return None;
    }
    let name = names::state_claim(server.name);
    let spec = claim_spec(
        claim.capacity().as_str(),
        claim.storage_class_name.as_deref(),
    );
    let mut child = Child::new(
        server,
        Kind::PersistentVolumeClaim,
        name,
        json!({"spec": spec}),
    );
    let metadata = &mut child.object["metadata"];
    metadata["labels"] = claim_labels(server, names::CLAIM_STATE);
    metadata["annotations"][names::ARGO_SYNC_OPTIONS] = names::ARGO_KEEPS.into();
    metadata
        .as_object_mut()
        .map(|metadata| metadata.remove("ownerReferences"));
    Some(child)
}

/// The claim templates of the StatefulSet.
pub(super) fn claim_templates(server: &Server<'_>) -> Value {
    let disk = &server.spec.cache.disk;
    if disk.volume.kind != VolumeType::PersistentVolumeClaim {
        return json!([]);
    }
    let spec = claim_spec(
        disk.capacity.as_str(),
        disk.volume.storage_class_name.as_deref(),
    );
    json!([{
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": names::CACHE_VOLUME, "labels": claim_labels(server, names::CLAIM_CACHE)},
        "spec": spec,
    }])
}

fn claim_labels(server: &Server<'_>, holds: &str) -> Value {
    let mut labels = names::labels(server.name);
    labels[names::CLAIM] = holds.into();
    labels
}

fn claim_spec(capacity: &str, class: Option<&str>) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": capacity}},
    });
    if let Some(class) = class {
        spec["storageClassName"] = class.into();
    }
    spec
}

fn mount(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path})
}

fn read_only(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path, "readOnly": true})
}
