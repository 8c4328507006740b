//! What stands in front of the dialects: who may read, and how much at a time.

use std::sync::Arc;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, Uri};
use s3s::auth::Credentials;

use crate::access::{Access, Caller, Host, OwnNames, Presented, Ring, presented};
use crate::listener::Limits;
use crate::metrics::{DialectLabel, HttpMetrics, Refused};
use crate::request::Drains;

/// What stands in front of the dialects. The default: everybody reads everything, default limits, requests are logged.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Who may read.
    pub access: Access,
    /// Whether who shows no credentials must name this machine. Not required by default.
    pub own_names: Arc<OwnNames>,
    /// Of these `requests_in_flight`, `bytes_in_flight` and `hold_timeout`; the others are the listener's.
    pub limits: Limits,
    /// Whether each request is logged when it ends, as an event of target `vdt::access`.
    pub access_log: bool,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            access: Access::Everything,
            own_names: Arc::default(),
            limits: Limits::default(),
            access_log: true,
        }
    }
}

/// Seconds after which a client that was turned away may come again. The whole of what clients look at, if they do.
pub(crate) const RETRY_AFTER_SECONDS: u64 = 1;

/// Says who a request of either dialect comes from, and counts those that are refused for it.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    pub(crate) access: Access,
    own_names: Arc<OwnNames>,
    pub(crate) metrics: HttpMetrics,
    /// One for all dialects, as the requests in flight are.
    pub(crate) drains: Arc<Drains>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// No credentials, where there must be some.
    Missing,
    /// Credentials that are not known, or of a kind that is not taken.
    Wrong,
}

impl Authenticator {
    pub(crate) fn new(access: Access, own_names: Arc<OwnNames>, metrics: HttpMetrics) -> Self {
        Self {
            access,
            own_names,
            metrics,
            drains: Arc::default(),
        }
    }

    /// The foreign name that keeps a request out, if one does. Credentials are judged by themselves where any are asked for: they hold by every name.
    pub(crate) fn foreign_host<'a>(
        &self,
        uri: &'a Uri,
        headers: &'a HeaderMap,
    ) -> Option<&'a [u8]> {
        let is_judged =
            matches!(self.access, Access::Keys(_)) && headers.contains_key(AUTHORIZATION);
        if is_judged || !self.own_names.are_required() {
            return None;
        }
        match Host::of(uri, headers) {
            Host::Absent | Host::Own(_) => None,
            Host::Foreign(host) => Some(host),
        }
    }

    /// Who a request of the HTTP dialect comes from.
    pub(crate) fn bearer(&self, headers: &HeaderMap) -> Result<Caller, Rejection> {
        let ring = match self.ring() {
            Ok(ring) => ring,
            Err(anybody) => return Ok(anybody),
        };
        let caller = match presented(headers) {
            Presented::Nothing => ring.stranger().ok_or(Rejection::Missing),
            Presented::Token(token) => ring.bearer(&token).ok_or(Rejection::Wrong),
            Presented::Unknown => Err(Rejection::Wrong),
        };
        if caller.is_err() {
            self.unauthenticated(DialectLabel::Http);
        }
        caller
    }

    /// Who a request of the S3 dialect comes from, whose signature was checked with `credentials`.
    pub(crate) fn signer(&self, credentials: Option<&Credentials>) -> Result<Caller, Rejection> {
        let ring = match self.ring() {
            Ok(ring) => ring,
            Err(anybody) => return Ok(anybody),
        };
        match credentials {
            None => ring.stranger().ok_or(Rejection::Missing),
            Some(credentials) => ring
                .signer(&credentials.access_key, &credentials.secret_key)
                .ok_or(Rejection::Wrong),
        }
    }

    /// The principals by whom credentials are judged; where none are asked for, who everybody is.
    fn ring(&self) -> Result<Arc<Ring>, Caller> {
        match &self.access {
            Access::Everything => Err(Caller::of_everything()),
            Access::Anonymous(public) => Err(Caller::anybody(public.current())),
            Access::Keys(ring) => Ok(ring.current()),
        }
    }

    pub(crate) fn unauthenticated(&self, dialect: DialectLabel) {
        self.metrics.refused(dialect, Refused::Unauthenticated);
    }

    pub(crate) fn denied(&self, dialect: DialectLabel) {
        self.metrics.refused(dialect, Refused::Denied);
    }
}
