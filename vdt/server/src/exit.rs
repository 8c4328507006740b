//! Exit codes: 0 success, 1 failure, 2 bad usage or manifest.

use std::{fmt, process::ExitCode};

/// What the user gave cannot be used: exit code 2. Every problem has a line.
#[derive(Debug)]
pub(crate) struct BadInput {
    /// One problem each.
    pub(crate) lines: Vec<String>,
}

impl BadInput {
    /// A single problem.
    pub(crate) fn new(line: String) -> Self {
        Self { lines: vec![line] }
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for BadInput {}

/// Prints `error` to standard error and picks its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<BadInput>() {
        Some(bad) => {
            for line in &bad.lines {
                eprintln!("error: {line}");
            }
            ExitCode::from(2)
        }
        None => {
            eprintln!("error: {}", vdt_store::chain(error.as_ref()));
            ExitCode::from(1)
        }
    }
}
