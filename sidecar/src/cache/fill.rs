//! The entries that one request fills.
//!
//! A [`Fill`] deals the bytes that come out to the flights that wait for them, and ends each of them once: complete, or failed. An entry
//! becomes resident before its flight ends, so whoever finds no flight finds the entry.

use std::{collections::VecDeque, future::Future, ops::Range, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::select_all, stream::BoxStream};
use object_store::{Error, GetResult, path::Path};

use super::{
    Shared,
    error::{CacheError, Failure},
    flight::{Flight, Interest, Registry, given_up},
    limits::{Ahead, Limit, Permit},
    object::Object,
};
use crate::tiers::{Class, Entry, EntryMeta, Insert, Key};

/// A run that nobody follows goes on so long: a reader of many neighbours wants a few of them at a time.
const RUN_LINGERS: Duration = Duration::from_millis(200);

/// One entry that a fetch brings.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) key: Key,
    pub(super) class: Class,
    pub(super) flight: Arc<Flight>,
    /// What is known of it before; `None`: what the origin answers.
    pub(super) meta: Option<Arc<EntryMeta>>,
    /// Where its bytes lie in what the origin sends, in order and half-open.
    pub(super) spans: VecDeque<Range<u64>>,
}

impl Target {
    /// An entry of an object of `size` bytes.
    pub(super) fn new(
        key: Key,
        class: Class,
        size: u64,
        meta: Option<Arc<EntryMeta>>,
        spans: impl IntoIterator<Item = Range<u64>>,
    ) -> Self {
        let spans: VecDeque<_> = spans.into_iter().collect();
        let length = spans.iter().map(|span| span.end - span.start).sum();
        Self {
            key,
            class,
            flight: Flight::new(length, size),
            meta,
            spans,
        }
    }
}

/// What is fetched, from whom, and for whom.
pub(super) struct Order {
    pub(super) location: Path,
    /// Whose permit it needs.
    pub(super) limit: Arc<Limit>,
    /// Those who want any of it, or of what was begun with it.
    pub(super) interest: Arc<Interest>,
    pub(super) how: Insert,
    /// Whether it brings neighbours of what was asked for.
    pub(super) is_run: bool,
    /// Whether it brings what nobody has asked for yet, and leaves permits to those who ask.
    pub(super) is_ahead: bool,
}

impl Order {
    /// For an object by itself.
    pub(super) fn of(shared: &Shared, location: &Path, how: Insert) -> Self {
        Self {
            location: location.clone(),
            limit: shared.limits.of(location),
            interest: Arc::default(),
            how,
            is_run: false,
            is_ahead: false,
        }
    }
}

/// The entries that a fetch fills. Dropped, it fails those that are not complete.
pub(super) struct Fill {
    pub(super) shared: Arc<Shared>,
    pub(super) order: Order,
    pub(super) targets: VecDeque<Target>,
    place: Option<Ahead>,
    permit: Option<Permit>,
    meta: Option<Arc<EntryMeta>>,
}

