//! Names of virtual files: `<32 hex digits>-<bytes in decimal>`.
//!
//! The digits are a hash of the stored rope, the number is the size of the virtual file. So LIST and HEAD need no
//! rope, and a server that has not seen the newest version still serves its files. Only one spelling of a name parses.
//!
//! Invariants 1 and 3 are kept here: a virtual path, once served, always has the same bytes; sizes are exact before anything
//! is read.

use std::fmt;
use std::str::FromStr;

use crate::rope::MAX_LENGTH;

/// Suffix of a stored rope's file name.
pub const ROPE_SUFFIX: &str = ".rope";
/// Suffix of a virtual file's name.
pub const PARQUET_SUFFIX: &str = ".parquet";

const HASH_DIGITS: usize = 32;

/// Name of a virtual file, without a suffix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// First 16 bytes of SHA-256 over the stored rope before its trailer.
    pub hash: [u8; 16],
    /// Size of the virtual file in bytes.
    pub size: u64,
}

/// Why a text is no [`FileName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not the name of a virtual file: {reason}")]
pub struct NameError {
    name: Box<str>,
    reason: &'static str,
}

impl FileName {
    /// The ETag of the virtual file: its hash as 32 lower-case hex digits, with the `-1` of an upload in one part. Without that, clients take the digits
    /// for an MD5 of the content and refuse what they read (AWS SDKs for .NET and Java 1, rclone, s3cmd).
    pub fn e_tag(&self) -> String {
        format!("{}-1", hex::encode(self.hash))
    }

    /// File name of the stored rope, `<hash>-<bytes>.rope`.
    pub fn rope_file(&self) -> String {
        format!("{self}{ROPE_SUFFIX}")
    }

    /// File name that clients see, `<hash>-<bytes>.parquet`.
    pub fn parquet_file(&self) -> String {
        format!("{self}{PARQUET_SUFFIX}")
    }

    /// The name of a stored rope's file (the last part of its path); `None` for any other file.
    pub fn parse_rope_file(file: &str) -> Option<Self> {
        file.strip_suffix(ROPE_SUFFIX)?.parse().ok()
    }

    /// The name of a virtual file as clients see it (the last part of its path); `None` for any other file.
    pub fn parse_parquet_file(file: &str) -> Option<Self> {
        file.strip_suffix(PARQUET_SUFFIX)?.parse().ok()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; HASH_DIGITS];
        hex::encode_to_slice(self.hash, &mut digits).map_err(|_| fmt::Error)?;
        let digits = std::str::from_utf8(&digits).map_err(|_| fmt::Error)?;
        write!(f, "{digits}-{}", self.size)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({self})")
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let refused = |reason| NameError {
            name: name.into(),
            reason,
        };
        let (digits, size) = name.split_once('-').ok_or_else(|| refused("no '-'"))?;
        let is_lower_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let mut hash = [0; 16];
        if digits.len() != HASH_DIGITS
            || !digits.bytes().all(is_lower_hex)
            || hex::decode_to_slice(digits, &mut hash).is_err()
        {
            return Err(refused("the hash is not 32 lower-case hex digits"));
        }
        let is_decimal = !size.is_empty() && size.bytes().all(|digit| digit.is_ascii_digit());
        if !is_decimal || (size.len() > 1 && size.starts_with('0')) {
            return Err(refused("the size is not a plain decimal number"));
        }
        match size.parse() {
            Ok(size) if size <= MAX_LENGTH => Ok(Self { hash, size }),
            _ => Err(refused("the size is over 2^63 - 1 bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_prints_and_parses_back() {
        let name = FileName {
            hash: [0xab; 16],
            size: 1_234,
        };
        assert_eq!(name.to_string(), "abababababababababababababababab-1234");
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!(FileName::parse_rope_file(&name.rope_file()), Some(name));
        assert_eq!(
            FileName::parse_parquet_file(&name.parquet_file()),
            Some(name)
        );
        assert_eq!(FileName::parse_rope_file(&name.parquet_file()), None);
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "",
            "-",
            "abababababababababababababababab",
            "abababababababababababababababab-",
            "ABababababababababababababababab-1",
            "abababababababababababababababa-1",
            "abababababababababababababababab-01",
            "abababababababababababababababab-+1",
            "abababababababababababababababab-1x",
            "abababababababababababababababab-9223372036854775808",
            "abababababababababababababababab-99999999999999999999999",
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
        assert!(
            "abababababababababababababababab-9223372036854775807"
                .parse::<FileName>()
                .is_ok()
        );
    }
}
