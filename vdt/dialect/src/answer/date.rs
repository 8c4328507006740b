//! HTTP dates (RFC 9110 5.6.7): written as IMF-fixdate, read in all three forms.

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Writes `at` as an IMF-fixdate, cut to whole seconds.
pub fn http_date(at: DateTime<Utc>) -> String {
    // Every answer has one: chrono's own formatting, which parses its pattern each time, was a thirtieth of a small one.
    let (date, time) = (at.date_naive(), at.time());
    let mut text = String::with_capacity(32);
    let pair = |text: &mut String, number: u32| {
        for digit in [number / 10, number] {
            text.push(char::from(b'0' + (digit % 10) as u8));
        }
    };
    text.push_str(DAYS[date.weekday().num_days_from_monday() as usize]);
    text.push_str(", ");
    pair(&mut text, date.day());
    text.push(' ');
    text.push_str(MONTHS[date.month0() as usize]);
    text.push(' ');
    // IMF-fixdate has four digits, and nothing else is a date that a store gives.
    let year = date.year().clamp(0, 9999).unsigned_abs();
    pair(&mut text, year / 100);
    pair(&mut text, year);
    for (before, number) in [
        (' ', time.hour()),
        (':', time.minute()),
        (':', time.second()),
    ] {
        text.push(before);
        pair(&mut text, number);
    }
    text.push_str(" GMT");
    text
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
    fn dates_are_written_as_chrono_writes_them() {
        // A step that is prime meets every day of the week, month and hour.
        for second in (0..4_000_000_000_i64).step_by(7_654_321) {
            let at = DateTime::from_timestamp(second, 999_999_999).expect("in range");
            let expected = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            assert_eq!(http_date(at), expected);
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
