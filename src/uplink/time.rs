//! The time, as the uplink needs and brings it: TLS judges certificates by the box's clock, and the cloud's signed word sets it.
//! What was learnt is written down at most once an hour, so that the next start does not begin at the making of the firmware.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use serde::{Deserialize, Serialize};

use super::tls::CloudKey;
use crate::cause::{Cause, Trouble};
use crate::proto::{signed, v1};
use crate::store::{read_bounded, write_atomically};
use crate::sys::{BoxClock, Clock, KeptTime, TimeRefused};

const FILE: &str = "clock.json";
/// Largest file that is read, in bytes.
const FILE_MAX_BYTES: usize = 1024;
/// What is written down is not renewed before so much later, in milliseconds.
const KEEP_EVERY_MS: u64 = 3_600_000;
/// A cloud that is less sure than this tells nothing, in milliseconds.
const RADIUS_MAX_MS: u64 = 3_600_000;

/// The last time that was known, as it is written down. A digit that flips could put the floor years ahead, so it is checked.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    unix_ms: u64,
    floor_unix_ms: u64,
    next_floor_unix_ms: u64,
    crc32: u32,
}

impl Written {
    fn new(kept: KeptTime) -> Self {
        let (unix_ms, floor_unix_ms, next_floor_unix_ms) =
            (kept.last_unix_ms, kept.floor_unix_ms, kept.next_floor_unix_ms);
        let octets = [unix_ms, floor_unix_ms, next_floor_unix_ms].map(u64::to_be_bytes).concat();
        Self { unix_ms, floor_unix_ms, next_floor_unix_ms, crc32: crc32fast::hash(&octets) }
    }

    /// What was written, where no digit has changed.
    fn whole(&self) -> Option<KeptTime> {
        let kept = KeptTime {
            last_unix_ms: self.unix_ms,
            floor_unix_ms: self.floor_unix_ms,
            next_floor_unix_ms: self.next_floor_unix_ms,
        };
        (Self::new(kept).crc32 == self.crc32).then_some(kept)
    }
}

/// The box's clock, and the file that it is written down in.
#[derive(Debug, Clone)]
pub struct TimeKeeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: BoxClock,
    /// Where it is written down, and what stands there.
    file: Option<PathBuf>,
    kept_unix_ms: Mutex<u64>,
    /// Why the cloud's last signed word was not believed.
    doubt: Mutex<Option<String>>,
}

impl TimeKeeper {
    /// The clock over the system's, beginning with what DATA/clock.json holds. A file that is missing or damaged is as good as
    /// none: then the making of the firmware is the floor. Who stops the agent, deletes it and starts the agent again gets rid
    /// of a floor that is wrong.
    #[must_use]
    pub fn open(data_dir: &Path, raw: impl Clock) -> Self {
        let file = data_dir.join(FILE);
        let kept = read_kept(&file);
        Self::new(BoxClock::start(raw, kept), Some(file), kept.map_or(0, |kept| kept.last_unix_ms))
    }

    /// A clock that is written down nowhere.
    #[must_use]
    pub fn without_file(clock: BoxClock) -> Self {
        Self::new(clock, None, 0)
    }

    fn new(clock: BoxClock, file: Option<PathBuf>, kept: u64) -> Self {
        Self { shared: Arc::new(Shared { clock, file, kept_unix_ms: Mutex::new(kept), doubt: Mutex::default() }) }
    }

    /// What is wrong with the time, where the cloud's signed word is not believed.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let doubt = self.shared.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        doubt.as_ref().map(|why| Trouble::new(Cause::Clock, why))
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &BoxClock {
        &self.shared.clock
    }

