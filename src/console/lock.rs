//! The lock before the console of a claimed box: opened by the code on the label, or the one that took its place.
//!
//! A wrong code counts before it is compared, on the disk, so that cutting the power wins no try; five of them close the lock
//! for a quarter of an hour, the next five for twice as long, up to a day. The wait is counted by the clock that never jumps, as
//! the wall clock can be set by whoever owns the network; that clock begins anew when the system does, and so does the wait.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::pbkdf2;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::enroll::LabelSecret;
use crate::store::{read_bounded_on, write_atomically_on};
use crate::sys::{Entropy, EntropyError, Fs, FsLock, system_boot_id, uptime_ms};

/// Name of the file in the data folder.
const FILE: &str = "console.json";
/// Held while a code is compared: two consoles do not count past each other.
const LOCK_FILE: &str = "console.lock";
/// Largest such file, in bytes.
const FILE_MAX_BYTES: usize = 4 * 1024;
/// Wrong codes until the lock closes (T-30 of the threat list).
pub const TRIES: u32 = 5;
/// The first wait…
pub const FIRST_WAIT: Duration = Duration::from_secs(15 * 60);
/// …and the longest.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3_600);
/// Shortest and longest code of one's own, in characters.
pub const CODE_MIN_CHARS: usize = 8;
/// As [`CODE_MIN_CHARS`].
pub const CODE_MAX_CHARS: usize = 64;
/// Work for one guess: 0.1 s on the box's processor. Guesses are bounded by the waits; this is for a stolen memory card.
const ITERATIONS: u32 = 100_000;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// A moment of the clock that never jumps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Name of the start of the system; moments of different ones cannot be compared.
    pub boot: String,
    /// Milliseconds since then.
    pub uptime_ms: u64,
}

impl Moment {
    /// Now, by the operating system. Where it does not say, the program's own start stands for the system's.
    #[must_use]
    pub fn now() -> Self {
        static START: std::sync::LazyLock<(String, std::time::Instant)> =
            std::sync::LazyLock::new(|| (crate::sys::random_hex(16), std::time::Instant::now()));
        match (system_boot_id(), uptime_ms()) {
            (Some(boot), Some(uptime_ms)) => Self { boot, uptime_ms },
            _ => {
                let since = START.1.elapsed().as_millis();
                Self { boot: START.0.clone(), uptime_ms: u64::try_from(since).unwrap_or(u64::MAX) }
            }
        }
    }
}

/// What became of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is the code.
    Right,
    /// It is not.
    Wrong {
        /// So many more may be tried before the lock closes.
        tries_left: u32,
    },
    /// It was not looked at, or was one too many: the lock is closed for so long.
    Closed(Duration),
    /// There is no code that could be right.
    NoCode,
}

/// Why a code is not looked at.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// What must be written down first cannot be.
    #[error(
        "no code is taken, because it cannot be written down that one was tried: cannot {act} {file}: {source}. If it stays so, replace the memory card"
    )]
    Disk {
        /// What was tried: "read", "write" …
        act: &'static str,
        /// With which file.
        file: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// Another console looks at one.
    #[error("another console of this box looks at a code just now: try again in a second")]
    Busy,
    /// There is no randomness for a salt.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The new code is none.
    #[error("a code has {CODE_MIN_CHARS} to {CODE_MAX_CHARS} characters: choose another one")]
    Length,
}

/// Which code opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedBy {
    /// The one on the label.
    Label,
    /// One that was set here.
    OwnCode,
    /// None: the box has no label.
    Nothing,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Wrong codes since the last right one.
    wrong: u32,
    wait: Option<Wait>,
    code: Option<KeptCode>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wait {
    /// The start of the system in which it is counted.
    boot: String,
    until_uptime_ms: u64,
    length_ms: u64,
}

impl Wait {
    fn begin(length_ms: u64, now: &Moment) -> Self {
        Self { boot: now.boot.clone(), until_uptime_ms: now.uptime_ms.saturating_add(length_ms), length_ms }
    }
}

/// A code of one's own: PBKDF2 with HMAC-SHA-256 (RFC 8018 §5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptCode {
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
    iterations: std::num::NonZeroU32,
}

impl KeptCode {
    fn matches(&self, typed: &str) -> bool {
        derive(typed, &self.salt, self.iterations).ct_eq(&self.hash).into()
    }
}

fn derive(code: &str, salt: &[u8], iterations: std::num::NonZeroU32) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, code.as_bytes(), &mut hash);
    hash
}

