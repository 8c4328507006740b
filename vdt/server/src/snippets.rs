//! What to paste into a client, for one table on one address.

use std::{fmt::Write, net::SocketAddr};

/// Text that shows how each client reads `s3://<catalog>/<schema>/<table>` from `listen`.
pub(crate) fn snippets(listen: SocketAddr, s3: &str) -> String {
    let endpoint = reachable(listen);
    let bucket = s3.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let options = format!(
        r#"{{"AWS_ENDPOINT_URL": "http://{endpoint}", "AWS_ALLOW_HTTP": "true", "AWS_SKIP_SIGNATURE": "true", "AWS_REGION": "us-east-1"}}"#
    );
    let mut text = String::new();
    let mut snippet = |client: &str, lines: &[String]| {
        let _ = writeln!(text, "  {client}");
        for line in lines {
            let _ = writeln!(text, "    {line}");
        }
    };
    snippet(
        "DuckDB (SQL)",
        &[
            "INSTALL delta; LOAD delta; INSTALL httpfs; LOAD httpfs;".to_owned(),
            format!(
                "CREATE OR REPLACE SECRET vdt (TYPE s3, ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false, REGION 'us-east-1', SCOPE '{bucket}');"
            ),
            format!("SELECT filename, filesize FROM delta_scan('{s3}') LIMIT 5;"),
        ],
    );
    snippet(
        "Polars (Python)",
        &[
            "import polars as pl".to_owned(),
            format!(
                "pl.scan_delta(\"{s3}\", storage_options={options}).select(\"filename\", \"filesize\").head(5).collect()"
            ),
        ],
    );
    snippet(
        "delta-rs (Python)",
        &[
            "from deltalake import DeltaTable".to_owned(),
            format!(
                "DeltaTable(\"{s3}\", storage_options={options}).to_pyarrow_dataset().head(5, columns=[\"filename\", \"filesize\"])"
            ),
        ],
    );
    snippet(
        "Spark (shell)",
        &[
            "spark-sql --packages io.delta:delta-spark_2.13:4.0.0,org.apache.hadoop:hadoop-aws:3.4.1 \\".to_owned(),
            "  --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension \\".to_owned(),
            "  --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog \\".to_owned(),
            format!("  --conf spark.hadoop.fs.s3a.endpoint=http://{endpoint} --conf spark.hadoop.fs.s3a.path.style.access=true \\"),
            "  --conf spark.hadoop.fs.s3a.endpoint.region=us-east-1 \\".to_owned(),
            "  --conf spark.hadoop.fs.s3a.aws.credentials.provider=org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider \\".to_owned(),
            format!("  -e \"SELECT filename, filesize FROM delta.\\`{}\\` LIMIT 5\"", s3.replacen("s3://", "s3a://", 1)),
        ],
    );
    text
}

/// An address that a client on this machine reaches: a wildcard address is not one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], address.port()))
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))
        }
        other => other,
    }
}
