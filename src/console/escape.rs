//! Makes texts of strangers harmless before they reach a terminal: what printers, proxies and clouds say of themselves must not
//! move the cursor, colour the screen, turn the direction of writing, or hide in no width at all (UTS #39, UAX #9, ECMA-48).

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

/// Widest text of a stranger in one piece, in columns.
pub const FIELD_MAX_COLUMNS: usize = 256;
/// Stands for what was cut off.
const CUT: char = '…';

/// How many columns this character takes, where it may be shown as it is: printable, of one or two columns, and none of those
/// that steer the direction of writing, join, or look like nothing.
#[must_use]
pub fn columns(c: char) -> Option<usize> {
    if deceives(c) {
        return None;
    }
    c.width().filter(|columns| *columns > 0)
}

/// Columns of a text of which every character [may be shown](columns); others count as none.
#[must_use]
pub fn columns_of(text: &str) -> usize {
    text.chars().filter_map(columns).sum()
}

/// Format characters and blanks of the Unicode Character Database (general categories Cf, Zl, Zp; fillers) that some terminals
/// give a width.
const fn deceives(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// The text on one line, at most [`FIELD_MAX_COLUMNS`] wide.
#[must_use]
pub fn field(text: &str) -> String {
    within(text, FIELD_MAX_COLUMNS)
}

/// The text on one line, at most `max_columns` wide: whatever must not be shown becomes `\x1b` or `\u{202e}`, and what is too
/// long ends in "…".
#[must_use]
pub fn within(text: &str, max_columns: usize) -> String {
    let mut shown = String::new();
    // How much of it still leaves room for the sign that there is more.
    let (mut used, mut fits) = (0, 0);
    for c in text.chars() {
        let before = shown.len();
        let wide = match columns(c) {
            Some(wide) => {
                shown.push(c);
                wide
            }
            None => {
                // A String takes whatever is written.
                let _written = if u32::from(c) < 0x100 {
                    write!(shown, "\\x{:02x}", u32::from(c))
                } else {
                    write!(shown, "\\u{{{:x}}}", u32::from(c))
                };
                shown.len() - before
            }
        };
        if used + wide > max_columns {
            shown.truncate(fits);
            shown.extend((max_columns > 0).then_some(CUT));
            return shown;
        }
        used += wide;
        if used < max_columns {
            fits = shown.len();
        }
    }
    shown
}

/// Several lines: each made harmless, at most `max_lines` of them; tabs become spaces.
#[must_use]
pub fn lines(text: &str, max_lines: usize) -> String {
    let mut all = text.lines();
    let mut shown: Vec<String> = all.by_ref().take(max_lines).map(|line| field(&line.replace('\t', "    "))).collect();
    if all.next().is_some() {
        shown.push(CUT.to_string());
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_or_the_direction_of_writing_is_shown_as_its_code() {
        assert_eq!(field("HP \u{1b}[31mred\u{7}\r\n"), "HP \\x1b[31mred\\x07\\x0d\\x0a");
        assert_eq!(field("a\u{202e}b\u{200b}c\u{9b}2J\u{7f}"), "a\\u{202e}b\\u{200b}c\\x9b2J\\x7f");
        assert_eq!(field("Büro 2 · 複合機 Ω ж"), "Büro 2 · 複合機 Ω ж");
        for code in (0..0x20).chain(0x7f..0xa0).chain([0xad, 0x61c, 0x200e, 0x2028, 0x2066, 0xfeff, 0xe0041, 0x301]) {
            let c = char::from_u32(code).unwrap();
            assert!(field(&c.to_string()).starts_with('\\'), "{code:x}");
        }
    }

    #[test]
    fn what_is_too_wide_is_cut_at_columns_and_not_at_bytes() {
        assert_eq!(within("abcdef", 6), "abcdef");
        assert_eq!(within("abcdefg", 6), "abcde…");
        assert_eq!(within("複合機複合機", 5), "複合…");
        assert_eq!(within("ab\u{1b}cd", 5), "ab…", "an escape is not cut in the middle");
        assert_eq!(within("abc", 0), "");
        assert_eq!(lines("a\n\tb\nc", 2), "a\n    b\n…");
    }

    proptest! {
        #[test]
        fn nothing_but_printable_characters_in_the_width_comes_out(text in any::<String>(), most in 0_usize..100) {
            let shown = within(&text, most);
            prop_assert!(shown.chars().all(|c| columns(c).is_some()));
            prop_assert!(columns_of(&shown) <= most);
        }
    }
}
