//! Two operators whose scopes overlap: each would put back what the other one wrote, without end.
//!
//! The operator that acts upon a table writes its name to the table's ConfigMap. One that finds another name there asks whether the other one lives: it
//! writes its own name over it and waits. Who lives puts its name back, as it does with any drift, and goes on; the newcomer then leaves the table alone,
//! its status too, and asks again after a while. Where nobody answers the table is taken over, which is how it goes from one release to another.
//!
//! ```text
//! newcomer    sees another name --ask--> own name stays for ANSWER  --> acts
//!                                   \--> the other name is back     --> leaves the table alone, asks again after RETRY
//! holder      sees another name --puts its own back, at most FIGHTS times within a minute; then it is the one that gives way
//! ```
//!
//! Nothing of this is needed after a restart: an operator knows its own name. Replicas of one release share it.

use std::time::Duration;

use kube::{ResourceExt, runtime::events::EventType};
use serde_json::json;
use tokio::time::Instant;

use super::{LookError, look::Look, memory::Memory};
use crate::{apply::ApplyError, build::Kind, held::Held, names, status::Problem};

/// Reason: another operator acts upon the table too.
const OVERLAP: &str = "OperatorsOverlap";

/// An operator that lives puts its name back within this, or within [`answer`] where leases run longer: drift is repaired in less than a second, but one that
/// crashed is followed by its next replica only when its lease has run out.
const ANSWER: Duration = Duration::from_secs(60);
/// Whether a store has seen what was just written is looked at again after this.
const SOON: Duration = Duration::from_secs(1);
/// One that gave way asks again after this.
const RETRY: Duration = Duration::from_secs(600);
/// The other one is remembered, and told of, for longer than it takes to ask again.
const TOLD: Duration = Duration::from_secs(900);
/// A name is put back this often within [`FIGHT`]; one that comes back still belongs to an operator that does not give way.
const FIGHTS: u32 = 2;
const FIGHT: Duration = Duration::from_secs(60);

/// Whose a table is, as far as this operator knows.
#[derive(Debug, Default)]
pub(super) struct Hold {
    state: State,
    /// Another operator that acted upon the table, and when.
    other: Option<(String, Instant)>,
}

#[derive(Debug, Default)]
enum State {
    /// It was not looked at yet.
    #[default]
    Unknown,
    /// Ours. How often another name was put back, when last, and the version that had it.
    Ours(Option<(u32, Instant, Option<String>)>),
    /// Our name was written over another one at this time; the version that had it.
    Asked(Instant, Option<String>),
    /// Another operator's, since then.
    Theirs(Instant),
}

/// The name at a table's ConfigMap.
#[derive(Clone, Debug)]
struct Name {
    operator: String,
    version: Option<String>,
}

/// What to do about a table.
#[derive(Debug, PartialEq)]
enum Turn {
    /// Act upon it.
    Act,
    /// Write the own name, and look again.
    Ask,
    /// Leave it alone for so long.
    Wait(Duration),
    /// The same, from now on.
    GiveWay,
}

/// How long the other one is waited for. Its lease is not known; it is taken to be no longer than twice the own one.
fn answer(lease: Duration) -> Duration {
    ANSWER.max(lease * 2)
}

impl Hold {
    /// Returns another operator that acts upon the table too.
    pub(super) fn other(&self) -> Option<&str> {
        let (other, at) = self.other.as_ref()?;
        (at.elapsed() < TOLD).then_some(other)
    }

