//! From a sorted listing to the groups of artifacts that share a file.

use std::sync::Arc;

use crate::artifact::{Artifact, FileGroup, SourceContext};
use crate::layout::{FileCut, Layout};

/// Cuts artifacts of one source, given in byte order of their keys, into groups for [`lay_out`](crate::lay_out).
///
/// A group closes at [`Layout::file_target_bytes`] of inline artifacts, at [`Layout::max_rows_per_file`] rows (8,000 where each has pages of its own), or before it
/// would need more than 10,000 row groups. No artifacts make no group: an empty table has no file. Streams: at most one
/// group is held.
pub fn groups<I>(
    source: Arc<SourceContext>,
    artifacts: I,
    layout: &Layout,
) -> impl Iterator<Item = FileGroup> + use<I>
where
    I: IntoIterator<Item = Artifact>,
{
    let mut cut = FileCut::new(layout);
    let layout = layout.clone();
    let mut artifacts = artifacts.into_iter().fuse();
    let mut first_of_next: Option<Artifact> = None;
    let mut started = false;
    std::iter::from_fn(move || {
        let mut group: Vec<Artifact> = first_of_next.take().into_iter().collect();
        for artifact in artifacts.by_ref() {
            let begins = cut.begins(layout.inlined_bytes(&artifact).unwrap_or(0));
            if begins && std::mem::replace(&mut started, true) {
                first_of_next = Some(artifact);
                break;
            }
            group.push(artifact);
        }
        // All groups of a large table are held together.
        group.shrink_to_fit();
        let source = Arc::clone(&source);
        (!group.is_empty()).then_some(FileGroup {
            source,
            artifacts: group,
        })
    })
}
