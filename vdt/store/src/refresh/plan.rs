//! From listings to a plan: what is edited, what is held, what the next version is made of.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use vdt_table::SourceContext;

use super::{
    TableRefresh,
    report::{self, SourceOutcome, outcome},
};
use crate::{
    definition::{EDITION_KEY, LAYOUT_KEY, PLACE_KEY, SOURCE_KEY, committed_place},
    error::StoreError,
    log::Snapshot,
    plan::{Current, Hold, Listed, ListedAt, Plan, Policy, is_shrunk, plan},
    rows::read_current,
    source::{Listing, RecheckBounds, SILENCE_MAX, Source, SourceError},
};

/// Artifacts that are asked for by themselves though the listing that lacks them is not believed either way.
const POINTLESS_RECHECKS_MAX: usize = 1_000;

/// Sources by name, as their rows are laid out in the version that is planned.
pub(super) type Contexts = BTreeMap<Arc<str>, Arc<SourceContext>>;

/// What the next version is made of.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) outcomes: Vec<SourceOutcome>,
    pub(super) contexts: Contexts,
    pub(super) configuration: BTreeMap<String, String>,
    pub(super) metadata_changed: bool,
    /// How long what listings lack was asked for.
    pub(super) recheck_time: Duration,
    /// How long the rows of the version before were read.
    pub(super) rows_time: Duration,
}

impl TableRefresh {
    /// Plans the version after `snapshot`.
    pub(super) async fn plan(
        &self,
        snapshot: Option<&Snapshot>,
        listings: Vec<Result<Listing, SourceError>>,
        listed_at: ListedAt,
    ) -> Result<Planned, StoreError> {
        let mut configuration = self.definition.configuration();
        let relay = is_edited(snapshot, &configuration, LAYOUT_KEY);
        let began = Instant::now();
        let sources = self.definition.sources.iter();
        let names = sources.map(|source| source.name().clone());
        let listings = names.zip(listings).collect();
        let (mut current, listings) = match snapshot {
            None => (Current::default(), listings),
            Some(snapshot) => {
                let (state, log, known) = (&self.state, &self.log, &self.known);
                read_current(state, log, known, snapshot, listings, !relay).await?
            }
        };
        let rows_time = began.elapsed();
        let (mut outcomes, mut recheck_time) = (Vec::new(), Duration::ZERO);
        let mut listed = Vec::new();
        for (source, (_, listing)) in self.definition.sources.iter().zip(listings) {
            let keys = [SOURCE_KEY, PLACE_KEY].map(|prefix| format!("{prefix}{}", source.name()));
            let edited = keys
                .iter()
                .any(|key| is_edited(snapshot, &configuration, key));
            let mut context = source.context();
            let listing = match listing {
                Ok(listing) => {
                    let is_held = self.definition.refresh.hold_shrunk && !edited;
                    let began = Instant::now();
                    let whole = complete(source, listing, &mut current, is_held).await?;
                    recheck_time += began.elapsed();
                    whole
                }
                failed => failed,
            };
            let listing = match listing {
                Ok(listing) => {
                    outcomes.push(outcome(source.name(), Ok(&listing)));
                    Some(listing)
                }
                Err(error) if snapshot.is_none() => return Err(error.into()),
                Err(error) => {
                    outcomes.push(outcome(source.name(), Err(&error)));
                    None
                }
            };
            if let (None, true, Some(snapshot)) = (&listing, edited, snapshot) {
                // The edit waits for a listing: until then the rows are those of the place that they were laid out for.
                if let Some(committed) = committed_place(snapshot, source.name()) {
                    context = Arc::new(committed);
                }
                for key in keys {
                    match snapshot.configuration(&key) {
                        Some(value) => configuration.insert(key, value.to_owned()),
                        None => configuration.remove(&key),
                    };
                }
            }
            listed.push(Listed {
                context,
                relay: relay || (edited && listing.is_some()),
                listing,
                edited,
            });
        }
        // What was looked at again was looked at until now.
        let listed_at = ListedAt {
            ended_ms: listed_at.ended_ms.max((self.clock)()),
            ..listed_at
        };
        let contexts = listed
            .iter()
            .map(|source| (source.context.name.clone(), source.context.clone()))
            .collect();
        let policy = Policy {
            settle_ms: i64::try_from(self.definition.refresh.settle.as_millis())
                .unwrap_or(i64::MAX),
            hold_shrunk: self.definition.refresh.hold_shrunk,
        };
        let layout = self.definition.layout.clone();
        let plan =
            tokio::task::spawn_blocking(move || plan(current, listed, &layout, policy, listed_at))
                .await
                .map_err(|source| StoreError::task("planning", source))?;
        for outcome in &mut outcomes {
            if let Some(Hold::Shrunk { dropped, known }) = plan.held.get(outcome.name.as_str()) {
                outcome.reason = report::SHRUNK;
                outcome.message = format!(
                    "the listing lacks {dropped} of {known} artifacts, so the last state is kept; \
                     if that is meant, set spec.refresh.onShrink to Apply"
                );
            }
        }
        let metadata_changed = snapshot.is_some_and(|snapshot| {
            let mut stored = snapshot.configuration_entries();
            stored.remove(EDITION_KEY);
            stored != configuration
        });
        if let Some(edition) = &self.definition.edition {
            configuration.insert(EDITION_KEY.to_owned(), edition.to_string());
        }
        Ok(Planned {
            plan,
            outcomes,
            contexts,
            configuration,
            metadata_changed,
            recheck_time,
            rows_time,
        })
    }
}

