//! Sources: places that artifacts come from.
//!
//! A [`Source`] is opened from the manifest's spec. It is listed with listers of our own ([`Source::list`]) and read through
//! an `ObjectStore` whose paths are full keys ([`Source::store`]): `object_store`'s listings cannot hold every key, break on
//! the first they cannot hold, lose storage classes and follow links out of a folder.
//!
//! What a source promises:
//! - a listing is complete, or an error;
//! - every key listed can be read under that key, and its listed ETag, size and time are those a read sees until it changes;
//! - a read never mixes two contents of an artifact: it gives the bytes asked for with `if_match`, or an error;
//! - nothing is ever written.

mod error;
mod file;
mod globs;
mod key;
mod listing;
mod read_only;
mod s3;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use object_store::ObjectStore;
use percent_encoding::percent_encode;
use sha2::{Digest, Sha256};
use tokio::task::AbortHandle;
use vdt_crds::{Location, Source as SourceSpec};
use vdt_rope::SourceObject;
use vdt_table::{SourceContext, URL_PATH};

pub use self::error::SourceError;
pub(crate) use self::file::SILENCE_MAX;
pub use self::file::without_parents;
pub use self::listing::{Entry, Listing, SkipReason, Skipped};
pub(crate) use self::s3::failure::REJECTED;
pub(crate) use self::s3::settings::proxied;
pub use crate::secrets::SecretError;

use self::file::FileSource;
use self::globs::Globs;
use self::s3::S3Source;

/// Where a source finds what the manifest only names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceEnv {
    /// Folder of the manifest: `file.path` is relative to it.
    pub base_dir: PathBuf,
    /// Folder with a folder for each Secret and ConfigMap.
    pub secrets_dir: Option<PathBuf>,
    /// Folder with a folder for each claim: `file.path` is relative to that of `file.claimName`.
    pub claims_dir: Option<PathBuf>,
    /// Namespace of the table, and so of its claims.
    pub namespace: String,
}

/// A place that artifacts come from, open for listing and reading. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source {
    context: Arc<SourceContext>,
    globs: Globs,
    fingerprint: Arc<str>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    File(FileSource),
    S3(S3Source),
}

impl Source {
    /// Opens a source as declared. A folder and secrets must be there; a bucket is not asked for yet.
    ///
    /// # Errors
    /// Whatever is wrong with the declaration or with what it names, in a sentence that says what to do.
    pub fn open(spec: &SourceSpec, env: &SourceEnv) -> Result<Self, SourceError> {
        let name: Arc<str> = spec.name.as_str().into();
        let globs = Globs::new(&name, &spec.include, &spec.exclude)?;
        let (context, place) = match spec.location() {
            Some(Location::File(file)) if file.claim_name.is_some() => {
                let claim = file.claim_name.as_deref().unwrap_or_default();
                let folder = FileSource::of_claim(&name, claim, file.path(), env)?;
                // The same in every pod, wherever the claim is mounted.
                let below = folder.path_in_claim();
                let place = [claim.as_bytes(), b"/", below].concat();
                let mut url_prefix =
                    format!("pvc://{}/{claim}/", encoded(env.namespace.as_bytes()));
                if !below.is_empty() {
                    url_prefix.push_str(&encoded(below));
                    url_prefix.push('/');
                }
                let context = SourceContext {
                    name,
                    id: source_id("File", "", &env.namespace, &place),
                    prefix: String::new(),
                    url_prefix,
                    etag_is_checksum: false,
                };
                (context, Place::File(folder))
            }
            Some(Location::File(file)) => {
                // Without what a path of `.` leaves at its end.
                let path: PathBuf = env.base_dir.join(file.path()).components().collect();
                let folder = FileSource::open(&name, &path, None)?;
                let path = folder.path().as_os_str().as_bytes();
                let context = SourceContext {
                    name,
                    id: source_id("File", "", "", path),
                    prefix: String::new(),
                    url_prefix: format!(
                        "file://{}/",
                        encoded(path.strip_suffix(b"/").unwrap_or(path))
                    ),
                    etag_is_checksum: false,
                };
                (context, Place::File(folder))
            }
            Some(Location::S3(s3)) => {
                let bucket = S3Source::open(&name, s3, env)?;
                let context = SourceContext {
                    name,
                    id: source_id("S3", bucket.service(), "", bucket.bucket().as_bytes()),
                    prefix: s3.prefix().to_owned(),
                    url_prefix: format!("s3://{}/", bucket.bucket()),
                    etag_is_checksum: true,
                };
                (context, Place::S3(bucket))
            }
            Some(
                Location::Gcs(_)
                | Location::Azure(_)
                | Location::Http(_)
                | Location::Inventory(_)
                | Location::Postgres(_),
            ) => {
                let feature = format!("a source of type {}", spec.kind.as_str());
                return Err(SourceError::Unsupported { name, feature });
            }
            None => {
                return Err(SourceError::Invalid {
                    name,
                    field: "type",
                    value: spec.kind.as_str().to_owned(),
                    problem: "not the member that is set; set the one that belongs to the type"
                        .to_owned(),
                });
            }
        };
        let what = (&context.id, &context.prefix, &spec.include, &spec.exclude);
        Ok(Self {
            fingerprint: format!("{what:?}").into(),
            context: Arc::new(context),
            globs,
            place,
        })
    }

