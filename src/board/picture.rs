//! Pictures of the LED table, made from it: an SVG for the README (`led-table.svg`) and lines of ASCII for the console.

use std::fmt::Write;

use super::pattern::{Pattern, Patterns};
use super::rhythm::{FULL, Rhythm};
use super::signal::{Number, Signal};

/// How long a column of the ASCII timeline is.
const COLUMN_MS: u32 = 100;

/// A rhythm as text from its beginning, 100 ms a column: `#` light, `+` and `-` less of it, `.` darkness.
#[must_use]
pub fn ascii_timeline(rhythm: &Rhythm, columns: usize) -> String {
    let column = |n: usize| {
        let begin = n as u64 * u64::from(COLUMN_MS);
        let sum: u32 = (0..COLUMN_MS).map(|ms| u32::from(rhythm.level_at(begin + u64::from(ms)))).sum();
        match sum * 100 / COLUMN_MS / u32::from(FULL) {
            50.. => '#',
            20.. => '+',
            5.. => '-',
            _ => '.',
        }
    };
    (0..columns.min(1_000)).map(column).collect()
}

/// The table for a terminal of 80 columns: word and meaning, and below them the rhythm.
#[must_use]
pub fn ascii_table() -> String {
    let mut text = String::new();
    for pattern in rows() {
        let _ = writeln!(text, "{:12} {}", pattern.signal.word(), pattern.meaning);
        let _ = writeln!(text, "             {}", ascii_timeline(&pattern.rhythm, 66));
    }
    text
}

/// One row for each that a person would tell apart: of the numbers one stands for all.
fn rows() -> impl Iterator<Item = &'static Pattern> {
    let example = Number::new(4).map(Signal::Number);
    Patterns::built_in()
        .iter()
        .filter(move |row| !matches!(row.signal, Signal::Number(_)) || Some(row.signal) == example)
}

