//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use vdt_sidecar::{
    logging::LogArgs,
    process::ListenOn,
    stack::{CacheArgs, StalenessArgs},
};

/// Virtual Delta tables: serve a folder or bucket of artifacts (PDFs, images, recordings) as a Delta table that
/// Spark, DuckDB, Polars and delta-rs read unchanged. Nothing is copied.
#[derive(Debug, Parser)]
#[command(
    name = "vdt",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Logging, for all commands.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve tables until interrupted
    Serve(Box<ServeArgs>),
    /// Check whether the socket of a `vdt serve --origin-socket` answers; exit code 0 if so
    Probe(ProbeArgs),
    /// Show what would be served of a new table, without serving or writing anything
    ///
    /// What an existing table already holds is not looked at: all of it is laid out anew.
    Plan(PlanArgs),
    /// Look into a table, one of its versions, or one of its files
    Inspect(InspectArgs),
    /// Check manifests
    Validate(ValidateArgs),
    /// Print a completion script for your shell
    Completions(CompletionsArgs),
}

/// Where artifacts come from: folders, buckets, or manifests.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// Folders of artifacts, `s3://bucket/prefix` URLs, or VirtualTable manifests (`.yaml`, `.yml`, `.json`)
    ///
    /// A folder always means a folder of artifacts; use --manifests for a folder of manifests. A bucket is read with the
    /// credentials, region and endpoint of the environment (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, ...).
    #[arg(value_name = "SOURCE", required_unless_present = "manifests", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<String>,
    /// Folder of manifests (`*.yaml`, `*.yml`, `*.json`)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) manifests: Option<PathBuf>,
    /// Folder of secrets: `<DIR>/<secret name>/<key>`, ConfigMaps `<DIR>/configmap-<name>/<key>`
    #[arg(long, env = "VDT_SECRETS_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// Folder of claims: `<DIR>/<claim name>/<file.path>`. Without it, sources with a claimName are refused
    #[arg(long, env = "VDT_CLAIMS_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) claims_dir: Option<PathBuf>,
}

/// Options of `vdt serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// What to serve.
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// State store: a directory, or `s3://bucket/prefix`. By default a directory for these sources below $XDG_STATE_HOME/vdt
    #[arg(long, env = "VDT_STATE", value_name = "DIR|URL")]
    pub(crate) state: Option<String>,
    /// Address of the data listener (S3, HTTP/WebDAV), or `none`. `[::]` means every address, IPv4 included; port 0 picks a free one
    #[arg(
        long,
        env = "VDT_LISTEN",
        default_value = "127.0.0.1:8080",
        default_value_if("origin_socket", clap::builder::ArgPredicate::IsPresent, "none"),
        value_name = "ADDR|none"
    )]
    pub(crate) listen: ListenOn,
    /// Address of the admin listener (page, metrics, health, refresh), or `none`. `[::]` means every address, IPv4 included; port 0 picks a free one
    #[arg(
        long,
        env = "VDT_ADMIN_LISTEN",
        default_value = "127.0.0.1:8081",
        default_value_if("origin_socket", clap::builder::ArgPredicate::IsPresent, "none"),
        value_name = "ADDR|none"
    )]
    pub(crate) admin_listen: ListenOn,
    /// Serve a vdt-sidecar on this Unix socket; nothing listens on TCP then, unless --listen or --admin-listen is given
    ///
    /// The server opens its socket before it reaches any source, and does not exit because of a bad manifest, bucket or state:
    /// it serves what it can, retries the rest, and says so under /api. The socket is for processes of the same user.
    #[arg(long, env = "VDT_ORIGIN_SOCKET", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) origin_socket: Option<PathBuf>,
    /// Public keys (PEM, Ed25519) whose bearer tokens give other machines access to the page, /api/ and /refresh. Re-read when they change
    #[arg(
        long,
        env = "VDT_ADMIN_KEYS",
        value_name = "FILE",
        value_delimiter = ',',
        value_hint = ValueHint::FilePath
    )]
    pub(crate) admin_keys: Vec<PathBuf>,
    /// Serve without credentials on an address that other machines can reach
    #[arg(long)]
    pub(crate) allow_anonymous: bool,
    /// The cache of what the data listener serves.
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    /// How long logs are trusted.
    #[command(flatten)]
    pub(crate) staleness: StalenessArgs,
    /// Folder for temporary files, which may be emptied at any time. Reserved: this version needs none
    #[arg(long, env = "VDT_SCRATCH", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) scratch: Option<PathBuf>,
    /// Write addresses and tables as JSON to this file once tables are served, for scripts
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ready_file: Option<PathBuf>,
    /// Settings of tables without a manifest.
    #[command(flatten)]
    pub(crate) given: GivenArgs,
    /// Seconds to keep accepting new requests after SIGINT or SIGTERM, while not ready, so that clients can move on
    #[arg(long, env = "VDT_LAME_DUCK_SECONDS", default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) lame_duck_seconds: u64,
    /// Seconds for bodies to finish after that. A second signal ends the process at once
    #[arg(long, env = "VDT_DRAIN_SECONDS", default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) drain_seconds: u64,
}

