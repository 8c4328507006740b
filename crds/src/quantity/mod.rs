//! Quantities as Kubernetes writes them: `256Mi`, `1G`, `1.5Gi`, `500m`.
//!
//! ```text
//! digits [ "." digits ] [ suffix ]
//! suffix  m | k M G T P E (powers of 1000) | Ki Mi Gi Ti Pi Ei (powers of 1024)
//! ```
//!
//! A quantity keeps its text (a manifest is written back as it was read) beside its value in bytes, which is exact: no floating point is involved.
//! Values above `u64::MAX` saturate, so that every upper bound refuses them and no lower bound does. Signs and exponents, which Kubernetes knows
//! too, are not part of the resource's pattern and are refused; [`nanos`] and [`is_same`] read them, for what others wrote.

mod reading;

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::reading::Reading;
pub use self::reading::{is_same, nanos};

/// The pattern of the schema. [`Quantity::from_str`] accepts the same language, of at most [`MAX_CHARS`] characters.
pub(crate) const PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// Longest text of a quantity, in characters. It also keeps the exact arithmetic below within 128 bits.
pub(crate) const MAX_CHARS: usize = 32;

/// A number of bytes with its text. Equality is that of the text: `1Gi` and `1024Mi` are two ways to say the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quantity {
    text: String,
    whole: u64,
    has_fraction: bool,
}

/// A text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity: write digits and a suffix, for example 256Mi or 1.5Gi")]
pub struct QuantityError {
    /// What was written.
    pub text: String,
}

impl Quantity {
    /// Returns the number of bytes, rounded up to a whole one; `u64::MAX` if there are more.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.whole.saturating_add(u64::from(self.has_fraction))
    }

    /// Says whether the exact value is at least `bytes`.
    #[must_use]
    pub fn is_at_least(&self, bytes: u64) -> bool {
        self.whole >= bytes
    }

    /// Says whether the exact value is at most `bytes`.
    #[must_use]
    pub fn is_at_most(&self, bytes: u64) -> bool {
        self.bytes() <= bytes && (self.whole < bytes || !self.has_fraction)
    }

    /// Returns the text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Makes a default of the schema.
    pub(crate) fn literal(text: &'static str) -> Self {
        text.parse().expect("defaults of the schema are quantities")
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, has_fraction) = parse(text).ok_or_else(|| QuantityError {
            text: text.chars().take(64).collect(),
        })?;
        Ok(Self {
            text: text.to_owned(),
            whole,
            has_fraction,
        })
    }
}

/// Returns the whole bytes (saturating) and whether a fraction of one remains.
fn parse(text: &str) -> Option<(u64, bool)> {
    if text.len() > MAX_CHARS {
        return None;
    }
    let reading = Reading::of(text)?;
    let is_ours = !reading.integer.is_empty()
        && reading.fraction.is_none_or(|digits| !digits.is_empty())
        && !["n", "u"].contains(&reading.suffix)
        && (reading.suffix.len() < 2 || reading.suffix.ends_with('i'));
    if !is_ours {
        return None;
    }
    // Of at most 32 characters only the integer can be too large on the way, and then the sum is as well.
    let (whole, has_fraction) = reading.scaled(0).unwrap_or((u128::MAX, false));
    Some(match u64::try_from(whole) {
        Ok(whole) => (whole, has_fraction),
        Err(_) => (u64::MAX, false),
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
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
    fn text_becomes_bytes_rounded_up() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("256Mi", 256 << 20),
            ("1.5Gi", 3 << 29),
            ("1k", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("15Ei", 15 << 60),
            ("500m", 1),
            ("1500m", 2),
            ("2000m", 2),
            ("0.1", 1),
            ("0.0", 0),
            ("1.0000", 1),
            ("0.1Ki", 103),
            ("0.5k", 500),
            ("00012", 12),
            ("0.3333333333333333333333333333Ei", 384_307_168_202_282_326),
            (
                "0.99999999999999999999999999999E",
                1_000_000_000_000_000_000,
            ),
            ("0.000000000000000000000000000001", 1),
            ("16Ei", u64::MAX),
            ("99999999999999999999999999999999", u64::MAX),
            ("999999999999999999999999999999Ei", u64::MAX),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "Mi", "-1", "+1", "1.", ".5", "1..2", "1.2.3", "1e3", "1 Mi", "1mi", "1K", "1MiB",
            "256 MB", "1Mi ", "１", "1\n",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
        assert!("1".repeat(33).parse::<Quantity>().is_err());
    }

    #[test]
    fn bounds_see_the_exact_value() {
        let half: Quantity = "0.5".parse().unwrap();
        assert!(!half.is_at_least(1) && half.is_at_most(1) && !half.is_at_most(0));
        let above: Quantity = "1.5".parse().unwrap();
        assert!(above.is_at_least(1) && !above.is_at_most(1) && above.is_at_most(2));
        let most: Quantity = "99E".parse().unwrap();
        assert!(most.is_at_least(1 << 60) && !most.is_at_most(1 << 60));
    }
}
