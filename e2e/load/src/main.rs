//! `vdt-load get`: ranged GETs against one server, for the benchmarks. `vdt-load delay`: a proxy that makes the line to a server longer.
//!
//! - Closed loop (no `--rate`): each connection sends its next request when the last body has ended. Measures throughput.
//! - Open loop (`--rate N`): request number i is due at i/N seconds, whatever happened to those before it, and its latency counts from
//!   then. So a server that stalls is charged for everybody who would have waited: there is no coordinated omission. See `pace` for how it starts in time.
//!
//! What to ask for comes from a file, one target a line: `<path> <start> <end>`, a half-open range of bytes of that path. With `--range N`
//! each request reads N bytes at a random place of it. One thread, so that the generator takes at most one core from the server.

mod delay;
mod pace;
mod plan;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::time::Instant;

use pace::Pace;
use plan::{Plan, Targets};
use wire::{Connection, Server};

/// Load and delay for the benchmarks of vdt.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Ranged GETs against one server. Prints one JSON object.
    Get(Args),
    /// A TCP proxy whose every request arrives later. Prints its address.
    Delay {
        /// Address to listen on, port 0 picks a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Server that connections go to
        server: SocketAddr,
        /// Milliseconds
        #[arg(long, default_value_t = 25)]
        ms: u64,
    },
}

#[derive(Debug, clap::Args)]
struct Args {
    /// `http://host:port` or `https://host:port`
    server: String,
    /// File of targets, `<path> <start> <end>` a line
    #[arg(long)]
    targets: PathBuf,
    /// Bytes of each request, at a random place of its target; the whole target without it
    #[arg(long)]
    range: Option<u64>,
    /// Connections
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests a second, open loop; as many as go without it
    #[arg(long)]
    rate: Option<f64>,
    /// Exponent of a Zipf distribution over the targets in their order; 0 is uniform
    #[arg(long, default_value_t = 0.0)]
    zipf: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before, not measured
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Ask for every target once, in order, and measure nothing else
    #[arg(long)]
    once: bool,
    /// Certificate (PEM) to trust, for https
    #[arg(long)]
    cacert: Option<PathBuf>,
    /// Header to send, `name: value`
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
    /// Seed of the random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Latencies above an hour are an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// What one connection saw.
struct Seen {
    latency: Histogram<u64>,
    first_byte: Histogram<u64>,
    requests: u64,
    bytes: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Seen {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latency: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?,
            first_byte: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?,
            requests: 0,
            bytes: 0,
            errors: 0,
            first_error: None,
        })
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency.add(&other.latency)?;
        self.first_byte.add(&other.first_byte)?;
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    // An error says that somebody else has installed one, which would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match command {
        Command::Get(args) => tokio::task::LocalSet::new().block_on(&runtime, run(args)),
        Command::Delay { listen, server, ms } => {
            runtime.block_on(delay::run(listen, server, Duration::from_millis(ms)))
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let targets = Targets::read(&args.targets)
        .with_context(|| format!("--targets {}", args.targets.display()))?;
    let server = Rc::new(Server::new(
        &args.server,
        args.cacert.as_deref(),
        &args.headers,
    )?);
    let begin = Instant::now() + Duration::from_millis(20);
    let measured = begin + Duration::from_secs_f64(args.warmup);
    let end = measured + Duration::from_secs_f64(args.seconds);
    let plan = Rc::new(Plan::new(
        targets, args.range, args.zipf, args.rate, args.once, begin, args.seed,
    ));
    let window = if args.once {
        begin..begin + Duration::from_secs(3600)
    } else {
        measured..end
    };
    let pace = Rc::new(Pace::default());
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..args.connections.max(1) {
        let (server, plan, window) = (Rc::clone(&server), Rc::clone(&plan), window.clone());
        let pace = Rc::clone(&pace);
        workers.spawn_local(async move { work(&server, &plan, &pace, window).await });
    }
    let working = async {
        let mut seen = Seen::new()?;
        while let Some(worker) = workers.join_next().await {
            seen.add(&worker??)?;
        }
        anyhow::Ok(seen)
    };
    let seen = tokio::select! {
        seen = working => seen?,
        ended = pace.run() => bail!("the pacer ended: {ended:?}"),
    };
    let seconds = if args.once {
        begin.elapsed().as_secs_f64()
    } else {
        args.seconds
    };
    println!("{}", report(&seen, seconds));
    Ok(())
}

/// One connection's requests, until the window closes or the plan has no more.
async fn work(
    server: &Server,
    plan: &Plan,
    pace: &Pace,
    window: std::ops::Range<Instant>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::new()?;
    let mut connection: Option<Connection> = None;
    while let Some(request) = plan.next() {
        if request.due >= window.end || Instant::now() >= window.end {
            break;
        }
        pace.wait(request.due).await;
        let started = if plan.is_open_loop() {
            request.due
        } else {
            Instant::now()
        };
        let answer = match Connection::reuse(connection.take(), server).await {
            Ok(open) => open.get(server, &request).await,
            Err(error) => Err(error),
        };
        let is_measured = started >= window.start;
        match answer {
            Ok((open, answer)) => {
                connection = Some(open);
                if is_measured {
                    seen.requests += 1;
                    seen.bytes += answer.bytes;
                    seen.latency.saturating_record(micros(started, answer.end));
                    seen.first_byte
                        .saturating_record(micros(started, answer.first_byte));
                }
            }
            Err(error) => {
                seen.errors += 1;
                seen.first_error.get_or_insert_with(|| format!("{error:#}"));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    Ok(seen)
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

fn report(seen: &Seen, seconds: f64) -> serde_json::Value {
    let quantiles = |histogram: &Histogram<u64>| {
        json!({
            "p50": histogram.value_at_quantile(0.5), "p90": histogram.value_at_quantile(0.9),
            "p99": histogram.value_at_quantile(0.99), "p999": histogram.value_at_quantile(0.999),
            "max": histogram.max(),
        })
    };
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    json!({
        "requests": seen.requests, "errors": seen.errors, "first_error": seen.first_error, "seconds": seconds, "bytes": seen.bytes,
        "requests_per_second": seen.requests as f64 / seconds, "bytes_per_second": seen.bytes as f64 / seconds,
        "latency_us": quantiles(&seen.latency), "first_byte_us": quantiles(&seen.first_byte),
        "generator_cpu_seconds": used.tv_sec as f64 + used.tv_nsec as f64 / 1e9,
    })
}
