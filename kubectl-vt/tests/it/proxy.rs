//! A proxy between: the environment's, the kubeconfig's, and those that are not to be taken.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::json;

use crate::{Fake, command};

/// Names of proxies that the environment of the tests may have.
const VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
];
/// Nobody listens there.
const DEAD: &str = "http://127.0.0.1:9";

/// A proxy that leads every name to one port of this machine, and tells which it was asked for. It lives as long as the tests do.
struct Proxy {
    url: String,
    asked: Receiver<String>,
}

impl Proxy {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = channel();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, tell) = (client.unwrap(), tell.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(client);
                    let mut lines = Vec::new();
                    loop {
                        let mut line = String::new();
                        reader.read_line(&mut line).unwrap();
                        if line.trim_end().is_empty() {
                            break;
                        }
                        lines.push(line.trim_end().to_owned());
                    }
                    let _ = tell.send(lines[0].clone());
                    let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    let mut client = reader.get_ref().try_clone().unwrap();
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                    let (mut from, mut into) = (server.try_clone().unwrap(), server);
                    thread::spawn(move || std::io::copy(&mut from, &mut client));
                    let _ = std::io::copy(&mut reader, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Write);
                });
            }
        });
        Self { url, asked }
    }
}

/// Runs with these variables and no others of proxies; returns whether it succeeded, and what it said.
fn run_with(fake: &Fake, environment: &[(&str, &str)], args: &[&str]) -> (bool, String) {
    let mut command = command(fake, args);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_api_server_and_ports_of_pods_are_reached_through_a_proxy() {
    let fake = Fake::start();
    let proxy = Proxy::to(fake.port);
    // A name that only the proxy knows.
    fake.known_as(json!({"server": "http://api.corp.example:6443"}));
    for environment in [
        &[("HTTP_PROXY", proxy.url.as_str())][..],
        &[
            ("http_proxy", proxy.url.trim_start_matches("http://")),
            ("NO_PROXY", "127.0.0.0/8,corp.example:443"),
        ],
    ] {
        let (succeeded, said) = run_with(
            &fake,
            environment,
            &["top", "manuals", "--request-timeout=2"],
        );
        assert!(succeeded && said.contains("256Mi 50.0%"), "{said}");
        // The list of pods, and then their ports.
        let asked: Vec<String> = proxy.asked.try_iter().collect();
        assert!(asked.len() > 2, "{asked:?}");
        assert!(
            asked
                .iter()
                .all(|line| line == "CONNECT api.corp.example:6443 HTTP/1.1"),
            "{asked:?}"
        );
    }
    let (succeeded, said) = run_with(&fake, &[], &["status", "--no-pods"]);
    assert!(!succeeded, "{said}");

    fake.known_as(json!({"server": "http://api.corp.example:6443", "proxy-url": proxy.url}));
    // As kubectl does: a server's own proxy is taken whatever NO_PROXY says.
    let (succeeded, said) = run_with(&fake, &[("NO_PROXY", "*")], &["status", "--no-pods"]);
    assert!(succeeded, "{said}");
}

#[test]
fn what_no_proxy_covers_is_reached_directly() {
    let fake = Fake::start();
    let dead = [("HTTPS_PROXY", DEAD), ("HTTP_PROXY", DEAD)];
    let with = |no_proxy: &'static str| [dead[0], dead[1], ("NO_PROXY", no_proxy)];
    // This machine needs no proxy.
    let (succeeded, said) = run_with(&fake, &dead, &["status", "--no-pods"]);
    assert!(succeeded, "{said}");
    // This machine under an address that is not one of its own.
    fake.known_as(json!({"server": format!("http://0.0.0.0:{}", fake.port)}));
    let (succeeded, said) = run_with(&fake, &with("0.0.0.0/8"), &["status", "--no-pods"]);
    assert!(succeeded, "{said}");
    // The proxy is among what is covered, the server is not.
    let args = ["status", "--no-pods", "--request-timeout=2"];
    let (succeeded, said) = run_with(&fake, &with("127.0.0.1"), &args);
    assert!(!succeeded, "{said}");
}
