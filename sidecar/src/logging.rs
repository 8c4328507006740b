//! Structured logs on standard error, for both binaries.

use std::io::{IsTerminal, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::exit::BadInput;

/// Libraries that say too much at `info`, or let clients write into the log. What the user asks for comes later and wins.
const QUIET: &str =
    "s3s=off,buoyant_kernel=warn,delta_kernel=warn,deltalake_core=warn,hyper_util=warn,foyer=warn";

/// Logging, for all commands. Logs go to standard error.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Log filter: a level, or directives such as `vdt_store=debug,info`
    #[arg(
        long,
        global = true,
        env = "VDT_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    pub log: String,
    /// Log format
    #[arg(long, global = true, env = "VDT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging as asked for.
///
/// # Errors
/// [`BadInput`] when the filter does not parse.
pub fn start(args: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", args.log)).map_err(|error| {
        BadInput::new(format!(
            "--log {:?} is no filter ({error}); give a level such as info, or directives such as vdt_store=debug,info",
            args.log
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
