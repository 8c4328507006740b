//! Structured logs on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::{
    args::{LogArgs, LogFormat},
    exit::BadInput,
};

/// Libraries that say too much at `info`, or let clients write into the log. What the user asks for comes later and wins.
const QUIET: &str =
    "s3s=off,buoyant_kernel=warn,delta_kernel=warn,deltalake_core=warn,hyper_util=warn";

/// Starts logging as asked for.
///
/// # Errors
/// [`BadInput`] when the filter does not parse.
pub(crate) fn start(args: &LogArgs) -> anyhow::Result<()> {
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
