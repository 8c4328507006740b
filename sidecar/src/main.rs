//! `vdt-sidecar`: the pod's front door.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use mimalloc::MiMalloc;
use vdt_sidecar::{args::Args, exit, logging, run};

/// Small texts by the dozen for each request: decision 13.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Two TLS providers are linked in; without a choice the first one that is needed would panic.
    drop(rustls::crypto::ring::default_provider().install_default());
    let args = Args::parse();
    match logging::start(&args.log).and_then(|()| block_on(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn block_on(args: Args) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(Box::pin(run::run(args)))
}
