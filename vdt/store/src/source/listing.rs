//! What a source holds, as one listing saw it.
//!
//! A [`Listing`] is complete: an interrupted or failing listing is a [`SourceError`](super::SourceError) and never a
//! shorter `Listing`, because whatever is missing from a listing is taken out of the table. What is there but cannot be
//! served (names that no object path can hold, sockets, links out of the folder) is counted by reason, with examples.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vdt_rope::SourceObject;

use super::key::example;

/// One artifact of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What rows and ropes refer to, shared from here on. S3 services tell its time in whole seconds.
    pub object: Arc<SourceObject>,
    /// Storage class as the service names it.
    pub storage_class: Option<Arc<str>>,
    /// True where the bytes cannot be read without a restore.
    pub archived: bool,
}

/// Why something in a source is not an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// The name is not UTF-8.
    NotUtf8,
    /// The key holds a newline or another control character.
    ControlCharacter,
    /// The key holds `//`.
    EmptySegment,
    /// The key holds `.` or `..` between slashes.
    DotSegment,
    /// The key begins with a slash.
    LeadingSlash,
    /// The key ends with a slash and has content.
    TrailingSlash,
    /// An empty object whose key ends with a slash: a folder of a console.
    FolderMarker,
    /// The key is the prefix itself, so nothing is left for a file name.
    EmptyName,
    /// The path is longer than the system can open (4,095 bytes), or the key and its tags than a rope can hold (32 KiB).
    TooLong,
    /// A socket, a pipe or a device.
    SpecialFile,
    /// A symbolic link that leads out of the folder.
    LinkOutside,
    /// A symbolic link to nothing.
    LinkBroken,
    /// A symbolic link to a folder that it lies in, or one of too many in a row; a folder behind too many of them.
    LinkLoop,
    /// The `lost+found` of a volume, which only root may read.
    SystemFolder,
    /// Any other key that an object path cannot hold.
    Unservable,
}

impl SkipReason {
    /// Names the reason in CamelCase, for conditions, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotUtf8 => "NotUtf8",
            Self::ControlCharacter => "ControlCharacter",
            Self::EmptySegment => "EmptySegment",
            Self::DotSegment => "DotSegment",
            Self::LeadingSlash => "LeadingSlash",
            Self::TrailingSlash => "TrailingSlash",
            Self::FolderMarker => "FolderMarker",
            Self::EmptyName => "EmptyName",
            Self::TooLong => "TooLong",
            Self::SpecialFile => "SpecialFile",
            Self::LinkOutside => "LinkOutside",
            Self::LinkBroken => "LinkBroken",
            Self::LinkLoop => "LinkLoop",
            Self::SystemFolder => "SystemFolder",
            Self::Unservable => "Unservable",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "names that are not UTF-8",
            Self::ControlCharacter => "keys with a newline or another control character",
            Self::EmptySegment => "keys with //",
            Self::DotSegment => "keys with . or .. between slashes",
            Self::LeadingSlash => "keys that begin with a slash",
            Self::TrailingSlash => "keys that end with a slash",
            Self::FolderMarker => "folder markers",
            Self::EmptyName => "keys that are the prefix itself",
            Self::TooLong => "names too long to serve",
            Self::SpecialFile => "sockets, pipes and devices",
            Self::LinkOutside => "symbolic links out of the folder",
            Self::LinkBroken => "symbolic links to nothing",
            Self::LinkLoop => "symbolic links in a circle, or too many",
            Self::SystemFolder => "folders of the file system itself",
            Self::Unservable => "keys that cannot be served",
        })
    }
}

/// How often something was skipped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The first few keys, escaped for print; at most [`Skipped::EXAMPLES`].
    pub examples: Vec<String>,
}

impl Skipped {
    /// Most examples kept for a reason.
    pub const EXAMPLES: usize = 5;

    /// Counts one more.
    pub(super) fn note(&mut self, name: &[u8]) {
        self.count += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(example(name));
        }
    }

    fn add(&mut self, more: Self) {
        self.count += more.count;
        let room = Self::EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(more.examples.into_iter().take(room));
    }
}

/// Everything that a source holds below its prefix and that its globs let through.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Artifacts, each key once, in byte order of their keys.
    pub entries: Vec<Entry>,
    /// What was left out because it cannot be served.
    pub skipped: BTreeMap<SkipReason, Skipped>,
    /// Artifacts that this user may not open for reading, as far as a listing can tell. They are artifacts all the same.
    pub unreadable: Skipped,
    /// How many the `include` and `exclude` globs left out.
    pub excluded: u64,
    /// Requests sent, or folders read.
    pub requests: u64,
    /// Bytes of all artifacts together.
    pub bytes: u64,
    /// How long the listing took.
    pub elapsed: Duration,
    /// Canonical path of the folder that was read, where it is one.
    pub folder: Option<PathBuf>,
}

/// A part of a listing, as one page or one folder gives it. Parts arrive in any order.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) entries: Vec<Entry>,
    pub(super) skipped: BTreeMap<SkipReason, Skipped>,
    pub(super) unreadable: Skipped,
    pub(super) excluded: u64,
    pub(super) requests: u64,
}

