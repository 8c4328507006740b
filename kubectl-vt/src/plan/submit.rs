//! The dry run: the manifest goes to the API server as the one who applied it last would send it, and nothing is stored.
//!
//! | last applied | sent |
//! |---|---|
//! | never | server-side apply, which creates |
//! | by `kubectl apply` (the object has its copy of the manifest) | the merge patch that kubectl would make of the copy, the manifest and the object |
//! | by server-side apply | server-side apply by the same field manager, so that fields that left the manifest go |

use kube::{
    api::{Patch, PatchParams},
    core::Status,
};
use serde_json::{Value, json};

use super::Refusal;
use crate::{
    args::PlanArgs,
    cluster::{Cluster, explain, lacks_rights},
    diff::three_way,
};

/// Annotation with the manifest as `kubectl apply` last had it.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who applies where nobody has.
const KUBECTL: &str = "kubectl";

/// What the API server says.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The object as it would be stored.
    Taken(Value),
    /// Every reason against it.
    Refused(Vec<Refusal>),
}

/// Sends a manifest. `live` is the object as it is.
///
/// # Errors
/// The API server does not answer, or this user may not ask.
pub(super) async fn dry_run(
    cluster: &Cluster,
    namespace: &str,
    manifest: &Value,
    live: Option<&Value>,
    args: &PlanArgs,
) -> anyhow::Result<Verdict> {
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    let what = format!("dry run of VirtualTable {namespace}/{name}");
    let api = cluster.tables(namespace);
    let copy = live
        .and_then(copy_of)
        .filter(|_| args.field_manager.is_none());
    let (params, patch) = match (copy, live) {
        (Some(copy), Some(live)) => {
            let params = PatchParams {
                field_manager: Some("kubectl-client-side-apply".to_owned()),
                ..PatchParams::default()
            };
            (params, Patch::Merge(client_side(&copy, manifest, live)))
        }
        (_, live) => {
            let manager = args.field_manager.as_deref();
            let manager = manager.or_else(|| applier(live?)).unwrap_or(KUBECTL);
            let mut params = PatchParams::apply(manager);
            params.force = args.force_conflicts;
            (params, Patch::Apply(manifest.clone()))
        }
    };
    let params = params.dry_run().validation_strict();
    let answer = api.patch(name, &params, &patch);
    match tokio::time::timeout(cluster.patience, answer).await {
        Ok(Ok(taken)) => Ok(Verdict::Taken(json!(taken))),
        Ok(Err(kube::Error::Api(status))) if is_refusal(&status) => {
            Ok(Verdict::Refused(refusals(&json!(*status), manifest)))
        }
        Ok(Err(error)) => Err(explain(&what, error)),
        Err(_) => {
            anyhow::bail!("{what}: the API server did not answer in time (--request-timeout)")
        }
    }
}

/// Invalid, unreadable, in conflict, or denied by admission: a no to the manifest. All else is a no to the request.
fn is_refusal(status: &Status) -> bool {
    match status.code {
        400 | 409 | 422 => true,
        403 => !lacks_rights(status),
        // A field that the schema has not is an internal error to server-side apply.
        500 => status.message.contains("typed patch object"),
        _ => false,
    }
}

/// Who applied the object last by server-side apply. Its status is the operator's.
fn applier(live: &Value) -> Option<&str> {
    live["metadata"]["managedFields"]
        .as_array()?
        .iter()
        .filter(|entry| entry["operation"] == "Apply" && entry["subresource"].is_null())
        .max_by_key(|entry| entry["time"].as_str().unwrap_or_default())?["manager"]
        .as_str()
}

/// The manifest as `kubectl apply` last had it.
fn copy_of(live: &Value) -> Option<Value> {
    serde_json::from_str(live["metadata"]["annotations"][LAST_APPLIED].as_str()?).ok()
}

