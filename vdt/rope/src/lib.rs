//! Ropes: virtual files made of literals and references.
//!
//! A virtual file is a sequence of segments. A *literal* is bytes that vdt makes (page headers, small columns, a
//! footer); a *reference* is a byte range of an object that already exists somewhere and is never copied; *zeros* is
//! padding. The length of a file, and the literals and source ranges behind any byte range of it, are therefore known
//! before one artifact byte has been read.
//!
//! - [`Rope`], [`RopeBuilder`], [`Segment`]: the algebra (length, slices, concatenation), pure.
//! - [`FileName`]: the hash of a stored rope and the size of its file. A file's name *is* its content, so a virtual
//!   path, once served, always has the same bytes.
//! - [`stored`]: the stored form, framed so that a reader fetches by range only what a request touches.
//! - [`varint`]: what it is written in.
//! - `store` (feature `store`): `RopeStore`, the `ObjectStore` that shows `<name>.parquet` where the store below it
//!   holds `<name>.rope`.
//!
//! Without its features the crate neither awaits nor does any I/O.

mod builder;
mod name;
mod rope;
mod segment;
pub mod stored;
pub mod varint;

#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

pub use builder::RopeBuilder;
pub use name::{FileName, NameError, PARQUET_SUFFIX, ROPE_SUFFIX};
pub use rope::{MAX_LENGTH, Rope};
pub use segment::{MAX_OBJECT_TEXT_BYTES, Reference, Segment, SourceObject};
#[cfg(feature = "store")]
pub use store::{
    Drift, DriftReason, FileMap, Frame, ReadContext, Reread, RopeStore, RopeStoreError,
    RopeStoreOptions, requested_range, unquoted,
};
pub use stored::{
    Compression, Encoder, Index, Numbered, Sequence, StoredError, StoredRope, Tail, decode, encode,
};
