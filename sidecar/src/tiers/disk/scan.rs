//! Reads what a directory of regions holds, before foyer does.
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
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
};

use twox_hash::XxHash64;

use super::layout::{BLOB_INDEX_BYTES, Geometry, region_files, region_path};

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

/// Reads the indexes of all regions. What cannot be read is taken for empty.
pub(super) fn scan(dir: &Path, geometry: Geometry) -> Recovered {
    let files = region_files(dir).unwrap_or_default();
    let share = files.len().div_ceil(THREADS).max(1);
    let found: Vec<(u32, Vec<(u64, u64)>)> = thread::scope(|scope| {
        let threads: Vec<_> = files
            .chunks(share)
            .map(|files| {
                scope.spawn(move || {
                    files
                        .iter()
                        .filter_map(|file| read(file, geometry))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    });
    let regions = found
        .iter()
        .filter_map(|(id, entries)| {
            Some((*id, entries.iter().map(|(sequence, _)| *sequence).max()?))
        })
        .collect();
    let mut entries: Vec<(u64, u64)> = found.into_iter().flat_map(|(_, entries)| entries).collect();
    // Newest first within a hash, so that the older copies are the ones that go.
    entries.sort_unstable_by_key(|(sequence, hash)| (*hash, std::cmp::Reverse(*sequence)));
    entries.dedup_by_key(|(_, hash)| *hash);
    entries.sort_unstable();
    Recovered {
        hashes: entries.into_iter().map(|(_, hash)| hash).collect(),
        regions,
    }
}

impl Recovered {
    /// Empties the oldest regions until `clean` of them are empty.
    ///
    /// foyer 0.22 frees regions only as it takes empty ones. Opened without any, as after a shrink of the directory or a crash at the
    /// wrong moment, it would wait for one for ever.
    ///
    /// # Errors
    ///
    /// What the system says where a region cannot be written.
    pub(super) fn empty_oldest(
        &mut self,
        dir: &Path,
        geometry: Geometry,
        clean: u64,
    ) -> io::Result<()> {
        while geometry.regions.saturating_sub(self.regions.len() as u64) < clean {
            let oldest = self.regions.iter().min_by_key(|(_, sequence)| **sequence);
            let Some(id) = oldest.map(|(id, _)| *id) else {
                return Ok(());
            };
            let file = File::options().write(true).open(region_path(dir, id))?;
            file.write_all_at(&[0; BLOB_INDEX_BYTES as usize], 0)?;
            self.regions.remove(&id);
        }
        Ok(())
    }
}

fn read((id, path): &(u64, PathBuf), geometry: Geometry) -> Option<(u32, Vec<(u64, u64)>)> {
    let id = u32::try_from(*id).ok()?;
    let file = File::open(path).ok()?;
    read_region(&file, geometry.region_bytes)
        .ok()
        .map(|entries| (id, entries))
}

fn read_region(file: &File, region_bytes: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut entries: Vec<(u64, u64)> = Vec::new();
    let mut index = vec![0u8; BLOB_INDEX_BYTES as usize];
    let mut at = 0;
    while at + BLOB_INDEX_BYTES <= region_bytes {
        if file.read_exact_at(&mut index, at).is_err() {
            break;
        }
        let Some((found, length)) = parse(&index) else {
            break;
        };
        for entry in found {
            // Numbers that go back are what an earlier use of the region left behind.
            if entries.last().is_some_and(|last| entry.0 < last.0) {
                return Ok(entries);
            }
            entries.push(entry);
        }
        at += length;
    }
    Ok(entries)
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
