//! Where a bucket is, and how it is spoken to.
//!
//! What the manifest leaves open comes from the environment, as other S3 tools take it (`AWS_REGION`, `AWS_ENDPOINT_URL`,
//! `AWS_ACCESS_KEY_ID`, web identity, container and instance credentials), read by `object_store`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, Certificate, ClientConfigKey, ClientOptions, RetryConfig};
use url::Url;
use vdt_crds::S3Bucket;

use crate::secrets::{SecretCredentials, SecretFiles};
use crate::source::error::plain;
use crate::source::{SourceEnv, SourceError};

/// A connection that takes longer is a dead host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A proxy that the environment names for S3 alone (`AWS_PROXY_URL`); those for all requests are known to the transport.
const PROXY: [ClientConfigKey; 3] = [
    ClientConfigKey::ProxyUrl,
    ClientConfigKey::ProxyCaCertificate,
    ClientConfigKey::ProxyExcludes,
];

/// Region to sign for where nobody names one; services other than AWS take any.
const DEFAULT_REGION: &str = "us-east-1";

/// Retries of a read, inside `object_store`; the reader of the table retries again.
const READ_RETRIES: usize = 4;
/// No retry of a read starts later than this after the first try.
const READ_RETRY_TIMEOUT: Duration = Duration::from_secs(20);
/// Shortest and longest pause between retries of a read.
const READ_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// How a bucket is reached.
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) bucket: String,
    pub(super) region: String,
    /// URL of the bucket without a trailing slash, in path or host style.
    pub(super) bucket_url: String,
    /// Scheme, host and port of the service.
    pub(super) service: String,
    /// True where requests are not signed.
    pub(super) anonymous: bool,
    /// True where the caller pays for requests and bytes (`AWS_REQUEST_PAYER`).
    pub(super) request_payer: bool,
    /// Remedy when credentials are refused: it differs with where they come from.
    pub(super) remedy: &'static str,
    builder: AmazonS3Builder,
    options: ClientOptions,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The builder would print the secret key of the environment.
        f.debug_struct("Settings")
            .field("bucket_url", &self.bucket_url)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn new(
        name: &Arc<str>,
        spec: &S3Bucket,
        env: &SourceEnv,
    ) -> Result<Self, SourceError> {
        let ambient = AmazonS3Builder::from_env();
        let value = |key| {
            ambient
                .get_config_value(&key)
                .filter(|value| !value.is_empty())
        };
        let endpoint = spec
            .endpoint
            .clone()
            .or_else(|| value(AmazonS3ConfigKey::S3Endpoint))
            .or_else(|| value(AmazonS3ConfigKey::Endpoint));
        let region = spec
            .region
            .clone()
            .or_else(|| value(AmazonS3ConfigKey::Region))
            .or_else(|| value(AmazonS3ConfigKey::DefaultRegion))
            .unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let place = Place::new(name, spec, endpoint.as_deref(), &region)?;
        let mut options = client_options(name, spec, env, place.bucket_url.starts_with("http://"))?;
        options = proxied(options, &ambient);

        let mut builder = ambient
            .with_bucket_name(&spec.bucket)
            .with_region(&region)
            .with_virtual_hosted_style_request(place.host_style)
            .with_config(AmazonS3ConfigKey::S3Endpoint, &place.endpoint)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: READ_BACKOFF.0,
                    max_backoff: READ_BACKOFF.1,
                    base: 2.0,
                },
                max_retries: READ_RETRIES,
                retry_timeout: READ_RETRY_TIMEOUT,
            })
            // A body takes as long as its reader: `read` bounds the silence in it, not the whole.
            .with_client_options(options.clone().with_timeout_disabled());
        let mut remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profiles in ~/.aws are not read), or \
                          s3.credentials.secretRef in a manifest; for a public bucket AWS_SKIP_SIGNATURE=true or s3.anonymous: true";
        if let Some(credentials) = &spec.credentials {
            let secret = &credentials.secret_ref.name;
            plain(name, "credentials.secretRef.name", secret)?;
            let files = SecretFiles::secret(env.secrets_dir.as_deref(), secret);
            let secret =
                SecretCredentials::new(files).map_err(|error| SourceError::secret(name, error))?;
            builder = builder
                .with_credentials(Arc::new(secret))
                .with_skip_signature(false);
            remedy = "correct accessKeyId and secretAccessKey in the Secret; it is read again within seconds";
        }
        if spec.anonymous == Some(true) {
            builder = builder.with_skip_signature(true);
            remedy = "the bucket is not public: set s3.credentials instead of s3.anonymous";
        }
        let is_set = |key| {
            let value = builder.get_config_value(&key);
            value.is_some_and(|value| is_yes(&value))
        };
        let anonymous = is_set(AmazonS3ConfigKey::SkipSignature);
        let request_payer = is_set(AmazonS3ConfigKey::RequestPayer);
        Ok(Self {
            name: Arc::clone(name),
            bucket: spec.bucket.clone(),
            region,
            bucket_url: place.bucket_url,
            service: place.service,
            anonymous,
            request_payer,
            remedy,
            builder,
            options,
        })
    }

    /// The reading client.
    pub(super) fn amazon(&self) -> Result<AmazonS3, SourceError> {
        self.builder
            .clone()
            .build()
            .map_err(|error| self.unusable(&error))
    }

    /// Options of the listing client.
    pub(super) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Bucket and service as people name them.
    pub(super) fn place(&self) -> String {
        format!("bucket {} at {}", self.bucket, self.service)
    }

    pub(super) fn unusable(&self, error: &object_store::Error) -> SourceError {
        SourceError::Invalid {
            name: Arc::clone(&self.name),
            field: "s3",
            value: self.place(),
            problem: format!("no usable client: {error}"),
        }
    }
}

