//! Enrolment: who this box is.
//!
//! What this room is for: the box's own keys (made here, never leaving their folder), the request for a certificate, and
//! the identity that comes of it.
//! What it promises: private keys are written with mode 0600 in a folder of mode 0700, sealed where the board has a secret of
//! its own, and wiped from memory after use; a half-written identity is never used.
//! Who may call it: agent, the command line.
//!
//! A technician can carry the request to the cloud and the certificate back, too, as two files.

mod bound;
mod credential;
mod enrolment;
mod identity;
#[cfg(test)]
mod identity_tests;
mod label;
pub mod letters;
pub mod machine;
pub mod pairing;
pub mod reset;
mod seal;
pub mod unlock;
mod words;

use std::io;
use std::path::PathBuf;

pub use bound::BoundKey;
pub use credential::{Credential, OperationalKey};
pub use enrolment::{Enrolment, RECORD, TicketError, Verdict};
pub use identity::{Identity, IdentityFolder};
pub use label::{Label, LabelError, LabelSecret, SECRET_BYTES};
pub use machine::{Disabled, REFUSALS_MAX};
pub use words::words;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The box has no certificate yet.
    #[error(
        "this box is not enrolled: there is no {missing}; make a request with `platen enroll request`, have it signed, and install the answer with `platen enroll install`"
    )]
    NotEnrolled {
        /// The file that is missing.
        missing: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path} cannot be {act}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// "read", "written" or "removed".
        act: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// A file was sealed on a board whose secret is not at hand.
    #[error(
        "{path} was sealed with the secret of a board, and {why}: give the seal file of that board, or reset the box and enrol it anew"
    )]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: &'static str,
    },
    /// Key, certificate or roots cannot be used, alone or together.
    #[error("{0}")]
    Unusable(String),
}
