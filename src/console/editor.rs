//! The line that is typed: octets of the terminal in, events and octets for the terminal out. It knows no input or output, so
//! that it can be tried with any octets; whatever comes, it holds one line and a few that were typed before, of fixed size.
//!
//! A terminal of 80 columns that understands `ESC [ K` and `ESC [ n C` (ECMA-48; a VT100 does) is enough: a line that is longer
//! than the screen scrolls sideways. It never asks the terminal anything, and takes no answers for input.
//!
//! Looked at and not taken: `rustyline` and `reedline` (they want a terminal device and files), `noline` (no width of characters,
//! no hidden input).

use heapless::{Deque, Vec as Fixed};
use zeroize::{Zeroize, Zeroizing};

use super::escape;

/// Longest line, in bytes of UTF-8.
pub const LINE_MAX_BYTES: usize = 256;
/// Lines that the arrow keys bring back.
const HISTORY_MAX: usize = 16;
/// Columns of the smallest terminal that it is used with.
const COLUMNS: usize = 80;
/// Longest control sequence that is waited for; the longest key has seven octets.
const SEQUENCE_MAX_BYTES: u8 = 32;

const BELL: u8 = 7;

type Line = Fixed<u8, LINE_MAX_BYTES>;

/// What an octet brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The line has changed, or the cursor has moved: somebody is there.
    Edited,
    /// The line is finished.
    Line(Zeroizing<String>),
    /// The line is finished and was longer than [`LINE_MAX_BYTES`]: nothing of it is kept.
    TooLong,
    /// Ctrl-C: the line is thrown away.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
    /// The tabulator: what is before the cursor is to be completed.
    Complete,
}

/// How far a control sequence has come (ECMA-48 §5.3 to 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    /// None is under way.
    None,
    /// `ESC`
    Escape,
    /// `ESC [`, its first number, whether that has ended, and its length so far.
    Control { number: u8, ended: bool, length: u8 },
    /// `ESC O`
    Single,
    /// A string for the terminal's own use: until `BEL`, `ESC \`, or the end of the line.
    String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Left,
    Right,
    Home,
    End,
    Up,
    Down,
    Delete,
}

/// The editor.
#[derive(Debug)]
pub struct Editor {
    line: Line,
    /// In bytes; always between two characters.
    cursor: usize,
    /// Where the part that is seen begins, likewise.
    start: usize,
    prompt: String,
    hidden: bool,
    too_long: bool,
    /// Newest first.
    history: Deque<Line, HISTORY_MAX>,
    /// Which of them is shown; 0 is the line itself.
    shown: usize,
    /// The line itself, while another is shown.
    draft: Line,
    sequence: Sequence,
    /// The beginning of a character.
    partial: Fixed<u8, 4>,
    after_return: bool,
    /// Noise rings once, not ten million times.
    rung: bool,
}

impl Default for Editor {
    fn default() -> Self {
        Self {
            line: Line::new(),
            cursor: 0,
            start: 0,
            prompt: String::new(),
            hidden: false,
            too_long: false,
            history: Deque::new(),
            shown: 0,
            draft: Line::new(),
            sequence: Sequence::None,
            partial: Fixed::new(),
            after_return: false,
            rung: false,
        }
    }
}

impl Editor {
    /// Begins a line after this prompt (plain text of few columns). What is typed into a hidden one is not shown.
    pub fn begin(&mut self, prompt: &str, hidden: bool, out: &mut Vec<u8>) {
        self.forget_line();
        prompt.clone_into(&mut self.prompt);
        self.hidden = hidden;
        self.redraw(out);
    }

    /// Puts another prompt before what has been typed.
    pub fn set_prompt(&mut self, prompt: &str, out: &mut Vec<u8>) {
        prompt.clone_into(&mut self.prompt);
        self.redraw(out);
    }

    /// What stands before the cursor.
    #[must_use]
    pub fn before_cursor(&self) -> &str {
        text(self.line.get(..self.cursor).unwrap_or_default())
    }

    /// The whole line.
    #[cfg(test)]
    fn line(&self) -> &str {
        text(&self.line)
    }

