//! By which proxy the API server is reached: by the one that kubectl would take.
//!
//! ```text
//! proxy-url of the kubeconfig                        always
//! HTTPS_PROXY, or HTTP_PROXY of a server without TLS  unless the server is this machine, or NO_PROXY covers it
//! ```
//!
//! Small letters do too. kube compares NO_PROXY with the proxy instead of with the server, so what it found is replaced by what is found here.
//! A pod's own account goes to the API server of its cluster, by no proxy.

use std::net::IpAddr;

use anyhow::Context;
use http::Uri;
use ipnet::IpNet;
use kube::config::{Cluster, KubeConfigOptions, Kubeconfig};

/// The cluster of the kubeconfig that the options choose, if it is one of it.
pub(crate) fn chosen<'a>(
    kubeconfig: &'a Kubeconfig,
    options: &KubeConfigOptions,
) -> Option<&'a Cluster> {
    let context = options.context.as_ref();
    let context = context.or(kubeconfig.current_context.as_ref())?;
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts
        .find(|one| one.name == *context)?
        .context
        .as_ref()?;
    let name = options.cluster.as_ref().unwrap_or(&context.cluster);
    let mut clusters = kubeconfig.clusters.iter();
    clusters.find(|one| one.name == *name)?.cluster.as_ref()
}

