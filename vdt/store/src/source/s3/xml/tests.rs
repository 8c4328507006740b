#![allow(clippy::unwrap_used)]

use super::*;

/// As AWS documents and sends it.
const AWS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>corp</Name><Prefix>manuals/</Prefix><NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=</NextContinuationToken><KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><Contents><Key>manuals/a+b%2Bc%25%0A.pdf</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>434234</Size><StorageClass>STANDARD</StorageClass></Contents><Contents><Key>manuals/%E6%97%A5.pdf</Key><LastModified>2009-10-12T17:50:30.123Z</LastModified><ETag>"0c8b4ef1-2"</ETag><Size>0</Size><Owner><ID>8a6925ce</ID><DisplayName>x</DisplayName></Owner><StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents><CommonPrefixes><Prefix>manuals/old+ones/</Prefix></CommonPrefixes></ListBucketResult>"#;

/// As SeaweedFS sends it: `EncodingType` comes last.
const SEAWEED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>probe</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>+lead</Key><ETag>&#34;fb0e22c79ac75679e9881e6ba183b354&#34;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass><LastModified>2026-11-24T05:34:31Z</LastModified></Contents><Contents><Key>a%2Bb</Key><ETag>&#34;fb0e22c79ac75679e9881e6ba183b354&#34;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass><LastModified>2026-11-24T05:34:31Z</LastModified></Contents><EncodingType>url</EncodingType><KeyCount>2</KeyCount></ListBucketResult>"#;

const VERSIONS: &str = r#"<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a%20b</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker><EncodingType>url</EncodingType><Version><Key>a%20b</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest><Size>1</Size><LastModified>2026-11-24T05:34:31Z</LastModified><ETag>"e"</ETag></Version><Version><Key>a%20b</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest><Size>1</Size><LastModified>2026-11-24T05:34:30Z</LastModified><ETag>W/"e"</ETag></Version><DeleteMarker><Key>gone</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest><LastModified>2026-11-24T05:34:30Z</LastModified></DeleteMarker></ListVersionsResult>"#;

/// Reads a page whose keys are encoded as it tells, or as AWS does.
fn page(body: &[u8]) -> Result<Page, Failure> {
    let page = super::page(body)?;
    let encoding = page.encoding().unwrap_or(KeyEncoding::Form);
    Ok(page.decode(encoding))
}

fn keys(page: &Page) -> Vec<&str> {
    page.objects
        .iter()
        .map(|object| str::from_utf8(&object.key).unwrap())
        .collect()
}

fn one_key(key: &str, encoding: &str) -> Result<Page, Failure> {
    page(
        format!(
            "<ListBucketResult>{encoding}<IsTruncated>false</IsTruncated><Contents><Key>{key}</Key><Size>1</Size>\
             <LastModified>2026-11-24T05:34:31Z</LastModified></Contents></ListBucketResult>"
        )
        .as_bytes(),
    )
}

#[test]
fn a_page_of_aws() {
    let page = page(AWS.as_bytes()).unwrap();
    assert_eq!(keys(&page), ["manuals/a b+c%\n.pdf", "manuals/日.pdf"]);
    assert_eq!(page.prefixes, ["manuals/old ones/"]);
    assert!(page.truncated);
    assert_eq!(
        page.next.as_deref(),
        Some("1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=")
    );
    let first = &page.objects[0];
    assert_eq!(
        (first.size, first.last_modified_ms),
        (434_234, 1_255_369_830_000)
    );
    assert_eq!(
        first.etag.as_deref(),
        Some("fba9dede5f27731c9771645a39863328")
    );
    let second = &page.objects[1];
    assert_eq!(
        (second.size, second.last_modified_ms),
        (0, 1_255_369_830_123)
    );
    assert_eq!(
        (second.etag.as_deref(), second.storage_class.as_deref()),
        (Some("0c8b4ef1-2"), Some("GLACIER"))
    );
}

#[test]
fn a_page_of_seaweedfs() {
    let page = page(SEAWEED.as_bytes()).unwrap();
    assert_eq!(keys(&page), [" lead", "a+b"]);
    assert_eq!(
        page.objects[0].etag.as_deref(),
        Some("fb0e22c79ac75679e9881e6ba183b354")
    );
    assert_eq!((page.truncated, page.next), (false, None));
}

