//! Text as printers send it: in many character sets, padded, sometimes wrapped in another protocol's header. What comes out
//! is always printable UTF-8.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_5, ISO_8859_7, SHIFT_JIS, UTF_16BE,
    UTF_16LE, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252, WINDOWS_1253, WINDOWS_1254, WINDOWS_1257,
};

use crate::snmp::Value;

/// Longest text that is kept, in bytes.
const TEXT_MAX_BYTES: usize = 4 * 1024;

/// prtLocalizationCharacterSet (RFC 3805), an IANA MIBenum: in which set the device says that its texts are. What is valid
/// UTF-8 is taken as that all the same, as many devices say one thing and do the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charset(Option<i64>);

/// HP's Roman-8 from 0xa0 to 0xfe (RFC 1345, hp-roman8).
const ROMAN_8: &str =
    "\u{a0}ÀÂÈÊËÎÏ´ˋˆ¨˜ÙÛ₤¯Ýý°ÇçÑñ¡¿¤£¥§ƒ¢âêôûáéóúàèòùäëöüÅîØÆåíøæÄìÖÜÉïßÔÁÃãÐðÍÌÓÒÕõŠšÚŸÿÞþ·µ¶¾—¼½ªº«■»±";

/// MIBenum of Roman-8.
const HP_ROMAN_8: i64 = 2004;

impl Charset {
    /// The set of this MIBenum. Numbers that are not known are as good as none.
    pub(super) fn of(mib_enum: Option<i64>) -> Self {
        Self(mib_enum)
    }

    fn encoding(self) -> Option<&'static Encoding> {
        Some(match self.0? {
            5 => ISO_8859_2,
            8 => ISO_8859_5,
            10 => ISO_8859_7,
            17 | 2024 => SHIFT_JIS,
            18 => EUC_JP,
            38 | 36 => EUC_KR,
            39 => ISO_2022_JP,
            113 | 2025 => GBK,
            114 => GB18030,
            2026 => BIG5,
            1000 | 1013 | 1015 => UTF_16BE,
            1014 => UTF_16LE,
            2250 => WINDOWS_1250,
            2251 => WINDOWS_1251,
            2253 => WINDOWS_1253,
            2254 => WINDOWS_1254,
            2257 => WINDOWS_1257,
            _ => return None,
        })
    }

    /// The text of an OCTET STRING; nothing where there is none.
    pub(super) fn of_value(self, value: &Value) -> Option<String> {
        match value {
            Value::OctetString(bytes) => self.decode(bytes),
            _ => None,
        }
    }

    /// UTF-8 where it is that, else the set that the device names, else Windows-1252, in which Latin-1 lies.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<String> {
        let bytes = bytes.get(..TEXT_MAX_BYTES).unwrap_or(bytes);
        let encoding = self.encoding();
        let is_wide = encoding.is_some_and(|it| it == UTF_16BE || it == UTF_16LE) && bytes.contains(&0);
        // Padding, and what some agents leave behind the end of the text. In UTF-16 half of the bytes are zero.
        let part = if is_wide { bytes } else { bytes.split(|&b| b == 0).find(|it| !it.is_empty()).unwrap_or_default() };
        let is_shifted = encoding == Some(ISO_2022_JP) && part.contains(&0x1b);
        let decoded = |encoding: &'static Encoding| {
            encoding.decode_without_bom_handling_and_without_replacement(part).map(|text| text.into_owned())
        };
        let text = match (std::str::from_utf8(part), encoding) {
            (Ok(text), _) if !is_wide && !is_shifted => Some(text.to_owned()),
            (Err(_), _) if self.0 == Some(HP_ROMAN_8) => Some(roman_8(part)),
            (_, Some(encoding)) => decoded(encoding),
            _ => None,
        };
        let text = text
            .or_else(|| cut_utf_8(part))
            .unwrap_or_else(|| WINDOWS_1252.decode_without_bom_handling(part).0.into_owned());
        let text = printable(&text);
        (!text.is_empty()).then_some(text)
    }
}

/// UTF-8 that was cut in the middle of its last character, as agents do whose texts have a longest length.
fn cut_utf_8(bytes: &[u8]) -> Option<String> {
    const LONGEST_CHARACTER: usize = 4;
    let error = std::str::from_utf8(bytes).err()?;
    let head = bytes.get(..error.valid_up_to())?;
    let is_cut = error.error_len().is_none() && bytes.len() - head.len() < LONGEST_CHARACTER && !head.is_ascii();
    is_cut.then(|| String::from_utf8_lossy(head).into_owned())
}

fn roman_8(bytes: &[u8]) -> String {
    let character = |&b: &u8| match b {
        0..=0x7f => char::from(b),
        0xa0..=0xfe => ROMAN_8.chars().nth(usize::from(b - 0xa0)).unwrap_or(' '),
        _ => ' ',
    };
    bytes.iter().map(character).collect()
}

/// Control characters become spaces; what cannot be seen (marks of direction, joiners, what is no character) is left out; of
/// spaces one is kept.
pub(super) fn printable(text: &str) -> String {
    let is_hidden = |c: &char| {
        matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffc}' | '\u{fffe}'..='\u{ffff}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
    };
    let is_control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let text: String = text.chars().filter(|c| !is_hidden(c)).map(|c| if is_control(c) { ' ' } else { c }).collect();
    squeeze(&text)
}

/// The text of an OCTET STRING of a device that names no character set.
pub(super) fn of_value(value: &Value) -> Option<String> {
    Charset::default().of_value(value)
}