    /// Adds a line to those that the arrow keys bring back.
    pub fn remember(&mut self, line: &str) {
        let Ok(line) = Line::from_slice(line.trim().as_bytes()) else { return };
        if line.is_empty() || self.history.front() == Some(&line) {
            return;
        }
        if self.history.is_full() {
            self.history.pop_back();
        }
        // There is room now.
        let _there_is_room = self.history.push_front(line);
    }

    /// Forgets all lines: whoever comes next sees nothing of them.
    pub fn forget_all(&mut self) {
        while let Some(mut line) = self.history.pop_back() {
            line.zeroize();
        }
        self.forget_line();
    }

    /// Puts characters in at the cursor.
    pub fn insert(&mut self, text: &str, out: &mut Vec<u8>) {
        for c in text.chars().filter(|c| escape::columns(*c).is_some()) {
            self.insert_character(c, out);
        }
    }

    /// Shows prompt and line anew, from the first column on.
    pub fn redraw(&mut self, out: &mut Vec<u8>) {
        let prompt_columns = escape::columns_of(&self.prompt);
        out.push(b'\r');
        out.extend_from_slice(self.prompt.as_bytes());
        let mut column = prompt_columns;
        if !self.hidden {
            self.scroll();
            let mut used = 0;
            let seen = self.line.get(self.start..).unwrap_or_default();
            for c in text(seen).chars() {
                used += escape::columns(c).unwrap_or(0);
                if used > self.room() {
                    break;
                }
                push(out, c);
            }
            column += self.width(self.start, self.cursor);
        }
        out.extend_from_slice(b"\x1b[K\r");
        if column > 0 {
            out.extend_from_slice(format!("\x1b[{column}C").as_bytes());
        }
    }

    /// Takes one octet.
    pub fn feed(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        // Many terminals send both at the end of a line.
        let second_half = byte == b'\n' && std::mem::take(&mut self.after_return);
        if second_half || byte == 0 {
            // A break on the line arrives as zeros.
            return None;
        }
        self.after_return = byte == b'\r';
        match self.sequence {
            Sequence::None => self.plain(byte, out),
            _ if matches!(byte, b'\r' | b'\n' | 3) => {
                // However a sequence was meant, the end of a line ends it too.
                self.sequence = Sequence::None;
                self.plain(byte, out)
            }
            _ => self.in_sequence(byte, out),
        }
    }

    fn in_sequence(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        const CANCEL: u8 = 0x18;
        const SUBSTITUTE: u8 = 0x1a;
        const ESCAPE: u8 = 0x1b;
        let sequence = std::mem::replace(&mut self.sequence, Sequence::None);
        if matches!(byte, CANCEL | SUBSTITUTE) {
            return None;
        }
        self.sequence = match (sequence, byte) {
            (_, ESCAPE) => Sequence::Escape,
            (Sequence::Escape, b'[') => Sequence::Control { number: 0, ended: false, length: 0 },
            (Sequence::Escape, b'O') => Sequence::Single,
            (Sequence::Escape, b']' | b'P' | b'X' | b'^' | b'_') => Sequence::String,
            (Sequence::Control { length: SEQUENCE_MAX_BYTES.., .. }, _) => Sequence::None,
            (Sequence::Control { number, ended: false, length }, b'0'..=b'9') => {
                let number = number.saturating_mul(10).saturating_add(byte - b'0');
                Sequence::Control { number, ended: false, length: length + 1 }
            }
            (Sequence::Control { number, length, .. }, 0x20..=0x3f) => {
                Sequence::Control { number, ended: true, length: length + 1 }
            }
            (Sequence::Control { number, .. }, 0x40..=0x7e) => return self.key(key(byte, number)?, out),
            (Sequence::Single, _) => return self.key(key(byte, 0)?, out),
            (Sequence::String, BELL) => Sequence::None,
            (Sequence::String, _) => Sequence::String,
            // A letter with Alt, or noise.
            _ => Sequence::None,
        };
        None
    }

