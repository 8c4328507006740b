//! Rules of what a table is: its name, sources, columns and layout.

use super::{Rule, Rules, anonymous, branch, bucket, quantity, url};
use crate::{
    spec::SourceType,
    validate::{constant, sentence},
};

pub(super) fn object() -> Vec<Rule> {
    vec![
        Rule::new("self.metadata.name.size() <= 40", sentence::NAME_LENGTH),
        Rule::new(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            sentence::NAME_LABEL,
        ),
    ]
}

pub(super) fn spec() -> Vec<Rule> {
    let holds_bytes = "['File','S3','GCS','Azure','HTTP']";
    let names_a_source = |member: &str| {
        format!(
            "(!has(s.{member}) || self.sources.exists(t, t.name == s.{member}.artifacts && t.type in {holds_bytes}))"
        )
    };
    vec![
        Rule::new("has(self.server)", sentence::SERVER_REQUIRED).required().at("server"),
        Rule::new(
            "!has(self.schema) || !has(self.schema.columns) || !self.schema.columns.exists(c, has(c.from.field)) || self.sources.exists(s, s.type in ['Inventory','Postgres'])",
            sentence::COLUMN_FIELD_SOURCE,
        )
        .at("schema.columns"),
        Rule::new(
            format!("self.sources.all(s, {} && {})", names_a_source("inventory"), names_a_source("postgres")),
            sentence::ARTIFACTS_OF_SOURCE,
        )
        .at("sources"),
    ]
}

pub(super) fn table() -> Vec<Rule> {
    let stays = |part: &str| {
        Rule::new(
            format!("has(self.{part}) == has(oldSelf.{part})"),
            sentence::added_or_removed(part),
        )
        .at(part)
    };
    vec![
        stays("schema"),
        stays("name"),
        Rule::new(
            "!has(self.name) || !self.name.endsWith('_meta')",
            sentence::META_SUFFIX,
        )
        .at("name"),
    ]
}

pub(super) fn source() -> Vec<Rule> {
    let mut rules: Vec<Rule> = [
        SourceType::File,
        SourceType::S3,
        SourceType::Gcs,
        SourceType::Azure,
        SourceType::Http,
        SourceType::Inventory,
        SourceType::Postgres,
    ]
    .map(|kind| branch(&kind.as_str().to_lowercase(), kind.as_str()))
    .into();
    rules.push(Rule::new("self.type == oldSelf.type", sentence::SOURCE_TYPE_CHANGED).at("type"));
    rules
}

pub(super) fn source_members() -> Rules {
    let mut rules = vec![
        (
            "spec.sources[].file".into(),
            vec![
                Rule::new("has(self.claimName)", sentence::CLAIM_NAME_REQUIRED)
                    .required()
                    .at("claimName"),
            ],
        ),
        (
            "spec.sources[].file.path".into(),
            vec![
                Rule::new("!self.startsWith('/')", sentence::PATH_RELATIVE),
                Rule::new(
                    r"!self.matches('(^|/)\\.\\.(/|$)')",
                    sentence::PATH_SEGMENTS,
                ),
            ],
        ),
        ("spec.sources[].http.url".into(), url()),
        (
            "spec.sources[].inventory.url".into(),
            vec![Rule::new(
                "self.matches('^(https?|s3|gs|az)://[^@]+$')",
                sentence::INVENTORY_URL,
            )],
        ),
    ];
    for member in ["s3", "gcs", "azure"] {
        let path = format!("spec.sources[].{member}");
        rules.push((path.clone(), vec![anonymous()]));
        rules.extend(bucket(&path));
    }
    rules
}

/// A column, `c`, that holds the artifacts themselves.
const IS_DATA: &str = "has(c.from.artifact) && c.from.artifact == 'Data'";

