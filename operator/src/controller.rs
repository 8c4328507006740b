//! One look at one table: dereference, validate, build, apply, status.
//!
//! Every look begins at the start and holds nothing that a restart would miss; what is kept between looks saves requests and is good for nothing else.
//! A look that fails writes a status that says so and is repeated with back-off. A look is bounded in time.

mod answers;
mod look;
mod memory;
mod overlap;
mod report;
mod requeue;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::FutureExt;
use kube::{
    Client, ResourceExt,
    api::DynamicObject,
    runtime::{controller::Action, events::Recorder, reflector::ObjectRef},
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    apply::ApplyError,
    build::{Kind, Shipped},
    metrics::{Metrics, Outcome},
    status::gather::Pods,
    token::Signer,
    validate::shorten,
    watches::{TableRef, Watches, table_resource, unpack},
};

use look::Look;
use memory::Memory;

/// Longest look at one table.
const LOOK: Duration = Duration::from_secs(60);

/// What all looks share.
pub(crate) struct Context {
    /// The API server.
    pub(crate) client: Client,
    /// What is seen of it.
    pub(crate) watches: Watches,
    /// Asks pods.
    pub(crate) pods: Pods,
    /// Signs what they want to see.
    pub(crate) signer: Signer,
    /// What the operator brings along.
    pub(crate) shipped: Shipped,
    /// Writes events.
    pub(crate) recorder: Recorder,
    /// Counts.
    pub(crate) metrics: Metrics,
    /// How long the lease of the operator runs.
    pub(crate) lease: Duration,
    /// Kinds of children that not every cluster has and this one does.
    pub(crate) defined: HashSet<Kind>,
    /// Says that the process ends: pods are not waited for any more.
    pub(crate) ending: CancellationToken,
    /// What is kept between looks.
    pub(crate) memory: parking_lot::Mutex<HashMap<TableRef, Arc<tokio::sync::Mutex<Memory>>>>,
}

/// A look did not go through.
#[derive(Debug, thiserror::Error)]
enum LookError {
    /// A child could not be brought to what it should be.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// References could not be followed.
    #[error("following references failed")]
    Dereference(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("writing status failed")]
    Status(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("gave up after {} s", LOOK.as_secs())]
    Slow,
    /// A defect of the operator. The log has told where.
    #[error("the operator panicked at this table: please report it, with the log before this line")]
    Panicked,
}

/// Runs a look; `None` where it panics. One table that the operator is not up to must not end the looks at all others. What is kept between looks
/// may be half changed then, and is only what spares work.
async fn caught<F: Future>(look: F) -> Option<F::Output> {
    AssertUnwindSafe(look).catch_unwind().await.ok()
}

/// Looks at one table. Never fails: a failure is a back-off.
pub(crate) async fn reconcile(
    object: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    let key = ObjectRef::from_obj_with(&*object, table_resource());
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    if object.metadata.deletion_timestamp.is_some() {
        context.forget(&key);
        return Ok(Action::await_change());
    }
    context.metrics.queue.begin(&key);
    let after = after(&object, &key, &namespace, &name, &context).await;
    context.metrics.queue.end(&key, Some(after));
    Ok(Action::requeue(after))
}

/// Looks at one table. Returns when to look again without an event.
async fn after(
    object: &DynamicObject,
    key: &TableRef,
    namespace: &str,
    name: &str,
    context: &Context,
) -> Duration {
    let memory = context.memory_of(key, name, object.uid());
    let mut memory = memory.lock().await;
    let generation = object.metadata.generation;
    let left = memory.backoff.remaining(generation);
    let began = Instant::now();
    let unpacked = unpack(object);
    let look = Look {
        context,
        table: key,
        object: &unpacked,
        namespace,
        name,
        unseen_set: OnceLock::new(),
    };
    // An operator that asks for the table is answered: it would take it over.
    if let Some(left) = left.filter(|_| !look.is_contested()) {
        return left;
    }
    context.metrics.begin();
    let looked = caught(timeout(LOOK, Box::pin(look.run(&mut memory)))).await;
    let result = match looked {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(LookError::Slow),
        None => {
            context.metrics.panicked();
            Err(LookError::Panicked)
        }
    };
    match result {
        Ok(next) => {
            memory.backoff.succeed();
            context.metrics.end(next.outcome, began.elapsed());
            // Spread out: a thousand tables that started together should not be looked at together.
            next.after
                .mul_f64(0.9 + 0.2 * f64::from(random()) / f64::from(u32::MAX))
        }
        Err(error) => {
            let wait = memory.backoff.fail(generation, random());
            context.metrics.end(Outcome::Error, began.elapsed());
            tracing::warn!(
                namespace,
                name,
                error = told(&error),
                retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "a table is not as it should be; trying again"
            );
            wait
        }
    }
}

/// An error and all its causes, for a condition: in one line, shortened. What an API server says is told in its own words: kube adds them once
/// more, as Rust writes a struct.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = vdt_crds::chain(error);
    let mut cause = Some(error);
    while let Some(error) = cause {
        let boxed = error.downcast_ref::<Box<kube::Error>>().map(|one| &**one);
        if let Some(kube::Error::Api(status)) = boxed.or_else(|| error.downcast_ref()) {
            text = text.replace(&error.to_string(), &status.to_string());
        }
        cause = error.source();
    }
    shorten(&text)
}

/// A random number. It spreads looks and waits, nothing depends on it being good.
fn random() -> u32 {
    let mut bytes = [0; 4];
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes),
        Err(_) => u32::MAX / 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_look_and_nothing_else() {
        assert_eq!(caught(async { 3 }).await, Some(3));
        let look = async { assert_ne!(1 + 1, 2, "a defect") };
        assert_eq!(caught(look).await, None);
    }

    #[test]
    fn what_an_api_server_says_is_told_once_and_in_its_words() {
        let status = serde_json::json!({
            "status": "Failure", "code": 422, "reason": "Invalid", "message": "spec.x: Invalid value: 3",
        });
        let refused = kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()));
        assert_eq!(told(&refused), "spec.x: Invalid value: 3: Invalid");
        let error = ApplyError::Api {
            verb: "apply",
            kind: "StatefulSet",
            name: "manuals".to_owned(),
            source: Box::new(refused),
        };
        assert_eq!(
            told(&error),
            "apply of StatefulSet manuals failed: spec.x: Invalid value: 3: Invalid"
        );
    }
}
