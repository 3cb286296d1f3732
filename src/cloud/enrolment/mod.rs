//! The cloud's side of enrolment: how a box becomes somebody's, by which of three ways, and how it stays known afterwards.
//!
//! Plain functions over a transaction of the database; time is an argument. [`start`], [`poll`] and [`confirm`] answer the box,
//! [`approve`], [`window`] and [`registration`] people; [`take_in`] is where all ways end; [`renew`] is the life of a box's
//! certificates after that, [`leave`] its end.
//!
//! What it promises: a box is somebody's only after a person of the portal has said so and somebody has stood before it (or has a
//! code that the portal made); what a request proves it proves once; a serial number that belongs to a tenant is nobody else's
//! until it is released; who guesses codes is slowed down, and learns nothing by the time of an answer.

mod approve;
mod check;
mod leave;
mod limits;
mod poll;
mod registration;
mod renew;
mod rows;
mod running;
mod start;
mod take_in;
mod window;

use std::borrow::Cow;

pub(super) use approve::{Found, approve, find};
pub(super) use leave::{decommission, finish_releases, leave, mark_leaving};
pub(super) use poll::{confirm, poll};
pub(super) use registration::make_code;
pub(super) use renew::{allow_recovery, recover, renew, unlock_answer};
pub(super) use rows::{Enrolment, State};
pub use running::registration_code;
pub(super) use start::start;
pub(super) use take_in::{former_name, reserve};
pub(super) use window::{Window, WindowState, open_window, pick_number, window};

use super::CloudError;

/// The one tenant that there is for now.
pub(super) const TENANT: &str = "default";
/// How long a code that is shown holds.
const CODE_LIFE_MS: i64 = 15 * 60 * 1_000;
/// How long a held button's request holds (security: a stranger in the corridor has that long).
const BUTTON_LIFE_MS: i64 = 120 * 1_000;
/// How long the portal waits for a button to be held.
const WINDOW_LIFE_MS: i64 = 5 * 60 * 1_000;
/// How long a registration code holds.
const REGISTRATION_LIFE_MS: i64 = 24 * 3_600 * 1_000;
/// After it was decided a box has at least so long to fetch its certificate.
const FETCH_LIFE_MS: i64 = 120 * 1_000;

/// Why something was not done.
#[derive(Debug)]
pub(super) enum EnrolError {
    /// The database failed.
    Database(sqlx::Error),
    /// Signing failed.
    Authority(CloudError),
    /// It may not be: what kind of reason, and the words for whoever asked.
    Refused(Why, Cow<'static, str>),
}

/// Kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// What was sent is not what the contract says.
    Invalid,
    /// There is no such thing.
    Unknown,
    /// It may not.
    Forbidden,
    /// It came before.
    Again,
    /// There were too many.
    TooMany,
}

impl From<sqlx::Error> for EnrolError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<EnrolError> for CloudError {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Database(error) => Self::Query(error),
            EnrolError::Authority(error) => error,
            EnrolError::Refused(_, words) => Self::Refused(words.into_owned()),
        }
    }
}

fn refused(why: Why, words: impl Into<Cow<'static, str>>) -> EnrolError {
    EnrolError::Refused(why, words.into())
}

fn invalid(words: impl Into<Cow<'static, str>>) -> EnrolError {
    refused(Why::Invalid, words)
}
