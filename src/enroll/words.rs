//! Four words of a box's bound key, which a person compares: on the console and in the portal the same.

/// 256 short words, one a line.
const WORDS: &str = include_str!("words.txt");

/// The words of a bound key (32 bytes): of its SHA-256 the first four bytes, each a word's line.
#[must_use]
pub fn words(bound_key: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bound_key);
    let word = |byte: &u8| WORDS.lines().nth(usize::from(*byte)).unwrap_or_default();
    hash.as_ref().iter().take(4).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_256_different_short_words() {
        let words: std::collections::BTreeSet<&str> = WORDS.lines().collect();
        assert_eq!((words.len(), WORDS.lines().count()), (256, 256));
        for word in words {
            assert!((3..=7).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }

    #[test]
    fn a_key_has_its_four_words() {
        assert_eq!(words(&[1; 32]).split(' ').count(), 4);
        assert_ne!(words(&[1; 32]), words(&[2; 32]));
    }
}
