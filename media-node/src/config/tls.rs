//! Certificates and keys as Secrets hold them, checked before a carrier finds out.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;

/// A certificate that ends sooner than this is worth a warning.
pub const SOON: Duration = Duration::from_hours(14 * 24);

/// A chain and the key that goes with its first certificate.
#[derive(Clone)]
pub struct TlsIdentity {
    certified: Arc<CertifiedKey>,
    /// Seconds since 1970 at which the first certificate ends.
    pub not_after: u64,
}

/// What is wrong with a certificate or key, and in which key of the Secret. Never quotes either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProblem {
    pub key: &'static str,
    pub message: String,
}

impl TlsIdentity {
    /// From `tls.crt` and `tls.key` of a `kubernetes.io/tls` Secret, both PEM.
    pub fn from_pem(chain: &[u8], key: &[u8], now: UnixTime) -> Result<Self, TlsProblem> {
        let crt = |message: &str| TlsProblem { key: "tls.crt", message: message.to_owned() };
        let chain = certificates(chain).map_err(|message| crt(&message))?;
        let leaf = chain.first().ok_or_else(|| crt(NO_CERTIFICATE))?;
        let (not_before, not_after) = validity(leaf)
            .ok_or_else(|| crt("the first certificate cannot be read; write X.509 as PEM"))?;
        if now.as_secs() < not_before {
            return Err(crt("the certificate is not valid yet; check its dates and this clock"));
        }
        if now.as_secs() >= not_after {
            return Err(crt("the certificate has expired; renew it"));
        }

        let bad_key = |message: &str| TlsProblem { key: "tls.key", message: message.to_owned() };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            bad_key("no private key found; write it as PEM without a passphrase (PKCS#8, PKCS#1 or SEC1)")
        })?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|_| bad_key("this kind of key cannot be used; write RSA, ECDSA or Ed25519"))?;
        let certified = CertifiedKey::new(chain, key);
        // `Unknown` when a key cannot tell its public half; then the handshake tells.
        if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
            certified.keys_match()
        {
            return Err(bad_key(
                "the key does not belong to the first certificate of tls.crt; \
                 the server's own certificate comes first, its issuers after it",
            ));
        }
        Ok(Self { certified: Arc::new(certified), not_after })
    }

    /// What a rustls server shows.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Days left, when they are few.
    pub fn days_left_if_few(&self, now: UnixTime) -> Option<u64> {
        let left = self.not_after.saturating_sub(now.as_secs());
        (left < SOON.as_secs()).then_some(left / 86_400)
    }
}

impl PartialEq for TlsIdentity {
    /// The key belongs to the first certificate, so equal chains mean equal keys.
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl Eq for TlsIdentity {}

impl Hash for TlsIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certified.cert.hash(state);
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({} certificates, …)", self.certified.cert.len())
    }
}

const NO_CERTIFICATE: &str = "no certificate found; write it as PEM (-----BEGIN CERTIFICATE-----)";

/// Certificates to trust, at least one.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(pem)?;
    let mut store = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        store.add(certificate.clone()).map_err(|_| {
            format!(
                "certificate {} of {} cannot be read; write X.509 as PEM",
                index + 1,
                found.len()
            )
        })?;
    }
    Ok(found)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(NO_CERTIFICATE.to_owned()),
        Err(_) => Err("the PEM is damaged; copy it again, with its BEGIN and END lines".to_owned()),
    }
}

/// `notBefore` and `notAfter` of an X.509 certificate (RFC 5280 §4.1) in seconds since 1970; dates
/// before 1970 count as 1970.
fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let (certificate, _) = element(der, 0x30)?;
    let (mut tbs, _) = element(certificate, 0x30)?;
    if tbs.first() == Some(&0xa0) {
        (_, tbs) = element(tbs, 0xa0)?; // version
    }
    (_, tbs) = element(tbs, 0x02)?; // serialNumber
    (_, tbs) = element(tbs, 0x30)?; // signature
    (_, tbs) = element(tbs, 0x30)?; // issuer
    let (dates, _) = element(tbs, 0x30)?;
    let (not_before, dates) = time(dates)?;
    let (not_after, _) = time(dates)?;
    Some((not_before, not_after))
}

/// One DER element of the given tag: what it holds, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (&len, rest) = rest.split_first()?;
    let (len, rest) = if len < 0x80 {
        (usize::from(len), rest)
    } else {
        let count = usize::from(len & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0, |len, digit| (len << 8) | usize::from(*digit)), rest)
    };
    rest.split_at_checked(len)
}

