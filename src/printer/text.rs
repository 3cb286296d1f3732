//! Text as printers send it: in several character sets, padded, sometimes wrapped in another protocol's header.

use crate::snmp::Value;

/// Longest text that is kept, in bytes.
const TEXT_MAX_BYTES: usize = 4 * 1024;

/// UTF-8 where it is that, else Latin-1 (ISO 8859-1); control characters become spaces, and of spaces one is kept.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..TEXT_MAX_BYTES).unwrap_or(bytes);
    let bytes = bytes.split(|&b| b == 0).find(|part| !part.is_empty()).unwrap_or_default();
    let text: String = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = squeeze(&text);
    (!text.is_empty()).then_some(text)
}

/// The text of an OCTET STRING.
pub(super) fn of_value(value: &Value) -> Option<String> {
    match value {
        Value::OctetString(bytes) => decode(bytes),
        _ => None,
    }
}

/// A text in HP's PML wrapping: a type byte and a length before it (`01 15 …`: 0x15 is length and type of a string with
/// its character set). Bare text passes as it is.
pub(super) fn of_pml(value: &Value) -> Option<String> {
    let bytes = value.as_bytes()?;
    let is_wrapped = bytes.len() > 2 && bytes.first().is_some_and(|&b| b < 0x20);
    if !is_wrapped {
        return decode(bytes);
    }
    // Two bytes of header, and two more where a symbol set stands before the text.
    let text = bytes.get(2..)?;
    let text = if text.first().is_some_and(|&b| b < 0x20) { text.get(2..)? } else { text };
    decode(text)
}

/// None at the ends, one in the middle.
pub(super) fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A MAC address (six bytes, neither all zero, nor all ones, nor a group address), as `00:17:c8:01:02:03`.
pub(super) fn mac_of(value: &Value) -> Option<String> {
    let bytes: [u8; 6] = value.as_bytes()?.try_into().ok()?;
    let is_real = bytes != [0; 6] && bytes.first().is_some_and(|b| b & 1 == 0);
    is_real.then(|| bytes.map(|b| format!("{b:02x}")).join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_origin_becomes_clean_text() {
        assert_eq!(decode(b"  Toner\x00\x00").as_deref(), Some("Toner"));
        assert_eq!(decode(b"M\xe9moire").as_deref(), Some("Mémoire"));
        assert_eq!(decode("Gerät".as_bytes()).as_deref(), Some("Gerät"));
        assert_eq!(decode(b"A\x1b[31mB").as_deref(), Some("A [31mB"));
        assert_eq!(decode(b"\x00 \x00"), None);
    }

    #[test]
    fn pml_wrapping_is_taken_off() {
        let wrapped = Value::OctetString(b"\x01\x15CNB1234567".to_vec());
        assert_eq!(of_pml(&wrapped).as_deref(), Some("CNB1234567"));
        assert_eq!(of_pml(&Value::OctetString(b"CNB1234567".to_vec())).as_deref(), Some("CNB1234567"));
    }

    #[test]
    fn only_a_real_mac_address_is_one() {
        assert_eq!(mac_of(&Value::OctetString(vec![0, 0x17, 0xc8, 1, 2, 3])).as_deref(), Some("00:17:c8:01:02:03"));
        for odd in [vec![0; 6], vec![0xff; 6], vec![1, 2, 3], vec![]] {
            assert_eq!(mac_of(&Value::OctetString(odd)), None);
        }
    }
}
