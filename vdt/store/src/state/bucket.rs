//! A bucket as a state store: reached as the variables of the environment say (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), as all S3 tools are.
//!
//! `VDT_STATE_CA_BUNDLE` names a file of PEM certificates that the endpoint is trusted by, beside the public ones. It is read when the state is opened.

use std::{env, path::Path as FsPath, sync::Arc};

use object_store::{
    Certificate, ClientOptions, ObjectStore, aws::AmazonS3Builder, prefix::PrefixStore,
};

use crate::error::StoreError;

/// The variable that names the certificates.
const CA_BUNDLE: &str = "VDT_STATE_CA_BUNDLE";

/// Opens `s3://<rest>`.
pub(super) fn open(location: &str, rest: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if let Some(bundle) = env::var_os(CA_BUNDLE).filter(|bundle| !bundle.is_empty()) {
        builder = builder.with_client_options(trusting(FsPath::new(&bundle))?);
    }
    let s3 = builder
        .with_allow_http(true)
        .build()
        .map_err(|source| StoreError::state(location, source))?;
    Ok(match prefix.trim_matches('/') {
        "" => Arc::new(s3),
        prefix => Arc::new(PrefixStore::new(s3, prefix)),
    })
}

/// Options of a client that trusts the certificates in a file, too.
fn trusting(bundle: &FsPath) -> Result<ClientOptions, StoreError> {
    let unusable = |problem: String| {
        StoreError::Manifest(format!(
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
    Ok(certificates.into_iter().fold(ClientOptions::new(), trust))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
            let told = trusting(&file).unwrap_err().to_string();
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
