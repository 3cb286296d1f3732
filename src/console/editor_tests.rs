//! The editor before a terminal of 80 columns, with keys, with noise, and with ten million random octets.

use proptest::prelude::*;

use super::*;

/// One line of a terminal that understands what the editor sends, and nothing else.
#[derive(Default)]
struct Screen {
    cells: Vec<Option<char>>,
    column: usize,
    bells: usize,
}

impl Screen {
    fn show(&mut self, octets: &[u8]) {
        let text = std::str::from_utf8(octets).expect("only whole characters are sent");
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => self.cells.clear(),
                '\u{8}' => self.column = self.column.checked_sub(1).expect("never before the first column"),
                '\u{7}' => self.bells += 1,
                '\u{1b}' => {
                    assert_eq!(rest.next(), Some('['));
                    let number: String = rest.by_ref().take_while(char::is_ascii_digit).collect();
                    // The letter after the number was taken along: K has none, C has one.
                    match number.as_str() {
                        "" => self.cells.truncate(self.column),
                        columns => self.column += columns.parse::<usize>().unwrap(),
                    }
                }
                c => {
                    let columns = escape::columns(c).expect("only what may be shown is sent");
                    assert!(self.column + columns < COLUMNS, "{}: the last column stays free", self.text());
                    self.cells.resize(self.cells.len().max(self.column + columns), Some(' '));
                    for n in 0..columns {
                        self.cells[self.column + n] = (n == 0).then_some(c);
                    }
                    self.column += columns;
                }
            }
        }
    }

    fn text(&self) -> String {
        self.cells.iter().flatten().collect()
    }
}

/// Types, and returns the events; a line that is finished is followed by a new one.
fn type_in(editor: &mut Editor, screen: &mut Screen, octets: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    for byte in octets {
        let mut out = Vec::new();
        let event = editor.feed(*byte, &mut out);
        screen.show(&out);
        if matches!(event, Some(Event::Line(_) | Event::TooLong | Event::Interrupt)) {
            let mut out = Vec::new();
            editor.begin("> ", false, &mut out);
            screen.show(&out);
        }
        events.extend(event.filter(|event| *event != Event::Edited));
    }
    events
}

fn started(hidden: bool) -> (Editor, Screen) {
    let (mut editor, mut screen, mut out) = (Editor::default(), Screen::default(), Vec::new());
    editor.begin("> ", hidden, &mut out);
    screen.show(&out);
    (editor, screen)
}

fn line(text: &str) -> Event {
    Event::Line(Zeroizing::new(text.to_owned()))
}

fn lines_of(octets: &[u8]) -> Vec<Event> {
    let (mut editor, mut screen) = started(false);
    type_in(&mut editor, &mut screen, octets)
}

#[test]
fn a_line_ends_by_return_line_feed_or_both() {
    assert_eq!(lines_of(b"a\rb\nc\r\nd\r\r\n"), [line("a"), line("b"), line("c"), line("d"), line("")]);
    assert_eq!(lines_of(b"a\r\0\nb\n"), [line("a"), line("b")], "some send a zero after a return");
}

#[test]
fn keys_do_what_they_do_elsewhere() {
    for (typed, expected) in [
        (&b"helq\x08p\r"[..], "help"),
        (b"helq\x7fp\r", "help"),
        (b"elp\x01h\r", "help"),
        (b"hlp\x1b[D\x1b[De\r", "help"),
        (b"hlp\x02\x02e\x05!\r", "help!"),
        (b"xhelp\x1b[H\x1b[3~\r", "help"),
        (b"xhelp\x1b[1~\x04\r", "help"),
        (b"hel\x1b[1~\x1b[4~p\r", "help"),
        (b"hel\x1bOH\x1bOFp\r", "help"),
        (b"status now\x17\x17help\r", "help"),
        (b"rubbish\x15help\r", "help"),
        (b"helpless\x02\x02\x02\x02\x0b\r", "help"),
        (b"a\x1b[200~b\x1b[201~\r", "ab"),
        ("ü\x08é複\r".as_bytes(), "é複"),
    ] {
        assert_eq!(lines_of(typed), [line(expected)], "{}", String::from_utf8_lossy(typed));
    }
}

