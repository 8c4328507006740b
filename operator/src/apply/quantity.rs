//! Quantities by value, in every form that Kubernetes reads: the API server writes them its own way.
//!
//! ```text
//! 1024Mi = 1Gi    0.5 = .5 = 500m    1.5G = 1500M    2000000000 = 2G = 2e9
//! ```
//!
//! Values are exact to a billionth and rounded up beyond it, as the API server does.

/// Longest text that is looked at, in bytes.
const MAX_BYTES: usize = 64;

/// Says whether two texts are the same quantity.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one == other || matches!((nanos(one), nanos(other)), (Some(one), Some(other)) if one == other)
}

/// Value in billionths. None of what is no quantity, is negative, or is too large for 128 bits.
pub(crate) fn nanos(text: &str) -> Option<u128> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let (multiplier, exponent): (u128, i32) = match suffix {
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
    let decimals = i32::try_from(fraction.len()).ok()?;
    let exponent = exponent.checked_add(9)?.checked_sub(decimals)?;
    let scaled = digits.checked_mul(multiplier)?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs());
    if exponent >= 0 {
        scaled.checked_mul(power?)
    } else {
        Some(power.map_or(u128::from(scaled > 0), |power| scaled.div_ceil(power)))
    }
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
