//! What the NetworkPolicy admits.

use super::*;

/// The rules of the policy of `restricted-network` under an edit: who may come to the data port, and which ports are reached as (protocol, port).
fn policy(edit: impl FnOnce(&mut vdt_crds::Server)) -> (Value, Vec<(String, u64)>) {
    let mut table = example("restricted-network");
    edit(table.spec.server.as_mut().unwrap());
    let all = children(&table, &shipped(), None);
    let spec = &all.find(Kind::NetworkPolicy, "gnp").unwrap().object["spec"];
    let rules = spec["egress"].as_array().unwrap().iter();
    let ports = rules.flat_map(|rule| rule["ports"].as_array().unwrap());
    let reached = ports
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap().to_owned();
            (protocol, port["port"].as_u64().unwrap())
        })
        .collect();
    (spec["ingress"][0]["from"].clone(), reached)
}

#[test]
fn pods_reach_name_servers_sources_and_what_the_user_adds() {
    let ports = |edit: fn(&mut vdt_crds::Server)| {
        let (_, ports) = policy(edit);
        let (dns, others) = ports.split_at(4);
        for port in [53, 5353] {
            for protocol in ["UDP", "TCP"] {
                assert!(dns.contains(&(protocol.to_owned(), port)), "{dns:?}");
            }
        }
        assert!(
            others.iter().all(|(protocol, _)| protocol == "TCP"),
            "{others:?}"
        );
        others.iter().map(|(_, port)| *port).collect::<Vec<_>>()
    };
    // The source's, without an endpoint and with an ambient identity; then the proxy's, then the added one.
    assert_eq!(ports(|_| ()), [80, 443, 3128, 8443]);
    assert_eq!(
        ports(|server| {
            server.network_policy.egress_ports.clear();
            let env = &mut server.pod_template.as_mut().unwrap().env;
            env[0].name = "all_proxy".to_owned();
            env[0].value = Some("socks5://proxy".to_owned());
        }),
        [80, 443, 1080]
    );
    assert_eq!(
        ports(|server| {
            server.network_policy.egress_ports = vec![443, 9000];
            server.pod_template = None;
        }),
        [80, 443, 9000]
    );
    // S3 alone may have a proxy, and a service that buckets need not name.
    assert_eq!(
        ports(|server| {
            server.network_policy.egress_ports.clear();
            let env = &mut server.pod_template.as_mut().unwrap().env;
            env[0].name = "AWS_PROXY_URL".to_owned();
            env.push(vdt_crds::EnvVar {
                name: "AWS_ENDPOINT_URL".to_owned(),
                value: Some("http://store.example:9000/".to_owned()),
            });
        }),
        [80, 443, 3128, 9000]
    );
    // What gives credentials for an identity may listen anywhere.
    assert_eq!(
        ports(|server| {
            server.network_policy.egress_ports.clear();
            let env = &mut server.pod_template.as_mut().unwrap().env;
            env[0].name = "AWS_METADATA_ENDPOINT".to_owned();
            env[0].value = Some("http://169.254.169.254:1338".to_owned());
            env.push(vdt_crds::EnvVar {
                name: "AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(),
                value: Some("http://agent.kube-system:9911/role".to_owned()),
            });
        }),
        [80, 443, 1338, 9911]
    );
    // No proxy: one that is none, and a variable of another kind.
    assert_eq!(
        ports(|server| {
            server.network_policy.egress_ports.clear();
            let env = &mut server.pod_template.as_mut().unwrap().env;
            env[0].value = None;
            env.push(vdt_crds::EnvVar {
                name: "NO_PROXY".to_owned(),
                value: Some("host:81".to_owned()),
            });
        }),
        [80, 443]
    );
}

#[test]
fn what_pods_of_before_need_stays_open_until_they_are_gone() {
    let all = children(&example("restricted-network"), &shipped(), None);
    let policy = |all: &Children| all.find(Kind::NetworkPolicy, "gnp").unwrap().object.clone();
    let live = |egress: Value| json!({"spec": {"egress": egress}});
    let tcp = |port: Value| json!({"ports": [{"port": port, "protocol": "TCP"}]});
    let wanted = policy(&all);
    let mut kept = all.clone();
    kept.keep_open(&live(json!([
        tcp(53.into()),
        tcp(1080.into()),
        tcp(443.into())
    ])));
    let ports = |policy: &Value| {
        let [dns, outside] = policy["spec"]["egress"].as_array().unwrap().as_slice() else {
            panic!("{policy}");
        };
        assert_eq!(dns, &wanted["spec"]["egress"][0]);
        let ports = outside["ports"].as_array().unwrap().iter();
        ports
            .map(|port| port["port"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&wanted), [80, 443, 3128, 8443]);
    assert_eq!(ports(&policy(&kept)), [80, 443, 1080, 3128, 8443]);
    // It is sent, and the wanted one again when they are gone.
    let applied = |policy: &Value| policy["metadata"]["annotations"][names::APPLIED].clone();
    assert_ne!(applied(&policy(&kept)), applied(&wanted));
    let mut again = all.clone();
    again.keep_open(&policy(&kept));
    assert_eq!(again, kept);
    // What this version writes no rule of is not taken over.
    for egress in [
        json!(null),
        json!([{"to": [{"podSelector": {}}], "ports": [{"port": 1080, "protocol": "TCP"}]}]),
        json!([{}, tcp("http".into()), {"ports": [{"port": 1080, "protocol": "SCTP"}]}]),
        wanted["spec"]["egress"].clone(),
    ] {
        let mut same = all.clone();
        same.keep_open(&live(egress));
        assert_eq!(same, all);
    }
    // There is none to keep open.
    let mut none = children(&example("minimal"), &shipped(), None);
    let before = none.clone();
    none.keep_open(&policy(&kept));
    assert_eq!(none, before);
}

#[test]
fn clients_are_pods_and_ranges_of_addresses() {
    let (clients, _) = policy(|_| ());
    assert_eq!(
        clients,
        json!([
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"team": "data"}}},
            {"ipBlock": {"cidr": "10.20.0.0/16"}}, {"ipBlock": {"cidr": "fd00:20::/32"}},
        ])
    );
    let (clients, _) = policy(|server| {
        server.network_policy.client_cidrs.clear();
        server.network_policy.client_labels.clear();
    });
    assert_eq!(clients, json!([{"podSelector": {}}]));
}
