//! Which artifact each row of a virtual file is: kept beside the rope as its annotation, so that a refresh can rebuild
//! what it knows of a table from the ropes alone.
//!
//! The identity of a row whose artifact is in the file is that of its reference, and is not stored twice. Only ids and the
//! rows without a reference (null, empty, or of a table without `data`) are in the annotation.
//!
//! ```text
//! "vdtR" 01
//! text     name of the source
//! text     id of the source
//! varint   classes, then each as text          storage classes, in order of first use
//! varint   rows
//! zigzag   id minus the id before, row by row
//! runs     varint rows, varint class and flags until all rows are told
//!          class << 2 (0: none, else 1 + its place), flags: 1 inline, 2 archived
//! inline   for every inline row: text key, varint size, zigzag last modified (ms),
//!          byte (1 ETag, 2 version), then the texts it tells of
//! ```
//!
//! A text is a varint length and UTF-8 bytes.

use std::sync::Arc;

use vdt_rope::varint::{Cursor, Syntax};
use vdt_rope::{Rope, Segment, SourceObject};

use crate::artifact::{Artifact, FileGroup};
use crate::thrift::{binary, varint, zigzag};

const MAGIC: &[u8; 4] = b"vdtR";
const VERSION: u8 = 1;
const INLINE: u64 = 1;
const ARCHIVED: u64 = 2;

/// Why the rows of a file cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// Not an annotation of this crate.
    #[error("the annotation does not begin with vdtR: the rope is not a file of artifacts")]
    Magic,
    /// Written by a later program.
    #[error("the annotation has version {found}, this program reads {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Cut short, or not what it should be.
    #[error("the annotation is damaged at byte {at}: {reason}")]
    Damaged {
        /// Where, in bytes from the start.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Fewer or more references than rows that need one.
    #[error("the rope has {found} references to whole objects, its annotation tells of {expected}")]
    References {
        /// References found.
        found: usize,
        /// References that the rows need.
        expected: usize,
    },
}

impl RowsError {
    /// Whether a later program wrote the annotation, which is then not damaged.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Version { found } if *found > VERSION)
    }
}

impl From<Syntax> for RowsError {
    fn from((at, reason): Syntax) -> Self {
        Self::Damaged { at, reason }
    }
}

/// The rows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRows {
    /// Name of the source.
    pub source_name: Arc<str>,
    /// Id of the source.
    pub source_id: Arc<str>,
    /// The artifacts, in the order of the rows.
    pub artifacts: Vec<Artifact>,
}

/// Writes the annotation of a file; `is_referenced` says of an artifact whether the rope has a reference to it.
pub(crate) fn annotate(group: &FileGroup, is_referenced: impl Fn(&Artifact) -> bool) -> Vec<u8> {
    let artifacts = &group.artifacts;
    let mut classes: Vec<&Arc<str>> = Vec::new();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut inline = Vec::new();
    let mut ids = Vec::with_capacity(artifacts.len());
    let mut last_id = 0_i64;
    for artifact in artifacts {
        varint(&mut ids, zigzag(artifact.id.wrapping_sub(last_id)));
        last_id = artifact.id;
        let mut tag = class_tag(&mut classes, artifact.storage_class.as_ref()) << 2;
        if artifact.archived {
            tag |= ARCHIVED;
        }
        if !is_referenced(artifact) {
            tag |= INLINE;
            push_object(&mut inline, &artifact.object);
        }
        match runs.last_mut() {
            Some((count, last)) if *last == tag => *count += 1,
            _ => runs.push((1, tag)),
        }
    }
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    binary(&mut out, group.source.name.as_bytes());
    binary(&mut out, group.source.id.as_bytes());
    varint(&mut out, classes.len() as u64);
    classes
        .iter()
        .for_each(|class| binary(&mut out, class.as_bytes()));
    varint(&mut out, artifacts.len() as u64);
    out.append(&mut ids);
    for (count, tag) in runs {
        varint(&mut out, count);
        varint(&mut out, tag);
    }
    out.append(&mut inline);
    out
}

/// Returns 0 for none, else one more than the place of the class, which it is given if it has none.
fn class_tag<'a>(classes: &mut Vec<&'a Arc<str>>, class: Option<&'a Arc<str>>) -> u64 {
    let Some(class) = class else { return 0 };
    let known = classes
        .iter()
        .position(|c| Arc::ptr_eq(c, class) || *c == class);
    let place = known.unwrap_or_else(|| {
        classes.push(class);
        classes.len() - 1
    });
    place as u64 + 1
}

