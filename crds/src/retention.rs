//! How long removed files and old versions are kept: `168h`, `24h30m`.
//!
//! ```text
//! [ digits "h" ] [ digits "m" ] [ digits "s" ]     at least one part, 10m to 87600h
//! ```
//!
//! The text is kept beside its value. A text without any part matches the schema's pattern and has no value; it is refused by validation.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The pattern of the schema.
const PATTERN: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// Longest text, in characters.
const MAX_CHARS: usize = 16;

/// The default: a week.
const DEFAULT: &str = "168h";

/// Shortest and longest retention, both allowed.
const BOUNDS: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(87_600));

/// A retention with its text. Equality is that of the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retention {
    text: String,
    duration: Duration,
}

/// A text is no retention.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a retention: write hours, minutes and seconds, for example 168h or 24h30m"
)]
pub struct RetentionError {
    /// What was written.
    pub text: String,
}

impl Retention {
    /// Returns the time it says.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns the text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether it lies between the shortest and the longest that are allowed. An empty text does not.
    pub(crate) fn is_within_bounds(&self) -> bool {
        (BOUNDS.0..=BOUNDS.1).contains(&self.duration)
    }
}

impl Default for Retention {
    fn default() -> Self {
        DEFAULT
            .parse()
            .expect("the default of the schema is a retention")
    }
}

impl FromStr for Retention {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = seconds(text).ok_or_else(|| RetentionError {
            text: text.chars().take(64).collect(),
        })?;
        Ok(Self {
            text: text.to_owned(),
            duration: Duration::from_secs(seconds),
        })
    }
}

/// Returns the seconds of a text that the pattern accepts. Sixteen characters cannot overflow: below `10^15 h < 2^62 s`.
fn seconds(text: &str) -> Option<u64> {
    if text.len() > MAX_CHARS {
        return None;
    }
    let (mut rest, mut seconds) = (text, 0_u64);
    for (unit, scale) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((digits, after)) = rest.split_once(unit) {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            seconds = seconds.checked_add(digits.parse::<u64>().ok()?.checked_mul(scale)?)?;
            rest = after;
        }
    }
    rest.is_empty().then_some(seconds)
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Retention {
    fn schema_name() -> Cow<'static, str> {
        "Retention".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX_CHARS, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        for (text, seconds) in [
            ("168h", 604_800),
            ("24h30m", 88_200),
            ("10m", 600),
            ("1h1m1s", 3661),
            ("0s", 0),
            ("90s", 90),
            ("", 0),
        ] {
            assert_eq!(
                text.parse::<Retention>().unwrap().duration(),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        assert!(
            !"999999999999999h"
                .parse::<Retention>()
                .unwrap()
                .is_within_bounds()
        );
        assert!(!"".parse::<Retention>().unwrap().is_within_bounds());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "a week",
            "1d",
            "h",
            "1m1h",
            "1h1h",
            "-1h",
            "1.5h",
            "1h ",
            "5",
            "99999999999999999h",
        ] {
            assert!(text.parse::<Retention>().is_err(), "{text:?}");
        }
    }
}
