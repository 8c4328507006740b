//! Rules of one source, and of the buckets that a state shares with it.

use globset::GlobBuilder;
use url::Url;

use super::{NOTHING, Profile, Rules, sentence};
use crate::{
    spec::{AzureContainer, FileSource, GcsBucket, HttpSource, InventorySource, S3Bucket, Source},
    violation::{Violation, ViolationKind},
};

pub(super) fn check(path: &str, source: &Source, rules: &mut Rules) {
    for (member, kind, is_set) in source.members() {
        let fine = is_set == (source.kind == kind);
        rules.demand(
            fine,
            format!("{path}.{member}"),
            NOTHING,
            sentence::branch(member, kind.as_str()),
        );
    }
    if let Some(file) = &source.file {
        check_file(&format!("{path}.file"), file, rules);
    }
    if let Some(s3) = &source.s3 {
        check_s3(&format!("{path}.s3"), s3, rules);
    }
    if let Some(gcs) = &source.gcs {
        check_gcs(&format!("{path}.gcs"), gcs, rules);
    }
    if let Some(azure) = &source.azure {
        check_azure(&format!("{path}.azure"), azure, rules);
    }
    if let Some(HttpSource { url, .. }) = &source.http {
        check_url(&format!("{path}.http.url"), url, rules);
    }
    if let Some(InventorySource { url, .. }) = &source.inventory
        && !is_inventory_url(url)
    {
        // The URL may hold a password: it is not shown.
        rules.refuse(Violation::new(
            ViolationKind::Rule,
            format!("{path}.inventory.url"),
            sentence::INVENTORY_URL,
        ));
    }
    for (list, globs) in [("include", &source.include), ("exclude", &source.exclude)] {
        for (index, glob) in globs.iter().enumerate() {
            check_glob(&format!("{path}.{list}[{index}]"), glob, rules);
        }
    }
}

fn check_file(path: &str, file: &FileSource, rules: &mut Rules) {
    match rules.profile {
        Profile::Cluster => rules.require(
            file.claim_name.is_some(),
            format!("{path}.claimName"),
            sentence::CLAIM_NAME_REQUIRED,
        ),
        Profile::Laptop => rules.require(
            file.path.is_some() || file.claim_name.is_some(),
            format!("{path}.path"),
            sentence::PATH_REQUIRED,
        ),
    }
    if let Some(directory) = &file.path {
        let path = format!("{path}.path");
        rules.demand(
            !directory.starts_with('/'),
            &path,
            directory,
            sentence::PATH_RELATIVE,
        );
        rules.demand(
            !directory.split('/').any(|segment| segment == ".."),
            &path,
            directory,
            sentence::PATH_SEGMENTS,
        );
    }
}

pub(super) fn check_s3(path: &str, s3: &S3Bucket, rules: &mut Rules) {
    check_bucket(
        path,
        s3.prefix.as_deref(),
        s3.endpoint.as_deref(),
        s3.anonymous,
        s3.credentials.is_some(),
        rules,
    );
}

pub(super) fn check_gcs(path: &str, gcs: &GcsBucket, rules: &mut Rules) {
    check_bucket(
        path,
        gcs.prefix.as_deref(),
        gcs.endpoint.as_deref(),
        gcs.anonymous,
        gcs.credentials.is_some(),
        rules,
    );
}

pub(super) fn check_azure(path: &str, azure: &AzureContainer, rules: &mut Rules) {
    check_bucket(
        path,
        azure.prefix.as_deref(),
        azure.endpoint.as_deref(),
        azure.anonymous,
        azure.credentials.is_some(),
        rules,
    );
}

fn check_bucket(
    path: &str,
    prefix: Option<&str>,
    endpoint: Option<&str>,
    anonymous: Option<bool>,
    has_credentials: bool,
    rules: &mut Rules,
) {
    if let Some(prefix) = prefix {
        let path = format!("{path}.prefix");
        rules.demand(
            !prefix.starts_with('/'),
            &path,
            prefix,
            sentence::PREFIX_SLASH,
        );
        let is_plain = !prefix
            .split('/')
            .any(|segment| segment == "." || segment == "..");
        rules.demand(is_plain, &path, prefix, sentence::PREFIX_SEGMENTS);
    }
    if let Some(endpoint) = endpoint {
        let path = format!("{path}.endpoint");
        check_url(&path, endpoint, rules);
        let is_plain = !endpoint.contains(['?', '#']);
        rules.demand(is_plain, path, endpoint, sentence::ENDPOINT_QUERY);
    }
    rules.demand(
        !(anonymous == Some(true) && has_credentials),
        path,
        NOTHING,
        sentence::ANONYMOUS_CREDENTIALS,
    );
}

fn check_url(path: &str, text: &str, rules: &mut Rules) {
    if has_user(text) {
        rules.refuse(Violation::new(
            ViolationKind::Rule,
            path,
            sentence::URL_USER,
        ));
        return;
    }
    let is_http = Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && text.contains("://"));
    rules.demand(is_http, path, text, sentence::URL_SCHEME);
}

/// Says whether a URL names a user: there is an `@` before the first slash after `scheme://`.
fn has_user(url: &str) -> bool {
    let authority = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next());
    authority.is_some_and(|authority| authority.contains('@'))
}

fn is_inventory_url(url: &str) -> bool {
    let schemes = ["http://", "https://", "s3://", "gs://", "az://"];
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@'))
}

/// A glob that does not compile would silently keep or leave out everything.
fn check_glob(path: &str, glob: &str, rules: &mut Rules) {
    if let Err(error) = GlobBuilder::new(glob).literal_separator(true).build() {
        rules.demand(
            false,
            path,
            glob,
            format!("is not a glob: {}", error.kind()),
        );
    }
}