/// How tables without a manifest follow their folder or bucket.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GivenArgs {
    /// Seconds from the end of a listing to the next, for folders and buckets without a manifest: by default 5 for a folder and 60 for
    /// a bucket; 0 lists on request only. At least ten times the duration of the listing
    #[arg(long, value_name = "N", conflicts_with = "origin_socket", value_parser = clap::value_parser!(u32).range(0..=604_800))]
    pub(crate) refresh_seconds: Option<u32>,
    /// What to do if more than half of the artifacts of a folder or bucket without a manifest are missing from a listing: by default,
    /// keep the last version
    #[arg(long, value_enum, conflicts_with = "origin_socket")]
    pub(crate) on_shrink: Option<OnShrink>,
}

/// As in `spec.refresh.onShrink`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnShrink {
    /// Keep the last version.
    Hold,
    /// Accept the listing.
    Apply,
}

/// Options of `vdt probe`.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The socket
    #[arg(value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub(crate) socket: PathBuf,
    /// Seconds to wait for an answer
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) timeout_seconds: u64,
}

/// Output of commands that report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Options of `vdt plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// What would be served.
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Rows to show per table
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) rows: u64,
}

/// Options of `vdt inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// State store: a directory, or `s3://bucket/prefix`
    #[arg(
        long,
        env = "VDT_STATE",
        value_name = "DIR|URL",
        required_unless_present = "sources"
    )]
    pub(crate) state: Option<String>,
    /// Source or manifest, to locate the default state of a `vdt serve` of the same sources and to read artifacts for --materialize. After `vdt serve
    /// --manifests` give --state, which it prints
    #[arg(long = "source", value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<String>,
    /// Folder of secrets, as in `vdt serve`
    #[arg(long, env = "VDT_SECRETS_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// Folder of claims, as in `vdt serve`
    #[arg(long, env = "VDT_CLAIMS_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) claims_dir: Option<PathBuf>,
    /// `<catalog>/<schema>/<table>`; by default all tables
    #[arg(value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// Version; by default the newest
    #[arg(long, value_name = "VERSION", requires = "table")]
    pub(crate) at: Option<u64>,
    /// One file, drawn as a rope: `<hash>-<bytes>.parquet`, or the beginning of its name
    #[arg(long, value_name = "FILE", requires = "table")]
    pub(crate) file: Option<String>,
    /// Write that whole file to this path (`-` for standard output)
    #[arg(long, value_name = "PATH", requires = "file", value_hint = ValueHint::FilePath)]
    pub(crate) materialize: Option<PathBuf>,
    /// Output format
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Options of `vdt validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Manifests, or folders of them; `-` reads standard input
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Which rules: those of a laptop, or those of the API server in a cluster
    #[arg(long, value_enum, default_value_t = Profile::Laptop)]
    pub(crate) profile: Profile,
    /// Output format
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Rules to validate by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// `vdt serve` on one machine.
    Laptop,
    /// `kubectl apply`.
    Cluster,
}

/// Options of `vdt completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
