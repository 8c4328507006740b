//! Exit codes of both binaries: 0 success, 1 failure, 2 bad usage or manifest.

use std::{error::Error, fmt, process::ExitCode};

use vdt_crds::chain;

/// What the user gave cannot be used: exit code 2. Every problem has a line.
#[derive(Debug)]
pub struct BadInput {
    /// One problem each.
    pub lines: Vec<String>,
}

impl BadInput {
    /// A single problem.
    #[must_use]
    pub fn new(line: String) -> Self {
        Self { lines: vec![line] }
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl Error for BadInput {}

/// Prints `error` to standard error and picks its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<BadInput>() {
        Some(bad) => {
            for line in &bad.lines {
                eprintln!("error: {line}");
            }
            ExitCode::from(2)
        }
        None => {
            eprintln!("error: {}", chain(error.as_ref()));
            ExitCode::from(1)
        }
    }
}
