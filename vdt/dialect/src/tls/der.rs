//! When a certificate ends: the one thing of X.509 that rustls does not tell.
//!
//! ```text
//!   Certificate SEQUENCE
//!     tbsCertificate SEQUENCE
//!       [0] version, serialNumber INTEGER, signature SEQUENCE, issuer SEQUENCE,      skipped
//!       validity SEQUENCE { notBefore, notAfter }                                    RFC 5280 4.1.2.5
//! ```

use chrono::NaiveDateTime;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Returns the notAfter of a certificate, in seconds since the epoch; `None` where it is not written as RFC 5280 says.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        (_, rest) = any(rest)?;
    }
    // serialNumber, signature, issuer
    for _ in 0..3 {
        (_, rest) = any(rest)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, not_after) = any(validity)?;
    time(not_after)
}

/// Takes one element off: its content, and what follows it.
fn any(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes.get(1)? {
        short @ 0..=0x7f => (usize::from(*short), bytes.get(2..)?),
        // The long form (X.690 8.1.3.5); a certificate needs no more than three bytes of length.
        long @ 0x81..=0x83 => {
            let count = usize::from(long & 0x7f);
            let digits = bytes.get(2..2 + count)?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, bytes.get(2 + count..)?)
        }
        _ => return None,
    };
    Some((rest.get(..length)?, rest.get(length..)?))
}

fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    (bytes.first() == Some(&tag)).then(|| any(bytes))?
}

fn time(bytes: &[u8]) -> Option<i64> {
    let tag = *bytes.first()?;
    let (content, _) = any(bytes)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // Two digits of a year are of 1950 to 2049 (RFC 5280 4.1.2.5.1).
        UTC_TIME => {
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 {
                "20"
            } else {
                "19"
            };
            format!("{century}{text}")
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let parsed = NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%S").ok()?;
    Some(parsed.and_utc().timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(year: i32) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["a".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 3, 1);
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn both_ways_of_writing_a_time_are_read() {
        // UTCTime until 2049, GeneralizedTime from 2050 on.
        assert_eq!(not_after(&certificate(2031)), Some(1_930_089_600));
        assert_eq!(not_after(&certificate(2060)), Some(2_845_324_800));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_read_or_not_but_never_a_panic() {
        let whole = certificate(2031);
        for end in 0..whole.len() {
            let _ = not_after(&whole[..end]);
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            let _ = not_after(&bent);
        }
        assert_eq!(not_after(&[0x30, 0x83, 0xff, 0xff, 0xff]), None);
    }
}
