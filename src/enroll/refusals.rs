//! When a box disables itself: after five refusals of its credential in a row that are proven to come from its own cloud, and
//! for nothing else. Counted on the disk before anything follows from it; spaced so that a short mistake of the cloud disables
//! nobody; undone by one success, or by a signed ticket that allows one more try.
//!
//! What counts as proven is decided by the uplink (`UplinkError::proven_refusal`): a captive portal, an outage or a proxy
//! must not be able to disable a fleet.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proto::signed;
use crate::store::{read_bounded, write_atomically};
use crate::uplink::CloudKey;

/// Refusals in a row that disable.
pub const REFUSALS_MAX: u32 = 5;
/// Before which try how long is waited, in minutes: more than three hours altogether. The jitter comes on top.
const SPACING_MIN: [u64; REFUSALS_MAX as usize] = [0, 5, 15, 45, 120];
/// A fifth more at most, so that a fleet that was refused together does not come back together.
const JITTER: f64 = 0.2;
/// Between two questions of a disabled box whether it was enabled again.
const PROBE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Sooner or later by up to so much.
const PROBE_SPREAD: Duration = Duration::from_secs(4 * 3_600);
/// Name of the file.
const FILE: &str = "refusals.json";
const FILE_MAX_BYTES: usize = 16 * 1024;

/// Why and when a box was disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// The word of the cause of the last refusal.
    pub cause: String,
    /// The cloud's words.
    pub detail: String,
    /// By the box's clock, milliseconds since 1970-01-01T00:00:00Z.
    pub at_unix_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// How often the box has got a new credential, from 1.
    generation: u32,
    consecutive: u32,
    disabled: Option<Disabled>,
    /// When it was last asked whether the box is enabled again.
    probed_unix_ms: u64,
    /// A ticket allows one try, now.
    #[serde(default)]
    may_try_now: bool,
}

/// What follows from a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next try may be made after so long.
    Wait(Duration),
    /// That was one too many.
    Disabled,
}

/// Why a ticket is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It is not signed by the cloud's key for this box, this credential and this question.
    #[error("the ticket is not signed by our cloud for this box, this credential and this question")]
    NotGenuine,
    /// The box is not disabled.
    #[error("the box is not disabled: there is nothing to allow")]
    NotDisabled,
}

/// The count.
#[derive(Debug)]
pub struct Refusals {
    path: PathBuf,
    kept: Kept,
}

impl Refusals {
    /// Reads the count of this data folder. One that cannot be read counts as none: damage must not disable a box.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let kept = read_bounded(&path, FILE_MAX_BYTES).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let kept = kept.unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::error!(%error, "the count of refusals is lost and begins anew");
            }
            Kept { generation: 1, consecutive: 0, disabled: None, probed_unix_ms: 0, may_try_now: false }
        });
        Self { path, kept }
    }

    /// Why the box is disabled, where it is.
    #[must_use]
    pub fn disabled(&self) -> Option<&Disabled> {
        self.kept.disabled.as_ref()
    }

    /// Refusals in a row.
    #[must_use]
    pub fn consecutive(&self) -> u32 {
        self.kept.consecutive
    }

    /// The number of the credential that is counted for.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.kept.generation
    }

    /// How long a start must wait before its first try, so that starting again is no way around the spacing. `unit` is a random
    /// number from 0 to 1. The one try that a ticket allows is made at once: whoever enabled the box waits for it.
    #[must_use]
    pub fn wait_after_start(&self, unit: f64) -> Duration {
        if self.kept.may_try_now {
            return Duration::ZERO;
        }
        spacing(self.kept.consecutive, unit)
    }

    /// Counts a proven refusal; what follows is durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written down: then it is not counted, and the caller waits as after the last one.
    pub fn count(&mut self, cause: &str, detail: &str, now_unix_ms: u64, unit: f64) -> io::Result<Verdict> {
        let mut next = self.kept.clone();
        next.consecutive = next.consecutive.saturating_add(1);
        next.may_try_now = false;
        if next.consecutive >= REFUSALS_MAX {
            let disabled = Disabled { cause: cause.to_owned(), detail: detail.to_owned(), at_unix_ms: now_unix_ms };
            next.disabled.get_or_insert(disabled);
        }
        self.keep(next)?;
        Ok(match self.kept.disabled {
            Some(_) => Verdict::Disabled,
            None => Verdict::Wait(spacing(self.kept.consecutive, unit)),
        })
    }

    /// The cloud has taken the credential: what was counted is forgotten.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn succeeded(&mut self) -> io::Result<()> {
        if self.kept.consecutive == 0 && self.kept.disabled.is_none() {
            return Ok(());
        }
        self.keep(Kept { consecutive: 0, disabled: None, may_try_now: false, ..self.kept.clone() })
    }

    /// How long a disabled box waits before it asks again whether it was enabled. Counted from the last time it asked, also over
    /// restarts; a clock that stands before that time is not believed.
    #[must_use]
    pub fn until_probe(&self, now_unix_ms: u64, unit: f64) -> Duration {
        let every = PROBE_EVERY - PROBE_SPREAD + (PROBE_SPREAD * 2).mul_f64(unit.clamp(0.0, 1.0));
        let since = self.kept.disabled.as_ref().map_or(0, |disabled| disabled.at_unix_ms).max(self.kept.probed_unix_ms);
        match now_unix_ms.checked_sub(since) {
            Some(passed) => every.saturating_sub(Duration::from_millis(passed)),
            None => every,
        }
    }

    /// Notes that it is asked now.
    ///
    /// # Errors
    /// When that cannot be written down: then it is not asked.
    pub fn probing(&mut self, now_unix_ms: u64) -> io::Result<()> {
        self.keep(Kept { probed_unix_ms: now_unix_ms, ..self.kept.clone() })
    }

    /// Takes the cloud's ticket: the box may try once more. Another refusal disables it again.
    ///
    /// # Errors
    /// When the ticket is not genuine, or there is nothing to allow; the outer error when it cannot be written down.
    pub fn allow_retry(
        &mut self,
        cloud_key: CloudKey,
        box_id: &str,
        nonce: &[u8],
        ticket: &[u8],
    ) -> io::Result<Result<(), TicketError>> {
        if self.kept.disabled.is_none() {
            return Ok(Err(TicketError::NotDisabled));
        }
        if !cloud_key.has_signed(&signed::retry(nonce, self.kept.generation, box_id), ticket) {
            return Ok(Err(TicketError::NotGenuine));
        }
        self.keep(Kept { consecutive: REFUSALS_MAX - 1, disabled: None, may_try_now: true, ..self.kept.clone() })?;
        Ok(Ok(()))
    }

    fn keep(&mut self, next: Kept) -> io::Result<()> {
        write_atomically(&self.path, &serde_json::to_vec(&next).map_err(io::Error::other)?)?;
        self.kept = next;
        Ok(())
    }
}

