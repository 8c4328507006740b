#![allow(missing_docs, clippy::unwrap_used, unused, unreachable_pub)]
#[path = "../tests/it/support.rs"]
mod support;
use vdt_table::*;
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    std::fs::create_dir_all(format!("{dir}/_delta_log")).unwrap();
    let columns = {
        let mut c = TableSchema::artifacts().columns().to_vec();
        c.push(Column::attribute("modified", Attribute::LastModified));
        for (n, t) in [
            ("y", ColumnType::Integer),
            ("d", ColumnType::Date),
            ("dd", ColumnType::Double),
            ("b", ColumnType::Boolean),
            ("s", ColumnType::String),
        ] {
            c.push(Column {
                name: n.into(),
                column_type: t,
                from: ColumnFrom::Path("p".into()),
                description: None,
            });
        }
        c.push(Column {
            name: "k".into(),
            column_type: ColumnType::Binary,
            from: ColumnFrom::Constant("ké".into()),
            description: None,
        });
        c.push(Column {
            name: "ts".into(),
            column_type: ColumnType::Timestamp,
            from: ColumnFrom::Constant("2024-02-29T12:00:00.5Z".into()),
            description: None,
        });
        c.push(Column::attribute("version", Attribute::VersionId));
        c
    };
    let schema = TableSchema::new(columns, Some("{p}/**")).unwrap();
    let mut all = vec![];
    for (i, p) in ["2024", "2024-01-02", "1.5", "true", "x", "zz"]
        .iter()
        .enumerate()
    {
        for j in 0..40u64 {
            let n = i as u64 * 40 + j;
            let mut a = support::artifact(
                n as i64,
                &format!("k/{p}/{j:03} é+%.pdf"),
                if j == 7 { 0 } else { 3000 + n * 37 % 5000 },
            );
            a.archived = j == 9;
            all.push(a);
        }
    }
    let source = support::source("k/");
    let mut log = String::new();
    log.push_str(&format!("{}\n", vdt_table::delta::protocol()));
    log.push_str(&format!(
        "{}\n",
        vdt_table::delta::metadata(
            "5b2b0f4e-7d6e-4c39-9b83-000000000000",
            &schema,
            &Default::default(),
            0
        )
    ));
    all.sort_by(|a, b| a.object.key.cmp(&b.object.key));
    for (idx, rgt) in [(1_000, 20_000), (u64::MAX, 20_000), (1_000, 5_000)]
        .into_iter()
        .enumerate()
    {
        let layout = Layout {
            row_group_target_bytes: rgt.1,
            page_index_min_bytes: rgt.0,
            ..Layout::default()
        };
        let part: Vec<_> = all[idx * 80..(idx + 1) * 80].to_vec();
        let file = lay_out(
            &schema,
            &layout,
            &FileGroup {
                source: source.clone(),
                artifacts: part,
            },
        )
        .unwrap();
        println!("{} rgs {}", file.name, file.row_groups);
        std::fs::write(
            format!("{dir}/{}", file.name.parquet_file()),
            support::materialise(&file.rope),
        )
        .unwrap();
        log.push_str(&format!("{}\n", file.add(1_700_000_000_000, true)));
    }
    std::fs::write(format!("{dir}/_delta_log/00000000000000000000.json"), log).unwrap();
    let rows = all.iter().map(|a| (source.clone(), a.clone()));
    let meta = meta_files(&schema, &Layout::default(), rows)
        .next()
        .unwrap()
        .unwrap();
    std::fs::write(
        format!("{dir}-meta.parquet"),
        support::materialise(&meta.rope),
    )
    .unwrap();
    for a in &all {
        use std::io::Write;
        let mut f = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(format!("{dir}-expected.tsv"))
            .unwrap();
        writeln!(
            f,
            "{}\t{}\t{}\t{}",
            a.id,
            &a.object.key[2..],
            a.archived,
            support::content(&a.object)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        )
        .unwrap();
    }
}
