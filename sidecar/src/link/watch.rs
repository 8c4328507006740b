//! Follows the versions that the server commits, and whether there is a server at all.
//!
//! A long poll is always under way. That it breaks is the first sign of a server that went away; that it is answered again is the sign that
//! it is back, and then everything that was taken from it before is forgotten, because what happened in between is not known.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    ask::AskError,
    pool::Socket,
    wire::{VERSIONS_PATH, Versions, WAIT_SECONDS_MAX},
};
use crate::log::Notices;

/// First pause after a poll failed, and the longest. Short: a connect to a socket of this machine costs nothing.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// Time beyond the wait that was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// What is known of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether the newest poll was answered or is under way.
    pub up: bool,
    /// Id of the server's state store, once it has told. The server was reached and its state is open.
    pub store_id: Option<Arc<str>>,
    /// The server's state is another one than before: what was kept of the old one must not be served.
    pub replaced: bool,
    /// The newest versions that it told of, by table.
    pub versions: BTreeMap<String, u64>,
}

/// The follower. [`Watch::run`] is to be spawned.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    notices: Notices,
    state: watch::Sender<LinkState>,
    epoch: String,
    seq: u64,
}

impl Watch {
    /// Follows the server behind `socket` and tells `notices`.
    pub fn new(socket: Socket, notices: Notices) -> (Self, watch::Receiver<LinkState>) {
        let (state, seen) = watch::channel(LinkState::default());
        // Nothing is known yet, so nothing is known to be wrong: requests are tried.
        let watch = Self {
            socket,
            notices,
            state,
            epoch: String::new(),
            seq: 0,
        };
        (watch, seen)
    }

    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = BACKOFF.0;
        while let Some(polled) = stop.run_until_cancelled(self.poll()).await {
            match polled {
                Ok(answer) => {
                    backoff = BACKOFF.0;
                    self.learn(answer);
                }
                Err(error) => {
                    if self.state.borrow().up {
                        tracing::warn!(%error, "the server is away; what is held is served");
                    } else {
                        tracing::debug!(%error, "the server is still away");
                    }
                    self.notices.origin_failed(error.told());
                    self.state.send_modify(|state| state.up = false);
                    // The next answer tells everything.
                    (self.seq, self.epoch) = (0, String::new());
                    if stop.run_until_cancelled(sleep(backoff)).await.is_none() {
                        return;
                    }
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    async fn poll(&self) -> Result<Versions, AskError> {
        // Who is away is asked for a sign of life, not for news.
        let wait = match self.state.borrow().up {
            true => WAIT_SECONDS_MAX,
            false => 0,
        };
        let uri = format!(
            "{VERSIONS_PATH}?after={}&epoch={}&wait={wait}",
            self.seq, self.epoch
        );
        self.socket
            .ask(&uri, Duration::from_secs(wait) + GRACE)
            .await
    }

    fn learn(&mut self, answer: Versions) {
        let was_up = self.state.borrow().up;
        if !was_up || answer.epoch != self.epoch {
            self.notices.invalidate_all();
        }
        for version in &answer.versions {
            self.notices.committed(&version.table, version.version);
        }
        self.notices.set_origin_up(true);
        if !was_up {
            tracing::info!(epoch = answer.epoch, "the server is there");
        }
        self.state.send_if_modified(|state| {
            let before = state.clone();
            state.up = true;
            if let Some(id) = answer.store_id.as_deref() {
                state.replaced |= state.store_id.as_deref().is_some_and(|known| known != id);
                state.store_id.get_or_insert_with(|| id.into());
            }
            for version in &answer.versions {
                state
                    .versions
                    .insert(version.table.clone(), version.version);
            }
            *state != before
        });
        (self.epoch, self.seq) = (answer.epoch, answer.seq);
    }
}
