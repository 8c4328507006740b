//! `GET /api/v1/tables/<catalog>/<schema>/<table>/files` and `.../files/<name>`: the files of the version that is served, and what one is made of.

use serde::{Deserialize, Serialize};

/// Files in one answer, at most.
pub const FILES_MAX: usize = 1000;
/// Spans in one answer, at most.
pub const SPANS_MAX: usize = 1024;

/// Files of one version, in the order of their names.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct FilesReport {
    /// `<catalog>/<schema>/<table>`.
    pub table: String,
    /// Version that the files are of.
    pub version: u64,
    /// Files of the version, those that are not in this answer too.
    pub count: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// At most [`FILES_MAX`] of them.
    pub files: Vec<FileReport>,
    /// Where there are more: the `after` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One file.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct FileReport {
    /// `<hash>-<bytes>.parquet`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows, where the log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Its row groups, where they were counted without reading the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_groups: Option<u64>,
}

/// What a file is made of, drawn.
///
/// Spans cover the file without gaps, in order. Where the file has more segments than [`SPANS_MAX`], neighbours share a span.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RopeReport {
    /// `<hash>-<bytes>.parquet`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its segments.
    pub segments: u64,
    /// Bytes by kind, of the whole file.
    pub total: KindBytes,
    /// At most [`SPANS_MAX`].
    pub spans: Vec<RopeSpan>,
}

/// Neighbouring segments of a file.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RopeSpan {
    /// Kind of most of its bytes.
    pub kind: SpanKind,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Bytes by kind, in a span of several segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<KindBytes>,
    /// Artifacts that it refers to.
    #[serde(default)]
    pub references: u64,
    /// Full key of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What the bytes of a file are.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum SpanKind {
    /// Made by vdt: page headers, metadata columns, indexes, a footer.
    Literal,
    /// Padding.
    Zeros,
    /// Part of an artifact.
    Reference,
}

/// Bytes by kind.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct KindBytes {
    /// Literals.
    pub literal: u64,
    /// Zeros.
    pub zeros: u64,
    /// References.
    pub reference: u64,
}
