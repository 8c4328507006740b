//! What a refresh must do, decided from the current version and the listings alone. Pure: no clock, no I/O.
//!
//! ```text
//!   current rows (from ropes)   listing            outcome
//!   key a, etag 1               key a, etag 1      kept
//!   key b, etag 1               key b, etag 2      changed: b's file is re-laid, b keeps its id
//!   key c                       -                  deleted: c's file is re-laid without it
//!   -                           key d              new: next id, a new file
//!   -                           key e, too young   held back until it settles
//! ```
//!
//! Files that stay as they are and are many and small become fewer ([`Merge`]).
//!
//! Promises: applying a plan leaves the table in the listing's state for every source that was listed; ids are given in the
//! order (source name, key bytes), never twice; a source without a complete listing, or one whose listing shrank
//! suspiciously, stays as it is. Invariant 2 is kept here too: what may be half-written is not published, so young artifacts
//! are held back.

mod merge;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vdt_table::{Artifact, FileGroup, Layout, SourceContext, groups};

pub use self::merge::Merge;

use self::merge::Most;
use crate::source::{Entry, Listing};

/// Rows of one committed data file, by key.
#[derive(Debug, Clone)]
pub struct CommittedFile {
    /// `add.path`.
    pub path: String,
    /// `add.size`, bytes.
    pub size: u64,
    /// Name of the source that the file's artifacts come from.
    pub source: Arc<str>,
    /// Sorted by key bytes.
    pub artifacts: Vec<Artifact>,
}

/// A committed data file whose rows nobody has needed so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadFile {
    /// `add.path`.
    pub path: String,
    /// `add.size`, bytes.
    pub size: u64,
    /// How many rows it has.
    pub rows: u64,
    /// Bytes of all their artifacts.
    pub artifact_bytes: u64,
}

/// What the newest version holds.
#[derive(Debug, Clone, Default)]
pub struct Current {
    /// Data files.
    pub files: Vec<CommittedFile>,
    /// More of them, of sources without a listing that are not laid out again: they stay.
    pub unread: Vec<UnreadFile>,
    /// High-water mark: the id that the next new artifact gets.
    pub next_id: i64,
}

/// A source as the refresh sees it: what it is, and what it holds if that could be told.
#[derive(Debug)]
pub struct Listed {
    /// Name, prefix and URL of the source.
    pub context: Arc<SourceContext>,
    /// `None`: the source could not be listed completely, its last state stands.
    pub listing: Option<Listing>,
    /// Its files are laid out again, changed or not: columns, layout or the source's declaration were edited.
    pub relay: bool,
    /// The source's declaration was edited, so a listing that shrank is meant.
    pub edited: bool,
}

/// Rules of a refresh.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Milliseconds an artifact must be unchanged before it is published.
    pub settle_ms: i64,
    /// Whether a listing that lost more than half of its artifacts is refused.
    pub hold_shrunk: bool,
}

/// Why a source stays at its last state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It could not be listed.
    NotListed,
    /// The listing would drop `dropped` of `known` artifacts.
    Shrunk {
        /// Artifacts that the listing lacks.
        dropped: u64,
        /// Artifacts of the last state.
        known: u64,
    },
}

/// When sources were listed, Unix milliseconds: each artifact was looked at somewhere between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedAt {
    /// Before the first request.
    pub began_ms: i64,
    /// After the last answer.
    pub ended_ms: i64,
}

/// Counts of what a plan does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Artifacts seen for the first time.
    pub new: u64,
    /// Artifacts whose object changed.
    pub changed: u64,
    /// Artifacts that are gone.
    pub deleted: u64,
    /// Artifacts younger than the settle time.
    pub unsettled: u64,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Paths of files that leave the table.
    pub remove: BTreeSet<String>,
    /// Files to lay out and add.
    pub add: Vec<FileGroup>,
    /// Files whose rows stay as they are, in fewer.
    pub merge: Merge,
    /// Files that stay, for those who need all rows.
    pub keep: Vec<CommittedFile>,
    /// More that stay.
    pub unread: Vec<UnreadFile>,
    /// High-water mark after this plan.
    pub next_id: i64,
    /// Counts.
    pub changes: Changes,
    /// Sources that stay at their last state, and why.
    pub held: BTreeMap<Arc<str>, Hold>,
}

