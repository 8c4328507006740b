//! Structured logs on standard error, for both binaries.

use std::io::{IsTerminal, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, ParseError},
};

use crate::exit::BadInput;

/// The level of what no directive names. Libraries that say too much at `info`, or let clients write into the log. What the user asks for comes later and
/// wins.
const QUIET: &str = "warn,s3s=off,buoyant_kernel=warn,delta_kernel=warn,deltalake_core=warn,hyper_util=warn,foyer=warn,object_store=warn";

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
    if let Some(directive) = misspelt(&args.log) {
        return Err(BadInput::new(format!(
            "--log {:?}: {directive:?} is no level (off, error, warn, info, debug, trace) and no part of vdt; give a level such as info, or directives such as vdt_store=debug,info",
            args.log
        ))
        .into());
    }
    let filter = filter(&args.log).map_err(|error| {
        BadInput::new(format!(
            "--log {:?} is no filter ({error}); give a level such as info, or directives such as vdt_store=debug,info",
            args.log
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && !is_colourless());
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn filter(log: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET},{log}"))
}

/// A directive that would turn every log off, or on for what does not exist: a word that is neither a level nor a target of ours. A target of
/// another library is written with `::` or `=`.
fn misspelt(filter: &str) -> Option<&str> {
    let directives = || filter.split(',').map(str::trim);
    if directives().all(str::is_empty) {
        return Some(filter);
    }
    directives().find(|word| {
        !word.is_empty()
            && !word.contains(['=', '['])
            && !word.contains("::")
            && *word != "vdt"
            && !word.starts_with("vdt_")
            && word.parse::<LevelFilter>().is_err()
    })
}

/// Whether colours are unwanted (no-color.org).
fn is_colourless() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_neither_level_nor_target_is_misspelt() {
        for good in [
            "warn",
            "INFO",
            "vdt",
            "vdt_store=debug,info",
            "vdt_store",
            "hyper=trace",
            "tower::buffer",
            "info,",
        ] {
            assert_eq!(misspelt(good), None, "{good}");
        }
        for (bad, word) in [
            ("wran", "wran"),
            ("info,degub", "degub"),
            ("vdtstore", "vdtstore"),
            ("", ""),
        ] {
            assert_eq!(misspelt(bad), Some(word), "{bad}");
        }
    }

    #[test]
    fn retries_of_buckets_are_told_to_who_asks_for_them_alone() {
        let enabled = |asked: &str| {
            let logged = tracing_subscriber::fmt()
                .with_env_filter(filter(asked).unwrap())
                .finish();
            tracing::subscriber::with_default(
                logged,
                || tracing::enabled!(target: "object_store::client::retry", tracing::Level::INFO),
            )
        };
        assert!(!enabled("info"));
        assert!(enabled("object_store=info"));
    }

    #[test]
    fn what_no_directive_names_stays_as_it_is_by_default() {
        for (asked, level) in [
            ("vdt::access=info", "warn"),
            ("vdt::access=info,error", "error"),
            ("off", "off"),
            ("debug", "debug"),
        ] {
            let found = filter(asked).unwrap().to_string();
            let of_all: Vec<&str> = found
                .split(',')
                .filter(|directive| !directive.contains('='))
                .collect();
            assert_eq!(of_all, [level], "{asked}: {found}");
        }
    }
}
