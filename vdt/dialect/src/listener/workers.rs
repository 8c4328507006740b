//! Threads that run connections, each with a runtime of its own.
//!
//! A runtime that shares its tasks between threads wakes a second one for each request that comes while all are idle, in case there is more to do.
//! For an answer out of memory that costs as much as the answer, and takes a core from the client on a small machine. Here a connection lives on
//! one thread, which wakes when its socket does. New connections go to the thread that has the fewest.
//!
//! What a request starts in the background is for the runtime of whoever starts it: a task spawned from a handler lives on the connection's thread
//! and must not hold it up.
//!
//! The threads end when the last clone is dropped; what still runs on them then is cut.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Tasks that run before a thread looks at its sockets again. A task that gives way between two steps of a tenth of a millisecond, as one does that
/// decodes frames, must not be run for long before those whose sockets have become ready; looking costs a microsecond.
const LOOK_EVERY: u32 = 8;

/// A fixed number of threads. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Workers {
    threads: Arc<[Worker]>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Dropped to end the thread.
    _running: oneshot::Sender<()>,
}

impl Workers {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// When the system gives no thread, or no file descriptors for its runtime.
    pub fn start(count: usize) -> io::Result<Self> {
        let threads = (0..count.max(1))
            .map(Worker::start)
            .collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// Starts a thread for each core that the process may use.
    ///
    /// # Errors
    /// As [`Workers::start`].
    pub fn for_each_core() -> io::Result<Self> {
        Self::start(thread::available_parallelism().map_or(1, usize::from))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// The runtime of one of them; `number` may be any.
    pub(super) fn runtime(&self, number: usize) -> &Handle {
        &self.threads[number % self.threads.len()].runtime
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(LOOK_EVERY)
            .build()?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name(format!("vdt-data-{number}"))
            .spawn(move || {
                // An error says that the sender is dropped, which is what is waited for.
                let _ = runtime.block_on(stopped);
                // What blocks in the background is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            _running: running,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runs_what_it_is_given_on_its_own_thread_and_ends() {
        let workers = Workers::start(2).expect("threads");
        let name = || async { thread::current().name().map(ToOwned::to_owned) };
        let main = Builder::new_current_thread().build().expect("a runtime");
        let names: Vec<_> = (0..3)
            .map(|number| main.block_on(workers.runtime(number).spawn(name())))
            .map(|name| name.expect("it ran").expect("it has a name"))
            .collect();
        assert_eq!(names, ["vdt-data-0", "vdt-data-1", "vdt-data-0"]);
        let left = workers.runtime(0).spawn(std::future::pending::<()>());
        drop(workers);
        let ended = main.block_on(left);
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
}
