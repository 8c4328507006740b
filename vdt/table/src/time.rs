//! Dates and times without a clock: days and milliseconds since 1970-01-01 UTC in the proleptic Gregorian calendar,
//! read from text and written as Delta's statistics want them.
//!
//! Only the years 1 to 9999 exist here: every client can parse those, and microseconds of them fit an `i64`. The calendar is
//! jiff's. The texts are stricter than its own parsers, which know leap seconds, years of six digits and names of zones.

use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

/// What days and milliseconds are counted from.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// First and last millisecond that has a text form.
const RANGE_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Returns whether a time in Unix milliseconds lies in the years 1 to 9999.
pub(crate) fn is_representable(unix_ms: i64) -> bool {
    RANGE_MS.contains(&unix_ms)
}

/// Writes a day since 1970-01-01 as `YYYY-MM-DD`.
pub(crate) fn format_date(days: i32) -> String {
    let since = SignedDuration::from_hours(24 * i64::from(days));
    EPOCH.date().saturating_add(since).to_string()
}

/// Writes Unix milliseconds as `YYYY-MM-DDTHH:MM:SS.sssZ`, the form of Delta's timestamp statistics.
pub(crate) fn format_timestamp(unix_ms: i64) -> String {
    let since = SignedDuration::from_millis(unix_ms);
    format!("{:.3}Z", EPOCH.saturating_add(since))
}

/// Reads `YYYY-MM-DD` or `YYYYMMDD` as days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let mut scan = Scan(text);
    let date = scan.date()?;
    scan.end()?;
    let hours = date.duration_since(EPOCH.date()).as_hours();
    i32::try_from(hours / 24).ok()
}

/// Reads an ISO 8601 date and time as Unix milliseconds; digits below the millisecond are cut off.
///
/// Either form of [`parse_date`], then optionally `T` or a space, `HH:MM[:SS[.f]]` or `HHMM[SS[.f]]`, then optionally `Z` or
/// an offset `+HH:MM`, `+HHMM`, `+HH`. Without a zone the time is UTC.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let mut scan = Scan(text);
    let date = scan.date()?;
    let (mut time, mut offset) = (Time::midnight(), SignedDuration::ZERO);
    if scan.end().is_none() {
        scan.accept(&['T', 't', ' '])?;
        time = scan.time_of_day()?;
        offset = scan.offset()?;
    }
    scan.end()?;
    let since = date.to_datetime(time).duration_since(EPOCH) - offset;
    i64::try_from(since.as_millis())
        .ok()
        .filter(|ms| is_representable(*ms))
}

/// What is left of the text.
struct Scan<'a>(&'a str);

