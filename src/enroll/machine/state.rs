//! What the machine of enrolment knows, hears and wants done.

use serde::{Deserialize, Serialize};

/// What time it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// The box's clock, milliseconds since 1970. It never runs below its floor, and may be behind.
    pub unix_ms: u64,
    /// Since the box was started, by a clock that never jumps, in milliseconds.
    pub up_ms: u64,
}

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

/// A question to whoever sits at the portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Eight letters.
    pub letters: String,
    /// When it was asked.
    pub at_unix_ms: u64,
}

/// What must survive a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The number of the credential in use, from 1.
    pub generation: u32,
    /// Proven refusals of it in a row.
    pub consecutive: u32,
    /// Why the box is disabled, where it is.
    pub disabled: Option<Disabled>,
    /// When a disabled box last asked whether it is enabled again.
    pub probed_unix_ms: u64,
    /// One try is allowed, now.
    pub may_try_now: bool,
    /// Whose box this is; stays over a factory reset.
    pub tenant: Option<String>,
    /// The first certificate was welcome, and is not in its place yet.
    pub is_first_welcome: bool,
    /// Everything else is being forgotten; begun and not finished.
    pub forgetting: bool,
    /// Windows that the button opened within the last hour, and tries that it allowed within the last day.
    pub windows_unix_ms: Vec<u64>,
    /// See `windows_unix_ms`.
    pub retries_unix_ms: Vec<u64>,
    /// The open question, and wrong answers since the last right one.
    pub challenge: Option<Challenge>,
    /// See `challenge`.
    pub wrong_answers: u32,
    /// When the last of too many was given.
    pub answers_closed_unix_ms: Option<u64>,
    /// When a renewal or a recovery was last tried.
    pub renewal_tried_unix_ms: u64,
    /// The highest number of a contact that may have been used.
    pub contacts_reserved: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            generation: 1,
            consecutive: 0,
            disabled: None,
            probed_unix_ms: 0,
            may_try_now: false,
            tenant: None,
            is_first_welcome: false,
            forgetting: false,
            windows_unix_ms: Vec::new(),
            retries_unix_ms: Vec::new(),
            challenge: None,
            wrong_answers: 0,
            answers_closed_unix_ms: None,
            renewal_tried_unix_ms: 0,
            contacts_reserved: 0,
        }
    }
}

/// When a certificate holds, milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// From.
    pub from_unix_ms: u64,
    /// Until.
    pub until_unix_ms: u64,
    /// When it is to be renewed; 0: at two thirds of its life.
    pub renew_unix_ms: u64,
}

impl Validity {
    /// From when on it is to be renewed.
    pub(super) fn renew_from(&self) -> u64 {
        let third = self.until_unix_ms.saturating_sub(self.from_unix_ms) / 3;
        let usual = self.until_unix_ms.saturating_sub(third);
        if (self.from_unix_ms..self.until_unix_ms).contains(&self.renew_unix_ms) { self.renew_unix_ms } else { usual }
    }
}

/// By which way the box shall become somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A code that is shown.
    Code,
    /// The button.
    Button,
    /// A code that was typed.
    Registration,
}

impl Way {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Button => "button",
            Self::Registration => "registration",
        }
    }
}

/// How far a pairing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The cloud has not answered yet.
    Asking,
    /// Nobody has decided.
    Waiting,
    /// Somebody is to press the button; whether somebody has.
    Press(bool),
    /// The LED blinks so often.
    Number(u8),
}

/// What the box is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It has no key yet.
    Factory,
    /// Nobody's.
    Unclaimed,
    /// On the way to be somebody's.
    Pairing {
        /// How.
        way: Way,
        /// How far.
        stage: Stage,
        /// Until then, by the clock that never jumps.
        until_up_ms: u64,
    },
    /// It has a certificate, with which it has not been welcome yet.
    Enrolling {
        /// Whose it would be.
        tenant: String,
        /// Until then.
        until_up_ms: u64,
    },
    /// Somebody's, at work.
    Active(Validity),
    /// At work, and its certificate is to be renewed.
    Renewing(Validity),
    /// At work, and its certificate has ended: nothing can be delivered.
    Expired(Validity),
    /// It does nothing but ask whether it is enabled again.
    Disabled,
    /// It is being wiped.
    Forgetting,
}

