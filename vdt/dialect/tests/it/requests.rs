//! A table of requests and their statuses, headers and bytes, for both dialects.

use super::support::{Reply, exchange, get, request, serve, shelf};

/// One object of 28 bytes and its neighbours.
const KEYS: [&str; 3] = [
    "main/docs/t/a.bin",
    "main/docs/t/_delta_log/00000000000000000000.json",
    "main/docs/t/b c.parquet",
];
const S3: &str = "/main/docs/t/a.bin";
const HTTP: &str = "/v1/main/docs/t/a.bin";
const CONTENT: &[u8] = b"content of main/docs/t/a.bin";
const DATE: &str = "Fri, 01 Mar 2024 12:00:00 GMT";
const EARLIER: &str = "Fri, 01 Mar 2024 11:59:59 GMT";

struct Case {
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    /// Body of a GET that succeeds.
    body: &'static [u8],
    content_range: Option<&'static str>,
    /// Calls of the store.
    gets: usize,
}

const fn case(
    headers: &'static [(&'static str, &'static str)],
    status: u16,
    body: &'static [u8],
    content_range: Option<&'static str>,
    gets: usize,
) -> Case {
    Case {
        headers,
        status,
        body,
        content_range,
        gets,
    }
}

const READS: &[Case] = &[
    case(&[], 200, CONTENT, None, 1),
    case(
        &[("Range", "bytes=0-6")],
        206,
        b"content",
        Some("bytes 0-6/28"),
        1,
    ),
    case(
        &[("Range", "bytes=24-")],
        206,
        b".bin",
        Some("bytes 24-27/28"),
        1,
    ),
    case(
        &[("Range", "bytes=24-999999")],
        206,
        b".bin",
        Some("bytes 24-27/28"),
        1,
    ),
    case(
        &[("Range", "bytes=-4")],
        206,
        b".bin",
        Some("bytes 24-27/28"),
        1,
    ),
    case(
        &[("Range", "bytes=-400")],
        206,
        CONTENT,
        Some("bytes 0-27/28"),
        1,
    ),
    case(&[("Range", "bytes=28-")], 416, b"", Some("bytes */28"), 2),
    case(&[("Range", "bytes=28-30")], 416, b"", Some("bytes */28"), 2),
    case(
        &[("Range", "bytes=99999999999999999999999-")],
        416,
        b"",
        Some("bytes */28"),
        2,
    ),
    case(
        &[("Range", "bytes=18446744073709551615-18446744073709551615")],
        416,
        b"",
        Some("bytes */28"),
        2,
    ),
    case(&[("Range", "bytes=9-1")], 416, b"", Some("bytes */28"), 1),
    case(&[("Range", "bytes=x")], 416, b"", Some("bytes */28"), 1),
    case(
        &[("Range", "bytes=0-1,3-4")],
        416,
        b"",
        Some("bytes */28"),
        1,
    ),
    // Preconditions come before a range that is none, and an If-Range that does not hold has it ignored.
    case(
        &[("Range", "bytes=x"), ("If-Match", "\"9\"")],
        412,
        b"",
        None,
        1,
    ),
    case(
        &[("Range", "bytes=x"), ("If-None-Match", "\"0\"")],
        304,
        b"",
        None,
        1,
    ),
    case(
        &[("Range", "bytes=0-1,3-4"), ("If-Range", "\"9\"")],
        200,
        CONTENT,
        None,
        2,
    ),
    case(
        &[("Range", "bytes=0-1,3-4"), ("If-Range", "\"0\"")],
        416,
        b"",
        Some("bytes */28"),
        1,
    ),
    case(
        &[("Range", "bytes=0-6"), ("If-Range", "*")],
        200,
        CONTENT,
        None,
        2,
    ),
    case(&[("Range", "lines=0-1")], 200, CONTENT, None, 1),
    case(&[("If-Match", "\"0\"")], 200, CONTENT, None, 1),
    case(&[("If-Match", "\"1\", \"0\"")], 200, CONTENT, None, 1),
    case(&[("If-Match", "*")], 200, CONTENT, None, 1),
    case(&[("If-Match", "\"9\"")], 412, b"", None, 1),
    case(&[("If-None-Match", "\"0\"")], 304, b"", None, 1),
    case(&[("If-None-Match", "W/\"0\"")], 304, b"", None, 1),
    case(&[("If-None-Match", "*")], 304, b"", None, 1),
    case(&[("If-None-Match", "\"9\"")], 200, CONTENT, None, 2),
    case(&[("If-Modified-Since", DATE)], 304, b"", None, 1),
    case(&[("If-Modified-Since", EARLIER)], 200, CONTENT, None, 2),
    case(&[("If-Modified-Since", "yesterday")], 200, CONTENT, None, 1),
    case(&[("If-Unmodified-Since", DATE)], 200, CONTENT, None, 1),
    case(&[("If-Unmodified-Since", EARLIER)], 412, b"", None, 1),
    case(
        &[("If-Match", "\"0\""), ("If-Unmodified-Since", EARLIER)],
        200,
        CONTENT,
        None,
        1,
    ),
    case(
        &[("If-Match", "\"9\""), ("Range", "bytes=99-")],
        412,
        b"",
        None,
        2,
    ),
    case(
        &[("If-None-Match", "\"0\""), ("Range", "bytes=99-")],
        304,
        b"",
        None,
        1,
    ),
    case(
        &[("Range", "bytes=0-6"), ("If-Range", "\"0\"")],
        206,
        b"content",
        Some("bytes 0-6/28"),
        2,
    ),
    case(
        &[("Range", "bytes=0-6"), ("If-Range", "\"9\"")],
        200,
        CONTENT,
        None,
        2,
    ),
    case(
        &[("Range", "bytes=0-6"), ("If-Range", DATE)],
        206,
        b"content",
        Some("bytes 0-6/28"),
        2,
    ),
];

