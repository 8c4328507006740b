//! What is kept of a table's rows between two refreshes, so that the rope of a file that stays is read once.
//!
//! A listing tells all of a row but its id. Of each row a digest of what a listing tells is kept, and the id:
//!
//! ```text
//!   file       digest, id of each row      listing       its rows are
//!   <hash>-1   d1 7, d2 9                  d1 d2 d3      those entries, with those ids
//!   <hash>-2   d4 8                                      read from the rope: one has changed, or is gone
//! ```
//!
//! Promise: the rows are what the rope would be read as. What is kept is called by the file's name, which is the hash of its rope, and a digest
//! covers all by which two entries differ, with as many bits as that name. Nothing outlives the process.
//!
//! Bounded: files beyond [`KEPT_BYTES_MAX`] are not kept, and read at each refresh.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{Hash, Hasher},
    sync::Arc,
};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use vdt_rope::{FileName, SourceObject};
use vdt_table::Artifact;

use crate::{
    log::AddedFile,
    plan::{CommittedFile, UnreadFile},
    source::{Entry, Listing, SourceError},
};

/// Bytes that are kept of a table at most: 2.7 million rows.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Bytes that a file takes beside its rows, reckoned.
const FILE_BYTES: usize = 160;

type Digest = [u8; 16];

/// See the module's documentation. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub(crate) struct KnownRows {
    kept: Arc<Mutex<Kept>>,
    most: usize,
}

