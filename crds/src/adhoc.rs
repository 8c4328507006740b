//! Tables without a manifest: `vdt serve FOLDER` and `vdt serve s3://bucket/prefix`.
//!
//! The table is named after the last segment of the place, in catalog `main` and schema `default`; everything else is the default of the resource,
//! but that a folder, which costs nothing to list, is listed every few seconds.

use std::path::Path;

use crate::{
    spec::{
        FileSource, Refresh, S3Bucket, Source, SourceType, TableName, VirtualTable,
        VirtualTableSpec,
    },
    validate::MAX_NAME_CHARS,
};

/// The name of a table whose place has no last segment that could name it, such as `/`.
const NAMELESS: &str = "files";

/// Seconds between listings of a folder: somebody sits before it.
const FOLDER_INTERVAL_SECONDS: u32 = 5;

/// A text is no URL of an S3 bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not the URL of a bucket: write s3://bucket or s3://bucket/prefix/")]
pub struct BucketUrlError {
    /// What was given.
    pub url: String,
}

impl VirtualTable {
    /// Makes the table of a folder, named after its last segment. The source's path is `.`: whoever reads it takes the folder itself as its base.
    /// The path is absolute, and without `..`: it is the table's owner.
    #[must_use]
    pub fn for_folder(folder: &Path) -> Self {
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let source = Source::named("folder", SourceType::File);
        let file = FileSource {
            path: Some(".".to_owned()),
            ..FileSource::default()
        };
        let mut table = Self::of_source(
            &name,
            Source {
                file: Some(file),
                ..source
            },
            format!("folder:{}", readable(folder)),
        );
        table.spec.refresh = Refresh {
            interval_seconds: FOLDER_INTERVAL_SECONDS,
            ..Refresh::default()
        };
        table
    }

    /// Makes the table of a bucket, or of a prefix in it, named after the prefix's last segment or the bucket. The prefix is a folder: `s3://b/x` does
    /// not cover `xyz/`. Keys are taken as they are written, without percent-decoding.
    ///
    /// # Errors
    /// The text does not begin with `s3://`, or names no bucket, or brings credentials or a query along.
    pub fn for_s3_url(url: &str) -> Result<Self, BucketUrlError> {
        let error = || BucketUrlError {
            url: without_user(url),
        };
        let rest = url.strip_prefix("s3://").ok_or_else(error)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || bucket.contains(['@', '?', '#', ':']) {
            return Err(error());
        }
        let prefix = match key {
            "" => None,
            key if key.ends_with('/') => Some(key.to_owned()),
            key => Some(format!("{key}/")),
        };
        let name = key
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or(bucket);
        let given = format!("s3://{bucket}/{}", prefix.as_deref().unwrap_or_default());
        let s3 = S3Bucket {
            prefix,
            ..S3Bucket::new(bucket)
        };
        Ok(Self::of_source(
            name,
            Source {
                s3: Some(s3),
                ..Source::named("bucket", SourceType::S3)
            },
            given,
        ))
    }

    fn of_source(name: &str, source: Source, given: String) -> Self {
        let spec = VirtualTableSpec {
            table: TableName::default(),
            sources: vec![source],
            schema: None,
            layout: crate::spec::Layout::default(),
            checksum: crate::spec::ChecksumMode::default(),
            refresh: crate::spec::Refresh::default(),
            retention: crate::retention::Retention::default(),
            suspend: false,
            legs: Vec::new(),
            server: None,
            given: Some(given),
        };
        Self::new(&dns_1035(name), spec)
    }
}

impl Source {
    /// Makes a source without its member, which the caller sets.
    fn named(name: &str, kind: SourceType) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            file: None,
            s3: None,
            gcs: None,
            azure: None,
            http: None,
            inventory: None,
            postgres: None,
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

impl S3Bucket {
    /// Makes a bucket with the ambient region, endpoint and identity.
    #[must_use]
    pub fn new(bucket: &str) -> Self {
        Self {
            versions: None,
            bucket: bucket.to_owned(),
            prefix: None,
            region: None,
            endpoint: None,
            path_style: None,
            anonymous: None,
            credentials: None,
            ca_bundle: None,
        }
    }
}

/// A path as text that no other path has: one that is not plain text is escaped, byte by byte.
fn readable(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains(['\\', '\u{fffd}']) && !text.contains(char::is_control) => {
            text.to_owned()
        }
        _ => path
            .as_os_str()
            .as_encoded_bytes()
            .escape_ascii()
            .to_string(),
    }
}