/// A listing with the rows of `current` that it lacks although they are there: what is not in it is taken out of the table. Files that it shows
/// as they were before are shown as they are now: a machine may remember for a minute what a network mount was, and undo what another one has seen
/// and committed. Rows that are laid out for another place than the source's are not its to ask for. Nor is anything where the source `is_held` when its
/// listing lacks so much: an emptied folder would be asked for all that it had, again and again.
///
/// Cancel: the recheck ends with the key under way.
async fn complete(
    source: &Arc<Source>,
    listing: Listing,
    current: &mut Current,
    is_held: bool,
) -> Result<Result<Listing, SourceError>, StoreError> {
    let (source, given) = (source.clone(), std::mem::take(current));
    // Held for as long as somebody waits for the answer.
    let awaited = Arc::new(());
    let is_awaited = Arc::downgrade(&awaited);
    let asked = Arc::new(AtomicU64::new(0));
    let (visited, count) = (source.clone(), asked.clone());
    let mut rechecked = tokio::task::spawn_blocking(move || {
        let files = given.files.iter();
        let all = files
            .filter(|file| file.source == *source.name())
            .flat_map(|file| &file.artifacts);
        let known = all.clone().count() as u64;
        let rows = all.filter(|row| row.object.source == *source.id());
        let bounds = RecheckBounds {
            is_pointless: &|missing| {
                is_held && missing > POINTLESS_RECHECKS_MAX && is_shrunk(missing as u64, known)
            },
            is_cancelled: &|| {
                count.fetch_add(1, Relaxed);
                is_awaited.strong_count() == 0
            },
        };
        let listing = source.complete(listing, rows.map(|row| &*row.object), &bounds);
        (listing, given)
    });
    let rechecked = loop {
        let before = asked.load(Relaxed);
        match tokio::time::timeout(SILENCE_MAX, &mut rechecked).await {
            Ok(rechecked) => break rechecked,
            Err(_) if asked.load(Relaxed) != before => {}
            // The rows are with it, so nothing can be planned. The next refresh does not visit the source.
            Err(_) => {
                if let Some(silent) = visited.given_up(rechecked.abort_handle()) {
                    return Err(silent.into());
                }
            }
        }
    };
    let (listing, given) = rechecked
        .map_err(|source| StoreError::task("a recheck of what a listing lacks", source))?;
    drop(awaited);
    *current = given;
    Ok(listing)
}

/// Whether an entry of the configuration differs from the committed one.
fn is_edited(
    snapshot: Option<&Snapshot>,
    configuration: &BTreeMap<String, String>,
    key: &str,
) -> bool {
    snapshot.is_some_and(|snapshot| {
        snapshot.configuration(key) != configuration.get(key).map(String::as_str)
    })
}
