//! GET of a virtual file: its index, the frames of the range, a body.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore,
    Result,
};

use super::body::Body;
use super::cache::KnownRope;
use super::context::{FileMap, Frame, Reread};
use super::error::{RopeStoreError, relocate};
use super::paths;
use super::read::SourceReader;
use super::{STORE, Shared};
use crate::name::FileName;
use crate::stored::{Index, StoredError, Tail};

/// Answers a GET. Before it returns, the frames that come first are read and checked, and the sources of the first
/// references have answered and are the listed ones.
pub(super) async fn get(
    shared: &Arc<Shared>,
    location: &Path,
    name: FileName,
    rope: Path,
    options: GetOptions,
) -> Result<GetResult> {
    let file = RopeFile::open(shared, location, name, &rope).await?;
    answer(file, location, options).await
}

/// Answers a GET of a file whose index is at hand.
pub(super) async fn get_known(
    shared: &Arc<Shared>,
    location: &Path,
    known: Arc<KnownRope>,
    options: GetOptions,
) -> Result<GetResult> {
    let file = RopeFile::of(shared, known, Bytes::new());
    answer(file, location, options).await
}

async fn answer(file: RopeFile, location: &Path, options: GetOptions) -> Result<GetResult> {
    let file = Arc::new(file);
    let name = file.known.index.name();
    let meta = paths::shown_meta(location.clone(), name, &file.known.meta);
    options.check_preconditions(&meta)?;
    let range = requested_range(&options, meta.size, STORE)?;
    let mut body = Body::new(Arc::clone(&file), range.clone());
    poll_fn(|cx| body.poll_primed(cx)).await?;
    Ok(GetResult {
        payload: GetResultPayload::Stream(body.boxed()),
        meta,
        range,
        attributes: Attributes::default(),
    })
}

/// Answers a HEAD.
pub(super) fn without_body(meta: ObjectMeta, options: &GetOptions) -> Result<GetResult> {
    options.check_preconditions(&meta)?;
    let range = requested_range(options, meta.size, STORE)?;
    let payload = GetResultPayload::Stream(stream::empty().boxed());
    Ok(GetResult {
        payload,
        meta,
        range,
        attributes: Attributes::default(),
    })
}

/// The half-open range of an object of `size` bytes that a request to `store` asks for.
///
/// # Errors
/// [`Error::Generic`] when it begins past the end.
pub fn requested_range(options: &GetOptions, size: u64, store: &'static str) -> Result<Range<u64>> {
    match &options.range {
        Some(range) => range.as_range(size).map_err(|error| Error::Generic {
            store,
            source: Box::new(error),
        }),
        None => Ok(0..size),
    }
}

/// Options of a first read, or of one that does without what was kept of it.
fn rereading(is_again: bool) -> GetOptions {
    let mut options = GetOptions::default();
    if is_again {
        options.extensions.insert(Reread);
    }
    options
}

/// Lets others run: decoding a frame takes a tenth of a millisecond, a batch would take two.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A rope that is being read.
#[derive(Debug)]
pub(super) struct RopeFile {
    pub(super) reader: SourceReader,
    pub(super) known: Arc<KnownRope>,
    /// The last bytes of the stored rope, where they were just read.
    tail: Bytes,
}

impl RopeFile {
    fn of(shared: &Arc<Shared>, known: Arc<KnownRope>, tail: Bytes) -> Self {
        let reader = SourceReader {
            shared: Arc::clone(shared),
            location: Arc::clone(&known.shown),
        };
        Self {
            reader,
            known,
            tail,
        }
    }

    async fn open(
        shared: &Arc<Shared>,
        location: &Path,
        name: FileName,
        rope: &Path,
    ) -> Result<Self> {
        let read = |range, options: GetOptions| async move {
            let options = GetOptions {
                range: Some(range),
                ..options
            };
            let result = shared.origin.get_opts(rope, options).await?;
            let (meta, range) = (result.meta.clone(), result.range.clone());
            Ok((meta, range, result.bytes().await?))
        };
        let relocated = |error| relocate(error, location);
        let damaged = |source| RopeStoreError::Damaged {
            location: location.clone(),
            source,
        };

        let mut wanted = Index::TAIL_BYTES_HINT;
        let mut is_again = false;
        loop {
            let (mut meta, found, tail) = read(GetRange::Suffix(wanted), rereading(is_again))
                .await
                .map_err(relocated)?;
            let expected = meta.size.saturating_sub(wanted)..meta.size;
            if found != expected || tail.len() as u64 != expected.end - expected.start {
                return Err(RopeStoreError::RopeRange {
                    location: location.clone(),
                    expected,
                    found,
                }
                .into());
            }
            let parsed = Index::parse(&tail, meta.size);
            let is_good = match &parsed {
                Ok(Tail::Index(index)) => index.name() == name,
                Ok(Tail::NeedMore { .. }) => true,
                Err(_) => false,
            };
            if !is_good && !is_again {
                (is_again, wanted) = (true, Index::TAIL_BYTES_HINT);
                continue;
            }
            match parsed.map_err(damaged)? {
                Tail::Index(index) if index.name() == name => {
                    meta.location = rope.clone();
                    let shown = Arc::new(location.clone());
                    let known = Arc::new(KnownRope { index, meta, shown });
                    shared.indexes.insert(location.clone(), Arc::clone(&known));
                    // A body keeps it, and it may be a part of something far larger.
                    let tail = Bytes::copy_from_slice(&tail);
                    return Ok(Self::of(shared, known, tail));
                }
                Tail::Index(index) => {
                    let (location, found) = (location.clone(), index.name());
                    return Err(RopeStoreError::Misnamed { location, found }.into());
                }
                Tail::NeedMore { bytes } if bytes > wanted => wanted = bytes,
                Tail::NeedMore { .. } => {
                    return Err(damaged(StoredError::TooShort { bytes: meta.size }).into());
                }
            }
        }
    }

