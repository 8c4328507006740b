//! Who walks a file forward.
//!
//! Bodies that begin about where another one of their file ended are a scan when the third of them comes; the order may differ a
//! little, because clients read several at once. One lookup, or two that happen to be neighbours, are not, and those elsewhere in the
//! file count against it. A scan's entries are candidates, not residents, and the file is read ahead of it. Within one body
//! that is longer than a run the same is done from its start, up to its end: those bytes are asked for already. A body far longer than
//! a row group is a scan by itself, unless it is one large object that is looked up.

use std::{collections::VecDeque, ops::Range, time::Duration};

use object_store::path::Path;
use parking_lot::Mutex;
use tokio::time::Instant;
use vdt_rope::ReadContext;

use crate::tiers::Insert;

/// Files that are watched; whoever was read longest ago is forgotten.
const FILES_MAX: usize = 128;

/// Bodies of one file that are remembered: clients read several at once.
const BODIES_MAX: usize = 16;

/// A body that begins so near behind the end of another follows it: small columns and headers lie between. Bytes. With more, lookups in a
/// file of some hundred artifacts would be taken for scans.
const NEAR_BYTES: u64 = 128 << 10;

/// Bodies that are read at once skip each other by not more than this, bytes.
const AROUND_BYTES: u64 = 16 << 20;

/// A longer body that holds several objects walks the file, bytes. A row group has some 2 MiB.
const LONG_BODY_BYTES: u64 = 8 << 20;

/// So many bodies have to follow others.
const FOLLOWED_MIN: u32 = 2;

/// More do not count, so that a scan that turns into lookups is soon no scan.
const FOLLOWED_MAX: u32 = 4;

/// After so long without a read of the file, what was read before says nothing.
const FOLLOWED_TIME: Duration = Duration::from_secs(30);

/// What a read is part of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// How its entries are kept.
    pub(super) how: Insert,
    /// What is to be read ahead now: a half-open range of the file.
    pub(super) ahead: Option<Range<u64>>,
}

/// The files that were read lately, most recent first.
#[derive(Debug)]
pub(super) struct Scans {
    read_ahead_bytes: u64,
    run_bytes: u64,
    tracks: Mutex<VecDeque<Track>>,
}

#[derive(Debug)]
struct Track {
    file: Path,
    /// Most recent first, each with the end of what was read ahead in it.
    bodies: VecDeque<(Range<u64>, u64)>,
    followed: u32,
    /// When a body of it was read last.
    read: Instant,
    /// Where what was read ahead ends.
    ahead: u64,
    /// Bytes of the last window that was read ahead.
    window: u64,
}

impl Scans {
    pub(super) fn new(read_ahead_bytes: u64, run_bytes: u64) -> Self {
        Self {
            read_ahead_bytes,
            run_bytes,
            tracks: Mutex::default(),
        }
    }

    /// Takes note of a read.
    pub(super) fn observe(&self, context: &ReadContext) -> Seen {
        self.note(
            &context.file,
            &context.body,
            context.at,
            context.object.size,
            context.map.bytes(),
        )
    }

    fn note(
        &self,
        file: &Path,
        body: &Range<u64>,
        at: u64,
        object_bytes: u64,
        file_bytes: u64,
    ) -> Seen {
        let mut tracks = self.tracks.lock();
        match tracks.iter().position(|track| track.file == *file) {
            Some(0) => {}
            Some(place) => {
                let track = tracks.remove(place);
                tracks.extend(track);
                tracks.rotate_right(1);
            }
            None => {
                tracks.push_front(Track {
                    file: file.clone(),
                    bodies: VecDeque::new(),
                    followed: 0,
                    read: Instant::now(),
                    ahead: 0,
                    window: 0,
                });
                tracks.truncate(FILES_MAX);
            }
        }
        let seen = tracks[0].note(body, at, file_bytes, self);
        let length = body.end - body.start;
        let is_long = length > LONG_BODY_BYTES && object_bytes < length / 2;
        Seen {
            how: if is_long { Insert::Candidate } else { seen.how },
            ..seen
        }
    }
}