/// What a constant is written as, by the type of its column: bounds of numbers and days of months are left to vdt.
fn constant() -> Rule {
    let forms = [
        ("['long','integer']", constant::WHOLE),
        ("['double']", constant::DOUBLE),
        ("['boolean']", constant::BOOLEAN),
        ("['date']", constant::DATE),
        ("['timestamp']", constant::TIMESTAMP),
    ];
    // One after the other by `?`: of alternatives the API server counts the dearest alone, and of parts of an `&&` all.
    let forms = forms.map(|(kinds, form)| {
        format!("self.type in {kinds} ? self.from.constant.matches('{form}') : ")
    });
    Rule::new(
        format!(
            "!has(self.from.constant) || !has(self.type) || ({}true)",
            forms.concat()
        ),
        sentence::COLUMN_CONSTANT,
    )
    .at("from.constant")
}

pub(super) fn columns() -> Rules {
    vec![
        (
            "spec.schema".into(),
            vec![
                Rule::new(
                    "!has(self.columns) || self.columns.all(c, !has(c.from.path) || has(self.pathPattern) && self.pathPattern.contains('{' + c.from.path + '}'))",
                    sentence::COLUMN_PATH_PART,
                )
                .at("columns"),
                Rule::new("!has(self.pathPattern) || has(self.columns)", sentence::PATTERN_UNUSED).at("pathPattern"),
                Rule::new(
                    format!("!has(self.columns) || !self.columns.all(c, {IS_DATA})"),
                    sentence::COLUMNS_OF_DATA_ALONE,
                )
                .at("columns"),
                Rule::new(
                    format!("!has(self.columns) || self.columns.filter(c, {IS_DATA}).size() < 2"),
                    sentence::COLUMNS_OF_DATA_TWICE,
                )
                .at("columns"),
            ],
        ),
        (
            "spec.schema.columns[]".into(),
            vec![
                Rule::new("has(self.from.artifact) != has(self.type)", sentence::COLUMN_TYPE),
                Rule::new(
                    "!has(self.from.path) || !has(self.type) || self.type != 'binary'",
                    sentence::COLUMN_PATH_BINARY,
                ),
                constant(),
                Rule::new(
                    "!has(self.type) || !has(oldSelf.type) || self.type == oldSelf.type",
                    sentence::COLUMN_TYPE_CHANGED,
                )
                .at("type"),
                Rule::new(
                    "!has(self.from.artifact) || !has(oldSelf.from.artifact) || self.from.artifact == oldSelf.from.artifact",
                    sentence::COLUMN_ATTRIBUTE_CHANGED,
                )
                .at("from"),
            ],
        ),
        (
            "spec.schema.columns[].from".into(),
            vec![Rule::new(
                "[has(self.artifact), has(self.path), has(self.constant), has(self.field)].filter(x, x).size() == 1",
                sentence::COLUMN_FROM,
            )],
        ),
    ]
}

pub(super) fn layout() -> Rules {
    vec![
        (
            "spec.layout".into(),
            vec![
                Rule::new(
                    "!has(self.fileTargetBytes) || !has(self.rowGroupTargetBytes) || !isQuantity(self.fileTargetBytes) || !isQuantity(self.rowGroupTargetBytes) || quantity(self.rowGroupTargetBytes).compareTo(quantity(self.fileTargetBytes)) <= 0",
                    sentence::ROW_GROUP_OVER_FILE,
                )
                .at("rowGroupTargetBytes"),
            ],
        ),
        ("spec.layout.inlineMaxBytes".into(), quantity("1", Some("2147475392"))),
        ("spec.layout.fileTargetBytes".into(), quantity("1Mi", Some("1Ti"))),
        ("spec.layout.rowGroupTargetBytes".into(), quantity("1", Some("2147475392"))),
        (
            "spec.retention".into(),
            vec![Rule::new(
                "duration(self) >= duration('10m') && duration(self) <= duration('87600h')",
                sentence::RETENTION_BOUNDS,
            )],
        ),
        ("spec.legs".into(), vec![Rule::new("self.size() == 0", sentence::LEGS_RESERVED)]),
    ]
}
