//! What a change may not do: move a table's name or its log, change what a source or a column is, shrink a claim, change a load balancer's class.

use std::collections::BTreeMap;

use super::{Rules, sentence};
use crate::spec::{
    AzureContainer, DiskTier, GcsBucket, ReaderService, S3Bucket, ServiceType, State, TableName,
    TableSchema, VirtualTableSpec, VolumeType,
};

pub(super) fn check(old: &VirtualTableSpec, new: &VirtualTableSpec, rules: &mut Rules) {
    check_name(&old.table, &new.table, rules);
    let before: BTreeMap<_, _> = old
        .sources
        .iter()
        .map(|source| (&source.name, source.kind))
        .collect();
    for (index, source) in new.sources.iter().enumerate() {
        let fine = before
            .get(&source.name)
            .is_none_or(|kind| *kind == source.kind);
        rules.demand(
            fine,
            format!("spec.sources[{index}].type"),
            source.kind,
            sentence::SOURCE_TYPE_CHANGED,
        );
    }
    if let (Some(old), Some(new)) = (&old.schema, &new.schema) {
        check_columns(old, new, rules);
    }
    if let (Some(old), Some(new)) = (&old.server, &new.server) {
        if let (Some(old), Some(new)) = (&old.state, &new.state) {
            check_state(old, new, rules);
        }
        check_disk(&old.cache.disk, &new.cache.disk, rules);
        if let (Some(old), Some(new)) = (&old.service, &new.service) {
            check_service(old, new, rules);
        }
    }
}

/// A Service gets its class with its type, and keeps it.
fn check_service(old: &ReaderService, new: &ReaderService, rules: &mut Rules) {
    let balanced = Some(ServiceType::LoadBalancer);
    if old.kind != balanced || new.kind != balanced {
        return;
    }
    let (old, new) = (&old.load_balancer_class, &new.load_balancer_class);
    rules.demand(
        old == new,
        "spec.server.service.loadBalancerClass",
        new,
        sentence::LOAD_BALANCER_CLASS_CHANGED,
    );
}

fn check_name(old: &TableName, new: &TableName, rules: &mut Rules) {
    rules.demand(
        old.catalog == new.catalog,
        "spec.table.catalog",
        &new.catalog,
        sentence::IMMUTABLE_NAME,
    );
    for (part, old, new) in [
        ("schema", &old.schema, &new.schema),
        ("name", &old.name, &new.name),
    ] {
        let path = format!("spec.table.{part}");
        rules.demand(
            old.is_some() == new.is_some(),
            &path,
            new,
            sentence::added_or_removed(part),
        );
        let is_same = old.is_none() || new.is_none() || old == new;
        rules.demand(is_same, &path, new, sentence::IMMUTABLE_NAME);
    }
}

fn check_columns(old: &TableSchema, new: &TableSchema, rules: &mut Rules) {
    let before: BTreeMap<_, _> = old
        .columns
        .iter()
        .flatten()
        .map(|column| (&column.name, column))
        .collect();
    for (index, column) in new.columns.iter().flatten().enumerate() {
        let Some(old) = before.get(&column.name) else {
            continue;
        };
        let path = format!("spec.schema.columns[{index}]");
        let fine = old.column_type.is_none()
            || column.column_type.is_none()
            || old.column_type == column.column_type;
        rules.demand(
            fine,
            format!("{path}.type"),
            column.column_type,
            sentence::COLUMN_TYPE_CHANGED,
        );
        let (old, new) = (old.from.artifact, column.from.artifact);
        let fine = old.is_none() || new.is_none() || old == new;
        rules.demand(
            fine,
            format!("{path}.from"),
            new,
            sentence::COLUMN_ATTRIBUTE_CHANGED,
        );
    }
}

fn check_state(old: &State, new: &State, rules: &mut Rules) {
    let path = "spec.server.state";
    rules.demand(
        old.kind == new.kind,
        format!("{path}.type"),
        new.kind,
        sentence::STATE_TYPE_CHANGED,
    );
    let mut same = |member: &str, field: &str, old: Option<&str>, new: Option<&str>| {
        rules.demand(
            old == new,
            format!("{path}.{member}.{field}"),
            new,
            sentence::state_moved(field),
        );
    };
    if let (Some(S3Bucket { bucket, prefix, .. }), Some(new)) = (&old.s3, &new.s3) {
        same("s3", "bucket", Some(bucket), Some(&new.bucket));
        same("s3", "prefix", prefix.as_deref(), new.prefix.as_deref());
    }
    if let (Some(GcsBucket { bucket, prefix, .. }), Some(new)) = (&old.gcs, &new.gcs) {
        same("gcs", "bucket", Some(bucket), Some(&new.bucket));
        same("gcs", "prefix", prefix.as_deref(), new.prefix.as_deref());
    }
    if let (
        Some(AzureContainer {
            account,
            container,
            prefix,
            ..
        }),
        Some(new),
    ) = (&old.azure, &new.azure)
    {
        same("azure", "account", Some(account), Some(&new.account));
        same("azure", "container", Some(container), Some(&new.container));
        same("azure", "prefix", prefix.as_deref(), new.prefix.as_deref());
    }
    if let (Some(old), Some(new)) = (&old.claim, &new.claim) {
        same(
            "claim",
            "claimName",
            old.claim_name.as_deref(),
            new.claim_name.as_deref(),
        );
        same(
            "claim",
            "storageClassName",
            old.storage_class_name.as_deref(),
            new.storage_class_name.as_deref(),
        );
        rules.demand(
            new.capacity().bytes() >= old.capacity().bytes(),
            format!("{path}.claim.capacity"),
            new.capacity(),
            sentence::CAPACITY_SHRUNK,
        );
    }
}

/// A claim can grow, not shrink, and cannot change its class.
fn check_disk(old: &DiskTier, new: &DiskTier, rules: &mut Rules) {
    if old.volume.kind != VolumeType::PersistentVolumeClaim
        || new.volume.kind != VolumeType::PersistentVolumeClaim
    {
        return;
    }
    let path = "spec.server.cache.disk";
    let fine = new.capacity.bytes() >= old.capacity.bytes();
    rules.demand(
        fine,
        format!("{path}.capacity"),
        &new.capacity,
        sentence::CAPACITY_SHRUNK,
    );
    let (old, new) = (
        &old.volume.storage_class_name,
        &new.volume.storage_class_name,
    );
    rules.demand(
        old == new,
        format!("{path}.volume.storageClassName"),
        new,
        sentence::CLASS_CHANGED,
    );
}