/// What `object_store` takes for true.
fn is_yes(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"]
        .iter()
        .any(|yes| value.eq_ignore_ascii_case(yes))
}

/// Endpoint and bucket put together.
struct Place {
    endpoint: String,
    bucket_url: String,
    service: String,
    host_style: bool,
}

impl Place {
    fn new(
        name: &Arc<str>,
        spec: &S3Bucket,
        endpoint: Option<&str>,
        region: &str,
    ) -> Result<Self, SourceError> {
        let bucket = &spec.bucket;
        let invalid = |value: &str, problem: String| SourceError::Invalid {
            name: Arc::clone(name),
            field: match spec.endpoint {
                Some(_) => "s3.endpoint",
                None => "AWS_ENDPOINT_URL",
            },
            value: value.to_owned(),
            problem,
        };
        let aws = format!("https://s3.{region}.amazonaws.com");
        let text = endpoint.unwrap_or(&aws).trim_end_matches('/');
        let url = Url::parse(text).map_err(|error| {
            invalid(text, format!("not a URL: {error}; write https://host:port"))
        })?;
        let Some(host) = url
            .host_str()
            .filter(|_| matches!(url.scheme(), "http" | "https"))
        else {
            return Err(invalid(
                text,
                "not an http or https URL; write https://host:port".to_owned(),
            ));
        };
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(invalid(
                host,
                "more than scheme, host and port; credentials go into a Secret".to_owned(),
            ));
        }
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let (scheme, path) = (url.scheme(), url.path().trim_end_matches('/'));
        // The endpoint may be the environment's.
        let by_default = endpoint.is_some() || spec.is_path_style();
        let path_style = spec.path_style.unwrap_or(by_default);
        let service = format!("{scheme}://{host}{port}{path}");
        let endpoint_url = if path_style {
            service.clone()
        } else {
            format!("{scheme}://{bucket}.{host}{port}{path}")
        };
        Ok(Self {
            bucket_url: if path_style {
                format!("{service}/{bucket}")
            } else {
                endpoint_url.clone()
            },
            endpoint: endpoint_url,
            // A bucket's name means the same in every region of AWS.
            service: if endpoint.is_some() {
                service
            } else {
                "https://s3.amazonaws.com".to_owned()
            },
            host_style: !path_style,
        })
    }
}

/// Gives `options` the proxy that `ambient` has: options that are given to a builder replace those that it has.
pub(crate) fn proxied(options: ClientOptions, ambient: &AmazonS3Builder) -> ClientOptions {
    let value = |key| ambient.get_config_value(&AmazonS3ConfigKey::Client(key));
    let known = |key| value(key).filter(|value| !value.is_empty());
    PROXY
        .iter()
        .fold(options, |options, key| match known(*key) {
            Some(value) => options.with_config(*key, value),
            None => options,
        })
}

fn client_options(
    name: &Arc<str>,
    spec: &S3Bucket,
    env: &SourceEnv,
    allow_http: bool,
) -> Result<ClientOptions, SourceError> {
    let mut options = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(allow_http);
    if let Some(bundle) = &spec.ca_bundle {
        plain(name, "caBundle.name", &bundle.name)?;
        let files = SecretFiles::config_map(env.secrets_dir.as_deref(), &bundle.name);
        let pem = files
            .bytes(&bundle.key)
            .map_err(|error| SourceError::secret(name, error))?;
        let invalid = |problem: String| SourceError::Invalid {
            name: Arc::clone(name),
            field: "s3.caBundle",
            value: files
                .file(&bundle.key)
                .as_deref()
                .map(Path::display)
                .map(|file| file.to_string())
                .unwrap_or_default(),
            problem,
        };
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| invalid(format!("not PEM certificates: {error}")))?;
        if certificates.is_empty() {
            return Err(invalid("without a PEM certificate".to_owned()));
        }
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}
