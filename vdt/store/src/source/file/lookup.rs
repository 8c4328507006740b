//! Files by key, for those that a walk has not seen although they are there.
//!
//! POSIX leaves open whether reading a folder shows a name that is given to another file meanwhile (readdir, rename): btrfs
//! shows only what was there when the reading began, others may pass the name by. A key that a listing lacks is therefore
//! asked for by itself before it counts as deleted. What is there is listed as it is; what could not be asked for is an error,
//! as in a walk. Everything here blocks.
//!
//! So is a key whose file a listing shows as it was before what is known of it: attributes that are remembered of a network mount (nfs, ac) may be older
//! than what another machine has committed.
//!
//! Where names are the same in upper and lower case, a file is found under the name that it had before, too: one that is listed under the same name
//! in another case is that file, and is listed once.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use vdt_rope::SourceObject;
use vdt_table::SourceContext;

use super::beneath::{OpenError, OpenRoot, Root};
use super::facts::{Seen, changed_ns};
use super::walk::io_error;
use super::{entry, failed, is_system_folder, unopened};
use crate::source::SourceError;
use crate::source::listing::Entry;

/// Finds the files among `keys`, in their order. The root must still lead to the folder that was `listed`: else the files of two folders
/// would be taken for those of one.
pub(super) fn find<'a>(
    context: &SourceContext,
    root: &Root,
    listed: Option<&Path>,
    keys: impl Iterator<Item = &'a str>,
) -> Result<Vec<Entry>, SourceError> {
    let open = root
        .open()
        .map_err(|error| unopened(&context.name, root, error))?;
    if listed.is_some_and(|listed| listed != open.place()) {
        let error =
            io::Error::other("it led to another folder while it was listed; it is listed again");
        return Err(failed(context, root, b"", error));
    }
    let mut found = Vec::new();
    for key in keys {
        let seen = see(&open, key.as_bytes())
            .map_err(|error| failed(context, root, key.as_bytes(), io_error(error)))?;
        if let Some(seen) = seen.filter(|seen| seen.kind == FileType::RegularFile) {
            found.push(entry(context, &open, key, &seen.facts));
        }
    }
    Ok(found)
}

/// Whether a listing shows a file as it was before it became what is `known` of it.
pub(in crate::source) fn is_outdated(listed: &SourceObject, known: &SourceObject) -> bool {
    let changed = |object: &SourceObject| object.etag.as_deref().and_then(changed_ns);
    let times = changed(listed).zip(changed(known));
    times.is_some_and(|(listed, known)| listed < known)
}

/// Those of the files `found` that `listed` has not under a name that differs in case alone. Of two hard links with such names the one that a walk
/// has missed waits for the next walk.
pub(super) fn without_listed(mut found: Vec<Entry>, listed: &[Entry]) -> Vec<Entry> {
    // A listing is long, and what it lacks is not.
    let contents: HashSet<_> = found.iter().map(|one| one.object.etag.clone()).collect();
    let names: HashSet<_> = listed
        .iter()
        .filter(|one| contents.contains(&one.object.etag))
        .map(|one| (one.object.etag.clone(), one.object.key.to_lowercase()))
        .collect();
    found.retain(|one| !names.contains(&(one.object.etag.clone(), one.object.key.to_lowercase())));
    found
}

fn see(root: &OpenRoot<'_>, path: &[u8]) -> Result<Option<Seen>, OpenError> {
    match root.open(path, OFlags::PATH) {
        Ok(fd) => Ok(Some(Seen::now(&fd)?)),
        Err(OpenError::Missing | OpenError::Outside | OpenError::Loop | OpenError::TooLong) => {
            Ok(None)
        }
        Err(error) if is_system_folder(path, &error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn entries(of: &[(&str, &str)]) -> Vec<Entry> {
        let entry = |(key, etag): &(&str, &str)| Entry {
            object: Arc::new(SourceObject {
                source: "s".into(),
                key: (*key).into(),
                size: 1,
                etag: Some((*etag).into()),
                last_modified_ms: 0,
                version: None,
            }),
            storage_class: None,
            archived: false,
        };
        of.iter().map(entry).collect()
    }

    #[test]
    fn what_a_listing_lacks_is_looked_for_in_the_folder_that_was_listed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["old", "new"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("a"), name).unwrap();
        }
        std::os::unix::fs::symlink("old", at("link")).unwrap();
        let root = Root::new(at("link"), None);
        let context = SourceContext {
            name: "s".into(),
            id: "s".into(),
            prefix: String::new(),
            url_prefix: String::new(),
            etag_is_checksum: false,
        };
        let found = || find(&context, &root, Some(&at("old")), ["a"].into_iter());
        assert_eq!(found().unwrap().len(), 1);
        std::fs::remove_file(at("link")).unwrap();
        std::os::unix::fs::symlink("new", at("link")).unwrap();
        let told = vdt_crds::chain(&found().unwrap_err());
        assert!(told.contains("another folder"), "{told}");
    }

    #[test]
    fn a_file_that_is_listed_in_another_case_is_not_found_in_the_old_one() {
        let listed = entries(&[("A.pdf", "1"), ("dir/\u{c4}.pdf", "2"), ("b.pdf", "3")]);
        for (key, etag, is_kept) in [
            ("a.pdf", "1", false),
            ("dir/\u{e4}.pdf", "2", false),
            ("DIR/\u{c4}.pdf", "2", false),
            // Another file, on a system that tells them apart.
            ("a.pdf", "4", true),
            // A hard link, or a file that has moved while the folder was read.
            ("c.pdf", "3", true),
            ("b.pdf2", "3", true),
        ] {
            let found = entries(&[(key, etag)]);
            let kept = without_listed(found, &listed);
            assert_eq!(!kept.is_empty(), is_kept, "{key} {etag}");
        }
    }
}
