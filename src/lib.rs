//! platen: the firmware of a small box that finds printers in a LAN, reads their meters, supplies and alerts over
//! SNMP, and brings them to the cloud over connections that it alone opens.
//!
//! The modules are the rooms of one house; a datum walks through them in one direction:
//! `discovery → snmp → printer::Reading → store::Outbox → uplink → cloud`. Only `agent` knows everybody.
//! `src/README.md` has the plan of the house and the decisions behind it.

pub mod agent;
pub mod board;
pub mod cause;
pub mod cli;
#[cfg(feature = "cloud")]
pub mod cloud;
pub mod console;
pub mod discovery;
pub mod enroll;
pub mod printer;
pub mod proto;
#[cfg(feature = "sim")]
pub mod sim;
pub mod snmp;
pub mod store;
pub mod sys;
pub mod uplink;
