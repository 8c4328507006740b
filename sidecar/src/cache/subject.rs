//! What a request is about, and whether it is cached at all.

use object_store::{GetOptions, path::Path};
use vdt_rope::{FileName, ReadContext, unquoted};

use super::{CacheStore, key::Identity, object::Named};
use crate::tiers::Class;

/// What a request is about.
pub(super) enum Subject {
    /// A source object that was listed.
    Listed(ReadContext),
    /// An object known by name.
    Named(Named),
}

impl CacheStore {
    /// What a request is about; `None` where it is the origin's to answer.
    pub(super) fn subject(&self, location: &Path, options: &GetOptions) -> Option<Subject> {
        let raw = location.as_ref();
        if let Some(rest) = raw.strip_prefix("sources/") {
            let (source, key) = rest.split_once('/')?;
            let tag = options.if_match.as_deref().map(unquoted);
            if let Some(context) = ReadContext::of(options) {
                let object = &context.object;
                let is_same = (&*object.source, &*object.key) == (source, key)
                    && (object.etag.as_deref(), object.version.as_deref())
                        == (tag, options.version.as_deref());
                return is_same.then(|| Subject::Listed(context.clone()));
            }
            let tag = tag.filter(|tag| !tag.contains([',', '"', '*']))?;
            return (!options.head).then(|| {
                Subject::Named(Named {
                    location: location.clone(),
                    class: Class::Block,
                    name: Identity::tagged(source, key, tag, options.version.as_deref()),
                    if_match: Some(tag.to_owned()),
                    version: options.version.clone(),
                    is_replaceable: false,
                })
            });
        }
        if !raw.starts_with("log/") || options.version.is_some() {
            return None;
        }
        let kind = Kind::of(location)?;
        Some(Subject::Named(Named {
            location: location.clone(),
            class: Class::Metadata,
            name: Identity::named(&self.shared.options.store_id, raw),
            if_match: None,
            version: None,
            is_replaceable: kind == Kind::OfLog,
        }))
    }
}

/// Objects below `log/` that are written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its name is its content's hash.
    Rope,
    /// A commit or a checkpoint. A state that is restored from a backup has others under the same names.
    OfLog,
}

impl Kind {
    fn of(location: &Path) -> Option<Self> {
        let mut parts = location.parts().collect::<Vec<_>>();
        let (file, folder) = (parts.pop()?, parts.pop()?);
        let file = file.as_ref();
        if folder.as_ref() != "_delta_log" {
            return FileName::parse_rope_file(file).map(|_| Self::Rope);
        }
        let (version, rest) = file.split_once('.')?;
        let is_version = version.len() == 20 && version.bytes().all(|digit| digit.is_ascii_digit());
        let is_checkpoint = rest.starts_with("checkpoint.") && rest.ends_with("parquet");
        (is_version && (rest == "json" || is_checkpoint)).then_some(Self::OfLog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_once_is_cached() {
        let table = "log/main/default/t";
        let name = format!("{}-7", "ab".repeat(16));
        for (file, expected) in [
            (format!("{name}.rope"), Some(Kind::Rope)),
            (format!("{name}.crc"), None),
            ("x.rope".into(), None),
            (
                "_delta_log/00000000000000000007.json".into(),
                Some(Kind::OfLog),
            ),
            ("_delta_log/00000000000000000007.crc".into(), None),
            ("_delta_log/7.json".into(), None),
            ("_delta_log/_last_checkpoint".into(), None),
            (
                "_delta_log/00000000000000000010.checkpoint.parquet".into(),
                Some(Kind::OfLog),
            ),
            (
                "_delta_log/00000000000000000010.checkpoint.0000000001.0000000002.parquet".into(),
                Some(Kind::OfLog),
            ),
            (
                "_delta_log/00000000000000000010.compacted.json".into(),
                None,
            ),
        ] {
            let path = Path::parse(format!("{table}/{file}")).unwrap();
            assert_eq!(Kind::of(&path), expected, "{file}");
        }
    }
}