#[test]
fn the_arrow_keys_bring_back_what_was_typed_and_what_was_begun() {
    let (mut editor, mut screen) = started(false);
    for old in ["one", "two", "two", " "] {
        editor.remember(old);
    }
    let typed = b"thr\x1b[A\r\x1b[A\x1b[A\x1b[A\rthr\x1b[A\x1b[Bee\r";
    assert_eq!(type_in(&mut editor, &mut screen, typed), [line("two"), line("one"), line("three")]);
    for n in 0..100 {
        editor.remember(&n.to_string());
    }
    assert_eq!(editor.history.len(), HISTORY_MAX);
    editor.forget_all();
    assert_eq!(type_in(&mut editor, &mut screen, b"\x1b[A\r"), [line("")]);
}

#[test]
fn what_is_typed_into_a_hidden_line_is_never_shown_nor_kept() {
    let (mut editor, mut screen) = started(true);
    let before = screen.text();
    for byte in b"secret\x08t\x1b[A\x1b[D\x09\x0c " {
        let mut out = Vec::new();
        editor.feed(*byte, &mut out);
        if *byte != 0x0c {
            screen.show(&out);
        }
        assert!(!String::from_utf8_lossy(&out).contains(['s', 'e', 'c', 'r', 't', '*']));
    }
    assert_eq!(screen.text(), before);
}

#[test]
fn interrupt_end_and_completion_are_told() {
    assert_eq!(lines_of(b"rubbish\x03\x04"), [Event::Interrupt, Event::End]);
    assert_eq!(lines_of(b"ab\x01\x04\x04\x04"), [Event::End]);
    assert_eq!(lines_of(b"he\x09"), [Event::Complete]);
}

#[test]
fn a_line_that_is_too_long_is_not_done_in_part() {
    let mut typed = b"factory-reset ".to_vec();
    typed.extend(std::iter::repeat_n(b'x', 1_000));
    typed.push(b'\r');
    let (mut editor, mut screen) = started(false);
    assert_eq!(type_in(&mut editor, &mut screen, &typed), [Event::TooLong]);
    assert_eq!(screen.bells, 1);
    // Nor when something of it is taken away again; but when all is.
    typed.truncate(500);
    typed.extend_from_slice(b"\x08\x08\x08\r");
    assert_eq!(type_in(&mut editor, &mut screen, &typed), [Event::TooLong]);
    typed.truncate(500);
    typed.extend_from_slice(b"\x15help\r");
    assert_eq!(type_in(&mut editor, &mut screen, &typed), [line("help")]);
}

#[test]
fn breaks_broken_characters_and_storms_of_sequences_leave_the_next_line_whole() {
    let broken: [&[u8]; 12] = [
        b"\0\0\0\0",
        b"\xff\xfe\x80\xc3",
        b"\xc3\xc3\xc3",
        b"\xf0\x9f\x96",
        b"\xed\xa0\x80",
        b"\x1b[31;1;2;3m\x1b[?1049h",
        b"\x1b]0;title",
        b"\x1bPq#0;2;0;0;0",
        b"\x1b\x1b\x1b[[[[",
        b"\x1b[999999999999999999999999999999999999999999999999C",
        b"\x05\x1b[6n\x1b[c",
        "\u{202e}\u{200b}\u{301}".as_bytes(),
    ];
    for noise in broken {
        let (mut editor, mut screen) = started(false);
        let mut typed = noise.to_vec();
        typed.extend_from_slice(b"\rhelp\r");
        let events = type_in(&mut editor, &mut screen, &typed);
        assert_eq!(events.last(), Some(&line("help")), "{noise:x?}: {events:?}");
        assert_eq!(events.len(), 2, "{noise:x?}: {events:?}");
    }
}

#[test]
fn a_million_characters_without_an_end_take_no_memory() {
    let (mut editor, mut out, mut sent) = (Editor::default(), Vec::new(), 0);
    for byte in std::iter::repeat_n(b'x', 1_000_000) {
        editor.feed(byte, &mut out);
        sent += out.len();
        out.clear();
    }
    assert_eq!(editor.feed(b'\r', &mut out), Some(Event::TooLong));
    assert!(sent < LINE_MAX_BYTES * 200 && out.capacity() < 4_096, "{sent} octets out, {} kept", out.capacity());
}

