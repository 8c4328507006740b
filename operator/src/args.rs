//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::build::Shipped;

/// Image of the server that comes with this version.
pub(crate) const SERVER_IMAGE: &str =
    concat!("ghcr.io/vdt-io/vdt-server:", env!("CARGO_PKG_VERSION"));
/// Image of the front door that comes with this version.
pub(crate) const SIDECAR_IMAGE: &str =
    concat!("ghcr.io/vdt-io/vdt-sidecar:", env!("CARGO_PKG_VERSION"));

/// The operator of virtual Delta tables: `kubectl apply -f table.yaml` becomes pods that serve the table.
#[derive(Debug, Parser)]
#[command(
    name = "vdt-operator",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reconcile VirtualTables until interrupted
    Run(Box<RunArgs>),
    /// Check the definition, the account's permissions and the leader, and print the findings
    Check(CheckArgs),
    /// Print the CustomResourceDefinition as YAML
    Crd,
    /// Print the child objects that a manifest would get, without a cluster
    Render(RenderArgs),
    /// Print a completion script for your shell
    Completions {
        /// Shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Defaults for the pods of all tables. A table picks up a change with its next pod template, like a new image.
#[derive(Debug, Clone, Args)]
pub(crate) struct PodArgs {
    /// Image of the server in tables' pods
    #[arg(long, env = "VDT_SERVER_IMAGE", value_name = "IMAGE", default_value = SERVER_IMAGE)]
    pub(crate) server_image: String,
    /// Image of the front door in tables' pods
    #[arg(long, env = "VDT_SIDECAR_IMAGE", value_name = "IMAGE", default_value = SIDECAR_IMAGE)]
    pub(crate) sidecar_image: String,
    /// Pull policy of both; unset: the cluster's default
    #[arg(long, env = "VDT_IMAGE_PULL_POLICY", value_name = "POLICY", value_enum)]
    pub(crate) image_pull_policy: Option<PullPolicy>,
    /// Write user, group and fsGroup (65532) into tables' pods unless the table sets them; false: the cluster assigns them, as OpenShift does
    #[arg(long, env = "VDT_ASSIGN_IDS", value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) assign_ids: bool,
}

impl PodArgs {
    /// Returns what comes along with the operator `operator` of `namespace`, whose public keys are `admin_keys`.
    pub(crate) fn shipped(
        &self,
        admin_keys: String,
        namespace: String,
        operator: String,
    ) -> Shipped {
        Shipped {
            server_image: self.server_image.clone(),
            sidecar_image: self.sidecar_image.clone(),
            pull_policy: self
                .image_pull_policy
                .map(|policy| policy.as_str().to_owned()),
            assign_ids: self.assign_ids,
            admin_keys,
            namespace,
            operator,
        }
    }
}

/// When a node pulls an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum PullPolicy {
    /// Whenever a pod starts.
    Always,
    /// Where it is not there.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// Returns the word of the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Options of `vdt-operator run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Namespace whose tables are reconciled; empty: all. In a single namespace, caches on lost nodes are not healed, because Nodes cannot be seen
    #[arg(
        long,
        env = "VDT_NAMESPACE",
        default_value = "",
        value_name = "NAMESPACE"
    )]
    pub(crate) namespace: String,
    /// Defaults of tables' pods.
    #[command(flatten)]
    pub(crate) pods: PodArgs,
    /// Compete for a Lease and reconcile only while holding it; required with more than one replica
    #[arg(long, env = "VDT_LEADER_ELECT")]
    pub(crate) leader_elect: bool,
    /// Name of the Lease, in the operator's namespace
    #[arg(
        long,
        env = "VDT_LEASE_NAME",
        default_value = "vdt-operator-leader",
        value_name = "NAME"
    )]
    pub(crate) lease_name: String,
    /// Seconds after which a Lease that is not renewed becomes free
    #[arg(long, env = "VDT_LEASE_SECONDS", default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=300))]
    pub(crate) lease_seconds: u64,
    /// Address of `/metrics`. `[::]` means every address, IPv4 included
    #[arg(
        long,
        env = "VDT_METRICS_LISTEN",
        default_value = "[::]:8080",
        value_name = "ADDR"
    )]
    pub(crate) metrics_listen: SocketAddr,
    /// Address of `/healthz` and `/readyz`. `[::]` means every address, IPv4 included
    #[arg(
        long,
        env = "VDT_HEALTH_LISTEN",
        default_value = "[::]:8081",
        value_name = "ADDR"
    )]
    pub(crate) health_listen: SocketAddr,
    /// Secret with the key that signs tokens for the pods' admin API, in the operator's namespace; created if it does not exist
    #[arg(
        long,
        env = "VDT_ADMIN_KEY_SECRET",
        default_value = "vdt-operator-admin-key",
        value_name = "NAME"
    )]
    pub(crate) admin_key_secret: String,
    /// Watch the metadata of Secrets, so that changes reach the pods at once. Requires permission to list and watch them
    #[arg(long, env = "VDT_SECRETS_WATCH")]
    pub(crate) secrets_watch: bool,
    /// Namespace of the operator itself
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "vdt-system",
        value_name = "NAMESPACE"
    )]
    pub(crate) own_namespace: String,
    /// Identity of this process in the competition for the Lease; unset: a unique one
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// Tables that are reconciled at once
    #[arg(long, env = "VDT_CONCURRENCY", default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) concurrency: u16,
    /// Port of the pods' admin API; for tests
    #[arg(long, value_name = "PORT", hide = true)]
    pub(crate) admin_port: Option<u16>,
    /// Log filter: a level, or directives such as `vdt_operator=debug,info`
    #[arg(long, env = "VDT_LOG", default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
    /// Log format
    #[arg(long, env = "VDT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub(crate) log_format: LogFormat,
}

impl RunArgs {
    /// Returns how long a Lease lives without renewal.
    pub(crate) fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of `vdt-operator check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Namespace whose tables are reconciled; empty: all
    #[arg(
        long,
        env = "VDT_NAMESPACE",
        default_value = "",
        value_name = "NAMESPACE"
    )]
    pub(crate) namespace: String,
    /// Name of the Lease that must be held; unset: there is no election
    #[arg(long, env = "VDT_LEASE_NAME", value_name = "NAME")]
    pub(crate) lease_name: Option<String>,
    /// Secret with the key that signs tokens for the pods' admin API; unset: access to it is not checked
    #[arg(long, env = "VDT_ADMIN_KEY_SECRET", value_name = "NAME")]
    pub(crate) admin_key_secret: Option<String>,
    /// The operator watches the metadata of Secrets
    #[arg(long, env = "VDT_SECRETS_WATCH")]
    pub(crate) secrets_watch: bool,
    /// Namespace of the operator itself
    #[arg(
        long,
        env = "POD_NAMESPACE",
        default_value = "vdt-system",
        value_name = "NAMESPACE"
    )]
    pub(crate) own_namespace: String,
}

/// Options of `vdt-operator render`.
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// Manifest of one or more VirtualTables
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Defaults of tables' pods.
    #[command(flatten)]
    pub(crate) pods: PodArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