    /// Name inside the table.
    pub fn name(&self) -> &Arc<str> {
        &self.context.name
    }

    /// Sixteen hexadecimal digits that stand for the place: type, endpoint, account and bucket, or the folder's path.
    pub fn id(&self) -> &Arc<str> {
        &self.context.id
    }

    /// What the layout of a table needs to know of its source.
    pub fn context(&self) -> Arc<SourceContext> {
        Arc::clone(&self.context)
    }

    /// Text that changes whenever the declaration means other artifacts: another place, prefix, `include` or `exclude`.
    /// Credentials and the way to the place are no part of it.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.to_string()
    }

    /// True if an artifact with this key would belong to the source: it lies below the prefix, passes the globs, and can be
    /// served. Says nothing about whether it exists.
    pub fn declared(&self, key: &str) -> bool {
        // A size of 1: whether a trailing slash makes a folder marker or not, it is not declared.
        key.strip_prefix(&*self.context.prefix)
            .is_some_and(|filename| {
                !filename.is_empty()
                    && key::unservable(key, 1).is_none()
                    && self.globs.pass(filename.as_bytes())
            })
    }

    /// Lists the source. `progress` is called now and then with the artifacts and bytes seen so far. Dropping the future
    /// stops the listing.
    ///
    /// # Errors
    /// Whatever keeps the listing from being complete.
    pub async fn list(
        &self,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Listing, SourceError> {
        self.list_beside(None, progress).await
    }

    /// Lists the source, unless it is a folder that `state` lies in, or that lies in it: vdt's own files would be artifacts, and change with
    /// every refresh. At the start that is refused too, but a link may have been switched since. `state` is the canonical path of the
    /// state's directory.
    ///
    /// # Errors
    /// As [`Source::list`].
    pub(crate) async fn list_beside(
        &self,
        state: Option<&Path>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Listing, SourceError> {
        let started = Instant::now();
        let listing = match &self.place {
            Place::File(folder) => {
                let listed = folder.list(&self.context, &self.globs, state, progress);
                listed.await?
            }
            Place::S3(bucket) => bucket.list(&self.context, &self.globs, progress).await?,
        };
        // Sorting a million keys takes too long for a thread that serves.
        match tokio::task::spawn_blocking(move || listing.finish(started.elapsed())).await {
            Ok(listing) => Ok(listing),
            Err(error) => Err(SourceError::Io {
                name: Arc::clone(self.name()),
                path: PathBuf::from(&self.context.url_prefix),
                error: std::io::Error::other(error),
            }),
        }
    }

    /// `listing` with those of the `known` files that it lacks although they are there, and with those that it shows as they were before they became
    /// what is known as they are now (`file::lookup`). Buckets lack none. Blocks, for a stat of each such key, within `bounds`; `known` may be
    /// in any order.
    ///
    /// # Errors
    /// Whatever keeps it from being known whether a key is there.
    pub(crate) fn complete<'a>(
        &self,
        listing: Listing,
        known: impl Iterator<Item = &'a SourceObject>,
        bounds: &RecheckBounds<'_>,
    ) -> Result<Listing, SourceError> {
        let Place::File(folder) = &self.place else {
            return Ok(listing);
        };
        let (mut keys, mut missing) = (Vec::new(), Vec::new());
        for row in known.filter(|row| self.declared(&row.key)) {
            match listing.get(&row.key) {
                None => missing.push(&*row.key),
                Some(listed) if file::is_outdated(listed, row) => keys.push(&*row.key),
                Some(_) => {}
            }
        }
        if !(bounds.is_pointless)(missing.len()) {
            keys.extend(missing);
        }
        if keys.is_empty() {
            return Ok(listing);
        }
        let keys = keys.into_iter().take_while(|_| !(bounds.is_cancelled)());
        let found = folder.find(&self.context, keys, &listing)?;
        Ok(listing.with(found))
    }

    /// Gives up a visit to the source that has fallen silent. Only a folder can hang: a bucket's requests end by themselves.
    pub(crate) fn given_up(&self, visit: AbortHandle) -> Option<SourceError> {
        match &self.place {
            Place::File(folder) => Some(folder.given_up(visit)),
            Place::S3(_) => None,
        }
    }

    /// The source's objects by full key: ranges, `if_match` and `head` are honoured, listings and writes refused.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        match &self.place {
            Place::File(folder) => folder.store(),
            Place::S3(bucket) => bucket.store(),
        }
    }
}