    /// Sets the clock by the cloud's signed word. Sent and received are moments of the clock that never jumps; the word is as
    /// old as its way here at most, because the nonce was made for it.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(super) fn take(
        &self,
        key: CloudKey,
        nonce: &[u8],
        reply: &v1::TimeReply,
        sent_ms: u64,
        received_ms: u64,
    ) -> Result<(), String> {
        let taken = self.take_or_say(key, nonce, reply, sent_ms, received_ms);
        *self.shared.doubt.lock().unwrap_or_else(PoisonError::into_inner) = taken.as_ref().err().cloned();
        taken
    }

    fn take_or_say(
        &self,
        key: CloudKey,
        nonce: &[u8],
        reply: &v1::TimeReply,
        sent_ms: u64,
        received_ms: u64,
    ) -> Result<(), String> {
        if !key.has_signed(&signed::time(nonce, reply.unix_ms, reply.radius_ms), &reply.signature) {
            return Err("its word for the time is not signed by the pinned key".to_owned());
        }
        let half_way = received_ms.saturating_sub(sent_ms) / 2;
        let radius_ms = reply.radius_ms.saturating_add(half_way).saturating_add(1);
        if radius_ms > RADIUS_MAX_MS {
            return Err(format!("it knows the time to {radius_ms} ms only"));
        }
        let was = self.clock().wall_unix_ms();
        let taken = self.clock().take_signed(reply.unix_ms, radius_ms, sent_ms.saturating_add(half_way));
        taken.map_err(|why| match (&why, &self.shared.file) {
            (TimeRefused::BelowFloor { .. }, Some(file)) => format!(
                "{why}; should it be the cloud that is right, stop the box, delete {} and start it",
                file.display()
            ),
            _ => why.to_string(),
        })?;
        tracing::info!(now = %date(reply.unix_ms / 1_000), was = %date(was / 1_000), radius_ms, "the clock is set");
        Ok(())
    }

    /// Corrects drift by the time in an answer over a connection with full checks, which proves the clock where both agree; says
    /// whether a signed word is wanted instead.
    pub(super) fn correct(&self, server_unix_ms: u64, sent_ms: u64, received_ms: u64) -> bool {
        let agrees = self.clock().correct(server_unix_ms, sent_ms, received_ms);
        if agrees {
            self.clock().prove();
            self.keep();
        }
        !agrees
    }

    /// Writes the time down where that was an hour ago, or later than now. A disk that fails is somebody else's alarm; here it is only told.
    fn keep(&self) {
        let (Some(file), Some(now)) = (self.shared.file.clone(), self.clock().to_keep()) else {
            return;
        };
        let mut kept_unix_ms = self.shared.kept_unix_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if (*kept_unix_ms..kept_unix_ms.saturating_add(KEEP_EVERY_MS)).contains(&now.last_unix_ms) {
            return;
        }
        *kept_unix_ms = now.last_unix_ms;
        drop(kept_unix_ms);
        let write = move || {
            let text = serde_json::to_vec(&Written::new(now)).unwrap_or_default();
            if let Err(error) = write_atomically(&file, &text) {
                tracing::warn!(%error, file = %file.display(), "the time is not written down");
            }
        };
        // The disk may take its time, and others run on this thread.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write)),
            Err(_) => write(),
        }
    }
}

fn read_kept(file: &Path) -> Option<KeptTime> {
    let bytes = match read_bounded(file, FILE_MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the last known time cannot be read");
            return None;
        }
    };
    let kept = serde_json::from_slice::<Written>(&bytes).ok().and_then(|written| written.whole());
    if kept.is_none() {
        tracing::warn!(file = %file.display(), "the last known time is damaged and left aside");
    }
    kept
}

impl rustls::time_provider::TimeProvider for TimeKeeper {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.clock().wall_unix_ms())))
    }
}

/// A time for people, by seconds since 1970: "2026-11-25T07:57:30Z" (Gregorian calendar, from 1970 on).
pub(super) fn date(unix_s: u64) -> String {
    let (days, of_day) = (unix_s / 86_400, unix_s % 86_400);
    // Counted from 0000-03-01, leap days come at the ends of years, of 400-year cycles of 146,097 days.
    let (cycle, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = cycle * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{FixedClock, built_unix_ms};

    #[test]
    fn dates_are_those_of_the_calendar() {
        let dates = [0, 951_782_399, 951_782_400, 951_868_800, 1_795_593_450, 4_107_542_400].map(date);
        assert_eq!(
            dates,
            [
                "1970-01-01T00:00:00Z",
                "2000-02-28T23:59:59Z",
                "2000-02-29T00:00:00Z",
                "2000-03-01T00:00:00Z",
                "2026-11-25T07:57:30Z",
                "2100-03-01T00:00:00Z"
            ]
        );
    }

    #[test]
    fn what_was_learnt_is_the_floor_of_the_next_start_unless_its_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let open = || TimeKeeper::open(folder.path(), FixedClock::new(0, 0, "boot"));
        let then = built_unix_ms() + 400 * 86_400_000;
        let keeper = open();
        assert_eq!(keeper.clock().wall_unix_ms(), built_unix_ms());
        let learn = |unix_ms| {
            keeper.clock().take_signed(unix_ms, 500, 0).unwrap();
            keeper.keep();
            keeper.clock().prove();
            keeper.keep();
            open().clock().wall_unix_ms()
        };
        assert_eq!(learn(then), then - 500);
        assert_eq!(learn(then + 60_000), then - 500, "not before an hour has passed");
        assert_eq!(learn(then + KEEP_EVERY_MS), then + KEEP_EVERY_MS - 500);
        assert_eq!(learn(then), then - 500, "it was set back");
        let file = folder.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("\"unix_ms\":1", "\"unix_ms\":2", 1)).unwrap();
        assert_eq!(open().clock().wall_unix_ms(), built_unix_ms());
    }
}
