//! From artifacts to the values of a column.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use crate::artifact::{Artifact, SourceContext};
use crate::attribute::{Attribute, content_type, extension};
use crate::chunk::ChunkValues;
use crate::layout::{ChecksumPolicy, Layout};
use crate::pattern::Captures;
use crate::schema::{ColumnType, Origin, TableSchema};
use crate::time;
use crate::value::{self, Scalar};

/// Characters that are encoded in the path of a URL: all but the unreserved ones of RFC 3986 2.3 and slashes.
pub const URL_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The one algorithm that [`ChecksumPolicy::Known`] tells.
const ETAG_ALGORITHM: &str = "etag";

/// What the rows of a row group share.
pub(crate) struct Rows<'a> {
    pub(crate) source: &'a SourceContext,
    pub(crate) layout: &'a Layout,
    pub(crate) artifacts: &'a [Artifact],
    /// For every row, whether the path pattern read its name; empty without a pattern.
    matched: Vec<bool>,
    /// Where the parts lie in the names, row by row.
    parts: Vec<Range<usize>>,
    parts_per_row: usize,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        schema: &TableSchema,
        layout: &'a Layout,
        source: &'a SourceContext,
        artifacts: &'a [Artifact],
    ) -> Self {
        let (mut matched, mut parts, mut parts_per_row) = (Vec::new(), Vec::new(), 0);
        if let Some(pattern) = schema.path_pattern() {
            parts_per_row = pattern.names().len();
            let mut captures = Captures::default();
            for artifact in artifacts {
                matched.push(pattern.matches(filename(source, artifact), &mut captures));
                parts.extend((0..parts_per_row).map(|part| captures.part(part)));
            }
        }
        Self {
            source,
            layout,
            artifacts,
            matched,
            parts,
            parts_per_row,
        }
    }

    /// Appends the values of a column that is not `data`. Returns how many parts of the path were none.
    pub(crate) fn fill(&self, origin: &Origin, chunk: &mut ChunkValues) -> u64 {
        match origin {
            Origin::Attribute(attribute) => self.fill_attribute(*attribute, chunk),
            Origin::Constant(constant) => {
                self.artifacts
                    .iter()
                    .for_each(|_| push_scalar(chunk, constant));
            }
            Origin::Part(part) => {
                let before = chunk.nulls();
                let parts = self.parts.iter().skip(*part).step_by(self.parts_per_row);
                for ((artifact, matched), part) in
                    self.artifacts.iter().zip(&self.matched).zip(parts)
                {
                    if *matched {
                        push_part(chunk, &filename(self.source, artifact)[part.clone()]);
                    } else {
                        chunk.push_null();
                    }
                }
                return (chunk.nulls() - before) as u64;
            }
        }
        0
    }

    fn fill_attribute(&self, attribute: Attribute, chunk: &mut ChunkValues) {
        let artifacts = self.artifacts.iter();
        match attribute {
            Attribute::Id => artifacts.for_each(|a| chunk.push_i64(a.id)),
            Attribute::Filename => {
                artifacts.for_each(|a| chunk.push_bytes(filename(self.source, a).as_bytes()));
            }
            Attribute::ContentType => self.fill_content_type(chunk),
            Attribute::Url => artifacts.for_each(|a| {
                chunk.push_with(|out| {
                    out.extend_from_slice(self.source.url_prefix.as_bytes());
                    percent_encode(out, &a.object.key);
                });
            }),
            // Larger than 2^63 bytes is no object.
            Attribute::Filesize => artifacts.for_each(|a| match i64::try_from(a.object.size) {
                Ok(size) => chunk.push_i64(size),
                Err(_) => chunk.push_null(),
            }),
            Attribute::Checksum => artifacts.for_each(|a| push_text(chunk, self.checksum(a))),
            Attribute::ChecksumAlgo => artifacts.for_each(|a| {
                push_text(chunk, self.checksum(a).map(|_| ETAG_ALGORITHM));
            }),
            Attribute::LastModified => artifacts.for_each(|a| {
                let ms = a.object.last_modified_ms;
                if time::is_representable(ms) {
                    chunk.push_i64(ms * 1_000);
                } else {
                    chunk.push_null();
                }
            }),
            Attribute::ETag => artifacts.for_each(|a| push_text(chunk, a.object.etag.as_deref())),
            Attribute::Source => {
                artifacts.for_each(|_| chunk.push_bytes(self.source.name.as_bytes()));
            }
            Attribute::VersionId => {
                artifacts.for_each(|a| push_text(chunk, a.object.version.as_deref()));
            }
            Attribute::StorageClass => {
                artifacts.for_each(|a| push_text(chunk, a.storage_class.as_deref()));
            }
            Attribute::Data => unreachable!("the artifacts themselves are no values at hand"),
        }
    }

    /// Neighbours mostly have the same ending: it is looked up once.
    fn fill_content_type(&self, chunk: &mut ChunkValues) {
        let mut last: (Option<&str>, Option<&'static str>) = (None, None);
        for artifact in self.artifacts {
            let name = filename(self.source, artifact);
            let ending = extension(name);
            if ending != last.0 {
                last = (ending, content_type(name));
            }
            push_text(chunk, last.1);
        }
    }

    fn checksum<'b>(&self, artifact: &'b Artifact) -> Option<&'b str> {
        match self.layout.checksum {
            ChecksumPolicy::Known if self.source.etag_is_checksum => {
                artifact.object.etag.as_deref()
            }
            ChecksumPolicy::Known | ChecksumPolicy::None => None,
        }
    }
}

