//! Reads what a directory of regions holds, before foyer does, and empties what is not to be recovered.
//!
//! foyer recovers its index from the regions but tells nobody how many entries it found, nor which region is the oldest: after a
//! restart it frees regions in an arbitrary order. Both are read here from the index that begins each run of entries ("blob"):
//!
//! ```text
//!   0  u64  XXH64 of the rest of the index
//!   8  u32  entries
//!  12  for each: u64 hash, u64 sequence, u32 offset from the blob, u32 bytes      (integers big-endian)
//! ```
//!
//! This is foyer 0.22's private format. Nothing but counts and order rests on it: what foyer does not confirm is not counted, and
//! where the format changes, the count starts at zero and regions are freed in the order of their numbers.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
    panic::resume_unwind,
    path::Path,
    thread,
};

use tracing::info;
use twox_hash::XxHash64;

use super::layout::{BLOB_INDEX_BYTES, Geometry, region_files, region_path};
use crate::tiers::key::KeyHash;

const PAGE_BYTES: u64 = 4096;
const FIRST: usize = 12;
const STEP: usize = 24;
/// Regions read at once: enough to keep a disk busy that answers in a tenth of a millisecond.
const THREADS: usize = 8;

/// What the regions hold.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Hashes of the entries, each once, the oldest first.
    pub(super) hashes: Vec<u64>,
    /// The newest sequence number in each region that holds any.
    pub(super) regions: HashMap<u32, u64>,
}

/// Reads the indexes of the regions, and empties the oldest ones until `clean` of them are empty and the rest holds no more than
/// `entries_max` entries: the last one that stays is cut short. What cannot be read is taken for empty.
///
/// foyer 0.22 frees regions only as it takes empty ones. Opened without any, as after a shrink of the directory or a crash at the
/// wrong moment, it would wait for one for ever. And it recovers every entry that it finds, however little memory there is for its
/// index. What is emptied for that is not read here either, so that this takes no more memory.
///
/// # Errors
///
/// What the system says where a region cannot be written.
pub(super) fn recover(
    dir: &Path,
    geometry: Geometry,
    clean: u64,
    entries_max: u64,
) -> io::Result<Recovered> {
    let files = region_files(dir).unwrap_or_default();
    let firsts = each(&files, |(id, path)| {
        Some((first_sequence(path)?, u32::try_from(*id).ok()?))
    });
    let mut newest_first: Vec<(u64, u32)> = firsts.into_iter().flatten().collect();
    newest_first.sort_unstable_by_key(|region| Reverse(*region));

    let regions_max = geometry.regions.saturating_sub(clean);
    let mut recovered = Recovered::default();
    let mut seen: HashSet<u64, KeyHash> = HashSet::default();
    let mut room = usize::try_from(entries_max).unwrap_or(usize::MAX);
    let mut emptied = 0;
    for group in newest_first.chunks(THREADS) {
        let most = if room > 0 { usize::MAX } else { 0 };
        let read = |(_, id): &(u64, u32)| Region::read(&region_path(dir, *id), geometry, most);
        for ((_, id), mut region) in group.iter().zip(each(group, read)) {
            if recovered.regions.len() as u64 >= regions_max {
                room = 0;
            }
            let is_new = |hash: &&u64| !seen.contains(*hash);
            if room == 0 || region.hashes.iter().filter(is_new).count() > room {
                let path = region_path(dir, *id);
                region = Region::read(&path, geometry, room);
                let file = File::options().write(true).open(path)?;
                file.write_all_at(&[0; BLOB_INDEX_BYTES as usize], region.end)?;
                (room, emptied) = (0, emptied + 1);
            }
            let Some(newest) = region.newest else {
                continue;
            };
            recovered.regions.insert(*id, newest);
            // An older copy of an entry is the one that goes.
            let hashes = region.hashes.into_iter().rev();
            let before = recovered.hashes.len();
            recovered
                .hashes
                .extend(hashes.filter(|hash| seen.insert(*hash)));
            room = room.saturating_sub(recovered.hashes.len() - before);
        }
    }
    recovered.hashes.reverse();
    if emptied > 0 {
        info!(dir = %dir.display(), regions = emptied, "the oldest regions of the disk cache are emptied");
    }
    Ok(recovered)
}

/// Does the same for all items, on a few threads. Returns what comes of it in their order.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(THREADS).max(1);
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(share)
            .map(|items| scope.spawn(move || items.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Vec<R>>| match thread.join() {
            Ok(done) => done,
            Err(panic) => resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    })
}

/// What a region holds, or the first of it.
#[derive(Debug, Default)]
struct Region {
    /// Hashes of its entries in the order in which they came.
    hashes: Vec<u64>,
    /// The sequence number of the last one.
    newest: Option<u64>,
    /// Where the blob begins that follows, bytes.
    end: u64,
}

impl Region {
    /// Reads up to `most` entries of a region, in whole blobs.
    fn read(path: &Path, geometry: Geometry, most: usize) -> Self {
        let mut region = Self::default();
        let Ok(file) = File::open(path) else {
            return region;
        };
        while region.end + BLOB_INDEX_BYTES <= geometry.region_bytes {
            let Some((entries, length)) = read_index(&file, region.end) else {
                break;
            };
            if region.hashes.len() + entries.len() > most {
                break;
            }
            for (sequence, hash) in entries {
                // Numbers that go back are what an earlier use of the region left behind.
                if region.newest.is_some_and(|newest| sequence < newest) {
                    return region;
                }
                region.newest = Some(sequence);
                region.hashes.push(hash);
            }
            region.end += length;
        }
        region
    }
}

/// Returns the sequence number of the first entry of a region, if it holds any.
fn first_sequence(path: &Path) -> Option<u64> {
    let (entries, _) = read_index(&File::open(path).ok()?, 0)?;
    entries.first().map(|(sequence, _)| *sequence)
}

fn read_index(file: &File, at: u64) -> Option<(Vec<(u64, u64)>, u64)> {
    let mut index = [0; BLOB_INDEX_BYTES as usize];
    file.read_exact_at(&mut index, at).ok()?;
    parse(&index)
}

/// Returns the (sequence, hash) of each entry of a blob and the bytes of the blob, or nothing if it is no blob.
fn parse(index: &[u8]) -> Option<(Vec<(u64, u64)>, u64)> {
    let u64_at = |at: usize| Some(u64::from_be_bytes(index.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?));
    if u64_at(0)? != XxHash64::oneshot(0, index.get(8..)?) {
        return None;
    }
    let count = u32_at(8)? as usize;
    let mut entries = Vec::with_capacity(count.min(index.len() / STEP));
    let mut length = 0;
    for entry in 0..count {
        let at = FIRST + entry * STEP;
        entries.push((u64_at(at + 8)?, u64_at(at)?));
        length =
            u64::from(u32_at(at + 16)?) + u64::from(u32_at(at + 20)?).next_multiple_of(PAGE_BYTES);
    }
    (length > 0).then_some((entries, length))
}
