//! The command line, in kubectl's words.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// VirtualTables of a cluster: their status, what a change would do, how to read them, what their caches save.
///
/// Exit codes: 0 done, 1 refused, failed or not known, 2 the command line is wrong.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-vt",
    bin_name = "kubectl vt",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Which cluster, and as whom.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which cluster, and as whom: kubectl's flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Namespace; unset: the context's
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig; unset: the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Cluster of the kubeconfig; unset: the context's
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// User of the kubeconfig; unset: the context's
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Kubeconfig; unset: $KUBECONFIG, else ~/.kube/config, else the pod's account
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) impersonate: Option<String>,
    /// Group to impersonate; may be repeated
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub(crate) impersonate_groups: Vec<String>,
    /// Seconds to wait for an answer of the API server or a pod
    #[arg(long, global = true, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) request_timeout: u64,
}

impl ClusterArgs {
    /// Time for one answer.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.request_timeout)
    }
}

/// Commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the status of tables, and what to do about problems
    Status(StatusArgs),
    /// Show what a manifest would change, and the consequences; changes nothing
    Plan(PlanArgs),
    /// Print what to paste into DuckDB, Polars, delta-rs and Spark
    Snippets(SnippetsArgs),
    /// List a table's sources now, and commit what has changed
    Refresh(RefreshArgs),
    /// Show fill and hit rates of the pods' caches
    Top(TopArgs),
    /// Completions for kubectl; called by kubectl_complete-vt
    #[command(name = "__complete", hide = true)]
    Complete(CompleteArgs),
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// The same with more columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// The flag of [`Format`].
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub(crate) output: Format,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A table, in detail; unset: all in the namespace
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Tables of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(crate) all_namespaces: bool,
    /// Do not ask the pods: no lag, no caches
    #[arg(long)]
    pub(crate) no_pods: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options of `plan`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct PlanArgs {
    /// An existing table: what the operator still has to do
    #[arg(value_name = "NAME", group = "what")]
    pub(crate) name: Option<String>,
    /// Manifest of one or more tables; - is standard input
    #[arg(short, long, value_name = "FILE", group = "what", value_hint = ValueHint::FilePath)]
    pub(crate) filename: Option<PathBuf>,
    /// Field manager that would apply it; unset: the last one, as far as the object shows
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub(crate) field_manager: Option<String>,
    /// Take fields over from other managers, like kubectl apply --server-side with the same flag
    #[arg(long, conflicts_with = "name")]
    pub(crate) force_conflicts: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options of `snippets`.
#[derive(Debug, Args)]
pub(crate) struct SnippetsArgs {
    /// Table
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where the client runs; unset: both are shown
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) from: Option<From>,
    /// Local port that is forwarded
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8080,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) local_port: u16,
}

/// Where a client runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// In a pod.
    Cluster,
    /// On this machine, through a forwarded port.
    PortForward,
}

/// Options of `refresh`.
#[derive(Debug, Args)]
pub(crate) struct RefreshArgs {
    /// Table
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Wait until the sources are listed and every pod serves the result
    #[arg(long)]
    pub(crate) wait: bool,
    /// Seconds to wait with --wait
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Options of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Table; unset: all in the namespace
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Tables of all namespaces
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(crate) all_namespaces: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What kubectl passes on to be completed: the words after `kubectl vt`, the last of them unfinished.
#[derive(Debug, Args)]
pub(crate) struct CompleteArgs {
    /// Words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_the_cluster_stand_anywhere() {
        let cli =
            Cli::try_parse_from(["kubectl-vt", "status", "-A", "--context", "x", "-o", "json"]);
        let cli = cli.unwrap();
        assert_eq!(cli.cluster.context.as_deref(), Some("x"));
        assert!(matches!(
            cli.command,
            Command::Status(StatusArgs {
                all_namespaces: true,
                ..
            })
        ));
        for wrong in [
            &["kubectl-vt", "plan"][..],
            &["kubectl-vt", "plan", "x", "-f", "y"],
            &["kubectl-vt", "status", "x", "-A"],
            &["kubectl-vt", "plan", "x", "--force-conflicts"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
