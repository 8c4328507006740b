//! `vdt-operator`: a VirtualTable becomes serving pods.
//!
//! ```text
//! dereference -> validate -> build -> apply -> status        one look at one table (controller)
//!     GETs        pure       pure     writes   one write
//! ```
//!
//! The operator has no webhook and adds no finalizer: while it is away, tables go on being served, accepted and deleted.

mod apply;
mod args;
mod backoff;
mod build;
mod check;
mod controller;
mod dereference;
mod http;
mod lease;
mod metrics;
mod names;
#[cfg(test)]
mod played;
mod render;
mod run;
mod status;
mod token;
mod validate;
mod watches;

use std::{io, process::ExitCode};

use args::{Cli, Command, LogFormat, RunArgs};
use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
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
