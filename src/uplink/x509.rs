//! Who issued a certificate: the one thing that is read of certificates here, for a person who is to exempt the cloud from
//! TLS inspection. Nothing is decided by it. The rest of X.509 is the TLS library's business.

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

fn read_issuer(certificate: &[u8]) -> Option<String> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?; // tbsCertificate (RFC 5280 §4.1)
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2; // version
    }
    for _ in ["serialNumber", "signature"] {
        rest = element(rest)?.2;
    }
    let (_, mut names, _) = element(rest)?;
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

    proptest! {
        #[test]
        fn no_certificate_makes_it_panic(at in 0..400_usize, byte: u8, cut in 0..600_usize) {
            let mut der = issued_by(&[(DnType::CommonName, "a"), (DnType::OrganizationName, "b")]);
            if let Some(octet) = der.get_mut(at) { *octet = byte; }
            der.truncate(cut);
            let _ = issuer(&der);
        }
    }
}
