//! The credentials of the HTTP dialect: `Authorization: Bearer <token>` (RFC 6750), or `Basic` (RFC 7617) with the token as password.
//!
//! Browsers, file managers and most WebDAV clients can only ask for a user name and a password, so Basic is taken too. Its user name is not looked at.

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    /// No Authorization.
    Nothing,
    /// A token.
    Token(String),
    /// Something else: another scheme, two headers, broken base64.
    Unknown,
}

/// Finds the token of a request.
pub(crate) fn presented(headers: &HeaderMap) -> Presented {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Presented::Nothing;
    };
    let parsed = || {
        let (scheme, rest) = value.to_str().ok()?.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(rest.to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
        let (_, password) = text.split_once(':')?;
        Some(password.to_owned())
    };
    match parsed() {
        Some(token) if values.next().is_none() && !token.is_empty() => Presented::Token(token),
        _ => Presented::Unknown,
    }
}

/// Base64 (RFC 4648 4), with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    fn of(values: &[&str]) -> Presented {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                AUTHORIZATION,
                HeaderValue::from_str(value).expect("a value"),
            );
        }
        presented(&headers)
    }

    #[test]
    fn tokens_are_found_in_both_schemes() {
        let token = |text: &str| Presented::Token(text.to_owned());
        assert_eq!(of(&[]), Presented::Nothing);
        assert_eq!(of(&["Bearer abc.d-e_f"]), token("abc.d-e_f"));
        assert_eq!(of(&["bearer  abc "]), token("abc"));
        // user:pass:word, :pass, and without padding.
        assert_eq!(of(&["Basic dXNlcjpwYXNzOndvcmQ="]), token("pass:word"));
        assert_eq!(of(&["basic OnBhc3M="]), token("pass"));
        assert_eq!(of(&["Basic OnBhc3M"]), token("pass"));
        for unknown in [
            "Bearer",
            "Bearer ",
            "Basic dXNlcg==",
            "Basic dXNlcjo=",
            "Basic !",
            "Basic A",
            "Digest x",
            "AWS4-HMAC-SHA256 Credential=a",
            "Basic /////w==",
        ] {
            assert_eq!(of(&[unknown]), Presented::Unknown, "{unknown}");
        }
        assert_eq!(of(&["Bearer a", "Bearer b"]), Presented::Unknown);
    }
}
