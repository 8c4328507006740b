//! Numbers for people, as kubectl writes them.

pub(crate) use vdt_crds::units::count;
use vdt_crds::units::scaled;

/// Bytes with a binary unit: `512Ki`, `1.3Gi`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (value, unit) = scaled(count, UNITS.len() - 1);
    match unit {
        0 => count.to_string(),
        _ if value < 10.0 => format!("{value:.1}{}", UNITS[unit]),
        _ => format!("{value:.0}{}", UNITS[unit]),
    }
}

/// A share in percent: `93.1%`; `-` of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{:.1}%", 100.0 * part as f64 / whole as f64),
    }
}

/// Seconds as an age: `40s`, `12m`, `3h`, `5d`.
pub(crate) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (given, expected) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0Ki"),
            (10 << 20, "10Mi"),
            (1_395_864_371, "1.3Gi"),
            (u64::MAX, "16Ei"),
        ] {
            assert_eq!(bytes(given), expected);
        }
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(0, 0), "-");
        for (seconds, expected) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (400_000, "4d"),
        ] {
            assert_eq!(age(seconds), expected);
        }
        assert_eq!(
            (count(1, "pod"), count(0, "pod")),
            ("1 pod".to_owned(), "0 pods".to_owned())
        );
    }
}
