//! A definition in the `configuration` of its table's `metaData` action: what the layout depends on, as fingerprints, and who edited it last.
//!
//! ```text
//!   vdt.layout          fingerprint of columns and layout
//!   vdt.layoutForm      version of what that fingerprint means
//!   vdt.source.<name>   fingerprint of a source's declaration
//!   vdt.place.<name>    where a source's rows are laid out for, as JSON
//!   vdt.edition         <uid>/<generation> of the resource
//! ```

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vdt_crds::VirtualTable;
use vdt_table::SourceContext;

use super::Definition;
use crate::log::Snapshot;

/// Version of what a layout's fingerprint covers and of what a layout becomes. Raise it when the same declaration comes out as other
/// files: of two versions of vdt on one state store, the newer one decides.
const LAYOUT_FORM: u32 = 2;

/// Configuration key of the fingerprint of columns and layout.
pub(crate) const LAYOUT_KEY: &str = "vdt.layout";
/// Configuration key of [`LAYOUT_FORM`].
const FORM_KEY: &str = "vdt.layoutForm";
/// Configuration key prefix of the fingerprint of one source's declaration.
pub(crate) const SOURCE_KEY: &str = "vdt.source.";
/// Configuration key prefix of the place that a source's rows are laid out for.
pub(crate) const PLACE_KEY: &str = "vdt.place.";
/// Configuration key of the [`Edition`] that the table was last edited by.
pub(crate) const EDITION_KEY: &str = "vdt.edition";

/// An edition of a resource: editions of one uid follow one another by generation, those of two uids are not ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.uid, self.generation)
    }
}

