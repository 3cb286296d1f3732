//! Which box of a site reads a printer. One holds its lease, by being the first that delivered it, and keeps it by polling. It
//! loses it when it is gone, or cannot read the printer and another can: at the other's next poll.

use super::dating::Interval;
use super::rows::{BoxState, Lease, Silence, Work};

/// A holder that has not polled for so many halves of its poll interval loses its leases: two and a half intervals.
pub const LAPSE_INTERVALS_HALVES: i64 = 5;
/// Most printers that a box is told to leave alone.
const STANDBY_MAX: usize = 5_000;

/// Whether a holder is gone, so that another may take its place.
#[must_use]
pub fn is_lapsed(holder: Option<&BoxState>, now_ms: i64) -> bool {
    let Some(holder) = holder.filter(|holder| holder.suspended.is_none()) else { return true };
    let patience_ms = i64::from(holder.told_interval_s) * 1_000 * LAPSE_INTERVALS_HALVES / 2;
    holder.last_poll_ms.is_none_or(|last| now_ms - last > patience_ms)
}

/// Whether another box held the lease all through the time in which a box may have taken a reading. In doubt it did not.
pub(super) fn is_outside(leases: &[Lease], box_id: &str, taken: Interval) -> bool {
    let reaches =
        |lease: &Lease| lease.since_ms <= taken.high_ms && lease.until_ms.is_none_or(|until| taken.low_ms < until);
    let is_after_first = leases.first().is_some_and(|first| first.since_ms <= taken.low_ms);
    is_after_first && !leases.iter().any(|lease| lease.box_id == box_id && reaches(lease))
}

/// Hands leases over to a box that polls, where their holders have lost them; the printers that it is to leave alone.
pub(super) async fn at_poll<W: Work>(work: &mut W, state: &BoxState, now_ms: i64) -> Result<Vec<String>, W::Error> {
    let boxes = work.site_boxes(&state.site).await?;
    let mut standby = Vec::new();
    if boxes.len() < 2 {
        return Ok(standby);
    }
    let mut silences: Vec<(String, Vec<Silence>)> = Vec::new();
    for held in work.held(&state.site).await? {
        if held.box_id == state.id {
            continue;
        }
        if !silences.iter().any(|(id, _)| *id == held.box_id) {
            silences.push((held.box_id.clone(), work.silences(&held.box_id).await?));
        }
        let silence = silences
            .iter()
            .filter(|(id, _)| *id == held.box_id)
            .flat_map(|(_, silences)| silences)
            .find(|silence| silence.device_id == held.device_id);
        // What the holder cannot read, the others may try: whoever delivers it takes it over.
        let may_take = if is_lapsed(boxes.iter().find(|other| other.id == held.box_id), now_ms) {
            Some(0)
        } else {
            silence.map(|silence| silence.since_ms)
        };
        match may_take {
            Some(since_ms) => {
                let delivered_ms = work.last_delivery(held.device_id, &state.id).await?;
                if delivered_ms.is_some_and(|at| at >= since_ms) {
                    work.lease_to(held.device_id, &state.id, now_ms).await?;
                }
            }
            None if standby.len() < STANDBY_MAX => standby.push(held.device_key),
            None => {}
        }
    }
    Ok(standby)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(box_id: &str, since_ms: i64, until_ms: Option<i64>) -> Lease {
        Lease { box_id: box_id.to_owned(), since_ms, until_ms }
    }

    #[test]
    fn a_reading_is_outside_only_when_it_surely_was() {
        let leases = [lease("a", 100, Some(200)), lease("b", 200, None)];
        let outside = |id, low_ms, high_ms| is_outside(&leases, id, Interval { low_ms, high_ms });
        assert!(!outside("a", 150, 160) && outside("a", 210, 220) && !outside("b", 210, 220));
        assert!(outside("b", 150, 160));
        // In doubt: it may have been while it held the lease, or before anybody did.
        assert!(!outside("a", 190, 300) && !outside("b", 150, 200) && !outside("b", 50, 160));
        assert!(!is_outside(&[], "a", Interval { low_ms: 1, high_ms: 2 }));
    }

    #[test]
    fn a_holder_lapses_after_two_and_a_half_of_the_intervals_that_it_was_told() {
        let mut holder = BoxState { last_poll_ms: Some(1_000), told_interval_s: 300, ..BoxState::default() };
        assert!(!is_lapsed(Some(&holder), 751_000));
        assert!(is_lapsed(Some(&holder), 751_001));
        holder.suspended = Some("box_cloned".to_owned());
        assert!(is_lapsed(Some(&holder), 1_000) && is_lapsed(None, 0));
    }
}
