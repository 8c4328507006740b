//! Sources: folders and buckets, listed and read.

#![allow(clippy::unwrap_used, reason = "tests")]

mod changes;
mod claims;
mod files;
mod links;
mod live;
mod s3_errors;
mod s3_listing;
mod s3_reading;
mod server;

use std::path::Path;

use vdt_crds::{Credentials, FileSource, NameRef, S3Bucket, Source as SourceSpec, SourceType};
use vdt_store::source::{Listing, Source, SourceEnv, SourceError};

fn spec(name: &str, kind: SourceType) -> SourceSpec {
    SourceSpec {
        name: name.to_owned(),
        kind,
        file: None,
        s3: None,
        gcs: None,
        azure: None,
        http: None,
        inventory: None,
        postgres: None,
        include: Vec::new(),
        exclude: Vec::new(),
    }
}

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().map(|glob| (*glob).to_owned()).collect()
}

fn folder_with(path: &Path, include: &[&str], exclude: &[&str]) -> Result<Source, SourceError> {
    let file = FileSource {
        claim_name: None,
        path: Some(".".to_owned()),
    };
    let spec = SourceSpec {
        file: Some(file),
        include: globs(include),
        exclude: globs(exclude),
        ..spec("papers", SourceType::File)
    };
    Source::open(
        &spec,
        &SourceEnv {
            base_dir: path.to_path_buf(),
            ..SourceEnv::default()
        },
    )
}

fn folder(path: &Path) -> Source {
    folder_with(path, &[], &[]).unwrap()
}

/// A bucket `corp` at an endpoint, with a Secret `corp-ro` where there is a folder of secrets.
fn bucket_spec(endpoint: &str, prefix: &str, signed: bool) -> SourceSpec {
    let secret_ref = NameRef {
        name: "corp-ro".to_owned(),
    };
    let s3 = S3Bucket {
        prefix: Some(prefix.to_owned()),
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        anonymous: (!signed).then_some(true),
        credentials: signed.then_some(Credentials { secret_ref }),
        ..S3Bucket::new("corp")
    };
    SourceSpec {
        s3: Some(s3),
        ..spec("bucket", SourceType::S3)
    }
}

fn bucket(endpoint: &str, prefix: &str) -> Source {
    Source::open(&bucket_spec(endpoint, prefix, false), &SourceEnv::default()).unwrap()
}

async fn list(source: &Source) -> Listing {
    source.list(&|_, _| {}).await.unwrap()
}

fn keys(listing: &Listing) -> Vec<&str> {
    listing
        .entries
        .iter()
        .map(|entry| &*entry.object.key)
        .collect()
}
