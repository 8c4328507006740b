//! What the resource means once defaults are filled in: names, places, times. Consumers ask here and never read a string again.

use std::time::Duration;

use crate::spec::{
    AzureContainer, Credentials, FileSource, GcsBucket, HttpSource, InventorySource, KeyRef,
    PostgresSource, Refresh, S3Bucket, Source, SourceType, State, StateType, VirtualTable,
};

/// The schema of a table whose resource has no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// What every published table name ends in that is the metadata-only table beside another.
pub const META_SUFFIX: &str = "_meta";

impl VirtualTable {
    /// Returns the catalog, which is also the bucket of the S3 dialect.
    #[must_use]
    pub fn catalog(&self) -> &str {
        &self.spec.table.catalog
    }

    /// Returns the schema: the declared one, else the namespace.
    #[must_use]
    pub fn schema_name(&self) -> &str {
        self.spec
            .table
            .schema
            .as_deref()
            .unwrap_or_else(|| self.namespace())
    }

    /// Returns the table's name: the declared one, else the resource's.
    #[must_use]
    pub fn table_name(&self) -> &str {
        self.spec
            .table
            .name
            .as_deref()
            .unwrap_or_else(|| self.metadata.name.as_deref().unwrap_or_default())
    }

    /// Returns the name of the metadata-only table beside it.
    #[must_use]
    pub fn meta_table_name(&self) -> String {
        format!("{}{META_SUFFIX}", self.table_name())
    }

    /// Returns the namespace, `default` without one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata
            .namespace
            .as_deref()
            .unwrap_or(DEFAULT_NAMESPACE)
    }

    /// Returns who owns the table in a state store: `<namespace>/<metadata.name>`. Never a uid, so that a resource made again finds its table.
    /// Of a table without a resource it is the place: another folder of the same name is not the same table.
    #[must_use]
    pub fn owner(&self) -> String {
        if let Some(given) = &self.spec.given {
            return given.clone();
        }
        format!(
            "{}/{}",
            self.namespace(),
            self.metadata.name.as_deref().unwrap_or_default()
        )
    }

    /// Returns `<catalog>/<schema>/<table>`: where the table is published and where its state lies.
    #[must_use]
    pub fn table_path(&self) -> String {
        format!(
            "{}/{}/{}",
            self.catalog(),
            self.schema_name(),
            self.table_name()
        )
    }
}