/// A text in HP's PML wrapping: a type byte and a length before it (`01 15 …`: 0x15 is length and type of a string with
/// its character set). Bare text passes as it is.
pub(super) fn of_pml(value: &Value) -> Option<String> {
    let bytes = value.as_bytes()?;
    let is_wrapped = bytes.len() > 2 && bytes.first().is_some_and(|&b| b < 0x20);
    if !is_wrapped {
        return Charset::default().decode(bytes);
    }
    // Two bytes of header, and two more where a symbol set stands before the text.
    let text = bytes.get(2..)?;
    let text = if text.first().is_some_and(|&b| b < 0x20) { text.get(2..)? } else { text };
    Charset::default().decode(text)
}

/// A text that is itself hexadecimal digits, in pairs with or without something between: "43 4E 42", "0x434e42".
pub(super) fn of_hex_text(value: &Value, charset: Charset) -> Option<String> {
    let text = charset.of_value(value)?;
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    let digits: Vec<u8> = digits.bytes().filter(|b| !matches!(b, b' ' | b':' | b'-')).collect();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Some(text);
    }
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    charset.decode(&bytes)
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
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Option<String> {
        Charset::default().decode(bytes)
    }

    #[test]
    fn text_of_any_origin_becomes_clean_text() {
        assert_eq!(decode(b"  Toner\x00\x00").as_deref(), Some("Toner"));
        assert_eq!(decode(b"M\xe9moire").as_deref(), Some("Mémoire"));
        assert_eq!(decode("Gerät".as_bytes()).as_deref(), Some("Gerät"));
        assert_eq!(decode(b"A\x1b[31mB").as_deref(), Some("A [31mB"));
        assert_eq!(decode("A\u{202e}B\u{feff}\u{200b}C".as_bytes()).as_deref(), Some("ABC"));
        assert_eq!(decode(b"\x00 \x00"), None);
    }

    #[test]
    fn the_set_that_the_device_names_is_used_where_the_text_is_no_utf_8() {
        let in_set = |number, bytes: &[u8]| Charset::of(Some(number)).decode(bytes);
        assert_eq!(in_set(17, b"\x83\x67\x83\x69\x81\x5b").as_deref(), Some("トナー"));
        assert_eq!(in_set(2024, b"\x8d\x95").as_deref(), Some("黒"));
        assert_eq!(in_set(18, b"\xb9\xf5").as_deref(), Some("黒"));
        assert_eq!(in_set(39, b"\x1b$B9u\x1b(B").as_deref(), Some("黒"));
        assert_eq!(in_set(2025, b"\xba\xda").as_deref(), Some("黑"));
        assert_eq!(in_set(2251, b"\xf7\xe5\xf0\xed\xfb\xe9").as_deref(), Some("черный"));
        assert_eq!(in_set(HP_ROMAN_8, b"Ger\xcct n\xb3 \xc5").as_deref(), Some("Gerät n° é"));
        assert_eq!(in_set(1015, b"\0T\0o\0n").as_deref(), Some("Ton"));
        // It names one and sends the other.
        assert_eq!(in_set(17, "Gerät".as_bytes()).as_deref(), Some("Gerät"));
        assert_eq!(in_set(17, b"Ger\xe4t \xfd\xfd").as_deref(), Some("Gerät ýý"));
        assert_eq!(in_set(9_999, b"Ger\xe4t").as_deref(), Some("Gerät"));
    }

    #[test]
    fn a_character_that_was_cut_in_half_is_left_out() {
        let whole = "Réservoir de récupération de toner usagé".as_bytes();
        assert_eq!(decode(&whole[..whole.len() - 1]).as_deref(), Some("Réservoir de récupération de toner usag"));
    }

    #[test]
    fn pml_wrapping_is_taken_off() {
        let wrapped = Value::OctetString(b"\x01\x15CNB1234567".to_vec());
        assert_eq!(of_pml(&wrapped).as_deref(), Some("CNB1234567"));
        assert_eq!(of_pml(&Value::OctetString(b"CNB1234567".to_vec())).as_deref(), Some("CNB1234567"));
    }

    #[test]
    fn hexadecimal_text_is_read_and_other_text_is_left() {
        let of = |text: &str| of_hex_text(&Value::OctetString(text.as_bytes().to_vec()), Charset::default());
        assert_eq!(of("43 4E 42 00").as_deref(), Some("CNB"));
        assert_eq!(of("0x434e42").as_deref(), Some("CNB"));
        assert_eq!(of("CNB1234").as_deref(), Some("CNB1234"));
    }

    #[test]
    fn only_a_real_mac_address_is_one() {
        assert_eq!(mac_of(&Value::OctetString(vec![0, 0x17, 0xc8, 1, 2, 3])).as_deref(), Some("00:17:c8:01:02:03"));
        for odd in [vec![0; 6], vec![0xff; 6], vec![1, 2, 3], vec![]] {
            assert_eq!(mac_of(&Value::OctetString(odd)), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_the_text_is_printable(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            set in proptest::sample::select(vec![0i64, 3, 4, 17, 18, 39, 106, 113, 1000, 1014, 2004, 2025, 2026, 2251]),
        ) {
            if let Some(text) = Charset::of(Some(set)).decode(&bytes) {
                prop_assert!(!text.is_empty() && text.trim() == text);
                prop_assert!(text.chars().all(|c| !c.is_control() && c != '\u{feff}' && c != '\u{202e}'), "{text:?}");
            }
        }
    }
}
