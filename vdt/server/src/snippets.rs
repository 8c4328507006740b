//! What to paste into a client, for one table that this process serves.

use std::net::SocketAddr;

use vdt_crds::snippets::{Reach, snippets as write};

/// Text that shows how each client reads `s3://<catalog>/<schema>/<table>` from `listen`.
pub(crate) fn snippets(listen: SocketAddr, s3: &str) -> String {
    let host = reachable(listen).to_string();
    let reach = Reach {
        host: &host,
        tls: false,
        keys: false,
    };
    write(reach, s3)
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
