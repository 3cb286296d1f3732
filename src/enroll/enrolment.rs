//! The record of enrolment on the disk, and the machine over it: an event is stepped, what must survive is written and synced, and
//! only then is anybody told what to do.
//!
//! Also when a box disables itself: after five refusals of its credential in a row that are proven to come from its own cloud, and
//! for nothing else (`UplinkError::proven_refusal` decides what is proven: a captive portal, an outage or a proxy must not be able
//! to disable a fleet). Spaced so that a short mistake of the cloud disables nobody; undone by one success, or by one of the four
//! ways back, each of which allows one more try.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::machine::{Disabled, Effect, Event, Found, Kept, Now, Phase, REFUSALS_MAX, State, step};
use crate::proto::signed;
use crate::store::{read_bounded, write_atomically};
use crate::sys::Clock;
use crate::uplink::CloudKey;

/// Before which try how long is waited, in minutes: more than three hours altogether. The jitter comes on top.
const SPACING_MIN: [u64; REFUSALS_MAX as usize] = [0, 5, 15, 45, 120];
/// A fifth more at most, so that a fleet that was refused together does not come back together.
const JITTER: f64 = 0.2;
/// Between two questions of a disabled box whether it was enabled again.
const PROBE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Sooner or later by up to so much.
const PROBE_SPREAD: Duration = Duration::from_secs(4 * 3_600);
/// Numbers of contacts that are reserved with one write, so that not every poll writes.
const CONTACTS_AT_ONCE: u64 = 256;
/// Name of the record in the data folder. It stays over a factory reset.
pub const RECORD: &str = "enrolment.json";
const FILE_MAX_BYTES: usize = 16 * 1024;

/// What follows from a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next try may be made after so long.
    Wait(Duration),
    /// That was one too many.
    Disabled,
    /// The new certificate was refused, and is put away: the old one is tried again.
    Discarded,
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

impl Now {
    /// By this clock.
    pub fn by(clock: &impl Clock) -> Self {
        Self { unix_ms: clock.wall_unix_ms(), up_ms: clock.monotonic_ms() }
    }
}

/// The record and the machine, shared by the parts of the agent.
#[derive(Debug, Clone)]
pub struct Enrolment {
    path: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
    /// The last number of a contact that was used.
    contact: Arc<Mutex<u64>>,
}

