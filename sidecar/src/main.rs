//! `vdt-sidecar`: the pod's front door.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use vdt_sidecar::{
    args::Args,
    exit, logging,
    process::{arguments, block_on},
    run,
};

/// Small texts by the dozen for each request: decision 13.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Two TLS providers are linked in; without a choice the first one that is needed would panic.
    drop(rustls::crypto::ring::default_provider().install_default());
    let args: Args = arguments();
    match logging::start(&args.log).and_then(|()| block_on(Box::pin(run::run(args)))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
