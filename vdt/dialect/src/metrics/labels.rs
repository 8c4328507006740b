//! Labels of the metrics: fixed sets all of them.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

/// A protocol's surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum DialectLabel {
    S3,
    Http,
}

/// What a request asks for, across dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Operation {
    GetObject,
    HeadObject,
    ListObjects,
    ListBuckets,
    HeadBucket,
    GetBucketLocation,
    Propfind,
    Options,
    /// Refused: vdt is read-only.
    Write,
    /// Everything else, refused too.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OperationLabels {
    pub(super) dialect: DialectLabel,
    pub(super) operation: Operation,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) dialect: DialectLabel,
    pub(super) operation: Operation,
    pub(super) status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CutLabels {
    pub(super) dialect: DialectLabel,
    pub(super) by: CutBy,
}

impl CutLabels {
    /// Every one that may be counted: a series that begins with its first event hides that from whoever asks for an increase.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let dialects = [DialectLabel::S3, DialectLabel::Http];
        dialects
            .into_iter()
            .flat_map(|dialect| [CutBy::Client, CutBy::Store].map(|by| Self { dialect, by }))
    }
}

/// Who ended a body before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum CutBy {
    /// The client left, was too slow, or the listener was shut down.
    Client,
    /// The store failed.
    Store,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub(super) dialect: DialectLabel,
    pub(super) reason: Refused,
}

/// Why the front door turned a request away, before any dialect answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Refused {
    /// Too many requests at a time: 503.
    RequestsInFlight,
    /// Too many bytes wait for their clients: 503.
    BytesInFlight,
    /// Too many listings are being written: 503.
    Listings,
    /// No credentials, or none that are known: 401, in S3 403.
    Unauthenticated,
    /// The principal has no right on what was asked for: 403.
    Denied,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndLabels {
    pub(super) reason: ConnectionEnd,
}

/// Why a listener ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ConnectionEnd {
    /// No request came.
    Idle,
    /// A request's headers did not end.
    SlowHeader,
    /// The client did not take what it asked for.
    SlowReader,
    /// Its place was needed.
    Evicted,
    /// What it had not taken was in the way of others.
    GaveWay,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HandshakeLabels {
    pub(super) outcome: Handshake,
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Handshake {
    /// As it should.
    Completed,
    /// With an error of either side.
    Failed,
    /// Not in time.
    TimedOut,
    /// The client does not speak TLS.
    NotTls,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    pub(super) what: Reloaded,
    pub(super) outcome: Outcome,
}

/// What is read again while a listener runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Reloaded {
    Certificate,
    Keys,
    Manifests,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    Taken,
    /// What was in use stays in use.
    Refused,
    /// It waits for another process, and is no fault.
    RestartNeeded,
}

impl Outcome {
    pub(super) fn of(taken: bool) -> Self {
        match taken {
            true => Self::Taken,
            false => Self::Refused,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusedLabels {
    pub(super) what: Reloaded,
}

impl RefusedLabels {
    /// Every one.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Reloaded::ALL.into_iter().map(|what| Self { what })
    }
}

impl Reloaded {
    const ALL: [Self; 3] = [Self::Certificate, Self::Keys, Self::Manifests];
}

impl ReloadLabels {
    /// Every one that may be counted, as of [`CutLabels::all`].
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Reloaded::ALL.into_iter().flat_map(|what| {
            let waits = matches!(what, Reloaded::Manifests).then_some(Outcome::RestartNeeded);
            let outcomes = [Outcome::Taken, Outcome::Refused].into_iter().chain(waits);
            outcomes.map(move |outcome| Self { what, outcome })
        })
    }
}

/// A family of one, so that the gauge is absent until it has a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NoLabels {}
