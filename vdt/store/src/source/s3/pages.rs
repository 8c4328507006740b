//! The pages of a listing, one after the other.
//!
//! The service's own continuation tokens are the only way on: `start-after` leaves keys out on services that list in the order
//! of a directory tree. A token that cannot be sent back as it came is never sent; a page that ends elsewhere has another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::client::{Client, Patience};
use super::encoding::{KeyEncoding, PROBE};
use super::xml::{Page, RawPage};
use crate::source::SourceError;

/// Requests at the same time: services slow a client down that asks for much more, and the gain is small.
pub(super) const REQUESTS_MAX: usize = 8;

/// Keys of a page; the most that S3 gives.
const PAGE_KEYS: usize = 1000;

/// Pages of one listing, 100 million keys: a service that never ends is an error.
const PAGES_MAX: u64 = 100_000;

/// Pages asked for again with one key less, because the token was not one that can be sent back.
const SHORTER_PAGES_MAX: usize = 16;

/// The requests of one listing.
pub(super) struct Requests {
    client: Arc<Client>,
    /// Whether versions are listed.
    is_versioned: bool,
    slots: Semaphore,
    sent: AtomicU64,
    /// A page has come.
    is_midway: AtomicBool,
}

impl Requests {
    pub(super) fn new(client: &Arc<Client>, is_versioned: bool) -> Self {
        Self {
            client: Arc::clone(client),
            is_versioned,
            slots: Semaphore::new(REQUESTS_MAX),
            sent: AtomicU64::new(0),
            is_midway: AtomicBool::new(false),
        }
    }

    /// How many have been sent, retries not counted.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    async fn send(&self, query: &[(&str, &str)]) -> Result<RawPage, SourceError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= PAGES_MAX {
            return Err(self.error(format!("the listing has more than {PAGES_MAX} pages")));
        }
        // It is never closed.
        let _slot = self.slots.acquire().await;
        let patience = match self.is_midway.load(Ordering::Relaxed) {
            true => Patience::Midway,
            false => Patience::First,
        };
        let page = self.client.page(query, patience).await?;
        self.is_midway.store(true, Ordering::Relaxed);
        Ok(page)
    }

    /// An answer that is no listing.
    pub(super) fn error(&self, problem: String) -> SourceError {
        SourceError::Protocol {
            name: Arc::clone(&self.client.settings.name),
            endpoint: self.client.settings.place(),
            problem,
        }
    }
}

/// Goes from page to page of one prefix.
pub(super) struct Pages<'a> {
    requests: &'a Requests,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    next: Option<String>,
    next_version: Option<String>,
    is_done: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(requests: &'a Requests, prefix: &'a str, delimiter: Option<&'a str>) -> Self {
        Self {
            requests,
            prefix,
            delimiter,
            next: None,
            next_version: None,
            is_done: false,
        }
    }

    /// True after the last page.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The next page; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, SourceError> {
        if self.is_done {
            return Ok(None);
        }
        for shorter in 0..SHORTER_PAGES_MAX {
            let page = self.ask(PAGE_KEYS - shorter).await?;
            if !page.truncated {
                self.is_done = true;
                return Ok(Some(page));
            }
            let Some(next) = page.next.clone().filter(|next| !next.is_empty()) else {
                return Err(self.requests.error(
                    "a page says that more follow, but not how to ask for them".to_owned(),
                ));
            };
            if (Some(&next), &page.next_version) == (self.next.as_ref(), &self.next_version) {
                return Err(self
                    .requests
                    .error("two pages in a row end at the same place".to_owned()));
            }
            // A token made of a key that XML cannot hold (SeaweedFS), or a marker that is not UTF-8, would skip whatever lies
            // between; the page that ends one key earlier has a better one.
            if !next.contains(char::REPLACEMENT_CHARACTER) && !next.contains('\0') {
                self.next = Some(next);
                self.next_version.clone_from(&page.next_version);
                return Ok(Some(page));
            }
        }
        Err(self.requests.error(
            "its continuation tokens cannot be sent back; remove keys with control characters and keys that are not UTF-8"
                .to_owned(),
        ))
    }

    async fn ask(&self, keys: usize) -> Result<Page, SourceError> {
        let keys = keys.to_string();
        let (kind, next) = match self.requests.is_versioned {
            true => (("versions", ""), "key-marker"),
            false => (("list-type", "2"), "continuation-token"),
        };
        let mut query = vec![
            kind,
            ("prefix", self.prefix),
            ("max-keys", keys.as_str()),
            ("encoding-type", "url"),
        ];
        query.extend(self.delimiter.map(|delimiter| ("delimiter", delimiter)));
        query.extend(self.next.as_deref().map(|token| (next, token)));
        if self.requests.is_versioned {
            let version = self.next_version.as_deref();
            query.extend(version.map(|version| ("version-id-marker", version)));
        }
        let page = self.requests.send(&query).await?;
        let encoding = match page.encoding() {
            Some(encoding) => encoding,
            None => self.probed_encoding().await?,
        };
        Ok(page.decode(encoding))
    }

    /// Asks the service how it encodes keys, once for each source. Without an answer there is no listing: keys that are read in
    /// another way than before would be other keys.
    async fn probed_encoding(&self) -> Result<KeyEncoding, SourceError> {
        let known = &self.requests.client.encoding;
        known.get_or_try_init(|| self.probe()).await.copied()
    }

    /// Lists what lies below a prefix with a space and a plus, which tells how they are encoded. Where that may not be listed, by
    /// a policy that names prefixes, the service is taken for one like AWS, which has such policies.
    async fn probe(&self) -> Result<KeyEncoding, SourceError> {
        let prefix = format!("{}{PROBE}", self.prefix);
        let query = [
            ("list-type", "2"),
            ("prefix", prefix.as_str()),
            ("max-keys", "1"),
            ("encoding-type", "url"),
        ];
        match self.requests.send(&query).await {
            Ok(page) => Ok(KeyEncoding::of_probe(&page.prefix)),
            Err(error @ SourceError::Forbidden { .. }) => {
                tracing::warn!(%error, "whether a plus in a key is a space is not known; taken for one, as AWS means it");
                Ok(KeyEncoding::Form)
            }
            Err(error) => Err(error),
        }
    }
}
