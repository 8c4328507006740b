//! Packs: several tiny objects that are read together are one entry.
//!
//! Where packs begin and end is a function of the members, not of where they lie: behind a member whose hash says so (one for every
//! quarter of a pack's bytes on average), before a member that would make the pack too large, and where something else than a tiny
//! whole object of the same source comes. So a file that was laid out again has the same packs but for those whose members changed. A
//! pack's bytes are its members' bytes, one after another:
//!
//! ```text
//!   frames  h a h b h c h DDDD h e h | f h g h i h       a, b, c, e, f, g, i tiny; D is not; h literals; c and g end a pack
//!   packs   [a b c]            [e      f   g]  [i...
//! ```
//!
//! A pack goes over the edge of two frames where both have an end of a pack in them; so both find the same one, each by looking at the
//! other. A frame without any keeps its members to itself.

use std::{collections::VecDeque, sync::Arc};

use object_store::path::Path;
use parking_lot::Mutex;
use vdt_rope::{Frame, Reference, SourceObject};

use super::key::{Identity, boundary_hash, pack_key};
use crate::tiers::Key;

/// Layouts that are kept. A frame has at most some hundreds of references.
const LAYOUTS_MAX: usize = 64;

/// A pack has so many members on average at most: then nearly every frame has an end of a pack.
const MEMBERS_MEAN_MAX: u64 = 128;

/// One pack of a file.
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
    /// Key of the block that it would be by itself.
    pub(super) key: Key,
}

/// An object that is one entry, if it is not read as a member of a pack.
#[derive(Debug)]
pub(super) struct Placed {
    /// Where it begins in the file.
    pub(super) at: u64,
    pub(super) object: Arc<SourceObject>,
    /// Key of its block.
    pub(super) key: Key,
}

/// Sizes that decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) tiny_bytes: u64,
    pub(super) pack_bytes: u64,
    pub(super) whole_bytes: u64,
}

impl Sizes {
    /// Whether a reference may be a member of a pack.
    fn is_tiny(self, reference: &Reference) -> bool {
        is_whole(reference) && reference.length < self.tiny_bytes
    }

    /// Whether a pack ends behind a tiny object: the same wherever that lies.
    fn is_end(self, object: &SourceObject, identity: Identity) -> bool {
        let mean = (self.pack_bytes / 4).max(1);
        let part = object.size.max(mean / MEMBERS_MEAN_MAX).min(mean);
        boundary_hash(identity) < u64::MAX / mean * part
    }

    /// The references behind the last place of a frame where a pack ends for sure.
    fn tail(self, frame: &Frame) -> Option<Vec<(u64, &Reference)>> {
        let references: Vec<_> = frame.references().collect();
        let end = references
            .iter()
            .rposition(|(_, it)| self.ends_or_parts(it))?;
        Some(references[end + 1..].to_vec())
    }

    /// The references of a frame up to the first place where a pack ends for sure.
    fn head(self, frame: &Frame) -> Option<Vec<(u64, &Reference)>> {
        let mut head = Vec::new();
        for (at, reference) in frame.references() {
            head.push((at, reference));
            if self.ends_or_parts(reference) {
                return Some(head);
            }
        }
        None
    }

    fn ends_or_parts(self, reference: &Reference) -> bool {
        let object = &reference.object;
        !self.is_tiny(reference) || self.is_end(object, Identity::listed(object))
    }
}

fn is_whole(reference: &Reference) -> bool {
    reference.offset == 0 && reference.length == reference.object.size && reference.length > 0
}

/// What of a frame is kept as which entry, in order.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) packs: Vec<Arc<Pack>>,
    /// Whole objects of one block at most: those of the frame, and of the packs that reach into it.
    pub(super) objects: Vec<Placed>,
}

impl Layout {
    /// Whether the frames beside this one have a say in its packs.
    pub(super) fn reaches_out(frame: &Frame, sizes: Sizes) -> bool {
        let mut references = frame.references().map(|(_, it)| sizes.is_tiny(it));
        let first = references.next().unwrap_or(false);
        first || references.last().unwrap_or(false)
    }