    fn plain(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        if byte < 0x80 && !self.partial.is_empty() {
            self.partial.clear();
            self.ring(out);
        }
        match byte {
            0x1b => {
                self.sequence = Sequence::Escape;
                return None;
            }
            b'\r' | b'\n' => return Some(self.finish(out)),
            3 => return Some(self.interrupt(out)),
            4 if self.line.is_empty() => return Some(Event::End),
            9 if self.hidden => return None,
            9 => return Some(Event::Complete),
            12 => {
                out.extend_from_slice(b"\x1b[2J\x1b[H");
                self.redraw(out);
            }
            1 => return self.key(Key::Home, out),
            2 => return self.key(Key::Left, out),
            4 => return self.key(Key::Delete, out),
            5 => return self.key(Key::End, out),
            6 => return self.key(Key::Right, out),
            14 => return self.key(Key::Down, out),
            16 => return self.key(Key::Up, out),
            8 | 0x7f => self.erase(self.previous(), out),
            11 => self.erase_to_end(out),
            21 => self.erase(0, out),
            23 => self.erase(self.word_start(), out),
            0x20..0x7f => self.insert_character(char::from(byte), out),
            0x80.. => return self.part_of_character(byte, out),
            _ => {
                self.ring(out);
                return None;
            }
        }
        Some(Event::Edited)
    }

    /// One octet of a character that has several (RFC 3629 §4).
    fn part_of_character(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        let begins = !matches!(byte, 0x80..=0xbf);
        if begins != self.partial.is_empty() {
            self.ring(out);
            self.partial.clear();
        }
        // At most four fit, and after four it is complete or wrong.
        let _it_fits = self.partial.push(byte);
        let complete = match std::str::from_utf8(&self.partial) {
            Ok(text) => text.chars().next(),
            Err(error) if error.error_len().is_none() => return None,
            Err(_) => None,
        };
        self.partial.clear();
        match complete.filter(|c| escape::columns(*c).is_some()) {
            Some(c) => {
                self.insert_character(c, out);
                Some(Event::Edited)
            }
            None => {
                self.ring(out);
                None
            }
        }
    }

