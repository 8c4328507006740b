//! Whether a constant is a value of its column's type, as the table reads it.
//!
//! ```text
//! date       YYYY-MM-DD or YYYYMMDD, of the years 1 to 9999
//! timestamp  a date, then T or a space and HH:MM[:SS[.f]] or HHMM[SS[.f]], then Z, +HH:MM, +HHMM, +HH or nothing
//! ```

use std::{str::FromStr, sync::LazyLock};

use jiff::civil::Date;
use regex::{Captures, Regex};

use crate::spec::ColumnType;

/// What a number is written as. The API server knows no more of it than this.
pub(crate) const WHOLE: &str = r"^[+-]?[0-9]+$";
pub(crate) const DOUBLE: &str = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$";
pub(crate) const BOOLEAN: &str = "^([tT][rR][uU][eE]|[fF][aA][lL][sS][eE])$";
pub(crate) const DATE: &str = "^([0-9]{4})(-[0-9]{2}-|[0-9]{2})([0-9]{2})$";
pub(crate) const TIMESTAMP: &str = "^([0-9]{4})(-[0-9]{2}-|[0-9]{2})([0-9]{2})\
    ([Tt ]([0-9]{2})(:([0-9]{2})(:([0-9]{2})([.,][0-9]{1,9})?)?|([0-9]{2})(([0-9]{2})([.,][0-9]{1,9})?)?)\
    ([Zz]|[+-]([0-9]{2})(:?([0-9]{2}))?)?)?$";

/// Whether `text` is a value of the type `kind`.
pub(super) fn is_of(kind: ColumnType, text: &str) -> bool {
    match kind {
        ColumnType::Long => text.parse::<i64>().is_ok(),
        ColumnType::Integer => text.parse::<i32>().is_ok(),
        ColumnType::Double => text.parse().is_ok_and(f64::is_finite),
        ColumnType::Boolean => ["true", "false"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word)),
        ColumnType::Date => is_date(text),
        ColumnType::Timestamp => is_timestamp(text),
        ColumnType::String | ColumnType::Binary => true,
    }
}

fn is_date(text: &str) -> bool {
    static FORM: LazyLock<Regex> = LazyLock::new(|| form(DATE));
    FORM.captures(text).is_some_and(|found| has_day(&found))
}

fn is_timestamp(text: &str) -> bool {
    static FORM: LazyLock<Regex> = LazyLock::new(|| form(TIMESTAMP));
    let Some(found) = FORM.captures(text) else {
        return false;
    };
    let below = |groups: &[usize], bound: u32| {
        let mut groups = groups.iter();
        groups.all(|group| number(&found, *group).is_none_or(|part: u32| part < bound))
    };
    // Hours and minutes of the day and of the zone; seconds.
    has_day(&found) && below(&[5, 16], 24) && below(&[7, 11, 18], 60) && below(&[9, 13], 60)
}

fn form(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is one")
}

fn number<T: FromStr>(found: &Captures<'_>, group: usize) -> Option<T> {
    let digits = found.get(group)?.as_str().trim_matches('-');
    digits.parse().ok()
}

/// Whether the first three groups are a day that exists.
fn has_day(found: &Captures<'_>) -> bool {
    match (number(found, 1), number(found, 2), number(found, 3)) {
        (Some(year @ 1..), Some(month), Some(day)) => Date::new(year, month, day).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_of_their_type() {
        use ColumnType::*;
        for (kind, good, bad) in [
            (
                Long,
                &["-9223372036854775808", "+007"][..],
                &["abc", "", "1.0", "9223372036854775808", " 1"][..],
            ),
            (Integer, &["2147483647"], &["2147483648"]),
            (
                Double,
                &["1e3", ".5", "1.", "-0"],
                &["inf", "NaN", "1e400", "."],
            ),
            (Boolean, &["TRUE", "false"], &["1", "yes"]),
            (
                Date,
                &["2000-02-29", "19700102", "0001-01-01"],
                &[
                    "1900-02-29",
                    "2024-13-01",
                    "2024-1-1",
                    "2024-0101",
                    "0000-01-01",
                    "2024-01-01x",
                ],
            ),
            (
                Timestamp,
                &[
                    "1970-01-01",
                    "1970-01-01T00:00Z",
                    "1970-01-01 00:00:01",
                    "19700101T000001.5",
                    "1970-01-01T00:00:00.123456789Z",
                    "1970-01-01t23:59:59,1+0130",
                    "1970-01-01T0000-01",
                ],
                &[
                    "1970-01-01T",
                    "1970-01-01T24:00:00",
                    "1970-01-01T00:60",
                    "1970-01-01T00:00:60",
                    "1970-01-01T00:00:00.Z",
                    "1970-01-01T00:0000",
                    "1970-01-01T00:00+24:00",
                    "1970-01-01T00:00ZZ",
                    "1970-02-30T00:00",
                ],
            ),
            (String, &["", "abc"], &[]),
        ] {
            for text in good {
                assert!(is_of(kind, text), "{kind:?} {text:?}");
            }
            for text in bad {
                assert!(!is_of(kind, text), "{kind:?} {text:?}");
            }
        }
    }

    #[test]
    fn what_the_api_server_looks_at_refuses_nothing_that_is_good() {
        for (pattern, kind, texts) in [
            (WHOLE, ColumnType::Long, &["-1", "+1", "007"][..]),
            (
                DOUBLE,
                ColumnType::Double,
                &["1", "1.", ".5", "-1.5E-3", "+0"],
            ),
            (BOOLEAN, ColumnType::Boolean, &["true", "FALSE", "tRuE"]),
        ] {
            for text in texts {
                assert!(is_of(kind, text), "{kind:?} {text:?}");
                assert!(form(pattern).is_match(text), "{pattern} {text:?}");
            }
        }
    }
}