impl Fill {
    /// Registers `targets`, which have no flights yet: the caller holds the registry since it looked. One whose key has the flight of another object is
    /// found by nobody.
    pub(super) fn start(
        shared: &Arc<Shared>,
        registry: &mut Registry<'_>,
        order: Order,
        targets: VecDeque<Target>,
    ) -> Self {
        for target in &targets {
            registry.start(target.key, &target.flight, &order.interest);
        }
        Self {
            shared: Arc::clone(shared),
            order,
            targets,
            place: None,
            permit: None,
            meta: None,
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.targets.iter().map(|target| target.key)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.targets.iter().map(|it| it.flight.length()).sum()
    }

    /// The result of `work`, or `None` when nobody wants it any longer, or the store closes.
    async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        // Who reads many neighbours wants a few of them at a time, and is about to ask for the next.
        let lingers = if self.order.is_run {
            RUN_LINGERS
        } else {
            Duration::ZERO
        };
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.shared.stop.cancelled() => return None,
                () = self.order.interest.lost(lingers) => {
                    if self.shared.flights.give_up(&self.order.interest, self.keys()) {
                        self.shared.counters.given_up.inc();
                        return None;
                    }
                }
            }
        }
    }

    /// Waits until it may ask.
    pub(super) async fn admit(&mut self) -> Option<()> {
        if self.order.is_ahead {
            let asked = self
                .targets
                .iter()
                .map(|target| target.flight.asked().boxed());
            let place = async {
                tokio::select! {
                    place = self.order.limit.ahead() => Some(place),
                    // A reader waits for it, and must not wait for what is read ahead.
                    _ = select_all(asked) => None,
                }
            };
            let place = self.unless_lost(place).await?;
            self.place = place;
        }
        let permit = self.unless_lost(self.order.limit.permit()).await?;
        self.permit = Some(permit?);
        Some(())
    }

    /// Waits until it may ask, and asks. `None` where that has failed, or nobody wants it any longer.
    pub(super) async fn answer(
        mut self,
        request: impl Future<Output = object_store::Result<GetResult>>,
    ) -> Option<(Self, GetResult)> {
        self.admit().await?;
        match self.unless_lost(request).await? {
            Ok(result) => Some((self, result)),
            Err(error) => {
                self.fail(Failure::new(error));
                None
            }
        }
    }

    pub(super) fn answered(&mut self, meta: EntryMeta) {
        let meta = Arc::new(meta);
        for target in &self.targets {
            target
                .flight
                .answered(target.meta.as_ref().unwrap_or(&meta));
        }
        self.meta = Some(meta);
    }

    /// Deals out bytes that lie at `at` of what the origin sends.
    fn feed(&mut self, at: u64, chunk: &Bytes) {
        let end = at + chunk.len() as u64;
        while let Some(target) = self.targets.front_mut() {
            while let Some(span) = target.spans.front_mut() {
                let part = span.start.max(at)..span.end.min(end);
                if part.is_empty() {
                    if span.end > at {
                        return;
                    }
                    target.spans.pop_front();
                    continue;
                }
                let slice = (part.start - at) as usize..(part.end - at) as usize;
                target.flight.push(chunk.slice(slice));
                span.start = part.end;
                if !span.is_empty() {
                    return;
                }
                target.spans.pop_front();
            }
            if self.targets.len() == 1 {
                return;
            }
            self.complete_front();
        }
    }

    /// The entry at the front has all its bytes: it becomes resident, then its flight ends.
    fn complete_front(&mut self) {
        let Some(target) = self.targets.pop_front() else {
            return;
        };
        let Some(meta) = target.meta.as_ref().or(self.meta.as_ref()) else {
            target.flight.fail(given_up(&self.order.location));
            return;
        };
        let entry = Entry {
            meta: (**meta).clone(),
            bytes: target.flight.assemble(),
        };
        let shared = &self.shared;
        shared
            .tiers
            .insert(target.class, target.key, entry, self.order.how);
        shared.flights.remove(&self.order.interest, target.key);
        target.flight.complete();
    }

    /// The body has ended where it was to end.
    fn finish(mut self) {
        while self
            .targets
            .front()
            .is_some_and(|target| target.flight.missing() == 0)
        {
            self.complete_front();
        }
    }

    pub(super) fn fail(mut self, failure: Failure) {
        match (failure.error(), &mut self.permit) {
            (Error::Generic { .. }, Some(permit)) => permit.failed(),
            // That it has changed, or may not be read, is an answer.
            (_, Some(permit)) => permit.answered(),
            (_, None) => {}
        }
        let failure = if self.order.is_run {
            failure.of_run()
        } else {
            failure
        };
        self.fail_all(&failure);
    }

    fn fail_all(&mut self, failure: &Failure) {
        for target in self.targets.drain(..) {
            self.shared.flights.remove(&self.order.interest, target.key);
            target.flight.fail(failure.clone());
        }
    }

    /// Takes a body of the bytes `range` to its end.
    pub(super) async fn pump(
        mut self,
        range: Range<u64>,
        mut body: BoxStream<'static, object_store::Result<Bytes>>,
        is_cut: bool,
    ) {
        let mut at = range.start;
        loop {
            let Some(next) = self.unless_lost(body.next()).await else {
                return;
            };
            match next {
                Some(Ok(chunk)) => {
                    if let Some(permit) = &mut self.permit {
                        permit.answered();
                    }
                    self.shared.counters.bytes.inc_by(chunk.len() as u64);
                    let end = at + chunk.len() as u64;
                    if end > range.end && !is_cut {
                        let failure = self.wrong_length(&range, end, true);
                        return self.fail(failure);
                    }
                    self.feed(at, &chunk);
                    at = end;
                    if is_cut && at >= range.end {
                        return self.finish();
                    }
                }
                Some(Err(error)) => return self.fail(Failure::new(error)),
                None if at < range.end => {
                    let failure = self.wrong_length(&range, at, false);
                    return self.fail(failure);
                }
                None => return self.finish(),
            }
        }
    }

    fn wrong_length(&self, range: &Range<u64>, at: u64, is_more: bool) -> Failure {
        Failure::new(CacheError::Length {
            location: self.order.location.clone(),
            expected: range.end - range.start,
            found: at - range.start,
            is_more,
        })
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.targets.is_empty() {
            let failure = given_up(&self.order.location);
            self.fail_all(&failure);
        }
    }
}

impl Fill {
    /// Flights for the blocks that lie wholly in `range` and have none.
    pub(super) fn open_blocks(&mut self, object: &Object, range: Range<u64>) {
        let (shared, interest) = (Arc::clone(&self.shared), Arc::clone(&self.order.interest));
        let block_bytes = shared.options.block_bytes_of(object.size);
        let mut registry = shared.flights.lock();
        let first = range.start.div_ceil(block_bytes);
        for block in (first..).take_while(|block| block * block_bytes < range.end) {
            let span = block * block_bytes..object.size.min((block + 1) * block_bytes);
            if span.end > range.end {
                break;
            }
            let key = object.identity.block_key(block_bytes, block);
            if !registry.contains(key) {
                let target = Target::new(key, object.class, object.size, None, [span]);
                registry.start(key, &target.flight, &interest);
                self.targets.push_back(target);
            }
        }
    }

    /// Ends the flight of the name: the origin has answered.
    pub(super) fn complete_opening(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.answered();
        }
        if let Some(target) = self.targets.pop_front() {
            self.shared.flights.remove(&self.order.interest, target.key);
            target.flight.complete();
        }
    }
}
