//! How many listings there are at a time, and how long their pages are.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use vdt_dialect::{DataSurface, HttpMetrics, PageKeys, ResponseBody};

use super::support::shelf;

/// Listings of the S3 dialect at a time.
const AT_ONCE: usize = 32;

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
    let surface = DataSurface::new(shelf(&["main/docs/t/a.bin"]).await, HttpMetrics::default());
    let list = "/main?list-type=2&prefix=docs/t/";
    let mut hanging: Vec<_> = (0..AT_ONCE)
        .map(|_| Box::pin(get(&surface, "/main?list-type=2&delimiter=/&prefix=hangs/")))
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
    let found = Request::builder()
        .method("PROPFIND")
        .uri("/v1/main/docs/t/");
    assert_eq!(
        ask(&surface, found.header("Depth", "1")).await.status(),
        207
    );
    hanging.pop();
    assert_eq!(get(&surface, list).await.status(), 200);
}

#[tokio::test]
async fn a_page_is_longer_for_who_comes_by_a_way_of_its_own_alone() {
    let keys: Vec<String> = (0..1500)
        .map(|number| format!("main/{number:04}"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let surface = DataSurface::new(shelf(&keys).await, HttpMetrics::default());
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
