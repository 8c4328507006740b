//! When requests of an open loop start.
//!
//! tokio's timer has steps of a millisecond, and several requests are due in each. So one task paces all connections by a timer of the kernel, which
//! wakes the generator's thread as a socket does. It sleeps between requests: a generator that looks at the clock without a pause takes a core from the
//! server, and what the server's threads wait for the scheduler is measured then. How long its own core takes to wake up is part of the latencies.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

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
        let alarm = Alarm::new()?;
        loop {
            let due = self.waiting.borrow().front().map(|(due, _)| *due);
            match due {
                Some(due) => alarm.until(due).await?,
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

/// A timer of the kernel (timerfd_create(2)).
struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe to call, for the sake of types that do not own their descriptor"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(timer))
    }

    async fn until(&self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(Instant::now());
        // A timer that is set to nothing never rings.
        let Some(it_value) = Timespec::try_from(left).ok().filter(|_| !left.is_zero()) else {
            return Ok(());
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut rung = [0; 8];
        let rings = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut rung)?);
        self.0.async_io(Interest::READABLE, rings).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
