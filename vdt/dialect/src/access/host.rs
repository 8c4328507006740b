//! The host that a request names: a name that this machine alone has, or one that anybody can give it.
//!
//! A foreign name that resolves to loopback (DNS rebinding) makes a browser take a server of this machine for the site that it shows, and gives every
//! answer to that site. So whoever lets this machine in without credentials looks at the name: the admin listener always, the data listener
//! where [`OwnNames`] are required. The name tells nothing of who asks, only whom a browser would show the answer to.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::header::HOST;
use ::http::uri::Authority;
use ::http::{HeaderMap, Uri};

/// Characters of a foreign host that are shown. A name of DNS has at most 253.
const SHOWN_MAX: usize = 80;

/// The host that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// None. No browser asks so.
    Absent,
    /// `localhost` or a loopback address. The port, if there is one, is the client's business: it may be forwarded.
    Own(&'a str),
    /// Any other, several, or something that is no host.
    Foreign(&'a [u8]),
}

impl<'a> Host<'a> {
    /// Reads `Host`, or over HTTP/2 the authority in its place.
    pub(crate) fn of(uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        let mut named = headers.get_all(HOST).iter();
        let host = match named.next() {
            Some(host) => host.as_bytes(),
            None => match uri.authority() {
                Some(authority) => authority.as_str().as_bytes(),
                None => return Self::Absent,
            },
        };
        match std::str::from_utf8(host) {
            Ok(text) if named.next().is_none() && is_own(text) => Self::Own(text),
            _ => Self::Foreign(host),
        }
    }
}

fn is_own(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    let own = name.eq_ignore_ascii_case("localhost")
        || literal
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    own && !host.contains('@')
}

/// What somebody is told who asks the data listener by a foreign name. Safe in text and in XML.
pub(crate) fn foreign(host: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]%@".contains(byte);
    let mut shown: String = host
        .iter()
        .take(SHOWN_MAX)
        .map(|byte| if plain(byte) { char::from(*byte) } else { '?' })
        .collect();
    if host.len() > SHOWN_MAX {
        shown += "...";
    }
    format!(
        "Host is \"{shown}\", which is no name of this machine alone, and no manifest says who may read: ask for localhost or a loopback address, or write spec.server.access into the manifest (mode Anonymous if everybody may read, by any name), or give --allow-anonymous"
    )
}

/// Whether requests without credentials must name this machine, or no host at all. Shared with the surface, and changed from outside.
#[derive(Debug, Default)]
pub struct OwnNames {
    required: AtomicBool,
}

impl OwnNames {
    /// Says so, for all requests that begin from now on.
    pub fn require(&self, required: bool) {
        self.required.store(required, Ordering::Release);
    }

    /// Reports what was said last; false at first.
    pub fn are_required(&self) -> bool {
        self.required.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    fn of<'a>(uri: &'a Uri, headers: &'a mut HeaderMap, hosts: &[&'static str]) -> Host<'a> {
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        Host::of(uri, headers)
    }

    #[test]
    fn only_loopback_is_own_and_the_header_goes_first() {
        let path = Uri::from_static("/main");
        for own in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(
                of(&path, &mut HeaderMap::new(), &[own]),
                Host::Own(own),
                "{own}"
            );
        }
        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "0.0.0.0:8080",
            "localhost@evil.example",
            "evil.example@localhost",
            "[::2]",
        ] {
            assert_eq!(
                of(&path, &mut HeaderMap::new(), &[foreign]),
                Host::Foreign(foreign.as_bytes()),
                "{foreign}"
            );
        }
        let twice = ["localhost", "localhost"];
        assert_eq!(
            of(&path, &mut HeaderMap::new(), &twice),
            Host::Foreign(b"localhost")
        );
        assert_eq!(of(&path, &mut HeaderMap::new(), &[]), Host::Absent);
        let evil = Uri::from_static("https://evil.example/main");
        assert_eq!(
            of(&evil, &mut HeaderMap::new(), &[]),
            Host::Foreign(b"evil.example")
        );
        assert_eq!(
            of(&evil, &mut HeaderMap::new(), &["localhost"]),
            Host::Own("localhost")
        );
    }

    #[test]
    fn what_is_shown_of_a_host_is_short_and_no_markup() {
        let told = foreign(b"<script>&\"\xff");
        assert!(told.starts_with("Host is \"?script????\""), "{told}");
        assert!(!told.contains(['<', '&']), "{told}");
        let told = foreign(&[b'a'; 10_000]);
        assert!(
            told.len() < 500 && told.contains("aaa...\""),
            "{}",
            told.len()
        );
    }
}
