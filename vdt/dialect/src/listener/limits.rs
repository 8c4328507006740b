//! What clients may take of a listener and of the surface behind it.

use std::time::Duration;

/// What clients may take. The listener keeps the limits of connections, [`DataSurface`](crate::DataSurface) those of requests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. Default 4,096: 200 busy clients of 20 connections, and with full headers 128 MiB. Beyond it the connection that has
    /// been without a request for longest is closed to make room; while all have one, clients wait in the kernel's queue.
    pub connections: usize,
    /// Time to send a request's headers once they have begun, and for the first request of a connection to begin. Default 15 s.
    pub header_timeout: Duration,
    /// Time that a connection may stay open between requests. Default 60 s: as long as clients keep idle connections for.
    pub idle_timeout: Duration,
    /// Time for a TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Time in which a client that is owed bytes must take [`PROGRESS_BYTES`] of them. Default 30 s, about 2 kB/s: slower than any link that is
    /// worth serving, and short enough that readers who stopped do not pile up.
    pub progress_timeout: Duration,
    /// Requests of the data surface at a time, 503 beyond. Default 2,048.
    pub requests_in_flight: usize,
    /// Bytes of bodies that connections were given and their clients have not taken, as a listener with the metrics of the data surface counts
    /// them; new requests get 503 beyond, unless others give way (`hold_timeout`). Default 256 MiB: with bodies in pieces of at most 1 MiB, 256
    /// readers that all stopped at once. Requests that were let in before go on. What a store reads ahead of that is the store's to bound.
    pub bytes_in_flight: u64,
    /// Time in which a client may leave a piece of a body untaken whatever others want. Beyond `bytes_in_flight` those that have held theirs longer
    /// are disconnected, the slowest first, as far as makes room for who asks; beyond `requests_in_flight` one at a time. Default 5 s: for pieces of
    /// 1 MiB 200 kB/s.
    pub hold_timeout: Duration,
}

/// The least progress of a reader in [`Limits::progress_timeout`], in bytes. As much as one piece of a body over HTTP/2.
pub const PROGRESS_BYTES: u64 = 64 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(30),
            requests_in_flight: 2048,
            bytes_in_flight: 256 * 1024 * 1024,
            hold_timeout: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Those of an admin listener, which anybody may ask for health and metrics: 512 connections, and 5 s for what was asked for. Few come, and who takes
    /// nothing must not keep a probe out for long.
    pub fn of_admin() -> Self {
        Self {
            connections: 512,
            progress_timeout: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// How often a connection's clocks are looked at: a quarter of the shortest, from 10 ms to 5 s.
    pub(super) fn tick(&self) -> Duration {
        let shortest = self
            .header_timeout
            .min(self.idle_timeout)
            .min(self.progress_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }
}