impl Plan {
    /// Whether the table would have the same files afterwards.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty() && self.merge.remove.is_empty()
    }

    /// Artifacts in the table afterwards.
    pub fn artifacts(&self) -> u64 {
        let kept: usize = self.keep.iter().map(|file| file.artifacts.len()).sum();
        let unread: u64 = self.unread.iter().map(|file| file.rows).sum();
        let added = self.add.iter().chain(&self.merge.add);
        let added: usize = added.map(|group| group.artifacts.len()).sum();
        (kept + added) as u64 + unread
    }
}

/// Decides what a refresh must do. `listed` is every source of the manifest; a source of `current` that it lacks
/// has left the manifest and leaves the table.
pub fn plan(
    current: Current,
    listed: Vec<Listed>,
    layout: &Layout,
    policy: Policy,
    listed_at: ListedAt,
) -> Plan {
    let mut plan = Plan {
        next_id: current.next_id,
        unread: current.unread,
        ..Plan::default()
    };
    let mut by_source: BTreeMap<Arc<str>, Vec<CommittedFile>> = BTreeMap::new();
    for file in current.files {
        by_source.entry(file.source.clone()).or_default().push(file);
    }
    let mut listed = listed;
    listed.sort_by(|a, b| a.context.name.cmp(&b.context.name));
    for source in listed {
        let files = by_source.remove(&source.context.name).unwrap_or_default();
        plan_source(&mut plan, source, files, layout, policy, listed_at);
    }
    for file in by_source.into_values().flatten() {
        plan.changes.deleted += file.artifacts.len() as u64;
        plan.remove.insert(file.path);
    }
    plan
}

fn plan_source(
    plan: &mut Plan,
    source: Listed,
    files: Vec<CommittedFile>,
    layout: &Layout,
    policy: Policy,
    listed_at: ListedAt,
) {
    let context = source.context;
    let known: u64 = files.iter().map(|file| file.artifacts.len() as u64).sum();
    let listing = match source.listing {
        None => Err(Hold::NotListed),
        Some(listing) => {
            let dropped = count_dropped(&files, &listing);
            if policy.hold_shrunk && !source.edited && is_shrunk(dropped, known) {
                Err(Hold::Shrunk { dropped, known })
            } else {
                Ok(listing)
            }
        }
    };
    let entries = match listing {
        Ok(listing) => listing.entries,
        Err(hold) => {
            plan.held.insert(context.name.clone(), hold);
            return keep_or_relay(plan, &context, files, layout, source.relay);
        }
    };
    let reconciled = reconcile(plan, files, entries, policy, listed_at);
    let first_id = plan.next_id;
    plan.next_id += reconciled.fresh.len() as i64;
    let fresh = (first_id..)
        .zip(reconciled.fresh)
        .map(|(id, entry)| artifact(id, entry));
    if source.relay {
        let mut rows: Vec<Artifact> = reconciled
            .files
            .into_iter()
            .flat_map(|(file, _)| {
                plan.remove.insert(file.path);
                file.artifacts
            })
            .chain(fresh)
            .collect();
        rows.sort_unstable_by(|a, b| a.object.key.cmp(&b.object.key));
        plan.add.extend(groups(context, rows, layout));
        return;
    }
    let (dirty, clean): (Vec<_>, Vec<_>) = reconciled.files.into_iter().partition(|file| file.1);
    let files = |files: Vec<(CommittedFile, bool)>| files.into_iter().map(|file| file.0).collect();
    // What is laid out anew anyway is merged with its like, too: where all is rewritten all the time nothing else would be.
    let mut relaid = Merge::default();
    for file in relaid.take(files(dirty), &context, layout, Most::ALL) {
        plan.remove.insert(file.path);
        plan.add
            .extend(groups(context.clone(), file.artifacts, layout));
    }
    plan.remove.extend(relaid.remove);
    plan.add.extend(relaid.add);
    let clean = plan
        .merge
        .take(files(clean), &context, layout, Most::OF_A_VERSION);
    plan.keep.extend(clean);
    plan.add.extend(groups(context, fresh, layout));
}

