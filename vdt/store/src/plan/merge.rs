//! Which files are merged: of many small ones of a source few are made. The rows stay what they are, and no byte of an artifact is moved.
//!
//! ```text
//!   share of what a file may hold      class
//!   a quarter and more                 full, never merged
//!   from 1/64                          3
//!   from 1/1024                        2
//!   less                               1, 0
//! ```
//!
//! Where sixteen files are of one class all of it are merged, which mostly makes one of a higher class or a full one. So a row is laid out again three
//! times while its table grows (four from class 0, where a file may hold more than usual), however slowly that is, and what a refresh leaves is no
//! more than 15 files a class beside the full ones and those that it adds.
//!
//! One version merges so many files and rows at most ([`Most`]): where there are more, as in a table that grew before files were merged, those with the
//! least keys. The next refresh goes on, whether anything has changed or not. Neighbours become a file: where the ranges of files did not overlap, those of
//! merged ones do not.

use std::{collections::BTreeSet, sync::Arc};

use vdt_table::{Artifact, FileGroup, Layout, SourceContext, groups};

use super::CommittedFile;

/// Files of one class that are merged.
const MERGED: usize = 16;
/// Classes below that of full files, each up to a sixteenth of the one above.
const CLASSES: u32 = 4;
/// Share of a whole file: a quarter of it is where the classes end.
const WHOLE: u64 = 4 * 16_u64.pow(CLASSES);

/// How much is merged at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    files: usize,
    rows: usize,
}

impl Most {
    /// What is laid out for its own sake.
    pub(super) const ALL: Self = Self {
        files: usize::MAX,
        rows: usize::MAX,
    };
    /// What a version takes upon it: reckoned, a megabyte of actions and some forty of ropes.
    pub(super) const OF_A_VERSION: Self = Self {
        files: 4_096,
        rows: 262_144,
    };
}

/// Files that become fewer.
#[derive(Debug, Default)]
pub struct Merge {
    /// Paths of those that leave the table.
    pub remove: BTreeSet<String>,
    /// What they become: the same rows.
    pub add: Vec<FileGroup>,
}

impl Merge {
    /// Takes what is to be merged of `files`, which are of one source, and returns the others. It never holds more than `most`.
    pub(super) fn take(
        &mut self,
        files: Vec<CommittedFile>,
        source: &Arc<SourceContext>,
        layout: &Layout,
        most: Most,
    ) -> Vec<CommittedFile> {
        let mut classes: [Vec<CommittedFile>; CLASSES as usize] = Default::default();
        let mut others = Vec::new();
        for file in files {
            match classes.get_mut(class(&file, layout)) {
                Some(class) => class.push(file),
                None => others.push(file),
            }
        }
        for mut class in classes {
            if class.len() >= MERGED {
                others.extend(self.split_off(&mut class, most));
            }
            let merged = match class.len() {
                0..MERGED => Vec::new(),
                _ => groups(source.clone(), rows(&class), layout).collect(),
            };
            // Limits on rows and bytes leave fewer; should they ever not, merging them again and again would not either.
            if merged.is_empty() || merged.len() >= class.len() {
                others.extend(class);
                continue;
            }
            self.remove.extend(class.into_iter().map(|file| file.path));
            self.add.extend(merged);
        }
        others
    }

    /// Takes off `files` those that are too many beside what it holds.
    fn split_off(&self, files: &mut Vec<CommittedFile>, most: Most) -> Vec<CommittedFile> {
        let held = self.add.iter().map(|group| group.artifacts.len());
        let mut rows = most.rows.saturating_sub(held.sum());
        let room = most.files.saturating_sub(self.remove.len());
        files.sort_by(|a, b| first_key(a).cmp(&first_key(b)));
        let fits = |file: &&CommittedFile| match rows.checked_sub(file.artifacts.len()) {
            Some(left) => {
                rows = left;
                true
            }
            None => false,
        };
        let fit = files.iter().take(room).take_while(fits).count();
        files.split_off(fit)
    }
}

fn first_key(file: &CommittedFile) -> Option<&str> {
    file.artifacts.first().map(|row| &*row.object.key)
}

/// Rows of `files` by key.
fn rows(files: &[CommittedFile]) -> Vec<Artifact> {
    let rows = files.iter().flat_map(|file| &file.artifacts);
    let mut rows: Vec<_> = rows.cloned().collect();
    rows.sort_unstable_by(|a, b| a.object.key.cmp(&b.object.key));
    rows
}

/// Class of a file by its rows or its bytes, whichever is the larger share; [`CLASSES`] and more is full.
fn class(file: &CommittedFile, layout: &Layout) -> usize {
    let rows = file.artifacts.len() as u64;
    let inlined = |artifact| layout.inlined_bytes(artifact).unwrap_or(0);
    let bytes = file.artifacts.iter().map(inlined);
    let bytes = bytes.fold(0, u64::saturating_add);
    let share = |of: u64, most: u64| of.saturating_mul(WHOLE) / most.max(1);
    let by_rows = share(rows, layout.max_rows_per_file as u64);
    let share = by_rows.max(share(bytes, layout.file_target_bytes));
    share.max(1).ilog(16) as usize
}
