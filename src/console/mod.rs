//! The serial console: what a technician types at the box, and what the box answers.
//!
//! What this room is for: a closed set of commands; the self-test of the network; changes of the network that are undone by
//! themselves where they cut the box off.
//! What it promises: there is no shell behind it; what strangers said is escaped before it is shown.
//! Who may call it: the command line.

pub mod selftest;
