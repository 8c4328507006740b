//! The command line of `vdt-sidecar`.

use std::path::PathBuf;

use clap::{Parser, ValueHint};

use crate::{
    logging::LogArgs,
    process::ListenOn,
    stack::{CacheArgs, StalenessArgs},
};

/// The front door of a pod: serves virtual Delta tables from a cache in memory and on a local disk, in front of a vdt server on a Unix
/// socket. Cached data is served even while that server restarts.
#[derive(Debug, Parser)]
#[command(name = "vdt-sidecar", version, about, arg_required_else_help = true)]
pub struct Args {
    /// The server: `unix:` followed by the path of its --origin-socket
    #[arg(long, env = "VDT_ORIGIN", value_name = "unix:PATH", value_parser = socket_path)]
    pub origin: PathBuf,
    /// VirtualTable manifests, or folders of them: the same ones as the server's
    #[arg(
        long,
        env = "VDT_CONFIG",
        value_name = "PATH",
        required = true,
        num_args = 1..,
        value_delimiter = ',',
        value_hint = ValueHint::AnyPath
    )]
    pub config: Vec<PathBuf>,
    /// Folder of secrets: `<DIR>/<secret name>/<key>`
    #[arg(long, env = "VDT_SECRETS_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub secrets_dir: Option<PathBuf>,
    /// Address of the data listener (S3, HTTP/WebDAV), or `none`. `[::]` means every address, IPv4 included; port 0 picks a free one
    #[arg(
        long,
        env = "VDT_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDR|none"
    )]
    pub listen: ListenOn,
    /// Address of the admin listener (metrics, health, page, refresh), or `none`. `[::]` means every address, IPv4 included; port 0 picks a free one
    #[arg(
        long,
        env = "VDT_ADMIN_LISTEN",
        default_value = "127.0.0.1:8081",
        value_name = "ADDR|none"
    )]
    pub admin_listen: ListenOn,
    /// Public keys (PEM, Ed25519) whose bearer tokens give other machines access to the page, /api/ and /refresh. Re-read when they change
    #[arg(
        long,
        env = "VDT_ADMIN_KEYS",
        value_name = "FILE",
        value_delimiter = ',',
        value_hint = ValueHint::FilePath
    )]
    pub admin_keys: Vec<PathBuf>,
    /// Serve without credentials on an address that other machines can reach
    #[arg(long)]
    pub allow_anonymous: bool,
    /// The cache.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// How long logs are trusted.
    #[command(flatten)]
    pub staleness: StalenessArgs,
    /// Write addresses and tables as JSON to this file once tables are served, for scripts
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ready_file: Option<PathBuf>,
    /// Seconds to keep accepting new requests after SIGTERM, while not ready, so that clients can move on
    #[arg(long, env = "VDT_LAME_DUCK_SECONDS", default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub lame_duck_seconds: u64,
    /// Seconds for bodies to finish after that
    #[arg(long, env = "VDT_DRAIN_SECONDS", default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub drain_seconds: u64,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

fn socket_path(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err("not unix: and a path, such as unix:/run/vdt/origin.sock".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_origin_is_a_unix_socket() {
        assert_eq!(socket_path("unix:/run/a"), Ok(PathBuf::from("/run/a")));
        assert!(socket_path("unix:").is_err() && socket_path("/run/a").is_err());
    }
}
