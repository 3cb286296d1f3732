//! What is read of certificates here: who issued one, for a person who is to exempt the cloud from TLS inspection, and when the box's
//! own holds, so that it is renewed in time. Nobody is believed by it. The rest of X.509 is the TLS library's business.

use time::{Date, Month, Time, UtcDateTime};

/// Longest name that is shown, in characters.
const NAME_MAX_CHARS: usize = 100;
/// Most parts of a name that are looked at.
const PARTS_MAX: usize = 64;

/// Object identifiers 2.5.4.3, 2.5.4.10 and 2.5.4.11 (RFC 5280 appendix A.1), with how they are written (RFC 4514 §3).
const SHOWN: [(&[u8], &str); 3] = [(&[0x55, 4, 3], "CN"), (&[0x55, 4, 10], "O"), (&[0x55, 4, 11], "OU")];

/// The issuer's common name ("CN=…"), else its organisation or unit; escaped and cut. "an issuer without a name" where the
/// certificate (DER) cannot be read or has none.
pub(super) fn issuer(certificate: &[u8]) -> String {
    read_issuer(certificate).unwrap_or_else(|| "an issuer without a name".to_owned())
}

/// From and until when a certificate (DER) holds, in milliseconds since 1970; `None` where it does not say so, or says before.
#[must_use]
pub fn certificate_validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let (_, _, rest) = element(from_issuer(certificate)?)?;
    let (_, validity, _) = element(rest)?;
    let (tag, from, rest) = element(validity)?;
    let from_unix_ms = unix_ms(tag, from)?;
    let (tag, until, _) = element(rest)?;
    Some((from_unix_ms, unix_ms(tag, until)?))
}

/// A UTCTime or a GeneralizedTime as they stand in certificates (RFC 5280 §4.1.2.5): to the second, in UTC.
fn unix_ms(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        0x17 => (2, digits),
        0x18 => (4, digits),
        _ => return None,
    };
    let (year, rest) = rest.split_at_checked(year)?;
    let number = |digits: &[u8]| {
        let is_one = digits.iter().all(u8::is_ascii_digit);
        is_one.then(|| digits.iter().fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0')))
    };
    let year = match (tag, number(year)?) {
        (0x17, year @ 50..) => 1900 + year,
        (0x17, year) => 2000 + year,
        (_, year) => year,
    };
    if rest.len() != 10 {
        return None;
    }
    let mut parts = [0_u8; 5];
    for (part, digits) in parts.iter_mut().zip(rest.chunks(2)) {
        *part = u8::try_from(number(digits)?).ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let date = Date::from_calendar_date(i32::from(year), Month::try_from(month).ok()?, day).ok()?;
    let at = UtcDateTime::new(date, Time::from_hms(hour, minute, second).ok()?);
    u64::try_from(at.unix_timestamp()).ok()?.checked_mul(1000)
}

/// The rest of a certificate from its issuer on.
fn from_issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?; // tbsCertificate (RFC 5280 §4.1)
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2; // version
    }
    for _ in ["serialNumber", "signature"] {
        rest = element(rest)?.2;
    }
    Some(rest)
}

fn read_issuer(certificate: &[u8]) -> Option<String> {
    let (_, mut names, _) = element(from_issuer(certificate)?)?;
    let mut found: [Option<String>; 3] = Default::default();
    for _ in 0..PARTS_MAX {
        let Some((_, set, after)) = element(names) else { break };
        names = after;
        let (_, pair, _) = element(set)?;
        let (_, kind, value) = element(pair)?;
        let (tag, text, _) = element(value)?;
        if let Some(at) = SHOWN.iter().position(|(oid, _)| *oid == kind)
            && let Some(place) = found.get_mut(at)
        {
            place.get_or_insert_with(|| readable(tag, text));
        }
    }
    SHOWN.iter().zip(found).find_map(|((_, label), text)| Some(format!("{label}={}", text?)))
}

/// A DER element: its tag, its contents, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

fn readable(tag: u8, text: &[u8]) -> String {
    let text = if tag == 0x1e {
        // BMPString
        let units: Vec<u16> =
            text.chunks_exact(2).map(|pair| pair.iter().fold(0, |u, b| u << 8 | u16::from(*b))).collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(text).into_owned()
    };
    text.chars().take(NAME_MAX_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn issued_by(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut parameters = CertificateParams::new(vec!["x".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            parameters.distinguished_name.push(kind.clone(), *value);
        }
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_issuer_is_called_by_its_common_name_or_else_its_organisation() {
        let both = issued_by(&[(DnType::OrganizationName, "Corp"), (DnType::CommonName, "Corp Inspection CA")]);
        assert_eq!(issuer(&both), "CN=Corp Inspection CA");
        assert_eq!(issuer(&issued_by(&[(DnType::OrganizationName, "Corp")])), "O=Corp");
        assert_eq!(issuer(&issued_by(&[])), "an issuer without a name");
        assert_eq!(issuer(b"no certificate"), "an issuer without a name");
    }

    #[test]
    fn a_name_that_would_paint_the_console_is_escaped_and_cut() {
        let painted = issuer(&issued_by(&[(DnType::CommonName, &format!("\u{1b}[31m{}", "x".repeat(500)))]));
        assert!(painted.starts_with("CN=\\u{1b}[31mxxx") && painted.len() < 130, "{painted}");
    }

    #[test]
    fn a_certificate_says_from_and_until_when_it_holds() {
        let of = |from: (i32, u8, u8), until: (i32, u8, u8)| {
            let mut parameters = CertificateParams::new(vec!["x".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            parameters.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
            certificate_validity(parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
        };
        assert_eq!(of((2026, 11, 25), (2027, 2, 23)), Some((1_795_564_800_000, 1_803_340_800_000)));
        assert_eq!(of((1970, 1, 1), (4096, 1, 1)), Some((0, 67_090_118_400_000)), "before and after 1950 to 2049");
        assert_eq!(of((1960, 1, 1), (2027, 1, 1)), None);
        assert_eq!(certificate_validity(b"no certificate"), None);
        let at = |tag, text: &str| unix_ms(tag, text.as_bytes());
        assert_eq!(at(0x17, "700101000001Z"), Some(1_000));
        for wrong in ["700101000001", "70010100000Z", "701301000001Z", "700132000001Z", "7001010000+1Z", "Z", ""] {
            assert_eq!(at(0x17, wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_certificate_makes_it_panic(at in 0..400_usize, byte: u8, cut in 0..600_usize) {
            let mut der = issued_by(&[(DnType::CommonName, "a"), (DnType::OrganizationName, "b")]);
            if let Some(octet) = der.get_mut(at) { *octet = byte; }
            der.truncate(cut);
            let _ = (issuer(&der), certificate_validity(&der));
        }
    }
}
