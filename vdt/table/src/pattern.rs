//! Values in names: a pattern over the key below the source's prefix, whose named parts become columns.
//!
//! ```text
//! {customer}/{year}/**        acme/2024/a/b.pdf     customer = acme, year = 2024
//! {year}-{month}/inv_*.pdf    2024-01/inv_7.pdf     year = 2024, month = 01
//! **/{kind}_{n}.pdf           x/y/inv_7.pdf         kind = inv, n = 7
//! ```
//!
//! - `{name}` stands for one or more characters of one segment, `*` for none or more, everything else for itself.
//! - `**` is a whole segment and stands for none or more segments; at the end for one or more, so `a/**` is what lies
//!   below `a` and not `a` itself.
//! - Where several readings fit, parts further left are as short as can be: `{a}-{b}` reads `x-y-z` as `x` and `y-z`.
//!
//! Matching is linear in the key for each `**`: taking the leftmost place for every piece but the last never loses a match,
//! so there is nothing to go back to.

use std::ops::Range;

/// Why a path pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing to match.
    #[error(
        "path pattern {pattern:?} has an empty segment: write no leading, trailing or double slash"
    )]
    EmptySegment {
        /// The pattern.
        pattern: String,
    },
    /// A brace without its partner.
    #[error("path pattern {pattern:?} has an unmatched brace in segment {segment:?}")]
    Brace {
        /// The pattern.
        pattern: String,
        /// The segment with the brace.
        segment: String,
    },
    /// A name that cannot be one.
    #[error(
        "path pattern {pattern:?} names a part {name:?}: use a letter or _, then letters, digits or _, at most 63"
    )]
    Name {
        /// The pattern.
        pattern: String,
        /// The name.
        name: String,
    },
    /// The same name twice.
    #[error("path pattern {pattern:?} names {name:?} twice")]
    Duplicate {
        /// The pattern.
        pattern: String,
        /// The name.
        name: String,
    },
    /// Two wildcards side by side, or `**` beside other characters.
    #[error(
        "path pattern {pattern:?} is ambiguous in segment {segment:?}: put a character between two wildcards, and ** alone"
    )]
    Ambiguous {
        /// The pattern.
        pattern: String,
        /// The segment.
        segment: String,
    },
}

/// A parsed `pathPattern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    names: Vec<String>,
    /// Runs of one-segment patterns; `**` lies between two runs.
    runs: Vec<Vec<Vec<Piece>>>,
}

/// A piece of a segment. Two wildcards are never neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// `*`
    Any,
    /// `{name}`, by its place among the names.
    Part(usize),
}

/// Where the parts of one key lie. Reused from key to key, so that matching allocates nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captures {
    segments: Vec<Range<usize>>,
    parts: Vec<Range<usize>>,
}

impl Captures {
    /// Returns the byte range of a part in the key that matched last.
    pub(crate) fn part(&self, index: usize) -> Range<usize> {
        self.parts[index].clone()
    }
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When a segment is empty or ambiguous, a brace is unmatched, or a name is not one or is used twice.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        let mut names = Vec::new();
        let mut runs = vec![Vec::new()];
        for segment in pattern.split('/') {
            if segment == "**" {
                runs.push(Vec::new());
            } else {
                let pieces = pieces(pattern, segment, &mut names)?;
                runs.last_mut()
                    .expect("there is always a last run")
                    .push(pieces);
            }
        }
        Ok(Self {
            text: pattern.to_owned(),
            names,
            runs,
        })
    }

    /// Returns the names of the parts, in the order of the pattern.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Matches a key below the prefix; on success `captures` says where the parts lie.
    pub(crate) fn matches(&self, key: &str, captures: &mut Captures) -> bool {
        let Captures { segments, parts } = captures;
        segments.clear();
        let mut start = 0;
        for (slash, _) in key.match_indices('/') {
            segments.push(start..slash);
            start = slash + 1;
        }
        segments.push(start..key.len());
        parts.clear();
        // A key that does not match may leave parts of a try behind: nobody reads them.
        parts.resize(self.names.len(), 0..0);

        let (first, rest) = self.runs.split_first().expect("a pattern has a run");
        if segments.len() < first.len() || !run_matches(first, key, segments, parts) {
            return false;
        }
        let Some((last, middle)) = rest.split_last() else {
            return segments.len() == first.len();
        };
        let mut at = first.len();
        for run in middle {
            let found = (at..=segments.len().saturating_sub(run.len()))
                .find(|&i| run_matches(run, key, &segments[i..], parts));
            match found {
                Some(i) => at = i + run.len(),
                None => return false,
            }
        }
        // A closing ** stands for at least one segment.
        let least = at + last.len().max(1);
        segments.len() >= least
            && run_matches(last, key, &segments[segments.len() - last.len()..], parts)
    }
}

