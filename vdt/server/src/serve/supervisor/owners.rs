//! Of resources that declare one table, the one that owns it: it runs the table, whichever is read first and whichever came first.

use std::{collections::BTreeMap, sync::Arc};

use tracing::info;
use vdt_sidecar::files::Taken;
use vdt_store::StoreError;

use super::{Supervisor, pending};
use crate::{manifests::Declared, tables::Served};

/// A resource, and the table as it has claimed it.
type Owner = (Declared, Arc<Served>);

impl Supervisor {
    /// Has the owner of each table run it where others declare it too. One that runs as its owner's goes on. `doubles` are refused because one of
    /// `declared` declares the same table. [`Taken::TryAgain`] where the state has not said whose a table is.
    ///
    /// Cancel: when the process ends.
    pub(super) async fn settle(&mut self, declared: &[Declared], doubles: &[Declared]) -> Taken {
        let mut contenders = BTreeMap::<String, Vec<&Declared>>::new();
        for one in declared.iter().chain(doubles) {
            contenders
                .entry(one.table.table_path())
                .or_default()
                .push(one);
        }
        let mut taken = Taken::Whole;
        for (path, contenders) in contenders {
            match self.owner(&path, &contenders).await {
                Ok(None) => {}
                Ok(Some((owner, served))) => {
                    // It has shown nothing, and its task has opened nothing.
                    if let Some(before) = self.running.remove(&path) {
                        before.end(&self.stores.origin).await;
                    }
                    let name = owner.table.owner();
                    info!(
                        table = path,
                        owner = name,
                        "the table is run as its owner's"
                    );
                    self.run(owner, served, None, None);
                }
                Err(error) => {
                    tracing::debug!(table = path, %error, "whose the table is, is not known");
                    taken = Taken::TryAgain;
                }
            }
        }
        taken
    }

    /// Of `contenders`, which declare a table, the one that is to run it and does not yet. `None` where what runs, or is about to, stays.
    async fn owner(
        &self,
        path: &str,
        contenders: &[&Declared],
    ) -> Result<Option<Owner>, StoreError> {
        let Some(running) = self.running.get(path) else {
            // A table that one resource declares is claimed by its task.
            return match contenders {
                [] | [_] => Ok(None),
                contenders => self.claimed(contenders).await,
            };
        };
        let owner = running.declared.table.owner();
        let others = contenders.iter().copied();
        let others: Vec<_> = others.filter(|one| one.table.owner() != owner).collect();
        if others.is_empty() {
            return Ok(None);
        }
        // A claim that holds is not made again, and one that was not answered is.
        match running.served.claim(&self.stores.state, &owner).await {
            Ok(()) => Ok(None),
            Err(StoreError::OtherOwner { .. }) => self.claimed(&others).await,
            Err(error) => Err(error),
        }
    }

    /// The resource that owns a table which `one` declares and another one owns, if it is among `doubles`.
    pub(super) async fn owner_of_twin(
        &self,
        one: &Declared,
        doubles: &[Declared],
    ) -> Option<Owner> {
        let path = one.table.table_path();
        let is_twin = |double: &&Declared| double.table.table_path() == path;
        let twins: Vec<_> = doubles.iter().filter(is_twin).collect();
        self.claimed(&twins).await.ok().flatten()
    }

    /// The first of `contenders` whose claim of the table holds. Of a table that somebody owns, nobody else comes to be the owner by this.
    async fn claimed(&self, contenders: &[&Declared]) -> Result<Option<Owner>, StoreError> {
        for one in contenders {
            let served = Arc::new(pending(one));
            match served.claim(&self.stores.state, &one.table.owner()).await {
                Ok(()) => return Ok(Some(((*one).clone(), served))),
                Err(StoreError::OtherOwner { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