/// The picture: eight seconds of each rhythm. Light is the colour of the text, so that it is read without colours; the swatch
/// beside the word has the LED's.
#[must_use]
pub fn svg() -> String {
    const ROW: u32 = 30;
    const TOP: u32 = 34;
    let table = Patterns::built_in();
    let mut body = String::new();
    let mut y = TOP;
    for pattern in rows() {
        let without =
            pattern.without_levels.as_ref().map(|rhythm| (rhythm, "The same on an LED that is only on or off."));
        for (rhythm, meaning) in [(&pattern.rhythm, pattern.meaning.as_str())].into_iter().chain(without) {
            let colour = pattern.colour.map_or([0; 3], |colour| table.rgb(colour));
            body.push_str(&row(y, pattern, rhythm, meaning, colour));
            y += ROW;
        }
    }
    let height = y + 8;
    let mut seconds = String::new();
    for second in 0..=table.readable_ms / 1_000 {
        let x = X_TIME + second * PX_PER_SECOND;
        let _ = write!(seconds, r#"<line class="grid" x1="{x}" y1="24" x2="{x}" y2="{y}"/>"#);
        let _ = writeln!(seconds, r#"<text class="small" x="{x}" y="18" text-anchor="middle">{second} s</text>"#);
    }
    format!("{}{STYLE}{seconds}{body}</svg>\n", head(height))
}

const WIDTH: u32 = 1120;
const X_SWATCH: u32 = 18;
const X_WORD: u32 = 36;
const X_TIME: u32 = 164;
const PX_PER_SECOND: u32 = 60;
const X_MEANING: u32 = 668;

const STYLE: &str = "<style>
text{font:14px system-ui,sans-serif;fill:#1c1c1c}.word{font-weight:600}.small{font-size:11px;fill:#707070}
.lit{fill:#1c1c1c}.dark{stroke:#9a9a9a}.grid{stroke:#dcdcdc}.swatch{stroke:#707070}.paper{fill:#ffffff}
@media(prefers-color-scheme:dark){text{fill:#ececec}.small{fill:#a0a0a0}.lit{fill:#ececec}.dark{stroke:#6c6c6c}.grid{stroke:#383838}.paper{fill:#161616}}
</style>
<rect class=\"paper\" width=\"100%\" height=\"100%\"/>
";

fn head(height: u32) -> String {
    format!(
        "<!-- generated from src/board/patterns.toml by the test the_picture_of_the_led_table, with PLATEN_WRITE_TABLE=1 -->\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"What the LED says: eight seconds of each rhythm\">\n"
    )
}

fn row(y: u32, pattern: &Pattern, rhythm: &Rhythm, meaning: &str, [red, green, blue]: [u8; 3]) -> String {
    let middle = y + 9;
    let text = y + 14;
    let word = match pattern.signal {
        Signal::Number(number) => format!("number ({})", number.get()),
        Signal::ResetArmed(stage) => format!("reset-armed {}", stage.number()),
        signal => signal.word().to_owned(),
    };
    let end = X_TIME + 8 * PX_PER_SECOND;
    let lit = if let Rhythm::Breathe(_) = rhythm { breath(y, rhythm) } else { bars(y, rhythm) };
    format!(
        "<circle class=\"swatch\" cx=\"{X_SWATCH}\" cy=\"{middle}\" r=\"7\" fill=\"#{red:02x}{green:02x}{blue:02x}\"/>\
         <text class=\"word\" x=\"{X_WORD}\" y=\"{text}\">{word}</text>\
         <line class=\"dark\" x1=\"{X_TIME}\" y1=\"{middle}\" x2=\"{end}\" y2=\"{middle}\"/>{lit}\
         <text x=\"{X_MEANING}\" y=\"{text}\">{meaning}</text>\n"
    )
}

fn x_of(ms: u64) -> f64 {
    f64::from(X_TIME) + ms as f64 * f64::from(PX_PER_SECOND) / 1_000.0
}

fn bars(y: u32, rhythm: &Rhythm) -> String {
    let end = u64::from(Patterns::built_in().readable_ms);
    let mut bars = String::new();
    let mut from = 0;
    while from < end {
        let to = rhythm.next_change_ms(from).unwrap_or(end).min(end);
        if rhythm.level_at(from) > 0 {
            let (x, width) = (x_of(from), x_of(to) - x_of(from));
            let _ = write!(bars, r#"<rect class="lit" x="{x}" y="{y}" width="{width}" height="18"/>"#);
        }
        from = to;
    }
    bars
}

fn breath(y: u32, rhythm: &Rhythm) -> String {
    let end = u64::from(Patterns::built_in().readable_ms);
    let half = |ms: u64| 9.0 * f64::from(rhythm.level_at(ms)) / f64::from(FULL);
    let middle = f64::from(y) + 9.0;
    let times = || (0..=end / 100).map(|tenth| tenth * 100);
    let above = times().map(|ms| format!("{},{:.1}", x_of(ms), middle - half(ms)));
    let below = times().rev().map(|ms| format!("{},{:.1}", x_of(ms), middle + half(ms)));
    let points: Vec<String> = above.chain(below).collect();
    format!(r#"<polygon class="lit" points="{}"/>"#, points.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_of_the_led_table_is_that_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/board/led-table.svg");
        if std::env::var_os("PLATEN_WRITE_TABLE").is_some() {
            std::fs::write(path, svg()).unwrap();
            return;
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == svg(), "{path} is behind: PLATEN_WRITE_TABLE=1 cargo test --lib the_picture_of_the_led_table");
    }

    #[test]
    fn the_table_for_a_terminal_fits_it_and_has_every_word() {
        let text = ascii_table();
        assert!(text.is_ascii());
        for line in text.lines() {
            assert!(line.len() <= 79, "{line}");
        }
        for signal in Signal::all() {
            assert!(text.lines().any(|line| line.starts_with(signal.word())), "{signal}");
        }
    }

    #[test]
    fn a_timeline_shows_light_and_darkness_in_tenths_of_a_second() {
        let of = |signal| ascii_timeline(&Patterns::built_in().of(signal).rhythm, 20);
        assert_eq!(of(Signal::Unclaimed), "##########..........");
        assert_eq!(of(Signal::Press), "##.##..........##.##");
        assert_eq!(of(Signal::NoCloud), "########...##.......");
        assert_eq!(of(Signal::Off), "....................");
        assert_eq!(of(Signal::Starting), "..---++######+++--..");
    }
}
