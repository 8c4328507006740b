//! What both binaries do as processes: listen, wait for signals, tell the time.

use std::{io::ErrorKind, net::SocketAddr, str::FromStr, time::SystemTime};

use anyhow::{Context, bail};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// An address to listen on, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOn(pub Option<SocketAddr>);

impl FromStr for ListenOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| "not an address such as 127.0.0.1:8080, nor none".to_owned())
    }
}

impl std::fmt::Display for ListenOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// Listens on `address`, which was given by `flag`.
///
/// # Errors
/// A sentence that says what to do, when the address is in use.
pub async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = match TcpListener::bind(address).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "{flag} {address} is in use by another process; stop it, or give another address (port 0 picks a free one)"
            )
        }
        bound => bound.with_context(|| format!("{flag} {address}"))?,
    };
    let address = listener.local_addr().context("the address listened on")?;
    Ok((listener, address))
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the process cannot be told of signals.
pub async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
