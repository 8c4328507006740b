use super::*;

fn column(name: &str, column_type: ColumnType, from: ColumnFrom) -> Column {
    Column {
        name: name.into(),
        column_type,
        from,
        description: None,
    }
}

#[test]
fn schema_json_names_types_and_comments() {
    let mut columns = vec![Column::attribute("id", Attribute::Id)];
    columns.push(Column {
        description: Some("who \"it\" is for".into()),
        ..column(
            "customer",
            ColumnType::String,
            ColumnFrom::Path("customer".into()),
        )
    });
    let schema = TableSchema::new(columns, Some("{customer}/**")).unwrap();
    insta::assert_snapshot!(schema.delta_schema_json(), @r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}},{"name":"customer","type":"string","nullable":true,"metadata":{"comment":"who \"it\" is for"}}]}"#);
}

#[test]
fn the_eight_columns_are_what_new_would_make_of_them() {
    let eight = TableSchema::artifacts();
    assert_eq!(
        TableSchema::new(eight.columns().to_vec(), None).unwrap(),
        eight
    );
    let names: Vec<_> = eight
        .without_data()
        .columns()
        .iter()
        .map(|c| c.name.clone())
        .collect();
    let expected = [
        "id",
        "filename",
        "content_type",
        "url",
        "filesize",
        "checksum",
        "checksum_algo",
    ];
    assert_eq!(names, expected);
}

#[test]
fn broken_rules_are_named() {
    let id = || Column::attribute("id", Attribute::Id);
    let data = |name| Column::attribute(name, Attribute::Data);
    let path = |t| column("x", t, ColumnFrom::Path("p".into()));
    let constant = |t, text: &str| column("x", t, ColumnFrom::Constant(text.into()));
    let cases: Vec<(Vec<Column>, Option<&str>, &str)> = vec![
        (vec![], None, "beside"),
        (vec![data("data")], None, "beside"),
        (vec![id(), data("a"), data("b")], None, "second"),
        (
            vec![id(), Column::attribute("ID", Attribute::Url)],
            None,
            "twice",
        ),
        (
            vec![Column::attribute("my id", Attribute::Id)],
            None,
            "column name",
        ),
        (
            vec![Column::attribute("", Attribute::Id)],
            None,
            "column name",
        ),
        (
            vec![Column {
                column_type: ColumnType::String,
                ..id()
            }],
            None,
            "its attribute is long",
        ),
        (vec![path(ColumnType::String)], None, "does not name"),
        (
            vec![path(ColumnType::String)],
            Some("{q}/**"),
            "does not name",
        ),
        (
            vec![path(ColumnType::Binary)],
            Some("{p}/**"),
            "cannot be binary",
        ),
        (
            vec![constant(ColumnType::Integer, "x")],
            None,
            "is no integer",
        ),
        (
            vec![constant(ColumnType::Double, "NaN")],
            None,
            "is no double",
        ),
        (vec![id()], Some("{a"), "brace"),
    ];
    for (columns, pattern, expected) in cases {
        let error = TableSchema::new(columns, pattern).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{error} should contain {expected}"
        );
    }
}
