//! Where things lie below, and how they are shown.

use object_store::ObjectMeta;
use object_store::path::{Path, PathPart};

use crate::name::{FileName, PARQUET_SUFFIX, ROPE_SUFFIX};
use crate::segment::SourceObject;

/// Folder of the tables in the origin.
const LOG: &str = "log";
/// Folder of the source objects in the origin.
const SOURCES: &str = "sources";

/// What a shown path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A virtual file, and the path of its rope in the origin.
    Rope { name: FileName, path: Path },
    /// An object of the origin that is shown as it is.
    Plain(Path),
    /// Nothing: ropes are not shown under their own names.
    Hidden,
}

/// What `location` stands for.
pub(super) fn resolve(location: &Path) -> Shown {
    let file = location.filename().unwrap_or_default();
    if let Some(name) = FileName::parse_parquet_file(file) {
        let folder = below_log(location.parent().as_ref());
        // The name of a rope has only characters that every path may hold.
        return Shown::Rope {
            name,
            path: folder.join(name.rope_file()),
        };
    }
    if file.ends_with(ROPE_SUFFIX) {
        return Shown::Hidden;
    }
    Shown::Plain(below_log(Some(location)))
}

/// The path in the origin of a shown folder, or of a file that is shown as it is.
pub(super) fn below_log(shown: Option<&Path>) -> Path {
    let parts = shown.into_iter().flat_map(Path::parts);
    [PathPart::from(LOG)].into_iter().chain(parts).collect()
}

/// How an object of the origin's log is shown, if it is.
pub(super) fn shown(meta: &ObjectMeta) -> Option<ObjectMeta> {
    let location = shown_path(&meta.location)?;
    let file = location.filename().unwrap_or_default();
    if let Some(name) = FileName::parse_rope_file(file) {
        let location = location
            .parent()
            .unwrap_or_default()
            .join(name.parquet_file());
        return Some(shown_meta(location, name, meta));
    }
    let is_reserved = file.ends_with(ROPE_SUFFIX)
        || (file.ends_with(PARQUET_SUFFIX) && FileName::parse_parquet_file(file).is_some());
    (!is_reserved).then(|| ObjectMeta {
        location,
        ..meta.clone()
    })
}

/// The shown path of a path in the origin's log.
pub(super) fn shown_path(inner: &Path) -> Option<Path> {
    let mut parts = inner.parts();
    (parts.next()?.as_ref() == LOG).then(|| parts.collect())
}

/// The metadata of a virtual file: size and ETag by its name, the time of its rope.
pub(super) fn shown_meta(location: Path, name: FileName, rope: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: rope.last_modified,
        size: name.size,
        e_tag: Some(name.e_tag()),
        version: None,
    }
}

/// The path of a source object in the origin; `None` for a key that no path can hold.
pub(super) fn source_path(object: &SourceObject) -> Option<Path> {
    let raw = format!("{SOURCES}/{}/{}", object.source, object.key);
    Path::parse(&raw).ok().filter(|path| path.as_ref() == raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> Path {
        Path::parse(raw).unwrap()
    }

    fn object(key: &str) -> SourceObject {
        SourceObject {
            source: "00000000000000aa".into(),
            key: key.into(),
            size: 1,
            etag: None,
            last_modified_ms: 0,
            version: None,
        }
    }

    #[test]
    fn shown_paths_resolve() {
        let hash = "ab".repeat(16);
        let Shown::Rope { name, path: rope } = resolve(&path(&format!("c/s/t/{hash}-7.parquet")))
        else {
            panic!("a rope");
        };
        assert_eq!(
            (name.size, rope.as_ref()),
            (7, format!("log/c/s/t/{hash}-7.rope").as_str())
        );
        assert_eq!(
            resolve(&path(&format!("c/s/t/{hash}-7.rope"))),
            Shown::Hidden
        );
        assert_eq!(resolve(&path("c/x.rope")), Shown::Hidden);
        let log = "c/s/t/_delta_log/00000000000000000010.checkpoint.parquet";
        assert_eq!(
            resolve(&path(log)),
            Shown::Plain(path(&format!("log/{log}")))
        );
        assert_eq!(
            resolve(&path("sources/a")),
            Shown::Plain(path("log/sources/a"))
        );
    }

    #[test]
    fn odd_characters_are_kept() {
        for raw in ["c/a%2Fb", "c/a b+#?*", "c/é"] {
            assert_eq!(below_log(Some(&path(raw))).as_ref(), format!("log/{raw}"));
            assert_eq!(shown_path(&path(&format!("log/{raw}"))), Some(path(raw)));
            assert_eq!(
                source_path(&object(raw)).unwrap().as_ref(),
                format!("sources/00000000000000aa/{raw}")
            );
        }
        assert_eq!(below_log(None).as_ref(), "log");
        assert_eq!(shown_path(&path("sources/a")), None);
    }

    #[test]
    fn keys_that_no_path_holds_have_none() {
        for key in ["a//b", "a/", "/a", "../a", "a/./b", "a\nb", ""] {
            assert_eq!(source_path(&object(key)), None, "{key:?}");
        }
    }
}