impl Phase {
    /// The word for it, as `platen status` has it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Factory => "factory",
            Self::Unclaimed => "unclaimed",
            Self::Pairing { .. } => "pairing",
            Self::Enrolling { .. } => "enrolling",
            Self::Active(_) => "active",
            Self::Renewing(_) => "renewing",
            Self::Expired(_) => "expired",
            Self::Disabled => "disabled",
            Self::Forgetting => "forgetting",
        }
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What the box is; found out anew at each start.
    pub phase: Phase,
    /// What survives.
    pub kept: Kept,
    /// Why the last attempt came to nothing, for a person.
    pub last_error: Option<String>,
    /// A new certificate lies beside the one in use, and is tried.
    pub has_next: bool,
}

/// What the disk holds at a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The bound key.
    pub bound: bool,
    /// A certificate that was welcome.
    pub current: Option<Validity>,
    /// The number of that one; 0 where there is none.
    pub generation: u32,
    /// One that was not yet, and whose box it would make this one.
    pub next: Option<String>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The box was started.
    Started(Found),
    /// The keys are on the disk.
    KeysMade,
    /// Somebody wants the box to become somebody's.
    Ask(Way),
    /// The cloud has begun with it, and gives so long, in milliseconds.
    Began(u64),
    /// The cloud wants the button pressed.
    SaidPress,
    /// The cloud wants this number blinked.
    SaidNumber(u8),
    /// The cloud has given a certificate, for a box of this tenant.
    SaidEnrolled(String),
    /// The cloud does not want it, or it took too long: why.
    SaidNo(String),
    /// Somebody wants no more of it.
    Cancel,
    /// The button was tapped, or somebody at the console says that he is there.
    Tap,
    /// The new certificate is on the disk.
    NextKept,
    /// It cannot be written: why.
    NextNotKept(String),
    /// The cloud took the certificate and answered.
    Welcome,
    /// A proven refusal of it: the word of its cause, and the cloud's words.
    Refused(String, String),
    /// The new certificate has taken the place of the old: when it holds, and its generation.
    Promoted(Validity, u32),
    /// The renewal or recovery that was wanted came to nothing.
    NotRenewed(String),
    /// The cloud allows a disabled box one try: a genuine ticket.
    Ticket,
    /// The button was held for ten seconds.
    HeldTen,
    /// Somebody at the console wants to unlock the box: these letters are asked.
    Unlock(String),
    /// An answer to them was typed: whether it is right.
    Answer(bool),
    /// Somebody in front of the box wants it reset.
    Reset,
    /// The cloud releases the box (genuine).
    Decommission,
    /// Everything is forgotten.
    Wiped,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make the bound key. Ends with `KeysMade`.
    MakeKeys,
    /// Ask the cloud to begin.
    Begin(Way),
    /// Tell the cloud that somebody is there.
    Confirm,
    /// Write the certificate beside the one in use. Ends with `NextKept` or `NextNotKept`.
    KeepNext,
    /// Poll as the new box. Ends with `Welcome` or `Refused`; other failures are tried again until the time is over.
    FirstContact,
    /// Put the new certificate in the place of the old. Ends with `Promoted`.
    Promote,
    /// Take the new certificate away.
    DiscardNext,
    /// Ask for a new certificate with the old. Ends with `SaidEnrolled` or `NotRenewed`.
    Renew,
    /// Ask for a new certificate without one, likewise.
    Recover,
    /// Tell the cloud that the box leaves; once, whatever comes of it.
    TellLeave,
    /// Forget everything but the record of this machine. Ends with `Wiped`.
    Wipe,
    /// Start the box anew.
    Restart,
    /// What was asked is not done: why, and what to do.
    Refuse(&'static str),
    /// What was asked is done or has begun.
    Agree,
}

impl State {
    /// Before the disk was looked at.
    #[must_use]
    pub fn new(kept: Kept) -> Self {
        Self { phase: Phase::Factory, kept, last_error: None, has_next: false }
    }

    /// Whether the box belongs to somebody now.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        matches!(self.phase, Phase::Active(_) | Phase::Renewing(_) | Phase::Expired(_) | Phase::Disabled)
    }
}
