//! The rules of the resource as the API server runs them: CEL expressions in the definition, with the sentences of [`crate::validate()`].
//!
//! ```text
//! validate/*.rs --sentence.rs--> what vdt says      one sentence for both, and one corpus (crds/examples) that both must judge alike
//! rules.rs      --sentence.rs--> what kubectl says
//! ```
//!
//! The API server evaluates a rule on literal defaults before nested ones are filled in, hence the many `has()`. Quantities are compared with
//! `compareTo`: the server has no `sign` on them. Every string and list that a rule touches is bounded by its schema, which keeps the costs of the
//! rules within the server's budget. There is no webhook: what these rules cannot see, a condition says afterwards.

use serde_json::{Map, Value, json};

use crate::{
    spec::{SourceType, StateType},
    validate::sentence,
};

/// Adds every rule to the schema of the object.
pub(crate) fn add(schema: &mut Value) {
    for (path, rules) in all() {
        let target = find(schema, &path);
        target["x-kubernetes-validations"] = rules.into_iter().map(|Rule(rule)| rule).collect();
    }
}

/// A rule as the definition writes it.
struct Rule(Value);

impl Rule {
    fn new(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self(json!({"rule": rule.into(), "message": message.into()}))
    }

    /// Shows the violation at a field below.
    fn at(mut self, field: &str) -> Self {
        self.0["fieldPath"] = format!(".{field}").into();
        self
    }

    /// Something is missing: the API server says so.
    fn required(mut self) -> Self {
        self.0["reason"] = "FieldValueRequired".into();
        self
    }
}

type Rules = Vec<(String, Vec<Rule>)>;

fn all() -> Rules {
    let mut rules: Rules = vec![
        (String::new(), object()),
        ("spec".into(), spec()),
        ("spec.table".into(), table()),
        ("spec.sources[]".into(), source()),
    ];
    for part in ["catalog", "schema", "name"] {
        let rule = Rule::new("self == oldSelf", sentence::IMMUTABLE_NAME);
        rules.push((format!("spec.table.{part}"), vec![rule]));
    }
    rules.extend(source_members());
    rules.extend(columns());
    rules.extend(layout());
    rules.extend(server());
    rules.extend(state());
    rules.extend(cache());
    rules
}

fn object() -> Vec<Rule> {
    vec![
        Rule::new("self.metadata.name.size() <= 40", sentence::NAME_LENGTH),
        Rule::new(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            sentence::NAME_LABEL,
        ),
    ]
}