fn spacing(consecutive: u32, unit: f64) -> Duration {
    let minutes = SPACING_MIN.get(consecutive as usize).or(SPACING_MIN.last()).copied().unwrap_or(0);
    Duration::from_secs(minutes * 60).mul_f64(1.0 + JITTER * unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn refuse(refusals: &mut Refusals) -> Verdict {
        refusals.count("refused", "revoked", 1_000, 0.5).unwrap()
    }

    #[test]
    fn invariant_9_disabled_exactly_at_the_fifth_refusal_with_a_power_cut_after_each() {
        let folder = tempfile::tempdir().unwrap();
        let mut waited = Duration::ZERO;
        for n in 1..=4 {
            let mut refusals = Refusals::open(folder.path());
            assert_eq!(refusals.consecutive(), n - 1);
            let Verdict::Wait(wait) = refuse(&mut refusals) else { panic!("disabled at {n}") };
            waited += wait;
            assert!(refusals.disabled().is_none());
        }
        assert!(waited >= Duration::from_secs(3 * 3_600), "{waited:?}");
        assert!(Refusals::open(folder.path()).wait_after_start(0.0) >= Duration::from_secs(120 * 60));
        assert_eq!(refuse(&mut Refusals::open(folder.path())), Verdict::Disabled);
        assert_eq!(Refusals::open(folder.path()).disabled().unwrap().detail, "revoked");
    }

    #[test]
    fn one_success_forgets_four_refusals() {
        let folder = tempfile::tempdir().unwrap();
        let mut refusals = Refusals::open(folder.path());
        for _ in 0..4 {
            refuse(&mut refusals);
        }
        refusals.succeeded().unwrap();
        assert_eq!(Refusals::open(folder.path()).consecutive(), 0);
        for _ in 0..4 {
            assert!(matches!(refuse(&mut refusals), Verdict::Wait(_)));
        }
    }

    #[test]
    fn a_ticket_allows_one_try_to_this_box_for_this_question_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = CloudKey::from_bytes(key.public_key().as_ref().try_into().unwrap());
        let mut refusals = Refusals::open(folder.path());
        let nonce = [1; 32];
        let ticket = |nonce: &[u8], generation, box_id| key.sign(&signed::retry(nonce, generation, box_id));
        let good = ticket(&nonce, 1, "box-1");
        let early = refusals.allow_retry(public, "box-1", &nonce, good.as_ref()).unwrap();
        assert_eq!(early, Err(TicketError::NotDisabled));
        for _ in 0..5 {
            refuse(&mut refusals);
        }
        for (what, bad) in [
            ("another box", ticket(&nonce, 1, "box-2")),
            ("another credential", ticket(&nonce, 2, "box-1")),
            ("another question", ticket(&[2; 32], 1, "box-1")),
        ] {
            let taken = refusals.allow_retry(public, "box-1", &nonce, bad.as_ref()).unwrap();
            assert_eq!(taken, Err(TicketError::NotGenuine), "{what}");
        }
        assert_eq!(refusals.allow_retry(public, "box-1", &nonce, good.as_ref()).unwrap(), Ok(()));
        assert_eq!(Refusals::open(folder.path()).wait_after_start(1.0), Duration::ZERO, "and it is made at once");
        let mut refusals = Refusals::open(folder.path());
        assert!(refusals.disabled().is_none());
        // Once, and only once.
        assert_eq!(refuse(&mut refusals), Verdict::Disabled);
        assert!(refusals.wait_after_start(0.0) >= Duration::from_secs(120 * 60));
    }

    #[test]
    fn a_disabled_box_asks_once_a_day_also_when_it_is_started_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut refusals = Refusals::open(folder.path());
        for _ in 0..5 {
            refuse(&mut refusals);
        }
        let hours = |wait: Duration| wait.as_secs() / 3_600;
        assert_eq!(hours(refusals.until_probe(1_000, 0.0)), 20);
        assert_eq!(hours(refusals.until_probe(1_000, 1.0)), 28);
        let now = 1_000 + 30 * 3_600_000;
        assert_eq!(refusals.until_probe(now, 0.5), Duration::ZERO);
        refusals.probing(now).unwrap();
        let again = Refusals::open(folder.path());
        assert_eq!(hours(again.until_probe(now + 3_600_000, 0.5)), 23);
        assert_eq!(hours(again.until_probe(5, 0.5)), 24, "a clock that fell back");
    }

    #[test]
    fn damage_disables_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), b"{").unwrap();
        let refusals = Refusals::open(folder.path());
        assert!(refusals.disabled().is_none() && refusals.consecutive() == 0);
    }
}