fn push_object(out: &mut Vec<u8>, object: &SourceObject) {
    binary(out, object.key.as_bytes());
    varint(out, object.size);
    varint(out, zigzag(object.last_modified_ms));
    let texts = [object.etag.as_deref(), object.version.as_deref()];
    out.push(u8::from(texts[0].is_some()) | u8::from(texts[1].is_some()) << 1);
    texts
        .iter()
        .flatten()
        .for_each(|text| binary(out, text.as_bytes()));
}

/// Returns which artifact each row of a file is: the exact inverse of [`lay_out`](crate::lay_out).
///
/// # Errors
///
/// When the annotation is not one, is of a later version or damaged, or does not fit the rope.
pub fn read_rows(rope: &Rope, annotation: &[u8]) -> Result<FileRows, RowsError> {
    let mut cursor = Cursor::new(annotation);
    if cursor.take(4).ok() != Some(MAGIC) {
        return Err(RowsError::Magic);
    }
    match cursor.u8()? {
        VERSION => {}
        found => return Err(RowsError::Version { found }),
    }
    let source_name = cursor.counted_text()?.into();
    let source_id: Arc<str> = cursor.counted_text()?.into();
    let mut classes: Vec<Arc<str>> = Vec::new();
    for _ in 0..cursor.count()? {
        classes.push(cursor.counted_text()?.into());
    }
    let rows = cursor.count()?;
    let mut ids = Vec::with_capacity(rows);
    let mut id = 0_i64;
    for _ in 0..rows {
        id = id.wrapping_add(cursor.signed()?);
        ids.push(id);
    }
    let mut tags = Vec::with_capacity(rows);
    while tags.len() < rows {
        let at = cursor.position();
        let count = cursor.varint()?;
        if count == 0 || count > (rows - tags.len()) as u64 {
            return Err((at, "a run of more rows than are left, or of none").into());
        }
        let tag = cursor.varint()?;
        if tag >> 2 > classes.len() as u64 {
            return Err((at, "an unknown storage class").into());
        }
        tags.extend(std::iter::repeat_n(tag, count as usize));
    }

    let mut references = whole_objects(rope);
    let mut missing = 0;
    let mut artifacts = Vec::with_capacity(rows);
    for (id, tag) in ids.into_iter().zip(tags) {
        let object = if tag & INLINE != 0 {
            Arc::new(parse_object(&mut cursor, &source_id)?)
        } else if let Some(object) = references.next() {
            Arc::clone(object)
        } else {
            missing += 1;
            continue;
        };
        // A place was checked above, and 0 is none.
        let storage_class = (tag >> 2)
            .checked_sub(1)
            .map(|i| Arc::clone(&classes[i as usize]));
        artifacts.push(Artifact {
            id,
            object,
            storage_class,
            archived: tag & ARCHIVED != 0,
        });
    }
    let left = references.count();
    if missing + left > 0 {
        let found = whole_objects(rope).count();
        return Err(RowsError::References {
            found,
            expected: found + missing - left,
        });
    }
    if cursor.remaining() != 0 {
        return Err((cursor.position(), "bytes after the last row").into());
    }
    Ok(FileRows {
        source_name,
        source_id,
        artifacts,
    })
}

/// The objects that a rope refers to as a whole, in its order.
fn whole_objects(rope: &Rope) -> impl Iterator<Item = &Arc<SourceObject>> {
    rope.segments().iter().filter_map(|segment| match segment {
        Segment::Reference(reference) => (reference.offset == 0
            && reference.length == reference.object.size)
            .then_some(&reference.object),
        Segment::Literal(_) | Segment::Zeros(_) => None,
    })
}

/// Reads what [`push_object`] has written.
fn parse_object(cursor: &mut Cursor<'_>, source: &Arc<str>) -> Result<SourceObject, Syntax> {
    let key = cursor.counted_text()?.into();
    let size = cursor.varint()?;
    let last_modified_ms = cursor.signed()?;
    let texts = cursor.u8()?;
    let mut text = |flag| -> Result<Option<Box<str>>, Syntax> {
        let is_there = texts & flag != 0;
        is_there
            .then(|| cursor.counted_text().map(Into::into))
            .transpose()
    };
    Ok(SourceObject {
        source: Arc::clone(source),
        key,
        size,
        etag: text(1)?,
        last_modified_ms,
        version: text(2)?,
    })
}
