//! Goldens of LIST and PROPFIND bodies and of errors.

use super::support::{Reply, get, request, serve, shelf};

const KEYS: [&str; 7] = [
    "main/docs/t/_delta_log/00000000000000000000.crc",
    "main/docs/t/_delta_log/00000000000000000000.json",
    "main/docs/t/_delta_log/00000000000000000001.json",
    "main/docs/t/0123456789abcdef0123456789abcdef-42.parquet",
    "main/docs/t/a&b <c>.bin",
    "main/docs/t_meta/_delta_log/00000000000000000000.json",
    "other/docs/u/x.bin",
];

/// The status, the type and the body, with elements on lines of their own.
fn drawn(reply: &Reply) -> String {
    format!(
        "{} {}\n{}",
        reply.status,
        reply.header("content-type").unwrap_or("-"),
        reply.text().replace("><", ">\n<")
    )
}

#[tokio::test]
async fn list_bodies() {
    let served = serve(shelf(&KEYS).await).await;
    for (name, target) in [
        (
            "list_v2_log",
            "/main?list-type=2&prefix=docs%2Ft%2F_delta_log%2F&start-after=docs%2Ft%2F_delta_log%2F00000000000000000000",
        ),
        (
            "list_v2_folder",
            "/main?list-type=2&prefix=docs/t/&delimiter=/",
        ),
        ("list_v2_page", "/main?list-type=2&max-keys=2"),
        (
            "list_v2_url",
            "/main?list-type=2&prefix=docs/t/a%26&delimiter=%20&start-after=docs/t/a%26&encoding-type=url",
        ),
        (
            "list_v2_empty",
            "/main?list-type=2&prefix=docs/none/_delta_log/",
        ),
        ("list_v1_page", "/main?prefix=docs/&delimiter=/&max-keys=1"),
        ("list_buckets", "/"),
        ("bucket_location", "/main?location"),
        (
            "error_no_such_key",
            "/main/docs/t/_delta_log/_last_checkpoint",
        ),
        ("error_no_such_bucket", "/none?list-type=2"),
    ] {
        insta::assert_snapshot!(name, drawn(&get(served.address, target).await));
    }
    let reply = request(served.address, "PUT", "/main/docs/t/x", &[]).await;
    insta::assert_snapshot!("error_write", drawn(&reply));
}

#[tokio::test]
async fn propfind_bodies() {
    let served = serve(shelf(&KEYS).await).await;
    for (name, target, depth) in [
        (
            "propfind_file",
            "/v1/main/docs/t/_delta_log/00000000000000000000.json",
            Some("0"),
        ),
        (
            "propfind_folder_0",
            "/v1/main/docs/t/_delta_log/",
            Some("0"),
        ),
        ("propfind_folder_1", "/v1/main/docs/t/", Some("1")),
        (
            "propfind_no_slash_infinity",
            "/v1/main/docs/t/_delta_log",
            Some("infinity"),
        ),
        ("propfind_no_depth", "/v1/main/docs/", None),
        ("propfind_root_1", "/v1/", Some("1")),
        (
            "propfind_missing",
            "/v1/main/docs/t/_delta_log/_last_checkpoint",
            Some("0"),
        ),
        ("propfind_bad_depth", "/v1/main/docs/t/", Some("2")),
    ] {
        let headers: Vec<(&str, &str)> = depth.iter().map(|depth| ("Depth", *depth)).collect();
        let reply = request(served.address, "PROPFIND", target, &headers).await;
        insta::assert_snapshot!(name, drawn(&reply));
    }
}