impl Scan<'_> {
    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Takes the next character if it is one of these.
    fn accept(&mut self, characters: &[char]) -> Option<char> {
        let next = self.0.chars().next().filter(|it| characters.contains(it))?;
        self.0 = &self.0[next.len_utf8()..];
        Some(next)
    }

    /// Takes a number of so many digits.
    fn digits<T: FromStr>(&mut self, count: usize) -> Option<T> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.then(|| digits.parse().ok())??;
        self.0 = rest;
        Some(number)
    }

    fn date(&mut self) -> Option<Date> {
        let year = self.digits(4)?;
        let has_dashes = self.accept(&['-']).is_some();
        let month = self.digits(2)?;
        if has_dashes {
            self.accept(&['-'])?;
        }
        let date = Date::new(year, month, self.digits(2)?).ok();
        date.filter(|date| date.year() > 0)
    }

    /// Without what is below the millisecond.
    fn time_of_day(&mut self) -> Option<Time> {
        let hour = self.digits(2)?;
        let has_colons = self.accept(&[':']).is_some();
        let minute = self.digits(2)?;
        let has_seconds = match has_colons {
            true => self.accept(&[':']).is_some(),
            false => self.0.starts_with(|next: char| next.is_ascii_digit()),
        };
        let (mut second, mut millisecond) = (0, 0);
        if has_seconds {
            second = self.digits(2)?;
            if self.accept(&['.', ',']).is_some() {
                millisecond = self.fraction_ms()?;
            }
        }
        Time::new(hour, minute, second, millisecond * 1_000_000).ok()
    }

    /// One to nine digits behind a point.
    fn fraction_ms(&mut self) -> Option<i32> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let nanosecond = match digits {
            1..=9 => self.digits::<i32>(digits)? * 10_i32.pow(9 - digits as u32),
            _ => return None,
        };
        Some(nanosecond / 1_000_000)
    }

    fn offset(&mut self) -> Option<SignedDuration> {
        if self.end().is_some() || self.accept(&['Z', 'z']).is_some() {
            return Some(SignedDuration::ZERO);
        }
        let is_behind = self.accept(&['+', '-'])? == '-';
        let hour = self.digits(2)?;
        let has_minute = self.accept(&[':']).is_some() || self.end().is_none();
        let minute = if has_minute { self.digits(2)? } else { 0 };
        let ahead = Time::new(hour, minute, 0, 0).ok()?;
        let ahead = ahead.duration_since(Time::midnight());
        Some(if is_behind { -ahead } else { ahead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_over_the_whole_range() {
        let first = parse_date("0001-01-01").unwrap();
        let last = parse_date("9999-12-31").unwrap();
        assert_eq!((first, last), (-719_162, 2_932_896));
        for day in (first..=last)
            .step_by(97)
            .chain([first, last, 0, 59, 60, 11_016])
        {
            assert_eq!(parse_date(&format_date(day)), Some(day));
        }
    }

    #[test]
    fn dates_are_read_strictly() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("19700102", Some(1)),
            ("2000-02-29", Some(11_016)),
            ("1900-02-29", None),
            ("2024-13-01", None),
            ("2024-00-01", None),
            ("2024-01-00", None),
            ("0000-01-01", None),
            ("2024-1-1", None),
            ("2024-0101", None),
            ("2024-01-01x", None),
            ("+024-01-01", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text), expected, "{text}");
        }
    }

    #[test]
    fn timestamps_are_read_to_the_millisecond() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("1970-01-01T00:00Z", Some(0)),
            ("1970-01-01 00:00:01", Some(1_000)),
            ("19700101T000001.5", Some(1_500)),
            ("1970-01-01T00:00:00.123456789Z", Some(123)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-01T00:00:00-0130", Some(5_400_000)),
            ("1970-01-01T01:00:00+01", Some(0)),
            ("1970-01-01T24:00:00", None),
            ("1970-01-01T00:60:00", None),
            ("1970-01-01T00:00:60", None),
            ("1970-01-01T00:00:00.Z", None),
            ("1970-01-01T", None),
            ("0001-01-01T00:00:00+01:00", None),
            ("1970-01-01T00:00:00ZZ", None),
        ] {
            assert_eq!(parse_timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn odd_days_are_those_of_the_proleptic_gregorian_calendar() {
        for (text, day) in [
            ("0001-01-01", -719_162),
            ("0001-12-31", -718_798),
            ("0004-02-29", -718_008),
            ("0100-03-01", -682_944),
            ("0400-02-29", -573_372),
            ("1582-10-04", -141_438),
            ("1582-10-15", -141_427),
            ("1600-02-29", -135_081),
            ("1700-02-28", -98_557),
            ("1900-03-01", -25_508),
            ("1969-12-31", -1),
            ("1970-03-01", 59),
            ("2000-12-31", 11_322),
            ("2100-02-28", 47_540),
            ("2100-03-01", 47_541),
            ("2400-02-29", 157_113),
            ("9996-02-29", 2_931_495),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(parse_date(text), Some(day), "{text}");
            assert_eq!(parse_date(&text.replace('-', "")), Some(day), "{text}");
            assert_eq!(format_date(day), text);
        }
    }

    #[test]
    fn odd_times_are_read_as_they_were() {
        for (text, expected) in [
            ("0001-01-01T00:00:00-01:00", Some(-62_135_593_200_000)),
            ("0001-01-01T00:00:00+00:01", None),
            ("9999-12-31T23:59:59.999999999Z", Some(253_402_300_799_999)),
            ("9999-12-31T23:59-00:01", None),
            ("9999-12-31T23:59:00+23:59", Some(253_402_214_400_000)),
            // Cut off, and not rounded to zero.
            ("1969-12-31T23:59:59.9999Z", Some(-1)),
            ("1969-12-31T23:59:59.0001Z", Some(-1_000)),
            ("16000229T1230+2359", Some(-11_671_039_740_000)),
            ("2000-02-29t00:00:00,1+0530", Some(951_762_600_100)),
            ("1900-02-28 23:59:59.12", Some(-2_203_891_200_880)),
            ("1970-01-01T00:00-00:00", Some(0)),
            ("1970-01-01T235959Z", Some(86_399_000)),
            // What a calendar knows and a client may not.
            ("-0001-01-01", None),
            ("+002024-01-01", None),
            ("2016-12-31T23:59:60Z", None),
            ("2024-01-01T00:00:00[UTC]", None),
            ("2024-01-01T00:00+01:00:30", None),
            ("2024-W01-1", None),
            ("2024-01-01T00", None),
            ("2024-01-01T00:00:00.1234567890", None),
            ("2024-01-01T00:00+24:00", None),
            ("２０２４-01-01", None),
        ] {
            assert_eq!(parse_timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn timestamps_are_written_as_delta_wants_them() {
        assert_eq!(format_timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_timestamp(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(
            format_timestamp(1_763_970_000_123),
            "2025-11-24T07:40:00.123Z"
        );
        assert_eq!(
            format_timestamp(*RANGE_MS.start()),
            "0001-01-01T00:00:00.000Z"
        );
        assert_eq!(
            format_timestamp(*RANGE_MS.end()),
            "9999-12-31T23:59:59.999Z"
        );
    }
}
