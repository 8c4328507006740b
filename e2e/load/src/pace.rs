//! When requests of an open loop start.
//!
//! tokio's timer has steps of a millisecond, and several requests are due in each. So one task paces all connections: a thread that sleeps, which
//! the kernel ends within some ten microseconds, until shortly before a request is due, then a loop that looks at the clock and, each time, at
//! the sockets. A generator that slept until the last moment would measure how long its own core takes to wake up.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How long before a request is due the pacer stops to sleep: longer than a core takes to wake up.
const AWAKE: Duration = Duration::from_micros(200);

/// Requests that wait until they are due, in that order.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waiting: RefCell<VecDeque<(Instant, oneshot::Sender<()>)>>,
    came: Notify,
}

impl Pace {
    /// Waits until `due`. Calls must come in the order of their times.
    pub(crate) async fn wait(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (start, started) = oneshot::channel();
        self.waiting.borrow_mut().push_back((due, start));
        self.came.notify_one();
        // An error says that the pacer has ended, and with it the run.
        let _ = started.await;
    }

    /// Starts what waits, for ever.
    pub(crate) async fn run(&self) -> io::Result<()> {
        let alarm = Alarm::start()?;
        loop {
            let due = self.waiting.borrow().front().map(|(due, _)| *due);
            match due {
                Some(due) => alarm.until(due).await,
                None => self.came.notified().await,
            }
            let now = Instant::now();
            let mut waiting = self.waiting.borrow_mut();
            while let Some((_, start)) = waiting.pop_front_if(|(due, _)| *due <= now) {
                // Nobody waits any more when the run is over.
                let _ = start.send(());
            }
        }
    }
}

/// A thread that sleeps for others. It ends when this is dropped.
struct Alarm {
    sleep: mpsc::Sender<Duration>,
    woken: Arc<Notify>,
}

impl Alarm {
    fn start() -> io::Result<Self> {
        let (sleep, sleeps) = mpsc::channel();
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        thread::Builder::new()
            .name("alarm".to_owned())
            .spawn(move || {
                for time in sleeps {
                    thread::sleep(time);
                    wake.notify_one();
                }
            })?;
        Ok(Self { sleep, woken })
    }

    async fn until(&self, due: Instant) {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match left.checked_sub(AWAKE).filter(|asleep| !asleep.is_zero()) {
                Some(asleep) if self.sleep.send(asleep).is_ok() => self.woken.notified().await,
                _ => tokio::task::yield_now().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_starts_and_none_before_it_is_due() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let pace = Pace::default();
            let begin = Instant::now();
            let started = RefCell::new(Vec::new());
            let (pace, started) = (&pace, &started);
            let wait = |micros| async move {
                let due = begin + Duration::from_micros(micros);
                pace.wait(due).await;
                assert!(Instant::now() >= due);
                started.borrow_mut().push(micros);
            };
            let all = async {
                tokio::join!(wait(0), wait(300), wait(5_000), wait(5_010));
            };
            tokio::select! {
                () = all => {}
                ended = pace.run() => panic!("the pacer ended: {ended:?}"),
            }
            // Those that are due at one look at the clock start together.
            started.borrow_mut().sort_unstable();
            assert_eq!(*started.borrow(), [0, 300, 5_000, 5_010]);
        });
    }
}