/// Makes a DNS-1035 label of at most [`MAX_NAME_CHARS`] characters: lower case, every run of other characters one `-`, a letter first.
fn dns_1035(name: &str) -> String {
    let mut label = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => label.push(c),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    if label.is_empty() {
        return NAMELESS.to_owned();
    }
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert_str(0, "t-");
    }
    label.truncate(MAX_NAME_CHARS);
    label.trim_end_matches('-').to_owned()
}

/// Leaves out what stands before an `@`: it may be a password.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::{Profile, validate};

    #[test]
    fn folders_name_their_table() {
        for (folder, name) in [
            ("/home/me/papers", "papers"),
            ("/home/me/My Papers (2026)/", "my-papers-2026"),
            ("/data/2026", "t-2026"),
            ("/", "files"),
            ("/x/..", "files"),
            ("/x/Ünï_meta", "n-meta"),
            ("/x/---", "files"),
            (
                "/x/a-very-long-name-that-goes-on-for-more-than-forty-characters",
                "a-very-long-name-that-goes-on-for-more-t",
            ),
        ] {
            let table = VirtualTable::for_folder(Path::new(folder));
            assert_eq!(
                table.table_path(),
                format!("main/default/{name}"),
                "{folder}"
            );
            assert_eq!(table.owner(), format!("folder:{folder}"));
            assert_eq!(validate(&table, Profile::Laptop), []);
            assert_eq!(table.spec.sources[0].file.as_ref().unwrap().path(), ".");
        }
    }

    #[test]
    fn buckets_name_their_table() {
        for (url, name, bucket, prefix) in [
            ("s3://corp", "corp", "corp", ""),
            ("s3://corp/", "corp", "corp", ""),
            ("s3://corp/manuals", "manuals", "corp", "manuals/"),
            (
                "s3://corp/a/Big Files/",
                "big-files",
                "corp",
                "a/Big Files/",
            ),
        ] {
            let table = VirtualTable::for_s3_url(url).unwrap();
            let s3 = table.spec.sources[0].s3.as_ref().unwrap();
            assert_eq!(
                (table.table_name(), s3.bucket.as_str(), s3.prefix()),
                (name, bucket, prefix),
                "{url}"
            );
            assert_eq!(validate(&table, Profile::Laptop), []);
        }
    }

    #[test]
    fn another_place_of_the_same_name_is_another_owner() {
        let owner = |folder| VirtualTable::for_folder(Path::new(folder)).owner();
        assert_ne!(owner("/a/papers"), owner("/b/papers"));
        let newline = VirtualTable::for_folder(Path::new("/a/two\nlines")).owner();
        assert_eq!(newline, r"folder:/a/two\nlines");
        assert_ne!(newline, owner(r"/a/two\nlines"));
        let bucket = |url| VirtualTable::for_s3_url(url).expect("a URL").owner();
        assert_eq!(bucket("s3://corp/x"), "s3://corp/x/");
        assert_eq!(bucket("s3://corp/x"), bucket("s3://corp/x/"));
        assert_ne!(bucket("s3://corp/x"), bucket("s3://corp/y/x"));
    }

    #[test]
    fn a_folder_is_looked_at_every_few_seconds_and_a_bucket_every_minute() {
        let seconds = |table: VirtualTable| table.spec.refresh.interval_seconds;
        assert_eq!(seconds(VirtualTable::for_folder(Path::new("/a"))), 5);
        assert_eq!(
            seconds(VirtualTable::for_s3_url("s3://a").expect("a URL")),
            60
        );
    }

    #[test]
    fn other_urls_are_refused_without_their_password() {
        for url in [
            "corp",
            "s3://",
            "s3:///x",
            "gs://corp",
            "s3://k:hunter2@corp/x",
            "s3://corp?region=x",
            "S3://corp",
        ] {
            let error = VirtualTable::for_s3_url(url).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(
            !validate(
                &VirtualTable::for_s3_url("s3://Corp/x").unwrap(),
                Profile::Laptop
            )
            .is_empty()
        );
        assert!(
            !validate(
                &VirtualTable::for_s3_url("s3://corp//x").unwrap(),
                Profile::Laptop
            )
            .is_empty()
        );
    }
}
