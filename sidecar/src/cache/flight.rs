//! Single flight: what is being fetched, and who waits for it.
//!
//! A [`Flight`] is an entry under way: a buffer that grows, which any number of readers follow from any offset. [`Flights`] finds it by
//! the entry's key, if it is of an object of the same size: two may share an ETag, and so their keys. Every fetch has one [`Interest`], which counts
//! those who want any of its flights, and which fetches that one read began together share; when nobody does, the fetch may end. Both change under
//! the lock of [`Flights`] alone, so nobody joins what is being given up.
//!
//! A reader never holds a flight back: the buffer grows as fast as the origin sends. It is bounded by the entry's size, and the number of
//! those that grow at once by the permits of their fetches.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use object_store::{Error, path::Path};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Notify, SetOnce, watch},
    time::{Instant, sleep_until},
};

use super::error::{CacheError, Failure};
use crate::tiers::{EntryMeta, Key};

/// Whoever lags behind an entry under way gets copies of so many bytes of it.
const COPIED_BYTES_MAX: u64 = 256 << 10;

/// An entry under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// Bytes of the entry.
    length: u64,
    /// Bytes of the object that it is of.
    size: u64,
    /// Whether a reader has asked for it: it may have been begun for nobody in particular.
    asked: SetOnce<()>,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the origin said of the object.
    meta: Option<Arc<EntryMeta>>,
    /// What has come, as long as more is to come: a buffer of the entry's own, so that what it came in can be used again.
    filling: BytesMut,
    /// What came last, and its offset: whoever keeps up gets it as it is.
    last: (u64, Bytes),
    /// The whole entry.
    whole: Option<Bytes>,
    end: Option<Result<(), Failure>>,
}

impl State {
    /// Bytes of the half-open `range` from its start on, as far as they have come.
    fn part(&self, range: Range<u64>) -> Option<Bytes> {
        let (at, bytes) = match &self.whole {
            Some(whole) => (0, whole),
            None => (self.last.0, &self.last.1),
        };
        let end = range.end.min(at + bytes.len() as u64);
        if at <= range.start && range.start < end {
            return Some(bytes.slice((range.start - at) as usize..(end - at) as usize));
        }
        let end = range
            .end
            .min(range.start + COPIED_BYTES_MAX)
            .min(self.filling.len() as u64);
        let copied = self.filling.get(range.start as usize..end as usize)?;
        (!copied.is_empty()).then(|| Bytes::copy_from_slice(copied))
    }
}

impl Flight {
    pub(super) fn new(length: u64, size: u64) -> Arc<Self> {
        Arc::new(Self {
            length,
            size,
            asked: SetOnce::new(),
            state: watch::Sender::new(State::default()),
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Waits until a reader asks for it.
    pub(super) async fn asked(&self) {
        self.asked.wait().await;
    }

    /// The origin has answered.
    pub(super) fn answered(&self, meta: &Arc<EntryMeta>) {
        self.state
            .send_modify(|state| state.meta = Some(Arc::clone(meta)));
    }

    /// More bytes; never more than the entry has.
    pub(super) fn push(&self, chunk: Bytes) {
        self.state.send_modify(|state| {
            let at = state.filling.len();
            debug_assert!((at + chunk.len()) as u64 <= self.length);
            if at == 0 {
                state.filling.reserve(self.length as usize);
            }
            state.filling.extend_from_slice(&chunk);
            state.last = (at as u64, chunk);
        });
    }

    pub(super) fn missing(&self) -> u64 {
        self.length - self.state.borrow().filling.len() as u64
    }

    /// All bytes, of which none is missing.
    pub(super) fn assemble(&self) -> Bytes {
        let mut whole = Bytes::new();
        self.state.send_if_modified(|state| {
            whole = std::mem::take(&mut state.filling).freeze();
            state.whole = Some(whole.clone());
            state.last = Default::default();
            // Its last bytes are passed on when it is complete.
            false
        });
        whole
    }

    /// The entry is verified.
    pub(super) fn complete(&self) {
        self.state.send_modify(|state| state.end = Some(Ok(())));
    }

    pub(super) fn fail(&self, failure: Failure) {
        self.state.send_modify(|state| {
            state.end.get_or_insert(Err(failure));
        });
    }
}

/// One reader of a flight. Whoever drops it no longer wants the flight.
#[derive(Debug)]
pub(super) struct Follower {
    flight: Arc<Flight>,
    changes: watch::Receiver<State>,
    _wanted: Wanted,
}

impl Follower {
    /// Bytes of the entry.
    pub(super) fn length(&self) -> u64 {
        self.flight.length()
    }

    /// Waits until the origin has answered.
    pub(super) async fn meta(&mut self) -> Result<Arc<EntryMeta>, Failure> {
        loop {
            {
                let state = self.changes.borrow_and_update();
                match (&state.meta, &state.end) {
                    (_, Some(Err(failure))) => return Err(failure.clone()),
                    (Some(meta), _) => return Ok(Arc::clone(meta)),
                    (None, _) => {}
                }
            }
            self.changed().await?;
        }
    }

    /// The next bytes of the half-open `range` of the entry, which is then advanced; `None` at its end. The last bytes of an entry
    /// are passed on only when the fetch has verified that they are.
    pub(super) async fn next(&mut self, range: &mut Range<u64>) -> Option<Result<Bytes, Failure>> {
        if range.is_empty() {
            return None;
        }
        loop {
            {
                let state = self.changes.borrow_and_update();
                let is_complete = matches!(state.end, Some(Ok(())));
                if let Some(part) = state.part(range.clone()) {
                    let end = range.start + part.len() as u64;
                    if end < self.flight.length || is_complete {
                        range.start = end;
                        return Some(Ok(part));
                    }
                }
                match &state.end {
                    Some(Err(failure)) => return Some(Err(failure.clone())),
                    // Nobody wants more of an entry than it has.
                    Some(Ok(())) => return Some(Err(given_up(&Path::default()))),
                    None => {}
                }
            }
            if let Err(failure) = self.changed().await {
                return Some(Err(failure));
            }
        }
    }

    async fn changed(&mut self) -> Result<(), Failure> {
        // The follower holds the flight, and so its sender.
        self.changes
            .changed()
            .await
            .map_err(|_| given_up(&Path::default()))
    }
}

pub(super) fn given_up(location: &Path) -> Failure {
    Failure::new(Error::from(CacheError::GivenUp {
        location: location.clone(),
    }))
}

/// Who wants what one fetch, or several that were begun together, bring.
#[derive(Debug, Default)]
pub(super) struct Interest {
    wanted: Mutex<Wishes>,
    lost: Notify,
}

#[derive(Debug)]
struct Wishes {
    count: usize,
    /// Since when there are none.
    ended: Option<Instant>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            count: 0,
            ended: Some(Instant::now()),
        }
    }
}

impl Interest {
    /// Waits until nobody has wanted it for a while. Somebody may want it again: [`Flights::give_up`] tells.
    pub(super) async fn lost(&self, lingers: Duration) {
        loop {
            // Before the look: what ends meanwhile is told to it.
            let lost = self.lost.notified();
            let ended = self.wanted.lock().ended;
            match ended {
                Some(ended) if lingers.is_zero() || ended.elapsed() >= lingers => return,
                Some(ended) => sleep_until(ended + lingers).await,
                None => lost.await,
            }
        }
    }

