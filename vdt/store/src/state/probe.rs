//! Whether a service puts an object that is not there exactly once, which every commit relies on.
//!
//! Puts of one new object race, and one of them must win. A service that ignores `If-None-Match: *` lets all of them win; one
//! that looks first and writes then, those that looked before the first had written.
//!
//! The object is deleted again, whatever came of it. Where that is not allowed, or this is dropped or killed before, a few
//! bytes stay that nobody reads.

use futures::future;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use uuid::Uuid;

use super::put_new;
use crate::error::StoreError;

/// Folder of the objects; no catalog's name begins so, and the origin does not show it.
const FOLDER: &str = "_probe";
/// Puts at the same time: enough that a gap between looking and writing shows, few enough for one round of requests.
const PUTS: usize = 8;
/// Races, while no put is known to have won: a put whose answer was lost finds its own object when it is sent again.
const RACES: usize = 3;

/// Makes sure that one of several puts of a new object wins.
///
/// # Errors
/// [`StoreError::Unconditional`] when more than one does, or none; and those of the store.
pub(super) async fn probe(store: &dyn ObjectStore, location: &str) -> Result<(), StoreError> {
    let mut failed = None;
    for _ in 0..RACES {
        let path = Path::from_iter([FOLDER, &Uuid::new_v4().to_string()]);
        let puts = (0..PUTS).map(|number| put_new(store, &path, number.to_string().into_bytes()));
        let answers = future::join_all(puts).await;
        if let Err(error) = store.delete(&path).await {
            tracing::debug!(%path, %error, "an object of a probe stays");
        }
        match answers.iter().flatten().filter(|won| **won).count() {
            1 => return Ok(()),
            0 => failed = answers.into_iter().find_map(Result::err),
            won => return Err(unconditional(location, won)),
        }
    }
    Err(match failed {
        Some(source) => StoreError::state(location, source),
        None => unconditional(location, 0),
    })
}

fn unconditional(location: &str, won: usize) -> StoreError {
    StoreError::Unconditional {
        location: location.to_owned(),
        puts: PUTS,
        won,
    }
}
