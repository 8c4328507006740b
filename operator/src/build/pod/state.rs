//! How the server is told where its state is: the location as its flag takes it, and the variables by which a bucket is reached. Credentials are files, as
//! those of sources are: a variable has the value of the day on which its container was started, and none where the Secret came later.

use serde_json::{Value, json};
use vdt_crds::{State, StateType};

use crate::build::volumes;

/// Where the state is, as `vdt serve --state` takes it.
pub(super) fn location(state: Option<&State>) -> String {
    let url = |scheme: &str, bucket: &str, prefix: Option<&String>| {
        format!("{scheme}://{bucket}/{}", prefix.map_or("", String::as_str))
    };
    let Some(state) = state else {
        return volumes::STATE.to_owned();
    };
    match state.kind {
        StateType::S3 => state
            .s3
            .as_ref()
            .map(|s3| url("s3", &s3.bucket, s3.prefix.as_ref())),
        StateType::Gcs => state
            .gcs
            .as_ref()
            .map(|gcs| url("gs", &gcs.bucket, gcs.prefix.as_ref())),
        StateType::Azure => state.azure.as_ref().map(|azure| {
            url(
                "az",
                &format!("{}/{}", azure.account, azure.container),
                azure.prefix.as_ref(),
            )
        }),
        StateType::Claim | StateType::Ephemeral => None,
    }
    .unwrap_or_else(|| volumes::STATE.to_owned())
}

/// How the state's bucket is reached, by variables that mean no source; what they are is told by `vdt-store`, `state/bucket.rs`.
pub(super) fn env(state: &State) -> Vec<Value> {
    let Some(s3) = state.s3.as_ref().filter(|_| state.kind == StateType::S3) else {
        return Vec::new();
    };
    let mut env = Vec::new();
    let mut set = |name: &str, value: &str| env.push(json!({"name": name, "value": value}));
    if let Some(region) = &s3.region {
        set("VDT_STATE_REGION", region);
    }
    if let Some(endpoint) = &s3.endpoint {
        set("VDT_STATE_ENDPOINT", endpoint);
    }
    if !s3.is_path_style() {
        set("VDT_STATE_HOST_STYLE", "true");
    }
    if let Some(bundle) = &s3.ca_bundle {
        let file = format!(
            "{}/configmap-{}/{}",
            volumes::SECRETS,
            bundle.name,
            bundle.key
        );
        set("VDT_STATE_CA_BUNDLE", &file);
    }
    if s3.is_anonymous() {
        set("VDT_STATE_ANONYMOUS", "true");
    }
    if let Some(credentials) = &s3.credentials {
        let folder = format!("{}/{}", volumes::SECRETS, credentials.secret_ref.name);
        set("VDT_STATE_CREDENTIALS", &folder);
    }
    env
}
