//! Files that are looked at again and again, and what is taken of them.

use parking_lot::Mutex;

use super::Problem;
use super::certificate::Certificate;
use super::principals::Principals;
use super::secrets::Fingerprint;

/// What became of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// They are as they were, or there are none.
    #[default]
    Unchanged,
    /// They changed, and what they say is in use.
    Taken,
    /// They changed, and not all of it can be used. Of a certificate nothing is; of keys those whose Secrets are good.
    Refused,
}

/// Something made of secret files, and what the files were like when it was made or last tried.
#[derive(Debug)]
pub(super) struct Watched<T> {
    pub(super) from: T,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    files: Fingerprint,
    /// What was told of files that could not be read for now, so that it is told once.
    told: Vec<Problem>,
    /// Whether something was wrong when they were read last.
    are_refused: bool,
}

impl<T: Source> Watched<T> {
    pub(super) fn new(from: T) -> Self {
        // Before the files are read: what changes meanwhile is noticed by the first look.
        let seen = Mutex::new(Seen {
            files: from.files(),
            ..Seen::default()
        });
        Self { from, seen }
    }

    /// Whether something was wrong with the files when they were read last.
    pub(super) fn are_refused(&self) -> bool {
        self.seen.lock().are_refused
    }

    /// Tells what was wrong when the files were read first: what may pass is tried again by the next look, and not told again.
    pub(super) fn first_read(&self, problems: &[Problem]) {
        let mut seen = self.seen.lock();
        seen.are_refused = !problems.is_empty();
        if problems.iter().any(|problem| problem.may_pass) {
            seen.files = Fingerprint::new();
            seen.told = problems.to_vec();
        }
        Self::tell(problems);
    }

    fn tell(problems: &[Problem]) {
        for problem in problems {
            tracing::error!(what = T::NAME, %problem, "{}", T::USELESS);
        }
    }

    /// Takes what has changed by `take`, which tells what is wrong.
    pub(super) fn check(&self, take: impl FnOnce(&T, &mut Vec<Problem>)) -> Outcome {
        let mut seen = self.seen.lock();
        let now = self.from.files();
        // What could not be read for now is read again, though the files look as they did before.
        if seen.files == now && seen.told.is_empty() {
            return Outcome::Unchanged;
        }
        let mut problems = Vec::new();
        take(&self.from, &mut problems);
        seen.are_refused = !problems.is_empty();
        if problems.iter().any(|problem| problem.may_pass) {
            // The files are not seen yet: the next look reads them again, whatever they are like.
            if seen.told == problems {
                return Outcome::Unchanged;
            }
            seen.told.clone_from(&problems);
        } else {
            // Files that changed again while they were read differ from this, and are read again by the next look.
            seen.files = now;
            seen.told.clear();
        }
        if problems.is_empty() {
            tracing::info!(what = T::NAME, "secrets changed and are in use");
            return Outcome::Taken;
        }
        Self::tell(&problems);
        Outcome::Refused
    }
}

/// What is made of secret files.
pub(super) trait Source {
    /// As the log calls it.
    const NAME: &'static str;
    /// What becomes of it while its files are of no use, as the log says it.
    const USELESS: &'static str;

    /// What the files are like now.
    fn files(&self) -> Fingerprint;
}

impl Source for Principals {
    const NAME: &'static str = "keys";
    const USELESS: &'static str = "a principal's secret is of no use: without one it may read nothing, else what it had is in use; the others are served as their secrets say";

    fn files(&self) -> Fingerprint {
        self.fingerprint()
    }
}

impl Source for Certificate {
    const NAME: &'static str = "certificate";
    const USELESS: &'static str = "the certificate is of no use: what was in use stays in use, and before there is one nobody is served";

    fn files(&self) -> Fingerprint {
        self.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that never look different from these.
    struct Files(Fingerprint);

    impl Source for Files {
        const NAME: &'static str = "files";
        const USELESS: &'static str = "of no use";

        fn files(&self) -> Fingerprint {
            self.0.clone()
        }
    }

    fn problem(may_pass: bool) -> Problem {
        Problem {
            manifest: None,
            field: "f".to_owned(),
            value: None,
            message: "cannot be read".to_owned(),
            remedy: None,
            may_pass,
            needs_restart: false,
        }
    }

    #[test]
    fn what_the_system_does_not_let_read_is_tried_again_and_told_once() {
        let mut watched = Watched::new(Files(vec![None]));
        watched.from = Files(vec![Some([1; 6])]);
        let fails = |_: &Files, problems: &mut Vec<Problem>| problems.push(problem(true));
        assert_eq!(watched.check(fails), Outcome::Refused);
        assert_eq!(watched.check(fails), Outcome::Unchanged);
        assert!(watched.are_refused());
        let mut taken = 0;
        assert_eq!(watched.check(|_, _| taken += 1), Outcome::Taken);
        assert_eq!(watched.check(|_, _| taken += 1), Outcome::Unchanged);
        assert_eq!(taken, 1);
        // What the files hold does not change by waiting.
        watched.from = Files(vec![Some([2; 6])]);
        let broken = |_: &Files, problems: &mut Vec<Problem>| problems.push(problem(false));
        assert_eq!(watched.check(broken), Outcome::Refused);
        assert_eq!(watched.check(|_, _| taken += 1), Outcome::Unchanged);
        assert_eq!(taken, 1);
        assert!(watched.are_refused());
    }

    #[test]
    fn what_is_refused_is_so_until_the_files_are_read_whole() {
        let good = Files(vec![Some([1; 6])]);
        let mut watched = Watched::new(Files(good.0.clone()));
        // At the first read, of which the files tell nothing.
        watched.first_read(&[problem(false)]);
        assert!(watched.are_refused());
        watched.first_read(&[]);
        assert!(!watched.are_refused());
        // For a moment, after which they look as they did before.
        watched.from = Files(vec![None]);
        let fails = |_: &Files, problems: &mut Vec<Problem>| problems.push(problem(true));
        assert_eq!(watched.check(fails), Outcome::Refused);
        assert!(watched.are_refused());
        watched.from = good;
        assert_eq!(watched.check(|_, _| ()), Outcome::Taken);
        assert!(!watched.are_refused());
    }
}
