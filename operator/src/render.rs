//! `vdt-operator render FILE`: the children that a manifest would get, without a cluster.

use std::io::Write;

use anyhow::Context;
use serde_json::json;
use vdt_crds::{Profile, VirtualTable, parse};

use crate::{
    args::RenderArgs,
    build::{self, Shipped},
    validate,
};

/// Prints the children of every table of a manifest.
///
/// # Errors
/// The manifest cannot be read, or breaks a rule.
pub(crate) fn run(args: &RenderArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let text =
        std::fs::read(&args.file).with_context(|| format!("reading {}", args.file.display()))?;
    let tables =
        parse::read(&text, Profile::Cluster).with_context(|| format!("{}", args.file.display()))?;
    let keys = "# the operator's public key\n".to_owned();
    let shipped = args
        .pods
        .shipped(keys, "vdt-system".to_owned(), String::new());
    for table in &tables {
        if let Some(refusal) = validate::check(table) {
            eprintln!("warning: {}", refusal.message);
        }
        write(table, &shipped, out)?;
    }
    Ok(())
}

fn write(table: &VirtualTable, shipped: &Shipped, out: &mut dyn Write) -> anyhow::Result<()> {
    let name = table.metadata.name.as_deref().unwrap_or_default();
    let spec = table
        .spec
        .server
        .as_ref()
        .context("spec.server is missing")?;
    let server = build::Server {
        namespace: table.namespace(),
        name,
        spec,
        owner: json!({
            "apiVersion": vdt_crds::API_VERSION, "kind": vdt_crds::KIND, "name": name, "uid": "00000000-0000-0000-0000-000000000000", "controller": true,
        }),
        shipped,
        rendered: None,
    };
    for child in build::build(&server, &[table]).objects {
        write!(out, "---\n{}", serde_yaml::to_string(&child.object)?)?;
    }
    Ok(())
}
