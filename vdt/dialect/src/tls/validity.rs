//! When a certificate begins and ends: the one thing of X.509 that rustls does not tell.

/// Returns notBefore and notAfter of a certificate (RFC 5280 4.1.2.5) in seconds since the epoch; `None` where they cannot be read.
pub(super) fn of(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    Some((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(year: i32) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["a".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2031, 2, 1);
        params.not_after = date_time_ymd(year, 3, 1);
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn both_ways_of_writing_a_time_are_read() {
        // UTCTime until 2049, GeneralizedTime from 2050 on.
        assert_eq!(of(&certificate(2031)), Some((1_927_670_400, 1_930_089_600)));
        assert_eq!(of(&certificate(2060)), Some((1_927_670_400, 2_845_324_800)));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_read_or_not_but_never_a_panic() {
        let whole = certificate(2031);
        for end in 0..whole.len() {
            let _ = of(&whole[..end]);
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            let _ = of(&bent);
        }
        assert_eq!(of(&[0x30, 0x83, 0xff, 0xff, 0xff]), None);
    }
}
