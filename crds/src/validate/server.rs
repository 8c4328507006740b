//! Rules of the pods: state, access, cache, network.

use std::{collections::BTreeMap, net::IpAddr};

use super::{NOTHING, Profile, Rules, sentence, source, table::check_quantity};
use crate::{
    quantity, schema,
    spec::{
        Access, AccessMode, Cache, ContainerResources, NetworkPolicy, NetworkPolicyMode, Server,
        ServiceType, State, StateClaim, Tls, TlsMode, VolumeType, shapes,
    },
};

pub(super) fn check(server: &Server, rules: &mut Rules) {
    if rules.profile == Profile::Cluster {
        rules.require(
            server.state.is_some(),
            "spec.server.state",
            sentence::STATE_REQUIRED,
        );
        rules.require(
            server.access.is_some(),
            "spec.server.access",
            sentence::ACCESS_REQUIRED,
        );
    }
    let is_shared = server
        .state
        .as_ref()
        .is_none_or(|state| state.kind.is_shared());
    rules.demand(
        server.replicas <= 1 || is_shared,
        "spec.server.replicas",
        server.replicas,
        sentence::SHARED_STATE,
    );
    if let Some(state) = &server.state {
        check_state("spec.server.state", state, rules);
    }
    if let Some(access) = &server.access {
        check_access(access, rules);
    }
    check_cache(&server.cache, rules);
    check_tls(&server.tls, rules);
    check_policy(&server.network_policy, rules);
    if let Some(service) = &server.service {
        let fine = service.load_balancer_class.is_none()
            || service.kind == Some(ServiceType::LoadBalancer);
        let path = "spec.server.service.loadBalancerClass";
        rules.demand(
            fine,
            path,
            &service.load_balancer_class,
            sentence::LOAD_BALANCER_CLASS,
        );
    }
    check_keys(server, rules);
    if let Some(resources) = &server.resources {
        check_resources("server", resources.server.as_ref(), rules);
        check_resources("sidecar", resources.sidecar.as_ref(), rules);
    }
    if let Some(template) = &server.pod_template {
        for label in template.labels.keys() {
            let is_free = !label.starts_with("app.kubernetes.io/") && !label.starts_with("vdt.io/");
            rules.demand(
                is_free,
                "spec.server.podTemplate.labels",
                label,
                sentence::OPERATOR_LABELS,
            );
        }
        for variable in &template.env {
            rules.demand(
                !variable.is_reserved(),
                "spec.server.podTemplate.env",
                &variable.name,
                sentence::OPERATOR_ENV,
            );
        }
    }
}

/// A StatefulSet takes a request above its limit, and makes no pod of it. What the operator adds where one of the two is left out fits to the other.
fn check_resources(container: &str, resources: Option<&ContainerResources>, rules: &mut Rules) {
    let nanos = |amount: &str| quantity::nanos(amount).unwrap_or(u128::MAX);
    let Some(ContainerResources { requests, limits }) = resources else {
        return;
    };
    for (name, request) in requests {
        let limit = limits.get(name);
        rules.demand(
            limit.is_none_or(|limit| nanos(request) <= nanos(limit)),
            format!("spec.server.resources.{container}.requests"),
            request,
            sentence::REQUEST_OVER_LIMIT,
        );
    }
}

/// Keys of labels and annotations. The API server reads those of annotations without regard to case.
fn check_keys(server: &Server, rules: &mut Rules) {
    let mut check = |path: &str, map: &BTreeMap<String, String>, is_lowered: bool| {
        for key in map.keys() {
            let fine = match is_lowered {
                true => schema::matches(shapes::QUALIFIED_NAME, &key.to_ascii_lowercase()),
                false => schema::matches(shapes::QUALIFIED_NAME, key),
            };
            let path = format!("spec.server.{path}");
            rules.demand(fine, path, key, sentence::QUALIFIED_KEY);
        }
    };
    let (policy, monitoring) = (&server.network_policy, &server.monitoring);
    check("networkPolicy.clientLabels", &policy.client_labels, false);
    check("monitoring.labels", &monitoring.labels, false);
    if let Some(service) = &server.service {
        check("service.annotations", &service.annotations, true);
    }
    if let Some(template) = &server.pod_template {
        check("podTemplate.labels", &template.labels, false);
        check("podTemplate.annotations", &template.annotations, true);
        check("podTemplate.nodeSelector", &template.node_selector, false);
    }
}