impl Default for KnownRows {
    fn default() -> Self {
        Self {
            kept: Arc::default(),
            most: KEPT_BYTES_MAX,
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    files: BTreeMap<FileName, KnownFile>,
    bytes: usize,
}

#[derive(Debug)]
struct KnownFile {
    source: Arc<str>,
    /// In the order of the file.
    rows: Box<[KnownRow]>,
    artifact_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct KnownRow {
    digest: Digest,
    id: i64,
}

impl KnownFile {
    fn bytes(&self) -> usize {
        bytes_of(self.rows.len())
    }

    /// Its rows, if all of them are among `entries`.
    fn rows_among(
        &self,
        file: &AddedFile,
        entries: &HashMap<Digest, &Entry>,
    ) -> Option<CommittedFile> {
        let row = |row: &KnownRow| {
            let entry = entries.get(&row.digest)?;
            Some(Artifact {
                id: row.id,
                object: entry.object.clone(),
                storage_class: entry.storage_class.clone(),
                archived: entry.archived,
            })
        };
        Some(CommittedFile {
            path: file.path.clone(),
            size: file.size,
            source: self.source.clone(),
            artifacts: self.rows.iter().map(row).collect::<Option<_>>()?,
        })
    }

    fn count(&self, file: &AddedFile) -> UnreadFile {
        UnreadFile {
            path: file.path.clone(),
            size: file.size,
            rows: self.rows.len() as u64,
            artifact_bytes: self.artifact_bytes,
        }
    }
}

fn bytes_of(rows: usize) -> usize {
    FILE_BYTES + rows * size_of::<KnownRow>()
}

/// What is known of a file of a version.
#[derive(Debug)]
pub(crate) enum Told {
    /// Its rows.
    Rows(CommittedFile),
    /// How many rows, of a source whose rows nobody may need.
    Count(UnreadFile),
}

/// A source with its listing, if there is one.
pub(crate) type Listed = (Arc<str>, Result<Listing, SourceError>);

impl KnownRows {
    /// Keeps the rows of the file `name`, if there is room.
    pub(crate) fn keep(&self, name: FileName, source: &Arc<str>, artifacts: &[Artifact]) {
        let has_room = |kept: &Kept| {
            let is_kept = kept.files.contains_key(&name);
            !is_kept && kept.bytes + bytes_of(artifacts.len()) <= self.most
        };
        if !has_room(&self.kept.lock()) {
            return;
        }
        let rows = artifacts.iter().map(|row| KnownRow {
            digest: digest(&row.object, &row.storage_class, row.archived),
            id: row.id,
        });
        let sizes = artifacts.iter().map(|row| row.object.size);
        let file = KnownFile {
            source: source.clone(),
            rows: rows.collect(),
            artifact_bytes: sizes.fold(0, u64::saturating_add),
        };
        let mut kept = self.kept.lock();
        // Others have kept meanwhile.
        if has_room(&kept) {
            kept.bytes += file.bytes();
            kept.files.insert(name, file);
        }
    }

    /// What is known of each of `files`, which are all of a version: others are forgotten. Where nothing is, its rope has to be read. Of sources without a listing rows are counted only, if they
    /// `may_wait`. Blocks for as long as it takes to digest the listings.
    pub(crate) fn tell(
        &self,
        files: &[AddedFile],
        listed: &[Listed],
        may_wait: bool,
    ) -> Vec<Option<Told>> {
        let name = |file: &AddedFile| FileName::parse_parquet_file(&file.path);
        let names: BTreeSet<FileName> = files.iter().filter_map(name).collect();
        let mut kept = self.kept.lock();
        kept.files.retain(|name, _| names.contains(name));
        kept.bytes = kept.files.values().map(KnownFile::bytes).sum();
        if kept.files.is_empty() {
            return files.iter().map(|_| None).collect();
        }
        let entries: BTreeMap<&str, Option<HashMap<Digest, &Entry>>> = listed
            .iter()
            .map(|(source, listing)| (&**source, listing.as_ref().ok().map(by_digest)))
            .collect();
        let told = files.iter().map(|file| {
            let known = name(file).and_then(|name| kept.files.get(&name))?;
            match entries.get(&*known.source)? {
                Some(entries) => known.rows_among(file, entries).map(Told::Rows),
                None => may_wait.then(|| Told::Count(known.count(file))),
            }
        });
        told.collect()
    }
}

fn by_digest(listing: &Listing) -> HashMap<Digest, &Entry> {
    let entries = listing.entries.iter();
    let digests = entries.map(|entry| {
        (
            digest(&entry.object, &entry.storage_class, entry.archived),
            entry,
        )
    });
    digests.collect()
}

/// Digest of all that a listing tells of an artifact. Not to be stored: what is hashed is up to the standard library.
fn digest(object: &SourceObject, storage_class: &Option<Arc<str>>, archived: bool) -> Digest {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sha = Sha(Sha256::new());
    (object, storage_class, archived).hash(&mut sha);
    let mut digest = Digest::default();
    digest.copy_from_slice(&sha.0.finalize()[..size_of::<Digest>()]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(key: &str, id: i64) -> Artifact {
        Artifact {
            id,
            object: Arc::new(SourceObject {
                source: "00112233aabbccdd".into(),
                key: key.into(),
                size: 1,
                etag: Some("e".into()),
                last_modified_ms: 7,
                version: None,
            }),
            storage_class: None,
            archived: false,
        }
    }

    fn name(number: u8) -> FileName {
        FileName {
            hash: [number; 16],
            size: 5,
        }
    }

    fn added(number: u8) -> AddedFile {
        AddedFile {
            path: name(number).parquet_file(),
            size: 5,
            rows: None,
        }
    }

    /// A listing of the source `s` that shows these rows.
    fn listed(rows: &[Artifact]) -> Listed {
        let entries = rows.iter().map(|row| Entry {
            object: Arc::new((*row.object).clone()),
            storage_class: row.storage_class.clone(),
            archived: row.archived,
        });
        let listing = Listing {
            entries: entries.collect(),
            ..Listing::default()
        };
        ("s".into(), Ok(listing))
    }

    fn rows(told: &Option<Told>) -> Option<&[Artifact]> {
        match told {
            Some(Told::Rows(file)) => Some(&file.artifacts),
            Some(Told::Count(_)) | None => None,
        }
    }

    #[test]
    fn rows_are_told_only_where_the_listing_shows_all_of_them_as_they_are() {
        let known = KnownRows::default();
        let file = [artifact("a", 7), artifact("b", 3)];
        known.keep(name(1), &"s".into(), &file);
        let told = |rows: &[Artifact]| known.tell(&[added(1)], &[listed(rows)], true).remove(0);
        let more = [artifact("a", 0), artifact("aa", 0), artifact("b", 0)];
        assert_eq!(rows(&told(&more)), Some(&file[..]));
        assert!(rows(&told(&more[..2])).is_none());
        let other = |change: fn(&mut Artifact, &mut SourceObject)| {
            let mut row = file[1].clone();
            let mut object = (*row.object).clone();
            change(&mut row, &mut object);
            row.object = Arc::new(object);
            rows(&told(&[file[0].clone(), row])).is_none()
        };
        assert!(!other(|_, _| {}));
        assert!(other(|_, object| object.source = "another".into()));
        assert!(other(|_, object| object.key = "c".into()));
        assert!(other(|_, object| object.size = 2));
        assert!(other(|_, object| object.etag = None));
        assert!(other(|_, object| object.etag = Some("f".into())));
        assert!(other(|_, object| object.last_modified_ms = 8));
        assert!(other(|_, object| object.version = Some("e".into())));
        assert!(other(|row, _| row.storage_class = Some("GLACIER".into())));
        assert!(other(|row, _| row.archived = true));
    }

    #[test]
    fn a_file_of_another_source_or_of_another_name_is_not_told() {
        let known = KnownRows::default();
        let file = [artifact("a", 7)];
        known.keep(name(1), &"s".into(), &file);
        known.keep(name(2), &"t".into(), &file);
        let told = known.tell(&[added(1), added(2), added(3)], &[listed(&file)], true);
        let told: Vec<_> = told.iter().map(|told| rows(told).is_some()).collect();
        assert_eq!(told, [true, false, false]);
        let told = known.tell(&[added(1), added(2)], &[listed(&file)], true);
        assert!(rows(&told[0]).is_some(), "it is still known");
        // And those that a version does not have are forgotten.
        assert!(matches!(known.tell(&[], &[], true)[..], []));
        let told = known.tell(&[added(1)], &[listed(&file)], true);
        assert!(rows(&told[0]).is_none());
        assert_eq!(known.kept.lock().bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_kept_stays() {
        let known = KnownRows {
            most: 2 * bytes_of(2),
            ..KnownRows::default()
        };
        let file = |number: u8| {
            [
                artifact(&format!("{number}/a"), 1),
                artifact(&format!("{number}/b"), 2),
            ]
        };
        let files: Vec<_> = (0..3).map(file).collect();
        let listing = [listed(&files.concat())];
        let all: Vec<_> = (0..3).map(added).collect();
        for _ in 0..3 {
            for (number, rows) in (0..).zip(&files) {
                known.keep(name(number), &"s".into(), rows);
            }
            assert_eq!(known.kept.lock().bytes, known.most);
            let told = known.tell(&all, &listing, true);
            let told: Vec<_> = told.iter().map(|told| rows(told).is_some()).collect();
            assert_eq!(told, [true, true, false]);
        }
        // What leaves makes room.
        known.tell(&all[1..], &listing, true);
        known.keep(name(2), &"s".into(), &files[2]);
        let told = known.tell(&all, &listing, true);
        let told: Vec<_> = told.iter().map(|told| rows(told).is_some()).collect();
        assert_eq!(told, [false, true, true]);
    }
}
