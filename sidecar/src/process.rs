//! What both binaries do as processes: read their arguments, run, listen, wait for signals and for the time.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, Command, Parser};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tracing::info;

/// Connections that wait to be accepted, at most: what tokio takes by itself.
const BACKLOG: u32 = 1024;

/// Time for threads to end by themselves when all else has ended.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// What says no to a flag in the environment.
const NO: [&str; 6] = ["0", "n", "no", "f", "false", "off"];

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

impl ListenOn {
    /// Listens there, if anywhere; otherwise as [`bind`].
    ///
    /// # Errors
    /// As [`bind`].
    pub async fn bind(self, flag: &str) -> anyhow::Result<Option<(TcpListener, SocketAddr)>> {
        match self.0 {
            Some(address) => bind(address, flag).await.map(Some),
            None => Ok(None),
        }
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

/// Listens on `address`, which was given by `flag`. `[::]` is every address of the machine, those of IPv4 too; where there is no IPv6 it is 0.0.0.0.
///
/// # Errors
/// A sentence that says what to do, when the address is in use.
pub async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = match listen(address, TcpSocket::new_v6).await {
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

/// Listens on `address`; `new_v6` makes a socket of IPv6. What a socket does with IPv4 is otherwise up to the system (`net.ipv6.bindv6only`).
/// `vdt-operator` does the same in `http.rs`: it depends on no crate of the pods.
async fn listen(
    address: SocketAddr,
    new_v6: impl FnOnce() -> io::Result<TcpSocket>,
) -> io::Result<TcpListener> {
    if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return TcpListener::bind(address).await;
    }
    let socket = match new_v6() {
        Ok(socket) => socket,
        // EAFNOSUPPORT, as a rule. Whatever else it is, the other family's socket has it too, and says it.
        Err(error) => {
            info!(%error, port = address.port(), "no IPv6 here: listening on 0.0.0.0");
            return TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
        }
    };
    rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Runs what a process does, to its end. Threads that a file system holds up then are left behind.
///
/// # Errors
/// When the system gives no threads, and those of `task`.
pub fn block_on(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let ended = runtime.block_on(task);
    // A thread that waits for a task of the runtime panics when the runtime ends (the Delta kernel's do): that is how it is cut off, and no news.
    std::panic::set_hook(Box::new(|panic| {
        tracing::debug!(%panic, "a thread was cut off by the end of the process");
    }));
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}

/// Reads the command line. A variable of the environment that is set to nothing, or that says no to a flag, counts as one that is not set.
#[must_use]
pub fn arguments<T: Parser>() -> T {
    let mut matches = without_idle(T::command()).get_matches();
    T::from_arg_matches_mut(&mut matches)
        .unwrap_or_else(|error| error.format(&mut T::command()).exit())
}

/// Takes from the command the variables that say nothing: what is set conflicts with other arguments, whatever it says.
fn without_idle(command: Command) -> Command {
    let is_idle = |argument: &Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| {
            let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
            value.is_empty() || (is_flag && NO.iter().any(|no| value.eq_ignore_ascii_case(no)))
        })
    };
    command
        .mut_args(|argument| match is_idle(&argument) {
            true => argument.env(None::<&str>),
            false => argument,
        })
        .mut_subcommands(without_idle)
}

/// A signal that comes so soon after another one is the same.
const ECHOES: Duration = Duration::from_millis(500);

/// SIGTERM and SIGINT from the moment that this is made: one that comes before somebody waits for it is not lost. Without it they end the process,
/// unless it is the first of a container, which the kernel lets ignore them.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Hears signals from now on.
    ///
    /// # Errors
    /// When the process cannot be told of signals.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("waiting for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("waiting for SIGINT")?,
        })
    }

    /// Waits for the next one, and answers which it was.
    pub async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }

    /// Waits for one that somebody sends after the one that has just come. Whoever passes signals on may send one twice, as timeout(1) does: to the
    /// process, and to all of its group.
    pub async fn another(&mut self) -> SignalKind {
        let echoes_end = Instant::now() + ECHOES;
        loop {
            let signal = self.next().await;
            if Instant::now() >= echoes_end {
                return signal;
            }
        }
    }
}

/// Ticks at once and then every `period`; one that comes late puts off the next.
pub(crate) fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    const EVERYWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    /// Of Linux.
    const EAFNOSUPPORT: i32 = 97;

    #[tokio::test]
    async fn every_address_is_listened_on_in_both_families() {
        let (listener, address) = bind(EVERYWHERE, "--listen").await.unwrap();
        for own in [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ] {
            // A machine whose kernel has no IPv6, or whose loopback has not.
            if own.is_ipv6() && std::net::TcpListener::bind((own, 0)).is_err() {
                continue;
            }
            let client = TcpStream::connect((own, address.port())).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.ip().to_canonical(), own);
            drop(client);
        }
    }

    #[tokio::test]
    async fn without_ipv6_every_address_of_ipv4_is_listened_on() {
        let none = || Err(io::Error::from_raw_os_error(EAFNOSUPPORT));
        let listener = listen(EVERYWHERE, none).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(address.ip(), Ipv4Addr::UNSPECIFIED);
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port()))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn one_address_is_listened_on_alone() {
        let none = || panic!("no socket of IPv6 is asked for");
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen(own, none).await.unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), own.ip());
    }

    #[tokio::test]
    async fn a_signal_that_comes_before_it_is_waited_for_is_not_lost() {
        let mut signals = Signals::new().unwrap();
        let kill = format!("kill -INT {}", std::process::id());
        let mut shell = std::process::Command::new("sh");
        assert!(shell.args(["-c", &kill]).status().unwrap().success());
        let heard = tokio::time::timeout(Duration::from_secs(20), signals.next()).await;
        assert_eq!(heard.unwrap(), SignalKind::interrupt());
    }

    #[tokio::test]
    async fn an_echo_of_a_signal_is_not_another_one() {
        let mut signals = Signals::new().unwrap();
        let kill = format!("kill -TERM {}", std::process::id());
        let send = || {
            let mut shell = std::process::Command::new("sh");
            assert!(shell.args(["-c", &kill]).status().unwrap().success());
        };
        send();
        tokio::time::pause();
        let early = tokio::time::timeout(ECHOES * 2, signals.another()).await;
        assert!(early.is_err(), "it came at once");
        let (another, ()) = tokio::join!(signals.another(), async {
            tokio::time::sleep(ECHOES).await;
            tokio::time::resume();
            send();
        });
        assert_eq!(another, SignalKind::terminate());
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_with_its_flag() {
        let (_first, address) = bind(EVERYWHERE, "--listen").await.unwrap();
        let refused = bind(address, "--listen").await.unwrap_err().to_string();
        assert!(
            refused.starts_with("--listen ") && refused.contains("is in use"),
            "{refused}"
        );
    }
}
