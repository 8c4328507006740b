//! Exit codes of both binaries: 0 success, 1 failure, 2 bad usage or manifest, 128 and the number of a signal that ended at once what had not begun to
//! serve, or what an earlier one had asked to end.

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

/// A signal ended the process before it had begun to serve, or a second one before everything had ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Number of the signal.
    pub signal: i32,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped at once; what was under way was cut")
    }
}

impl Error for Cut {}

/// Prints `error` to standard error and picks its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(cut) = error.downcast_ref::<Cut>() {
        eprintln!("{cut}");
        // As a shell says of a process that a signal ended.
        return ExitCode::from(u8::try_from(128 + cut.signal).unwrap_or(1));
    }
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