/// The lock. It keeps nothing in memory: what counts is on the disk, also for another console of the same box.
pub struct Lock {
    fs: Arc<dyn Fs>,
    file: PathBuf,
    label: Option<LabelSecret>,
    now: Box<dyn Fn() -> Moment + Send + Sync>,
    iterations: std::num::NonZeroU32,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Lock {
    /// The lock whose state is in this folder, with the secret of the label where there is one.
    pub fn new(
        fs: Arc<dyn Fs>,
        data_dir: &Path,
        label: Option<LabelSecret>,
        now: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        let iterations = std::num::NonZeroU32::new(ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
        Self { fs, file: data_dir.join(FILE), label, now: Box::new(now), iterations }
    }

    /// Which code opens it now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn opened_by(&self) -> Result<OpenedBy, LockError> {
        Ok(match (self.read()?.code, &self.label) {
            (Some(_), _) => OpenedBy::OwnCode,
            (None, Some(_)) => OpenedBy::Label,
            (None, None) => OpenedBy::Nothing,
        })
    }

    /// How long it stays closed; `None` when a code may be tried.
    ///
    /// # Errors
    /// When that cannot be read, or a wait that begins anew cannot be written down.
    pub fn closed_for(&self) -> Result<Option<Duration>, LockError> {
        let _held = self.hold()?;
        let mut kept = self.read()?;
        self.still_closed(&mut kept)
    }

    /// Tries a code.
    ///
    /// # Errors
    /// When the try cannot be written down: then the code was not looked at.
    pub fn attempt(&self, typed: &str) -> Result<Outcome, LockError> {
        let _held = self.hold()?;
        let mut kept = self.read()?;
        if kept.code.is_none() && self.label.is_none() {
            return Ok(Outcome::NoCode);
        }
        if let Some(left) = self.still_closed(&mut kept)? {
            return Ok(Outcome::Closed(left));
        }
        kept.wrong = kept.wrong.saturating_add(1);
        kept.wait = kept.wrong.is_multiple_of(TRIES).then(|| Wait::begin(wait_ms(kept.wrong), &(self.now)()));
        self.write(&kept)?;
        // Only from here on is anything compared.
        if self.is_right(typed, kept.code.as_ref()) {
            (kept.wrong, kept.wait) = (0, None);
            if let Err(error) = self.write(&kept) {
                tracing::warn!(%error, "a right code could not be written down: the tries before it still count");
            }
            return Ok(Outcome::Right);
        }
        Ok(match kept.wait {
            Some(wait) => Outcome::Closed(Duration::from_millis(wait.length_ms)),
            None => Outcome::Wrong { tries_left: TRIES - kept.wrong % TRIES },
        })
    }

    /// Sets another code, or (`None`) lets the label's open again. Whoever may do so has been asked for the present one before.
    ///
    /// # Errors
    /// When it is too short or too long, or cannot be written down; then the present one holds.
    pub fn set_code(&self, code: Option<&str>, entropy: &dyn Entropy) -> Result<(), LockError> {
        let code = match code {
            Some(code) if !(CODE_MIN_CHARS..=CODE_MAX_CHARS).contains(&code.chars().count()) => {
                return Err(LockError::Length);
            }
            Some(code) => {
                let mut salt = [0; SALT_BYTES];
                entropy.fill(&mut salt)?;
                let hash = derive(code, &salt, self.iterations);
                Some(KeptCode { salt, hash, iterations: self.iterations })
            }
            None => None,
        };
        let _held = self.hold()?;
        let mut kept = self.read()?;
        kept.code = code;
        self.write(&kept)
    }

    fn is_right(&self, typed: &str, own: Option<&KeptCode>) -> bool {
        match (own, &self.label) {
            (Some(own), _) => own.matches(typed),
            (None, Some(label)) => LabelSecret::parse(typed).is_some_and(|typed| typed.matches(label)),
            (None, None) => false,
        }
    }

    /// What is left of the wait. One that was counted in another start of the system begins anew: how long the box was off,
    /// nobody can prove.
    fn still_closed(&self, kept: &mut Kept) -> Result<Option<Duration>, LockError> {
        let now = (self.now)();
        let Some(wait) = &mut kept.wait else { return Ok(None) };
        if wait.boot != now.boot {
            *wait = Wait::begin(wait.length_ms, &now);
            let length = Duration::from_millis(wait.length_ms);
            self.write(kept)?;
            return Ok(Some(length));
        }
        let left = wait.until_uptime_ms.saturating_sub(now.uptime_ms).min(wait.length_ms);
        Ok((left > 0).then(|| Duration::from_millis(left)))
    }

    fn hold(&self) -> Result<FsLock, LockError> {
        if let Some(dir) = self.file.parent() {
            self.fs.create_dir_all(dir).map_err(|source| self.cannot("make the folder of", source))?;
        }
        let held = self.fs.try_lock(&self.file.with_file_name(LOCK_FILE));
        held.map_err(|source| self.cannot("lock", source))?.ok_or(LockError::Busy)
    }

    fn cannot(&self, act: &'static str, source: io::Error) -> LockError {
        LockError::Disk { act, file: self.file.clone(), source }
    }

    /// What is on the disk. Of a damaged file the tries are unknown, so all are taken for used; a code of one's own is lost
    /// with it, and the label's opens.
    fn read(&self) -> Result<Kept, LockError> {
        let bytes = match read_bounded_on(&*self.fs, &self.file, FILE_MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(self.cannot("read", error)),
            Ok(bytes) => Zeroizing::new(bytes),
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::error!(%error, file = %self.file.display(), "the console's file is damaged: its lock is closed for a while");
            let length_ms = wait_ms(TRIES);
            // Of no start of the system, so it is begun when it is looked at.
            Kept { wrong: TRIES, wait: Some(Wait { boot: String::new(), until_uptime_ms: 0, length_ms }), code: None }
        }))
    }

    fn write(&self, kept: &Kept) -> Result<(), LockError> {
        let text = serde_json::to_vec(kept).map_err(io::Error::other);
        let written = text.and_then(|text| write_atomically_on(&*self.fs, &self.file, &Zeroizing::new(text)));
        written.map_err(|source| self.cannot("write", source))
    }
}

/// The wait after so many wrong codes.
fn wait_ms(wrong: u32) -> u64 {
    let doublings = (wrong / TRIES).saturating_sub(1).min(16);
    let wait = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// Whether the console of a box in this phase asks for the code. A box of which the phase is not known is taken for claimed.
#[must_use]
pub fn asks_for_code(phase: Option<&str>) -> bool {
    !matches!(phase, Some("unclaimed" | "pairing" | "factory"))
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