/// Returns the proxy for a server: `written` stands in the kubeconfig, `variable` reads the environment.
///
/// # Errors
/// What is written is no address of a proxy. It is not repeated: it may hold a password.
pub(crate) fn proxy_of(
    server: &Uri,
    written: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<Uri>> {
    if let Some(written) = written.filter(|written| !written.is_empty()) {
        return parse(written)
            .map(Some)
            .context("proxy-url of the kubeconfig");
    }
    let set = |name: &str| {
        let found = variable(name).filter(|value| !value.is_empty());
        found.or_else(|| variable(&name.to_lowercase()).filter(|value| !value.is_empty()))
    };
    let name = match server.scheme_str() {
        Some("http") => "HTTP_PROXY",
        _ => "HTTPS_PROXY",
    };
    let Some(proxy) = set(name) else {
        return Ok(None);
    };
    if is_here(server) || covers(&set("NO_PROXY").unwrap_or_default(), server) {
        return Ok(None);
    }
    parse(&proxy).map(Some).context(name)
}

/// The scheme of a proxy may be left out, and is http then. A proxy of SOCKS 5 is always asked for names.
fn parse(proxy: &str) -> anyhow::Result<Uri> {
    let proxy = match proxy.split_once("://") {
        None => format!("http://{proxy}"),
        Some(("socks5h", rest)) => format!("socks5://{rest}"),
        Some(_) => proxy.to_owned(),
    };
    let proxy: Uri = proxy.parse().context("is no address of a proxy")?;
    match proxy.scheme_str() {
        Some("http" | "https" | "socks5") => Ok(proxy),
        _ => anyhow::bail!("a proxy is reached by http, https or socks5"),
    }
}

fn host(server: &Uri) -> String {
    let host = server.host().unwrap_or_default().to_lowercase();
    host.trim_matches(['[', ']']).to_owned()
}

fn is_here(server: &Uri) -> bool {
    let host = host(server);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Reports whether a server is named by NO_PROXY: a list of names (with what lies below them; only what lies below, after a dot), addresses and ranges of
/// them, each with a port or for all ports; or `*`.
fn covers(no_proxy: &str, server: &Uri) -> bool {
    let host = host(server);
    let address: Option<IpAddr> = host.parse().ok();
    let port = server.port_u16().unwrap_or(match server.scheme_str() {
        Some("http") => 80,
        _ => 443,
    });
    no_proxy.split(',').any(|entry| {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return true;
        }
        if let Ok(range) = entry.parse::<IpNet>() {
            return address.is_some_and(|address| range.contains(&address));
        }
        let (name, only) = split_port(&entry);
        if name.is_empty() || only.is_some_and(|only| only != port) {
            return false;
        }
        if let Ok(named) = name.parse::<IpAddr>() {
            return address == Some(named);
        }
        let below = name.strip_prefix('*').unwrap_or(name);
        if below.starts_with('.') {
            return host.ends_with(below);
        }
        host == below || host.ends_with(&format!(".{below}"))
    })
}

/// Divides `name:port`; an address of IPv6 that has a port is in brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        None => (entry, None),
    };
    (name.trim_matches(['[', ']']), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_domains_addresses_and_ranges() {
        for (no_proxy, server, covered) in [
            ("", "https://api.corp.example", false),
            ("*", "https://api.corp.example", true),
            // kube wants the port to be named.
            ("corp.example", "https://api.corp.example:6443", true),
            ("corp.example", "https://corp.example:6443", true),
            ("corp.example", "https://acorp.example", false),
            (".corp.example", "https://api.corp.example:6443", true),
            (".corp.example", "https://corp.example", false),
            ("*.corp.example", "https://API.Corp.Example", true),
            (
                "api.corp.example:6443",
                "https://api.corp.example:6443",
                true,
            ),
            (
                "api.corp.example:443",
                "https://api.corp.example:6443",
                false,
            ),
            ("api.corp.example:443", "https://api.corp.example", true),
            ("a, ,10.0.0.0/8 ,", "https://10.96.0.1", true),
            ("10.0.0.0/8", "https://11.0.0.1", false),
            ("0.0.0.0/0", "https://11.0.0.1", true),
            ("10.0.0.0/33", "https://10.0.0.0", false),
            ("10.0.0.0/8", "https://api.corp.example", false),
            ("10.96.0.1", "https://10.96.0.1:6443", true),
            ("10.96.0.1:443", "https://10.96.0.1:6443", false),
            ("fd00::/8", "https://[fd12::1]:6443", true),
            ("fd12::1", "https://[fd12::1]:6443", true),
            ("[fd12::1]:6443", "https://[fd12::1]:6443", true),
            ("::/0", "https://10.96.0.1", false),
        ] {
            let found = covers(no_proxy, &server.parse().unwrap());
            assert_eq!(found, covered, "NO_PROXY={no_proxy} {server}");
        }
    }

    fn found(server: &str, written: Option<&str>, environment: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let mut all = environment.iter();
            all.find(|(one, _)| *one == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let proxy = proxy_of(&server.parse().unwrap(), written, variable).unwrap();
        proxy.map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_proxy_is_the_one_that_kubectl_takes() {
        let api = "https://api.corp.example:6443";
        let to = |uri: &str| Some(uri.to_owned());
        assert_eq!(found(api, None, &[]), None);
        let both = [
            ("HTTPS_PROXY", "http://one:3128"),
            ("https_proxy", "two:80"),
        ];
        assert_eq!(found(api, None, &both), to("http://one:3128/"));
        assert_eq!(found(api, None, &both[1..]), to("http://two:80/"));
        assert_eq!(found("http://api.corp.example", None, &both), None);
        assert_eq!(found("https://127.0.0.1:6443", None, &both), None);
        assert_eq!(found("https://[::1]:6443", None, &both), None);
        // A proxy among the addresses that need none is a proxy for all others.
        let near = [
            ("HTTPS_PROXY", "http://10.0.0.1:3128"),
            ("NO_PROXY", "10.0.0.0/8"),
        ];
        assert_eq!(found(api, None, &near), to("http://10.0.0.1:3128/"));
        assert_eq!(found("https://10.1.2.3", None, &near), None);
        // Who wrote it into the kubeconfig means this server.
        let written = Some("socks5h://127.0.0.1:1080");
        let none = [("NO_PROXY", "*")];
        assert_eq!(found(api, written, &none), to("socks5://127.0.0.1:1080/"));
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        let api: Uri = "https://api.corp.example".parse().unwrap();
        for proxy in ["http://me:secret@:bad port", "ftp://me:secret@proxy"] {
            let error = proxy_of(&api, Some(proxy), |_| None).unwrap_err();
            let said = format!("{error:#}");
            assert!(
                said.starts_with("proxy-url") && !said.contains("secret"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_cluster_is_the_contexts_or_the_one_that_is_named() {
        let kubeconfig = Kubeconfig::from_yaml(
            "{current-context: x, contexts: [{name: x, context: {cluster: a, user: u}}, {name: y, context: {cluster: b, user: u}}],\n \
             clusters: [{name: a, cluster: {server: 'https://a'}}, {name: b, cluster: {server: 'https://b', proxy-url: 'http://p'}}]}",
        )
        .unwrap();
        let of = |context: Option<&str>, cluster: Option<&str>| {
            let options = KubeConfigOptions {
                context: context.map(str::to_owned),
                cluster: cluster.map(str::to_owned),
                user: None,
            };
            chosen(&kubeconfig, &options).map(|cluster| cluster.server.clone().unwrap())
        };
        assert_eq!(of(None, None).as_deref(), Some("https://a"));
        assert_eq!(of(Some("y"), None).as_deref(), Some("https://b"));
        assert_eq!(of(None, Some("b")).as_deref(), Some("https://b"));
        assert_eq!(of(Some("z"), None), None);
    }
}
