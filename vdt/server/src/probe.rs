//! `vdt probe`: whether a server answers on its socket, for a probe that execs. That a socket file lies there means nothing; that it is answered does.

use std::time::Duration;

use anyhow::{Context, bail};
use vdt_sidecar::link::{Socket, wire::PROBE_PATH};

use crate::args::ProbeArgs;

/// Bytes of an answer that is looked at.
const ANSWER_BYTES_MAX: usize = 4096;

/// Succeeds when the socket is served.
///
/// # Errors
/// When it is not, or not in time.
pub(crate) async fn run(args: ProbeArgs) -> anyhow::Result<()> {
    let request = http::Request::get(PROBE_PATH).body(bytes::Bytes::new())?;
    let answer = Socket::new(&args.socket)
        .exchange(
            request,
            ANSWER_BYTES_MAX,
            Duration::from_secs(args.timeout_seconds),
        )
        .await
        .with_context(|| format!("nothing serves the socket {}", args.socket.display()))?;
    if !answer.status().is_success() {
        bail!(
            "the socket {} answers {}: it is not one of vdt serve --origin-socket",
            args.socket.display(),
            answer.status()
        );
    }
    Ok(())
}
