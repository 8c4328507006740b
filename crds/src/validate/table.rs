//! Rules of the whole: names, layout, retention, and what parts owe each other.

use super::{NOTHING, Profile, Rules, columns, sentence, server, source};
use crate::{
    quantity::Quantity,
    resolved::META_SUFFIX,
    spec::{Layout, SourceType, VirtualTable, VirtualTableSpec},
};

/// Longest `metadata.name`, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 40;

pub(super) fn check(table: &VirtualTable, rules: &mut Rules) {
    let name = table.metadata.name.as_deref();
    rules.require(name.is_some(), "metadata.name", "Required value");
    if let Some(name) = name {
        rules.demand(
            name.chars().count() <= MAX_NAME_CHARS,
            "metadata.name",
            name,
            sentence::NAME_LENGTH,
        );
        rules.demand(
            is_dns_1035(name),
            "metadata.name",
            name,
            sentence::NAME_LABEL,
        );
    }
    if let Some(namespace) = &table.metadata.namespace {
        rules.demand(
            is_dns_1123(namespace),
            "metadata.namespace",
            namespace,
            sentence::NAMESPACE_LABEL,
        );
    }
    check_spec(&table.spec, rules);
}

fn check_spec(spec: &VirtualTableSpec, rules: &mut Rules) {
    if let Some(name) = &spec.table.name {
        rules.demand(
            !name.ends_with(META_SUFFIX),
            "spec.table.name",
            name,
            sentence::META_SUFFIX,
        );
    }
    for (index, one) in spec.sources.iter().enumerate() {
        source::check(&format!("spec.sources[{index}]"), one, rules);
    }
    for (index, one) in spec.sources.iter().enumerate() {
        let artifacts = [
            (
                "inventory",
                one.inventory.as_ref().map(|inventory| &inventory.artifacts),
            ),
            (
                "postgres",
                one.postgres.as_ref().map(|postgres| &postgres.artifacts),
            ),
        ];
        for (member, artifacts) in artifacts {
            if let Some(artifacts) = artifacts {
                let named = spec
                    .sources
                    .iter()
                    .any(|other| other.name == *artifacts && other.kind.holds_bytes());
                rules.demand(
                    named,
                    format!("spec.sources[{index}].{member}.artifacts"),
                    artifacts,
                    sentence::ARTIFACTS_OF_SOURCE,
                );
            }
        }
    }
    if let Some(schema) = &spec.schema {
        columns::check(schema, rules);
        let has_rows = spec
            .sources
            .iter()
            .any(|source| matches!(source.kind, SourceType::Inventory | SourceType::Postgres));
        for (index, column) in schema.columns.iter().flatten().enumerate() {
            let fine = column.from.field.is_none() || has_rows;
            rules.demand(
                fine,
                format!("spec.schema.columns[{index}].from.field"),
                &column.from.field,
                sentence::COLUMN_FIELD_SOURCE,
            );
        }
    }
    check_layout(&spec.layout, rules);
    rules.demand(
        spec.retention.is_within_bounds(),
        "spec.retention",
        &spec.retention,
        sentence::RETENTION_BOUNDS,
    );
    rules.demand(
        spec.legs.is_empty(),
        "spec.legs",
        NOTHING,
        sentence::LEGS_RESERVED,
    );
    match &spec.server {
        Some(server) => server::check(server, rules),
        None => rules.require(
            rules.profile == Profile::Laptop,
            "spec.server",
            sentence::SERVER_REQUIRED,
        ),
    }
}

fn check_layout(layout: &Layout, rules: &mut Rules) {
    let at = |field: &str| format!("spec.layout.{field}");
    check_quantity(
        &at("inlineMaxBytes"),
        &layout.inline_max_bytes,
        "1",
        Some("2147475392"),
        rules,
    );
    check_quantity(
        &at("fileTargetBytes"),
        &layout.file_target_bytes,
        "1Mi",
        Some("1Ti"),
        rules,
    );
    check_quantity(
        &at("rowGroupTargetBytes"),
        &layout.row_group_target_bytes,
        "1",
        Some("2147475392"),
        rules,
    );
    let fits = layout.row_group_target_bytes.bytes() <= layout.file_target_bytes.bytes();
    rules.demand(
        fits,
        at("rowGroupTargetBytes"),
        &layout.row_group_target_bytes,
        sentence::ROW_GROUP_OVER_FILE,
    );
}

/// Checks a quantity's bounds, which are written as they are printed.
pub(super) fn check_quantity(
    path: &str,
    quantity: &Quantity,
    least: &'static str,
    most: Option<&'static str>,
    rules: &mut Rules,
) {
    let is_enough = quantity.is_at_least(Quantity::literal(least).bytes());
    rules.demand(is_enough, path, quantity, sentence::at_least(least));
    if let Some(most) = most {
        rules.demand(
            quantity.is_at_most(Quantity::literal(most).bytes()),
            path,
            quantity,
            sentence::at_most(most),
        );
    }
}

/// RFC 1035 label, without its bound of 63 characters.
fn is_dns_1035(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && is_label(name)
}

/// RFC 1123 label.
fn is_dns_1123(name: &str) -> bool {
    name.len() <= 63 && !name.starts_with('-') && is_label(name)
}

fn is_label(name: &str) -> bool {
    !name.is_empty()
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