/// Splits a segment into pieces and notes the names it holds.
fn pieces(
    pattern: &str,
    segment: &str,
    names: &mut Vec<String>,
) -> Result<Vec<Piece>, PatternError> {
    let brace = || PatternError::Brace {
        pattern: pattern.into(),
        segment: segment.into(),
    };
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = segment;
    while let Some(first) = rest.chars().next() {
        let piece = match first {
            '*' => {
                rest = &rest[1..];
                Piece::Any
            }
            '{' => {
                let end = rest.find('}').ok_or_else(brace)?;
                let name = &rest[1..end];
                rest = &rest[end + 1..];
                Piece::Part(declare(pattern, name, names)?)
            }
            '}' => return Err(brace()),
            _ => {
                let end = rest.find(['*', '{', '}']).unwrap_or(rest.len());
                let literal = rest[..end].to_owned();
                rest = &rest[end..];
                Piece::Literal(literal)
            }
        };
        let wild = |p: &Piece| matches!(p, Piece::Any | Piece::Part(_));
        if wild(&piece) && pieces.last().is_some_and(wild) {
            let (pattern, segment) = (pattern.into(), segment.into());
            return Err(PatternError::Ambiguous { pattern, segment });
        }
        pieces.push(piece);
    }
    if pieces.is_empty() {
        return Err(PatternError::EmptySegment {
            pattern: pattern.into(),
        });
    }
    Ok(pieces)
}

/// Checks a name and gives it its place.
fn declare(pattern: &str, name: &str, names: &mut Vec<String>) -> Result<usize, PatternError> {
    let (pattern, owned) = (pattern.to_owned(), name.to_owned());
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let valid = name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
        && name.len() <= 63;
    if !valid {
        return Err(PatternError::Name {
            pattern,
            name: owned,
        });
    }
    if names.contains(&owned) {
        return Err(PatternError::Duplicate {
            pattern,
            name: owned,
        });
    }
    names.push(owned);
    Ok(names.len() - 1)
}

/// Matches a run against as many segments from the front; the caller makes sure there are enough.
fn run_matches(
    run: &[Vec<Piece>],
    key: &str,
    segments: &[Range<usize>],
    parts: &mut [Range<usize>],
) -> bool {
    run.iter()
        .zip(segments)
        .all(|(pieces, segment)| segment_matches(pieces, key, segment, parts))
}

