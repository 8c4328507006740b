//! How many listings there are at a time, and how long they are.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use vdt_dialect::{DataSurface, Edge, HttpMetrics, PageKeys, ResponseBody};

use super::support::shelf;

/// Listings of the S3 dialect at a time, and those of one folder.
const AT_ONCE: usize = 32;
const OF_ONE: usize = 8;

/// Listings at a time that are sent while they are written.
const LONG: usize = 4;

/// Bytes of a listing that is written before it is sent, at most.
const WHOLE: usize = 16 * 1024 * 1024;

async fn get(surface: &DataSurface, target: &str) -> Response<ResponseBody> {
    ask(surface, Request::get(target)).await
}

async fn ask(surface: &DataSurface, request: http::request::Builder) -> Response<ResponseBody> {
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    surface.handle(request).await
}

async fn text(response: Response<ResponseBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// What hangs is listed by as many as may list at a time.
#[tokio::test(start_paused = true)]
async fn listings_beyond_those_at_a_time_are_told_to_slow_down() {
    let surface = DataSurface::new(
        shelf(&["main/docs/t/a.bin"]).await,
        HttpMetrics::default(),
        Edge::default(),
    );
    let list = "/main?list-type=2&prefix=docs/t/";
    let targets: Vec<String> = (0..AT_ONCE)
        .map(|number| {
            let folder = number / OF_ONE;
            format!("/main?list-type=2&delimiter=/&prefix={folder}/hangs/")
        })
        .collect();
    let mut hanging: Vec<_> = targets
        .iter()
        .map(|target| Box::pin(get(&surface, target)))
        .collect();
    for one in &mut hanging {
        assert!(futures::poll!(one).is_pending());
    }
    let refused = get(&surface, list).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/xml");
    let refused = text(refused).await;
    assert!(refused.contains("<Code>SlowDown</Code>"), "{refused}");
    // An object is no listing, and the other dialect has turns of its own.
    assert_eq!(get(&surface, "/main/docs/t/a.bin").await.status(), 200);
    assert_eq!(find(&surface, "/v1/main/docs/t/", "1").await.status(), 207);
    hanging.pop();
    assert_eq!(get(&surface, list).await.status(), 200);
}

/// Whoever lists a table that hangs, they wait for each other and not for those who list another.
#[tokio::test(start_paused = true)]
async fn a_folder_that_hangs_leaves_turns_to_others() {
    let keys = [
        "main/default/warm/_delta_log/0.json",
        "main/default/hangs/a",
    ];
    let surface = DataSurface::new(shelf(&keys).await, HttpMetrics::default(), Edge::default());
    let hang = "/main?list-type=2&delimiter=/&prefix=default/hangs/";
    let mut hanging: Vec<_> = (0..AT_ONCE)
        .map(|_| Box::pin(get(&surface, hang)))
        .collect();
    for one in &mut hanging {
        assert!(futures::poll!(one).is_pending());
    }
    for prefix in ["default/warm/_delta_log/", "default/warm/", "default/"] {
        let target = format!("/main?list-type=2&delimiter=/&prefix={prefix}");
        // Time passes here only where everybody waits for it.
        let listed = tokio::time::timeout(Duration::from_secs(1), get(&surface, &target)).await;
        let status = listed.map(|listed| listed.status().as_u16());
        assert_eq!(status, Ok(200), "{prefix}");
    }
}

/// What is kept of one level is asked for, not all below: a store that cannot list the one may have the other.
#[tokio::test]
async fn whether_a_folder_is_there_costs_one_level() {
    let store = shelf(&["main/docs/unlistable/a.bin"]).await;
    let surface = DataSurface::new(store, HttpMetrics::default(), Edge::default());
    let got = get(&surface, "/v1/main/docs/unlistable").await;
    assert_eq!(got.status(), 404);
    let got = text(got).await;
    assert!(got.contains("list it with PROPFIND"), "{got}");
    for (folder, status) in [("unlistable", 207), ("missing", 404)] {
        let found = Request::builder()
            .method("PROPFIND")
            .uri(format!("/v1/main/docs/{folder}/"));
        let found = ask(&surface, found.header("Depth", "0")).await;
        assert_eq!(found.status(), status, "{folder}");
    }
}

async fn find(surface: &DataSurface, target: &str, depth: &str) -> Response<ResponseBody> {
    let request = Request::builder().method("PROPFIND").uri(target);
    ask(surface, request.header("Depth", depth)).await
}

/// Such as the log of a table of very many commits.
#[tokio::test]
async fn a_folder_of_any_length_is_found_whole() {
    const FILES: usize = 15_000;
    // Each of these is six bytes of an answer.
    let long = "\u{e9}".repeat(200);
    let mut keys: Vec<String> = (0..FILES)
        .map(|number| format!("main/docs/t/_delta_log/{number:05}{long}"))
        .collect();
    keys.push("main/docs/u/a.bin".to_owned());
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let surface = DataSurface::new(shelf(&keys).await, HttpMetrics::default(), Edge::default());
    let log = "/v1/main/docs/t/_delta_log/";
    for depth in ["1", "infinity"] {
        let found = find(&surface, log, depth).await;
        assert_eq!(found.status(), 207);
        let body = text(found).await;
        assert!(body.len() > WHOLE && body.ends_with("</D:multistatus>\n"));
        let hrefs = body.split("<D:href>").skip(1);
        let hrefs: Vec<&str> = hrefs.filter_map(|rest| rest.split('<').next()).collect();
        assert_eq!((hrefs.len(), hrefs[0]), (FILES + 1, log));
        assert!(hrefs.is_sorted_by(|one, next| one < next));
        assert_eq!(body.matches("</D:response>\n").count(), FILES + 1);
    }
    // Who reads them slowly is in the way of others who want such a one, and of nobody else.
    let mut sending = Vec::new();
    for _ in 0..LONG {
        sending.push(find(&surface, log, "1").await);
    }
    let refused = find(&surface, log, "1").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(find(&surface, "/v1/main/docs/u/", "1").await.status(), 207);
    sending.pop();
    assert_eq!(find(&surface, log, "1").await.status(), 207);
}

#[tokio::test]
async fn a_page_is_longer_for_who_comes_by_a_way_of_its_own_alone() {
    let keys: Vec<String> = (0..1500)
        .map(|number| format!("main/{number:04}"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let surface = DataSurface::new(shelf(&keys).await, HttpMetrics::default(), Edge::default());
    for (target, page, expected) in [
        ("/main?list-type=2", None, 1000),
        ("/main?list-type=2&max-keys=1200", None, 1000),
        ("/main?list-type=2", Some(PageKeys(1200)), 1200),
        (
            "/main?list-type=2&max-keys=1300",
            Some(PageKeys(1200)),
            1200,
        ),
        ("/main?list-type=2&max-keys=10", Some(PageKeys(1200)), 10),
    ] {
        let mut request = Request::get(target);
        if let Some(page) = page {
            request = request.extension(page);
        }
        let listed = text(ask(&surface, request).await).await;
        let count = listed.matches("<Key>").count();
        assert_eq!(count, expected, "{target} {page:?}");
        assert!(listed.contains("<IsTruncated>true<"), "{target} {page:?}");
    }
}