/// What `kubectl apply` would send: of the parts that are the user's.
fn client_side(copy: &Value, manifest: &Value, live: &Value) -> Value {
    let parts = |object: &Value| {
        // Annotations are never all gone: kubectl's copy is one of them.
        let mut parts = json!({"metadata": {"annotations": {}}});
        if object["spec"].is_object() {
            parts["spec"] = object["spec"].clone();
        }
        for part in ["labels", "annotations"] {
            if object["metadata"][part].is_object() {
                parts["metadata"][part] = object["metadata"][part].clone();
            }
        }
        parts
    };
    three_way(&parts(copy), &parts(manifest), &parts(live))
}

/// Every cause with its field; where there is none, what the rules of this version say, and else the message.
fn refusals(status: &Value, manifest: &Value) -> Vec<Refusal> {
    let causes = status["details"]["causes"].as_array();
    let mut found: Vec<Refusal> = causes.into_iter().flatten().map(refusal).collect();
    if found.len() > 1 {
        // Said beside the others when rules were left out for them.
        found.retain(|one| one.field.is_some());
    }
    if found.is_empty() {
        let text = serde_json::to_vec(manifest).unwrap_or_default();
        let message = match vdt_crds::parse(&text) {
            // Admission speaks for itself.
            Err(error) if status["code"] != 403 => error.to_string(),
            _ => status["message"].as_str().unwrap_or_default().to_owned(),
        };
        found.push(Refusal {
            field: None,
            message,
        });
    }
    found
}

fn refusal(cause: &Value) -> Refusal {
    let text = |name: &str| cause[name].as_str().unwrap_or_default();
    let message = text("message");
    // What is "invalid" about a whole object or list is the sentence after it.
    let short = ["Invalid value: \"object\": ", "Invalid value: \"array\": "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix));
    Refusal {
        field: Some(text("field"))
            .filter(|field| !field.is_empty() && *field != "<nil>")
            .map(str::to_owned),
        message: short.unwrap_or(message).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_by_their_fields() {
        let status = json!({"message": "all in one", "details": {"causes": [
            {"field": "spec.server", "message": "Invalid value: \"object\": more than one replica needs a state that they share"},
            {"field": "spec.retention", "message": "Invalid value: \"x\": must be a duration"},
            {"field": "<nil>", "message": "some validation rules were not checked"},
        ]}});
        let found = refusals(&status, &json!({}));
        assert_eq!(
            found,
            [
                Refusal {
                    field: Some("spec.server".to_owned()),
                    message: "more than one replica needs a state that they share".to_owned()
                },
                Refusal {
                    field: Some("spec.retention".to_owned()),
                    message: "Invalid value: \"x\": must be a duration".to_owned()
                },
            ]
        );
    }

    #[test]
    fn who_applied_last_applies_again() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "old", "operation": "Apply", "time": "2026-01-01T00:00:00Z"},
            {"manager": "argocd-controller", "operation": "Apply", "time": "2026-01-02T00:00:00Z"},
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-03T00:00:00Z"},
            {"manager": "vdt-operator/status", "operation": "Apply", "subresource": "status", "time": "2026-01-04T00:00:00Z"},
        ]}});
        assert_eq!(applier(&live), Some("argocd-controller"));
        assert_eq!(applier(&json!({})), None);
    }

    #[test]
    fn a_manifest_goes_out_as_kubectl_would_send_it() {
        let copy = json!({"spec": {"retention": "24h", "suspend": true}, "metadata": {"labels": {"a": "b"}, "annotations": {"e": "f"}}});
        let manifest =
            json!({"spec": {"retention": "48h"}, "metadata": {"name": "x", "namespace": "y"}});
        let live = json!({"spec": {"retention": "24h", "suspend": true, "server": {"replicas": 2}}, "metadata": {"labels": {"a": "b"}, "annotations": {"e": "f", "theirs": "g"}, "uid": "z"}});
        assert_eq!(
            client_side(&copy, &manifest, &live),
            json!({"spec": {"retention": "48h", "suspend": null}, "metadata": {"labels": null, "annotations": {"e": null}}})
        );
    }
}
