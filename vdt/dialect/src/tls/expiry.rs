//! When a certificate ends: the one thing of X.509 that rustls does not tell.

/// Returns the notAfter of a certificate (RFC 5280 4.1.2.5) in seconds since the epoch; `None` where it cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
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
