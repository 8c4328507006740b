//! The credentials of the HTTP dialect: `Authorization: Bearer <token>` (RFC 6750), or `Basic` (RFC 7617) with the token as password.
//!
//! Browsers, file managers and most WebDAV clients can only ask for a user name and a password, so Basic is taken too. Its user name is not looked at.

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;

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
        let text = String::from_utf8(base64(rest)?).ok()?;
        let (_, password) = text.split_once(':')?;
        Some(password.to_owned())
    };
    match parsed() {
        Some(token) if values.next().is_none() && !token.is_empty() => Presented::Token(token),
        _ => Presented::Unknown,
    }
}

/// Decodes base64 (RFC 4648 4), with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        if group.len() == 1 {
            return None;
        }
        let mut bits = 0_u32;
        for at in 0..4 {
            let value = match group.get(at) {
                None => 0,
                Some(digit @ b'A'..=b'Z') => digit - b'A',
                Some(digit @ b'a'..=b'z') => digit - b'a' + 26,
                Some(digit @ b'0'..=b'9') => digit - b'0' + 52,
                Some(b'+') => 62,
                Some(b'/') => 63,
                Some(_) => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let [_, three @ ..] = bits.to_be_bytes();
        bytes.extend_from_slice(three.get(..group.len() - 1)?);
    }
    Some(bytes)
}

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
