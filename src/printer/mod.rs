//! Printers: from objects to a [`Reading`].
//!
//! What this room is for: the standard MIBs (RFC 3805, RFC 2790, RFC 1213) and the vendors' own objects, which are data
//! in `profiles/`; identity, status, alerts, meters, supplies, trays.
//! What it promises: unknown is never a number; nothing is derived from something else; a value always says which object
//! it came from; no object about a person or a job is asked for; a device that is no printer is left after a few requests.
//! Who may call it: agent, the command line.

mod device_id;
mod identity;
mod profile;
mod read;
mod reading;
mod recognise;
mod supplies;
mod tables;
mod text;
mod words;

pub use read::{ReadOptions, read};
pub use reading::{Alert, InputTray, Meter, Reading, Status, Supply};
