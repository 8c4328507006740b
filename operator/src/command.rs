//! The commands of the binary: what is asked for, and where it is done.

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use crate::{
    args::{Cli, Command, LogFormat, RunArgs},
    check, render, run,
};

/// Runs the command line of `vdt-operator`.
#[must_use]
pub fn main() -> ExitCode {
    // Two TLS providers are linked in; without a choice the first client would panic.
    drop(rustls::crypto::ring::default_provider().install_default());
    match start(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => {
            log(&args)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(run::run(*args))
        }
        Command::Check(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(check::run(&args))
        }
        Command::Crd => {
            print!("{}", vdt_crds::crd_yaml());
            Ok(())
        }
        Command::Render(args) => render::run(&args, &mut io::stdout().lock()),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "vdt-operator",
                &mut io::stdout(),
            );
            Ok(())
        }
    }
}

fn log(args: &RunArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match args.log_format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
