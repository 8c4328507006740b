//! What is said over the socket besides S3.
//!
//! ```text
//! GET  /-/versions?after=7&epoch=5f..&wait=25   -> Versions, at once if there is a newer one than 7, else when there is, or after 25 s
//! GET  /-/owners                                -> {"<catalog>/<schema>/<table>": "<namespace>/<name>", ..}: whose the tables are that are served
//! POST /-/drift                                 <- DriftReport
//! GET  /-/probe                                 -> 200 as soon as the socket is served
//! any  /-/admin/<path>                          -> <path> of the server's admin surface
//! ```

use serde::{Deserialize, Serialize};

/// Bucket of logs and ropes.
pub const LOG: &str = "log";
/// Bucket of composed files.
pub const FILES: &str = "files";
/// Bucket of source objects.
pub const SOURCES: &str = "sources";
/// Path of the long poll.
pub const VERSIONS_PATH: &str = "/-/versions";
/// Path of whose the tables are, once the state is open. Of one whose owner is not known yet, or of which nothing is shown, it says an empty text.
pub const OWNERS_PATH: &str = "/-/owners";
/// Path of drift reports.
pub const DRIFT_PATH: &str = "/-/drift";
/// Path that `vdt probe` asks.
pub const PROBE_PATH: &str = "/-/probe";
/// What stands before the paths of the admin surface.
pub const ADMIN_PREFIX: &str = "/-/admin";
/// Longest wait of a long poll, in seconds. Shorter than any idle timeout in between, long enough to cost nothing.
pub const WAIT_SECONDS_MAX: u64 = 25;
/// Most bytes of a message. A list of 20,000 tables fits.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The newest versions of tables, by the order in which the server learned of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Names the run of the server that counts: numbers of another run mean nothing.
    pub epoch: String,
    /// Id of the server's state store; absent until that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// The greatest number given so far: what to ask after next.
    pub seq: u64,
    /// What is newer than what was asked after, one entry a table.
    pub versions: Vec<Version>,
}

/// A version of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Number in the order of all tables.
    pub seq: u64,
    /// `<catalog>/<schema>/<table>`.
    pub table: String,
    /// Version.
    pub version: u64,
}

/// A source object that is no longer what a table's version says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftReport {
    /// The virtual file that refers to it, as shown: `<catalog>/<schema>/<table>/<name>`.
    pub file: String,
    /// Id of the source.
    pub source: String,
    /// Key of the object.
    pub key: String,
    /// How it was noticed, for people.
    pub reason: String,
}

/// A strong entity tag for an object whose source has none, made of what identifies it there: its size and its time.
///
/// ```text
/// vdt.<bytes>.<Unix ms>        as in vdt.4096.1767225600000
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeUpTag {
    /// Size, bytes.
    pub size: u64,
    /// Modification time, Unix milliseconds.
    pub last_modified_ms: i64,
}

impl MadeUpTag {
    /// Reads a tag, with or without quotes; `None` for one that a source gave.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        let mut parts = tag.trim_matches('"').strip_prefix("vdt.")?.split('.');
        let made_up = Self {
            size: parts.next()?.parse().ok()?,
            last_modified_ms: parts.next()?.parse().ok()?,
        };
        // Only what we would write ourselves.
        (parts.next().is_none() && made_up.to_string() == tag.trim_matches('"')).then_some(made_up)
    }
}

impl std::fmt::Display for MadeUpTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "vdt.{}.{}", self.size, self.last_modified_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::MadeUpTag;

    #[test]
    fn made_up_tags_are_read_back_and_others_are_not() {
        for (size, last_modified_ms) in [(0, 0), (4096, 1_767_225_600_123), (u64::MAX, -1)] {
            let tag = MadeUpTag {
                size,
                last_modified_ms,
            };
            assert_eq!(MadeUpTag::parse(&tag.to_string()), Some(tag));
            assert_eq!(MadeUpTag::parse(&format!("\"{tag}\"")), Some(tag));
        }
        for other in [
            "",
            "vdt.",
            "vdt.1",
            "vdt.1.2.3",
            "vdt.01.2",
            "vdt.1.x",
            "W/\"vdt.1.2\"",
            "d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert_eq!(MadeUpTag::parse(other), None, "{other}");
        }
    }
}
