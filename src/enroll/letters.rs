//! The codes that people read and type: twenty letters without vowels, so that no code is a word, and without those that look
//! alike (RFC 8628 section 6.1). In groups of four.

/// The letters.
pub const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// So many letters of a random number; at most 16. They are as evenly spread as 128 bits allow: of 16 letters, each is off by
/// less than 2^-58.
#[must_use]
pub fn from_random(random: [u8; 16], count: usize) -> String {
    let mut rest = u128::from_be_bytes(random);
    let mut letters = String::with_capacity(count);
    for _ in 0..count.min(16) {
        letters.push(char::from(ALPHABET[(rest % 20) as usize]));
        rest /= 20;
    }
    letters
}

/// As it is shown: "WDJB-MJHT".
#[must_use]
pub fn grouped(letters: &str) -> String {
    let mut out = String::with_capacity(letters.len() + letters.len() / 4);
    for (n, letter) in letters.chars().enumerate() {
        if n > 0 && n % 4 == 0 {
            out.push('-');
        }
        out.push(letter);
    }
    out
}

/// Takes a code as people type it: dashes and blanks anywhere, small letters too. `None` where it has another length or other
/// letters.
#[must_use]
pub fn parse(typed: &str, count: usize) -> Option<String> {
    let mut letters = String::with_capacity(count);
    for letter in typed.bytes().filter(|b| !matches!(b, b'-' | b' ')).map(|b| b.to_ascii_uppercase()) {
        if letters.len() == count || !ALPHABET.contains(&letter) {
            return None;
        }
        letters.push(char::from(letter));
    }
    (letters.len() == count).then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = from_random([7; 16], 8);
        assert_eq!(code.len(), 8);
        let shown = grouped(&code);
        assert_eq!((shown.len(), shown.as_bytes()[4]), (9, b'-'));
        for typed in [shown.clone(), shown.to_lowercase(), format!(" {} ", shown.replace('-', " "))] {
            assert_eq!(parse(&typed, 8), Some(code.clone()), "{typed}");
        }
        for wrong in ["", "BCDF-GHJ", "BCDF-GHJKL", "AEIO-UAEI", "BCDF-GHJ1"] {
            assert_eq!(parse(wrong, 8), None, "{wrong}");
        }
    }
}
