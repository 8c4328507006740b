//! `vdt` serves artifacts in folders and buckets as Delta tables that do not exist.

mod admin;
mod args;
mod inspect;
mod late_origin;
mod manifests;
mod metrics;
mod plan;
mod probe;
mod progress;
mod serve;
mod snippets;
mod socket;
mod state;
mod stdout;
mod tables;
mod units;
mod validate;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::CommandFactory;
use mimalloc::MiMalloc;
use vdt_sidecar::{
    exit, logging,
    process::{arguments, block_on},
};

/// Small texts by the dozen for each request: decision 13.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Two TLS providers are linked in; without a choice the first client would panic.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli: Cli = arguments();
    if let Err(error) = logging::start(&cli.log).and_then(|()| run(cli.command)) {
        return exit::report(&error);
    }
    ExitCode::SUCCESS
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Validate(args) => validate::run(&args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "vdt", &mut script);
            stdout::print(&String::from_utf8_lossy(&script))
        }
        Command::Serve(args) => block_on(serve::run(*args)),
        Command::Probe(args) => block_on(probe::run(args)),
        Command::Plan(args) => block_on(plan::run(args)),
        Command::Inspect(args) => block_on(inspect::run(args)),
    }
}
