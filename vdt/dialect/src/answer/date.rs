//! HTTP dates (RFC 9110 5.6.7): written as IMF-fixdate, read in all three forms.

use chrono::{DateTime, NaiveDateTime, Utc};

/// Writes `at` as an IMF-fixdate, cut to whole seconds.
pub(crate) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads an HTTP date; `None` means that the header is to be ignored.
pub(crate) fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    const IMF_FIXDATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
    const RFC_850: &str = "%A, %d-%b-%y %H:%M:%S GMT";
    const ASCTIME: &str = "%a %b %e %H:%M:%S %Y";
    [IMF_FIXDATE, RFC_850, ASCTIME]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text.trim(), form).ok())
        .map(|at| at.and_utc())
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
