//! `kubectl vt`: VirtualTables for people.
//!
//! ```text
//! status   [NAME]      conditions in words, and what to do            virtualtables, pods; the pods' admin API
//! plan     NAME|-f F   what would change, and what would follow       a server-side dry run; the operator's own pure stages
//! snippets NAME        what to paste into a client                    virtualtables
//! refresh  NAME        list the sources now                           the pods' admin API
//! top      [NAME]      fill and hit rates of caches                   the pods' admin API
//! ```
//!
//! It writes nothing to the cluster. Pods are reached through the API server by a forwarded port, which arrives at a pod as a connection of its own
//! machine: anyone who may get and create `pods/portforward` in the namespace may ask, without the operator's key. A pod that does not answer is named, and
//! the others are shown.

mod advice;
mod args;
mod cluster;
mod complete;
mod diff;
mod live;
mod output;
mod plan;
mod pods;
mod proxy;
mod refresh;
mod snippets;
mod status;
mod table;
mod top;
mod units;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use cluster::Cluster;

fn main() -> ExitCode {
    // Two TLS providers are linked in; without a choice the first client would panic.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Complete(args) = &cli.command {
        return complete::run(args).await;
    }
    let cluster = Cluster::connect(&cli.cluster).await?;
    let code = match cli.command {
        Command::Status(args) => status::run(&cluster, &args).await,
        Command::Plan(args) => plan::run(&cluster, &args).await,
        Command::Snippets(args) => snippets::run(&cluster, &args).await,
        Command::Refresh(args) => refresh::run(&cluster, &args).await,
        Command::Top(args) => top::run(&cluster, &args).await,
        Command::Complete(_) => Ok(ExitCode::SUCCESS), // above
    }?;
    Ok(match cluster.cut() {
        Some(part) => {
            output::warn(&format!("error: {part}"));
            ExitCode::FAILURE
        }
        None => code,
    })
}

fn failed(error: &anyhow::Error) -> ExitCode {
    output::warn(&format!("error: {error:#}"));
    ExitCode::FAILURE
}
