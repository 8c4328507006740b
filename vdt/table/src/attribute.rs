//! What is known of an artifact without reading it, and the type each attribute has as a column.

use crate::schema::ColumnType;

/// An attribute of an artifact, as `from.artifact` of a column names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// The number given at first sight, kept as long as the key exists.
    Id,
    /// The key below the source's prefix.
    Filename,
    /// The media type that the name's ending stands for; null where it stands for none.
    ContentType,
    /// The absolute URL in the source, percent-encoded.
    Url,
    /// Size in bytes.
    Filesize,
    /// The artifact itself; null where it is archived or above the layout's limit.
    Data,
    /// What the store knows without a read: the ETag.
    Checksum,
    /// How [`Attribute::Checksum`] was made: `etag`.
    ChecksumAlgo,
    /// When the source says it was written, to the millisecond.
    LastModified,
    /// The strong ETag, without quotes.
    ETag,
    /// Name of the source.
    Source,
    /// Version of the object in a versioned bucket.
    VersionId,
    /// Storage class, as the store names it.
    StorageClass,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 13] = [
        Self::Id,
        Self::Filename,
        Self::ContentType,
        Self::Url,
        Self::Filesize,
        Self::Data,
        Self::Checksum,
        Self::ChecksumAlgo,
        Self::LastModified,
        Self::ETag,
        Self::Source,
        Self::VersionId,
        Self::StorageClass,
    ];

    /// Returns the type of the attribute's column.
    pub fn column_type(self) -> ColumnType {
        match self {
            Self::Id | Self::Filesize => ColumnType::Long,
            Self::Data => ColumnType::Binary,
            Self::LastModified => ColumnType::Timestamp,
            Self::Filename
            | Self::ContentType
            | Self::Url
            | Self::Checksum
            | Self::ChecksumAlgo
            | Self::ETag
            | Self::Source
            | Self::VersionId
            | Self::StorageClass => ColumnType::String,
        }
    }
}

/// Returns the media type that the ending of a file name stands for, ignoring its case.
///
/// A name without an ending, a hidden file without another dot, and an unknown ending give `None`: the column is null
/// rather than `application/octet-stream`, so that `IS NULL` finds what is unknown.
pub(crate) fn content_type(filename: &str) -> Option<&'static str> {
    mime_guess::from_ext(extension(filename)?).first_raw()
}

/// Returns the ending of the last segment of a key: what follows the last dot that has something before it.
pub(crate) fn extension(filename: &str) -> Option<&str> {
    let bytes = filename.as_bytes();
    let dot = bytes.iter().rposition(|&b| b == b'.' || b == b'/')?;
    let stem = dot > 0 && bytes[dot - 1] != b'/';
    (bytes[dot] == b'.' && stem && dot + 1 < bytes.len()).then(|| &filename[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of files that are kept stay as they are, and `t_meta` is laid out anew with each commit: another answer would make two versions of
    /// vdt undo each other's work. If it is meant, raise the form of the layout (`INSTA_UPDATE=always` writes it).
    #[test]
    fn content_types_are_those_that_they_were() {
        let endings = "7z aac avi avif bmp bz2 c cfg css csv dicom dcm djvu doc docm docx dwg eml epub flac gif gz h heic heif htm html ics ico jp2 jpeg jpg js \
                       json jsonl jxl log m4a m4v md mkv mov mp3 mp4 mpeg msg odp ods odt ogg opus parquet pdf png pot ppt pptm pptx ps psd py rar raw rs rst \
                       rtf sql svg tar tex tif tiff toml ts tsv txt wav webm webp wma wmv xhtml xls xlsb xlsm xlsx xml yaml yml zip zst";
        let told: Vec<_> = endings
            .split_whitespace()
            .map(|ending| {
                format!(
                    "{ending} {}",
                    content_type(&format!("a.{ending}")).unwrap_or("-")
                )
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn content_type_is_told_by_the_ending() {
        for (name, expected) in [
            ("a.pdf", Some("application/pdf")),
            ("x/y.PDF", Some("application/pdf")),
            ("a.b.png", Some("image/png")),
            ("a.pdf/readme", None),
            ("readme", None),
            (".pdf", None),
            ("x/.pdf", None),
            ("a.", None),
            ("a.nosuchending", None),
            ("é.jpg", Some("image/jpeg")),
            ("", None),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
        }
    }
}
