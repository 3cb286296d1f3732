//! The machine beneath the console of a real box: the self-test, the network on trial, the restart.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::oneshot;

use super::host::Host;
use super::network::{Ask, Network, TrialEnd, choose, usual_interface};
use super::selftest;
use crate::agent::Config;
use crate::agent::local::LocalSettings;

/// The machine.
#[derive(Debug)]
pub struct BoxHost {
    config: Config,
    /// Ends the trial that is under way by keeping it.
    keep: Mutex<Option<oneshot::Sender<()>>>,
    /// Whether this console may start the machine anew: not that of a developer's terminal.
    is_the_box: bool,
}

impl BoxHost {
    /// The machine that this configuration belongs to.
    #[must_use]
    pub fn new(config: Config, is_the_box: bool) -> Self {
        Self { config, keep: Mutex::new(None), is_the_box }
    }

    /// As it holds now: what was set at the console goes before the file.
    fn config(&self) -> Config {
        let mut config = self.config.clone();
        match LocalSettings::load(&config.data_dir) {
            Ok(local) => local.overlay(&mut config),
            Err(error) => tracing::error!(%error, "the settings of this console cannot be read"),
        }
        config
    }

    fn show(data_dir: &Path) -> Result<String, String> {
        let interface =
            usual_interface().ok_or("this machine has no network interface: look at the adapter and its cable")?;
        let shown =
            choose(&interface).map(|backend| Network::new(data_dir, backend).show()).map_err(|e| e.to_string())?;
        Ok(format!("{interface}: {shown}"))
    }

    fn begin_trial(&self, change: super::network::Change) -> Result<String, String> {
        let interface =
            usual_interface().ok_or("this machine has no network interface: look at the adapter and its cable")?;
        let config = self.config();
        let network = Network::new(&config.data_dir, choose(&interface).map_err(|e| e.to_string())?);
        let mut keep = self.keep.lock().unwrap_or_else(PoisonError::into_inner);
        if keep.as_ref().is_some_and(|keep| !keep.is_closed()) {
            return Err(
                "a change is on trial already: `network keep` keeps it, or wait two minutes until it is undone"
                    .to_owned(),
            );
        }
        let (sender, kept) = oneshot::channel();
        *keep = Some(sender);
        let new = change.on(&network.settings());
        let shown = new.to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let thread = std::thread::Builder::new().name("network trial".to_owned());
        // On a thread of its own: the trial goes on when the line of the console is gone.
        let run = move || {
            runtime.block_on(run_trial(network, config, new, kept));
        };
        thread.spawn(run).map_err(|e| e.to_string())?;
        Ok(format!(
            "On trial: {shown}. Kept when the self-test passes, or when you type `network keep`; undone after two minutes else."
        ))
    }
}

impl Host for BoxHost {
    async fn selftest(&self, printer: Option<&str>, line: &mut (dyn FnMut(String) + Send)) -> Result<(), String> {
        match selftest::run(&self.config(), printer, |said| line(said.to_string())).await {
            selftest::Verdict::Passed => Ok(()),
            selftest::Verdict::Failed(finding) => Err(format!("failed: {}", finding.word.word)),
        }
    }

    async fn network(&self, words: &[&str]) -> Result<String, String> {
        let mut all = vec!["network"];
        all.extend(words);
        if words == ["keep"] {
            all = vec!["keep"];
        }
        match Ask::parse(&all).map_err(|e| e.to_string())? {
            Ask::Show => Self::show(&self.config.data_dir),
            Ask::Keep => {
                let keep = self.keep.lock().unwrap_or_else(PoisonError::into_inner).take();
                let is_kept = keep.is_some_and(|keep| keep.send(()).is_ok());
                if is_kept { Ok("kept".to_owned()) } else { Err("nothing is on trial".to_owned()) }
            }
            Ask::Change(change) => self.begin_trial(change),
        }
    }

    async fn reboot(&self) -> Result<String, String> {
        if !self.is_the_box {
            return Err(
                "this is a terminal, not the box's console: the machine is not started anew from here".to_owned()
            );
        }
        let done = tokio::task::spawn_blocking(|| Command::new("systemctl").arg("reboot").status()).await;
        match done {
            Ok(Ok(status)) if status.success() => Ok("the box starts anew; the light says when it is back".to_owned()),
            Ok(Ok(status)) => Err(format!("systemctl reboot ended with {status}: pull the plug for ten seconds")),
            Ok(Err(error)) => Err(format!("systemctl cannot be run ({error}): pull the plug for ten seconds")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The lines of a self-test that nobody watches.
fn not_shown(_line: selftest::Line) {}

async fn run_trial(
    network: Network<Box<dyn super::network::Backend>>,
    config: Config,
    new: super::network::Settings,
    kept: oneshot::Receiver<()>,
) {
    let passes = async || selftest::run(&config, None, not_shown).await.has_passed();
    let keep = async {
        // A console that is gone keeps nothing.
        if kept.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    match network.try_out(new, passes, keep).await {
        Ok(TrialEnd::TimeUp) => tracing::warn!("the network is as it was before: the self-test did not pass in time"),
        Ok(end) => tracing::info!(?end, "the network's new settings are kept"),
        Err(error) => tracing::error!(%error, "the network was not changed"),
    }
}
