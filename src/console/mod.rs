//! The serial console: what a technician with a cable sets the box up by, and looks what ails it.
//!
//! What this room is for: a line editor, a closed set of commands, and the lock before them. It is no shell: nothing that is
//! typed reaches a file, a host or a program but by the command that names it.
//! What it promises: what strangers say is harmless on the screen; whatever is typed, the memory stays as it is; of a box that
//! has been claimed it shows nothing of the customer's without the code on the label, and a wrong code counts also when the
//! power fails.
//! Who may call it: the command line, as a process of its own, and the demo. It asks the agent by `agent::control` alone.

pub mod editor;
pub mod escape;
pub mod selftest;
pub mod lock;
