//! A terminal's screen as tmux tells it: its characters and colours, the QR code that is on it, and a picture of it for the reader.

/// A character, and whether it is dark on light, as QR codes are.
pub type Cell = (char, bool);

/// The lines that tmux tells with their colours.
pub fn cells(text: &str) -> Vec<Vec<Cell>> {
    let (mut lines, mut light, mut rest) = (vec![Vec::new()], false, text.chars());
    while let Some(c) = rest.next() {
        match c {
            '\n' => lines.push(Vec::new()),
            '\x1b' => {
                let sequence: String = rest.by_ref().take_while(|c| *c != 'm').collect();
                for number in sequence.strip_prefix('[').unwrap().split(';') {
                    match number {
                        "47" => light = true,
                        "" | "0" | "49" => light = false,
                        "30" | "39" => {}
                        _ => panic!("no colour of the console's: {sequence:?}"),
                    }
                }
            }
            c => lines.last_mut().unwrap().push((c, light)),
        }
    }
    lines
}

/// The modules of a line of a QR code: the upper ones, then the lower ones.
pub fn modules(row: &[Cell]) -> Vec<bool> {
    let of = |signs: [char; 2]| row.iter().filter(|cell| cell.1).map(move |cell| signs.contains(&cell.0));
    of(['█', '▀']).chain(of(['█', '▄'])).collect()
}

/// Size of a character in the picture, in pixels; half of its height is a module of a QR code.
const WIDE: usize = 9;
const HIGH: usize = 18;
/// Lines of the picture's first part: what the console says first, and as much of the help as shows what it is.
const HELP_LINES: usize = 14;

/// What is on the terminal, as a drawing: the beginning of the help, and the claim.
pub fn picture(screen: &[Vec<Cell>]) -> String {
    let text = |row: &[Cell]| row.iter().map(|cell| cell.0).collect::<String>().trim_end().to_owned();
    let line_of = |start: &str| screen.iter().position(|row| text(row).starts_with(start)).unwrap();
    let (first, claim, last) = (line_of("platen 0"), line_of("platen> claim"), line_of("14 min"));
    let cut = vec![vec![('⋮', false)]];
    let rows = screen[first..first + HELP_LINES].iter().chain(&cut).chain(&screen[claim..=last]);
    let (wide, high) = (80 * WIDE + 40, (HELP_LINES + 1 + last + 1 - claim) * HIGH + 72);
    let mut drawing = format!(
        "<!-- written by the test inside_tmux_every_screen_is_whole_and_a_claim_fits_on_one, with PLATEN_WRITE_PICTURE=1 -->\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" width=\"{wide}\" height=\"{high}\" \
         role=\"img\" aria-label=\"The serial console: its help, and a claim\">\n<style>\n\
         text{{font:15px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d3d7de}}\n\
         .typed{{fill:#8fd18a}}.bar{{fill:#8b929e}}.large{{fill:#d3d7de;shape-rendering:crispEdges}}\n</style>\n\
         <rect width=\"{wide}\" height=\"{high}\" rx=\"10\" fill=\"#14171c\"/>\n\
         <path d=\"M0 36V10a10 10 0 0 1 10-10H{}a10 10 0 0 1 10 10v26z\" fill=\"#262b33\"/>\n\
         <text class=\"bar\" x=\"20\" y=\"23\">platen console: 115200 8N1, 80 × 24</text>\n",
        wide - 10
    );
    for (n, row) in rows.enumerate() {
        draw_row(row, 54 + n * HIGH, &mut drawing);
    }
    drawing + "</svg>\n"
}

/// A line: text by words that are far from each other, so that columns stay columns in any font; blocks as what they show.
fn draw_row(row: &[Cell], top: usize, drawing: &mut String) {
    let left = 20;
    let lights = row.iter().filter(|cell| cell.1).count();
    if lights > 0 {
        let mut path = String::new();
        for (half, line) in modules(row).chunks(lights).enumerate() {
            let mut x = 0;
            for run in line.chunk_by(|a, b| a == b) {
                if run[0] {
                    let (x, y, length) = (left + x * WIDE, top + half * HIGH / 2, run.len() * WIDE);
                    path.push_str(&format!("M{x} {y}h{length}v{}h-{length}z", HIGH / 2));
                }
                x += run.len();
            }
        }
        let length = lights * WIDE;
        drawing.push_str(&format!(
            "<g shape-rendering=\"crispEdges\"><rect x=\"{left}\" y=\"{top}\" width=\"{length}\" height=\"{HIGH}\" \
             fill=\"#e9ebee\"/><path d=\"{path}\"/></g>\n"
        ));
    }
    let mut letters = String::new();
    for (column, _) in row.iter().enumerate().filter(|(_, cell)| **cell == ('█', false)) {
        letters.push_str(&format!("M{} {top}h{WIDE}v{HIGH}h-{WIDE}z", left + column * WIDE));
    }
    if !letters.is_empty() {
        drawing.push_str(&format!("<path class=\"large\" d=\"{letters}\"/>\n"));
    }
    let text: String = row.iter().map(|cell| if cell.1 || cell.0 == '█' { ' ' } else { cell.0 }).collect();
    let class = if text.starts_with("platen> ") { " class=\"typed\"" } else { "" };
    let mut column = 0;
    for part in text.trim_end().split("  ") {
        let (blanks, length) = (part.len() - part.trim_start().len(), part.trim().chars().count());
        if length > 0 {
            let part = part.trim().replace('&', "&amp;").replace('<', "&lt;").replace(' ', "\u{a0}");
            drawing.push_str(&format!(
                "<text{class} x=\"{}\" y=\"{}\" textLength=\"{}\">{part}</text>\n",
                left + (column + blanks) * WIDE,
                top + 14,
                length * WIDE
            ));
        }
        column += blanks + length + 2;
    }
}