impl Edition {
    pub(super) fn of(table: &VirtualTable) -> Option<Self> {
        Some(Self {
            uid: table.metadata.uid.clone()?,
            generation: table.metadata.generation?,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (uid, generation) = text.rsplit_once('/')?;
        Some(Self {
            uid: uid.to_owned(),
            generation: generation.parse().ok()?,
        })
    }
}

impl Definition {
    /// The table's configuration in its `metaData` action: what the layout depends on, fingerprinted. Where one entry
    /// differs from the committed one, the table was edited.
    pub(crate) fn configuration(&self) -> BTreeMap<String, String> {
        let mut configuration = self.layout_configuration();
        for source in &self.sources {
            let name = source.name();
            configuration.insert(
                format!("{SOURCE_KEY}{name}"),
                fingerprint(&source.fingerprint()),
            );
            configuration.insert(format!("{PLACE_KEY}{name}"), place(&source.context()));
        }
        configuration
    }

    /// The part of it that columns and layout make.
    pub(crate) fn layout_configuration(&self) -> BTreeMap<String, String> {
        let layout = format!("{LAYOUT_FORM} {:?} {:?}", self.columns, self.layout);
        BTreeMap::from([
            (LAYOUT_KEY.to_owned(), fingerprint(&layout)),
            (FORM_KEY.to_owned(), LAYOUT_FORM.to_string()),
        ])
    }

    /// Why this definition has nothing to say about `snapshot` any more, if so: a newer edition of the resource, or a newer vdt,
    /// has edited the table.
    pub(crate) fn superseded_by(&self, snapshot: &Snapshot) -> Option<String> {
        let form: u32 = snapshot.configuration(FORM_KEY)?.parse().ok()?;
        if form > LAYOUT_FORM {
            return Some(format!(
                "a newer vdt has laid the table out (form {form}, this one knows {LAYOUT_FORM}); update this one"
            ));
        }
        let own = self.edition.as_ref()?;
        let committed = Edition::parse(snapshot.configuration(EDITION_KEY)?)?;
        (committed.uid == own.uid && committed.generation > own.generation).then(|| {
            format!(
                "the table was edited by generation {} of its resource, this process has generation {}; \
                 it serves what is committed until it is given the newer one",
                committed.generation, own.generation
            )
        })
    }
}

/// The place of a source as the configuration holds it.
fn place(context: &SourceContext) -> String {
    json!({
        "id": &*context.id,
        "prefix": context.prefix,
        "urlPrefix": context.url_prefix,
        "etagIsChecksum": context.etag_is_checksum,
    })
    .to_string()
}

/// The place that the committed rows of the source `name` are laid out for.
pub(crate) fn committed_place(snapshot: &Snapshot, name: &str) -> Option<SourceContext> {
    let place = snapshot.configuration(&format!("{PLACE_KEY}{name}"))?;
    let place: Value = serde_json::from_str(place).ok()?;
    Some(SourceContext {
        name: name.into(),
        id: place["id"].as_str()?.into(),
        prefix: place["prefix"].as_str()?.to_owned(),
        url_prefix: place["urlPrefix"].as_str()?.to_owned(),
        etag_is_checksum: place["etagIsChecksum"].as_bool()?,
    })
}

fn fingerprint(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceEnv;

    #[test]
    fn the_fingerprint_of_a_layout_is_that_of_its_form() {
        let folder = tempfile::tempdir().expect("a folder");
        let table = VirtualTable::for_folder(folder.path());
        let env = SourceEnv {
            base_dir: folder.path().to_owned(),
            ..SourceEnv::default()
        };
        let definition = Definition::open(&table, &env).expect("it opens");
        // Another fingerprint lays every table out again. If that is meant, raise LAYOUT_FORM and write the new one here: then
        // the newer one of two versions of vdt decides, and they do not undo each other's work.
        assert_eq!(
            definition.layout_configuration(),
            BTreeMap::from([
                (LAYOUT_KEY.to_owned(), "600f1e45a57e46b0".to_owned()),
                (FORM_KEY.to_owned(), "2".to_owned()),
            ])
        );
    }

    #[test]
    fn what_is_declared_of_a_table_and_its_sources_has_the_fingerprints_that_it_had() {
        let manifest = r#"
apiVersion: vdt.io/v1alpha1
kind: VirtualTable
metadata: {name: t, namespace: docs}
spec:
  sources:
  - {name: bucket, type: S3, s3: {bucket: corp, prefix: a b/, endpoint: "https://s3.example.com", region: eu-1, anonymous: true}, include: ["**.pdf"], exclude: [tmp/**]}
  - {name: amazon, type: S3, s3: {bucket: corp, endpoint: "https://s3.eu-west-1.amazonaws.com", pathStyle: false, region: eu-west-1, anonymous: true}}
  schema:
    pathPattern: '{customer}/{year}/part-{n}/**'
    columns:
    - {name: customer, type: string, from: {path: customer}}
    - {name: year, type: integer, from: {path: year}}
    - {name: n, type: long, from: {path: n}}
    - {name: day, type: date, from: {constant: "2026-01-31"}}
    - {name: at, type: timestamp, from: {constant: "2026-01-31T10:00:00.5Z"}}
    - {name: yes, type: boolean, from: {constant: "true"}}
    - {name: tenth, type: double, from: {constant: "0.1"}}
    - {name: bytes, type: binary, from: {constant: "AAH/"}}
    - {name: text, type: string, from: {constant: "\u00e9\"\n"}, description: "a text"}
    - {name: data, from: {artifact: Data}}
"#;
        let table = vdt_crds::parse(manifest.as_bytes()).expect("it parses");
        let definition = Definition::open(&table[0], &SourceEnv::default()).expect("it is valid");
        let told: Vec<_> = definition
            .configuration()
            .into_iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        // Others lay every such table out again, and what was held back for having shrunk is not held any more.
        assert_eq!(
            told,
            [
                "vdt.layout e547202c1543903e",
                "vdt.layoutForm 2",
                r#"vdt.place.amazon {"etagIsChecksum":true,"id":"fa2daf23b54ba60d","prefix":"","urlPrefix":"s3://corp/"}"#,
                r#"vdt.place.bucket {"etagIsChecksum":true,"id":"ac13de4264b90f9f","prefix":"a b/","urlPrefix":"s3://corp/"}"#,
                "vdt.source.amazon ed20dec69a4141f7",
                "vdt.source.bucket 33a45484d2da05a3",
            ]
        );
    }

    #[test]
    fn an_edition_reads_back() {
        let edition = Edition {
            uid: "0b1c-22".to_owned(),
            generation: 12,
        };
        assert_eq!(Edition::parse(&edition.to_string()), Some(edition));
        assert_eq!(Edition::parse("12"), None);
        assert_eq!(Edition::parse("a/b"), None);
    }
}
