//! Packs: several tiny objects that are read together are one entry.
//!
//! Where packs begin and end is a function of a frame's references alone, and nearly always of the members alone: behind a member
//! whose hash says so (one for every quarter of a pack's bytes on average), before a member that would make the pack too large, and
//! where something else than a tiny whole object of the same source comes. So a file that was laid out again has mostly the same
//! packs. A pack's bytes are its members' bytes, one after another:
//!
//! ```text
//!   frame   h a h b h c h DDDD h e h f        a, b, c, e, f tiny; D is not; h literals
//!   packs   [a b c]            [e f]
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use object_store::path::Path;
use vdt_rope::{Frame, SourceObject};

use super::key::{Identity, boundary_hash, pack_key};
use crate::tiers::Key;

/// Layouts that are kept. A frame has at most some hundreds of references.
const LAYOUTS_MAX: usize = 64;

/// One pack of a frame.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) key: Key,
    pub(super) bytes: u64,
    pub(super) members: Vec<Member>,
}

/// One object of a pack.
#[derive(Debug)]
pub(super) struct Member {
    /// Where it begins in the file.
    pub(super) at: u64,
    /// Where it begins in the pack.
    pub(super) offset: u64,
    pub(super) object: Arc<SourceObject>,
}

/// The packs of a frame, in order.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) packs: Vec<Arc<Pack>>,
}

impl Layout {
    /// Cuts a frame's references into packs.
    pub(super) fn of(frame: &Frame, tiny_bytes: u64, pack_bytes: u64) -> Self {
        let mut packs = Vec::new();
        let mut open: Vec<Member> = Vec::new();
        let mut bytes = 0;
        let mut close = |members: &mut Vec<Member>, bytes: &mut u64| {
            let members = std::mem::take(members);
            let bytes = std::mem::take(bytes);
            if members.len() > 1 {
                packs.push(Arc::new(Pack {
                    key: pack_key(members.iter().map(|member| &*member.object)),
                    bytes,
                    members,
                }));
            }
        };
        // One of the hashes below this ends a pack for every quarter of its bytes, on average.
        let target = (pack_bytes / 4).max(1);
        for (at, reference) in frame.references() {
            let object = &reference.object;
            let length = reference.length;
            let is_whole = reference.offset == 0 && length == object.size;
            if !is_whole || length == 0 || length >= tiny_bytes {
                close(&mut open, &mut bytes);
                continue;
            }
            let is_other = open
                .last()
                .is_some_and(|last| last.object.source != object.source);
            if is_other || bytes + length > pack_bytes {
                close(&mut open, &mut bytes);
            }
            open.push(Member {
                at,
                offset: bytes,
                object: Arc::clone(object),
            });
            bytes += length;
            let threshold = u64::MAX / target * length.min(target);
            if boundary_hash(Identity::listed(object)) < threshold {
                close(&mut open, &mut bytes);
            }
        }
        close(&mut open, &mut bytes);
        Self { packs }
    }

    /// The pack that holds the byte of the file, and the member.
    pub(super) fn find(&self, at: u64) -> Option<(&Arc<Pack>, &Member)> {
        let pack = self
            .packs
            .partition_point(|pack| pack.members[0].at <= at)
            .checked_sub(1)?;
        let pack = &self.packs[pack];
        let member = pack
            .members
            .partition_point(|member| member.at <= at)
            .checked_sub(1)?;
        let member = &pack.members[member];
        (at < member.at + member.object.size).then_some((pack, member))
    }
}

/// Layouts that were made lately, by file and start of the frame. A file's name is its content.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    recent: Mutex<VecDeque<(Path, u64, Arc<Layout>)>>,
}

impl Layouts {
    pub(super) fn get(
        &self,
        file: &Path,
        frame: &Frame,
        make: impl FnOnce() -> Layout,
    ) -> Arc<Layout> {
        let start = frame.covers().start;
        let lock = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock()
            .iter()
            .find(|(path, at, _)| *at == start && path == file)
            .map(|(_, _, layout)| Arc::clone(layout));
        found.unwrap_or_else(|| {
            let layout = Arc::new(make());
            let mut recent = lock();
            if recent.len() == LAYOUTS_MAX {
                recent.pop_front();
            }
            recent.push_back((file.clone(), start, Arc::clone(&layout)));
            layout
        })
    }
}