impl Track {
    fn note(&mut self, body: &Range<u64>, at: u64, file_bytes: u64, scans: &Scans) -> Seen {
        let now = Instant::now();
        if now - self.read > FOLLOWED_TIME {
            self.followed = 0;
        }
        self.read = now;
        if !self.bodies.iter().any(|(known, _)| known == body) {
            self.begin(body);
        }
        let is_scan = self.followed >= FOLLOWED_MIN;
        let how = if is_scan {
            Insert::Candidate
        } else {
            Insert::Resident
        };
        let ahead = self.inside(body, at, scans).or_else(|| {
            is_scan
                .then(|| self.beyond(body, file_bytes, scans))
                .flatten()
        });
        Seen { how, ahead }
    }

    fn begin(&mut self, body: &Range<u64>) {
        let gap = |from: u64, to: u64| to.checked_sub(from);
        let is_within = |gap: Option<u64>, bytes: u64| gap.is_some_and(|gap| gap <= bytes);
        let known = || self.bodies.iter().map(|(known, _)| known);
        let follows = known().any(|known| is_within(gap(known.end, body.start), NEAR_BYTES));
        let precedes = known().any(|known| is_within(gap(body.end, known.start), NEAR_BYTES));
        let overlaps = known().any(|known| known.start < body.end && body.start < known.end);
        let is_around = known().any(|known| {
            is_within(gap(known.end, body.start), AROUND_BYTES)
                || is_within(gap(body.end, known.start), AROUND_BYTES)
        });
        if follows {
            self.followed = (self.followed + 1).min(FOLLOWED_MAX);
        } else if precedes || overlaps {
            // A body that was overtaken by the next one, or read again: says nothing.
        } else if is_around {
            self.followed = self.followed.saturating_sub(1);
        } else {
            // Somewhere else: a new walk, or a lookup.
            (self.followed, self.ahead, self.window) = (0, 0, 0);
            self.bodies.clear();
        }
        self.bodies.push_front((body.clone(), body.start));
        self.bodies.truncate(BODIES_MAX);
    }

    /// What of a long body is to be read now that `at` is asked for.
    fn inside(&mut self, body: &Range<u64>, at: u64, scans: &Scans) -> Option<Range<u64>> {
        if body.end - body.start <= scans.run_bytes || scans.read_ahead_bytes == 0 {
            return None;
        }
        let (_, ahead) = self.bodies.iter_mut().find(|(known, _)| known == body)?;
        let all = scans.read_ahead_bytes;
        window(ahead, at, body.end, (all, all))
    }

    /// What behind the body is to be read: little at first, for it may have been lookups after all.
    fn beyond(&mut self, body: &Range<u64>, file_bytes: u64, scans: &Scans) -> Option<Range<u64>> {
        if scans.read_ahead_bytes == 0 {
            return None;
        }
        let next = (2 * self.window).clamp(
            scans.run_bytes.min(scans.read_ahead_bytes),
            scans.read_ahead_bytes,
        );
        let found = window(&mut self.ahead, body.end, file_bytes, (self.window, next))?;
        self.window = next;
        Some(found)
    }
}

