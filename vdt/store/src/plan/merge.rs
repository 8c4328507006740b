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

use std::{collections::BTreeSet, sync::Arc};

use vdt_table::{Artifact, FileGroup, Layout, SourceContext, groups};

use super::CommittedFile;

/// Files of one class that are merged.
const MERGED: usize = 16;
/// Classes below that of full files, each up to a sixteenth of the one above.
const CLASSES: u32 = 4;
/// Share of a whole file: a quarter of it is where the classes end.
const WHOLE: u64 = 4 * 16_u64.pow(CLASSES);

/// Files that become fewer.
#[derive(Debug, Default)]
pub struct Merge {
    /// Paths of those that leave the table.
    pub remove: BTreeSet<String>,
    /// What they become: the same rows.
    pub add: Vec<FileGroup>,
}

impl Merge {
    /// Takes what is to be merged of `files`, which are of one source, and returns the others.
    pub(super) fn take(
        &mut self,
        files: Vec<CommittedFile>,
        source: &Arc<SourceContext>,
        layout: &Layout,
    ) -> Vec<CommittedFile> {
        let mut classes: [Vec<CommittedFile>; CLASSES as usize] = Default::default();
        let mut others = Vec::new();
        for file in files {
            match classes.get_mut(class(&file, layout)) {
                Some(class) => class.push(file),
                None => others.push(file),
            }
        }
        for class in classes {
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