#[test]
fn a_page_of_versions() {
    let page = page(VERSIONS.as_bytes()).unwrap();
    assert_eq!(keys(&page), ["a b", "a b"]);
    assert_eq!(
        page.objects
            .iter()
            .map(|object| object.latest)
            .collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(page.objects[0].version.as_deref(), Some("v2"));
    assert_eq!(page.objects[1].etag, None, "a weak tag is no tag");
    assert_eq!(
        (page.next.as_deref(), page.next_version.as_deref()),
        (Some("a b"), Some("v1"))
    );
}

#[test]
fn plain_text_keeps_spaces_and_entities() {
    assert_eq!(
        keys(&one_key(" a &amp;&#60;&#x65E5;&apos; ", "").unwrap()),
        [" a &<日' "]
    );
    assert_eq!(
        keys(&one_key("a&#x1;b", "").unwrap())[0]
            .chars()
            .filter(|c| c.is_control())
            .count(),
        1
    );
    assert_eq!(keys(&one_key("<![CDATA[a<b]]>", "").unwrap()), ["a<b"]);
}

#[test]
fn keys_that_are_not_utf8_are_kept_as_bytes() {
    let page = one_key("a%FF", "<EncodingType>url</EncodingType>").unwrap();
    assert_eq!(page.objects[0].key, b"a\xff");
}

#[test]
fn whatever_is_no_whole_listing_is_an_error() {
    for body in [
        "",
        "<html><body>hello</body></html>",
        "not xml",
        "<ListBucketResult>",
    ] {
        assert!(page(body.as_bytes()).is_err(), "{body:?}");
    }
    for cut in 1..AWS.trim_end().len() {
        if AWS.is_char_boundary(cut) {
            assert!(page(&AWS.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }
    for (size, time) in [
        ("x", "2026-11-24T05:34:31Z"),
        ("-1", "2026-11-24T05:34:31Z"),
        ("1", "yesterday"),
    ] {
        let body = format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>{size}</Size>\
             <LastModified>{time}</LastModified></Contents></ListBucketResult>"
        );
        assert!(page(body.as_bytes()).is_err(), "{size} {time}");
    }
}

#[test]
fn a_page_says_whether_it_is_the_last_or_is_none() {
    let told = |inside: &str| {
        page(format!("<ListBucketResult>{inside}</ListBucketResult>").as_bytes())
            .map(|page| page.truncated)
            .map_err(|failure| failure.to_string())
    };
    for (inside, expected) in [
        ("<IsTruncated>false</IsTruncated>", false),
        ("<IsTruncated> True </IsTruncated>", true),
        (
            "<IsTruncated>false</IsTruncated><NextContinuationToken/>",
            false,
        ),
    ] {
        assert_eq!(told(inside), Ok(expected), "{inside}");
    }
    for (inside, expected) in [
        ("", "IsTruncated is missing"),
        ("<IsTruncated/>", "IsTruncated is \"\""),
        ("<IsTruncated>1</IsTruncated>", "IsTruncated is \"1\""),
        (
            "<IsTruncated>false</IsTruncated><NextContinuationToken>a</NextContinuationToken>",
            "says that it is the last",
        ),
    ] {
        let error = told(inside).unwrap_err();
        assert!(error.contains(expected), "{inside}: {error}");
    }
}

#[test]
fn what_is_not_utf8_of_prefixes_is_counted_and_of_markers_is_marked() {
    let body = "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a%FF</NextKeyMarker>\
                <EncodingType>url</EncodingType><CommonPrefixes><Prefix>a%FF/</Prefix></CommonPrefixes>\
                <CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes></ListVersionsResult>";
    let page = page(body.as_bytes()).unwrap();
    assert_eq!(
        (page.prefixes, page.lost_prefixes),
        (vec!["b/".to_owned()], 1)
    );
    assert_eq!(page.next.as_deref(), Some("a\u{fffd}"));
}

#[test]
fn an_error_document_is_read_with_any_status() {
    let body = "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message>\
                <Region>eu-west-1</Region><Resource>/x</Resource></Error>";
    let document = error(body.as_bytes()).unwrap();
    assert_eq!(
        (document.code.as_str(), document.region.as_deref()),
        ("NoSuchBucket", Some("eu-west-1"))
    );
    let late =
        page(b"<Error><Code>InternalError</Code><Message>try again</Message></Error>").unwrap_err();
    assert!(late.is_retryable());
    assert!(error(b"<html/>").is_none() && error(b"bad gateway").is_none());
}

#[test]
fn what_is_passed_over_may_be_nested_however_deep() {
    let deep = 1_000_000;
    let body = format!(
        "<ListBucketResult>{}{}<IsTruncated>false</IsTruncated></ListBucketResult>",
        "<a>".repeat(deep),
        "</a>".repeat(deep)
    );
    assert!(page(body.as_bytes()).unwrap().objects.is_empty());
}

#[test]
fn what_a_service_says_of_an_error_is_cut() {
    let long = "x".repeat(100_000);
    let body = format!("<Error><Code>{long}</Code><Message>{long}</Message></Error>");
    let document = error(body.as_bytes()).unwrap();
    assert_eq!(document.message.len(), MESSAGE_CHARS_MAX + 3);
    assert_eq!(document.code.len(), CODE_CHARS_MAX + 3);
}

#[test]
fn a_size_that_no_object_has_is_refused_with_its_key() {
    let body = |size: &str| {
        format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a/b</Key><Size>{size}</Size>\
             <LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"
        )
    };
    let largest = (i64::MAX as u64).to_string();
    assert!(page(body(&largest).as_bytes()).is_ok());
    for size in ["9223372036854775808", "18446744073709551615", "-1", "x"] {
        let Err(Failure::Answer(told)) = page(body(size).as_bytes()) else {
            panic!("{size} is taken");
        };
        assert!(told.contains("a/b") && told.contains(size), "{told}");
    }
}