    /// Decoded `frames`, in order. Those that are not at hand are read with one ranged read of the rope.
    pub(super) async fn frames(&self, frames: Range<usize>) -> Result<Vec<Arc<Frame>>> {
        let mut found: Vec<_> = frames.clone().map(|number| self.held(number)).collect();
        let first = found.iter().position(Option::is_none);
        let last = found.iter().rposition(Option::is_none);
        if let (Some(first), Some(last)) = (first, last) {
            let missing = frames.start + first..frames.start + last + 1;
            let start = self.known.index.frames()[missing.start].file.start;
            let range = self.known.index.file_range(missing);
            let mut stored = self.stored(range.clone(), false).await?;
            let mut is_again = false;
            for (number, found) in frames.clone().zip(&mut found) {
                if found.is_some() {
                    continue;
                }
                let file = &self.known.index.frames()[number].file;
                // Sizes of what was just read.
                let place = (file.start - start) as usize..(file.end - start) as usize;
                let mut decoded = self.decode(number, &stored[place.clone()]);
                if decoded.is_err() && !is_again {
                    is_again = true;
                    stored = self.stored(range.clone(), true).await?;
                    decoded = self.decode(number, &stored[place]);
                }
                *found = Some(decoded.map_err(|source| self.damaged(source))?);
                yield_now().await;
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// A frame that was decoded lately.
    fn held(&self, number: usize) -> Option<Arc<Frame>> {
        let shared = &self.reader.shared;
        let frame = shared.frames.find(&(self.known.index.name(), number))?;
        (frame.covers() == self.known.index.frames()[number].covers).then_some(frame)
    }

    fn decode(&self, number: usize, stored: &[u8]) -> Result<Arc<Frame>, StoredError> {
        let index = &self.known.index;
        let segments = index.decode_frame(number, stored)?;
        let frame = Arc::new(Frame::new(index.frames()[number].covers.clone(), segments));
        let shared = &self.reader.shared;
        shared
            .frames
            .insert((index.name(), number), Arc::clone(&frame));
        Ok(frame)
    }

    /// Bytes of the stored rope, from where it lies if they are read again.
    async fn stored(&self, range: Range<u64>, is_again: bool) -> Result<Bytes> {
        let tail_start = self.known.meta.size - self.tail.len() as u64;
        if range.start >= tail_start && !is_again {
            return Ok(self
                .tail
                .slice((range.start - tail_start) as usize..(range.end - tail_start) as usize));
        }
        let location: &Path = &self.reader.location;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..rereading(is_again)
        };
        let result = self
            .origin()
            .get_opts(&self.known.meta.location, options)
            .await;
        let result = result.map_err(|error| self.forget(relocate(error, location)))?;
        let found = result.range.clone();
        let bytes = result
            .bytes()
            .await
            .map_err(|error| relocate(error, location))?;
        if found != range || bytes.len() as u64 != range.end - range.start {
            let error = RopeStoreError::RopeRange {
                location: Path::clone(location),
                expected: range,
                found,
            };
            return Err(self.forget(error.into()));
        }
        Ok(bytes)
    }

    fn damaged(&self, source: StoredError) -> Error {
        let location = Path::clone(&self.reader.location);
        self.forget(RopeStoreError::Damaged { location, source }.into())
    }

    /// Forgets the index: the bytes below may have been written anew since it was read.
    fn forget(&self, error: Error) -> Error {
        self.reader.shared.indexes.remove(&self.known.shown);
        error
    }

    fn origin(&self) -> &dyn ObjectStore {
        &*self.reader.shared.origin
    }
}

#[async_trait::async_trait]
impl FileMap for RopeFile {
    fn bytes(&self) -> u64 {
        self.known.index.name().size
    }

    async fn frame(&self, at: u64) -> Result<Option<Arc<Frame>>> {
        if at >= FileMap::bytes(self) {
            return Ok(None);
        }
        let number = self.known.index.frames_for(at..at + 1);
        let mut frames = self.frames(number).await?;
        Ok(frames.pop())
    }
}
