//! The serial console: what a technician with a cable sets the box up by, and looks what ails it.
//!
//! What this room is for: a line editor, a closed set of commands, and the lock before them. It is no shell: nothing that is
//! typed reaches a file, a host or a program but by the command that names it.
//! What it promises: what strangers say is harmless on the screen; whatever is typed, the memory stays as it is; of a box that
//! has been claimed it shows nothing of the customer's without the code on the label, and a wrong code counts also when the
//! power fails.
//! Who may call it: the command line, as a process of its own, and the demo. It asks the agent by `agent::control` alone.

mod agent_link;
mod box_host;
mod change;
mod claim;
mod commands;
mod diag;
mod editor;
mod escape;
mod host;
mod large;
mod light;
mod lock;
pub mod network;
pub mod selftest;
mod serial;
mod session;
mod show;
mod terminal;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

pub use agent_link::{AgentLink, LinkError, SocketLink};
pub use box_host::BoxHost;
pub use host::{Host, NoHost};
pub use lock::{Lock, LockError, Moment, OpenedBy, Outcome};
pub use serial::serve_serial;
pub use session::End;
pub use terminal::serve_terminal;

/// The console locks itself after so long without a key (T-30 of the threat list).
pub const IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// What a console works with.
#[derive(Debug)]
pub struct Console<H, A> {
    /// The machine beneath.
    pub host: H,
    /// The agent.
    pub agent: A,
    /// What stands before the commands of a claimed box.
    pub lock: Arc<Lock>,
    /// Where local settings are kept.
    pub data_dir: PathBuf,
    /// Locks itself after so long without a key.
    pub idle_max: Duration,
}

/// Holds one conversation over anything that carries octets both ways, until somebody leaves or the line is gone.
pub async fn serve<I, H, A>(io: I, console: &Console<H, A>) -> End
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
    H: Host,
    A: AgentLink,
{
    session::Session::new(io, console).run().await
}
