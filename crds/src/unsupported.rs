//! What the resource allows and this version does not build yet.
//!
//! [`validate`](crate::validate()) accepts such a manifest, because a later version runs it unchanged; serving refuses it here, with a sentence for
//! every field: silently serving less than was declared (or to more people) would be worse.

use crate::{
    spec::{ArtifactAttribute, ChecksumMode, SourceType, StateType, VirtualTable},
    violation::{Violation, ViolationKind},
};

/// Returns everything that cannot be served yet, none if all can.
#[must_use]
pub fn unsupported(table: &VirtualTable) -> Vec<Violation> {
    let spec = &table.spec;
    let mut found = Vec::new();
    let mut refuse = |path: String, message: String, remedy: &str| {
        found.push(Violation::new(ViolationKind::NotBuilt, path, message).with_remedy(remedy));
    };
    for (index, source) in spec.sources.iter().enumerate() {
        let path = format!("spec.sources[{index}]");
        match source.kind {
            SourceType::File | SourceType::S3 => {}
            SourceType::Gcs | SourceType::Azure | SourceType::Http => refuse(
                format!("{path}.type"),
                format!("{} sources are not built yet", source.kind.as_str()),
                "use a File or S3 source",
            ),
            SourceType::Inventory | SourceType::Postgres => refuse(
                format!("{path}.type"),
                format!("{} sources are not built yet", source.kind.as_str()),
                "remove it and list the artifacts themselves by a File or S3 source",
            ),
        }
    }
    let mut has_data = false;
    for (index, column) in spec
        .schema
        .iter()
        .flat_map(|schema| schema.columns.iter().flatten())
        .enumerate()
    {
        let path = format!("spec.schema.columns[{index}].from");
        if column.from.field.is_some() {
            refuse(
                format!("{path}.field"),
                "columns from fields of an Inventory or Postgres source are not built yet"
                    .to_owned(),
                "remove the column, or make it from an artifact attribute, a path part or a constant",
            );
        }
        if column.from.artifact == Some(ArtifactAttribute::Data) {
            if has_data {
                refuse(
                    format!("{path}.artifact"),
                    "a second column from the Data attribute is not built yet".to_owned(),
                    "keep one such column in a table",
                );
            }
            has_data = true;
        }
    }
    let state = spec
        .server
        .as_ref()
        .and_then(|server| server.state.as_ref());
    if let Some(state) = state
        && let StateType::Gcs | StateType::Azure = state.kind
    {
        refuse(
            "spec.server.state.type".to_owned(),
            format!("a state in {} is not built yet", state.kind.as_str()),
            "use S3, or Claim for one pod",
        );
    }
    match spec.checksum {
        ChecksumMode::Known | ChecksumMode::None => {}
        ChecksumMode::Sha256 | ChecksumMode::Crc32c => refuse(
            "spec.checksum".to_owned(),
            "computed checksums are not built yet".to_owned(),
            "write Known for what the store tells without a read, or None",
        ),
    }
    if !spec.legs.is_empty() {
        refuse(
            "spec.legs".to_owned(),
            "legs are not built yet".to_owned(),
            "leave them out",
        );
    }
    found
}
