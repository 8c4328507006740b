//! Progress of listings: a live line on a terminal, a plain line now and then otherwise. On standard error.

use std::{
    io::{IsTerminal, stderr},
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use vdt_store::Progress;

use crate::units;

/// Time between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows how far the listing of one table has come. Dropped, the live line is gone.
#[derive(Debug)]
pub(crate) struct ListingProgress {
    bar: Option<ProgressBar>,
    table: String,
}

impl ListingProgress {
    /// Begins to show progress for `table`.
    pub(crate) fn start(table: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_message(format!("listing {table}"));
            bar
        });
        Self {
            bar,
            table: table.to_owned(),
        }
    }

    /// The callback for the store.
    pub(crate) fn callback(&self) -> Progress {
        let table = self.table.clone();
        if let Some(bar) = self.bar.clone() {
            return Arc::new(move |artifacts, bytes| {
                bar.set_message(line(&table, artifacts, bytes))
            });
        }
        let last = Mutex::new(Instant::now());
        Arc::new(move |artifacts, bytes| {
            let mut last = last.lock();
            if last.elapsed() >= PLAIN_EVERY {
                *last = Instant::now();
                eprintln!("  {}", line(&table, artifacts, bytes));
            }
        })
    }
}

impl Drop for ListingProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(table: &str, artifacts: u64, bytes: u64) -> String {
    format!(
        "listing {table}: {}, {} so far",
        units::count(artifacts, "artifact"),
        units::bytes(bytes)
    )
}
