//! Dates and times without a clock: days and milliseconds since 1970-01-01 UTC in the proleptic Gregorian calendar,
//! read from text and written as Delta's statistics want them.
//!
//! Only the years 1 to 9999 exist here: every client can parse those, and microseconds of them fit an `i64`.

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// First and last millisecond that has a text form.
const RANGE_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Returns whether a time in Unix milliseconds lies in the years 1 to 9999.
pub(crate) fn is_representable(unix_ms: i64) -> bool {
    RANGE_MS.contains(&unix_ms)
}

/// Returns the days since 1970-01-01 of a date that exists.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Years start in March, so that the leap day is the last of its year.
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Returns (year, month, day) of a day since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (
        era * 400 + year_of_era + i64::from(month <= 2),
        month,
        day_of_year - (153 * shifted + 2) / 5 + 1,
    )
}

/// Writes a day since 1970-01-01 as `YYYY-MM-DD`.
pub(crate) fn format_date(days: i32) -> String {
    let (year, month, day) = civil_from_days(i64::from(days));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Writes Unix milliseconds as `YYYY-MM-DDTHH:MM:SS.sssZ`, the form of Delta's timestamp statistics.
pub(crate) fn format_timestamp(unix_ms: i64) -> String {
    let (year, month, day) = civil_from_days(unix_ms.div_euclid(DAY_MS));
    let ms = unix_ms.rem_euclid(DAY_MS);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, millis) = (ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Reads `YYYY-MM-DD` or `YYYYMMDD` as days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let mut scan = Scan(text.as_bytes());
    let days = scan.date()?;
    scan.at_end().then_some(())?;
    i32::try_from(days).ok()
}

/// Reads an ISO 8601 date and time as Unix milliseconds; digits below the millisecond are cut off.
///
/// Either form of [`parse_date`], then optionally `T` or a space, `HH:MM[:SS[.f]]` or `HHMM[SS[.f]]`, then optionally `Z` or
/// an offset `+HH:MM`, `+HHMM`, `+HH`. Without a zone the time is UTC.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let mut ms = scan.date()? * DAY_MS;
    if !scan.at_end() {
        scan.any_of(b"Tt ")?;
        ms += scan.time_of_day_ms()?;
        ms -= scan.offset_ms()?;
    }
    (scan.at_end() && is_representable(ms)).then_some(ms)
}

/// What is left of the text.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn any_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        bytes.contains(&first).then(|| {
            self.0 = rest;
            first
        })
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(count)?;
        let value = head.iter().try_fold(0, |n, b| {
            b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0'))
        })?;
        self.0 = rest;
        Some(value)
    }

    fn date(&mut self) -> Option<i64> {
        let year = self.digits(4)?;
        let dashed = self.any_of(b"-").is_some();
        let month = self.digits(2)?;
        if dashed {
            self.any_of(b"-")?;
        }
        days_from_civil(year, month, self.digits(2)?)
    }

    fn time_of_day_ms(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        let colons = self.any_of(b":").is_some();
        let minute = self.digits(2)?;
        let mut second = 0;
        let mut millis = 0;
        if if colons {
            self.any_of(b":").is_some()
        } else {
            self.0.first().is_some_and(u8::is_ascii_digit)
        } {
            second = self.digits(2)?;
            if self.any_of(b".,").is_some() {
                let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
                let (fraction, rest) = self.0.split_at(count);
                (1..=9).contains(&count).then_some(())?;
                millis = (0..3).fold(0, |n, i| {
                    n * 10 + fraction.get(i).map_or(0, |b| i64::from(b - b'0'))
                });
                self.0 = rest;
            }
        }
        let valid = hour < 24 && minute < 60 && second < 60;
        valid.then_some(((hour * 60 + minute) * 60 + second) * 1_000 + millis)
    }

    fn offset_ms(&mut self) -> Option<i64> {
        if self.at_end() || self.any_of(b"Zz").is_some() {
            return Some(0);
        }
        let sign = if self.any_of(b"+-")? == b'-' { -1 } else { 1 };
        let hour = self.digits(2)?;
        let minute = match self.any_of(b":") {
            Some(_) => self.digits(2)?,
            None if self.at_end() => 0,
            None => self.digits(2)?,
        };
        (hour < 24 && minute < 60).then_some(sign * (hour * 60 + minute) * 60_000)
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
