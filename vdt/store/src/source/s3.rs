//! A bucket of any S3 service as a source.
//!
//! [`list`] lists it with requests of our own, [`read`] reads it through `object_store`, [`settings`] says where it is
//! and who asks.

mod client;
mod encoding;
pub(crate) mod failure;
mod list;
mod pages;
mod read;
pub(crate) mod settings;
mod xml;

use std::sync::Arc;

use object_store::ObjectStore;
use vdt_crds::{S3Bucket, Versions};
use vdt_table::SourceContext;

use self::client::Client;
use self::settings::Settings;
use super::globs::Globs;
use super::listing::Listing;
use super::read_only::ReadOnly;
use super::{SourceEnv, SourceError};

/// A bucket that can be listed and read.
#[derive(Clone, Debug)]
pub(super) struct S3Source {
    settings: Arc<Settings>,
    client: Arc<Client>,
    store: Arc<dyn ObjectStore>,
    pinned: bool,
}

impl S3Source {
    /// Makes the clients. Sends nothing.
    pub(super) fn open(
        name: &Arc<str>,
        spec: &S3Bucket,
        env: &SourceEnv,
    ) -> Result<Self, SourceError> {
        let settings = Arc::new(Settings::new(name, spec, env)?);
        let amazon = settings.amazon()?;
        Ok(Self {
            client: Arc::new(Client::new(
                Arc::clone(&settings),
                Arc::clone(amazon.credentials()),
            )?),
            store: Arc::new(ReadOnly(read::S3Reader::new(amazon))),
            settings,
            pinned: spec.versions == Some(Versions::Pinned),
        })
    }

    pub(super) fn bucket(&self) -> &str {
        &self.settings.bucket
    }

    /// Scheme, host and port of the service, the same whichever way it is written.
    pub(super) fn service(&self) -> &str {
        &self.settings.service
    }

    /// Lists every key with the prefix.
    pub(super) async fn list(
        &self,
        context: &Arc<SourceContext>,
        globs: &Globs,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Listing, SourceError> {
        list::list(&self.client, context, globs, self.pinned, progress).await
    }

    /// The bucket's objects by key, for reading.
    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }
}
