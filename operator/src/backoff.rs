//! Back-off by object: full jitter, from a second to five minutes, forgotten with the first success.
//!
//! kube has none of its own. An event that comes while an object waits does not shorten the wait, unless its spec changed: a broken table among many
//! watched objects must not become a hot loop.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(300);

/// How one object failed lately.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
    generation: Option<i64>,
}

impl Backoff {
    /// Returns how long the object still waits.
    pub(crate) fn remaining(&self, generation: Option<i64>) -> Option<Duration> {
        let left = self.not_before?.checked_duration_since(Instant::now())?;
        (self.generation == generation && !left.is_zero()).then_some(left)
    }

    /// Counts a failure. `random` is in `0..=u32::MAX`. Returns how long the object waits.
    pub(crate) fn fail(&mut self, generation: Option<i64>, random: u32) -> Duration {
        if self.generation != generation {
            self.failures = 0;
        }
        self.generation = generation;
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        // Never nothing: half of a first wait is the least.
        let wait = (ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))).max(FIRST / 2);
        self.not_before = Some(Instant::now() + wait);
        wait
    }

    /// Forgets all failures.
    pub(crate) fn succeed(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_bound_and_are_forgotten() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..12)
            .map(|_| backoff.fail(Some(1), u32::MAX).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert!(backoff.remaining(Some(1)).is_some());
        assert_eq!(
            backoff.remaining(Some(2)),
            None,
            "another spec does not wait"
        );
        assert_eq!(backoff.fail(Some(2), u32::MAX).as_secs(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(backoff.remaining(Some(2)), None);
        backoff.succeed();
        assert_eq!(backoff.fail(Some(2), 0), FIRST / 2);
    }
}