impl Enrolment {
    /// Reads the record of this data folder and looks what else is there. A record that cannot be read counts as none: damage must
    /// not disable a box. Then says what is to be done.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn open(data_dir: &Path, found: Found, now: Now) -> io::Result<(Self, Vec<Effect>)> {
        let (path, kept) = (data_dir.join(RECORD), read(data_dir));
        let contact = kept.contacts_reserved;
        let enrolment = Self {
            path: Arc::new(path),
            state: Arc::new(Mutex::new(State::new(kept))),
            contact: Arc::new(Mutex::new(contact)),
        };
        let effects = enrolment.apply(Event::Started(found), now)?;
        Ok((enrolment, effects))
    }

    /// Whether a factory reset of this data folder was begun and not finished.
    #[must_use]
    pub fn is_forgetting(data_dir: &Path) -> bool {
        read(data_dir).forgetting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, now.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// Takes an event. What must survive of it is durable when this returns, and may be acted upon.
    ///
    /// # Errors
    /// When it cannot be written down: then it has not happened.
    pub fn apply(&self, event: Event, now: Now) -> io::Result<Vec<Effect>> {
        let mut state = self.lock();
        let (next, effects) = step(&state, event, now);
        if next.kept != state.kept {
            self.write(&next.kept)?;
        }
        *state = next;
        Ok(effects)
    }

    /// Takes an answer to a challenge. It is counted as wrong on the disk before it is compared.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn answer(&self, is_right: impl FnOnce(&str) -> bool, now: Now) -> io::Result<Vec<Effect>> {
        let mut state = self.lock();
        let (wrong, effects) = step(&state, Event::Answer(false), now);
        self.write(&wrong.kept)?;
        let asked = state.kept.challenge.as_ref().map(|challenge| challenge.letters.clone());
        if !asked.is_some_and(|letters| is_right(&letters)) {
            *state = wrong;
            return Ok(effects);
        }
        let (right, effects) = step(&state, Event::Answer(true), now);
        self.write(&right.kept)?;
        *state = right;
        Ok(effects)
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
        write_atomically(&self.path, &serde_json::to_vec(kept).map_err(io::Error::other)?)
    }

    /// Why the box is disabled, where it is.
    #[must_use]
    pub fn disabled(&self) -> Option<Disabled> {
        self.lock().kept.disabled.clone()
    }

    /// Refusals in a row.
    #[must_use]
    pub fn consecutive(&self) -> u32 {
        self.lock().kept.consecutive
    }

    /// The number of the credential that is counted for.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.lock().kept.generation
    }

    /// The number of the next contact: higher than any before, over restarts too. Where it cannot be reserved it is 0, not known.
    #[must_use]
    pub fn next_contact(&self) -> u64 {
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if *contact >= state.kept.contacts_reserved {
            let reserved = contact.saturating_add(CONTACTS_AT_ONCE);
            let kept = Kept { contacts_reserved: reserved, ..state.kept.clone() };
            if let Err(error) = self.write(&kept) {
                tracing::warn!(%error, "no number is reserved for this poll");
                return 0;
            }
            state.kept = kept;
        }
        *contact += 1;
        *contact
    }

    /// How long a start must wait before its first try, so that starting again is no way around the spacing. `unit` is a random
    /// number from 0 to 1. The one try that was allowed is made at once: whoever allowed it waits for it.
    #[must_use]
    pub fn wait_after_start(&self, unit: f64) -> Duration {
        let state = self.lock();
        if state.kept.may_try_now { Duration::ZERO } else { spacing(state.kept.consecutive, unit) }
    }

    /// Counts a proven refusal; what follows is durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written down: then it is not counted, and the caller waits as after the last one.
    pub fn count(&self, cause: &str, detail: &str, now: Now, unit: f64) -> io::Result<Verdict> {
        let effects = self.apply(Event::Refused(cause.to_owned(), detail.to_owned()), now)?;
        let state = self.lock();
        Ok(match state.phase {
            Phase::Disabled => Verdict::Disabled,
            _ if effects.contains(&Effect::DiscardNext) => Verdict::Discarded,
            _ => Verdict::Wait(spacing(state.kept.consecutive, unit)),
        })
    }

    /// How long a disabled box waits before it asks again whether it was enabled. Counted from the last time it asked, also over
    /// restarts; a clock that stands before that time is not believed.
    #[must_use]
    pub fn until_probe(&self, now_unix_ms: u64, unit: f64) -> Duration {
        let every = PROBE_EVERY - PROBE_SPREAD + (PROBE_SPREAD * 2).mul_f64(unit.clamp(0.0, 1.0));
        let state = self.lock();
        let since =
            state.kept.disabled.as_ref().map_or(0, |disabled| disabled.at_unix_ms).max(state.kept.probed_unix_ms);
        match now_unix_ms.checked_sub(since) {
            Some(passed) => every.saturating_sub(Duration::from_millis(passed)),
            None => every,
        }
    }

    /// Notes that it is asked now.
    ///
    /// # Errors
    /// When that cannot be written down: then it is not asked.
    pub fn probing(&self, now_unix_ms: u64) -> io::Result<()> {
        let mut state = self.lock();
        let kept = Kept { probed_unix_ms: now_unix_ms, ..state.kept.clone() };
        self.write(&kept)?;
        state.kept = kept;
        Ok(())
    }

    /// Takes the cloud's ticket: the box may try once more. Another refusal disables it again.
    ///
    /// # Errors
    /// When the ticket is not genuine, or there is nothing to allow; the outer error when it cannot be written down.
    pub fn allow_retry(
        &self,
        cloud_key: CloudKey,
        box_id: &str,
        nonce: &[u8],
        ticket: &[u8],
        now: Now,
    ) -> io::Result<Result<(), TicketError>> {
        if self.lock().phase != Phase::Disabled {
            return Ok(Err(TicketError::NotDisabled));
        }
        if !cloud_key.has_signed(&signed::retry(nonce, self.generation(), box_id), ticket) {
            return Ok(Err(TicketError::NotGenuine));
        }
        self.apply(Event::Ticket, now).map(|_| Ok(()))
    }
}

/// The record of this data folder. One that cannot be read counts as none.
fn read(data_dir: &Path) -> Kept {
    let kept =
        read_bounded(&data_dir.join(RECORD), FILE_MAX_BYTES).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    kept.unwrap_or_else(|error: io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::error!(%error, "the record of enrolment is lost and begins anew");
        }
        Kept::default()
    })
}

