//! Quantities as numbers, in every form that Kubernetes reads: the API server writes them its own way.
//!
//! ```text
//! 1024Mi = 1Gi    0.5 = .5 = 500m    1.5G = 1500M    2000000000 = 2G = 2e9
//! ```
//!
//! Exact: no floating point is involved. What does not fit into 128 bits on the way is None.

/// Longest text that is looked at, in bytes.
const MAX_BYTES: usize = 64;

/// A number and its suffix: `(integer + 0.fraction) * multiplier * 10^exponent`.
pub(super) struct Reading<'a> {
    /// Digits before the point; may be empty.
    pub(super) integer: &'a str,
    /// Digits after the point; None without a point.
    pub(super) fraction: Option<&'a str>,
    /// What follows the digits.
    pub(super) suffix: &'a str,
    multiplier: u128,
    exponent: i32,
}

impl<'a> Reading<'a> {
    /// Reads a quantity that is not negative.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
        let (integer, fraction) = match number.split_once('.') {
            Some((integer, fraction)) => (integer, Some(fraction)),
            None => (number, None),
        };
        let digits = fraction.unwrap_or_default();
        if (integer.is_empty() && digits.is_empty()) || digits.contains('.') {
            return None;
        }
        let (multiplier, exponent) = match suffix {
            "Ki" => (1 << 10, 0),
            "Mi" => (1 << 20, 0),
            "Gi" => (1 << 30, 0),
            "Ti" => (1 << 40, 0),
            "Pi" => (1 << 50, 0),
            "Ei" => (1 << 60, 0),
            "n" => (1, -9),
            "u" => (1, -6),
            "m" => (1, -3),
            "" => (1, 0),
            "k" => (1, 3),
            "M" => (1, 6),
            "G" => (1, 9),
            "T" => (1, 12),
            "P" => (1, 15),
            "E" => (1, 18),
            _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
        };
        Some(Self {
            integer,
            fraction,
            suffix,
            multiplier,
            exponent,
        })
    }

    /// Returns the value times `10^places` as a whole number, and whether a fraction of one remains.
    pub(super) fn scaled(&self, places: i32) -> Option<(u128, bool)> {
        let exponent = self.exponent.checked_add(places)?;
        let power = 10_u128.checked_pow(exponent.unsigned_abs());
        let integer = format!("0{}", self.integer).parse::<u128>().ok()?;
        let digits = self.fraction.unwrap_or_default().trim_end_matches('0');
        if integer == 0 && digits.is_empty() {
            return Some((0, false));
        }
        let (multiplier, divisor) = match (exponent >= 0, power) {
            (true, power) => (self.multiplier.checked_mul(power?)?, 1),
            (false, Some(power)) => (self.multiplier, power),
            // Less than can be told from nothing.
            (false, None) => return Some((0, true)),
        };
        let integer = integer.checked_mul(multiplier)?;
        let (fraction, tenths) = scaled_fraction(digits, multiplier)?;
        // (integer + fraction / tenths) / divisor, where fraction / tenths is below one multiplier.
        let total = integer.checked_add(fraction / tenths)?;
        let has_rest = total % divisor != 0 || fraction % tenths != 0;
        Some((total / divisor, has_rest))
    }
}

/// Returns `0.<digits> * multiplier` as an exact ratio, shortened first: so 128 bits suffice for the 28 digits and `Ei` that a [`super::Quantity`] may have.
fn scaled_fraction(digits: &str, multiplier: u128) -> Option<(u128, u128)> {
    if digits.is_empty() {
        return Some((0, 1));
    }
    let numerator: u128 = digits.parse().ok()?;
    let denominator = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let common = greatest_common_divisor(multiplier, denominator);
    Some((
        numerator.checked_mul(multiplier / common)?,
        denominator / common,
    ))
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// Says whether two texts are the same quantity: by value, or as texts where one is none.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || matches!((nanos(one), nanos(other)), (Some(one), Some(other)) if one == other)
}

/// Value in billionths, rounded up beyond them as the API server does. None of what is no quantity, is negative, or is too large for 128 bits.
#[must_use]
pub fn nanos(text: &str) -> Option<u128> {
    let (whole, has_rest) = Reading::of(text.strip_prefix('+').unwrap_or(text))?.scaled(9)?;
    whole.checked_add(u128::from(has_rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_by_value() {
        for (written, live) in [
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1", "1000m"),
            ("1.", "1"),
            ("1.25", "1250m"),
            ("1.5G", "1500M"),
            ("1000M", "1G"),
            ("2000000000", "2G"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("0.0001", "100u"),
            ("0.0000000001", "1n"),
            ("+2", "2"),
            ("0", "0m"),
        ] {
            assert!(is_same(written, live), "{written} {live}");
        }
        for (one, other) in [
            ("1Gi", "1G"),
            ("1", "2"),
            ("1E", "1"),
            ("a", "b"),
            ("v1", "v2"),
            ("", "0"),
            (".", "0"),
            ("1..0", "1"),
            ("-1", "1"),
            ("1e99", "2e99"),
            ("1Mi1", "1Mi"),
        ] {
            assert!(!is_same(one, other), "{one} {other}");
        }
        assert_eq!(nanos(&"9".repeat(65)), None);
    }
}