/// A UTCTime (`YYMMDDHHMMSSZ`, 1950 to 2049) or GeneralizedTime (`YYYYMMDDHHMMSSZ`), RFC 5280
/// §4.1.2.5.
fn time(der: &[u8]) -> Option<(u64, &[u8])> {
    let (text, rest, year_len) = match der.first()? {
        0x17 => element(der, 0x17).map(|(text, rest)| (text, rest, 2))?,
        _ => element(der, 0x18).map(|(text, rest)| (text, rest, 4))?,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != year_len + 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let field = |from: usize, len: usize| text.get(from..from + len)?.parse::<i64>().ok();
    let mut year = field(0, year_len)?;
    if year_len == 2 {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let two = |nth: usize| field(year_len + 2 * nth, 2);
    let (month, day, hour, minute, second) = (two(0)?, two(1)?, two(2)?, two(3)?, two(4)?);
    // Days since 1970 of a date of the Gregorian calendar; the year begins in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some((u64::try_from(seconds).unwrap_or(0), rest))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use super::*;

    fn at(secs: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(secs))
    }

    /// 2026-11-23T00:00:00Z.
    const NOW: u64 = 1_795_392_000;

    fn pair(not_before: (i32, u8, u8), not_after: (i32, u8, u8)) -> (String, String) {
        let mut params = rcgen::CertificateParams::new(vec!["sip.example".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(not_before.0, not_before.1, not_before.2);
        params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn dates_are_read_as_the_certificate_has_them() {
        for (ymd, secs) in [
            ((2026, 11, 23), NOW),
            ((2000, 2, 29), 951_782_400),
            ((2049, 12, 31), 2_524_521_600),
            ((2051, 3, 1), 2_561_241_600),
            ((1970, 1, 1), 0),
        ] {
            let (pem, _) = pair((1970, 1, 1), ymd);
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            assert_eq!(validity(&der), Some((0, secs)), "{ymd:?}");
        }
    }

    #[test]
    fn what_a_carrier_would_refuse_is_refused_here() {
        let (crt, key) = pair((2026, 1, 1), (2027, 1, 1));
        let (other_crt, other_key) = pair((2026, 1, 1), (2027, 1, 1));
        let problem = |crt: &str, key: &str, now| {
            let problem =
                TlsIdentity::from_pem(crt.as_bytes(), key.as_bytes(), at(now)).unwrap_err();
            format!("{}: {}", problem.key, problem.message)
        };
        let good = TlsIdentity::from_pem(crt.as_bytes(), key.as_bytes(), at(NOW)).unwrap();
        assert_eq!(good.days_left_if_few(at(NOW)), None);
        assert_eq!(good.days_left_if_few(at(good.not_after - 86_400)), Some(1));
        assert!(!format!("{good:?}").contains("PRIVATE"));

        assert!(problem(&crt, &other_key, NOW).contains("tls.key: the key does not belong"));
        assert!(problem(&format!("{other_crt}{crt}"), &key, NOW).contains("comes first"));
        assert!(
            problem(&crt, &key, NOW + 90 * 86_400).contains("tls.crt: the certificate has expired")
        );
        assert!(problem(&crt, &key, NOW - 700 * 86_400).contains("not valid yet"));
        assert!(problem("", &key, NOW).contains("tls.crt: no certificate found"));
        assert!(problem(&crt, "", NOW).contains("tls.key: no private key found"));
        assert!(problem(&crt.replace("END", "EMD"), &key, NOW).contains("tls.crt:"));
    }

    #[test]
    fn authorities_are_certificates_one_or_more() {
        let (one, key) = pair((2026, 1, 1), (2027, 1, 1));
        assert_eq!(authorities(format!("{one}{one}").as_bytes()).unwrap().len(), 2);
        assert!(authorities(key.as_bytes()).unwrap_err().contains("no certificate"));
        assert!(
            authorities(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
        );
    }

    #[test]
    fn no_truncation_and_no_changed_byte_panics() {
        let (pem, _) = pair((2026, 1, 1), (2027, 1, 1));
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        for end in 0..der.len() {
            let _ = validity(&der[..end]);
        }
        for at in 0..der.len().min(200) {
            for byte in [0, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.to_vec();
                changed[at] = byte;
                let _ = validity(&changed);
            }
        }
    }
}