fn check_state(path: &str, state: &State, rules: &mut Rules) {
    for (member, kind, is_set) in state.members() {
        let fine = is_set == (state.kind == kind);
        rules.demand(
            fine,
            format!("{path}.{member}"),
            NOTHING,
            sentence::branch(member, kind.as_str()),
        );
    }
    if let Some(s3) = &state.s3 {
        source::check_s3(&format!("{path}.s3"), s3, rules);
    }
    if let Some(gcs) = &state.gcs {
        source::check_gcs(&format!("{path}.gcs"), gcs, rules);
    }
    if let Some(azure) = &state.azure {
        source::check_azure(&format!("{path}.azure"), azure, rules);
    }
    if let Some(StateClaim {
        claim_name,
        capacity,
        storage_class_name,
    }) = &state.claim
    {
        if let Some(capacity) = capacity {
            check_quantity(
                &format!("{path}.claim.capacity"),
                capacity,
                "64Mi",
                None,
                rules,
            );
        }
        let is_ours = capacity.is_none() && storage_class_name.is_none();
        rules.demand(
            claim_name.is_none() || is_ours,
            format!("{path}.claim"),
            claim_name,
            sentence::CLAIM_MADE,
        );
    }
}

fn check_access(access: &Access, rules: &mut Rules) {
    let fine = (access.mode == AccessMode::Keys) != access.principals.is_empty();
    rules.demand(
        fine,
        "spec.server.access.principals",
        NOTHING,
        sentence::PRINCIPALS,
    );
}

fn check_cache(cache: &Cache, rules: &mut Rules) {
    check_quantity(
        "spec.server.cache.memory.capacity",
        &cache.memory.capacity,
        "16Mi",
        None,
        rules,
    );
    let (path, disk) = ("spec.server.cache.disk", &cache.disk);
    check_quantity(
        &format!("{path}.capacity"),
        &disk.capacity,
        "64Mi",
        None,
        rules,
    );
    let fine = disk.low_watermark_percent < disk.high_watermark_percent;
    rules.demand(
        fine,
        format!("{path}.lowWatermarkPercent"),
        disk.low_watermark_percent,
        sentence::WATERMARKS,
    );
    let volume = &disk.volume;
    let has_class = matches!(
        volume.kind,
        VolumeType::EphemeralVolume | VolumeType::PersistentVolumeClaim
    );
    let class = &volume.storage_class_name;
    rules.demand(
        class.is_none() || has_class,
        format!("{path}.volume.storageClassName"),
        class,
        sentence::VOLUME_CLASS,
    );
    let grace = volume.node_loss_grace_seconds;
    let fine = grace.is_none() || volume.kind == VolumeType::PersistentVolumeClaim;
    rules.demand(
        fine,
        format!("{path}.volume.nodeLossGraceSeconds"),
        grace,
        sentence::NODE_LOSS,
    );
}

fn check_policy(policy: &NetworkPolicy, rules: &mut Rules) {
    let path = "spec.server.networkPolicy";
    let is_restricted = policy.mode == NetworkPolicyMode::Restricted;
    for (field, is_empty) in [
        ("clientLabels", policy.client_labels.is_empty()),
        ("clientCIDRs", policy.client_cidrs.is_empty()),
        ("egressPorts", policy.egress_ports.is_empty()),
    ] {
        rules.demand(
            is_empty || is_restricted,
            format!("{path}.{field}"),
            NOTHING,
            sentence::restricted(field),
        );
    }
    for (index, cidr) in policy.client_cidrs.iter().enumerate() {
        let at = format!("{path}.clientCIDRs[{index}]");
        rules.demand(is_cidr(cidr), at, cidr, sentence::CIDR);
    }
}

/// An address, a slash and how many of its bits are the range's, with none set beyond; as the API server reads it (Go's `netip.ParsePrefix`).
fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    let is_plain = bits.to_string() == length;
    // The bits of both families, from the first one on.
    let (value, all) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => return false,
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    is_plain && bits <= all && value.checked_shl(bits).unwrap_or_default() == 0
}

fn check_tls(tls: &Tls, rules: &mut Rules) {
    let fine = (tls.mode == TlsMode::Secret) == tls.secret_ref.is_some();
    rules.demand(
        fine,
        "spec.server.tls.secretRef",
        NOTHING,
        sentence::TLS_SECRET,
    );
    let fine = (tls.mode == TlsMode::CertManager) == tls.issuer_ref.is_some();
    rules.demand(
        fine,
        "spec.server.tls.issuerRef",
        NOTHING,
        sentence::TLS_ISSUER,
    );
}

#[cfg(test)]
mod tests {
    use super::is_cidr;

    #[test]
    fn ranges_are_told_from_addresses_and_from_what_looks_like_one() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.2.3/32",
            "::/0",
            "fd00::/8",
            "fd00::1/128",
        ] {
            assert!(is_cidr(text), "{text}");
        }
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0/8",
            "10.0.0.1/8",
            "010.0.0.0/8",
            "fd00::/129",
            "fd00::1/8",
            "::ffff:10.0.0.0/104",
            "fe80::%eth0/64",
            "host/8",
        ] {
            assert!(!is_cidr(text), "{text}");
        }
    }
}