/// The member of a source, or of a state, that its type selects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Location<'a> {
    /// A directory.
    File(&'a FileSource),
    /// A bucket of any S3 service.
    S3(&'a S3Bucket),
    /// A Google Cloud Storage bucket.
    Gcs(&'a GcsBucket),
    /// An Azure Blob container.
    Azure(&'a AzureContainer),
    /// A manifest of artifact URLs.
    Http(&'a HttpSource),
    /// Rows about the artifacts of another source.
    Inventory(&'a InventorySource),
    /// A relation about the artifacts of another source.
    Postgres(&'a PostgresSource),
}

impl<'a> Location<'a> {
    /// Returns what it is read with; None where an ambient identity, or nothing, is used.
    #[must_use]
    pub fn credentials(self) -> Option<&'a Credentials> {
        match self {
            Self::File(_) => None,
            Self::S3(s3) => s3.credentials.as_ref(),
            Self::Gcs(gcs) => gcs.credentials.as_ref(),
            Self::Azure(azure) => azure.credentials.as_ref(),
            Self::Http(http) => http.credentials.as_ref(),
            Self::Inventory(inventory) => inventory.credentials.as_ref(),
            Self::Postgres(postgres) => Some(&postgres.credentials),
        }
    }

    /// Returns the authorities that it trusts beside the public ones.
    #[must_use]
    pub fn ca_bundle(self) -> Option<&'a KeyRef> {
        match self {
            Self::S3(s3) => s3.ca_bundle.as_ref(),
            Self::Http(http) => http.ca_bundle.as_ref(),
            Self::Postgres(postgres) => postgres.ca_bundle.as_ref(),
            Self::File(_) | Self::Gcs(_) | Self::Azure(_) | Self::Inventory(_) => None,
        }
    }

    /// Returns the endpoint of a bucket or container; None where it is the service's own, and of everything else.
    #[must_use]
    pub fn endpoint(self) -> Option<&'a str> {
        match self {
            Self::S3(s3) => s3.endpoint.as_deref(),
            Self::Gcs(gcs) => gcs.endpoint.as_deref(),
            Self::Azure(azure) => azure.endpoint.as_deref(),
            Self::File(_) | Self::Http(_) | Self::Inventory(_) | Self::Postgres(_) => None,
        }
    }
}

impl Source {
    /// Returns the member that the type selects; None in a source that breaks this rule, which [`crate::validate()`] refuses.
    #[must_use]
    pub fn location(&self) -> Option<Location<'_>> {
        match self.kind {
            SourceType::File => self.file.as_ref().map(Location::File),
            SourceType::S3 => self.s3.as_ref().map(Location::S3),
            SourceType::Gcs => self.gcs.as_ref().map(Location::Gcs),
            SourceType::Azure => self.azure.as_ref().map(Location::Azure),
            SourceType::Http => self.http.as_ref().map(Location::Http),
            SourceType::Inventory => self.inventory.as_ref().map(Location::Inventory),
            SourceType::Postgres => self.postgres.as_ref().map(Location::Postgres),
        }
    }

    /// Returns every member's field name, its type, and whether it is set.
    pub(crate) fn members(&self) -> [(&'static str, SourceType, bool); 7] {
        [
            ("file", SourceType::File, self.file.is_some()),
            ("s3", SourceType::S3, self.s3.is_some()),
            ("gcs", SourceType::Gcs, self.gcs.is_some()),
            ("azure", SourceType::Azure, self.azure.is_some()),
            ("http", SourceType::Http, self.http.is_some()),
            ("inventory", SourceType::Inventory, self.inventory.is_some()),
            ("postgres", SourceType::Postgres, self.postgres.is_some()),
        ]
    }
}

impl SourceType {
    /// Returns the word of the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::S3 => "S3",
            Self::Gcs => "GCS",
            Self::Azure => "Azure",
            Self::Http => "HTTP",
            Self::Inventory => "Inventory",
            Self::Postgres => "Postgres",
        }
    }

    /// Says whether artifacts lie in such a source; the others hold rows about artifacts of another one.
    #[must_use]
    pub fn holds_bytes(self) -> bool {
        match self {
            Self::File | Self::S3 | Self::Gcs | Self::Azure | Self::Http => true,
            Self::Inventory | Self::Postgres => false,
        }
    }
}

impl State {
    /// Returns the bucket or container that the type selects; None of a claim, and of what goes with its pod.
    #[must_use]
    pub fn location(&self) -> Option<Location<'_>> {
        match self.kind {
            StateType::S3 => self.s3.as_ref().map(Location::S3),
            StateType::Gcs => self.gcs.as_ref().map(Location::Gcs),
            StateType::Azure => self.azure.as_ref().map(Location::Azure),
            StateType::Claim | StateType::Ephemeral => None,
        }
    }

    /// Returns every member's field name, its type, and whether it is set.
    pub(crate) fn members(&self) -> [(&'static str, StateType, bool); 4] {
        [
            ("s3", StateType::S3, self.s3.is_some()),
            ("gcs", StateType::Gcs, self.gcs.is_some()),
            ("azure", StateType::Azure, self.azure.is_some()),
            ("claim", StateType::Claim, self.claim.is_some()),
        ]
    }
}

impl StateType {
    /// Returns the word of the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Gcs => "GCS",
            Self::Azure => "Azure",
            Self::Claim => "Claim",
            Self::Ephemeral => "Ephemeral",
        }
    }

    /// Says whether several pods can use it at once.
    #[must_use]
    pub fn is_shared(self) -> bool {
        match self {
            Self::S3 | Self::Gcs | Self::Azure => true,
            Self::Claim | Self::Ephemeral => false,
        }
    }
}

impl FileSource {
    /// Returns the directory below the claim, or below the manifest: `.` where none is written.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(".")
    }
}

impl S3Bucket {
    /// Returns the prefix of the keys, empty where none is written.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    /// Says whether the bucket stands in the path of a request: by default where there is an endpoint of its own, and where its name has a dot,
    /// which does not fit the wildcard certificate of host style.
    #[must_use]
    pub fn is_path_style(&self) -> bool {
        let by_default = self.endpoint.is_some() || self.bucket.contains('.');
        self.path_style.unwrap_or(by_default)
    }

    /// Says whether requests are sent unsigned.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.anonymous.unwrap_or_default()
    }
}

impl Refresh {
    /// Returns the time from the end of a listing to the next; None where listings happen on request only.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        (self.interval_seconds > 0).then(|| Duration::from_secs(self.interval_seconds.into()))
    }

    /// Returns how long an artifact must be unchanged before it is published.
    #[must_use]
    pub fn settle(&self) -> Duration {
        Duration::from_secs(self.settle_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_in_the_path_where_a_host_name_would_not_do() {
        let style = |bucket: &str, endpoint: Option<&str>, path_style| {
            S3Bucket {
                endpoint: endpoint.map(str::to_owned),
                path_style,
                ..S3Bucket::new(bucket)
            }
            .is_path_style()
        };
        let minio = Some("http://minio:9000");
        for (bucket, endpoint, declared, expected) in [
            ("corp", None, None, false),
            ("corp.docs", None, None, true),
            ("corp", minio, None, true),
            ("corp", minio, Some(false), false),
            ("corp.docs", None, Some(false), false),
        ] {
            assert_eq!(style(bucket, endpoint, declared), expected, "{bucket}");
        }
    }
}
