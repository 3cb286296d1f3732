//! `platen console`.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::agent::Config;
use crate::console::{BoxHost, Console, End, IDLE_MAX, Lock, Moment, SocketLink, serve_serial, serve_terminal};
use crate::enroll::Label;
use crate::sys::SystemFs;

pub(super) fn console(config: &Path, tty: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(config).map_err(Failure::usage)?;
    let label = match config.device.label.as_deref().map(Label::load).transpose() {
        Ok(label) => label,
        Err(error) => {
            // A console that says so is better than none: it shows the status, and asks for a code of its own where there is one.
            tracing::error!(%error, "the label cannot be read: its code opens nothing");
            None
        }
    };
    let lock = Lock::new(Arc::new(SystemFs), &config.data_dir, label.map(|label| label.secret), Moment::now);
    let console = Console {
        host: BoxHost::new(config.clone(), tty.is_some()),
        agent: SocketLink::new(&config.runtime_dir),
        lock: Arc::new(lock),
        data_dir: config.data_dir.clone(),
        idle_max: IDLE_MAX,
    };
    // One thread: a line is slow, and memory is scarce.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime cannot be started: {error}")))?;
    let outcome = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        let mut hung_up = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let serving = async {
            match tty {
                Some(tty) => match serve_serial(tty, &console).await {},
                None => serve_terminal(&console).await.map_err(Failure::failed),
            }
        };
        tokio::select! {
            end = serving => end.map(Some),
            _ = terminated.recv() => Ok(None),
            _ = hung_up.recv() => Ok(None),
        }
    });
    // Standard input is read by a thread that ends with the next key: nobody waits for that.
    runtime.shutdown_background();
    match outcome? {
        // The end of standard input is how a script leaves.
        Some(End::Gone(error)) if error.kind() != ErrorKind::UnexpectedEof => {
            Err(Failure::failed(format!("the terminal is gone: {error}")))
        }
        _ => Ok(()),
    }
}
