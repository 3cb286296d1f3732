//! `platen run`, `status` and `version`.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, block_on, print, print_json};
use crate::agent::local::LocalSettings;
use crate::agent::status::{EnrolmentStatus, STALE_AFTER, Status};
use crate::agent::{self, AgentError, Config, Front, panel};
use crate::console::network;
use crate::sys::uptime_ms;

pub(super) fn run(config: &Path) -> Result<(), Failure> {
    let config = Config::load(config).map_err(Failure::usage)?;
    block_on(async {
        let stop = CancellationToken::new();
        let mut terminated = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        let told = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            tracing::info!("stopping");
            told.cancel();
        });
        undo_network_trial(&config).await;
        let front = Front::default();
        let light = panel::open(&config).map_err(Failure::usage)?;
        let light = light.map(|board| panel::run(board, &front, false, &stop));
        // Ends: each start again is the end of hours of refusals, or a person's decision in the portal.
        loop {
            // A child: an agent that ends of itself stops its parts by it, and not this loop.
            let mut config = config.clone();
            let local = LocalSettings::load(&config.data_dir).map_err(Failure::failed)?;
            local.overlay(&mut config);
            let agent = agent::start_with(&config, &front, stop.child_token()).map_err(|error| match error {
                AgentError::Config(_) | AgentError::Fence(_) | AgentError::Label(_) => Failure::usage(error),
                other => Failure::failed(other),
            })?;
            tracing::info!(version = agent::VERSION, box_id = %agent.status().borrow().box_id, "the box is running");
            if let Some(light) = &light {
                light.mute(local.led_muted.unwrap_or(false));
                panel::follow(light.clone(), agent.status());
            }
            match agent.finished().await {
                Err(AgentError::Restart(why)) if !stop.is_cancelled() => tracing::warn!(why, "the box starts again"),
                ended => return ended.map_err(Failure::failed),
            }
        }
    })
}

/// A change of the network that a power cut has interrupted is undone before anything is asked of the network.
async fn undo_network_trial(config: &Config) {
    let Some(interface) = network::usual_interface() else { return };
    match network::recover_at_start(&config.data_dir, &interface).await {
        Ok(false) => {}
        Ok(true) => tracing::warn!("a change of the network was interrupted: it is undone"),
        Err(error) => tracing::error!(%error, "an interrupted change of the network is not undone yet"),
    }
}

pub(super) fn status(runtime_dir: &Path, json: bool) -> Result<(), Failure> {
    let status = agent::status::read(runtime_dir).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::failed(format!(
            "no box runs here: there is no status in {}. Start one with `platen run --config FILE`, or name its runtime folder with --runtime-dir",
            runtime_dir.display()
        )),
        _ => Failure::failed(format!("the status in {} cannot be read: {error}", runtime_dir.display())),
    })?;
    if json {
        print_json(&status)?
    } else {
        print(&as_text(&status))?
    }
    let age = age_of(&status);
    if age > STALE_AFTER {
        let old =
            if age == Duration::MAX { "of an earlier start".to_owned() } else { format!("{} s old", age.as_secs()) };
        return Err(Failure::failed(format!("this status is {old}: the box that wrote it has probably died")));
    }
    Ok(())
}

/// How old a status is. By the clock that never jumps, for the box's idea of the date need not be the system's. One that was
/// written later than now is of an earlier start of the system, and as old as can be.
fn age_of(status: &Status) -> Duration {
    match (status.updated_uptime_ms, uptime_ms()) {
        (Some(written), Some(now)) => now.checked_sub(written).map_or(Duration::MAX, Duration::from_millis),
        _ => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.saturating_sub(Duration::from_millis(status.updated_unix_ms))
        }
    }
}

fn as_text(status: &Status) -> String {
    let ago = |unix_ms: Option<u64>| match unix_ms {
        Some(at) => {
            let before = Duration::from_millis(status.updated_unix_ms.saturating_sub(at));
            format!("{} s ago", before.saturating_add(age_of(status)).as_secs())
        }
        None => "never".to_owned(),
    };
    let or_fine = |problem: &Option<String>| problem.as_deref().map_or(String::new(), |p| format!(" ({p})"));
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    [
        format!("state      {}", status.state),
        format!("box        {} · platen {}", status.box_id, status.firmware_version),
        enrolment_text(&status.enrolment),
        format!(
            "cloud      {} · last contact {}{}",
            status.cloud.endpoint,
            ago(status.cloud.last_contact_unix_ms),
            or_fine(&status.cloud.last_error)
        ),
        format!(
            "wake-up    {}{}",
            if status.cloud.wake_link_up { "connected" } else { "not connected" },
            or_fine(&status.cloud.wake_link_error)
        ),
        format!("outbox     {} readings wait, last number {}", status.outbox.pending, status.outbox.last_seq),
        format!(
            "printers   {} known, {} answered{} · last search {}{}",
            status.lan.printers_known,
            status.lan.printers_answering,
            status.lan.activity.as_deref().map_or(String::new(), |activity| format!(", {activity} now")),
            ago(status.lan.last_scan_unix_ms),
            or_fine(&status.lan.last_error)
        ),
        format!("snmp       {}", status.lan.snmp),
        format!("ranges     {}", list(&status.lan.ranges)),
        format!("fence      {}", list(&status.lan.fence)),
    ]
    .join("\n")
}

fn enrolment_text(enrolment: &EnrolmentStatus) -> String {
    let mut parts = vec![enrolment.phase.clone()];
    parts.extend(enrolment.tenant.as_ref().map(|tenant| format!("of {tenant}")));
    parts.extend(
        Some(&enrolment.serial).filter(|serial| !serial.is_empty()).map(|serial| format!("serial number {serial}")),
    );
    parts.extend(Some(&enrolment.words).filter(|words| !words.is_empty()).map(|words| format!("key \"{words}\"")));
    let why = enrolment.last_error.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    format!("enrolment  {}{why}", parts.join(" · "))
}

pub(super) fn version(json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&serde_json::json!({ "name": "platen", "version": agent::VERSION }));
    }
    print(&format!("platen {}", agent::VERSION))
}
