//! What is drawn on the terminal: the code in letters that are read from two metres away, and the address as a QR code
//! (ISO/IEC 18004).

use qrcodegen::{QrCode, QrCodeEcc};

/// Letters of five by five: the rows from above, the highest of five bits is left.
const FONT: [(char, [u8; 5]); 36] = [
    ('0', [0x0e, 0x13, 0x15, 0x19, 0x0e]),
    ('1', [0x04, 0x0c, 0x04, 0x04, 0x0e]),
    ('2', [0x1e, 0x01, 0x0e, 0x10, 0x1f]),
    ('3', [0x1e, 0x01, 0x0e, 0x01, 0x1e]),
    ('4', [0x12, 0x12, 0x1f, 0x02, 0x02]),
    ('5', [0x1f, 0x10, 0x1e, 0x01, 0x1e]),
    ('6', [0x0e, 0x10, 0x1e, 0x11, 0x0e]),
    ('7', [0x1f, 0x01, 0x02, 0x04, 0x04]),
    ('8', [0x0e, 0x11, 0x0e, 0x11, 0x0e]),
    ('9', [0x0e, 0x11, 0x0f, 0x01, 0x0e]),
    ('A', [0x0e, 0x11, 0x1f, 0x11, 0x11]),
    ('B', [0x1e, 0x11, 0x1e, 0x11, 0x1e]),
    ('C', [0x0f, 0x10, 0x10, 0x10, 0x0f]),
    ('D', [0x1e, 0x11, 0x11, 0x11, 0x1e]),
    ('E', [0x1f, 0x10, 0x1e, 0x10, 0x1f]),
    ('F', [0x1f, 0x10, 0x1e, 0x10, 0x10]),
    ('G', [0x0f, 0x10, 0x13, 0x11, 0x0f]),
    ('H', [0x11, 0x11, 0x1f, 0x11, 0x11]),
    ('I', [0x0e, 0x04, 0x04, 0x04, 0x0e]),
    ('J', [0x07, 0x01, 0x01, 0x11, 0x0e]),
    ('K', [0x11, 0x12, 0x1c, 0x12, 0x11]),
    ('L', [0x10, 0x10, 0x10, 0x10, 0x1f]),
    ('M', [0x11, 0x1b, 0x15, 0x11, 0x11]),
    ('N', [0x11, 0x19, 0x15, 0x13, 0x11]),
    ('O', [0x0e, 0x11, 0x11, 0x11, 0x0e]),
    ('P', [0x1e, 0x11, 0x1e, 0x10, 0x10]),
    ('Q', [0x0e, 0x11, 0x15, 0x12, 0x0d]),
    ('R', [0x1e, 0x11, 0x1e, 0x12, 0x11]),
    ('S', [0x0f, 0x10, 0x0e, 0x01, 0x1e]),
    ('T', [0x1f, 0x04, 0x04, 0x04, 0x04]),
    ('U', [0x11, 0x11, 0x11, 0x11, 0x0e]),
    ('V', [0x11, 0x11, 0x11, 0x0a, 0x04]),
    ('W', [0x11, 0x11, 0x15, 0x1b, 0x11]),
    ('X', [0x11, 0x0a, 0x04, 0x0a, 0x11]),
    ('Y', [0x11, 0x0a, 0x04, 0x04, 0x04]),
    ('Z', [0x1f, 0x02, 0x04, 0x08, 0x1f]),
];
/// Letters that fit on a screen of 80 columns.
const LETTERS_MAX: usize = 11;
/// Light border around a QR code, in modules (ISO/IEC 18004 §5.3.8).
const QUIET: i32 = 4;
/// Columns of the screen.
const COLUMNS: i32 = 80;

/// The text in large letters; as it is where it has too many, or others than letters, digits and dashes.
#[must_use]
pub fn letters(text: &str) -> String {
    let rows = |c: char| match c.to_ascii_uppercase() {
        '-' => Some([0, 0, 0x0e, 0, 0]),
        c => FONT.iter().find(|(letter, _)| *letter == c).map(|(_, rows)| *rows),
    };
    let drawn: Option<Vec<[u8; 5]>> = text.chars().map(rows).collect();
    let Some(drawn) = drawn.filter(|drawn| drawn.len() <= LETTERS_MAX) else { return format!("    {text}") };
    let line = |row: usize| {
        let letter = |rows: &[u8; 5]| {
            let bits = rows.get(row).copied().unwrap_or(0);
            (0..5).rev().map(|bit| if bits >> bit & 1 == 1 { '#' } else { ' ' }).chain("  ".chars()).collect::<String>()
        };
        format!("  {}", drawn.iter().map(letter).collect::<String>().trim_end())
    };
    (0..5).map(line).collect::<Vec<_>>().join("\n")
}

