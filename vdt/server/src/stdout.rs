//! Standard output, all of it. A reader that goes away (`| head`) ends the output and nothing else; a full disk is an error.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

/// Prints `text`.
///
/// # Errors
/// It cannot be written, for another reason than that nobody reads it any more.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write_to(&mut io::stdout().lock(), text.as_bytes()).context("writing to standard output")
}

/// Prints `value` as one JSON document.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// Whether an error says that whoever read has gone.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

fn write_to(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if is_closed(&error) => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        drop(reader);
        write_to(&mut writer, b"text").expect("a quiet end");
        let mut full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("it opens");
        let error = write_to(&mut full, b"text").expect_err("nothing can be written");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
