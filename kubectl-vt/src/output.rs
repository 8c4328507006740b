//! What is printed: aligned columns, JSON, YAML; colour where a person looks.
//!
//! A reader that goes away (`| head`) ends the output and nothing else.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    process::ExitCode,
};

use anyhow::Context;
use serde::Serialize;

use crate::args::Format;

/// How a word is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Under way, or not known.
    Wait,
    /// Somebody has to act.
    Bad,
    /// Beside the point.
    Faint,
    /// A heading.
    Strong,
}

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// On a terminal, unless `NO_COLOR` is set (no-color.org) or the terminal is dumb.
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(!unwanted && !dumb && io::stdout().is_terminal())
    }

    /// Colours a word.
    pub(crate) fn of(self, tone: Tone, word: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Wait => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        match self.0 {
            true => format!("\x1b[{code}m{word}\x1b[0m"),
            false => word.to_owned(),
        }
    }
}

/// Aligned columns, three spaces apart, as kubectl prints them.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    rows: Vec<Vec<(String, Option<Tone>)>>,
}

impl Columns {
    /// Starts with a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        let heading = heading.iter().map(|word| ((*word).to_owned(), None));
        Self {
            rows: vec![heading.collect()],
        }
    }

    /// Adds a row, each cell on one line.
    pub(crate) fn row(&mut self, cells: Vec<(String, Option<Tone>)>) {
        let cells = cells.into_iter();
        let cells = cells.map(|(cell, tone)| (one_line(&cell), tone));
        self.rows.push(cells.collect());
    }

    /// The lines, each after `indent`.
    pub(crate) fn render(&self, indent: &str, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(cell, _)| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns)
            .map(|column| width(column).unwrap_or_default())
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (column, (cell, tone)) in row.iter().enumerate() {
                line.push_str(&tone.map_or_else(|| cell.clone(), |tone| paint.of(tone, cell)));
                if column + 1 < row.len() {
                    let fill = widths[column].saturating_sub(cell.chars().count()) + 3;
                    line.extend(std::iter::repeat_n(' ', fill));
                }
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// A cell without colour.
pub(crate) fn plain(text: impl Into<String>) -> (String, Option<Tone>) {
    (text.into(), None)
}

/// A coloured cell.
pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> (String, Option<Tone>) {
    (text.into(), Some(tone))
}

/// A value that may be unknown.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Prints a value in the format that was asked for. `people` writes the other two.
pub(crate) fn show(
    format: Format,
    value: &impl Serialize,
    people: impl FnOnce(Paint) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).context("writing JSON")? + "\n",
        Format::Yaml => serde_yaml::to_string(value).context("writing YAML")?,
        Format::Table | Format::Wide => harmless(&people(Paint::of_stdout())),
    };
    print(&text)
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

/// Says something beside the answer. Where nobody hears it, nothing is lost.
pub(crate) fn warn(line: &str) {
    let _ = writeln!(io::stderr(), "{}", harmless(line));
}

/// Escapes what a terminal obeys, but for lines and colours: messages of pods and of the API server are anybody's.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\n') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let control = rest.chars().next().map_or(0, char::len_utf8);
        let length = match colour(rest) {
            Some(length) => {
                out.push_str(&rest[..length]);
                length
            }
            None => {
                out.extend(rest[..control].escape_unicode());
                control
            }
        };
        rest = &rest[length..];
    }
    out + rest
}

/// A message as part of a line: all that a terminal obeys is escaped, colours too, and its lines are beside each other. What is painted is so afterwards.
pub(crate) fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for (index, text) in message.lines().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        for char in text.chars() {
            match char.is_control() {
                true => line.extend(char.escape_unicode()),
                false => line.push(char),
            }
        }
    }
    line
}

/// The length of the sequence at the beginning of `text` that sets a colour of [`Paint`], or ends it.
fn colour(text: &str) -> Option<usize> {
    let code = text.strip_prefix("\x1b[")?;
    let mut codes = ["0m", "1m", "2m", "31m", "32m", "33m"].into_iter();
    codes
        .find(|known| code.starts_with(known))
        .map(|known| known.len() + 2)
}

/// The exit code of an answer that is good, or is not.
pub(crate) fn code(good: bool) -> ExitCode {
    match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_colour_takes_no_room() {
        let mut columns = Columns::new(&["NAME", "READY", "NEXT"]);
        columns.row(vec![plain("manuals"), toned(Tone::Good, "True"), plain("")]);
        columns.row(vec![plain("ä"), toned(Tone::Bad, "False"), plain("act")]);
        let expected = "NAME      READY   NEXT\nmanuals   True\nä         False   act\n";
        assert_eq!(columns.render("", Paint(false)), expected);
        let painted = columns.render("", Paint(true));
        assert!(painted.contains("\u{1b}[31mFalse\u{1b}[0m   act"));
    }

    #[test]
    fn a_cell_of_many_lines_is_one_and_what_is_escaped_is_as_wide_as_it_is_shown() {
        let mut columns = Columns::new(&["NAME", "MESSAGE", "NEXT"]);
        columns.row(vec![
            plain("a\tb"),
            plain("one\r\ntwo\nthree\n"),
            plain("wait"),
        ]);
        columns.row(vec![plain("c"), plain("four"), plain("act\nnow")]);
        let expected = "\
NAME      MESSAGE         NEXT
a\\u{9}b   one two three   wait
c         four            act now
";
        assert_eq!(columns.render("", Paint(false)), expected);
    }

    #[test]
    fn a_cell_has_no_colour_but_its_own() {
        let mut columns = Columns::new(&["NAME"]);
        columns.row(vec![toned(Tone::Bad, "a\u{1b}[32mb")]);
        let expected = "NAME\n\u{1b}[31ma\\u{1b}[32mb\u{1b}[0m\n";
        assert_eq!(columns.render("", Paint(true)), expected);
    }

    #[test]
    fn a_message_moves_no_cursor_and_sets_no_title() {
        let said = format!(
            "{}\n\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[8m\r\u{9b}1A",
            Paint(true).of(Tone::Bad, "ä")
        );
        let expected =
            "\u{1b}[31mä\u{1b}[0m\n\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}[8m\\u{d}\\u{9b}1A";
        assert_eq!(harmless(&said), expected);
    }
}
