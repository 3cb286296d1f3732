//! Masks a recording before it leaves the house: names, places, addresses and serial numbers become others of the same form,
//! the same one everywhere in the recording, so that it still reads as the device did.

use std::net::Ipv4Addr;

use crate::oid;
use crate::snmp::{Oid, Recording, Value};

/// Texts that people wrote, and what stands for them.
const NAMES: [(&[u32], &str); 6] = [
    // sysContact, sysName, sysLocation.
    (&[1, 4], "a person"),
    (&[1, 5], "printer"),
    (&[1, 6], "a place"),
    // prtGeneralCurrentOperator, prtGeneralServicePerson, prtGeneralPrinterName.
    (&[43, 5, 1, 1, 4], "a person"),
    (&[43, 5, 1, 1, 5], "a person"),
    (&[43, 5, 1, 1, 16], "printer"),
];
/// Shortest secret that is looked for inside other texts, in bytes: shorter ones are found everywhere.
const SECRET_MIN_BYTES: usize = 4;

/// What must not be in the recording any more, besides what is masked by its place.
pub(super) struct Secrets {
    words: Vec<Vec<u8>>,
}

impl Secrets {
    /// Serial numbers, names and addresses that were read.
    pub(super) fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words: Vec<Vec<u8>> = words
            .into_iter()
            .map(|word| word.trim().as_bytes().to_vec())
            .filter(|word| word.len() >= SECRET_MIN_BYTES)
            .collect();
        // Longest first: one may be a part of the other.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.dedup();
        Self { words }
    }

    /// Masks every value.
    pub(super) fn mask(&self, recording: &Recording) -> Recording {
        Recording::from_objects(recording.iter().map(|(oid, value)| (oid.clone(), self.masked(oid, value))))
    }

    fn masked(&self, oid: &Oid, value: &Value) -> Value {
        match value {
            Value::IpAddress(address) => Value::IpAddress(address_like(*address)),
            Value::OctetString(bytes) => Value::OctetString(self.masked_text(oid, bytes)),
            other => other.clone(),
        }
    }

    fn masked_text(&self, oid: &Oid, bytes: &[u8]) -> Vec<u8> {
        let mib_2 = oid!(1, 3, 6, 1, 2, 1);
        let below = oid.suffix_of(&mib_2).unwrap_or_default();
        if let Some((_, name)) = NAMES.iter().find(|(place, _)| below.starts_with(place)) {
            return if bytes.is_empty() { Vec::new() } else { name.as_bytes().to_vec() };
        }
        const PHYS_ADDRESS: &[u32] = &[2, 2, 1, 6];
        if below.starts_with(PHYS_ADDRESS) {
            return mac_like(bytes);
        }
        let mut text = bytes.to_vec();
        for word in &self.words {
            replace(&mut text, word);
        }
        mask_addresses(&mut text);
        text
    }
}

/// The maker's half of a MAC address stays; the device's becomes another.
fn mac_like(bytes: &[u8]) -> Vec<u8> {
    const MAKER_BYTES: usize = 3;
    bytes.iter().enumerate().map(|(n, &b)| if n < MAKER_BYTES { b } else { b ^ 0x5a }).collect()
}

/// Something else of the same form: a digit for a digit, a letter for a letter.
fn like(word: &[u8]) -> Vec<u8> {
    let turned =
        |first: u8, count: u8, b: u8, n: usize| first + (b - first + 3 + u8::try_from(n % 5).unwrap_or(0)) % count;
    let other = |(n, &b): (usize, &u8)| match b {
        b'0'..=b'9' => turned(b'0', 10, b, n),
        b'A'..=b'Z' => turned(b'A', 26, b, n),
        b'a'..=b'z' => turned(b'a', 26, b, n),
        // Of what is no ASCII, nothing stays.
        0x80.. => b'x',
        _ => b,
    };
    word.iter().enumerate().map(other).collect()
}

/// Addresses for documentation (RFC 5737).
fn address_like(address: Ipv4Addr) -> Ipv4Addr {
    if address.is_unspecified() || address.is_loopback() || address.is_broadcast() {
        return address;
    }
    let [.., last] = address.octets();
    Ipv4Addr::new(192, 0, 2, last)
}

fn replace(text: &mut [u8], word: &[u8]) {
    let mut from = 0;
    while let Some(found) =
        text.get(from..).and_then(|rest| rest.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word)))
    {
        let at = from + found;
        if let Some(place) = text.get_mut(at..at + word.len()) {
            let other = like(place);
            place.copy_from_slice(&other);
        }
        from = at + word.len();
    }
}

/// IPv4 addresses in a text: their digits become others.
fn mask_addresses(text: &mut [u8]) {
    let is_part = |b: &u8| b.is_ascii_digit() || *b == b'.';
    let mut start = 0;
    while start < text.len() {
        let length = text.get(start..).map_or(0, |rest| rest.iter().take_while(|b| is_part(b)).count());
        if let Some(run) = text.get_mut(start..start + length)
            && let Ok(address) = std::str::from_utf8(run).unwrap_or_default().parse::<Ipv4Addr>()
            // A version ("2.1.0.7") may look like an address; a private address is one.
            && (address.is_private() || address.is_link_local())
        {
            for b in run.iter_mut().filter(|b| b.is_ascii_digit()) {
                *b = b'1';
            }
        }
        start += length.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::OctetString(text.as_bytes().to_vec())
    }

    #[test]
    fn nothing_that_names_a_person_a_place_or_a_device_is_left() {
        let recording = Recording::from_objects([
            (oid!(1, 3, 6, 1, 2, 1, 1, 1, 0), text("ACME 300 S/N CNB1234567 at 10.20.30.40, V2.1.0.7")),
            (oid!(1, 3, 6, 1, 2, 1, 1, 4, 0), text("Jane Doe")),
            (oid!(1, 3, 6, 1, 2, 1, 1, 5, 0), text("prn-finance-2")),
            (oid!(1, 3, 6, 1, 2, 1, 1, 6, 0), text("2nd floor")),
            (oid!(1, 3, 6, 1, 2, 1, 2, 2, 1, 6, 1), Value::OctetString(vec![0, 0x17, 0xc8, 1, 2, 3])),
            (oid!(1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 17, 1), text("cnb1234567")),
            (oid!(1, 3, 6, 1, 4, 1, 11, 1), text("http://PRN-FINANCE-2/ ink")),
            (oid!(1, 3, 6, 1, 4, 1, 11, 2), Value::IpAddress([10, 20, 30, 40].into())),
            (oid!(1, 3, 6, 1, 4, 1, 11, 3), Value::Counter32(123_456_789)),
        ]);
        let masked = Secrets::new(["CNB1234567", "prn-finance-2", "x"]).mask(&recording);
        let whole = masked.to_text();
        for secret in ["1234567|", "CNB123", "cnb123", "Jane", "finance", "FINANCE", "floor", "10.20.30.40", "010203"] {
            assert!(!whole.to_lowercase().contains(&secret.to_lowercase()), "{secret} is still there:\n{whole}");
        }
        assert!(whole.contains("0017c8") && whole.contains("ACME 300") && whole.contains("V2.1.0.7"), "{whole}");
        assert!(whole.contains("123456789"), "a counter is no secret: {whole}");
        let serial = masked.value(&oid!(1, 3, 6, 1, 2, 1, 43, 5, 1, 1, 17, 1)).and_then(Value::as_bytes).unwrap();
        assert!(serial.len() == 10 && serial.iter().take(3).all(u8::is_ascii_lowercase));
    }
}
