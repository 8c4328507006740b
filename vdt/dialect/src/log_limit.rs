//! A limit on lines of the log that would otherwise come with every request.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Time between two lines of one subject and kind.
const EVERY: Duration = Duration::from_secs(10);
/// Most subjects and kinds that are remembered: tables and sources, which are declared. Beyond it those of before are forgotten, and told anew.
const SUBJECTS_MAX: usize = 1024;

/// Lets one line through for a subject and a kind in ten seconds, and counts those that it leaves out.
#[derive(Debug, Default)]
pub struct LogLimit {
    told: Mutex<BTreeMap<(String, &'static str), Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    left_out: u64,
}

impl LogLimit {
    /// A limit that has let nothing through yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            told: Mutex::new(BTreeMap::new()),
        }
    }

    /// How many lines were left out since the last one, if there is to be one now.
    pub fn admit(&self, subject: &str, kind: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut told = self.told.lock();
        let key = (subject.to_owned(), kind);
        if let Some(last) = told.get_mut(&key) {
            if now.duration_since(last.at) < EVERY {
                last.left_out += 1;
                return None;
            }
            let left_out = last.left_out;
            (last.at, last.left_out) = (now, 0);
            return Some(left_out);
        }
        if told.len() >= SUBJECTS_MAX {
            told.clear();
        }
        let first = Told {
            at: now,
            left_out: 0,
        };
        told.insert(key, first);
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_one_subject_and_kind_a_line_comes_in_a_while_and_tells_what_was_left_out() {
        let limit = LogLimit::new();
        assert_eq!(limit.admit("a", "Denied"), Some(0));
        for _ in 0..3 {
            assert_eq!(limit.admit("a", "Denied"), None);
        }
        assert_eq!(limit.admit("a", "Failed"), Some(0), "another kind");
        assert_eq!(limit.admit("b", "Denied"), Some(0), "another subject");
        advance(EVERY - Duration::from_millis(1)).await;
        assert_eq!(limit.admit("a", "Denied"), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(limit.admit("a", "Denied"), Some(4));
        assert_eq!(limit.admit("a", "Denied"), None);
        advance(EVERY).await;
        assert_eq!(limit.admit("b", "Denied"), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let limit = LogLimit::new();
        for subject in 0..3 * SUBJECTS_MAX {
            assert_eq!(limit.admit(&subject.to_string(), "Denied"), Some(0));
        }
        assert!(limit.told.lock().len() <= SUBJECTS_MAX);
    }
}