/// How far keys that a listing lacks are asked for by themselves.
pub(crate) struct RecheckBounds<'a> {
    /// Whether nothing would come of asking for so many.
    pub(crate) is_pointless: &'a dyn Fn(usize) -> bool,
    /// Whether nobody waits for the answer any more.
    pub(crate) is_cancelled: &'a dyn Fn() -> bool,
}

/// Hashes what makes a place itself. Parts are separated by a zero byte, which none of them can hold.
fn source_id(kind: &str, endpoint: &str, account: &str, bucket: &[u8]) -> Arc<str> {
    let mut hash = Sha256::new();
    for part in [
        kind.as_bytes(),
        endpoint.as_bytes(),
        account.as_bytes(),
        bucket,
    ] {
        hash.update(part);
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8]).into()
}

fn encoded(path: &[u8]) -> String {
    percent_encode(path, URL_PATH).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn folder(path: &Path) -> Source {
        let manifest = "apiVersion: vdt.io/v1alpha1\nkind: VirtualTable\nmetadata: {name: t}\nspec:\n  \
                        sources: [{name: s, type: File, file: {path: .}}]\n";
        let table = vdt_crds::parse(manifest.as_bytes()).unwrap().remove(0);
        let env = SourceEnv {
            base_dir: path.to_path_buf(),
            ..SourceEnv::default()
        };
        Source::open(&table.spec.sources[0], &env).unwrap()
    }

    #[tokio::test]
    async fn what_a_listing_shows_as_it_was_before_is_asked_for_by_itself() {
        let folder_path = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| fs::write(folder_path.path().join(name), text).unwrap();
        write("a", "1");
        write("b", "1");
        let source = folder(folder_path.path());
        let list = async || source.list(&|_, _| {}).await.unwrap();
        let old = list().await;
        // Another machine sees the file as it is now, and commits that; this one remembers what it was.
        write("a", "another");
        let new = list().await;
        assert_ne!(old.entries[0], new.entries[0]);
        let bounds = RecheckBounds {
            is_pointless: &|_| false,
            is_cancelled: &|| false,
        };
        let known = new.entries.iter().map(|entry| &*entry.object);
        let listing = source.complete(old.clone(), known, &bounds).unwrap();
        assert_eq!(listing.entries, new.entries);
        assert_eq!(listing.bytes, new.bytes);
        // And what has changed since it was committed is shown as changed.
        let known = old.entries.iter().map(|entry| &*entry.object);
        let listing = source.complete(new.clone(), known, &bounds).unwrap();
        assert_eq!(listing.entries, new.entries);
    }
}
