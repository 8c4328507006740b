//! Rules of the pods: who may read, state, cache, network.

use super::{Rule, Rules, anonymous, branch, bucket, quantity};
use crate::{
    spec::{StateClaim, StateType, shapes},
    validate::sentence,
};

pub(super) fn server() -> Rules {
    vec![
        (
            "spec.server".into(),
            vec![
                Rule::new("has(self.state)", sentence::STATE_REQUIRED).required().at("state"),
                Rule::new("has(self.access)", sentence::ACCESS_REQUIRED).required().at("access"),
                Rule::new(
                    "!has(self.replicas) || self.replicas <= 1 || !has(self.state) || self.state.type in ['S3','GCS','Azure']",
                    sentence::SHARED_STATE,
                )
                .at("replicas"),
            ],
        ),
        (
            "spec.server.access".into(),
            vec![
                Rule::new(
                    "(self.mode == 'Keys') == (has(self.principals) && self.principals.size() > 0)",
                    sentence::PRINCIPALS,
                )
                .at("principals"),
            ],
        ),
        (
            "spec.server.tls".into(),
            vec![
                Rule::new(
                    "has(self.mode) && self.mode == 'Secret' ? has(self.secretRef) : !has(self.secretRef)",
                    sentence::TLS_SECRET,
                )
                .at("secretRef"),
                Rule::new(
                    "has(self.mode) && self.mode == 'CertManager' ? has(self.issuerRef) : !has(self.issuerRef)",
                    sentence::TLS_ISSUER,
                )
                .at("issuerRef"),
            ],
        ),
        (
            "spec.server.networkPolicy".into(),
            ["clientLabels", "clientCIDRs", "egressPorts"].map(restricted).into(),
        ),
        (
            "spec.server.networkPolicy.clientCIDRs[]".into(),
            vec![Rule::new(
                "isCIDR(self) && cidr(self) == cidr(self).masked()",
                sentence::CIDR,
            )],
        ),
        (
            "spec.server.service".into(),
            vec![
                Rule::new(
                    "!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')",
                    sentence::LOAD_BALANCER_CLASS,
                )
                .at("loadBalancerClass"),
                Rule::new(
                    "!has(self.type) || !has(oldSelf.type) || self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass)",
                    sentence::LOAD_BALANCER_CLASS_CHANGED,
                )
                .at("loadBalancerClass"),
            ],
        ),
        (
            "spec.server.podTemplate".into(),
            vec![
                Rule::new(
                    "!has(self.labels) || !self.labels.exists(k, k.startsWith('app.kubernetes.io/') || k.startsWith('vdt.io/'))",
                    sentence::OPERATOR_LABELS,
                )
                .at("labels"),
                Rule::new(
                    "!has(self.env) || !self.env.exists(v, v.name == 'VDT_CLAIMS_DIR' || v.name.startsWith('VDT_STATE'))",
                    sentence::OPERATOR_ENV,
                )
                .at("env"),
            ],
        ),
    ]
}

/// A field that is for a policy, and so for the mode that makes one.
fn restricted(field: &str) -> Rule {
    let rule = format!("!has(self.{field}) || (has(self.mode) && self.mode == 'Restricted')");
    Rule::new(rule, sentence::restricted(field)).at(field)
}

/// The pods' own: CPU and memory, labels and annotations.
pub(super) fn pods() -> Rules {
    let fits = |container: &str| {
        let rule = Rule::new(
            "!has(self.requests) || !has(self.limits) || self.requests.all(r, !(r in self.limits) || !isQuantity(self.requests[r]) || !isQuantity(self.limits[r]) || quantity(self.requests[r]).compareTo(quantity(self.limits[r])) <= 0)",
            sentence::REQUEST_OVER_LIMIT,
        );
        let path = format!("spec.server.resources.{container}");
        (path, vec![rule.at("requests")])
    };
    let keys = |path: &str, key: &str| {
        // A backslash stands for itself in a raw string.
        let pattern = shapes::QUALIFIED_NAME;
        let rule = format!("self.all(k, {key}.matches(r'{pattern}'))");
        let path = format!("spec.server.{path}");
        (path, vec![Rule::new(rule, sentence::QUALIFIED_KEY)])
    };
    vec![
        fits("server"),
        fits("sidecar"),
        keys("networkPolicy.clientLabels", "k"),
        keys("monitoring.labels", "k"),
        keys("service.annotations", "k.lowerAscii()"),
        keys("podTemplate.labels", "k"),
        keys("podTemplate.annotations", "k.lowerAscii()"),
        keys("podTemplate.nodeSelector", "k"),
    ]
}

