//! What is asked and made up before the first look: the admin key, the kinds that this cluster has, a name for the election. Each request is given up in
//! time: an API server that takes a connection and never answers would else hold up an operator that looks alive.

use std::{collections::HashSet, time::Duration};

use kube::Client;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::timeout;

use crate::{build::Kind, token::Signer};

/// A connection to the API server is made, a request sent, and one of this module answered within this. A watch goes on for as long as it likes, and looks
/// at tables and the lease have bounds of their own.
pub(crate) const REQUEST: Duration = Duration::from_secs(15);

/// Pause before the key is asked for again, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Reads the admin key, or makes it. It is needed before anything else, so a cluster that is not there yet is waited for.
pub(crate) async fn key(client: &Client, namespace: &str, secret: &str) -> Signer {
    let mut pause = PAUSE_MIN;
    loop {
        match timeout(REQUEST, Signer::load(client, namespace, secret)).await {
            Ok(Ok(signer)) => return signer,
            Ok(Err(error)) => {
                tracing::warn!(error = vdt_crds::chain(&error), "waiting for the admin key")
            }
            Err(_) => tracing::warn!(
                secret,
                waited_ms = u64::try_from(REQUEST.as_millis()).unwrap_or(u64::MAX),
                "waiting for the admin key: the API server does not answer"
            ),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Returns the kinds of children that not every cluster has and this one does. Where that cannot be told it may have them all: what it lacks is found out
/// when it is applied.
pub(crate) async fn defined(client: &Client) -> HashSet<Kind> {
    match timeout(REQUEST, optional_kinds(client)).await {
        Ok(Ok(kinds)) => return kinds.into_iter().collect(),
        Ok(Err(error)) => tracing::warn!(
            error = vdt_crds::chain(&error),
            "cannot ask which kinds the cluster has"
        ),
        Err(_) => tracing::warn!(
            waited_ms = u64::try_from(REQUEST.as_millis()).unwrap_or(u64::MAX),
            "cannot ask which kinds the cluster has: the API server does not answer"
        ),
    }
    Kind::OPTIONAL.into()
}

/// Asks which of the kinds that not every cluster has this one does.
///
/// # Errors
/// The API server does not say it.
pub(crate) async fn optional_kinds(client: &Client) -> Result<Vec<Kind>, kube::Error> {
    let groups = client.list_api_groups().await?.groups;
    let mut kinds = Vec::new();
    for kind in Kind::OPTIONAL {
        let resource = kind.resource();
        let has_version = groups.iter().flat_map(|group| &group.versions);
        if !has_version
            .map(|version| &version.group_version)
            .any(|version| *version == resource.api_version)
        {
            continue;
        }
        // Its group may be there without it.
        let resources = client
            .list_api_group_resources(&resource.api_version)
            .await?
            .resources;
        if resources.iter().any(|one| one.kind == resource.kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// Returns a name that no other competitor for the lease has. `name` is that of the pod, which is started again under the same one; without it there is
/// nothing that a process could be told by: in a container each of them has the number 1.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn identity(name: Option<&str>) -> anyhow::Result<String> {
    if let Some(name) = name {
        return Ok(format!("{name}_{}", std::process::id()));
    }
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| {
        anyhow::anyhow!("the system gives no random bytes to name this process by: set POD_NAME")
    })?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use serde_json::json;

    use super::*;
    use crate::fake_api::{HANGS, fake_api};

    #[tokio::test(start_paused = true)]
    async fn a_request_for_the_key_that_is_not_answered_is_made_again() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (client, calls) = fake_api(move |method, _| {
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}});
            match (method, asked.fetch_add(1, Ordering::SeqCst)) {
                (_, 0) => (HANGS, json!(null)),
                ("GET", _) => crate::fake_api::not_found(),
                // Holds no key: it is waited for on.
                _ => (201, secret),
            }
        });
        let waiting = key(&client, "vdt-system", "key");
        let waited = timeout(REQUEST + Duration::from_secs(1), waiting).await;
        assert!(waited.is_err(), "nobody has the key");
        let calls = calls.lock().unwrap();
        let lines: Vec<&str> = calls.iter().map(|(line, _)| line.as_str()).collect();
        let get = "GET /api/v1/namespaces/vdt-system/secrets/key";
        assert_eq!(lines[..2], [get, get]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_does_not_say_what_it_has_may_have_it_all() {
        let (client, _) = fake_api(|_, _| (HANGS, json!(null)));
        assert_eq!(defined(&client).await, Kind::OPTIONAL.into());
        let version = |group: &str| json!({"name": group, "versions": [{"groupVersion": format!("{group}/v1"), "version": "v1"}]});
        // The other one's group has other kinds.
        let groups = json!({"kind": "APIGroupList", "apiVersion": "v1",
            "groups": [version("cert-manager.io"), version("monitoring.coreos.com")]});
        let resource = json!({"name": "certificates", "singularName": "", "namespaced": true, "kind": "Certificate", "verbs": []});
        let (client, _) = fake_api(move |_, path| {
            let group = path.trim_start_matches("/apis/").trim_end_matches('/');
            let resources = match group {
                "cert-manager.io/v1" => vec![resource.clone()],
                "monitoring.coreos.com/v1" => Vec::new(),
                _ => return (200, groups.clone()),
            };
            (
                200,
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}),
            )
        });
        assert_eq!(defined(&client).await, [Kind::Certificate].into());
    }

    #[test]
    fn processes_without_a_name_are_told_apart() {
        let names: HashSet<String> = (0..100).map(|_| identity(None).unwrap()).collect();
        assert_eq!(names.len(), 100);
        assert!(identity(Some("pod-1")).unwrap().starts_with("pod-1_"));
    }
}
