//! LED and button of the box: what the agent knows becomes the light, what the button says becomes the agent's. It outlives the
//! agent's starts, so that the light goes on in between.

use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::start::Front;
use super::status::Status;
use crate::board::{Board, BoardConfig, BoardError, Number, Panel, PanelHandle, Roots, Signal};

/// What the light shows for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// What a hand began is done.
    Done,
    /// It is refused.
    Refused,
    /// Here I am, for so long.
    Locate(Duration),
}

/// Opens the board that the configuration names; `None` where it names none.
///
/// # Errors
/// When its description cannot be used. Hardware that is missing is said, and the box runs without.
pub fn open(config: &Config) -> Result<Option<Board>, BoardError> {
    let Some(path) = &config.device.board else { return Ok(None) };
    Ok(Some(Board::open(&BoardConfig::load(path)?, &Roots::default())))
}

/// Runs LED and button until `stop`. To be called within a runtime.
pub fn run(board: Board, front: &Front, is_muted: bool, stop: &CancellationToken) -> PanelHandle {
    let (panel, handle, mut gestures) = Panel::new(board.led, board.button, false);
    handle.mute(is_muted);
    handle.set(&[Signal::Starting]);
    tokio::spawn(panel.run(stop.clone()));
    let said = front.gestures.clone();
    tokio::spawn(async move {
        while let Some(gesture) = gestures.recv().await {
            tracing::info!(?gesture, "the button");
            let _nobody_listens = said.send(gesture);
        }
    });
    tokio::spawn(flash(handle.clone(), front.shown.subscribe(), stop.clone()));
    handle
}

async fn flash(handle: PanelHandle, mut shown: broadcast::Receiver<Shown>, stop: CancellationToken) {
    loop {
        let shown = tokio::select! {
            () = stop.cancelled() => return,
            shown = shown.recv() => shown,
        };
        match shown {
            Ok(Shown::Done) => handle.flash(Signal::Done),
            Ok(Shown::Refused) => handle.flash(Signal::Refused),
            Ok(Shown::Locate(time)) => handle.flash_for(Signal::Locate, time),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Shows how one start of the agent is, until it ends; `starting` after it.
pub fn follow(handle: PanelHandle, mut status: watch::Receiver<Status>) {
    tokio::spawn(async move {
        loop {
            let signal = signal(&status.borrow_and_update());
            handle.set(&[signal]);
            if status.changed().await.is_err() {
                handle.set(&[Signal::Starting]);
                return;
            }
        }
    });
}

/// What the light shows of a status: its word, in the LED table.
#[must_use]
pub fn signal(status: &Status) -> Signal {
    let number = status.enrolment.pairing.as_ref().and_then(|pairing| pairing.number).and_then(Number::new);
    match number {
        Some(number) if status.disabled.is_none() => Signal::Number(number),
        // Every word of a status is in the table; a test walks through them.
        _ => Signal::from_word(status.word()).unwrap_or(Signal::Fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::status::PairingStatus;
    use crate::cause;

    #[test]
    fn every_word_of_a_status_is_one_of_the_led_table() {
        let mut seen = std::collections::HashSet::new();
        let mut try_it = |change: &dyn Fn(&mut Status)| {
            let mut status = Status::default();
            change(&mut status);
            seen.insert(signal(&status).word());
            assert_eq!(signal(&status).word(), status.word());
        };
        try_it(&|_| {});
        try_it(&|status| status.disabled = Some(String::new()));
        try_it(&|status| status.storage_error = Some(String::new()));
        try_it(&|status| status.cloud.last_contact_unix_ms = Some(1));
        for phase in ["unclaimed", "enrolling"] {
            try_it(&|status| status.enrolment.phase = phase.to_owned());
        }
        for pairing in [
            PairingStatus::default(),
            PairingStatus { number: Some(3), ..PairingStatus::default() },
            PairingStatus { wants_press: true, ..PairingStatus::default() },
        ] {
            try_it(&|status| status.enrolment.pairing = Some(pairing.clone()));
        }
        for number in 1..200 {
            let word = cause::explain(cause::from_number(number)).word;
            try_it(&|status| {
                status.cloud.last_error = Some(String::new());
                status.cloud.cause = Some(word.to_owned());
            });
        }
        assert!(seen.len() >= 9, "{seen:?}");
    }
}