pub(super) fn state() -> Rules {
    let same = |field: &str| {
        Rule::new(
            format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"),
            sentence::state_moved(field),
        )
        .at(field)
    };
    let capacity = |of: &str| {
        let default = StateClaim::CAPACITY;
        format!("has({of}.capacity) && isQuantity({of}.capacity) ? {of}.capacity : '{default}'")
    };
    let members = [
        ("s3", StateType::S3),
        ("gcs", StateType::Gcs),
        ("azure", StateType::Azure),
        ("claim", StateType::Claim),
    ];
    let branches = members.map(|(member, kind)| branch(member, kind.as_str()));
    let mut rules = vec![
        ("spec.server.state".into(), branches.into()),
        (
            "spec.server.state.type".into(),
            vec![Rule::new("self == oldSelf", sentence::STATE_TYPE_CHANGED)],
        ),
        (
            "spec.server.state.claim".into(),
            vec![
                same("claimName"),
                same("storageClassName"),
                Rule::new(
                    format!(
                        "quantity({}).compareTo(quantity({})) >= 0",
                        capacity("self"),
                        capacity("oldSelf")
                    ),
                    sentence::CAPACITY_SHRUNK,
                )
                .at("capacity"),
                Rule::new(
                    "!has(self.claimName) || !has(self.capacity) && !has(self.storageClassName)",
                    sentence::CLAIM_MADE,
                ),
            ],
        ),
        (
            "spec.server.state.claim.capacity".into(),
            quantity("64Mi", None),
        ),
    ];
    for (member, fields) in [
        ("s3", &["bucket", "prefix"][..]),
        ("gcs", &["bucket", "prefix"]),
        ("azure", &["account", "container", "prefix"]),
    ] {
        let path = format!("spec.server.state.{member}");
        let mut own = vec![anonymous()];
        own.extend(fields.iter().map(|field| same(field)));
        rules.push((path.clone(), own));
        rules.extend(bucket(&path));
    }
    rules
}

pub(super) fn cache() -> Rules {
    let both_claims = "!has(self.volume) || !has(oldSelf.volume) || !has(self.volume.type) || !has(oldSelf.volume.type) || self.volume.type != 'PersistentVolumeClaim' || oldSelf.volume.type != 'PersistentVolumeClaim'";
    vec![
        ("spec.server.cache.memory.capacity".into(), quantity("16Mi", None)),
        ("spec.server.cache.disk.capacity".into(), quantity("64Mi", None)),
        (
            "spec.server.cache.disk".into(),
            vec![
                Rule::new(
                    "!has(self.lowWatermarkPercent) || !has(self.highWatermarkPercent) || self.lowWatermarkPercent < self.highWatermarkPercent",
                    sentence::WATERMARKS,
                )
                .at("lowWatermarkPercent"),
                Rule::new(
                    format!("{both_claims} || !isQuantity(self.capacity) || !isQuantity(oldSelf.capacity) || quantity(self.capacity).compareTo(quantity(oldSelf.capacity)) >= 0"),
                    sentence::CAPACITY_SHRUNK,
                )
                .at("capacity"),
                Rule::new(
                    format!("{both_claims} || has(self.volume.storageClassName) == has(oldSelf.volume.storageClassName) && (!has(self.volume.storageClassName) || self.volume.storageClassName == oldSelf.volume.storageClassName)"),
                    sentence::CLASS_CHANGED,
                )
                .at("volume.storageClassName"),
            ],
        ),
        (
            "spec.server.cache.disk.volume".into(),
            vec![
                Rule::new(
                    "!has(self.type) || self.type in ['EphemeralVolume','PersistentVolumeClaim'] || !has(self.storageClassName)",
                    sentence::VOLUME_CLASS,
                )
                .at("storageClassName"),
                Rule::new(
                    "!has(self.nodeLossGraceSeconds) || (has(self.type) && self.type == 'PersistentVolumeClaim')",
                    sentence::NODE_LOSS,
                )
                .at("nodeLossGraceSeconds"),
            ],
        ),
    ]
}