/// Matches one segment, wildcards further left as short as can be.
fn segment_matches(
    pieces: &[Piece],
    key: &str,
    segment: &Range<usize>,
    parts: &mut [Range<usize>],
) -> bool {
    let mut at = segment.start;
    let mut pieces = pieces.iter().peekable();
    while let Some(piece) = pieces.next() {
        let least = match piece {
            Piece::Literal(literal) => {
                if !key[at..segment.end].starts_with(literal.as_str()) {
                    return false;
                }
                at += literal.len();
                continue;
            }
            Piece::Any => 0,
            // One character, whatever its length in UTF-8.
            Piece::Part(_) => key[at..segment.end]
                .chars()
                .next()
                .map_or(1, char::len_utf8),
        };
        let from = at;
        if from + least > segment.end {
            return false;
        }
        let tail = &key[from + least..segment.end];
        at = match pieces.next() {
            None => segment.end,
            Some(Piece::Literal(literal)) => {
                // The last literal is the end of the segment, any other the nearest.
                let last = pieces.peek().is_none();
                let found = if last {
                    tail.ends_with(literal.as_str())
                        .then(|| tail.len() - literal.len())
                } else {
                    tail.find(literal.as_str())
                };
                let Some(found) = found else { return false };
                if let Piece::Part(index) = *piece {
                    parts[index] = from..from + least + found;
                }
                at = from + least + found + literal.len();
                continue;
            }
            Some(Piece::Any | Piece::Part(_)) => unreachable!("two wildcards are never neighbours"),
        };
        if let Piece::Part(index) = *piece {
            parts[index] = from..at;
        }
    }
    at == segment.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, key: &str) -> Option<Vec<String>> {
        let pattern = PathPattern::parse(pattern).unwrap();
        let mut captures = Captures::default();
        pattern.matches(key, &mut captures).then(|| {
            (0..pattern.names().len())
                .map(|i| key[captures.part(i)].to_owned())
                .collect()
        })
    }

    #[test]
    fn keys_are_read_as_documented() {
        let cases: &[(&str, &str, Option<&[&str]>)] = &[
            ("{c}/{y}/**", "acme/2024/a/b.pdf", Some(&["acme", "2024"])),
            ("{c}/{y}/**", "acme/2024/b.pdf", Some(&["acme", "2024"])),
            ("{c}/{y}/**", "acme/2024", None),
            ("{c}/{y}/**", "acme", None),
            ("{c}/*", "acme/x.pdf", Some(&["acme"])),
            ("{c}/*", "acme/x/y.pdf", None),
            ("{y}-{m}/**", "2024-01/x", Some(&["2024", "01"])),
            ("{y}-{m}/**", "2024-01-15/x", Some(&["2024", "01-15"])),
            ("{y}-{m}/**", "2024/x", None),
            ("{y}-{m}/**", "-01/x", None),
            ("inv_{n}.pdf", "inv_7.pdf", Some(&["7"])),
            ("inv_{n}.pdf", "inv_.pdf", None),
            ("inv_{n}.pdf", "inv_7.pdf.pdf", Some(&["7.pdf"])),
            ("inv_*.pdf", "inv_.pdf", Some(&[])),
            ("**/{k}_{n}.pdf", "x/y/inv_7.pdf", Some(&["inv", "7"])),
            ("**/{k}_{n}.pdf", "inv_7.pdf", Some(&["inv", "7"])),
            ("{c}/**/raw/{f}", "a/raw/f", Some(&["a", "f"])),
            ("{c}/**/raw/{f}", "a/x/raw/y/raw/f", Some(&["a", "f"])),
            ("{c}/**/raw/{f}", "a/x/f", None),
            ("a/**/b/**/{f}", "a/b/b/f", Some(&["f"])),
            ("a/**/{b}x/**/{f}", "a/1/2x/3/4", Some(&["2", "4"])),
            ("**", "x", Some(&[])),
            ("{f}", "é", Some(&["é"])),
            ("{a}é{b}", "xéy", Some(&["x", "y"])),
            ("{a}é{b}", "ééé", Some(&["é", "é"])),
            ("x", "x", Some(&[])),
            ("x", "xy", None),
            ("*.{e}", "a.tar.gz", Some(&["tar.gz"])),
            ("{a}/{b}", "/x", None),
            ("{a}", "", None),
            ("*", "", Some(&[])),
        ];
        for (pattern, key, expected) in cases {
            let expected = expected.map(|e| e.iter().map(|s| s.to_string()).collect::<Vec<_>>());
            assert_eq!(read(pattern, key), expected, "{pattern} on {key:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for pattern in [
            "", "/a", "a/", "a//b", "{a", "a}", "{}", "{1a}", "{a}/{a}", "{a}{b}", "{a}*", "a**",
            "***", "{a/b}",
        ] {
            assert!(PathPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
