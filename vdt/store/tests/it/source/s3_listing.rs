//! Listings of buckets: complete whatever the order, the paging and the faults of the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use vdt_store::source::{SkipReason, Source, SourceEnv};

use super::server::{Answer, Lister, Server};
use super::{bucket, bucket_spec, globs, keys, list};

async fn serve(lister: Lister) -> Server {
    let lister = Arc::new(lister);
    Server::start(move |request| lister.answer(request)).await
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

/// A shuffle that is the same every time.
fn shuffled(mut keys: Vec<String>) -> Vec<String> {
    keys.sort_by_key(|key| {
        key.bytes().fold(7_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    });
    keys
}

#[tokio::test]
async fn a_small_bucket_is_one_request() {
    let server = serve(Lister::new(["b", "a/x", "a-b", "ü"].map(str::to_owned))).await;
    let listing = list(&bucket(&server.url, "")).await;
    assert_eq!(keys(&listing), ["a-b", "a/x", "b", "ü"]);
    assert_eq!(listing.requests, 1);
    let request = &server.seen()[0];
    assert_eq!(request.path, "/corp");
    assert_eq!(
        (request.query("list-type"), request.query("encoding-type")),
        ("2", "url")
    );
    assert!(
        !request.headers.contains_key("authorization"),
        "anonymous requests are not signed"
    );
    let entry = &listing.entries[0];
    assert_eq!(
        (entry.object.size, entry.object.etag.as_deref()),
        (3, Some("e"))
    );
    assert_eq!(
        (
            entry.object.last_modified_ms,
            entry.storage_class.as_deref()
        ),
        (1_767_225_600_000, Some("STANDARD"))
    );
}

#[tokio::test]
async fn a_plus_is_what_the_service_means_by_it() {
    for (plus_is_plus, key) in [(false, "a b"), (true, "a+b")] {
        let lister = Lister {
            plus_is_plus,
            ..Lister::new([key.to_owned()])
        };
        let server = serve(lister).await;
        let source = bucket(&server.url, "");
        for requests in [2, 1] {
            let listing = list(&source).await;
            assert_eq!(keys(&listing), [key]);
            assert_eq!(listing.requests, requests, "the service is asked once");
        }
        assert_eq!(server.seen()[1].query("prefix"), " +");
    }
}

#[tokio::test]
async fn what_a_plus_is_is_not_guessed_where_the_service_does_not_answer() {
    for (status, code) in [(403, "AccessDenied"), (400, "InvalidRequest")] {
        let lister = Lister::new(["a b".to_owned()]);
        let server = Server::start(move |request| match request.query("prefix") {
            " +" => Answer::error(status, code, "Not that prefix"),
            _ => lister.answer(request),
        })
        .await;
        let source = bucket(&server.url, "");
        for requests in [2, 1] {
            let listing = source.list(&|_, _| {}).await;
            if status == 403 {
                // A policy that names prefixes: AWS.
                let listing = listing.expect("the probe may be refused");
                assert_eq!(keys(&listing), ["a b"]);
                assert_eq!(listing.requests, requests, "the service is asked once");
            } else {
                let error = listing.expect_err("keys might be other keys").to_string();
                assert!(error.contains("Not that prefix"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_that_shows_what_a_plus_is_needs_no_request_more() {
    for plus_is_plus in [false, true] {
        let lister = Lister {
            plus_is_plus,
            ..Lister::new(["a b".to_owned(), "a+b".to_owned()])
        };
        let server = serve(lister).await;
        let listing = list(&bucket(&server.url, "")).await;
        assert_eq!(keys(&listing), ["a b", "a+b"]);
        assert_eq!(listing.requests, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_and_doubled_keys_give_each_key_once() {
    let all: Vec<String> = (0..3_700).map(|n| format!("{}/{n}", n % 700)).collect();
    let lister = Lister {
        overlap: 3,
        ..Lister::new(shuffled(all.clone()))
    };
    let server = serve(lister).await;
    let listing = list(&bucket(&server.url, "")).await;
    assert_eq!(keys(&listing), sorted(all));
    assert!(
        server
            .seen()
            .iter()
            .all(|request| request.query("start-after").is_empty())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_large_folders_are_listed_in_parallel() {
    let mut all: Vec<String> = (0..6)
        .flat_map(|f| (0..2_500).map(move |n| format!("f{f}/{n:05}")))
        .collect();
    all.extend(["root-1".to_owned(), "root-2".to_owned()]);
    let server = serve(Lister::new(sorted(all.clone()))).await;
    let calls = AtomicU64::new(0);
    let progress = |_, _| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let listing = bucket(&server.url, "").list(&progress).await.unwrap();
    assert_eq!(keys(&listing), sorted(all));
    // The first page, one by delimiter, and of each folder three and one by delimiter, which finds no folder in it.
    assert_eq!(listing.requests, 2 + 6 * 4);
    assert_eq!(server.seen().len() as u64, listing.requests);
    assert!(calls.load(Ordering::Relaxed) > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_folders_are_listed_in_one_go() {
    let all: Vec<String> = (0..1_500)
        .flat_map(|f| (0..2).map(move |n| format!("f{f:04}/{n}")))
        .collect();
    let server = serve(Lister::new(all.clone())).await;
    let listing = list(&bucket(&server.url, "")).await;
    assert_eq!(listing.entries.len(), all.len());
    assert_eq!(listing.requests, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_one_large_folder_is_divided_further_down() {
    let all: Vec<String> = (0..4)
        .flat_map(|f| (0..1_200).map(move |n| format!("data/2026/{f}/{n:05}")))
        .collect();
    let server = serve(Lister::new(shuffled(all.clone()))).await;
    let listing = list(&bucket(&server.url, "data/")).await;
    assert_eq!(keys(&listing), sorted(all));
    assert!(
        server
            .seen()
            .iter()
            .any(|request| request.query("prefix") == "data/2026/3/")
    );
    assert!(
        server
            .seen()
            .iter()
            .all(|request| request.query("prefix").starts_with("data/"))
    );
}

#[tokio::test]
async fn the_prefix_is_a_plain_string() {
    let all = ["man", "manuals/a", "manx", "other", "manuals/x/b"].map(str::to_owned);
    let server = serve(Lister::new(all)).await;
    let source = bucket(&server.url, "man");
    let listing = list(&source).await;
    assert_eq!(keys(&listing), ["manuals/a", "manuals/x/b", "manx"]);
    assert_eq!(listing.skipped[&SkipReason::EmptyName].examples, ["man"]);
    assert!(source.declared("manx") && !source.declared("man") && !source.declared("other"));
}

#[tokio::test]
async fn odd_keys_are_kept_or_counted() {
    let odd = [
        "a b",
        "a+b",
        "a%20b",
        "a%",
        "ü",
        ".hidden",
        "a#b",
        "\"",
        "a&b<c>",
        " lead",
        "a//b",
        "a\nb",
        "/lead",
        "x/../y",
        "./z",
        "folder/",
        "日本/語",
    ];
    let server = serve(Lister::new(odd.map(str::to_owned))).await;
    let listing = list(&bucket(&server.url, "")).await;
    let kept = [
        " lead",
        "\"",
        ".hidden",
        "a b",
        "a#b",
        "a%",
        "a%20b",
        "a&b<c>",
        "a+b",
        "ü",
        "日本/語",
    ];
    assert_eq!(keys(&listing), kept);
    let counts: Vec<_> = listing
        .skipped
        .iter()
        .map(|(reason, skipped)| (*reason, skipped.count))
        .collect();
    assert_eq!(
        counts,
        [
            (SkipReason::ControlCharacter, 1),
            (SkipReason::EmptySegment, 1),
            (SkipReason::DotSegment, 2),
            (SkipReason::LeadingSlash, 1),
            (SkipReason::TrailingSlash, 1),
        ]
    );
}

#[tokio::test]
async fn globs_see_the_key_below_the_prefix() {
    let all = ["m/a.pdf", "m/b.png", "m/x/c.pdf", "m/x/"].map(str::to_owned);
    let server = serve(Lister::new(all)).await;
    let spec = vdt_crds::Source {
        include: globs(&["*.pdf"]),
        ..bucket_spec(&server.url, "m/", false)
    };
    let listing = list(&Source::open(&spec, &SourceEnv::default()).unwrap()).await;
    assert_eq!(keys(&listing), ["m/a.pdf"]);
    assert_eq!((listing.excluded, listing.skipped.len()), (3, 0));
}

#[tokio::test]
async fn storage_classes_are_told_and_archives_flagged() {
    let object = |key, class, size| {
        format!(
            "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-01-01T00:00:00.678Z</LastModified>\
             <ETag>W/\"weak\"</ETag><StorageClass>{class}</StorageClass></Contents>"
        )
    };
    let too_long: &str = "f".repeat(40_000).leak();
    let server = Server::start(move |_| {
        let objects = [
            object("a", "STANDARD", 1),
            object("b", "GLACIER", 1),
            object("c", "GLACIER_IR", 1),
            object("d", "DEEP_ARCHIVE", 1),
            object("e/", "STANDARD", 0),
            object(too_long, "STANDARD", 1),
        ];
        Answer::new(
            200,
            format!(
                "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>",
                objects.concat()
            ),
        )
    })
    .await;
    let listing = list(&bucket(&server.url, "")).await;
    let archived: Vec<_> = listing.entries.iter().map(|entry| entry.archived).collect();
    assert_eq!(archived, [false, true, false, true]);
    assert_eq!(
        listing.entries[3].storage_class.as_deref(),
        Some("DEEP_ARCHIVE")
    );
    assert_eq!(listing.entries[0].object.etag, None, "a weak tag is no tag");
    assert_eq!(
        listing.entries[0].object.last_modified_ms, 1_767_225_600_000,
        "as a GET will tell it"
    );
    assert_eq!(listing.skipped[&SkipReason::FolderMarker].count, 1);
    assert_eq!(
        listing.skipped[&SkipReason::TooLong].count,
        1,
        "no rope holds it"
    );
}

#[tokio::test]
async fn a_service_that_is_busy_or_breaks_off_is_asked_again() {
    let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    for fault in [
        Answer::error(503, "SlowDown", "Reduce your request rate"),
        Answer::new(429, "too many"),
        Answer::new(502, "<html>bad gateway</html>"),
        Answer::error(200, "InternalError", "We encountered an internal error"),
        Answer {
            cut: true,
            ..Answer::new(200, "<ListBucketResult><Contents>".repeat(100))
        },
    ] {
        let lister = Lister {
            faults: AtomicUsize::new(2),
            fault: fault.clone(),
            ..Lister::new(all.clone())
        };
        let server = serve(lister).await;
        let listing = list(&bucket(&server.url, "")).await;
        assert_eq!(listing.entries.len(), 10, "{fault:?}");
        assert_eq!(server.seen().len(), 3, "{fault:?}");
    }
}

/// Credentials that rotate while a large bucket is listed, and a service that is away for longer than its first answer is waited for.
#[tokio::test]
async fn what_has_come_of_a_listing_is_worth_more_tries() {
    for (fault, times) in [
        (Answer::error(403, "InvalidAccessKeyId", "rotated"), 1),
        (Answer::error(400, "ExpiredToken", "rotated"), 1),
        (Answer::error(503, "ServiceUnavailable", "moving"), 5),
    ] {
        let lister = Lister::new((0..1_500).map(|n| format!("{n:05}")));
        let (left, told) = (AtomicUsize::new(times), fault.clone());
        let server = Server::start(move |request| {
            let is_second = !request.query("continuation-token").is_empty();
            let is_due = || {
                let less = |left: usize| left.checked_sub(1);
                left.try_update(Ordering::SeqCst, Ordering::SeqCst, less)
                    .is_ok()
            };
            match is_second && is_due() {
                true => told.clone(),
                false => lister.answer(request),
            }
        })
        .await;
        let listing = list(&bucket(&server.url, "")).await;
        assert_eq!(listing.entries.len(), 1_500, "{fault:?}");
        assert_eq!(server.seen().len(), 3 + times, "{fault:?}");
    }
}

#[tokio::test]
async fn a_listing_that_fails_on_its_way_is_an_error() {
    let lister = Lister::new((0..5_000).map(|n| format!("{n:05}")));
    let server = Server::start(move |request| match request.query("continuation-token") {
        "3000" => Answer::error(403, "AccessDenied", "no more"),
        _ => lister.answer(request),
    })
    .await;
    let error = bucket(&server.url, "").list(&|_, _| {}).await.unwrap_err();
    assert_eq!(error.reason(), "AccessDenied");
}

#[tokio::test]
async fn a_service_that_never_moves_on_is_an_error() {
    for next in [
        "<NextContinuationToken>same</NextContinuationToken>",
        "",
        "<NextContinuationToken/>",
    ] {
        let server = Server::start(move |_| {
            Answer::new(
                200,
                format!(
                    "<ListBucketResult><IsTruncated>true</IsTruncated>{next}</ListBucketResult>"
                ),
            )
        })
        .await;
        let error = bucket(&server.url, "").list(&|_, _| {}).await.unwrap_err();
        assert_eq!(error.reason(), "ListingInvalid", "{next}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_back_is_avoided_by_a_shorter_page() {
    // SeaweedFS makes tokens of keys; XML turns a control character in one into U+FFFD.
    let mut all: Vec<String> = (0..2_500).map(|n| format!("{n:05}")).collect();
    all[999] = "00998\u{1}".to_owned();
    let server = {
        let all = all.clone();
        Server::start(move |request| {
            let token = request.query("continuation-token");
            assert!(!token.contains('\u{fffd}'), "a broken token was sent back");
            let start = all.iter().position(|key| key.as_str() > token).unwrap_or(all.len());
            let end = all.len().min(start + request.query("max-keys").parse::<usize>().unwrap());
            let object = |key: &String| {
                let key = key.replace('\u{1}', "%01");
                format!("<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>")
            };
            let next = if end == all.len() { String::new() } else { all[end - 1].replace('\u{1}', "\u{fffd}") };
            Answer::new(
                200,
                format!(
                    "<ListBucketResult>{}<IsTruncated>{}</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>\
                     <EncodingType>url</EncodingType></ListBucketResult>",
                    all[start..end].iter().map(object).collect::<String>(),
                    end < all.len(),
                ),
            )
        })
        .await
    };
    let listing = list(&bucket(&server.url, "")).await;
    assert_eq!(listing.entries.len(), 2_499);
    assert_eq!(listing.skipped[&SkipReason::ControlCharacter].count, 1);
}

#[tokio::test]
async fn pinned_versions_list_the_newest_of_each_key() {
    let server = Server::start(|request| {
        assert!(request.query.contains_key("versions") && !request.query.contains_key("list-type"));
        let version = |key, id, latest| {
            format!(
                "<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest><Size>1</Size>\
                 <LastModified>2026-01-01T00:00:00Z</LastModified><ETag>\"{id}\"</ETag></Version>"
            )
        };
        let (body, more) = match (request.query("key-marker"), request.query("version-id-marker")) {
            ("", "") => (version("a", "a2", true), "<NextKeyMarker>a</NextKeyMarker><NextVersionIdMarker>a2</NextVersionIdMarker>"),
            ("a", "a2") => (version("a", "a1", false), "<NextKeyMarker>a</NextKeyMarker><NextVersionIdMarker>a1</NextVersionIdMarker>"),
            ("a", "a1") => (version("b", "null", true), ""),
            other => panic!("{other:?}"),
        };
        Answer::new(
            200,
            format!("<ListVersionsResult><IsTruncated>{}</IsTruncated>{more}{body}</ListVersionsResult>", !more.is_empty()),
        )
    })
    .await;
    let mut spec = bucket_spec(&server.url, "", false);
    spec.s3.as_mut().unwrap().versions = Some(vdt_crds::Versions::Pinned);
    let listing = list(&Source::open(&spec, &SourceEnv::default()).unwrap()).await;
    let versions: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| (&*entry.object.key, entry.object.version.as_deref()))
        .collect();
    assert_eq!(versions, [("a", Some("a2")), ("b", Some("null"))]);
}

#[tokio::test]
async fn a_marker_that_is_not_utf8_is_avoided_by_a_shorter_page() {
    // 1,500 keys, the last of the first page not UTF-8.
    let key = |n: usize| match n {
        999 => "00998%FF".to_owned(),
        n => format!("{n:05}"),
    };
    let server = Server::start(move |request| {
        let marker = request.query("key-marker");
        assert!(
            !marker.contains('\u{fffd}'),
            "a broken marker was sent back"
        );
        let start = marker.parse::<usize>().map_or(0, |last| last + 1);
        let end = 1_500.min(start + request.query("max-keys").parse::<usize>().unwrap());
        let version = |n| {
            format!(
                "<Version><Key>{}</Key><VersionId>v</VersionId><IsLatest>true</IsLatest><Size>1</Size>\
                 <LastModified>2026-01-01T00:00:00Z</LastModified></Version>",
                key(n)
            )
        };
        Answer::new(
            200,
            format!(
                "<ListVersionsResult>{}<IsTruncated>{}</IsTruncated><NextKeyMarker>{}</NextKeyMarker>\
                 <EncodingType>url</EncodingType></ListVersionsResult>",
                (start..end).map(version).collect::<String>(),
                end < 1_500,
                key(end - 1),
            ),
        )
    })
    .await;
    let mut spec = bucket_spec(&server.url, "", false);
    spec.s3.as_mut().unwrap().versions = Some(vdt_crds::Versions::Pinned);
    let listing = list(&Source::open(&spec, &SourceEnv::default()).unwrap()).await;
    assert_eq!(listing.entries.len(), 1_499);
    assert_eq!(listing.skipped[&SkipReason::NotUtf8].count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_folder_that_is_not_utf8_are_counted_where_folders_are_listed_apart() {
    let mut all: Vec<String> = (0..4)
        .flat_map(|f| (0..600).map(move |n| format!("f{f}/{n:04}")))
        .collect();
    // Written as a byte that no UTF-8 has.
    all.extend(["zNOTUTF8/1".to_owned(), "zNOTUTF8/2".to_owned()]);
    let lister = Lister::new(sorted(all));
    let server = Server::start(move |request| {
        let answer = lister.answer(request);
        let body = String::from_utf8(answer.body).unwrap();
        Answer::new(200, body.replace("NOTUTF8", "%FF"))
    })
    .await;
    let listing = list(&bucket(&server.url, "")).await;
    assert_eq!(listing.entries.len(), 2_400);
    assert_eq!(listing.skipped[&SkipReason::NotUtf8].count, 2);
    assert!(
        server
            .seen()
            .iter()
            .any(|request| request.query("delimiter") == "/"),
        "dividing was tried"
    );
}

#[tokio::test]
async fn dropping_a_listing_stops_it() {
    let lister = Lister::new((0..200_000).map(|n| format!("{n:06}")));
    let server = serve(lister).await;
    let source = bucket(&server.url, "");
    let soon = std::time::Duration::from_millis(300);
    assert!(
        tokio::time::timeout(soon, source.list(&|_, _| {}))
            .await
            .is_err(),
        "the listing was too quick to be dropped"
    );
    tokio::time::sleep(soon).await;
    let seen = server.seen().len();
    tokio::time::sleep(soon).await;
    assert_eq!(server.seen().len(), seen);
}
