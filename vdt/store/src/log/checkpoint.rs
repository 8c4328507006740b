//! Checkpoints: deltalake lays them out, we compress them.
//!
//! deltalake writes checkpoints uncompressed (seventeen times the size). So it writes into memory, over a read-only view of
//! the state, and what it wrote is re-encoded with zstd and put if absent: of several replicas one checkpoint wins, and a path
//! that was served keeps its bytes.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::{
    arrow::error::ArrowError,
    checkpoints,
    parquet::{
        arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
        basic::{Compression, ZstdLevel},
        errors::ParquetError,
        file::properties::WriterProperties,
    },
};
use futures::{StreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as ObjectResult,
    memory::InMemory, path::Path,
};

use super::{LOADS, TableLog};
use crate::{error::StoreError, state::put_new};

impl TableLog {
    /// Writes the checkpoint of `version` unless it is there.
    pub(super) async fn write_checkpoint(&self, version: u64) -> Result<(), StoreError> {
        // It is never closed.
        let _permit = LOADS.acquire().await.ok();
        let overlay = Arc::new(Overlay {
            below: self.objects().clone(),
            written: InMemory::new(),
        });
        let table = self
            .builder(overlay.clone())?
            .with_version(version)
            .load()
            .await
            .map_err(|source| self.log_failed(source))?;
        checkpoints::create_checkpoint(&table, None)
            .await
            .map_err(|source| self.log_failed(source))?;
        let path = self.file(&format!("{version:020}.checkpoint.parquet"));
        let failed = |source| StoreError::object(&path, source);
        let plain = overlay.written.get(&path).await.map_err(failed)?;
        let plain = plain.bytes().await.map_err(failed)?;
        let packed = tokio::task::spawn_blocking(move || compress(plain))
            .await
            .map_err(|source| StoreError::task("compression of a checkpoint", source))?
            .map_err(|source| self.log_failed(source.into()))?;
        put_new(self.objects().as_ref(), &path, packed)
            .await
            .map_err(failed)?;
        Ok(())
    }
}

fn compress(plain: Bytes) -> Result<Vec<u8>, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(plain)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let mut packed = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut packed, reader.schema().clone(), Some(properties))?;
    for batch in reader.build()? {
        writer.write(&batch.map_err(|error: ArrowError| ParquetError::from(error))?)?;
    }
    writer.close()?;
    Ok(packed)
}

/// Reads from `below`, writes to memory.
#[derive(Debug)]
struct Overlay {
    below: Arc<dyn ObjectStore>,
    written: InMemory,
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory over {}", self.below)
    }
}

#[async_trait]
impl ObjectStore for Overlay {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> ObjectResult<PutResult> {
        self.written.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        self.written.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> ObjectResult<GetResult> {
        match self.written.get_opts(location, options.clone()).await {
            Err(object_store::Error::NotFound { .. }) => {
                self.below.get_opts(location, options).await
            }
            found => found,
        }
    }

    fn delete_stream(
        &self,
        _locations: BoxStream<'static, ObjectResult<Path>>,
    ) -> BoxStream<'static, ObjectResult<Path>> {
        stream::empty().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.below.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> ObjectResult<ListResult> {
        self.below.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> ObjectResult<()> {
        self.written.copy_opts(from, to, options).await
    }
}
