//! Rules of the columns and of the path pattern they draw from.

use super::{NOTHING, Rules, pattern, sentence};
use crate::spec::{Column, ColumnType, TableSchema};

pub(super) fn check(schema: &TableSchema, rules: &mut Rules) {
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

fn check_column(path: &str, column: &Column, rules: &mut Rules) {
    let from = &column.from;
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
