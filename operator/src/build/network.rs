//! Ways to the pods and who may take them: Services, the budget for evictions, NetworkPolicy, PodMonitor, Certificate.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vdt_crds::{
    IssuerKind, Location, NetworkPolicyMode, PodMonitor, ServiceType, TlsMode, TrafficDistribution,
    VirtualTable,
};

use super::{Child, Kind, Server, inputs::locations};
use crate::names;

/// Port of the data listener.
pub(crate) const DATA_PORT: u16 = 8080;
/// Port of the admin listener.
pub const ADMIN_PORT: u16 = 8081;
/// Ports of name servers: the usual one, and that of those which run without privilege (OpenShift's). A network that looks at traffic after the Service was
/// resolved sees the pod's port.
const DNS_PORTS: [u16; 2] = [53, 5353];
/// Variables by which the pods are told of proxies, in capitals or not.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "AWS_PROXY_URL"];
/// Variables by which they are told of services: that of buckets which name none, and those that give credentials for an identity.
const ENDPOINTS: [&str; 6] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL_STS",
    "AWS_METADATA_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// The headless Service that names pods. It has those that are not ready, too: who asks for a pod by name wants that one.
pub(super) fn peers(server: &Server<'_>) -> Child {
    let spec = json!({
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": names::selector(server.name),
        "ports": [data_port(), port("admin", ADMIN_PORT)],
    });
    Child::new(
        server,
        Kind::Service,
        names::peers(server.name),
        json!({"spec": spec}),
    )
}

/// The Service that readers use. The admin port is not on it.
pub(super) fn service(server: &Server<'_>) -> Child {
    let mut spec = json!({
        "selector": names::selector(server.name),
        "ports": [data_port()],
    });
    let wanted = server.spec.service.as_ref();
    let kind = match wanted.and_then(|service| service.kind) {
        None | Some(ServiceType::ClusterIP) => "ClusterIP",
        Some(ServiceType::NodePort) => "NodePort",
        Some(ServiceType::LoadBalancer) => "LoadBalancer",
    };
    spec["type"] = kind.into();
    if let Some(class) = wanted.and_then(|service| service.load_balancer_class.as_ref()) {
        spec["loadBalancerClass"] = class.as_str().into();
    }
    let distribution = server
        .spec
        .routing
        .as_ref()
        .and_then(|routing| routing.traffic_distribution);
    if let Some(distribution) = distribution {
        spec["trafficDistribution"] = match distribution {
            TrafficDistribution::PreferSameZone => "PreferSameZone",
            TrafficDistribution::PreferSameNode => "PreferSameNode",
        }
        .into();
    }
    let mut child = Child::new(server, Kind::Service, server.name, json!({"spec": spec}));
    for (name, value) in wanted.into_iter().flat_map(|service| &service.annotations) {
        child.object["metadata"]["annotations"][name] = value.as_str().into();
    }
    child
}

fn data_port() -> Value {
    port("data", DATA_PORT)
}

fn port(name: &str, number: u16) -> Value {
    json!({"name": name, "port": number, "targetPort": name, "protocol": "TCP"})
}

/// The budget for evictions. There is none below two replicas: it would block every drain. A pod that is not ready can always be evicted.
pub(super) fn disruption_budget(server: &Server<'_>) -> Option<Child> {
    (server.spec.replicas >= 2).then(|| {
        let spec = json!({
            "maxUnavailable": server.spec.disruption.max_unavailable,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names::selector(server.name)},
        });
        Child::new(
            server,
            Kind::PodDisruptionBudget,
            server.name,
            json!({"spec": spec}),
        )
    })
}