#[tokio::test]
async fn reads_follow_rfc_9110_in_both_dialects() {
    let store = shelf(&KEYS).await;
    let served = serve(store.clone()).await;
    for target in [S3, HTTP] {
        for case in READS {
            let what = format!("GET {target} {:?}", case.headers);
            let reply = request(served.address, "GET", target, case.headers).await;
            assert_eq!(reply.status, case.status, "{what}: {}", reply.text());
            assert_eq!(store.gets(), case.gets, "{what}: reads of the store");
            assert_eq!(reply.header("content-range"), case.content_range, "{what}");
            match case.status {
                200 | 206 => {
                    assert_eq!(reply.body, case.body, "{what}");
                    assert!(reply.is_whole(), "{what}");
                    assert_eq!(reply.header("accept-ranges"), Some("bytes"), "{what}");
                    assert_eq!(
                        reply.header("content-type"),
                        Some("application/octet-stream")
                    );
                }
                304 => assert!(reply.body.is_empty(), "{what}"),
                _ => assert!(reply.is_whole() && !reply.body.is_empty(), "{what}"),
            }
            if case.status < 400 {
                assert_eq!(reply.header("etag"), Some("\"0\""), "{what}");
                assert_eq!(reply.header("last-modified"), Some(DATE), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let served = serve(shelf(&KEYS).await).await;
    for target in [S3, HTTP] {
        for case in READS {
            let what = format!("HEAD {target} {:?}", case.headers);
            let reply = request(served.address, "HEAD", target, case.headers).await;
            let ranged = case.headers.iter().any(|(name, _)| *name == "Range");
            // RFC 9110 14.2 knows no range of a HEAD; S3 does.
            if target == HTTP && ranged && matches!(case.status, 206 | 416) {
                assert_eq!(reply.status, 200, "{what}");
                assert_eq!(reply.header("content-length"), Some("28"), "{what}");
                continue;
            }
            assert_eq!(reply.status, case.status, "{what}");
            assert!(reply.body.is_empty(), "{what}");
            if case.status == 304 {
                // RFC 9110 8.6: the object's, or none.
                assert_eq!(reply.header("content-length"), None, "{what}");
            }
            if matches!(case.status, 200 | 206) {
                let length = case.body.len().to_string();
                assert_eq!(
                    reply.header("content-length"),
                    Some(length.as_str()),
                    "{what}"
                );
                assert_eq!(reply.header("content-range"), case.content_range, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn other_requests_have_a_clear_status() {
    let served = serve(shelf(&KEYS).await).await;
    let cases: &[(&str, &str, u16, &str)] = &[
        ("GET", "/", 200, "<Name>main</Name>"),
        ("GET", "/main", 200, "a.bin"),
        ("GET", "/main/", 200, "a.bin"),
        ("HEAD", "/main", 200, ""),
        ("HEAD", "/nobucket", 404, ""),
        ("GET", "/main?location", 200, "LocationConstraint"),
        ("GET", "/nobucket?location", 404, "NoSuchBucket"),
        ("GET", "/nobucket?list-type=2", 404, "NoSuchBucket"),
        (
            "GET",
            "/main?list-type=2&prefix=docs/nothing/_delta_log/",
            200,
            "<KeyCount>0</KeyCount>",
        ),
        (
            "GET",
            "/main?list-type=2&max-keys=0",
            200,
            "<KeyCount>0</KeyCount>",
        ),
        (
            "GET",
            "/main?list-type=2&max-keys=-1",
            400,
            "InvalidArgument",
        ),
        ("GET", "/main?list-type=2&max-keys=many", 400, "<Error>"),
        (
            "GET",
            "/main?list-type=2&continuation-token=forged",
            400,
            "InvalidArgument",
        ),
        (
            "GET",
            "/main?list-type=2&encoding-type=rot13",
            400,
            "InvalidArgument",
        ),
        ("GET", "/main?versioning", 501, "NotImplemented"),
        ("GET", "/main/docs/t/missing.json", 404, "NoSuchKey"),
        ("HEAD", "/main/docs/t/missing.json", 404, ""),
        ("GET", "/main/docs/t", 404, "NoSuchKey"),
        ("GET", "/main/docs/t/", 404, "NoSuchKey"),
        ("GET", "/main/docs/t/a.bin/", 404, "NoSuchKey"),
        ("GET", "/main//docs/t/a.bin", 404, "NoSuchKey"),
        ("GET", "/main/docs/../docs/t/a.bin", 404, "NoSuchKey"),
        ("GET", "/main/docs/%2e%2e/docs/t/a.bin", 404, "NoSuchKey"),
        (
            "GET",
            "/main/docs/t/b%20c.parquet",
            200,
            "content of main/docs/t/b c.parquet",
        ),
        (
            "GET",
            "/main/docs/t/a.bin?x-id=GetObject",
            200,
            "content of",
        ),
        (
            "GET",
            "/main/docs/t/a.bin?versionId=null",
            200,
            "content of",
        ),
        (
            "GET",
            "/main/docs/t/a.bin?versionId=3",
            404,
            "NoSuchVersion",
        ),
        ("GET", "/main/docs/t/a.bin?tagging", 501, "NotImplemented"),
        (
            "GET",
            "/main/docs/t/a.bin?partNumber=1",
            206,
            "content of main/docs/t/a.bin",
        ),
        (
            "GET",
            "/main/docs/t/a.bin?partNumber=2",
            416,
            "InvalidPartNumber",
        ),
        ("GET", "/main?acl", 403, "AccessDenied"),
        ("GET", "/none?acl", 404, "NoSuchBucket"),
        ("GET", "/?list-type=2&prefix=docs/", 400, "path-style"),
        (
            "PUT",
            "/main/docs/t/new.bin",
            403,
            "vdt tables are read-only",
        ),
        ("PUT", "/newbucket", 403, "AccessDenied"),
        ("POST", "/main?delete", 403, "AccessDenied"),
        ("POST", "/main/docs/t/new.bin?uploads", 403, "AccessDenied"),
        ("DELETE", "/main/docs/t/a.bin", 403, "AccessDenied"),
        ("DELETE", "/main", 403, "AccessDenied"),
        ("PATCH", "/main/docs/t/a.bin", 405, "MethodNotAllowed"),
        ("BREW", "/main/docs/t/a.bin", 405, "MethodNotAllowed"),
        ("PROPFIND", "/main/docs/t/", 405, "MethodNotAllowed"),
        ("OPTIONS", "/main/docs/t/a.bin", 403, "CORS"),
        ("GET", "/v1/main/docs/t/missing.json", 404, "no such object"),
        ("GET", "/v1/main/docs/t/", 404, "PROPFIND"),
        ("GET", "/v1/main/docs/t", 404, "PROPFIND"),
        ("GET", "/v1/main", 404, "PROPFIND"),
        ("GET", "/v1/main/docs/none", 404, "no such object"),
        ("GET", "/v1", 404, "PROPFIND"),
        (
            "GET",
            "/v1/main/docs/t/b%20c.parquet",
            200,
            "content of main/docs/t/b c.parquet",
        ),
        ("GET", "/v1/main/docs/../docs/t/a.bin", 400, ".."),
        ("GET", "/v1/main/docs/%2e%2e/docs/t/a.bin", 400, ".."),
        ("GET", "/v1/main/docs%2ft/a.bin", 400, "slash"),
        ("GET", "/v1/main//docs/t/a.bin", 400, "empty segment"),
        ("GET", "/v1/main/docs/t/%zz", 400, "percent"),
        ("PROPFIND", "/v1/main/docs/missing/", 404, "no such"),
        ("PUT", "/v1/main/docs/t/new.bin", 405, "read-only"),
        ("POST", "/v1/main/docs/t/", 405, "read-only"),
        ("DELETE", "/v1/main/docs/t/a.bin", 405, "read-only"),
        ("MKCOL", "/v1/main/docs/u/", 405, "read-only"),
        ("LOCK", "/v1/main/docs/t/a.bin", 405, "read-only"),
        ("OPTIONS", "/v1/main/docs/t/", 200, ""),
        ("OPTIONS", "/", 200, ""),
        // A bucket that only starts like the other dialect.
        ("GET", "/v1x/docs", 404, "NoSuchKey"),
    ];
    for (method, target, status, text) in cases {
        let reply = request(served.address, method, target, &[]).await;
        assert_eq!(reply.status, *status, "{method} {target}: {}", reply.text());
        assert!(
            reply.text().contains(text),
            "{method} {target}: {}",
            reply.text()
        );
        if *method != "HEAD" {
            assert!(reply.is_whole(), "{method} {target}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn options_tells_the_class_and_the_methods() {
    let served = serve(shelf(&KEYS).await).await;
    // Windows asks the host before it asks for a folder.
    for target in ["/v1/main/docs/t/", "/"] {
        let reply = request(served.address, "OPTIONS", target, &[]).await;
        assert_eq!(reply.header("dav"), Some("1"));
        assert_eq!(reply.header("ms-author-via"), Some("DAV"));
        assert_eq!(reply.header("allow"), Some("OPTIONS, GET, HEAD, PROPFIND"));
    }
    // A browser asks for another page.
    let preflight = [("Access-Control-Request-Method", "GET")];
    let reply = request(served.address, "OPTIONS", "/", &preflight).await;
    assert_eq!(reply.status, 403);
    let reply = request(served.address, "DELETE", "/v1/main/docs/t/", &[]).await;
    assert_eq!(reply.header("allow"), Some("OPTIONS, GET, HEAD, PROPFIND"));
}

#[tokio::test]
async fn the_only_part_of_an_object_is_a_range_of_all_of_it() {
    let store = shelf(&KEYS).await;
    store.put("main/docs/t/empty.bin", Vec::new()).await;
    let served = serve(store).await;
    let part = |name: &str| format!("/main/docs/t/{name}?partNumber=1");
    let text = "content of main/docs/t/a.bin";
    let whole = format!("bytes 0-{}/{}", text.len() - 1, text.len());
    for method in ["GET", "HEAD"] {
        let reply = request(served.address, method, &part("a.bin"), &[]).await;
        assert_eq!(
            (reply.status, reply.header("content-range")),
            (206, Some(whole.as_str()))
        );
        // There is no range of nothing.
        let reply = request(served.address, method, &part("empty.bin"), &[]).await;
        assert_eq!((reply.status, reply.header("content-range")), (200, None));
    }
    let range = [("Range", "bytes=1-2")];
    let reply = request(served.address, "GET", &part("a.bin"), &range).await;
    assert_eq!((reply.status, reply.text()), (206, "on".into()));
    let failed = [("If-Match", "\"other\"")];
    let reply = request(served.address, "GET", &part("a.bin"), &failed).await;
    assert_eq!(reply.status, 412);
}

#[tokio::test]
async fn content_types_follow_the_extension() {
    let served = serve(shelf(&KEYS).await).await;
    for (key, expected) in [
        ("_delta_log/00000000000000000000.json", "application/json"),
        ("b%20c.parquet", "application/vnd.apache.parquet"),
        ("a.bin", "application/octet-stream"),
    ] {
        for root in ["/main/docs/t/", "/v1/main/docs/t/"] {
            let reply = get(served.address, &format!("{root}{key}")).await;
            assert_eq!(reply.header("content-type"), Some(expected), "{key}");
        }
    }
}

#[tokio::test]
async fn an_empty_object_is_whole_and_has_no_range() {
    let store = shelf(&[]).await;
    store.put("main/docs/t/empty", "").await;
    let served = serve(store).await;
    for target in ["/main/docs/t/empty", "/v1/main/docs/t/empty"] {
        let reply = get(served.address, target).await;
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (200, Some("0"))
        );
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            let reply = request(served.address, "GET", target, &[("Range", range)]).await;
            assert_eq!(reply.status, 416, "{range}");
            assert_eq!(reply.header("content-range"), Some("bytes */0"));
        }
    }
}

#[tokio::test]
async fn failures_of_the_store_are_clean_errors_or_cut_bodies() {
    let names = [
        "changed",
        "changed-late",
        "gone-late",
        "failing",
        "forbidden",
        "cut",
        "cut-late",
        "short",
        "long",
        "longer",
    ];
    let keys: Vec<String> = names
        .iter()
        .map(|name| format!("main/docs/t/{name}.bin"))
        .collect();
    let store = shelf(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let served = serve(store.clone()).await;
    for root in ["/main/docs/t", "/v1/main/docs/t"] {
        for (name, status) in [
            ("changed", 412),
            ("changed-late", 412),
            ("gone-late", 412),
            ("failing", 500),
            ("forbidden", 500),
            ("longer", 500),
        ] {
            let reply = get(served.address, &format!("{root}/{name}.bin")).await;
            assert_eq!(reply.status, status, "{name}");
            assert!(reply.is_whole(), "{name}: {reply:?}");
        }
        // Whatever of the answer was sent before the store failed, it must not look whole.
        for name in ["cut", "short", "cut-late"] {
            store.gate.add_permits(usize::from(name == "cut-late"));
            let ask = format!("GET {root}/{name}.bin HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = exchange(served.address, ask.as_bytes()).await;
            let whole = Reply::parse(&answer).is_some_and(|reply| reply.is_whole());
            assert!(!whole, "{name}: {answer:?}");
        }
        // A surplus that comes after the promised bytes is never sent.
        let reply = get(served.address, &format!("{root}/long.bin")).await;
        assert!(reply.is_whole());
        // A range outside an object whose store fails is told by the object's size.
        let reply = request(
            served.address,
            "GET",
            &format!("{root}/failing.bin"),
            &[("Range", "bytes=999-")],
        )
        .await;
        assert_eq!(reply.status, 416);
    }
    let reply = get(served.address, "/main/docs/t/changed.bin").await;
    assert!(
        reply.text().contains("open the table again"),
        "{}",
        reply.text()
    );
    let reply = get(served.address, "/main?list-type=2&prefix=docs/unlistable/").await;
    assert_eq!(reply.status, 500);
    let metrics = served.metrics();
    assert!(
        metrics.contains("vdt_http_bodies_cut_total{dialect=\"S3\",by=\"Store\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn requests_are_counted_by_dialect_operation_and_status() {
    let served = serve(shelf(&KEYS).await).await;
    get(served.address, S3).await;
    get(served.address, S3).await;
    get(served.address, HTTP).await;
    request(served.address, "HEAD", S3, &[]).await;
    request(served.address, "PUT", S3, &[]).await;
    let metrics = served.metrics();
    for line in [
        "vdt_http_requests_total{dialect=\"S3\",operation=\"GetObject\",status=\"200\"} 2",
        "vdt_http_requests_total{dialect=\"Http\",operation=\"GetObject\",status=\"200\"} 1",
        "vdt_http_requests_total{dialect=\"S3\",operation=\"HeadObject\",status=\"200\"} 1",
        "vdt_http_requests_total{dialect=\"S3\",operation=\"Write\",status=\"403\"} 1",
        "vdt_http_response_bytes_total{dialect=\"S3\",operation=\"GetObject\"} 56",
        "vdt_http_request_duration_seconds_count{dialect=\"S3\",operation=\"GetObject\"} 2",
        "vdt_http_first_byte_seconds_count{dialect=\"S3\",operation=\"GetObject\"} 2",
        "vdt_http_requests_in_flight 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let mut cut = metrics
        .lines()
        .filter(|line| line.starts_with("vdt_http_bodies_cut_total{"));
    assert!(cut.all(|line| line.ends_with(" 0")), "{metrics}");
}