    fn key(&mut self, key: Key, out: &mut Vec<u8>) -> Option<Event> {
        match key {
            Key::Left => self.cursor = self.previous(),
            Key::Right => self.cursor = self.next(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.line.len(),
            Key::Delete => {
                let next = self.next();
                remove(&mut self.line, self.cursor, next);
            }
            Key::Up | Key::Down => self.bring_back(key),
        }
        self.rung = false;
        if !self.hidden {
            self.redraw(out);
        }
        Some(Event::Edited)
    }

    fn bring_back(&mut self, key: Key) {
        let wanted = if key == Key::Up { self.shown + 1 } else { self.shown.saturating_sub(1) };
        if self.hidden || wanted > self.history.len() || wanted == self.shown {
            return;
        }
        if self.shown == 0 {
            self.draft.clone_from(&self.line);
        }
        self.line = match wanted.checked_sub(1).and_then(|nth| self.history.iter().nth(nth)) {
            Some(line) => line.clone(),
            None => std::mem::take(&mut self.draft),
        };
        self.shown = wanted;
        self.too_long = false;
        self.start = 0;
        self.cursor = self.line.len();
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Event {
        out.extend_from_slice(b"\r\n");
        let event =
            if self.too_long { Event::TooLong } else { Event::Line(Zeroizing::new(text(&self.line).to_owned())) };
        self.forget_line();
        event
    }

    fn interrupt(&mut self, out: &mut Vec<u8>) -> Event {
        out.extend_from_slice(b"^C\r\n");
        self.forget_line();
        Event::Interrupt
    }

    fn forget_line(&mut self) {
        self.line.as_mut_slice().zeroize();
        self.line.clear();
        self.draft.as_mut_slice().zeroize();
        self.draft.clear();
        self.partial.clear();
        (self.cursor, self.start, self.shown) = (0, 0, 0);
        (self.too_long, self.rung) = (false, false);
    }

    fn insert_character(&mut self, c: char, out: &mut Vec<u8>) {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        if self.too_long || self.line.len() + bytes.len() > LINE_MAX_BYTES {
            // A part of a command could be another command: such a line is not done at all.
            self.too_long = true;
            self.ring(out);
            return;
        }
        let at_end = self.cursor == self.line.len();
        // There is room for it: checked above.
        let _there_is_room = self.line.extend_from_slice(bytes);
        if let Some(rest) = self.line.get_mut(self.cursor..) {
            rest.rotate_right(bytes.len());
        }
        self.cursor += bytes.len();
        self.rung = false;
        match self.hidden {
            true => {}
            false if at_end && self.width(self.start, self.cursor) < self.room() => push(out, c),
            false => self.redraw(out),
        }
    }

    /// Erases from here to the cursor.
    fn erase(&mut self, from: usize, out: &mut Vec<u8>) {
        let columns = self.width(from, self.cursor);
        let at_end = self.cursor == self.line.len();
        remove(&mut self.line, from, self.cursor);
        self.cursor = from;
        self.after_erasing();
        match self.hidden {
            true => {}
            false if at_end && columns <= 2 && self.start == 0 => {
                for part in [&b"\x08"[..], b" ", b"\x08"] {
                    (0..columns).for_each(|_| out.extend_from_slice(part));
                }
            }
            false => self.redraw(out),
        }
    }

    fn erase_to_end(&mut self, out: &mut Vec<u8>) {
        let end = self.line.len();
        remove(&mut self.line, self.cursor, end);
        self.after_erasing();
        if !self.hidden {
            self.redraw(out);
        }
    }

    fn after_erasing(&mut self) {
        self.rung = false;
        // What was too long is right again only when the whole of it is gone.
        self.too_long &= !self.line.is_empty();
    }

    fn ring(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.rung, true) {
            out.push(BELL);
        }
    }

    fn previous(&self) -> usize {
        self.cursor
            - text(self.line.get(..self.cursor).unwrap_or_default()).chars().next_back().map_or(0, char::len_utf8)
    }

    fn next(&self) -> usize {
        self.cursor + text(self.line.get(self.cursor..).unwrap_or_default()).chars().next().map_or(0, char::len_utf8)
    }

    /// Where the word before the cursor begins.
    fn word_start(&self) -> usize {
        let before = self.before_cursor().trim_end_matches(' ');
        before.rfind(' ').map_or(0, |space| space + 1)
    }

    /// Columns for the line beside the prompt. The last one of the screen stays free: terminals differ in what they do after it.
    fn room(&self) -> usize {
        COLUMNS.saturating_sub(1 + escape::columns_of(&self.prompt)).max(8)
    }

    fn width(&self, from: usize, to: usize) -> usize {
        escape::columns_of(text(self.line.get(from..to).unwrap_or_default()))
    }

    /// Moves the part that is seen so that the cursor is in it.
    fn scroll(&mut self) {
        if self.cursor < self.start || self.width(0, self.line.len()) < self.room() {
            self.start = if self.cursor < self.start { self.cursor } else { 0 };
        }
        while self.width(self.start, self.cursor) >= self.room() {
            let first = text(self.line.get(self.start..).unwrap_or_default()).chars().next();
            self.start += first.map_or(1, char::len_utf8);
        }
    }
}

/// The line is always UTF-8: only whole characters are put in and taken out.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn push(out: &mut Vec<u8>, c: char) {
    let mut bytes = [0; 4];
    out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
}

fn remove(line: &mut Line, from: usize, to: usize) {
    let removed = to.saturating_sub(from);
    if let Some(rest) = line.get_mut(from..).filter(|rest| removed <= rest.len()) {
        rest.rotate_left(removed);
        let left = line.len() - removed;
        if let Some(gone) = line.get_mut(left..) {
            gone.zeroize();
        }
        line.truncate(left);
    }
}

/// The key of a control sequence: its last octet, and its number.
const fn key(last: u8, number: u8) -> Option<Key> {
    Some(match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', 1 | 7) => Key::Home,
        (b'F', _) | (b'~', 4 | 8) => Key::End,
        (b'~', 3) => Key::Delete,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "editor_tests.rs"]
mod tests;
