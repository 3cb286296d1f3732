//! What of a device's readings counts: those of the box that held it, and others only where that one has none.

use super::dating::Interval;

/// A value and when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point<T> {
    /// When.
    pub taken: Interval,
    /// Whether another box held the lease then.
    pub is_outside: bool,
    /// What.
    pub value: T,
}

/// Those that count, in the order of the middles of their times. What was taken outside of a lease fills gaps: it counts
/// where the holder has nothing within half a read interval.
#[must_use]
pub fn effective<T>(mut points: Vec<Point<T>>, read_interval_ms: i64) -> Vec<Point<T>> {
    points.sort_by_key(|point| point.taken.middle_ms());
    let inside: Vec<i64> =
        points.iter().filter(|point| !point.is_outside).map(|point| point.taken.middle_ms()).collect();
    let is_covered = |at: i64| {
        let next = inside.partition_point(|middle| *middle < at);
        let neighbours = [next.checked_sub(1).and_then(|before| inside.get(before)), inside.get(next)];
        neighbours.into_iter().flatten().any(|middle| (middle - at).abs() <= read_interval_ms / 2)
    };
    points.retain(|point| !point.is_outside || !is_covered(point.taken.middle_ms()));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_box_took_fills_gaps_and_doubles_nothing() {
        let point =
            |at_ms, is_outside| Point { taken: Interval { low_ms: at_ms, high_ms: at_ms }, is_outside, value: at_ms };
        let holder = [0, 60, 180].map(|at| point(at, false));
        let other = [10, 70, 125, 185, 240].map(|at| point(at, true));
        let values = |points: Vec<Point<i64>>| effective(points, 60).iter().map(|p| p.value).collect::<Vec<_>>();
        assert_eq!(values(holder.into_iter().chain(other).collect()), [0, 60, 125, 180, 240]);
        assert_eq!(values(other.to_vec()), [10, 70, 125, 185, 240]);
    }
}