fn spacing(consecutive: u32, unit: f64) -> Duration {
    let minutes = SPACING_MIN.get(consecutive as usize).or(SPACING_MIN.last()).copied().unwrap_or(0);
    Duration::from_secs(minutes * 60).mul_f64(1.0 + JITTER * unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::machine::Validity;
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const NOW: Now = Now { unix_ms: 1_000, up_ms: 1_000 };

    fn open(folder: &Path) -> Enrolment {
        let validity = Validity { until_unix_ms: u64::MAX, ..Validity::default() };
        let found = Found { bound: true, current: Some(validity), generation: 1, next: None };
        Enrolment::open(folder, found, NOW).unwrap().0
    }

    fn refuse(enrolment: &Enrolment) -> Verdict {
        enrolment.count("refused", "revoked", NOW, 0.5).unwrap()
    }

    #[test]
    fn invariant_9_disabled_exactly_at_the_fifth_refusal_with_a_power_cut_after_each() {
        let folder = tempfile::tempdir().unwrap();
        let mut waited = Duration::ZERO;
        for n in 1..=4 {
            let refusals = open(folder.path());
            assert_eq!(refusals.consecutive(), n - 1);
            let Verdict::Wait(wait) = refuse(&refusals) else { panic!("disabled at {n}") };
            waited += wait;
            assert!(refusals.disabled().is_none());
        }
        assert!(waited >= Duration::from_secs(3 * 3_600), "{waited:?}");
        assert!(open(folder.path()).wait_after_start(0.0) >= Duration::from_secs(120 * 60));
        assert_eq!(refuse(&open(folder.path())), Verdict::Disabled);
        assert_eq!(open(folder.path()).disabled().unwrap().detail, "revoked");
    }

    #[test]
    fn one_success_forgets_four_refusals() {
        let folder = tempfile::tempdir().unwrap();
        let refusals = open(folder.path());
        for _ in 0..4 {
            refuse(&refusals);
        }
        refusals.apply(Event::Welcome, NOW).unwrap();
        assert_eq!(open(folder.path()).consecutive(), 0);
        for _ in 0..4 {
            assert!(matches!(refuse(&refusals), Verdict::Wait(_)));
        }
    }

    #[test]
    fn a_ticket_allows_one_try_to_this_box_for_this_question_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = CloudKey::from_bytes(key.public_key().as_ref().try_into().unwrap());
        let refusals = open(folder.path());
        let nonce = [1; 32];
        let ticket = |nonce: &[u8], generation, box_id| key.sign(&signed::retry(nonce, generation, box_id));
        let good = ticket(&nonce, 1, "box-1");
        let early = refusals.allow_retry(public, "box-1", &nonce, good.as_ref(), NOW).unwrap();
        assert_eq!(early, Err(TicketError::NotDisabled));
        for _ in 0..5 {
            refuse(&refusals);
        }
        for (what, bad) in [
            ("another box", ticket(&nonce, 1, "box-2")),
            ("another credential", ticket(&nonce, 2, "box-1")),
            ("another question", ticket(&[2; 32], 1, "box-1")),
        ] {
            let taken = refusals.allow_retry(public, "box-1", &nonce, bad.as_ref(), NOW).unwrap();
            assert_eq!(taken, Err(TicketError::NotGenuine), "{what}");
        }
        assert_eq!(refusals.allow_retry(public, "box-1", &nonce, good.as_ref(), NOW).unwrap(), Ok(()));
        assert_eq!(open(folder.path()).wait_after_start(1.0), Duration::ZERO, "and it is made at once");
        let refusals = open(folder.path());
        assert!(refusals.disabled().is_none());
        // Once, and only once.
        assert_eq!(refuse(&refusals), Verdict::Disabled);
        assert!(refusals.wait_after_start(0.0) >= Duration::from_secs(120 * 60));
    }

    #[test]
    fn a_disabled_box_asks_once_a_day_also_when_it_is_started_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let refusals = open(folder.path());
        for _ in 0..5 {
            refuse(&refusals);
        }
        let hours = |wait: Duration| wait.as_secs() / 3_600;
        assert_eq!(hours(refusals.until_probe(1_000, 0.0)), 20);
        assert_eq!(hours(refusals.until_probe(1_000, 1.0)), 28);
        let now = 1_000 + 30 * 3_600_000;
        assert_eq!(refusals.until_probe(now, 0.5), Duration::ZERO);
        refusals.probing(now).unwrap();
        let again = open(folder.path());
        assert_eq!(hours(again.until_probe(now + 3_600_000, 0.5)), 23);
        assert_eq!(hours(again.until_probe(5, 0.5)), 24, "a clock that fell back");
    }

    #[test]
    fn damage_disables_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RECORD), b"{").unwrap();
        let refusals = open(folder.path());
        assert!(refusals.disabled().is_none() && refusals.consecutive() == 0);
    }

    #[test]
    fn no_number_of_a_contact_is_used_twice_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..5 {
            let enrolment = open(folder.path());
            for _ in 0..300 {
                let contact = enrolment.next_contact();
                assert!(contact > last);
                last = contact;
            }
        }
    }

    #[test]
    fn p_63_a_wrong_answer_is_counted_before_it_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let enrolment = open(folder.path());
        for _ in 0..5 {
            refuse(&enrolment);
        }
        enrolment.apply(Event::Unlock("BCDFGHJK".to_owned()), NOW).unwrap();
        for n in 1..=5 {
            let effects = enrolment
                .answer(
                    |_| {
                        assert_eq!(open(folder.path()).state().kept.wrong_answers, n, "on the disk already");
                        false
                    },
                    NOW,
                )
                .unwrap();
            assert!(matches!(effects[..], [Effect::Refuse(_)]));
        }
        assert!(matches!(enrolment.answer(|_| true, NOW).unwrap()[..], [Effect::Refuse(_)]), "closed for a day");
        assert!(enrolment.disabled().is_some());
    }
}