impl Part {
    /// Counts something that is not an artifact.
    pub(super) fn skip(&mut self, reason: SkipReason, name: &[u8]) {
        self.skipped.entry(reason).or_default().note(name);
    }
}

impl Listing {
    /// Takes one part in.
    pub(super) fn add(&mut self, part: Part) {
        let Part {
            entries,
            skipped,
            unreadable,
            excluded,
            requests,
        } = part;
        self.bytes = self.bytes.saturating_add(bytes(&entries));
        self.entries.extend(entries);
        self.excluded += excluded;
        self.requests += requests;
        for (reason, more) in skipped {
            self.skipped.entry(reason).or_default().add(more);
        }
        self.unreadable.add(unreadable);
    }

    /// In a sentence, that some artifacts cannot be read, if so.
    pub fn warning(&self) -> Option<String> {
        let Skipped { count, examples } = &self.unreadable;
        let first = examples.first()?;
        let files = if *count == 1 { "file" } else { "files" };
        Some(format!(
            "{count} {files} cannot be read by this user, first: {first}"
        ))
    }

    /// Whether it has `key`. It must be [finished](Self::finish).
    pub(crate) fn has(&self, key: &str) -> bool {
        self.position(key).is_ok()
    }

    /// What it shows under `key`. It must be [finished](Self::finish).
    pub(super) fn get(&self, key: &str) -> Option<&SourceObject> {
        let found = self.position(key).ok()?;
        Some(&self.entries[found].object)
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        let order = |entry: &Entry| (*entry.object.key).cmp(key);
        self.entries.binary_search_by(order)
    }

    /// With what was asked for by itself, which is newer: entries that it lacked, and others in the place of those that it has.
    pub(super) fn with(mut self, newer: Vec<Entry>) -> Self {
        let mut lacked = Vec::new();
        for entry in newer {
            match self.position(&entry.object.key) {
                Ok(at) => self.entries[at] = entry,
                Err(_) => lacked.push(entry),
            }
        }
        self.entries.extend(lacked);
        let elapsed = self.elapsed;
        self.finish(elapsed)
    }

    /// Sorts by key and leaves each key once: the one modified last, where a source told a key twice.
    pub(super) fn finish(mut self, elapsed: Duration) -> Self {
        // A listing is mostly runs in order, which the stable sort takes in linear time.
        self.entries.sort_by(|a, b| {
            let (a, b) = (&a.object, &b.object);
            a.key
                .cmp(&b.key)
                .then(b.last_modified_ms.cmp(&a.last_modified_ms))
        });
        self.entries
            .dedup_by(|later, kept| later.object.key == kept.object.key);
        self.entries.shrink_to_fit();
        self.bytes = bytes(&self.entries);
        self.elapsed = elapsed;
        self
    }
}

fn bytes(entries: &[Entry]) -> u64 {
    let sizes = entries.iter().map(|entry| entry.object.size);
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(key: &str, size: u64, last_modified_ms: i64) -> Entry {
        Entry {
            object: Arc::new(SourceObject {
                source: "0123456789abcdef".into(),
                key: key.into(),
                size,
                etag: None,
                last_modified_ms,
                version: None,
            }),
            storage_class: None,
            archived: false,
        }
    }

    #[test]
    fn parts_in_any_order_make_one_sorted_listing_without_doubles() {
        let mut listing = Listing::default();
        listing.add(Part {
            entries: vec![entry("b", 2, 5), entry("a/x", 1, 5)],
            requests: 1,
            ..Part::default()
        });
        listing.add(Part {
            entries: vec![entry("a b", 4, 5), entry("b", 3, 9)],
            requests: 1,
            ..Part::default()
        });
        let listing = listing.finish(Duration::ZERO);
        let objects = listing.entries.iter().map(|entry| &entry.object);
        let keys: Vec<_> = objects.map(|it| (&*it.key, it.size)).collect();
        assert_eq!(keys, [("a b", 4), ("a/x", 1), ("b", 3)]);
        assert_eq!((listing.bytes, listing.requests), (8, 2));
    }

    #[test]
    fn sizes_that_no_number_holds_together_end_at_the_largest() {
        let mut listing = Listing::default();
        for key in ["a", "b", "c"] {
            listing.add(Part {
                entries: vec![entry(key, i64::MAX as u64, 5)],
                ..Part::default()
            });
        }
        assert_eq!(listing.bytes, u64::MAX);
        assert_eq!(listing.finish(Duration::ZERO).bytes, u64::MAX);
    }

    #[test]
    fn examples_are_bounded_and_counts_are_not() {
        let mut listing = Listing::default();
        for _ in 0..3 {
            let mut part = Part::default();
            for n in 0..4 {
                part.skip(SkipReason::NotUtf8, &[b'x', n, 0xff]);
            }
            listing.add(part);
        }
        let skipped = &listing.skipped[&SkipReason::NotUtf8];
        assert_eq!((skipped.count, skipped.examples.len()), (12, 5));
        assert_eq!(skipped.examples[1], "x\\x01\\xff");
    }
}
