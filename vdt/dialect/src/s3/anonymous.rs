//! Anonymous access: everybody may read, also a client that insists on signing.
//!
//! Many clients cannot be told to send no keys, or find some in their environment. So a signature is neither required nor
//! looked at: the headers and query parameters that carry one (SigV4, SigV2, in the header or presigned) are dropped before s3s,
//! which would refuse what it has no keys to check. The session token goes too: nothing may log or keep it.
//!
//! Where keys are asked for, this module is not called and s3s checks the signature over the untouched request.

use ::http::header::{AUTHORIZATION, HeaderName};
use ::http::request::Parts;
use ::http::uri::{PathAndQuery, Uri};

use super::operation::parameters;

const HEADERS: [HeaderName; 6] = [
    AUTHORIZATION,
    HeaderName::from_static("x-amz-content-sha256"),
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-decoded-content-length"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-checksum-mode"),
];

/// Parameters of presigned URLs, lower case: SigV4's, then SigV2's.
const PARAMETERS: [&str; 10] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "awsaccesskeyid",
    "expires",
    "signature",
];

/// Takes every trace of a signature out of a request.
pub(crate) fn drop_signature(parts: &mut Parts) {
    for name in HEADERS {
        parts.headers.remove(name);
    }
    if !parameters(&parts.uri).any(is_signature) {
        return;
    }
    let kept: Vec<String> = parameters(&parts.uri)
        .filter(|parameter| !is_signature(*parameter))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let path = parts.uri.path();
    let text = if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", kept.join("&"))
    };
    // Parts of a valid URI are a valid URI; if not, s3s refuses the signed one.
    if let Ok(path_and_query) = PathAndQuery::try_from(text) {
        parts.uri = Uri::from(path_and_query);
    }
}

fn is_signature((name, _): (&str, &str)) -> bool {
    PARAMETERS
        .iter()
        .any(|parameter| name.eq_ignore_ascii_case(parameter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Request;

    #[test]
    fn presigned_parameters_go_and_the_rest_stays_as_written() {
        let cases = [
            (
                "/b/k?X-Amz-Signature=ab&x-id=GetObject&X-Amz-Credential=a%2Fb",
                "/b/k?x-id=GetObject",
            ),
            ("/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", "/b/k"),
            ("/b?list-type=2&prefix=a%2Fb", "/b?list-type=2&prefix=a%2Fb"),
        ];
        for (uri, expected) in cases {
            let request = Request::builder()
                .uri(uri)
                .header("authorization", "AWS4-HMAC-SHA256 nonsense")
                .header("range", "bytes=0-1")
                .body(())
                .expect("a request");
            let (mut parts, ()) = request.into_parts();
            drop_signature(&mut parts);
            assert_eq!(parts.uri.to_string(), expected);
            assert_eq!(parts.headers.keys().collect::<Vec<_>>(), ["range"]);
        }
    }
}
