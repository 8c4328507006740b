//! What to paste into a client, for one table behind one address. Pure text; secrets are named, never shown.

use std::fmt::Write;

use crate::spec::{ArtifactAttribute, TableSchema};

/// How a table is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach<'a> {
    /// `host:port` as clients write it.
    pub host: &'a str,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether readers have keys, which are taken from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    pub keys: bool,
}

/// Text that shows how each client reads `s3` (`s3://<catalog>/<schema>/<table>`), a table of this schema: DuckDB, Polars, delta-rs, Spark.
#[must_use]
pub fn snippets(reach: Reach<'_>, s3: &str, schema: Option<&TableSchema>) -> String {
    let mut text = String::new();
    let columns = shown(schema);
    for (client, lines) in [
        ("DuckDB (SQL)", duckdb(reach, s3, &columns)),
        ("Polars (Python)", polars(reach, s3, &columns)),
        ("delta-rs (Python)", delta_rs(reach, s3, &columns)),
        ("Spark (shell)", spark(reach, s3, &columns)),
    ] {
        let _ = writeln!(text, "  {client}");
        for line in lines {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// Columns that are shown: the first two that any client takes as they are written, without the artifacts' bytes. None where there is no such column.
fn shown(schema: Option<&TableSchema>) -> Vec<&str> {
    let Some(columns) = schema.and_then(|schema| schema.columns.as_ref()) else {
        return vec!["filename", "filesize"];
    };
    let is_plain = |name: &str| {
        !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || one == '_')
    };
    let small = columns
        .iter()
        .filter(|column| column.from.artifact != Some(ArtifactAttribute::Data));
    let names = small.map(|column| column.name.as_str());
    names.filter(|name| is_plain(name)).take(2).collect()
}

/// Columns as SQL selects them, each in `quote`s, for one may be called as a keyword is: how many rows there are, where none is shown.
fn selected(columns: &[&str], quote: &str) -> String {
    match columns {
        [] => "count(*)".to_owned(),
        // No keywords.
        ["filename", "filesize"] => columns.join(", "),
        _ => {
            let quoted = columns.iter().map(|name| format!("{quote}{name}{quote}"));
            quoted.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Columns as Python lists them.
fn listed(columns: &[&str]) -> String {
    let quoted = columns.iter().map(|name| format!("\"{name}\""));
    quoted.collect::<Vec<_>>().join(", ")
}

impl Reach<'_> {
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    /// Options of object_store, which Polars and delta-rs take. Keys come from the environment by themselves.
    fn options(&self) -> String {
        let mut options = vec![format!(r#""AWS_ENDPOINT_URL": "{}""#, self.url())];
        if !self.tls {
            options.push(r#""AWS_ALLOW_HTTP": "true""#.to_owned());
        }
        if !self.keys {
            options.push(r#""AWS_SKIP_SIGNATURE": "true""#.to_owned());
        }
        options.push(r#""AWS_REGION": "us-east-1""#.to_owned());
        format!("{{{}}}", options.join(", "))
    }

    /// Where Polars and delta-rs find keys, if they need any.
    fn keys_from(&self) -> &'static str {
        match self.keys {
            true => "; keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            false => "",
        }
    }
}

fn duckdb(reach: Reach<'_>, s3: &str, columns: &[&str]) -> Vec<String> {
    let bucket = s3.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let keys = match reach.keys {
        true => "KEY_ID '<AWS_ACCESS_KEY_ID>', SECRET '<AWS_SECRET_ACCESS_KEY>', ",
        false => "",
    };
    vec![
        "INSTALL delta; LOAD delta; INSTALL httpfs; LOAD httpfs;".to_owned(),
        format!(
            "CREATE OR REPLACE SECRET vdt (TYPE s3, {keys}ENDPOINT '{}', URL_STYLE 'path', USE_SSL {}, REGION 'us-east-1', SCOPE '{bucket}');",
            reach.host, reach.tls
        ),
        format!(
            "SELECT {} FROM delta_scan('{s3}') LIMIT 5;",
            selected(columns, "\"")
        ),
    ]
}

fn polars(reach: Reach<'_>, s3: &str, columns: &[&str]) -> Vec<String> {
    let rows = match columns {
        [] => "select(pl.len())".to_owned(),
        _ => format!("select({}).head(5)", listed(columns)),
    };
    vec![
        format!(
            "import polars as pl  # pip install \"polars[deltalake]\"{}",
            reach.keys_from()
        ),
        format!(
            "pl.scan_delta(\"{s3}\", storage_options={}).{rows}.collect()",
            reach.options()
        ),
    ]
}

fn delta_rs(reach: Reach<'_>, s3: &str, columns: &[&str]) -> Vec<String> {
    let rows = match columns {
        [] => "count_rows()".to_owned(),
        _ => format!("head(5, columns=[{}])", listed(columns)),
    };
    vec![
        format!(
            "from deltalake import DeltaTable  # pip install \"deltalake[pyarrow]\"{}",
            reach.keys_from()
        ),
        format!(
            "DeltaTable(\"{s3}\", storage_options={}).to_pyarrow_dataset().{rows}",
            reach.options()
        ),
    ]
}

fn spark(reach: Reach<'_>, s3: &str, columns: &[&str]) -> Vec<String> {
    let provider = match reach.keys {
        true => "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider",
        false => "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider",
    };
    vec![
        "spark-sql --packages io.delta:delta-spark_2.13:4.0.0,org.apache.hadoop:hadoop-aws:3.4.1 \\".to_owned(),
        "  --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension \\".to_owned(),
        "  --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog \\".to_owned(),
        format!("  --conf spark.hadoop.fs.s3a.endpoint={} --conf spark.hadoop.fs.s3a.path.style.access=true \\", reach.url()),
        "  --conf spark.hadoop.fs.s3a.endpoint.region=us-east-1 \\".to_owned(),
        format!("  --conf spark.hadoop.fs.s3a.aws.credentials.provider={provider} \\"),
        format!("  -e \"SELECT {} FROM delta.\\`{}\\` LIMIT 5\"", selected(columns, "\\`"), s3.replacen("s3://", "s3a://", 1)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tls_change_what_clients_are_told() {
        let s3 = "s3://main/docs/manuals";
        let open = Reach {
            host: "127.0.0.1:8080",
            tls: false,
            keys: false,
        };
        let text = snippets(open, s3, None);
        for part in [
            "ENDPOINT '127.0.0.1:8080', URL_STYLE 'path', USE_SSL false",
            "SCOPE 's3://main'",
            r#""AWS_ALLOW_HTTP": "true", "AWS_SKIP_SIGNATURE": "true""#,
            "AnonymousAWSCredentialsProvider",
            "delta.\\`s3a://main/docs/manuals\\`",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let closed = Reach {
            tls: true,
            keys: true,
            ..open
        };
        let text = snippets(closed, s3, None);
        for part in [
            "KEY_ID '<AWS_ACCESS_KEY_ID>'",
            "USE_SSL true",
            r#"{"AWS_ENDPOINT_URL": "https://127.0.0.1:8080", "AWS_REGION": "us-east-1"}"#,
            "EnvironmentVariableCredentialsProvider",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("SKIP_SIGNATURE") && !text.contains("ALLOW_HTTP"));
    }

    #[test]
    fn columns_are_those_that_the_table_has() {
        let open = Reach {
            host: "127.0.0.1:8080",
            tls: false,
            keys: false,
        };
        let text = |columns: &str| {
            let schema = serde_yaml::from_str(columns).unwrap();
            snippets(open, "s3://main/docs/t", Some(&schema))
        };
        let named = text(
            "columns: [{name: data, from: {artifact: Data}}, {name: a.b, from: {artifact: Url}}, {name: order, from: {artifact: Filename}}, \
             {name: bytes, from: {artifact: Filesize}}, {name: more, from: {artifact: ETag}}]",
        );
        for part in [
            "SELECT \"order\", \"bytes\" FROM delta_scan",
            ".select(\"order\", \"bytes\").head(5).collect()",
            "head(5, columns=[\"order\", \"bytes\"])",
            "SELECT \\`order\\`, \\`bytes\\` FROM delta.",
        ] {
            assert!(named.contains(part), "{part} in {named}");
        }
        let counted = text(
            "columns: [{name: data, from: {artifact: Data}}, {name: \"it's\", from: {artifact: Url}}]",
        );
        for part in [
            "SELECT count(*) FROM delta_scan",
            ".select(pl.len()).collect()",
            ".to_pyarrow_dataset().count_rows()",
            "SELECT count(*) FROM delta.",
        ] {
            assert!(counted.contains(part), "{part} in {counted}");
        }
        assert!(text("{}").contains("SELECT filename, filesize FROM"));
    }
}
