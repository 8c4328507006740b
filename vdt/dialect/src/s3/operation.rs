//! Which operation of S3 a request is, by method, path and query alone.

use ::http::{Method, Uri};

use crate::metrics::Operation;

/// Queries that make a GET of an object something else. None of them is served.
const OBJECT_SUBRESOURCES: [&str; 7] = [
    "acl",
    "attributes",
    "legal-hold",
    "retention",
    "tagging",
    "torrent",
    "uploadId",
];

/// Classifies a request. Subresources of buckets are left to s3s, which answers 501 for those that are not served.
pub(crate) fn classify(method: &Method, uri: &Uri) -> Operation {
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    let key = path
        .split_once('/')
        .map(|(_, key)| key)
        .filter(|key| !key.is_empty());
    let read = match (path.is_empty(), key) {
        (true, _) => Operation::ListBuckets,
        (false, None) if has(uri, "location") => Operation::GetBucketLocation,
        (false, None) => Operation::ListObjects,
        (false, Some(_)) if OBJECT_SUBRESOURCES.iter().any(|name| has(uri, name)) => {
            Operation::Unknown
        }
        (false, Some(_)) => Operation::GetObject,
    };
    match *method {
        Method::GET => read,
        Method::HEAD => match read {
            Operation::GetObject => Operation::HeadObject,
            Operation::ListObjects | Operation::GetBucketLocation => Operation::HeadBucket,
            other => other,
        },
        Method::PUT | Method::POST | Method::DELETE => Operation::Write,
        Method::OPTIONS => Operation::Options,
        _ => Operation::Unknown,
    }
}

/// Says whether a request of the root lists a bucket that is named by the host.
pub(crate) fn is_of_host(uri: &Uri) -> bool {
    uri.path() == "/" && has(uri, "list-type")
}

/// Which part of an object is asked for, if one is.
pub(crate) fn part(uri: &Uri) -> Option<&str> {
    let mut parameters = parameters(uri);
    parameters.find_map(|(name, value)| (name == "partNumber").then_some(value))
}

fn has(uri: &Uri, name: &str) -> bool {
    parameters(uri).any(|(key, _)| key == name)
}

/// The query's parameters as written, name and value.
pub(crate) fn parameters(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_classified_by_method_path_and_query() {
        let cases = [
            ("GET", "/", Operation::ListBuckets),
            ("GET", "/main", Operation::ListObjects),
            (
                "GET",
                "/main/?list-type=2&prefix=t/",
                Operation::ListObjects,
            ),
            ("GET", "/main?location", Operation::GetBucketLocation),
            ("HEAD", "/main", Operation::HeadBucket),
            ("GET", "/main/t/a.json", Operation::GetObject),
            ("GET", "/main/t/a.json?x-id=GetObject", Operation::GetObject),
            ("GET", "/main/t/a.json?partNumber=1", Operation::GetObject),
            ("HEAD", "/main/t/a.json", Operation::HeadObject),
            ("GET", "/main/t/a.json?tagging", Operation::Unknown),
            ("PUT", "/main/t/a.json", Operation::Write),
            ("POST", "/main?delete", Operation::Write),
            ("DELETE", "/main", Operation::Write),
            ("OPTIONS", "/main/t", Operation::Options),
            ("PATCH", "/main/t", Operation::Unknown),
        ];
        for (method, uri, expected) in cases {
            let method: Method = method.parse().expect("a method");
            assert_eq!(
                classify(&method, &uri.parse().expect("a uri")),
                expected,
                "{method} {uri}"
            );
        }
    }
}
