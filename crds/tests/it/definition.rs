//! The derived definition against the one that was proven on a real API server.

use serde_json::Value;

#[test]
fn derived_definition_equals_the_reference() {
    let reference: Value = serde_yaml::from_str(include_str!("reference-crd.yaml")).unwrap();
    let derived = serde_json::to_value(vdt_crds::crd()).unwrap();
    let mut differences = Vec::new();
    compare("", &reference["spec"], &derived["spec"], &mut differences);
    compare(
        ".metadata.name",
        &reference["metadata"]["name"],
        &derived["metadata"]["name"],
        &mut differences,
    );
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Sets are compared as sets, numbers by value.
fn compare(path: &str, want: &Value, have: &Value, out: &mut Vec<String>) {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            for key in want
                .keys()
                .chain(have.keys().filter(|key| !want.contains_key(*key)))
            {
                match (want.get(key), have.get(key)) {
                    (Some(want), Some(have)) => compare(&format!("{path}.{key}"), want, have, out),
                    (Some(want), None) => {
                        out.push(format!("{path}.{key}: missing, should be {want}"))
                    }
                    (None, Some(have)) => out.push(format!("{path}.{key}: unexpected {have}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(want), Value::Array(have)) if path.ends_with(".required") => {
            let sorted = |list: &[Value]| {
                let mut list: Vec<_> = list.iter().map(Value::to_string).collect();
                list.sort();
                list
            };
            if sorted(want) != sorted(have) {
                out.push(format!("{path}: {have:?}, should be {want:?}"));
            }
        }
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
            for (index, (want, have)) in want.iter().zip(have).enumerate() {
                compare(&format!("{path}[{index}]"), want, have, out);
            }
        }
        (Value::Number(want), Value::Number(have)) if want.as_f64() == have.as_f64() => {}
        _ if want == have => {}
        _ => out.push(format!("{path}: {have}, should be {want}")),
    }
}