#[test]
fn a_million_random_octets_do_no_harm() {
    let mut random = fastrand::Rng::with_seed(30);
    let (mut editor, mut out, mut most) = (Editor::default(), Vec::new(), 0);
    for n in 0..1_000_000_u32 {
        // Runs of keys and sequences are rarer than noise, and more interesting.
        let byte = if n % 64 < 32 {
            random.u8(..)
        } else {
            *random.choice(b"\x1b[ABCDHF3~OP]\x01\x05\x08ab \xc3\xbc\r\r\x15").unwrap()
        };
        if let Some(Event::Line(line)) = editor.feed(byte, &mut out) {
            assert!(line.len() <= LINE_MAX_BYTES);
            editor.remember(&line);
        }
        most = most.max(out.len());
        out.clear();
    }
    assert!(most < 2 * LINE_MAX_BYTES, "{most} octets out for one in");
    out.clear();
    editor.feed(b'\r', &mut out);
    editor.begin("> ", false, &mut out);
    let events: Vec<Event> = b"help\r".iter().filter_map(|byte| editor.feed(*byte, &mut out)).collect();
    assert_eq!(events.last(), Some(&line("help")));
}

#[derive(Debug, Clone)]
enum Act {
    Type(char),
    Left,
    Right,
    Home,
    End,
    Back,
    Delete,
    Word,
    ToStart,
    ToEnd,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let character = prop_oneof![4 => proptest::char::range(' ', '~'), 1 => Just('ü'), 1 => Just('複')];
    let act = prop_oneof![
        12 => character.prop_map(Act::Type),
        1 => Just(Act::Left), 1 => Just(Act::Right), 1 => Just(Act::Home), 1 => Just(Act::End), 1 => Just(Act::Back),
        1 => Just(Act::Delete), 1 => Just(Act::Word), 1 => Just(Act::ToStart), 1 => Just(Act::ToEnd),
    ];
    proptest::collection::vec(act, 0..200)
}

impl Act {
    fn octets(&self) -> Vec<u8> {
        match self {
            Self::Type(c) => c.to_string().into_bytes(),
            Self::Left => b"\x1b[D".to_vec(),
            Self::Right => b"\x1b[C".to_vec(),
            Self::Home => b"\x01".to_vec(),
            Self::End => b"\x05".to_vec(),
            Self::Back => b"\x7f".to_vec(),
            Self::Delete => b"\x1b[3~".to_vec(),
            Self::Word => b"\x17".to_vec(),
            Self::ToStart => b"\x15".to_vec(),
            Self::ToEnd => b"\x0b".to_vec(),
        }
    }

    /// The same on a line of characters.
    fn on(&self, line: &mut Vec<char>, cursor: &mut usize) {
        match self {
            Self::Type(c) => {
                line.insert(*cursor, *c);
                *cursor += 1;
            }
            Self::Left => *cursor = cursor.saturating_sub(1),
            Self::Right => *cursor = (*cursor + 1).min(line.len()),
            Self::Home => *cursor = 0,
            Self::End => *cursor = line.len(),
            Self::Back if *cursor > 0 => {
                *cursor -= 1;
                line.remove(*cursor);
            }
            Self::Delete if *cursor < line.len() => {
                line.remove(*cursor);
            }
            Self::Back | Self::Delete => {}
            Self::Word => {
                let mut from = *cursor;
                while from > 0 && line[from - 1] == ' ' {
                    from -= 1;
                }
                while from > 0 && line[from - 1] != ' ' {
                    from -= 1;
                }
                line.drain(from..*cursor);
                *cursor = from;
            }
            Self::ToStart => {
                line.drain(..*cursor);
                *cursor = 0;
            }
            Self::ToEnd => line.truncate(*cursor),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_screen_shows_the_line_and_the_cursor_as_they_are(acts in acts()) {
        let (mut editor, mut screen) = started(false);
        let (mut expected, mut cursor) = (Vec::new(), 0);
        for act in acts {
            let bytes: usize = expected.iter().map(|c: &char| c.len_utf8()).sum();
            if bytes > LINE_MAX_BYTES - 4 {
                break;
            }
            type_in(&mut editor, &mut screen, &act.octets());
            act.on(&mut expected, &mut cursor);
            let whole: String = expected.iter().collect();
            prop_assert_eq!(editor.line(), &whole);
            let before: String = expected[..cursor].iter().collect();
            prop_assert_eq!(editor.before_cursor(), &before);
            let shown = screen.text();
            let shown = shown.strip_prefix("> ").expect("the prompt stays");
            if escape::columns_of(&whole) < COLUMNS - 3 {
                prop_assert_eq!(shown.trim_end(), whole.trim_end());
                prop_assert_eq!(screen.column, 2 + escape::columns_of(&before));
            } else {
                // A part of it, and the cursor in it.
                let at = before.len() - editor.start;
                prop_assert!(whole[editor.start..].starts_with(shown.trim_end()), "{shown}");
                prop_assert_eq!(screen.column, 2 + escape::columns_of(&whole[editor.start..editor.start + at]));
            }
        }
    }
}
