//! A bucket as a state store: reached as the variables of the environment say (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), as all S3 tools are.
//!
//! Those variables mean sources too, that name nothing else. What is meant for the state alone is told by variables of its own:
//!
//! | variable | tells |
//! |---|---|
//! | `VDT_STATE_ENDPOINT` | URL of the service |
//! | `VDT_STATE_REGION` | region |
//! | `VDT_STATE_HOST_STYLE` | `true`: the bucket is part of the host name |
//! | `VDT_STATE_ANONYMOUS` | `true`: requests are not signed |
//! | `VDT_STATE_CREDENTIALS` | folder of a Secret with `accessKeyId`, `secretAccessKey` and, if need be, `sessionToken`; read again when they are rotated |
//! | `VDT_STATE_CA_BUNDLE` | file of PEM certificates that the endpoint is trusted by, beside the public ones; read when the state is opened |

use std::{
    env,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use object_store::{
    Certificate, ClientOptions, ObjectStore,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    prefix::PrefixStore,
};

use crate::{
    error::StoreError,
    secrets::{SecretCredentials, SecretFiles},
    source::proxied,
};

/// The variable that names the certificates.
const CA_BUNDLE: &str = "VDT_STATE_CA_BUNDLE";
/// The variable that names the folder of the credentials.
const CREDENTIALS: &str = "VDT_STATE_CREDENTIALS";

/// Opens `s3://<rest>`.
pub(super) fn open(location: &str, rest: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let s3 = builder(AmazonS3Builder::from_env(), bucket, |name| {
        env::var(name).ok().filter(|value| !value.is_empty())
    })?
    .build()
    .map_err(|source| StoreError::state(location, source))?;
    Ok(match prefix.trim_matches('/') {
        "" => Arc::new(s3),
        prefix => Arc::new(PrefixStore::new(s3, prefix)),
    })
}

/// What reaches the bucket, by the environment that `ambient` has and `variable` shows.
fn builder(
    ambient: AmazonS3Builder,
    bucket: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<AmazonS3Builder, StoreError> {
    let mut builder = ambient.with_bucket_name(bucket).with_allow_http(true);
    if let Some(bundle) = variable(CA_BUNDLE) {
        let options = proxied(ClientOptions::new(), &builder).with_allow_http(true);
        builder = builder.with_client_options(trusting(options, FsPath::new(&bundle))?);
    }
    for (name, key) in [
        ("VDT_STATE_ENDPOINT", AmazonS3ConfigKey::S3Endpoint),
        ("VDT_STATE_REGION", AmazonS3ConfigKey::Region),
        (
            "VDT_STATE_HOST_STYLE",
            AmazonS3ConfigKey::VirtualHostedStyleRequest,
        ),
        ("VDT_STATE_ANONYMOUS", AmazonS3ConfigKey::SkipSignature),
    ] {
        if let Some(value) = variable(name) {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(folder) = variable(CREDENTIALS) {
        let files = SecretFiles::secret_in(PathBuf::from(folder));
        let secret = SecretCredentials::new(files).map_err(|error| {
            StoreError::Secret(format!("spec.server.state.s3.credentials: {error}"))
        })?;
        builder = builder
            .with_credentials(Arc::new(secret))
            .with_skip_signature(false);
    }
    Ok(builder)
}

/// Has a client trust the certificates in a file, too.
fn trusting(options: ClientOptions, bundle: &FsPath) -> Result<ClientOptions, StoreError> {
    let unusable = |problem: String| {
        StoreError::Secret(format!(
            "spec.server.state.s3.caBundle: {CA_BUNDLE} is {}, {problem}; put the PEM certificates of the endpoint's authority there",
            bundle.display()
        ))
    };
    let pem = std::fs::read(bundle)
        .map_err(|error| unusable(format!("which cannot be read ({error})")))?;
    let certificates = Certificate::from_pem_bundle(&pem)
        .map_err(|error| unusable(format!("which holds no PEM certificates ({error})")))?;
    if certificates.is_empty() {
        return Err(unusable("which holds no PEM certificate".to_owned()));
    }
    let trust = |options: ClientOptions, certificate| options.with_root_certificate(certificate);
    Ok(certificates.into_iter().fold(options, trust))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::ClientConfigKey;

    use super::*;

    #[tokio::test]
    async fn credentials_come_from_the_folder_of_a_secret_and_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("state-rw");
        let open = || {
            let value =
                |name: &str| (name == CREDENTIALS).then(|| secret.to_str().unwrap().to_owned());
            builder(AmazonS3Builder::new(), "main", value)
        };
        let error = open().unwrap_err();
        assert_eq!(error.reason(), "SecretMissing");
        let told = error.to_string();
        for part in [
            "spec.server.state.s3.credentials",
            "Secret state-rw",
            "accessKeyId does not exist",
        ] {
            assert!(told.contains(part), "{told}");
        }
        std::fs::create_dir(&secret).unwrap();
        std::fs::write(secret.join("secretAccessKey"), "hush").unwrap();
        std::fs::write(secret.join("accessKeyId"), "first").unwrap();
        let s3 = open().unwrap().build().unwrap();
        let key = async || {
            s3.credentials()
                .get_credential()
                .await
                .unwrap()
                .key_id
                .clone()
        };
        assert_eq!(key().await, "first");
        std::fs::write(secret.join("accessKeyId"), "second").unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        assert_eq!(key().await, "second");
    }

    #[test]
    fn what_is_meant_for_the_state_alone_goes_before_what_is_meant_for_all() {
        let value = |name: &str| match name {
            "VDT_STATE_ENDPOINT" => Some("http://state:9000".to_owned()),
            "VDT_STATE_REGION" => Some("eu-north-1".to_owned()),
            "VDT_STATE_ANONYMOUS" => Some("true".to_owned()),
            _ => None,
        };
        let builder = builder(AmazonS3Builder::new(), "main", value).unwrap();
        for (key, expected) in [
            (AmazonS3ConfigKey::S3Endpoint, "http://state:9000"),
            (AmazonS3ConfigKey::Region, "eu-north-1"),
            (AmazonS3ConfigKey::SkipSignature, "true"),
        ] {
            assert_eq!(builder.get_config_value(&key).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_state_with_certificates_of_its_own_is_reached_through_the_proxy_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        let authority = rcgen::generate_simple_self_signed(["state".to_owned()]).unwrap();
        std::fs::write(&file, authority.cert.pem()).unwrap();
        let proxy = AmazonS3ConfigKey::Client(ClientConfigKey::ProxyUrl);
        let ambient = AmazonS3Builder::new().with_config(proxy, "http://proxy:3128");
        let value = |name: &str| (name == CA_BUNDLE).then(|| file.to_str().unwrap().to_owned());
        let builder = builder(ambient, "main", value).unwrap();
        let allow_http = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        for (key, expected) in [(proxy, "http://proxy:3128"), (allow_http, "true")] {
            assert_eq!(builder.get_config_value(&key).as_deref(), Some(expected));
        }
    }

    #[test]
    fn certificates_that_are_of_no_use_are_told_with_field_value_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        for (content, expected) in [
            (None, "cannot be read"),
            (Some("nothing"), "no PEM certificate"),
        ] {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let error = trusting(ClientOptions::new(), &file).unwrap_err();
            assert_eq!(error.reason(), "SecretMissing");
            let told = error.to_string();
            for part in [
                "spec.server.state.s3.caBundle",
                "ca.crt",
                expected,
                "put the PEM",
            ] {
                assert!(told.contains(part), "{told}");
            }
        }
    }
}