/// Returns the key below the source's prefix.
pub(crate) fn filename<'a>(source: &SourceContext, artifact: &'a Artifact) -> &'a str {
    artifact
        .object
        .key
        .get(source.prefix.len()..)
        .unwrap_or_default()
}

fn push_text(chunk: &mut ChunkValues, text: Option<&str>) {
    match text {
        Some(text) => chunk.push_bytes(text.as_bytes()),
        None => chunk.push_null(),
    }
}

/// Appends a part of the path, null where it is none of the column's type.
fn push_part(chunk: &mut ChunkValues, text: &str) {
    /// Appends a value where there is one.
    fn push<T>(chunk: &mut ChunkValues, value: Option<T>, push: impl Fn(&mut ChunkValues, T)) {
        match value {
            Some(value) => push(chunk, value),
            None => chunk.push_null(),
        }
    }
    match chunk.column_type() {
        ColumnType::String | ColumnType::Binary => chunk.push_bytes(text.as_bytes()),
        ColumnType::Long => push(chunk, text.parse().ok(), ChunkValues::push_i64),
        ColumnType::Integer => push(chunk, text.parse().ok(), ChunkValues::push_i32),
        ColumnType::Double => push(chunk, value::parse_double(text), ChunkValues::push_f64),
        ColumnType::Boolean => push(chunk, value::parse_boolean(text), ChunkValues::push_bool),
        ColumnType::Date => push(chunk, time::parse_date(text), ChunkValues::push_i32),
        ColumnType::Timestamp => {
            push(chunk, time::parse_timestamp(text), |c, ms| {
                c.push_i64(ms * 1_000)
            });
        }
    }
}

fn push_scalar(chunk: &mut ChunkValues, scalar: &Scalar) {
    match scalar {
        Scalar::Long(v) => chunk.push_i64(*v),
        Scalar::Integer(v) | Scalar::Date(v) => chunk.push_i32(*v),
        Scalar::Double(v) => chunk.push_f64(*v),
        Scalar::Boolean(v) => chunk.push_bool(*v),
        Scalar::Timestamp(ms) => chunk.push_i64(ms * 1_000),
        Scalar::String(v) => chunk.push_bytes(v.as_bytes()),
        Scalar::Binary(v) => chunk.push_bytes(v),
    }
}

/// Appends a key as the path of a URL.
fn percent_encode(out: &mut Vec<u8>, key: &str) {
    // Most keys are as they should be. No branch but the last, so that many bytes are looked at at once.
    let is_kept = |byte: u8| {
        byte.is_ascii_alphanumeric() | matches!(byte, b'-'..=b'/') | (byte == b'_') | (byte == b'~')
    };
    if key.bytes().fold(true, |all, byte| all & is_kept(byte)) {
        out.extend_from_slice(key.as_bytes());
        return;
    }
    for piece in percent_encoding::utf8_percent_encode(key, URL_PATH) {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_slashes_and_unreserved_characters_only() {
        let mut out = Vec::new();
        percent_encode(&mut out, "a b/ü-._~+%#?'\"\u{1}");
        assert_eq!(out, b"a%20b/%C3%BC-._~%2B%25%23%3F%27%22%01");
    }
}