fn keep_or_relay(
    plan: &mut Plan,
    context: &Arc<SourceContext>,
    files: Vec<CommittedFile>,
    layout: &Layout,
    relay: bool,
) {
    if !relay {
        plan.keep.extend(files);
        return;
    }
    let mut rows = Vec::new();
    for file in files {
        plan.remove.insert(file.path);
        rows.extend(file.artifacts);
    }
    rows.sort_unstable_by(|a, b| a.object.key.cmp(&b.object.key));
    plan.add.extend(groups(context.clone(), rows, layout));
}

/// Whether a listing lacks so many of the artifacts that were known that it is not believed.
pub(crate) fn is_shrunk(dropped: u64, known: u64) -> bool {
    dropped.saturating_mul(2) > known
}

fn count_dropped(files: &[CommittedFile], listing: &Listing) -> u64 {
    files
        .iter()
        .flat_map(|file| &file.artifacts)
        .filter(|artifact| !listing.has(&artifact.object.key))
        .count() as u64
}

/// Every file with the rows it has now and whether they differ, and what belongs to no file yet.
struct Reconciled {
    files: Vec<(CommittedFile, bool)>,
    /// Seen for the first time.
    fresh: Vec<Entry>,
}

fn reconcile(
    plan: &mut Plan,
    files: Vec<CommittedFile>,
    entries: Vec<Entry>,
    policy: Policy,
    listed_at: ListedAt,
) -> Reconciled {
    // Where each known key lies. Sorted, so that both sides are walked once.
    let mut known: Vec<(usize, Artifact)> = Vec::new();
    let mut by_file: Vec<(CommittedFile, bool)> = Vec::with_capacity(files.len());
    for (index, mut file) in files.into_iter().enumerate() {
        known.extend(file.artifacts.drain(..).map(|artifact| (index, artifact)));
        by_file.push((file, false));
    }
    known.sort_by(|a, b| a.1.object.key.cmp(&b.1.object.key));
    let mut known = known.into_iter().peekable();
    let changes = &mut plan.changes;
    // Collected in place: a first listing may be most of what memory holds.
    let fresh = entries.into_iter().filter_map(|entry| {
        let key = &entry.object.key;
        while let Some((index, _)) = known.next_if(|(_, row)| row.object.key < *key) {
            changes.deleted += 1;
            by_file[index].1 = true;
        }
        let settled = is_settled(&entry, policy.settle_ms, listed_at);
        match known.next_if(|(_, row)| row.object.key == *key) {
            Some((index, row)) if is_same(&row, &entry) => {
                by_file[index].0.artifacts.push(row);
                None
            }
            // One of another place has no row to keep: its file is laid out for this one.
            Some((index, row)) if !settled && row.object.source == entry.object.source => {
                changes.unsettled += 1;
                by_file[index].0.artifacts.push(row);
                None
            }
            Some((index, row)) => {
                changes.changed += 1;
                by_file[index].1 = true;
                by_file[index].0.artifacts.push(artifact(row.id, entry));
                None
            }
            None if !settled => {
                changes.unsettled += 1;
                None
            }
            None => {
                changes.new += 1;
                Some(entry)
            }
        }
    });
    let fresh = fresh.collect();
    for (index, _) in known {
        changes.deleted += 1;
        by_file[index].1 = true;
    }
    Reconciled {
        files: by_file,
        fresh,
    }
}

/// Whether an artifact had been left alone for the settle time when it was looked at, which may have been as early as the listing
/// began. One that lies further in the future than the settle time has a clock of its own; waiting for it would never end.
pub(crate) fn is_settled(entry: &Entry, settle_ms: i64, listed_at: ListedAt) -> bool {
    let modified_ms = entry.object.last_modified_ms;
    listed_at.began_ms.saturating_sub(modified_ms) >= settle_ms
        || modified_ms.saturating_sub(listed_at.ended_ms) > settle_ms
}

fn is_same(row: &Artifact, entry: &Entry) -> bool {
    row.object == entry.object
        && row.archived == entry.archived
        && row.storage_class == entry.storage_class
}

fn artifact(id: i64, entry: Entry) -> Artifact {
    Artifact {
        id,
        object: entry.object,
        storage_class: entry.storage_class,
        archived: entry.archived,
    }
}