    fn turn(&mut self, own: &str, answer: Duration, seen: Option<Name>) -> Turn {
        let now = Instant::now();
        let Some(other) = seen.filter(|seen| seen.operator != own) else {
            if let State::Asked(at, _) = self.state
                && let Some(left) = answer.checked_sub(now - at)
                && !left.is_zero()
            {
                return Turn::Wait(left);
            }
            if !matches!(self.state, State::Ours(_)) {
                self.state = State::Ours(None);
            }
            return Turn::Act;
        };
        match &self.state {
            State::Unknown => self.ask(other),
            State::Theirs(since) => match RETRY.checked_sub(now - *since) {
                Some(left) if !left.is_zero() => Turn::Wait(left),
                _ => self.ask(other),
            },
            // The store has not seen yet what was written.
            State::Asked(_, version) if *version == other.version => Turn::Wait(SOON),
            State::Asked(..) => self.give_way(other),
            State::Ours(last) => {
                let recent = last.as_ref().filter(|(_, at, _)| now - *at < FIGHT);
                let times = match recent {
                    Some((_, _, version)) if *version == other.version => return Turn::Act,
                    Some((FIGHTS.., ..)) => return self.give_way(other),
                    Some((times, ..)) => times + 1,
                    None => 1,
                };
                self.state = State::Ours(Some((times, now, other.version)));
                self.other = Some((other.operator, now));
                Turn::Act
            }
        }
    }

    fn ask(&mut self, other: Name) -> Turn {
        self.state = State::Asked(Instant::now(), other.version);
        Turn::Ask
    }

    fn give_way(&mut self, other: Name) -> Turn {
        self.state = State::Theirs(Instant::now());
        self.other = Some((other.operator, Instant::now()));
        Turn::GiveWay
    }
}

