//! A folder as a page, for people: what lies directly in it, its size and its time. No script, no request to anywhere else.

use std::fmt::Write;
use std::sync::LazyLock;

use ::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use ::http::{Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Full;
use object_store::path::Path;
use object_store::{Error, ListResult, ObjectStore};
use quick_xml::escape::escape;
use sha2::{Digest, Sha256};

use super::{ROOT, failed};
use crate::answer::Failure;
use crate::key::encode;
use crate::listings::Listings;
use crate::metrics::DialectLabel;
use crate::surface::{DialectBody, boxed, slow_down};

/// Entries of a page. More are counted, not shown.
const ENTRIES_MAX: usize = 10_000;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}\
th,td{padding:.25rem .75rem .25rem 0;text-align:left;border-bottom:1px solid #8884;vertical-align:top}\
td:first-child{overflow-wrap:anywhere}\
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}";

/// Nothing may be loaded or run; the one style sheet is known by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        BASE64.encode(Sha256::digest(STYLE))
    );
    // Base64 and ours: a valid value.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Reports whether a client asks for HTML by name, as browsers do and other clients do not.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let kind = range.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("text/html")
        })
}

/// Answers a GET of a folder; 404 when nothing lies in it.
pub(super) async fn answer(
    store: &dyn ObjectStore,
    listings: &Listings,
    folder: Option<&Path>,
) -> Response<DialectBody> {
    let permit = listings.permit(folder.map_or("", AsRef::as_ref)).await;
    let Some(_permit) = permit else {
        return slow_down(DialectLabel::Http);
    };
    let listed = match store.list_with_delimiter(folder).await {
        Ok(listed) => listed,
        Err(Error::NotFound { .. }) => ListResult {
            objects: Vec::new(),
            common_prefixes: Vec::new(),
        },
        Err(error) => {
            let failure = Failure::from(error);
            failure.log(folder.unwrap_or(&Path::default()));
            return failed(&failure);
        }
    };
    let empty = listed.objects.is_empty() && listed.common_prefixes.is_empty();
    if empty && folder.is_some() {
        return failed(&Failure::NotFound);
    }
    let mut response = Response::new(boxed(Full::from(render(folder, listed))));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (VARY, "accept"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

fn render(folder: Option<&Path>, mut listed: ListResult) -> String {
    let title = folder.map_or_else(|| "/".to_owned(), |folder| format!("/{folder}/"));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>",
        escape(&title)
    );
    crumbs(&mut page, folder);
    page.push_str("</h1>\n<table>\n<thead><tr><th>Name</th><th>Size</th><th>Modified</th></tr></thead>\n<tbody>\n");
    listed.common_prefixes.sort_unstable();
    listed
        .objects
        .sort_unstable_by(|a, b| a.location.cmp(&b.location));
    let count = listed.common_prefixes.len() + listed.objects.len();
    for prefix in listed.common_prefixes.iter().take(ENTRIES_MAX) {
        let name = prefix.filename().unwrap_or_default();
        row(
            &mut page,
            &format!("{prefix}/"),
            &format!("{name}/"),
            "",
            "",
        );
    }
    let left = ENTRIES_MAX.saturating_sub(listed.common_prefixes.len());
    for meta in listed.objects.iter().take(left) {
        let name = meta.location.filename().unwrap_or_default();
        let modified = meta.last_modified.format("%Y-%m-%d %H:%M:%S UTC");
        row(
            &mut page,
            meta.location.as_ref(),
            name,
            &grouped(meta.size),
            &modified.to_string(),
        );
    }
    page.push_str("</tbody>\n</table>\n");
    if count > ENTRIES_MAX {
        // Writing to a String does not fail.
        let _ = writeln!(page, "<p>and {} more</p>", count - ENTRIES_MAX);
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// Links to the folder's ancestors.
fn crumbs(page: &mut String, folder: Option<&Path>) {
    let _ = write!(page, "<a href=\"{ROOT}/\">{}</a>/", &ROOT[1..]);
    let mut href = String::new();
    for part in folder.iter().flat_map(|folder| folder.parts()) {
        let _ = write!(href, "{}/", part.as_ref());
        let _ = write!(
            page,
            "<a href=\"{ROOT}/{}\">{}</a>/",
            encode(&href),
            escape(part.as_ref())
        );
    }
}

fn row(page: &mut String, target: &str, name: &str, size: &str, modified: &str) {
    // The target is percent-encoded and so needs no escaping.
    let _ = writeln!(
        page,
        "<tr><td><a href=\"{ROOT}/{}\">{}</a></td><td class=\"n\">{size}</td><td class=\"n\">{modified}</td></tr>",
        encode(target),
        escape(name)
    );
}

/// A number with a narrow space between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_ask_for_html_by_name() {
        let wanted = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(value).expect("a value"));
            is_wanted(&headers)
        };
        assert!(wanted(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        ));
        assert!(wanted("*/*, TEXT/HTML;q=0.5"));
        for other in ["*/*", "application/xml, text/xml", "text/htmlx", "text/*"] {
            assert!(!wanted(other), "{other}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn the_style_is_allowed_by_its_hash_in_base64() {
        let policy = POLICY.to_str().expect("ascii");
        let hash = policy.split("'sha256-").nth(1).expect("a hash");
        let (hash, rest) = hash.split_once('\'').expect("an end");
        let digest = BASE64.decode(hash).expect("base64");
        assert_eq!(digest, Sha256::digest(STYLE).as_slice());
        assert!(policy.starts_with("default-src 'none'; style-src ") && rest.starts_with(';'));
    }

    #[test]
    fn names_are_text_and_never_markup() {
        let mut page = String::new();
        let folder = Path::parse("<a href='x'>&\"").expect("a path");
        crumbs(&mut page, Some(&folder));
        assert!(
            page.ends_with(">&lt;a href=&apos;x&apos;&gt;&amp;&quot;</a>/"),
            "{page}"
        );
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12), "12");
    }
}
