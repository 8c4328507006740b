//! Of resources that declare one table, the one that owns it: it runs the table, whichever is read first and whichever came first.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, stream};
use object_store::path::Path;
use tokio::time::timeout;
use tracing::{debug, info};
use vdt_crds::{api::RefusedManifest, status::reason};
use vdt_sidecar::files::Taken;
use vdt_store::StoreError;

use super::{CLAIMS, Supervisor, pending};
use crate::{
    manifests::Declared,
    tables::{Problem, Served},
};

/// A resource, and the table as it has claimed it.
type Owner = (Declared, Arc<Served>);

impl Supervisor {
    /// Has the owner of each table run it where others declare it too. One that runs as its owner's goes on. `doubles` are refused because one that is
    /// read before them declares the same table, whether that is among `declared` or is refused itself. [`Taken::TryAgain`] where the state has not
    /// said in time whose a table is.
    ///
    /// Cancel: when the process ends.
    pub(super) async fn settle(&mut self, declared: &[Declared], doubles: &[Declared]) -> Taken {
        let mut contenders = BTreeMap::<String, Vec<&Declared>>::new();
        for one in declared.iter().chain(doubles) {
            let contenders = contenders.entry(one.table.table_path());
            contenders.or_default().push(one);
        }
        let is_double = |path: &str| {
            let mut doubles = doubles.iter();
            doubles.any(|double| double.table.table_path() == path)
        };
        // One that is alone is claimed by its task, unless it takes the place of another.
        contenders.retain(|path, _| self.running.contains_key(path) || is_double(path));
        let this = &*self;
        let owners: Vec<_> = contenders
            .into_iter()
            .map(|(path, contenders)| async move {
                let owner = timeout(this.claim_wait, this.owner(&path, &contenders)).await;
                (path, owner)
            })
            .collect();
        let owners: Vec<_> = stream::iter(owners).buffered(CLAIMS).collect().await;
        let mut taken = Taken::Whole;
        for (path, owner) in owners {
            match owner {
                Ok(Ok(None)) => {}
                Ok(Ok(Some((owner, served)))) => {
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
                Ok(Err(error)) => {
                    debug!(table = path, %error, "whose the table is, is not known");
                    taken = Taken::TryAgain;
                }
                Err(_) => {
                    debug!(table = path, "the state does not say whose the table is");
                    taken = Taken::TryAgain;
                }
            }
        }
        taken
    }

    /// Of `contenders`, which declare a table, the one that is to run it and does not yet. `None` where what runs, or is about to, stays, also because
    /// nobody owns the table: what is refused does not come to own one by this.
    async fn owner(
        &self,
        path: &str,
        contenders: &[&Declared],
    ) -> Result<Option<Owner>, StoreError> {
        let state = &self.stores.state;
        let held_by = match self.running.get(path) {
            Some(running) => {
                let owner = running.declared.table.owner();
                if contenders.iter().all(|one| one.table.owner() == owner) {
                    return Ok(None);
                }
                // A claim that holds is not made again, and one that was not answered is.
                match running.served.claim(state, &owner).await {
                    Ok(()) => return Ok(None),
                    Err(StoreError::OtherOwner { held_by, .. }) => Some(held_by),
                    Err(error) => return Err(error),
                }
            }
            None => state.owner_of(&Path::from(path)).await?,
        };
        let is_owner = |one: &&&Declared| Some(one.table.owner()) == held_by;
        let Some(one) = contenders.iter().find(is_owner) else {
            return Ok(None);
        };
        let served = Arc::new(pending(one));
        served.claim(state, &one.table.owner()).await?;
        Ok(Some(((*one).clone(), served)))
    }

    /// Has a table go on because of a problem, which it tells. What is refused as one of `doubles` alone and owns the table is followed all the same.
    pub(super) async fn retain(
        &mut self,
        path: &str,
        problem: &Problem,
        doubles: &[Declared],
    ) -> Taken {
        let Some(running) = self.running.get(path) else {
            return Taken::Whole;
        };
        let served = Arc::clone(&running.served);
        let refused = |message| RefusedManifest {
            generation: None,
            reason: reason::INVALID_SPEC.to_owned(),
            message,
        };
        let before = &running.declared;
        let is_running = |double: &&Declared| {
            double.table.table_path() == path
                && double.table.owner() == before.table.owner()
                && double.origin == before.origin
        };
        let Some(double) = doubles.iter().find(is_running) else {
            served.refused(refused(problem.message.clone()));
            return Taken::Whole;
        };
        if !before.is_same(double)
            && let Err(error) = self.replace(path, double.clone()).await
        {
            self.refuse(path, double.table.metadata.generation, &error);
            return Taken::TryAgain;
        }
        served.doubled(refused(format!(
            "it is used, though another one declares the table too: {}",
            problem.message
        )));
        Taken::Whole
    }
}