/// Clients to the data port, the operator and peers to both, pods to name servers and to the ports of sources, state and proxies, and to those that the user
/// adds.
pub(super) fn policy(server: &Server<'_>, tables: &[&VirtualTable]) -> Option<Child> {
    let policy = &server.spec.network_policy;
    if policy.mode == NetworkPolicyMode::None {
        return None;
    }
    let data = json!({"port": "data", "protocol": "TCP"});
    let admin = json!({"port": "admin", "protocol": "TCP"});
    let mut clients = vec![if policy.client_labels.is_empty() {
        json!({"podSelector": {}})
    } else {
        json!({"namespaceSelector": {}, "podSelector": {"matchLabels": policy.client_labels}})
    }];
    let ranges = policy.client_cidrs.iter();
    clients.extend(ranges.map(|cidr| json!({"ipBlock": {"cidr": cidr}})));
    let operator = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": server.shipped.namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "vdt", "app.kubernetes.io/component": "operator"}},
    });
    let own = json!({"podSelector": {"matchLabels": names::selector(server.name)}});
    let mut ingress = vec![
        json!({"from": clients, "ports": [data]}),
        json!({"from": [operator, own], "ports": [data, admin]}),
    ];
    if server.spec.monitoring.pod_monitor == PodMonitor::Enabled {
        // Only metrics and health answer without a token there.
        ingress.push(json!({"from": [{"namespaceSelector": {}}], "ports": [admin]}));
    }
    let spec = json!({
        "podSelector": {"matchLabels": names::selector(server.name)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress(&egress_ports(server, tables)),
    });
    Some(Child::new(
        server,
        Kind::NetworkPolicy,
        server.name,
        json!({"spec": spec}),
    ))
}

/// The way out: to name servers, and to these ports.
fn egress(ports: &BTreeSet<u16>) -> Vec<Value> {
    let to = |port: u16, protocol: &str| json!({"port": port, "protocol": protocol});
    let dns = DNS_PORTS.map(|port| [to(port, "UDP"), to(port, "TCP")]);
    let outside: Vec<Value> = ports.iter().map(|port| to(*port, "TCP")).collect();
    let mut egress = vec![json!({"ports": dns.concat()})];
    if !outside.is_empty() {
        egress.push(json!({"ports": outside}));
    }
    egress
}

/// Has a policy open what another one opens, beside its own. Returns whether that is more.
pub(super) fn keep_open(policy: &mut Value, other: &Value) -> bool {
    let own = opened(policy);
    let all: BTreeSet<u16> = own.union(&opened(other)).copied().collect();
    let is_more = all != own;
    if is_more {
        policy["spec"]["egress"] = egress(&all).into();
    }
    is_more
}

/// The ports that a policy opens as [`egress`] does, to every address, without those of name servers.
fn opened(policy: &Value) -> BTreeSet<u16> {
    let rules = policy["spec"]["egress"].as_array().into_iter().flatten();
    let to_all = rules.filter(|rule| rule["to"].is_null());
    let ports = to_all.flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
    let ports = ports.filter(|port| port["protocol"] == "TCP");
    let ports = ports.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    ports.filter(|port| !DNS_PORTS.contains(port)).collect()
}

/// Ports of everything that the server reaches. A policy cannot name hosts, only ports.
fn egress_ports(server: &Server<'_>, tables: &[&VirtualTable]) -> BTreeSet<u16> {
    let mut ports: BTreeSet<u16> = server
        .spec
        .network_policy
        .egress_ports
        .iter()
        .copied()
        .collect();
    ports.extend(told_ports(server));
    for location in locations(server, tables) {
        match location {
            Location::S3(_) | Location::Gcs(_) | Location::Azure(_) => {
                let is_ambient = location.credentials().is_none();
                ports.extend(bucket_ports(location.endpoint(), is_ambient));
            }
            // Artifacts lie anywhere the manifest says, on the usual ports.
            Location::Http(http) => ports.extend([80, 443, url_port(&http.url)]),
            Location::Inventory(inventory) => ports.extend([url_port(&inventory.url)]),
            Location::Postgres(postgres) => {
                ports.extend(u16::try_from(postgres.port.unwrap_or(5432)));
            }
            Location::File(_) => {}
        }
    }
    ports
}

/// An ambient identity comes from a service of the node or of the cloud, on 80 or 443.
fn bucket_ports(endpoint: Option<&str>, is_ambient: bool) -> Vec<u16> {
    let mut ports = vec![endpoint.map_or(443, url_port)];
    if is_ambient {
        ports.extend([80, 443]);
    }
    ports
}

