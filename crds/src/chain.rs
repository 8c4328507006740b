//! Errors in words.

use std::error::Error;

/// An error and all its causes in one line, for logs, terminals and conditions. A cause whose text is in the line already is
/// not told twice: many errors tell theirs themselves.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let line = next.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = next.source();
    }
    text
}
