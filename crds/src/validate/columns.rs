//! Rules of the columns and of the path pattern they draw from.

use std::collections::HashSet;

use super::{NOTHING, Rules, constant, pattern, sentence};
use crate::spec::{ArtifactAttribute, Column, ColumnType, TableSchema};

/// Longest name of a column, in bytes: clients hold it in UTF-8.
const NAME_BYTES_MAX: usize = 255;

pub(super) fn check(schema: &TableSchema, rules: &mut Rules) {
    if let Some(columns) = &schema.columns {
        check_together(columns, rules);
    }
    for (index, column) in schema.columns.iter().flatten().enumerate() {
        let path = format!("spec.schema.columns[{index}]");
        check_column(&path, column, rules);
        if let Some(part) = &column.from.path {
            let is_named = schema
                .path_pattern
                .as_ref()
                .is_some_and(|pattern| pattern.contains(&format!("{{{part}}}")));
            rules.demand(
                is_named,
                format!("{path}.from.path"),
                part,
                sentence::COLUMN_PATH_PART,
            );
        }
    }
    if let Some(text) = &schema.path_pattern {
        let path = "spec.schema.pathPattern";
        rules.demand(
            schema.columns.is_some(),
            path,
            text,
            sentence::PATTERN_UNUSED,
        );
        if let Err(problem) = pattern::check(text) {
            rules.demand(false, path, text, problem);
        }
    }
}

/// Rules across columns: none is another one by its name, and one at most holds the artifacts themselves, beside others.
fn check_together(columns: &[Column], rules: &mut Rules) {
    let holds_artifacts = |column: &&Column| column.from.artifact == Some(ArtifactAttribute::Data);
    let data = columns.iter().filter(holds_artifacts).count();
    let path = "spec.schema.columns";
    rules.demand(
        columns.is_empty() || data < columns.len(),
        path,
        NOTHING,
        sentence::COLUMNS_OF_DATA_ALONE,
    );
    rules.demand(data < 2, path, NOTHING, sentence::COLUMNS_OF_DATA_TWICE);
    let (mut exact, mut names) = (HashSet::new(), HashSet::new());
    for (index, column) in columns.iter().enumerate() {
        // The very same name is a second item of the same key, and told as such.
        let is_other = exact.insert(&column.name);
        let is_free = names.insert(column.name.to_lowercase());
        rules.demand(
            is_free || !is_other,
            format!("{path}[{index}].name"),
            &column.name,
            sentence::COLUMN_CASE,
        );
    }
}

fn check_column(path: &str, column: &Column, rules: &mut Rules) {
    let from = &column.from;
    rules.demand(
        column.name.len() <= NAME_BYTES_MAX || column.name.chars().count() > NAME_BYTES_MAX,
        format!("{path}.name"),
        &column.name,
        sentence::COLUMN_NAME_BYTES,
    );
    if let (Some(text), Some(kind)) = (&from.constant, column.column_type) {
        rules.demand(
            constant::is_of(kind, text),
            format!("{path}.from.constant"),
            text,
            sentence::COLUMN_CONSTANT,
        );
    }
    let set = [
        from.artifact.is_some(),
        from.path.is_some(),
        from.constant.is_some(),
        from.field.is_some(),
    ];
    rules.demand(
        set.iter().filter(|set| **set).count() == 1,
        format!("{path}.from"),
        NOTHING,
        sentence::COLUMN_FROM,
    );
    let fine = from.artifact.is_some() != column.column_type.is_some();
    rules.demand(
        fine,
        format!("{path}.type"),
        column.column_type,
        sentence::COLUMN_TYPE,
    );
    let fine = from.path.is_none() || column.column_type != Some(ColumnType::Binary);
    rules.demand(
        fine,
        format!("{path}.type"),
        column.column_type,
        sentence::COLUMN_PATH_BINARY,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Profile;

    fn said(columns: &[(&str, &str)]) -> Vec<String> {
        let columns: Vec<Column> = columns
            .iter()
            .map(|(name, rest)| {
                let text = format!("{{name: \"{name}\", {rest}}}");
                serde_yaml::from_str(&text).expect("a column")
            })
            .collect();
        let schema = TableSchema {
            columns: Some(columns),
            ..TableSchema::default()
        };
        let mut rules = Rules {
            profile: Profile::Laptop,
            found: Vec::new(),
        };
        check(&schema, &mut rules);
        rules.found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_of_columns_is_told_with_its_place() {
        let id = "from: {artifact: Id}";
        let long = "ü".repeat(128);
        let found = said(&[
            ("ID", id),
            ("id", id),
            (long.as_str(), id),
            ("n", "type: long, from: {constant: abc}"),
            (
                "t",
                "type: timestamp, from: {constant: \"2024-12-31T23:59:59Z\"}",
            ),
        ]);
        let places: Vec<_> = found
            .iter()
            .map(|one| one.split(':').next().unwrap_or_default())
            .collect();
        assert_eq!(
            places,
            [
                "spec.schema.columns[1].name",
                "spec.schema.columns[2].name",
                "spec.schema.columns[3].from.constant",
            ],
            "{found:#?}"
        );
        assert!(found[0].ends_with("is \"id\""), "{}", found[0]);
        assert_eq!(
            said(&[("ü".repeat(127).as_str(), id)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn artifacts_themselves_are_one_column_beside_others() {
        let (id, data) = ("from: {artifact: Id}", "from: {artifact: Data}");
        assert_eq!(said(&[("id", id), ("data", data)]), Vec::<String>::new());
        assert_eq!(said(&[("data", data)]).len(), 1);
        assert_eq!(said(&[("id", id), ("a", data), ("b", data)]).len(), 1);
    }
}