/// Ports of the proxies and the services that the user tells the pods of.
fn told_ports(server: &Server<'_>) -> impl Iterator<Item = u16> {
    let template = server.spec.pod_template.as_ref();
    let variables = template.into_iter().flat_map(|template| &template.env);
    variables.filter_map(|variable| {
        let is = |name: &&str| variable.name.eq_ignore_ascii_case(name);
        let url = variable.value.as_deref().filter(|url| !url.is_empty())?;
        if PROXIES.iter().any(is) {
            Some(proxy_port(url))
        } else {
            ENDPOINTS.iter().any(is).then(|| url_port(url))
        }
    })
}

/// Returns the port of a proxy. Its scheme may be left out, and is http then.
fn proxy_port(url: &str) -> u16 {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    written_port(rest).unwrap_or(match scheme {
        "https" => 443,
        "socks4" | "socks4a" | "socks5" | "socks5h" => 1080,
        _ => 80,
    })
}

/// Returns the port of a URL; 443 where it says nothing else.
fn url_port(url: &str) -> u16 {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    written_port(rest).unwrap_or(if scheme == "http" { 80 } else { 443 })
}

/// The port that a URL without its scheme names.
fn written_port(rest: &str) -> Option<u16> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once(':')?.1.parse().ok()
}

/// A PodMonitor of the Prometheus operator, where it is asked for.
pub(super) fn pod_monitor(server: &Server<'_>) -> Option<Child> {
    let monitoring = &server.spec.monitoring;
    (monitoring.pod_monitor == PodMonitor::Enabled).then(|| {
        let spec = json!({
            "selector": {"matchLabels": names::selector(server.name)},
            // Without honorLabels: what a pod says of itself is not who it is.
            "podMetricsEndpoints": [{"port": "admin", "path": "/metrics"}],
        });
        let mut child = Child::new(server, Kind::PodMonitor, server.name, json!({"spec": spec}));
        for (name, value) in &monitoring.labels {
            if child.object["metadata"]["labels"][name].is_null() {
                child.object["metadata"]["labels"][name] = value.as_str().into();
            }
        }
        child
    })
}

/// A Certificate of cert-manager for both Services, where it is asked for.
pub(super) fn certificate(server: &Server<'_>) -> Option<Child> {
    let tls = &server.spec.tls;
    if tls.mode != TlsMode::CertManager {
        return None;
    }
    let issuer = tls.issuer_ref.as_ref()?;
    let (name, namespace) = (server.name, server.namespace);
    let peers = names::peers(name);
    let spec = json!({
        "secretName": names::certificate(name),
        "dnsNames": [
            name, format!("{name}.{namespace}"), format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.cluster.local"),
            format!("*.{peers}.{namespace}.svc"), format!("*.{peers}.{namespace}.svc.cluster.local"),
        ],
        "usages": ["digital signature", "key encipherment", "server auth"],
        "issuerRef": {
            "group": "cert-manager.io",
            "kind": match issuer.kind {
                IssuerKind::Issuer => "Issuer",
                IssuerKind::ClusterIssuer => "ClusterIssuer",
            },
            "name": issuer.name,
        },
    });
    let certificate = names::certificate(name);
    Some(Child::new(
        server,
        Kind::Certificate,
        certificate,
        json!({"spec": spec}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_urls_and_proxies() {
        for (url, port) in [
            ("http://s3.local", 80),
            ("https://s3.local/x:1", 443),
            ("https://[fd00::1]", 443),
            ("http://[fd00::1]:9000/", 9000),
            ("s3://bucket/manifest", 443),
        ] {
            assert_eq!(url_port(url), port, "{url}");
        }
        for (url, port) in [
            ("http://proxy:3128", 3128),
            ("proxy:3128", 3128),
            ("proxy", 80),
            ("https://me:80@proxy/", 443),
            ("http://me:secret@proxy:8888", 8888),
            ("socks5h://proxy", 1080),
        ] {
            assert_eq!(proxy_port(url), port, "{url}");
        }
    }
}
