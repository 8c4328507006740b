//! `kubectl vt snippets NAME`: what to paste into a client, in the cluster and through a forwarded port.

use std::{fmt::Write, process::ExitCode};

use vdt_crds::{
    AccessMode,
    snippets::{Reach, snippets},
};

use crate::{
    args::{From, SnippetsArgs},
    cluster::Cluster,
    output,
    table::Table,
};

/// Prints the snippets of a table.
pub(crate) async fn run(cluster: &Cluster, args: &SnippetsArgs) -> anyhow::Result<ExitCode> {
    let table = Table::of(&cluster.table(&args.name).await?);
    output::print(&write(&table, args)?)?;
    Ok(ExitCode::SUCCESS)
}

fn write(table: &Table, args: &SnippetsArgs) -> anyhow::Result<String> {
    let Table {
        namespace, name, ..
    } = table;
    let typed = table.typed.as_ref();
    let Some(path) = table.path() else {
        anyhow::bail!(
            "VirtualTable {namespace}/{name} is of another version: this one cannot read it"
        );
    };
    let s3 = format!("s3://{path}");
    let schema = typed.and_then(|table| table.spec.schema.as_ref());
    let tls = table.tls();
    let server = typed.and_then(|table| table.spec.server.as_ref());
    let access = server.and_then(|server| server.access.as_ref());
    let keys = access.is_some_and(|access| access.mode == AccessMode::Keys);
    let service = format!("{name}.{namespace}.svc");
    let endpoint = table.status.endpoint.as_deref();
    let in_cluster = endpoint
        .and_then(|endpoint| endpoint.split_once("://"))
        .map_or_else(|| format!("{service}:8080"), |(_, host)| host.to_owned());
    let port = in_cluster.rsplit_once(':').map_or("8080", |(_, port)| port);
    let mut text = String::new();
    let _ = writeln!(text, "{s3}, and {s3}_meta without data");
    if let Some(access) = access.filter(|_| keys) {
        let _ = writeln!(
            text,
            "\nKeys: one of these Secrets, into the environment of the client"
        );
        for principal in &access.principals {
            let secret = &principal.secret_ref.name;
            for (variable, key) in [
                ("AWS_ACCESS_KEY_ID", "accessKeyId"),
                ("AWS_SECRET_ACCESS_KEY", "secretAccessKey"),
            ] {
                let _ = writeln!(
                    text,
                    "    export {variable}=$(kubectl -n {namespace} get secret {secret} -o jsonpath='{{.data.{key}}}' | base64 -d)   # {}",
                    principal.name
                );
            }
        }
    }
    if args.from != Some(From::PortForward) {
        let reach = Reach {
            host: &in_cluster,
            tls,
            keys,
        };
        let _ = write!(text, "\nIn the cluster\n{}", snippets(reach, &s3, schema));
    }
    if args.from != Some(From::Cluster) {
        let local = args.local_port;
        // A certificate names the Service, not this machine.
        let host = match tls {
            true => format!("{service}:{local}"),
            false => format!("127.0.0.1:{local}"),
        };
        let reach = Reach {
            host: &host,
            tls,
            keys,
        };
        let _ = writeln!(text, "\nFrom this machine, while this runs:");
        let _ = writeln!(
            text,
            "    kubectl -n {namespace} port-forward svc/{name} {local}:{port}"
        );
        if tls {
            let _ = writeln!(
                text,
                "  and {service} leads here (the certificate names it): 127.0.0.1 {service} in /etc/hosts"
            );
        }
        text.push_str(&snippets(reach, &s3, schema));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(server: serde_json::Value) -> Table {
        let object = serde_json::from_value(json!({
            "apiVersion": "vdt.io/v1alpha1", "kind": "VirtualTable", "metadata": {"name": "manuals", "namespace": "docs"},
            "spec": {"sources": [{"name": "bucket", "type": "S3", "s3": {"bucket": "corp", "anonymous": true}}], "server": server},
            "status": {"endpoint": "http://manuals.docs.svc:8080"},
        }));
        Table::of(&object.unwrap())
    }

    fn args(from: Option<From>) -> SnippetsArgs {
        SnippetsArgs {
            name: "manuals".to_owned(),
            from,
            local_port: 9000,
        }
    }

    #[test]
    fn both_places_are_shown_unless_one_is_asked_for() {
        let open = table(json!({"access": {"mode": "Anonymous"}}));
        let both = write(&open, &args(None)).unwrap();
        for part in [
            "s3://main/docs/manuals, and s3://main/docs/manuals_meta without data\n",
            "In the cluster\n  DuckDB",
            "ENDPOINT 'manuals.docs.svc:8080'",
            "kubectl -n docs port-forward svc/manuals 9000:8080\n  DuckDB",
            "ENDPOINT '127.0.0.1:9000'",
        ] {
            assert!(both.contains(part), "{part} in {both}");
        }
        assert!(!both.contains("Secrets"));
        assert!(
            !write(&open, &args(Some(From::Cluster)))
                .unwrap()
                .contains("port-forward")
        );
        assert!(
            !write(&open, &args(Some(From::PortForward)))
                .unwrap()
                .contains("In the cluster")
        );
    }

    #[test]
    fn keys_are_named_and_never_shown() {
        let closed = table(json!({
            "access": {"mode": "Keys", "principals": [{"name": "analysts", "secretRef": {"name": "analysts-key"}}]},
            "tls": {"mode": "Secret", "secretRef": {"name": "manuals-tls"}},
        }));
        let text = write(&closed, &args(Some(From::PortForward))).unwrap();
        for part in [
            "export AWS_ACCESS_KEY_ID=$(kubectl -n docs get secret analysts-key -o jsonpath='{.data.accessKeyId}' | base64 -d)   # analysts",
            "https://manuals.docs.svc:9000",
            "127.0.0.1 manuals.docs.svc in /etc/hosts",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
