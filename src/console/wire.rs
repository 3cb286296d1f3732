//! The line to the terminal: octets in and out, with the editor between. It never holds more than a few kilobytes, and a terminal
//! that takes nothing any more ends it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::commands;
use super::editor::{Editor, Event};
use super::escape;

/// Octets that are taken at once.
const CHUNK_BYTES: usize = 512;
/// Octets for the terminal that are collected before they are sent.
const OUT_BYTES: usize = 2_048;
/// Longest time for the terminal to take something: a line of 9600 baud that is stopped by flow control is given up on.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// What came of waiting for a line.
#[derive(Debug)]
pub(super) enum Got {
    /// It.
    Line(Zeroizing<String>),
    /// One that is too long to be done.
    TooLong,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
    /// No key for too long.
    Idle,
}

/// The line.
pub(super) struct Wire<I> {
    io: I,
    chunk: Box<[u8; CHUNK_BYTES]>,
    /// What of it is not used yet.
    unused: std::ops::Range<usize>,
    pub(super) editor: Editor,
    out: Vec<u8>,
    last_key: Instant,
    idle_max: Duration,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Wire<I> {
    pub(super) fn new(io: I, idle_max: Duration) -> Self {
        Self {
            io,
            chunk: Box::new([0; CHUNK_BYTES]),
            unused: 0..0,
            editor: Editor::default(),
            out: Vec::with_capacity(2 * OUT_BYTES),
            last_key: Instant::now(),
            idle_max,
        }
    }

    /// Prints lines of text. Whatever is no printable character does not get through here, whoever wrote it.
    pub(super) async fn print(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            for c in line.chars() {
                let shown = if escape::columns(c).is_some() { c } else { '?' };
                self.out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
            }
            self.out.extend_from_slice(b"\r\n");
            self.flush_if_full().await?;
        }
        self.flush().await
    }

    /// Prints what was drawn here: with colours.
    pub(super) async fn draw(&mut self, drawing: &str) -> io::Result<()> {
        for line in drawing.lines() {
            self.out.extend_from_slice(line.as_bytes());
            self.out.extend_from_slice(b"\r\n");
            self.flush_if_full().await?;
        }
        self.flush().await
    }

    /// Takes the line that is being typed off the screen; [`Editor::redraw`] brings it back.
    pub(super) fn clear_line(&mut self) {
        self.out.extend_from_slice(b"\r\x1b[K");
    }

    /// Begins a line.
    pub(super) async fn begin(&mut self, prompt: &str, hidden: bool) -> io::Result<()> {
        self.editor.begin(prompt, hidden, &mut self.out);
        self.flush().await
    }

    /// Shows another prompt before what has been typed.
    pub(super) async fn prompt(&mut self, prompt: &str) -> io::Result<()> {
        self.editor.set_prompt(prompt, &mut self.out);
        self.flush().await
    }

    /// Asks for a line.
    pub(super) async fn ask(&mut self, prompt: &str, hidden: bool) -> io::Result<Got> {
        self.begin(prompt, hidden).await?;
        self.got().await
    }

    /// Waits for the end of the line that was begun. May be given up on at any time, and asked again.
    pub(super) async fn got(&mut self) -> io::Result<Got> {
        loop {
            while !self.unused.is_empty() {
                // Before the octet is taken: if this is given up on while it sends, nothing is lost.
                self.flush_if_full().await?;
                let Some(byte) = self.next_unused() else { break };
                let event = self.editor.feed(byte, &mut self.out);
                if event.is_some() {
                    self.last_key = Instant::now();
                }
                match event {
                    None | Some(Event::Edited) => {}
                    Some(Event::Complete) => self.complete().await?,
                    Some(Event::Line(line)) => return Ok(Got::Line(line)),
                    Some(Event::TooLong) => return Ok(Got::TooLong),
                    Some(Event::Interrupt) => return Ok(Got::Interrupt),
                    Some(Event::End) => return Ok(Got::End),
                }
            }
            self.flush().await?;
            let idle = self.last_key + self.idle_max;
            match tokio::time::timeout_at(idle, self.fill()).await {
                Ok(filled) => filled?,
                Err(_) => {
                    self.last_key = Instant::now();
                    return Ok(Got::Idle);
                }
            }
        }
    }

    /// Waits for Ctrl-C, and throws everything else away.
    pub(super) async fn interrupted(&mut self) -> io::Result<()> {
        const INTERRUPT: u8 = 3;
        loop {
            while let Some(byte) = self.next_unused() {
                if byte == INTERRUPT {
                    self.last_key = Instant::now();
                    return Ok(());
                }
            }
            self.fill().await?;
        }
    }

    /// What was done meanwhile counts as a key.
    pub(super) fn somebody_is_there(&mut self) {
        self.last_key = Instant::now();
    }

    fn next_unused(&mut self) -> Option<u8> {
        let at = self.unused.next()?;
        // A code may have come along: it is not kept.
        self.chunk.get_mut(at).map(std::mem::take)
    }

    async fn fill(&mut self) -> io::Result<()> {
        let read = self.io.read(&mut self.chunk[..]).await?;
        self.unused = 0..read;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    async fn complete(&mut self) -> io::Result<()> {
        let found = commands::complete(self.editor.before_cursor());
        if found.insert.is_empty() && found.choices.len() > 1 {
            let choices: Vec<&str> = found.choices.iter().map(|choice| choice.trim_end()).collect();
            self.out.extend_from_slice(b"\r\n");
            self.print(&in_columns(&choices)).await?;
            self.editor.redraw(&mut self.out);
        } else {
            self.editor.insert(&found.insert, &mut self.out);
        }
        self.flush().await
    }

    async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.out.len() < OUT_BYTES { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let writing = async {
            while !self.out.is_empty() {
                let written = self.io.write(&self.out).await?;
                // What is sent is sent, also when this is given up on.
                self.out.drain(..written);
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            self.io.flush().await
        };
        tokio::time::timeout(WRITE_MAX, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Words side by side, on lines of less than 80 columns.
fn in_columns(words: &[&str]) -> String {
    let mut text = String::new();
    let mut used = 0;
    for word in words {
        if used + word.len() + 2 > 78 {
            text.push('\n');
            used = 0;
        }
        text.push_str(word);
        text.push_str("  ");
        used += word.len() + 2;
    }
    text
}
