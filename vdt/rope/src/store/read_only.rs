//! What every store that only reads has in common: the writes that it refuses.

/// The four writes of an `ObjectStore`, for the body of its impl: each fails with `$refused("put")`, called with what was asked for.
///
/// An `#[async_trait]` does not look into a macro, so the methods are written out as it would. The crate that uses it depends on
/// object_store and futures.
///
/// ```
/// # use async_trait::async_trait;
/// # use futures::stream::BoxStream;
/// # use object_store::{path::Path, *};
/// # #[derive(Debug)]
/// # struct Shelf(memory::InMemory);
/// # impl std::fmt::Display for Shelf {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("shelf") }
/// # }
/// fn refused(operation: &str) -> Error {
///     let source = format!("{operation}: the shelf is read-only").into();
///     Error::NotSupported { source }
/// }
///
/// #[async_trait]
/// impl ObjectStore for Shelf {
///     async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
///         self.0.get_opts(location, options).await
///     }
///     # fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> { self.0.list(prefix) }
///     # async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> { self.0.list_with_delimiter(prefix).await }
///     // ... the other reads
///
///     vdt_rope::refuse_writes!(refused);
/// }
/// # let put = Shelf(memory::InMemory::new());
/// # let error = futures::executor::block_on(put.put(&"a".into(), "b".into())).unwrap_err();
/// # assert!(error.to_string().contains("put: the shelf is read-only"), "{error}");
/// ```
#[macro_export]
macro_rules! refuse_writes {
    ($refused:expr) => {
        fn put_opts<'store, 'path, 'future>(
            &'store self,
            _: &'path ::object_store::path::Path,
            _: ::object_store::PutPayload,
            _: ::object_store::PutOptions,
        ) -> ::futures::future::BoxFuture<'future, ::object_store::Result<::object_store::PutResult>>
        where
            'store: 'future,
            'path: 'future,
            Self: 'future,
        {
            ::std::boxed::Box::pin(async { Err($refused("put")) })
        }

        fn put_multipart_opts<'store, 'path, 'future>(
            &'store self,
            _: &'path ::object_store::path::Path,
            _: ::object_store::PutMultipartOptions,
        ) -> ::futures::future::BoxFuture<
            'future,
            ::object_store::Result<::std::boxed::Box<dyn ::object_store::MultipartUpload>>,
        >
        where
            'store: 'future,
            'path: 'future,
            Self: 'future,
        {
            ::std::boxed::Box::pin(async { Err($refused("multipart put")) })
        }

        fn delete_stream(
            &self,
            locations: ::futures::stream::BoxStream<
                'static,
                ::object_store::Result<::object_store::path::Path>,
            >,
        ) -> ::futures::stream::BoxStream<
            'static,
            ::object_store::Result<::object_store::path::Path>,
        > {
            let refused = ::futures::StreamExt::map(locations, |_| Err($refused("delete")));
            ::futures::StreamExt::boxed(refused)
        }

        fn copy_opts<'store, 'from, 'to, 'future>(
            &'store self,
            _: &'from ::object_store::path::Path,
            _: &'to ::object_store::path::Path,
            _: ::object_store::CopyOptions,
        ) -> ::futures::future::BoxFuture<'future, ::object_store::Result<()>>
        where
            'store: 'future,
            'from: 'future,
            'to: 'future,
            Self: 'future,
        {
            ::std::boxed::Box::pin(async { Err($refused("copy")) })
        }
    };
}