impl Look<'_> {
    /// Returns how long the table is left alone, if another operator acts upon it or may do so.
    pub(super) async fn is_anothers(
        &self,
        held: Option<Held>,
        memory: &mut Memory,
    ) -> Result<Option<Duration>, LookError> {
        let own = self.context.shipped.operator.as_str();
        let name = names::config(self.name);
        let seen = self.name_seen();
        let version = seen.as_ref().and_then(|seen| seen.version.clone());
        let is_contested = seen.as_ref().is_some_and(|seen| seen.operator != own);
        // Nothing of a table that is paused is written: who is named there has it.
        if held == Some(Held::Paused) {
            return Ok(is_contested.then_some(RETRY));
        }
        let answer = answer(self.context.lease);
        match memory.hold.turn(own, answer, seen) {
            Turn::Act => {
                // At once: a look that ends before it applies would be no answer.
                if is_contested {
                    self.ask(&name, own, version).await?;
                }
                Ok(None)
            }
            Turn::Wait(left) => Ok(Some(left)),
            Turn::GiveWay => {
                let other = memory.hold.other().unwrap_or_default();
                let note = format!(
                    "operator {other} acts upon this table, so operator {own} leaves it alone: their scopes overlap"
                );
                tracing::warn!(
                    namespace = self.namespace,
                    name = self.name,
                    other,
                    "another operator acts upon a table: it is left alone"
                );
                self.publish(EventType::Warning, OVERLAP, note).await;
                Ok(Some(RETRY))
            }
            Turn::Ask => {
                let asked = self.ask(&name, own, version).await;
                if !matches!(asked, Ok(true)) {
                    memory.hold.state = State::Unknown;
                }
                asked.map(|_| Some(SOON))
            }
        }
    }

    /// Says that another operator acts upon the table too, if one does.
    pub(super) fn overlap(&self, memory: &Memory) -> Option<Problem> {
        let (other, own) = (memory.hold.other()?, &self.context.shipped.operator);
        Some(Problem {
            condition: "SoleOperator",
            reason: OVERLAP,
            message: format!(
                "operator {other} acts upon this table as well as {own}, which goes on: their scopes overlap"
            ),
        })
    }

    /// Says whether another operator is named at the table: it waits for an answer.
    pub(super) fn is_contested(&self) -> bool {
        self.name_seen()
            .is_some_and(|seen| seen.operator != self.context.shipped.operator)
    }

    fn name_seen(&self) -> Option<Name> {
        let (kind, name) = (Kind::ConfigMap, names::config(self.name));
        let config = self.context.watches.metadata(kind, &name, self.namespace)?;
        if !self.cluster().is_ours(kind, &config) {
            return None;
        }
        Some(Name {
            operator: config.annotations().get(names::ACTING)?.clone(),
            version: config.resource_version(),
        })
    }

    /// Writes the own name over another one, if it still is there in this version. Returns whether it was.
    async fn ask(
        &self,
        config: &str,
        own: &str,
        version: Option<String>,
    ) -> Result<bool, LookError> {
        let metadata = json!({"resourceVersion": version, "annotations": {names::ACTING: own}});
        let patch = json!({"metadata": metadata});
        match self.cluster().merge(Kind::ConfigMap, config, &patch).await {
            Ok(_) => Ok(true),
            Err(ApplyError::Api { source, .. }) if is_gone_or_newer(&source) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_gone_or_newer(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ConfigMap of a table, and what operators do to it in turns.
    #[derive(Default)]
    struct SharedConfigMap {
        operator: Option<String>,
        version: u32,
    }

    impl SharedConfigMap {
        fn look(&mut self, hold: &mut Hold, own: &str) -> Turn {
            let name = |operator: &String| Name {
                operator: operator.clone(),
                version: Some(self.version.to_string()),
            };
            let turn = hold.turn(own, ANSWER, self.operator.as_ref().map(name));
            let writes = match turn {
                Turn::Ask => true,
                Turn::Act => self.operator.as_deref() != Some(own),
                Turn::Wait(_) | Turn::GiveWay => false,
            };
            if writes {
                self.operator = Some(own.to_owned());
                self.version += 1;
            }
            turn
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_there_goes_on_and_the_newcomer_leaves_the_table_alone() {
        let mut table = SharedConfigMap::default();
        let (mut a, mut b) = (Hold::default(), Hold::default());
        assert_eq!(table.look(&mut a, "a"), Turn::Act);
        assert_eq!(table.look(&mut b, "b"), Turn::Ask);
        assert_eq!(table.look(&mut b, "b"), Turn::Wait(ANSWER));
        assert_eq!(table.look(&mut a, "a"), Turn::Act);
        assert_eq!(table.look(&mut b, "b"), Turn::GiveWay);
        assert_eq!((a.other(), b.other()), (Some("b"), Some("a")));
        let written = table.version;
        for _ in 0..20 {
            assert_eq!(table.look(&mut a, "a"), Turn::Act);
            assert!(matches!(table.look(&mut b, "b"), Turn::Wait(_)));
        }
        assert_eq!(table.version, written);
        // It asks again after a while, and finds nobody.
        tokio::time::advance(RETRY).await;
        assert_eq!(table.look(&mut b, "b"), Turn::Ask);
        tokio::time::advance(ANSWER).await;
        assert_eq!(table.look(&mut b, "b"), Turn::Act);
        tokio::time::advance(TOLD).await;
        assert_eq!(b.other(), None);
    }

    #[test]
    fn a_lease_runs_out_before_its_holder_is_given_up() {
        for (lease, waits) in [(15, 60), (30, 60), (300, 600)] {
            let waited = answer(Duration::from_secs(lease));
            assert_eq!(waited, Duration::from_secs(waits));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_has_not_seen_yet_is_no_answer() {
        let mut b = Hold::default();
        let name = |operator: &str, version: &str| {
            let (operator, version) = (operator.to_owned(), Some(version.to_owned()));
            Some(Name { operator, version })
        };
        assert_eq!(b.turn("b", ANSWER, name("a", "1")), Turn::Ask);
        assert_eq!(b.turn("b", ANSWER, name("a", "1")), Turn::Wait(SOON));
        assert_eq!(b.turn("b", ANSWER, name("b", "2")), Turn::Wait(ANSWER));
        assert_eq!(b.turn("b", ANSWER, name("a", "3")), Turn::GiveWay);
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_hold_a_table_do_not_fight_without_end() {
        let mut table = SharedConfigMap::default();
        let ours = || Hold {
            state: State::Ours(None),
            other: None,
        };
        let (mut a, mut b) = (ours(), ours());
        for _ in 0..20 {
            table.look(&mut a, "a");
            table.look(&mut b, "b");
        }
        assert!(table.version <= 2 * (FIGHTS + 1), "{}", table.version);
        let theirs = |hold: &Hold| matches!(hold.state, State::Theirs(_));
        assert_eq!((theirs(&a), theirs(&b)), (false, true));
    }
}
