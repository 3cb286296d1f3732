//! This terminal: in raw mode while the console has it, and as it was before whenever that ends, also by a panic.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::{join, stdin, stdout};

use super::{AgentLink, Console, End, Host, serve};

/// How the terminal was; one terminal for one process.
static BEFORE: OnceLock<Mutex<Termios>> = OnceLock::new();

/// Puts the terminal back when it is dropped.
struct RawMode;

impl RawMode {
    /// `None` where standard input is no terminal: then nothing is echoed and nothing need be changed.
    fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        if BEFORE.set(Mutex::new(before)).is_ok() {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                hook(panic);
            }));
        }
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Some(Self))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.get()
        && let Ok(before) = before.try_lock()
    {
        // Nobody is left who could be told.
        let _restored = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}

/// Holds one conversation in this terminal, or with whoever has standard input and output.
///
/// # Errors
/// When the terminal cannot be set.
pub async fn serve_terminal<H: Host, A: AgentLink>(console: &Console<H, A>) -> io::Result<End> {
    let _raw = RawMode::enter()?;
    Ok(serve(join(stdin(), stdout()), console).await)
}
