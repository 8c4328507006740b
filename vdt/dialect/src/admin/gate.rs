//! Who may see the admin surface beyond metrics and health.
//!
//! Two ways in:
//! - **from this machine**: a TCP peer that is `127.0.0.1` or `::1` (`kubectl port-forward` arrives so), or a Unix socket, without signs of a proxy
//!   in between. Other loopback addresses are not trusted: service meshes deliver strangers' connections from `127.0.0.6`.
//! - **with a bearer token**: see [`Tokens`]. A request that carries one is judged by it alone.
//!
//! A browser on this machine also runs what others wrote, so local requests pass three more checks: the `Host` is a loopback name
//! (a foreign name that resolves to loopback is DNS rebinding), an `Origin` is exactly that host, and fetches that the browser calls cross-site are
//! refused. Programs send neither `Origin` nor `Sec-Fetch-Site`, browsers send both with every POST.
//!
//! Refuses by default: without a known peer, nobody comes in. Nothing is awaited but the key files, and nothing is kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ::http::header::{
    AUTHORIZATION, CACHE_CONTROL, FORWARDED, ORIGIN, REFERRER_POLICY, VIA, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use super::{error, token::Tokens};
use crate::access::Host;
use crate::listener::Peer;

/// Paths that everybody may ask for: probes come from the node, scrapes from another namespace.
const OPEN: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers by which a proxy shows itself.
const PROXIES: [HeaderName; 5] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
];

/// Decides who may see the page, ask `/api/` and refresh. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    tokens: Option<Arc<Tokens>>,
}

/// Why somebody does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// No token, and not from this machine.
    Stranger,
    /// A token that does not hold.
    BadToken,
    /// From this machine, through a proxy.
    Proxied,
    /// From this machine, under a name that is not its own.
    ForeignHost,
    /// From this machine, on behalf of another site.
    ForeignSite,
}

impl Gate {
    /// A gate for this machine only.
    #[must_use]
    pub fn local() -> Self {
        Self::default()
    }

    /// A gate that opens for bearers of `tokens` too.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        Self {
            tokens: Some(Arc::new(tokens)),
        }
    }

    /// Opens for bearers of tokens to any of `audiences` from now on, where it opens for bearers of tokens at all.
    pub fn redeclare(&self, audiences: &[String]) {
        if let Some(tokens) = &self.tokens {
            tokens.redeclare(audiences);
        }
    }

    /// Puts the gate before every route of `router` but metrics and health. Needs the [`Peer`] that this crate's listeners give to each request.
    pub fn protect(self, router: Router) -> Router {
        router.layer(from_fn(move |request: Request, next: Next| {
            let gate = self.clone();
            async move { gate.pass(request, next).await }
        }))
    }

    async fn pass(&self, request: Request, next: Next) -> Response {
        if OPEN.contains(&request.uri().path()) {
            return next.run(request).await;
        }
        let peer = request.extensions().get::<Peer>().copied();
        let mut response = match self.admits(peer, request.uri(), request.headers()).await {
            Ok(()) => next.run(request).await,
            Err(refusal) => {
                tracing::debug!(?peer, ?refusal, path = request.uri().path(), "refused");
                refusal.answer()
            }
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        );
        response
    }

    async fn admits(
        &self,
        peer: Option<Peer>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if headers.contains_key(AUTHORIZATION) {
            let Some(tokens) = &self.tokens else {
                return Err(Refusal::BadToken);
            };
            let held = tokens.admit(headers).await;
            return if held { Ok(()) } else { Err(Refusal::BadToken) };
        }
        if !peer.is_some_and(is_here) {
            return Err(Refusal::Stranger);
        }
        if PROXIES.iter().any(|name| headers.contains_key(name)) {
            return Err(Refusal::Proxied);
        }
        let Host::Own(host) = Host::of(uri, headers) else {
            return Err(Refusal::ForeignHost);
        };
        let same_origin = |origin: &HeaderValue| {
            let origin = origin.to_str().unwrap_or_default();
            origin
                .strip_prefix("http://")
                .is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        };
        let same_site = |site: &HeaderValue| site == "same-origin" || site == "none";
        if !headers.get_all(ORIGIN).iter().all(same_origin)
            || !headers.get_all(SEC_FETCH_SITE).iter().all(same_site)
        {
            return Err(Refusal::ForeignSite);
        }
        Ok(())
    }
}

