//! What the console asks of the box that runs, and what it is answered: one JSON object a line, over a unix socket in the
//! runtime folder that only the box's own user opens. A closed list: nothing here reaches a host, a file or a shell.

use serde::{Deserialize, Serialize};

use super::status::Status;

/// Name of the socket in the runtime folder.
pub const SOCKET: &str = "control.sock";
/// Longest request or answer, in bytes.
pub const LINE_MAX_BYTES: usize = 512 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the box is. Answered by [`Answer::Status`].
    Status,
    /// Begin to pair by a code that is shown here and typed in the portal. What comes of it is in [`Status::enrolment`].
    Claim,
    /// Enrol by a one-off code that the portal made.
    Register {
        /// As it was typed.
        code: String,
    },
    /// End what `Claim`, `Register` or the button began.
    Cancel,
    /// What a tap on the button says: somebody stands before the box.
    Press,
    /// Begin to unlock a disabled box without its cloud. Answered by [`Answer::Challenge`].
    Unlock,
    /// The portal's answer to the challenge.
    Unlocked {
        /// As it was typed.
        code: String,
    },
    /// Allow, or no longer allow, that printers' own pages are looked at from the portal.
    Tunnel {
        /// Whether it is allowed.
        allowed: bool,
    },
    /// What the box logged last. Answered by [`Answer::Log`].
    Log {
        /// At most so many lines.
        lines: u16,
    },
    /// What a factory reset would lose. Answered by [`Answer::Done`], in words.
    ResetPreview,
    /// Forget everything but whose box it is.
    FactoryReset,
    /// Start anew, because settings were changed.
    Restart,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It is done, or has begun.
    Done {
        /// One or more lines for a person.
        text: String,
    },
    /// It is not done.
    Refused {
        /// Why, and what to do.
        why: String,
    },
    /// How the box is.
    Status {
        /// All of it.
        status: Box<Status>,
    },
    /// To be read to whoever sits at the portal.
    Challenge {
        /// As `XXXX-XXXX`.
        code: String,
    },
    /// Oldest first.
    Log {
        /// One line each, as logged; what came from the network is not escaped yet.
        lines: Vec<String>,
    },
}
