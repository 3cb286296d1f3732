//! SNMP: the words that the box speaks with printers.
//!
//! What this room is for: asking many devices at once over one UDP socket per address family, in SNMPv1
//! (RFC 1157), v2c (RFC 3416) and v3 with USM (RFC 3414).
//! What it promises: every request ends, with an answer or a named error, within its deadline; an answer is only
//! taken from the address that was asked; nothing is ever set on a device (there is no SET in this program).
//! Who may call it: discovery, printer (types only), agent.
//!
//! How it is built: [`Session`] turns questions into requests; [`Client`] hands them to the engine's one task; the
//! codec, which alone knows the crate `snmp2`, makes datagrams of them; the guard looks at each before it may leave.

mod allowed;
mod client;
mod clock;
mod codec;
mod credentials;
mod engine;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)] // a target panics where a promise is broken
pub mod fuzzing;
mod guard;
pub mod limits;
mod oid;
mod pacing;
mod recording;
mod round_trip;
mod session;
mod sockets;
mod source;
mod statistics;
mod sweep;
#[cfg(test)]
mod testing;
mod unreachable;
mod value;
mod walk;

pub use allowed::{allowed_subtrees, denied_subtrees, is_allowed};
pub use client::{Client, ClientConfig, KnownEngine, Timing};
pub use credentials::{AuthAlgorithm, Credentials, CredentialsError, PrivacyAlgorithm, Secret, SecurityLevel, UsmUser};
pub use error::{SnmpError, UsmReport};
pub use guard::Asks;
pub use oid::{MAX_ARCS, Oid, OidError};
pub use recording::{Recording, RecordingError};
pub use session::Session;
pub use source::{ObjectSource, Walk, WalkEnd, WalkLimits};
pub use statistics::Statistics;
pub use sweep::{Pace, Probe, ProbeAnswer, Probes, SweepPlan};
pub use unreachable::Unreachable;
pub use value::{Value, VarBind};