    /// Cuts a frame's references into packs, with those of the frames before and behind it.
    pub(super) fn of(
        previous: Option<&Frame>,
        frame: &Frame,
        next: Option<&Frame>,
        sizes: Sizes,
    ) -> Self {
        let covers = frame.covers();
        let has_end = sizes.head(frame).is_some();
        let lead = previous.filter(|_| has_end).and_then(|it| sizes.tail(it));
        let trail = next.filter(|_| has_end).and_then(|it| sizes.head(it));
        let references = lead
            .into_iter()
            .flatten()
            .chain(frame.references())
            .chain(trail.into_iter().flatten());
        let mut cutter = Cutter::default();
        let mut objects = Vec::new();
        for (at, reference) in references {
            let object = &reference.object;
            let is_one = is_whole(reference) && object.size <= sizes.whole_bytes;
            if !is_one {
                cutter.close();
                continue;
            }
            let identity = Identity::listed(object);
            let key = identity.block_key(sizes.whole_bytes, 0);
            objects.push(Placed {
                at,
                object: Arc::clone(object),
                key,
            });
            if sizes.is_tiny(reference) {
                cutter.push((at, object, key), sizes.pack_bytes);
                if sizes.is_end(object, identity) {
                    cutter.close();
                }
            } else {
                cutter.close();
            }
        }
        cutter.close();
        let mut packs = cutter.packs;
        packs.retain(|pack| pack.begin() < covers.end && pack.end() > covers.start);
        let begin = packs.first().map_or(covers.start, |pack| pack.begin());
        let end = packs.last().map_or(covers.end, |pack| pack.end());
        let part = begin.min(covers.start)..end.max(covers.end);
        objects.retain(|it| part.contains(&it.at));
        Self { packs, objects }
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

impl Pack {
    /// Where its first member begins in the file.
    pub(super) fn begin(&self) -> u64 {
        self.members.first().map_or(0, |first| first.at)
    }

    /// Where its last member ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.members
            .last()
            .map_or(0, |last| last.at + last.object.size)
    }
}

/// Packs under way.
#[derive(Default)]
struct Cutter {
    packs: Vec<Arc<Pack>>,
    open: Vec<Member>,
    bytes: u64,
}

impl Cutter {
    fn push(&mut self, (at, object, key): (u64, &Arc<SourceObject>, Key), pack_bytes: u64) {
        let is_other = self
            .open
            .last()
            .is_some_and(|last| last.object.source != object.source);
        if is_other || self.bytes + object.size > pack_bytes {
            self.close();
        }
        self.open.push(Member {
            at,
            offset: self.bytes,
            object: Arc::clone(object),
            key,
        });
        self.bytes += object.size;
    }

    fn close(&mut self) {
        let (members, bytes) = (
            std::mem::take(&mut self.open),
            std::mem::take(&mut self.bytes),
        );
        if members.len() > 1 {
            self.packs.push(Arc::new(Pack {
                key: pack_key(members.iter().map(|member| &*member.object)),
                bytes,
                members,
            }));
        }
    }
}

/// Layouts that were made lately, by file and start of the frame. A file's name is its content.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    recent: Mutex<VecDeque<(Path, u64, Arc<Layout>)>>,
}

impl Layouts {
    /// The layout of the frame that begins at `start`.
    pub(super) fn find(&self, file: &Path, start: u64) -> Option<Arc<Layout>> {
        let recent = self.recent.lock();
        recent
            .iter()
            .find(|(path, at, _)| *at == start && path == file)
            .map(|(_, _, layout)| Arc::clone(layout))
    }

    pub(super) fn keep(&self, file: &Path, start: u64, layout: &Arc<Layout>) {
        let mut recent = self.recent.lock();
        if recent.len() == LAYOUTS_MAX {
            recent.pop_front();
        }
        recent.push_back((file.clone(), start, Arc::clone(layout)));
    }
}
