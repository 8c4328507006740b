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
//! Sixteen files of one class are merged, and make one of a higher class or a full one. So a row is laid out again three or four times while its table
//! grows, however slowly that is, and a source has no more than 15 files a class beside the full ones.

use std::{collections::BTreeSet, sync::Arc};

use vdt_table::{FileGroup, Layout, SourceContext, groups};

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
    /// Takes what is to be merged of `files`, which are those of one source that stay as they are, and returns the others.
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
            if class.len() < MERGED {
                others.extend(class);
                continue;
            }
            let mut rows = Vec::new();
            for file in class {
                self.remove.insert(file.path);
                rows.extend(file.artifacts);
            }
            rows.sort_unstable_by(|a, b| a.object.key.cmp(&b.object.key));
            self.add.extend(groups(source.clone(), rows, layout));
        }
        others
    }
}

/// Class of a file by its rows or its bytes, whatever it has more of; [`CLASSES`] and more is full.
fn class(file: &CommittedFile, layout: &Layout) -> usize {
    let rows = file.artifacts.len() as u64;
    let inlined = |artifact| layout.inlined_bytes(artifact).unwrap_or(0);
    let bytes = file
        .artifacts
        .iter()
        .map(inlined)
        .fold(0, u64::saturating_add);
    let share = |of: u64, most: u64| of.saturating_mul(WHOLE) / most.max(1);
    let share =
        share(rows, layout.max_rows_per_file as u64).max(share(bytes, layout.file_target_bytes));
    share.max(1).ilog(16) as usize
}
