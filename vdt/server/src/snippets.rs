//! What to paste into a client, for one table that this process serves.

use std::net::SocketAddr;

use vdt_crds::{
    TableSchema,
    snippets::{self, snippets as write},
};

/// How the data listener is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Its address.
    pub(crate) listen: SocketAddr,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
    /// Whether readers have keys.
    pub(crate) keys: bool,
}

/// Text that shows how each client reads `s3://<catalog>/<schema>/<table>`.
pub(crate) fn snippets(reach: Reach, s3: &str, schema: Option<&TableSchema>) -> String {
    let host = reachable(reach.listen).to_string();
    let reach = snippets::Reach {
        host: &host,
        tls: reach.tls,
        keys: reach.keys,
    };
    write(reach, s3, schema)
}

/// An address that a client on this machine reaches: a wildcard address is not one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], address.port()))
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_and_keys_are_those_of_the_listener() {
        let open = Reach {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            tls: false,
            keys: false,
        };
        let closed = Reach {
            tls: true,
            keys: true,
            ..open
        };
        let open = snippets(open, "s3://main/default/t", None);
        assert!(open.contains("ENDPOINT '127.0.0.1:8443'") && open.contains("USE_SSL false"));
        let closed = snippets(closed, "s3://main/default/t", None);
        assert!(closed.contains("https://127.0.0.1:8443") && closed.contains("USE_SSL true"));
        assert!(closed.contains("KEY_ID") && !closed.contains("AWS_SKIP_SIGNATURE"));
    }
}