/// The text as a QR code, dark on light whatever the terminal's colours are; `None` where it does not fit on the screen. With
/// `ascii` of blanks alone, which takes four times the room.
#[must_use]
pub fn qr(text: &str, ascii: bool) -> Option<String> {
    const INK: &str = "\x1b[30;47m";
    const DARK: &str = "\x1b[40m";
    const LIGHT: &str = "\x1b[47m";
    const PLAIN: &str = "\x1b[0m";
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let range = -QUIET..code.size() + QUIET;
    let columns = (code.size() + 2 * QUIET) * if ascii { 2 } else { 1 };
    if columns >= COLUMNS {
        return None;
    }
    let rows = range.clone().step_by(if ascii { 1 } else { 2 });
    let line = |y: i32| {
        let mut line = String::from(if ascii { LIGHT } else { INK });
        for x in range.clone() {
            let (upper, lower) = (code.get_module(x, y), code.get_module(x, y + 1));
            match (ascii, upper, lower) {
                (true, true, _) => line.extend([DARK, "  ", LIGHT]),
                (true, false, _) => line.push_str("  "),
                (false, true, true) => line.push('█'),
                (false, true, false) => line.push('▀'),
                (false, false, true) => line.push('▄'),
                (false, false, false) => line.push(' '),
            }
        }
        line + PLAIN
    };
    Some(rows.map(line).collect::<Vec<_>>().join("\n"))
}

/// The address as a QR code, and at its right the code in large letters, broken at its dashes: so all that a claim needs is on a
/// screen of 24 lines at once. `None` where it does not fit.
#[must_use]
pub fn side_by_side(code: &str, url: &str) -> Option<String> {
    let drawing = qr(url, false)?;
    let mut texts = format!("\n  Type in the portal: {code}\n");
    for part in code.split_inclusive('-') {
        // Where half blocks are, whole ones are too, and are read from farther away.
        texts.push_str(&format!("\n{}\n", letters(part).replace('#', "█")));
    }
    // A QR code is square, and two modules are one line.
    let beside = i32::try_from(texts.lines().map(|line| line.chars().count()).max()?).ok()?;
    let height = drawing.lines().count();
    if texts.lines().count() > height || i32::try_from(2 * height).ok()? + beside >= COLUMNS {
        return None;
    }
    let rows = drawing.lines().zip(texts.lines().chain(std::iter::repeat("")));
    Some(rows.map(|(left, right)| format!("{left}{right}")).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_another_and_a_code_fits_on_the_screen() {
        let drawn: std::collections::HashSet<_> = FONT.iter().map(|(_, rows)| rows).collect();
        assert_eq!(drawn.len(), FONT.len());
        let text = letters("WDJB-MJHT");
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        assert!(text.starts_with("  #   #  ####"), "{text}");
        assert_eq!(letters("ü"), "    ü");
        assert!(letters("TWELVE-CHARS").contains("TWELVE-CHARS"));
    }

    #[test]
    fn a_code_stands_beside_its_qr_code_where_both_fit() {
        let url = "https://portal.example/claim?code=WDJB-MJHT";
        let drawn = side_by_side("WDJB-MJHT", url).unwrap();
        let (qr, w, m) =
            (qr(url, false).unwrap(), letters("WDJB-").replace('#', "█"), letters("MJHT").replace('#', "█"));
        assert!(drawn.lines().zip(qr.lines()).all(|(line, left)| line.starts_with(left)));
        let right: Vec<&str> = drawn.lines().zip(qr.lines()).map(|(line, left)| &line[left.len()..]).collect();
        assert_eq!(right.join("\n").trim_end(), format!("\n  Type in the portal: WDJB-MJHT\n\n{w}\n\n{m}"));
        assert_eq!(side_by_side("WDJBMJHT", url), None, "eight letters in one row are too wide");
        assert_eq!(side_by_side("WD-JB-MJ-HT", url), None, "four rows of letters are too high");
        assert_eq!(side_by_side("WDJB-MJHT", &format!("{url}{}", "x".repeat(60))), None);
    }

    #[test]
    fn a_qr_code_holds_the_address_in_both_drawings() {
        let url = "https://portal.example/claim?code=WDJB-MJHT";
        let code = QrCode::encode_text(url, QrCodeEcc::Low).unwrap();
        let dark = |x: usize, y: usize| {
            let at = |n: usize| i32::try_from(n).unwrap() - QUIET;
            code.get_module(at(x), at(y))
        };
        let side = usize::try_from(code.size() + 2 * QUIET).unwrap();
        let half = qr(url, false).unwrap();
        let mut modules = 0;
        for (n, line) in half.lines().enumerate() {
            let cells = line.strip_prefix("\x1b[30;47m").unwrap().strip_suffix("\x1b[0m").unwrap();
            for (x, c) in cells.chars().enumerate() {
                assert_eq!(matches!(c, '█' | '▀'), dark(x, 2 * n));
                assert_eq!(matches!(c, '█' | '▄'), dark(x, 2 * n + 1));
                modules += 1;
            }
        }
        assert_eq!(modules, side * side.div_ceil(2));
        let whole = qr(url, true).unwrap();
        assert!(whole.is_ascii());
        assert_eq!(whole.lines().count(), side);
        assert_eq!(whole.matches("\x1b[40m").count(), (0..side * side).filter(|n| dark(n % side, n / side)).count());
        assert!(qr(&"x".repeat(2_000), false).is_none());
    }
}
