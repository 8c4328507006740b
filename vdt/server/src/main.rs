//! `vdt` serves artifacts in folders and buckets as Delta tables that do not exist.

mod admin;
mod args;
mod inspect;
mod manifests;
mod metrics;
mod plan;
mod probe;
mod progress;
mod serve;
mod snippets;
mod socket;
mod tables;
mod units;
mod validate;

use std::{io, process::ExitCode};

use anyhow::Context;
use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use mimalloc::MiMalloc;
use vdt_sidecar::{exit, logging};

/// Small texts by the dozen for each request: decision 13.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Two TLS providers are linked in; without a choice the first client would panic.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = Cli::parse();
    if let Err(error) = logging::start(&cli.log).and_then(|()| run(cli.command)) {
        return exit::report(&error);
    }
    ExitCode::SUCCESS
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Validate(args) => validate::run(&args),
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut Cli::command(), "vdt", &mut io::stdout());
            Ok(())
        }
        Command::Serve(args) => block_on(serve::run(*args)),
        Command::Probe(args) => block_on(probe::run(args)),
        Command::Plan(args) => block_on(plan::run(args)),
        Command::Inspect(args) => block_on(inspect::run(args)),
    }
}

fn block_on(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(task)
}
