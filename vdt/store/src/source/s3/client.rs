//! Signed GET requests for listings.
//!
//! The transport, TLS, proxies and signatures are `object_store`'s; what is asked and how the answer is read is ours, because
//! its own listing loses keys, storage classes and order. Every request is retried here, and only here, while that can help.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use bytes::BytesMut;
use futures::StreamExt;
use http::{Method, StatusCode};
use object_store::aws::{AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpRequestBody, HttpResponse,
    ReqwestConnector,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::OnceCell;

use super::encoding::KeyEncoding;
use super::failure::{ErrorDocument, Failure};
use super::settings::Settings;
use super::xml::{self, RawPage};
use crate::source::SourceError;

/// A page of 1,000 keys comes in well under a second; a service that needs longer is asked again.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Web identity and instance metadata answer at once or not at all.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);

/// 1,000 keys of 1,024 bytes, each byte percent-encoded, with their elements, four times over.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The pause before the second try, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long one page of a listing is worth asking for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Nothing has come yet: what is wrong, such as a host that swallows connections, is told within half a minute.
    First,
    /// Pages have come, maybe hundreds of thousands of keys, and would be lost: the service and the credentials were right a moment ago.
    Midway,
}

impl Patience {
    /// Tries after the first. Midway the window ends them.
    const fn retries(self) -> usize {
        match self {
            Self::First => 4,
            Self::Midway => 40,
        }
    }

    /// No retry starts later than this after the first try.
    const fn window(self) -> Duration {
        match self {
            Self::First => Duration::from_secs(15),
            Self::Midway => Duration::from_secs(120),
        }
    }

    fn bears(self, failure: &Failure) -> bool {
        failure.is_retryable() || self == Self::Midway && failure.is_of_credentials()
    }
}

/// RFC 3986 unreserved characters stay as they are: the signature wants the rest encoded.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Asks a bucket for pages of its listing.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: Arc<Settings>,
    http: HttpClient,
    credentials: AwsCredentialProvider,
    /// How the service encodes keys; empty until pages did not tell it and it was asked.
    pub(super) encoding: OnceCell<KeyEncoding>,
}

impl Client {
    pub(super) fn new(
        settings: Arc<Settings>,
        credentials: AwsCredentialProvider,
    ) -> Result<Self, SourceError> {
        let options = settings.options().clone().with_timeout(PAGE_TIMEOUT);
        let http = ReqwestConnector::default()
            .connect(&options)
            .map_err(|error| settings.unusable(&error))?;
        Ok(Self {
            settings,
            http,
            credentials,
            encoding: OnceCell::new(),
        })
    }

    /// Gets one page; `query` is sent in the order given.
    pub(super) async fn page(
        &self,
        query: &[(&str, &str)],
        patience: Patience,
    ) -> Result<RawPage, SourceError> {
        let pauses = ExponentialBuilder::new()
            .with_jitter()
            .with_max_times(patience.retries())
            .with_min_delay(PAUSES.0)
            .with_max_delay(PAUSES.1);
        let url = self.url(query);
        let started = Instant::now();
        (|| self.try_page(&url))
            .retry(pauses)
            .when(|failure| patience.bears(failure) && started.elapsed() < patience.window())
            .notify(|failure, pause| tracing::debug!(%url, %failure, ?pause, "listing request is retried"))
            .await
            .map_err(|failure| failure.into_error(&self.settings))
    }

    fn url(&self, query: &[(&str, &str)]) -> String {
        let encoded = |text| utf8_percent_encode(text, QUERY);
        let query: Vec<_> = query
            .iter()
            .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)))
            .collect();
        let slash = if self.settings.bucket_url.matches('/').count() == 2 {
            "/"
        } else {
            ""
        };
        format!("{}{slash}?{}", self.settings.bucket_url, query.join("&"))
    }

    async fn try_page(&self, url: &str) -> Result<RawPage, Failure> {
        let credential = self.credential().await?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| Failure::Answer(error.to_string()))?;
        if let Some(credential) = credential {
            AwsAuthorizer::new(&credential, "s3", &self.settings.region)
                .with_request_payer(self.settings.request_payer)
                .authorize(&mut request, None);
        }
        let response = self
            .http
            .execute(request)
            .await
            .map_err(Failure::Transport)?;
        let status = response.status();
        let region = response
            .headers()
            .get("x-amz-bucket-region")
            .and_then(|region| region.to_str().ok());
        let region = region.map(str::to_owned);
        let body = body(response).await?;
        if status == StatusCode::OK {
            return xml::page(&body);
        }
        Err(xml::error(&body)
            .unwrap_or_else(|| ErrorDocument::of_other(&body))
            .into_failure(status, region))
    }

    async fn credential(&self) -> Result<Option<Arc<AwsCredential>>, Failure> {
        if self.settings.anonymous {
            return Ok(None);
        }
        match tokio::time::timeout(CREDENTIALS_TIMEOUT, self.credentials.get_credential()).await {
            Ok(Ok(credential)) => Ok(Some(credential)),
            Ok(Err(error)) => Err(Failure::NoCredentials(error.to_string())),
            Err(_) => Err(Failure::NoCredentials(
                "no identity was found in time".to_owned(),
            )),
        }
    }
}

async fn body(response: HttpResponse) -> Result<BytesMut, Failure> {
    let mut pieces = response.into_body().bytes_stream();
    let mut body = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error: HttpError| Failure::Transport(error))?;
        if body.len() + piece.len() > PAGE_BYTES_MAX {
            return Err(Failure::Answer(format!(
                "a page is larger than {PAGE_BYTES_MAX} bytes"
            )));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