/// Whether the client runs on this machine, as far as the connection tells.
fn is_here(peer: Peer) -> bool {
    match peer {
        Peer::Tcp(address) => match address.ip().to_canonical() {
            IpAddr::V4(address) => address == Ipv4Addr::LOCALHOST,
            IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST,
        },
        Peer::Unix { .. } => true,
    }
}

impl Refusal {
    fn answer(self) -> Response {
        let (status, message) = match self {
            Self::Stranger => (
                StatusCode::UNAUTHORIZED,
                "this is for the machine itself (kubectl port-forward), or for bearers of a token of the operator",
            ),
            Self::BadToken => (
                StatusCode::UNAUTHORIZED,
                "the token does not hold: EdDSA, aud <namespace>/<name>, iat and exp at most 60 s apart, by a key of --admin-keys",
            ),
            Self::Proxied => (
                StatusCode::FORBIDDEN,
                "a proxy stands between; ask directly, or with a token",
            ),
            Self::ForeignHost => (
                StatusCode::FORBIDDEN,
                "ask for localhost or a loopback address by that name",
            ),
            Self::ForeignSite => (
                StatusCode::FORBIDDEN,
                "another site may not ask in a browser's name",
            ),
        };
        let mut response = error(status, message);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"vdt admin\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn verdict(peer: Option<&str>, headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let peer = peer.map(|peer| Peer::Tcp(peer.parse().unwrap()));
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let uri = Uri::from_static("/api/v1/tables");
        Gate::local().admits(peer, &uri, &headers).await
    }

    const HERE: Option<&str> = Some("127.0.0.1:50000");

    #[tokio::test]
    async fn this_machine_comes_in_by_its_own_names() {
        for (peer, host) in [
            ("127.0.0.1:50000", "127.0.0.1:8081"),
            ("127.0.0.1:50000", "localhost:9000"),
            ("127.0.0.1:50000", "LocalHost"),
            ("[::1]:50000", "[::1]:8081"),
            ("[::ffff:127.0.0.1]:50000", "localhost"),
        ] {
            let came = verdict(Some(peer), &[("host", host)]).await;
            assert_eq!(came, Ok(()), "{peer} {host}");
        }
    }

    #[tokio::test]
    async fn others_do_not() {
        let host = [("host", "localhost:8081")];
        for peer in [
            Some("10.1.2.3:50000"),
            Some("127.0.0.6:50000"),
            Some("[fe80::1]:50000"),
            None,
        ] {
            assert_eq!(
                verdict(peer, &host).await,
                Err(Refusal::Stranger),
                "{peer:?}"
            );
        }
    }

    #[tokio::test]
    async fn names_that_resolve_to_loopback_are_refused() {
        for host in [
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "localhost@evil.example",
            "evil.example@localhost",
            "",
        ] {
            let came = verdict(HERE, &[("host", host)]).await;
            assert_eq!(came, Err(Refusal::ForeignHost), "{host:?}");
        }
        assert_eq!(verdict(HERE, &[]).await, Err(Refusal::ForeignHost));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(verdict(HERE, &twice).await, Err(Refusal::ForeignHost));
    }

    #[tokio::test]
    async fn other_sites_are_refused() {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "https://localhost:8081"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let came = verdict(HERE, &[("host", "localhost:8081"), (name, value)]).await;
            assert_eq!(came, Err(Refusal::ForeignSite), "{name} {value}");
        }
        let own = [
            ("host", "localhost:8081"),
            ("origin", "http://localhost:8081"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(verdict(HERE, &own).await, Ok(()));
    }

    #[tokio::test]
    async fn proxies_and_unknown_tokens_are_refused() {
        let proxied = [("host", "localhost"), ("x-forwarded-for", "10.0.0.1")];
        assert_eq!(verdict(HERE, &proxied).await, Err(Refusal::Proxied));
        let token = [("host", "localhost"), ("authorization", "Bearer abc")];
        assert_eq!(verdict(HERE, &token).await, Err(Refusal::BadToken));
    }
}
