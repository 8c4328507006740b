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

mod server;
mod table;

use serde_json::{Map, Value, json};

use crate::validate::sentence;

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
        (String::new(), table::object()),
        ("spec".into(), table::spec()),
        ("spec.table".into(), table::table()),
        ("spec.sources[]".into(), table::source()),
    ];
    for part in ["catalog", "schema", "name"] {
        let rule = Rule::new("self == oldSelf", sentence::IMMUTABLE_NAME);
        rules.push((format!("spec.table.{part}"), vec![rule]));
    }
    rules.extend(table::source_members());
    rules.extend(table::columns());
    rules.extend(table::layout());
    rules.extend(server::server());
    rules.extend(server::pods());
    rules.extend(server::state());
    rules.extend(server::cache());
    rules
}

/// A member of a union is there exactly when its type says so.
fn branch(member: &str, kind: &str) -> Rule {
    Rule::new(
        format!("self.type == '{kind}' ? has(self.{member}) : !has(self.{member})"),
        sentence::branch(member, kind),
    )
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
    let mut endpoint = url();
    endpoint.push(Rule::new("!self.matches('[?#]')", sentence::ENDPOINT_QUERY));
    vec![
        (format!("{path}.prefix"), prefix),
        (format!("{path}.endpoint"), endpoint),
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
