//! HTTP dates (RFC 9110 5.6.7): written as IMF-fixdate, read in all three forms.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use httpdate::fmt_http_date;

/// 9999-12-31 23:59:59: IMF-fixdate has four digits for the year.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Writes `at` as an IMF-fixdate, cut to whole seconds; a time outside of the years 1970 to 9999 as the nearest inside.
pub fn http_date(at: DateTime<Utc>) -> String {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0).min(SECONDS_MAX);
    fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Reads an HTTP date; `None` means that the header is to be ignored.
pub(crate) fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    let at: SystemTime = httpdate::parse_http_date(text.trim()).ok()?;
    Some(at.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        let expected = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(|at| at.timestamp());
        assert_eq!(expected, Some(784_111_777));
        for text in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(
                parse_http_date(text).map(|at| at.timestamp()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn dates_are_written_as_chrono_writes_them() {
        // A step that is prime meets every day of the week, month and hour.
        for second in (0..4_000_000_000_i64).step_by(7_654_321) {
            let at = DateTime::from_timestamp(second, 999_999_999).expect("in range");
            let expected = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            assert_eq!(http_date(at), expected);
        }
    }

    #[test]
    fn times_that_have_no_date_are_written_as_the_nearest_that_has() {
        for (second, text) in [
            (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (253_402_300_800, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let at = DateTime::from_timestamp(second, 0).expect("in range");
            assert_eq!(http_date(at), text);
        }
    }

    #[test]
    fn nonsense_is_ignored() {
        for text in [
            "",
            "0",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Mon, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_written_as_it_is_read() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse_http_date(text).map(http_date).as_deref(), Some(text));
    }
}