fn spec() -> Vec<Rule> {
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

fn table() -> Vec<Rule> {
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

/// A member of a union is there exactly when its type says so.
fn branch(member: &str, kind: &str) -> Rule {
    Rule::new(
        format!("self.type == '{kind}' ? has(self.{member}) : !has(self.{member})"),
        sentence::branch(member, kind),
    )
}

fn source() -> Vec<Rule> {
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

fn source_members() -> Rules {
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

fn anonymous() -> Rule {
    Rule::new(
        "!(has(self.anonymous) && self.anonymous && has(self.credentials))",
        sentence::ANONYMOUS_CREDENTIALS,
    )
}

/// What the fields of every bucket keep.
fn bucket(path: &str) -> Rules {
    let prefix = vec![
        Rule::new("!self.startsWith('/')", sentence::PREFIX_SLASH),
        Rule::new(
            r"!self.matches('(^|/)\\.\\.?(/|$)')",
            sentence::PREFIX_SEGMENTS,
        ),
    ];
    vec![
        (format!("{path}.prefix"), prefix),
        (format!("{path}.endpoint"), url()),
    ]
}

fn url() -> Vec<Rule> {
    vec![
        Rule::new(
            "isURL(self) && url(self).getScheme() in ['http', 'https']",
            sentence::URL_SCHEME,
        ),
        Rule::new("!self.matches('^[a-z]+://[^/]*@')", sentence::URL_USER),
    ]
}

fn columns() -> Rules {
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

/// Bounds of a quantity.
fn quantity(least: &str, most: Option<&str>) -> Vec<Rule> {
    let mut rules = vec![Rule::new(
        format!("isQuantity(self) && quantity(self).compareTo(quantity(\"{least}\")) >= 0"),
        sentence::at_least(least),
    )];
    rules.extend(most.map(|most| {
        Rule::new(
            format!("!isQuantity(self) || quantity(self).compareTo(quantity(\"{most}\")) <= 0"),
            sentence::at_most(most),
        )
    }));
    rules
}

fn layout() -> Rules {
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

fn server() -> Rules {
    vec![
        (
            "spec.server".into(),
            vec![
                Rule::new("has(self.state)", sentence::STATE_REQUIRED).required().at("state"),
                Rule::new("has(self.access)", sentence::ACCESS_REQUIRED).required().at("access"),
                Rule::new(
                    "!has(self.replicas) || self.replicas <= 1 || !has(self.state) || self.state.type in ['S3','GCS','Azure']",
                    sentence::SHARED_STATE,
                )
                .at("replicas"),
            ],
        ),
        (
            "spec.server.access".into(),
            vec![
                Rule::new(
                    "(self.mode == 'Keys') == (has(self.principals) && self.principals.size() > 0)",
                    sentence::PRINCIPALS,
                )
                .at("principals"),
            ],
        ),
        (
            "spec.server.tls".into(),
            vec![
                Rule::new(
                    "has(self.mode) && self.mode == 'Secret' ? has(self.secretRef) : !has(self.secretRef)",
                    sentence::TLS_SECRET,
                )
                .at("secretRef"),
                Rule::new(
                    "has(self.mode) && self.mode == 'CertManager' ? has(self.issuerRef) : !has(self.issuerRef)",
                    sentence::TLS_ISSUER,
                )
                .at("issuerRef"),
            ],
        ),
        (
            "spec.server.networkPolicy".into(),
            vec![
                Rule::new(
                    "!has(self.clientLabels) || (has(self.mode) && self.mode == 'Restricted')",
                    sentence::CLIENT_LABELS,
                )
                .at("clientLabels"),
            ],
        ),
        (
            "spec.server.service".into(),
            vec![
                Rule::new(
                    "!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')",
                    sentence::LOAD_BALANCER_CLASS,
                )
                .at("loadBalancerClass"),
            ],
        ),
        (
            "spec.server.podTemplate".into(),
            vec![
                Rule::new(
                    "!has(self.labels) || !self.labels.exists(k, k.startsWith('app.kubernetes.io/') || k.startsWith('vdt.io/'))",
                    sentence::OPERATOR_LABELS,
                )
                .at("labels"),
            ],
        ),
    ]
}

fn state() -> Rules {
    let same = |field: &str| {
        Rule::new(
            format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"),
            sentence::state_moved(field),
        )
        .at(field)
    };
    let members = [
        ("s3", StateType::S3),
        ("gcs", StateType::Gcs),
        ("azure", StateType::Azure),
        ("claim", StateType::Claim),
    ];
    let branches = members.map(|(member, kind)| branch(member, kind.as_str()));
    let mut rules = vec![
        ("spec.server.state".into(), branches.into()),
        (
            "spec.server.state.type".into(),
            vec![Rule::new("self == oldSelf", sentence::STATE_TYPE_CHANGED)],
        ),
        (
            "spec.server.state.claim".into(),
            vec![
                same("claimName"),
                Rule::new(
                    "!has(self.claimName) || !has(self.capacity) && !has(self.storageClassName)",
                    sentence::CLAIM_MADE,
                ),
            ],
        ),
        (
            "spec.server.state.claim.capacity".into(),
            quantity("64Mi", None),
        ),
    ];
    for (member, fields) in [
        ("s3", &["bucket", "prefix"][..]),
        ("gcs", &["bucket", "prefix"]),
        ("azure", &["account", "container", "prefix"]),
    ] {
        let path = format!("spec.server.state.{member}");
        let mut own = vec![anonymous()];
        own.extend(fields.iter().map(|field| same(field)));
        rules.push((path.clone(), own));
        rules.extend(bucket(&path));
    }
    rules
}

fn cache() -> Rules {
    let both_claims = "!has(self.volume) || !has(oldSelf.volume) || !has(self.volume.type) || !has(oldSelf.volume.type) || self.volume.type != 'PersistentVolumeClaim' || oldSelf.volume.type != 'PersistentVolumeClaim'";
    vec![
        ("spec.server.cache.memory.capacity".into(), quantity("16Mi", None)),
        ("spec.server.cache.disk.capacity".into(), quantity("64Mi", None)),
        (
            "spec.server.cache.disk".into(),
            vec![
                Rule::new(
                    "!has(self.lowWatermarkPercent) || !has(self.highWatermarkPercent) || self.lowWatermarkPercent < self.highWatermarkPercent",
                    sentence::WATERMARKS,
                )
                .at("lowWatermarkPercent"),
                Rule::new(
                    format!("{both_claims} || !isQuantity(self.capacity) || !isQuantity(oldSelf.capacity) || quantity(self.capacity).compareTo(quantity(oldSelf.capacity)) >= 0"),
                    sentence::CAPACITY_SHRUNK,
                )
                .at("capacity"),
                Rule::new(
                    format!("{both_claims} || has(self.volume.storageClassName) == has(oldSelf.volume.storageClassName) && (!has(self.volume.storageClassName) || self.volume.storageClassName == oldSelf.volume.storageClassName)"),
                    sentence::CLASS_CHANGED,
                )
                .at("volume.storageClassName"),
            ],
        ),
        (
            "spec.server.cache.disk.volume".into(),
            vec![
                Rule::new(
                    "!has(self.type) || self.type in ['EphemeralVolume','PersistentVolumeClaim'] || !has(self.storageClassName)",
                    sentence::VOLUME_CLASS,
                )
                .at("storageClassName"),
                Rule::new(
                    "!has(self.nodeLossGraceSeconds) || (has(self.type) && self.type == 'PersistentVolumeClaim')",
                    sentence::NODE_LOSS,
                )
                .at("nodeLossGraceSeconds"),
            ],
        ),
    ]
}

/// Returns the schema at a path such as `spec.sources[].name`.
fn find<'a>(schema: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.')
        .filter(|step| !step.is_empty())
        .fold(schema, |schema, step| {
            let name = step.trim_end_matches("[]");
            let property = schema["properties"]
                .as_object_mut()
                .and_then(|properties: &mut Map<String, Value>| properties.get_mut(name))
                .unwrap_or_else(|| {
                    panic!("a rule is about {path}, which the schema does not have")
                });
            if step.ends_with("[]") {
                &mut property["items"]
            } else {
                property
            }
        })
}