/// The next bytes of read-ahead, `next` at most, when less than half of the `last` are left.
fn window(ahead: &mut u64, at: u64, end: u64, (last, next): (u64, u64)) -> Option<Range<u64>> {
    let until = at.saturating_add(next).min(end);
    let start = (*ahead).max(at);
    let is_due = start < until && (start - at <= last / 2);
    is_due.then(|| {
        *ahead = until;
        start..until
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const FILE: u64 = 1 << 30;

    fn scans() -> Scans {
        Scans::new(8 * MIB, 2 * MIB)
    }

    fn note(scans: &Scans, body: Range<u64>) -> Seen {
        scans.note(&Path::from("f"), &body, body.start, 100_000, FILE)
    }

    #[test]
    fn lookups_are_no_scan() {
        let scans = scans();
        let lookup = Seen {
            how: Insert::Resident,
            ahead: None,
        };
        for at in [5, 100, 7, 300, 301, 8, 9] {
            let body = at * 2 * MIB..at * 2 * MIB + 100_000;
            assert_eq!(note(&scans, body), lookup, "{at}");
        }
    }

    #[test]
    fn many_lookups_in_a_small_file_are_no_scan() {
        let scans = scans();
        // A linear congruential generator over a thousand artifacts of 100 kB.
        let mut state = 1u64;
        let mut taken_for_scans = 0;
        for _ in 0..10_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) % 1000 * 100_004;
            taken_for_scans += u32::from(note(&scans, at..at + 100_000).how == Insert::Candidate);
        }
        assert!(taken_for_scans < 100, "{taken_for_scans} of 10,000");
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_after_a_scan_are_no_scan() {
        let scans = scans();
        let body = |n: u64| n * 2 * MIB + 1000..(n + 1) * 2 * MIB - 1000;
        for n in 0..9 {
            note(&scans, body(n));
        }
        let lookup = 4 * MIB + 5000..4 * MIB + 9000;
        assert_eq!(note(&scans, lookup.clone()).how, Insert::Candidate);
        tokio::time::advance(FOLLOWED_TIME + Duration::from_secs(1)).await;
        assert_eq!(note(&scans, lookup).how, Insert::Resident);
    }

    #[test]
    fn the_third_body_in_a_row_is_a_scan_and_each_byte_is_read_ahead_once() {
        let scans = scans();
        let body = |n: u64| n * 2 * MIB + 1000..(n + 1) * 2 * MIB - 1000;
        assert_eq!(note(&scans, body(0)).how, Insert::Resident);
        assert_eq!(note(&scans, body(1)).how, Insert::Resident);
        let mut end = None;
        for n in 2..100 {
            let seen = note(&scans, body(n));
            assert_eq!(seen.how, Insert::Candidate);
            if let Some(ahead) = seen.ahead {
                assert!(ahead.end <= body(n).end + 8 * MIB);
                assert_eq!(ahead.start, end.unwrap_or(body(n).end));
                end = Some(ahead.end);
            }
            let least = if n < 4 { 2 * (n - 1) } else { 4 } * MIB;
            assert!(end.is_some_and(|end| end >= body(n).end + least - 2000));
            assert_eq!(note(&scans, body(n)).ahead, None, "of one body, once");
        }
    }

    #[test]
    fn reading_ahead_begins_with_little() {
        let scans = scans();
        let body = |n: u64| n * 2 * MIB..(n + 1) * 2 * MIB;
        let ahead = |n| note(&scans, body(n)).ahead.map(|it| it.end - body(n).end);
        assert_eq!((ahead(0), ahead(1)), (None, None));
        let windows = [ahead(2), ahead(3), ahead(4)];
        assert_eq!(windows, [2, 4, 8].map(|mib| Some(mib * MIB)));
        // Elsewhere in the file it begins anew.
        assert_eq!((ahead(200), ahead(201)), (None, None));
        assert_eq!(ahead(202), Some(2 * MIB));
    }

    #[test]
    fn bodies_that_come_out_of_order_are_a_scan() {
        let scans = scans();
        let mut is_scan = false;
        for n in [1, 0, 2, 4, 3, 5, 0, 1] {
            is_scan = note(&scans, n * 2 * MIB..(n + 1) * 2 * MIB).how == Insert::Candidate;
        }
        assert!(is_scan);
    }

    #[test]
    fn a_long_body_is_read_ahead_up_to_its_end() {
        let scans = scans();
        let (file, body) = (Path::from("f"), 10..20 * MIB);
        let mut ends = vec![10];
        for at in (10..20 * MIB).step_by(100_000) {
            let seen = scans.note(&file, &body, at, 100_000, FILE);
            assert_eq!(seen.how, Insert::Candidate);
            let large = scans.note(&file, &body, at, 19 * MIB, FILE);
            assert_eq!(large.how, Insert::Resident, "one object is looked up");
            if let Some(ahead) = seen.ahead {
                assert_eq!(ahead.start, ends[ends.len() - 1]);
                ends.push(ahead.end);
            }
        }
        assert_eq!(ends[ends.len() - 1], 20 * MIB);
    }

    #[test]
    fn files_are_forgotten() {
        let scans = scans();
        for n in 0..1000 {
            scans.note(&Path::from(format!("f{n}")), &(0..5), 0, 5, 9);
        }
        assert_eq!(scans.tracks.lock().len(), FILES_MAX);
    }
}
