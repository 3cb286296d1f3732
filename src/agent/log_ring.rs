//! The last lines that the box logged, in memory: for the console, which sees no journal.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Lines that are kept, and the longest of them, in bytes.
const LINES_MAX: usize = 400;
const LINE_MAX_BYTES: usize = 512;

static RING: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// The last lines, oldest first.
#[must_use]
pub fn last(lines: usize) -> Vec<String> {
    let ring = RING.lock().unwrap_or_else(PoisonError::into_inner);
    ring.iter().skip(ring.len().saturating_sub(lines)).cloned().collect()
}

/// Where the log is written to besides: a line each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRing;

impl io::Write for LogRing {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(&line[..line.len().min(LINE_MAX_BYTES)]).trim_end().to_owned();
        let mut ring = RING.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() >= LINES_MAX {
            ring.pop_front();
        }
        ring.push_back(text);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_newest_lines_are_kept_and_long_ones_cut() {
        for n in 0..LINES_MAX + 50 {
            LogRing.write_all(format!("ring-test {n} {}\n", "x".repeat(2 * LINE_MAX_BYTES)).as_bytes()).unwrap();
        }
        let lines = last(10);
        assert!(lines.iter().all(|line| line.len() <= LINE_MAX_BYTES) && lines.len() == 10);
        assert!(last(usize::MAX).len() <= LINES_MAX);
    }
}
