//! What a request is about, and whether it is cached at all.

use object_store::{GetOptions, path::Path};
use vdt_rope::{FileName, ReadContext, unquoted};

use super::{
    CacheStore,
    fetch::{Named, Object},
    key::Identity,
    listed,
};
use crate::tiers::Class;

/// What a request is about.
pub(super) enum Subject {
    /// A source object that was listed.
    Listed(Object, ReadContext),
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
                return is_same.then(|| {
                    let object = listed::listed_at(location.clone(), context);
                    Subject::Listed(object, context.clone())
                });
            }
            let tag = tag.filter(|tag| !tag.contains([',', '"', '*']))?;
            return (!options.head).then(|| {
                Subject::Named(Named {
                    location: location.clone(),
                    class: Class::Block,
                    name: Identity::tagged(source, key, tag, options.version.as_deref()),
                    if_match: Some(tag.to_owned()),
                    version: options.version.clone(),
                })
            });
        }
        let is_log = raw.starts_with("log/") && is_immutable(location);
        (is_log && options.version.is_none()).then(|| {
            Subject::Named(Named {
                location: location.clone(),
                class: Class::Metadata,
                name: Identity::named(&self.shared.options.store_id, raw),
                if_match: None,
                version: None,
            })
        })
    }
}

/// Whether an object of the log never changes under its name: ropes, commits, checkpoints.
fn is_immutable(location: &Path) -> bool {
    let mut parts = location.parts().collect::<Vec<_>>();
    let (Some(file), Some(folder)) = (parts.pop(), parts.pop()) else {
        return false;
    };
    let file = file.as_ref();
    if folder.as_ref() != "_delta_log" {
        return FileName::parse_rope_file(file).is_some();
    }
    let Some((version, rest)) = file.split_once('.') else {
        return false;
    };
    let is_version = version.len() == 20 && version.bytes().all(|digit| digit.is_ascii_digit());
    let is_checkpoint = rest.starts_with("checkpoint.") && rest.ends_with("parquet");
    is_version && (rest == "json" || is_checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_never_changes_is_cached() {
        let table = "log/main/default/t";
        let name = format!("{}-7", "ab".repeat(16));
        for (file, expected) in [
            (format!("{name}.rope"), true),
            (format!("{name}.crc"), false),
            ("x.rope".into(), false),
            ("_delta_log/00000000000000000007.json".into(), true),
            ("_delta_log/00000000000000000007.crc".into(), false),
            ("_delta_log/7.json".into(), false),
            ("_delta_log/_last_checkpoint".into(), false),
            (
                "_delta_log/00000000000000000010.checkpoint.parquet".into(),
                true,
            ),
            (
                "_delta_log/00000000000000000010.checkpoint.0000000001.0000000002.parquet".into(),
                true,
            ),
            (
                "_delta_log/00000000000000000010.compacted.json".into(),
                false,
            ),
        ] {
            let path = Path::parse(format!("{table}/{file}")).unwrap();
            assert_eq!(is_immutable(&path), expected, "{file}");
        }
    }
}
