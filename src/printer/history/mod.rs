//! What changes from one reading to the next: who a device is, what its meters did, which alerts began and ended, which
//! supplies were replaced.
//!
//! [`step`] compares what was seen now with what the box knows ([`Book`]) and says what to remember, what to flag and what to
//! tell. It is pure: time is an argument, nothing is read or written. [`step_status`] does the same for the light look between
//! two readings. The raw values of a reading are never altered, and nothing is decided here: the cloud decides, by the flags.
//! The rules, the flags and the events are listed in ../README.md.

mod alerts;
mod book;
mod event;
mod identity;
mod key;
mod limits;
mod meters;
mod moment;
mod step;
mod supplies;

#[cfg(test)]
mod histories_tests;
#[cfg(test)]
mod series_tests;
#[cfg(test)]
mod step_tests;

pub use book::{Book, Change, Device};
pub use event::{Event, EventKind, EventValue, Severity};
pub use key::key_of;
pub use moment::Moment;
pub use step::{Rules, Sighting, StatusTold, Told, WantsReading, step, step_status};
