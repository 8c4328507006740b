//! The newest version of each table, for those who wait for the next.
//!
//! Every version gets a number in the order of all tables, so that a listener asks for what is newer than the last number that it
//! has seen. Of a table only the newest version is kept: memory grows with the number of tables. Nothing survives the process; the
//! [`Versions::epoch`] tells one run from another.

use std::{collections::BTreeMap, sync::Arc};

use object_store::path::Path;
use tokio::sync::watch;
use uuid::Uuid;

/// A version that was committed, or was found at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// Number in the order of all tables, from 1.
    pub seq: u64,
    /// `<catalog>/<schema>/<table>`.
    pub table: Path,
    /// Version.
    pub version: u64,
}

#[derive(Debug, Default)]
struct Newest {
    seq: u64,
    tables: BTreeMap<Path, (u64, u64)>,
}

/// See the module's documentation. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub struct Versions {
    epoch: Uuid,
    newest: Arc<watch::Sender<Newest>>,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            epoch: Uuid::new_v4(),
            newest: Arc::new(watch::Sender::new(Newest::default())),
        }
    }
}

impl Versions {
    /// Names this run of the process.
    #[must_use]
    pub fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// Tells that `table` has this version. One that is known already, or older than the known one, is no news.
    pub fn publish(&self, table: &Path, version: u64) {
        self.newest.send_if_modified(|newest| {
            if newest
                .tables
                .get(table)
                .is_some_and(|(_, known)| *known >= version)
            {
                return false;
            }
            newest.seq += 1;
            newest.tables.insert(table.clone(), (newest.seq, version));
            true
        });
    }

    /// The newest version of `table` that was told.
    #[must_use]
    pub fn of(&self, table: &Path) -> Option<u64> {
        let newest = self.newest.borrow();
        newest.tables.get(table).map(|(_, version)| *version)
    }

    /// Wakes whoever waits, without a version: something else is new.
    pub fn wake(&self) {
        self.newest.send_modify(|newest| newest.seq += 1);
    }

    /// The greatest number so far, and what is newer than `after`, in the order of numbers.
    #[must_use]
    pub fn newer_than(&self, after: u64) -> (u64, Vec<Noticed>) {
        let newest = self.newest.borrow();
        let mut newer: Vec<Noticed> = newest
            .tables
            .iter()
            .filter(|(_, (seq, _))| *seq > after)
            .map(|(table, (seq, version))| Noticed {
                seq: *seq,
                table: table.clone(),
                version: *version,
            })
            .collect();
        newer.sort_unstable_by_key(|noticed| noticed.seq);
        (newest.seq, newer)
    }

    /// Waits until there is a number greater than `after`. Cancel-safe.
    pub async fn wait(&self, after: u64) {
        // The sender is ours, so it is never gone.
        let _ = self
            .newest
            .subscribe()
            .wait_for(|newest| newest.seq > after)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_version_of_a_table_is_told() {
        let versions = Versions::default();
        let (a, b) = (Path::from("c/s/a"), Path::from("c/s/b"));
        versions.publish(&a, 0);
        versions.publish(&b, 7);
        versions.publish(&a, 1);
        versions.publish(&a, 1);
        versions.publish(&a, 0);
        let told = |after| {
            let (seq, newer) = versions.newer_than(after);
            let newer: Vec<_> = newer
                .into_iter()
                .map(|noticed| (noticed.seq, noticed.table.to_string(), noticed.version))
                .collect();
            (seq, newer)
        };
        let newest = (3, "c/s/a".to_owned(), 1);
        assert_eq!(
            told(0),
            (3, vec![(2, "c/s/b".to_owned(), 7), newest.clone()])
        );
        assert_eq!(told(2), (3, vec![newest]));
        assert_eq!(told(3), (3, vec![]));
        versions.wake();
        assert_eq!(told(3), (4, vec![]));
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_the_next_version() {
        let versions = Versions::default();
        let waiting = tokio::spawn({
            let versions = versions.clone();
            async move { versions.wait(0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        versions.publish(&Path::from("c/s/t"), 0);
        waiting.await.expect("the waiter");
        versions.wait(0).await;
    }
}
