//! The page that a browser gets for a folder.

use super::support::{get, request, serve, shelf};

const KEYS: [&str; 4] = [
    "main/docs/t/_delta_log/00000000000000000000.json",
    "main/docs/t/<img src=x onerror=alert(1)>.bin",
    "main/docs/t/a&b 'c'.parquet",
    "main/docs/u/x.bin",
];

const BROWSER: [(&str, &str); 1] = [(
    "Accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
)];

#[tokio::test]
async fn a_browser_gets_a_readable_folder() {
    let served = serve(shelf(&KEYS).await).await;
    for target in ["/v1/main/docs/t/", "/v1/main/docs/t"] {
        let reply = request(served.address, "GET", target, &BROWSER).await;
        assert_eq!(reply.status, 200, "{target}");
        assert!(reply.is_whole());
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        let page = reply.text();
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{page}"
        );
        for link in [
            "<a href=\"/v1/main/docs/t/_delta_log/\">_delta_log/</a>",
            "<a href=\"/v1/main/docs/t/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E.bin\">&lt;img src=x onerror=alert(1)&gt;.bin</a>",
            "<a href=\"/v1/main/docs/t/a%26b%20%27c%27.parquet\">a&amp;b &apos;c&apos;.parquet</a>",
            "<a href=\"/v1/main/docs/\">docs</a>",
            "2024-03-01 12:00:00 UTC",
        ] {
            assert!(page.contains(link), "{link} in {page}");
        }
        let head = request(served.address, "HEAD", target, &BROWSER).await;
        assert_eq!(
            head.header("content-length"),
            reply.header("content-length")
        );
    }
    for target in ["/v1", "/v1/", "/v1/main/"] {
        assert_eq!(
            request(served.address, "GET", target, &BROWSER)
                .await
                .status,
            200,
            "{target}"
        );
    }
    // A file is a file, and what is not there is not there.
    let file = request(served.address, "GET", "/v1/main/docs/u/x.bin", &BROWSER).await;
    assert_eq!(file.text(), "content of main/docs/u/x.bin");
    for target in ["/v1/main/none/", "/v1/main/docs/u/none"] {
        assert_eq!(
            request(served.address, "GET", target, &BROWSER)
                .await
                .status,
            404,
            "{target}"
        );
    }
}

#[tokio::test]
async fn other_clients_get_what_they_always_got() {
    let served = serve(shelf(&KEYS).await).await;
    for headers in [
        &[][..],
        &[("Accept", "*/*")],
        &[("Accept", "application/xml, text/xml")],
    ] {
        for target in ["/v1/main/docs/t/", "/v1/main/docs/t"] {
            let reply = request(served.address, "GET", target, headers).await;
            assert_eq!(reply.status, 404, "{target} {headers:?}");
        }
    }
    // The S3 dialect has no pages.
    let listing = request(served.address, "GET", "/main", &BROWSER).await;
    assert_eq!(listing.header("content-type"), Some("application/xml"));
    assert_eq!(get(served.address, "/main/docs").await.status, 404);
}
