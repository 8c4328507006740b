//! Access by keys: AWS Signature Version 4, in the header or presigned, checked by s3s.
//!
//! s3s asks [`Secrets`] for the secret of an access key id, checks the signature (constant time) and the clock (15 minutes; RequestTimeTooSkewed),
//! and then asks [`Signers`], or the route of objects, whether to go on. What s3s would take besides is refused before it: Signature Version 2,
//! presigned URLs of more than a week, the scope of another service.

use std::sync::Arc;

use ::http::Extensions;
use ::http::header::AUTHORIZATION;
use ::http::request::Parts;
use percent_encoding::percent_decode_str;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{Credentials, S3Auth, SecretKey};
use s3s::{S3Error, S3Result, s3_error};

use super::operation::parameters;
use crate::access::{Caller, DENIED, KeyRing, NO_CREDENTIALS};
use crate::edge::{Authenticator, Rejection};
use crate::exchange::Who;
use crate::metrics::DialectLabel;

/// Longest life of a presigned URL, as in S3: a week.
const EXPIRES_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

/// How every signature of version 4 begins.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How a credential's scope ends: the service, then what is asked of it.
const SCOPE: &str = "/s3/aws4_request";

/// Why credentials are of a kind that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A token, or anything else that is no signature.
    Other,
    /// AWS Signature Version 2.
    Version2,
    /// In the header and in the URL.
    Several,
    /// A presigned URL that lives too long.
    TooLong,
    /// Another service's.
    Scope,
}

/// Looks at the form of a request's credentials. None is a form too.
pub(crate) fn check_form(parts: &Parts) -> Result<(), Form> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(Form::Several);
    }
    let mut presigned = false;
    for (name, value) in parameters(&parts.uri) {
        // As s3s reads them: decoded.
        let [name, value] = [name, value].map(|text| percent_decode_str(text).decode_utf8_lossy());
        match &*name {
            "Signature" | "AWSAccessKeyId" => return Err(Form::Version2),
            "X-Amz-Signature" => presigned = true,
            "X-Amz-Expires"
                if value
                    .parse()
                    .is_ok_and(|seconds: u32| seconds > EXPIRES_SECONDS_MAX) =>
            {
                return Err(Form::TooLong);
            }
            "X-Amz-Credential" if !value.ends_with(SCOPE) => return Err(Form::Scope),
            _ => {}
        }
    }
    let Some(header) = header else {
        return Ok(());
    };
    if presigned {
        return Err(Form::Several);
    }
    let text = header.to_str().map_err(|_| Form::Other)?;
    match text.split_once(' ').map_or(text, |(scheme, _)| scheme) {
        ALGORITHM if text.contains(SCOPE) => Ok(()),
        ALGORITHM => Err(Form::Scope),
        "AWS" => Err(Form::Version2),
        _ => Err(Form::Other),
    }
}

/// The secrets, for s3s.
pub(super) struct Secrets {
    ring: Arc<KeyRing>,
}

impl Secrets {
    pub(super) fn new(ring: Arc<KeyRing>) -> Self {
        Self { ring }
    }
}

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.ring.current().secret(access_key) {
            Some(secret) => Ok(secret.clone()),
            None => Err(s3_error!(
                InvalidAccessKeyId,
                "there is no such access key id"
            )),
        }
    }
}

/// Lets signers through to the operations on buckets.
pub(super) struct Signers {
    auth: Authenticator,
}

impl Signers {
    pub(super) fn new(auth: Authenticator) -> Self {
        Self { auth }
    }
}

#[async_trait::async_trait]
impl S3Access for Signers {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let caller = admit(&self.auth, context.credentials())?;
        let extensions = context.extensions_mut();
        introduce(extensions, caller);
        Ok(())
    }
}

/// Decides who a request comes from whose signature, if it has one, was checked.
pub(super) fn admit(auth: &Authenticator, credentials: Option<&Credentials>) -> S3Result<Caller> {
    auth.signer(credentials)
        .map_err(|rejection| match rejection {
            Rejection::Missing => s3_error!(
                AccessDenied,
                "requests must be signed with AWS Signature Version 4"
            ),
            // Known when the signature was checked, and replaced since.
            Rejection::Wrong => s3_error!(InvalidAccessKeyId, "there is no such access key id"),
        })
}

/// Writes down who asks, for what follows and for the log.
pub(super) fn introduce(extensions: &mut Extensions, caller: Caller) {
    if let Some(who) = extensions.get::<Who>() {
        who.set(caller.principal.as_ref());
    }
    extensions.insert(caller);
}

/// Who was introduced.
///
/// # Errors
/// AccessDenied when nobody was, which is anybody only where nobody is asked for credentials.
pub(super) fn caller(auth: &Authenticator, extensions: &Extensions) -> S3Result<Caller> {
    match extensions.get::<Caller>() {
        Some(caller) => Ok(caller.clone()),
        None => admit(auth, None),
    }
}

/// The refusal of what a caller may not read, whether it exists or not.
pub(super) fn denied(auth: &Authenticator, caller: &Caller) -> S3Error {
    auth.denied(DialectLabel::S3);
    if caller.principal.is_some() {
        s3_error!(AccessDenied, "{}", DENIED)
    } else {
        s3_error!(AccessDenied, "{}", NO_CREDENTIALS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Request;

    fn form(uri: &str, authorization: &[&str]) -> Result<(), Form> {
        let mut request = Request::builder().uri(uri);
        for value in authorization {
            request = request.header(AUTHORIZATION, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check_form(&parts)
    }

    #[test]
    fn only_signatures_of_version_4_go_on() {
        const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=A/20240301/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=ab";
        const CREDENTIAL: &str = "X-Amz-Credential=A%2F20240301%2Fus-east-1%2Fs3%2Faws4_request";
        let presigned = format!("/b/k?{CREDENTIAL}&X-Amz-Expires=604800&X-Amz-Signature=ab");
        assert_eq!(form("/b/k", &[]), Ok(()));
        assert_eq!(form("/b/k", &[SIGNED]), Ok(()));
        assert_eq!(form(&presigned, &[]), Ok(()));
        assert_eq!(form(&presigned, &[SIGNED]), Err(Form::Several));
        assert_eq!(form("/b/k", &[SIGNED, SIGNED]), Err(Form::Several));
        assert_eq!(
            form(&presigned.replace("604800", "604801"), &[]),
            Err(Form::TooLong)
        );
        assert_eq!(
            form(&presigned.replace("604800", "%36048000"), &[]),
            Err(Form::TooLong)
        );
        assert_eq!(
            form(&presigned.replace("s3%2F", "sts%2F"), &[]),
            Err(Form::Scope)
        );
        assert_eq!(
            form("/b/k", &[&SIGNED.replace("/s3/", "/sts/")]),
            Err(Form::Scope)
        );
        assert_eq!(form("/b/k", &["AWS A:ab"]), Err(Form::Version2));
        assert_eq!(
            form("/b/k?AWSAccessKeyId=A&Expires=1&Signature=ab", &[]),
            Err(Form::Version2)
        );
        assert_eq!(form("/b/k?%53ignature=ab", &[]), Err(Form::Version2));
        for other in ["Bearer abc", "Basic abc", ""] {
            assert_eq!(form("/b/k", &[other]), Err(Form::Other), "{other}");
        }
    }
}
