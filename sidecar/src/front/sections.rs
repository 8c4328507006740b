//! What the manifests of one process have to say alike: it has one data listener and one cache.

use vdt_crds::{Tls, VirtualTable};

use super::Problem;
use crate::config::servers;

/// What the manifests say of TLS, which they agree on, as far as a process acts upon it.
pub(super) fn declared_tls(tables: &[VirtualTable]) -> Tls {
    let first = servers(tables).next();
    first
        .map(|(_, server)| server.tls.for_pods())
        .unwrap_or_default()
}

/// One process has one data listener and one cache. Sections count whole here, with what only the operator acts upon: of two issuers for one listener neither
/// is the one that is meant.
pub(super) fn sections_agree(tables: &[VirtualTable], problems: &mut Vec<Problem>) {
    let mut sections = servers(tables);
    let Some((first, server)) = sections.next() else {
        return;
    };
    for (table, other) in sections {
        let both = [
            ("tls", server.tls == other.tls),
            ("cache", server.cache == other.cache),
        ];
        for (section, same) in both {
            if !same {
                problems.push(Problem::new(
                    table,
                    format!("spec.server.{section}"),
                    format!(
                        "differs from that of {}, which the same process serves",
                        first.owner()
                    ),
                    "write the same in both, or serve them by two processes",
                ));
            }
        }
    }
}
