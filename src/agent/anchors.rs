//! Says in the outbox when it was, once that is known: a clock anchor dates what was read in this start before, and bounds what
//! was read in earlier ones.

use std::time::Duration;

use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::outbox::{Draft, SharedOutbox};
use super::{AgentError, BootFacts};
use crate::proto::v1;
use crate::proto::v1::record::What;
use crate::sys::{Anchor, BoxClock};

/// A disk that refuses is tried again after so long.
const RETRY: Duration = Duration::from_secs(30);
/// An anchor that says nothing new is written this often: the clock that never jumps is only so exact.
const EVERY_MS: u64 = 24 * 3_600 * 1_000;
/// The system's clock is looked at this often, while nobody has signed the time.
const LOOK: Duration = Duration::from_secs(60);

/// Writes anchors until `stop`.
pub(super) async fn keep(
    clock: BoxClock,
    boot: BootFacts,
    outbox: SharedOutbox,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let mut changes: watch::Receiver<Option<Anchor>> = clock.changes();
    let mut written: Option<Anchor> = None;
    loop {
        clock.look_at_system();
        let mut wait = LOOK;
        if let Some(anchor) = clock.known().filter(|anchor| is_news(written.as_ref(), anchor)) {
            match outbox.append(vec![Draft::Kept(record(&boot, &anchor))]).await {
                Ok(_) => written = Some(anchor),
                // It is told by the outbox itself.
                Err(_) => wait = RETRY,
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Whether an anchor says something that the last one did not: a better source, a step, or a day later.
fn is_news(written: Option<&Anchor>, now: &Anchor) -> bool {
    let Some(written) = written else { return true };
    let passed_ms = now.monotonic_ms.saturating_sub(written.monotonic_ms);
    let expected = written.unix_ms.saturating_add(passed_ms);
    written.quality != now.quality
        || passed_ms >= EVERY_MS
        || expected.abs_diff(now.unix_ms) > written.radius_ms.saturating_add(now.radius_ms)
}

fn record(boot: &BootFacts, anchor: &Anchor) -> Vec<u8> {
    let anchor = v1::ClockAnchor {
        boot_id: boot.boot_id.clone(),
        monotonic_ms: anchor.monotonic_ms,
        unix_ms: anchor.unix_ms,
        radius_ms: anchor.radius_ms,
        quality: anchor.quality.into(),
    };
    v1::Record { what: Some(What::ClockAnchor(anchor)) }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::ClockQuality;

    #[test]
    fn an_anchor_is_news_when_its_source_is_better_after_a_step_and_each_day() {
        let anchor = |monotonic_ms, unix_ms, quality| Anchor { monotonic_ms, unix_ms, radius_ms: 100, quality };
        let first = anchor(1_000, 5_000, ClockQuality::Ntp);
        assert!(is_news(None, &first));
        assert!(!is_news(Some(&first), &anchor(2_000, 6_050, ClockQuality::Ntp)));
        assert!(is_news(Some(&first), &anchor(2_000, 6_050, ClockQuality::Token)));
        assert!(is_news(Some(&first), &anchor(2_000, 6_300, ClockQuality::Ntp)));
        assert!(is_news(Some(&first), &anchor(1_000 + EVERY_MS, 5_000 + EVERY_MS, ClockQuality::Ntp)));
    }
}