    /// Follows a flight that its fetch brings.
    pub(super) fn follow(self: &Arc<Self>, flight: &Arc<Flight>) -> Follower {
        // Whoever was first has said it.
        let _ = flight.asked.set(());
        Follower {
            changes: flight.state.subscribe(),
            flight: Arc::clone(flight),
            _wanted: self.want(),
        }
    }

    pub(super) fn want(self: &Arc<Self>) -> Wanted {
        let mut wishes = self.wanted.lock();
        wishes.count += 1;
        wishes.ended = None;
        Wanted(Arc::clone(self))
    }
}

/// Somebody wants it.
#[derive(Debug)]
pub(super) struct Wanted(Arc<Interest>);

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut wishes = self.0.wanted.lock();
        wishes.count -= 1;
        if wishes.count == 0 {
            wishes.ended = Some(Instant::now());
            drop(wishes);
            self.0.lost.notify_waiters();
        }
    }
}

type Slots = HashMap<Key, (Arc<Flight>, Arc<Interest>)>;

/// What is being fetched.
#[derive(Debug, Default)]
pub(super) struct Flights {
    slots: Mutex<Slots>,
}

impl Flights {
    /// Held while somebody looks what there is and begins what there is not.
    pub(super) fn lock(&self) -> Registry<'_> {
        Registry(self.slots.lock())
    }

    /// Removes a flight of the fetch that `interest` is about.
    pub(super) fn remove(&self, interest: &Arc<Interest>, key: Key) {
        self.lock().remove(interest, key);
    }

    /// Removes `keys` if nobody wants them; whether it did.
    pub(super) fn give_up(
        &self,
        interest: &Arc<Interest>,
        keys: impl Iterator<Item = Key>,
    ) -> bool {
        let mut registry = self.lock();
        let is_unwanted = interest.wanted.lock().count == 0;
        if is_unwanted {
            for key in keys {
                registry.remove(interest, key);
            }
        }
        is_unwanted
    }

    /// Flights under way.
    pub(super) fn len(&self) -> usize {
        self.lock().0.len()
    }
}

/// The flights, locked.
pub(super) struct Registry<'a>(MutexGuard<'a, Slots>);

impl Registry<'_> {
    pub(super) fn contains(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }

    /// Joins what is under way under this key, of an object of so many bytes.
    pub(super) fn follow(&self, key: Key, size: u64) -> Option<Follower> {
        let (flight, interest) = self.0.get(&key)?;
        (flight.size == size).then(|| interest.follow(flight))
    }

    /// Another fetch may have begun the same entry since: that one stays.
    fn remove(&mut self, interest: &Arc<Interest>, key: Key) {
        if let Entry::Occupied(slot) = self.0.entry(key)
            && Arc::ptr_eq(&slot.get().1, interest)
        {
            slot.remove();
        }
    }

    /// A new flight, if there is none under this key.
    pub(super) fn start(&mut self, key: Key, flight: &Arc<Flight>, interest: &Arc<Interest>) {
        self.0
            .entry(key)
            .or_insert_with(|| (Arc::clone(flight), Arc::clone(interest)));
    }
}
