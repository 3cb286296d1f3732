//! What a walk has found, and where it stands. Knows nothing of networks.

use crate::snmp::limits::FIRST_REPETITIONS;
use crate::snmp::{Oid, Value, VarBind, Walk, WalkEnd, WalkLimits};

#[derive(Debug)]
pub(super) struct Rows {
    root: Oid,
    position: Oid,
    limit: usize,
    bytes_left: usize,
    found: Vec<VarBind>,
    /// Whether an object was stepped past unread.
    has_gap: bool,
}

impl Rows {
    pub(super) fn new(root: &Oid, limits: &WalkLimits) -> Self {
        Self {
            root: root.clone(),
            position: root.clone(),
            limit: limits.rows,
            bytes_left: limits.bytes,
            found: Vec::new(),
            has_gap: false,
        }
    }

    pub(super) fn root(&self) -> &Oid {
        &self.root
    }

    pub(super) fn found(&self) -> &[VarBind] {
        &self.found
    }

    /// How many more rows are wanted, and the one that shows that there are more.
    pub(super) fn wanted(&self) -> usize {
        self.limit.saturating_sub(self.found.len()).saturating_add(1)
    }

    /// More repetitions than this would most likely only bring what lies behind the subtree, or behind the row limit: the
    /// rows that are still to come if there are as many as the last time, and the object that shows the end. Most subtrees
    /// are small columns.
    pub(super) fn useful_repetitions(&self, expected: Option<u32>) -> u32 {
        let found = u32::try_from(self.found.len()).unwrap_or(u32::MAX);
        let wanted = u32::try_from(self.wanted()).unwrap_or(u32::MAX);
        let likely = match expected {
            Some(expected) if found <= expected => (expected - found).saturating_add(1),
            None if found > 0 => u32::MAX,
            _ => FIRST_REPETITIONS,
        };
        likely.min(wanted)
    }

    /// Where to go on from. Roots of one arc get a zero behind it: BER cannot write them, and nothing lies between.
    pub(super) fn position(&self) -> Oid {
        if self.position.arcs().len() < 2 { self.position.with(&[0]) } else { self.position.clone() }
    }

    /// Whether an answer to GETBULK goes forward with each binding, and has nothing behind the end.
    pub(super) fn is_in_order<'a>(&'a self, bindings: impl IntoIterator<Item = &'a VarBind>) -> bool {
        let is_end = |binding: &VarBind| binding.value == Value::EndOfMibView;
        let mut last = &self.position;
        let mut rest = bindings.into_iter().skip_while(|binding| {
            let goes_forward = !is_end(binding) && binding.oid > *last;
            last = &binding.oid;
            goes_forward
        });
        rest.all(is_end)
    }

    /// Takes an answer over; returns why the walk is at its end, if it is.
    pub(super) fn take(&mut self, bindings: impl IntoIterator<Item = VarBind>) -> Option<WalkEnd> {
        for binding in bindings {
            if binding.value == Value::EndOfMibView {
                return Some(WalkEnd::EndOfMibView);
            }
            if !binding.oid.starts_with(&self.root) {
                // Back before the root is no end of a subtree, but a step back.
                let past = binding.oid > self.position;
                return Some(if past { WalkEnd::EndOfSubtree } else { WalkEnd::NotIncreasing });
            }
            if binding.oid <= self.position {
                return Some(WalkEnd::NotIncreasing);
            }
            if self.found.len() >= self.limit {
                return Some(WalkEnd::RowLimit);
            }
            if binding.value.is_present() {
                match self.bytes_left.checked_sub(binding.value.kept_bytes()) {
                    Some(left) => self.bytes_left = left,
                    None => return Some(WalkEnd::ByteLimit),
                }
            }
            self.position = binding.oid.clone();
            if binding.value.is_present() {
                self.found.push(binding);
            }
        }
        None
    }

    /// Goes on from this name, past what cannot be read.
    pub(super) fn step_past(&mut self, name: Oid) {
        self.position = name;
        self.has_gap = true;
    }

    /// A walk with a gap is not complete, wherever it ended.
    pub(super) fn end(&mut self, end: WalkEnd) -> Walk {
        let end = if self.has_gap && end.is_complete() { WalkEnd::BrokenOff } else { end };
        Walk { varbinds: std::mem::take(&mut self.found), end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    fn row(oid: Oid) -> VarBind {
        VarBind { oid, value: Value::Integer(1) }
    }

    fn rows(root: &Oid, limit: usize) -> Rows {
        Rows::new(root, &WalkLimits { rows: limit, ..WalkLimits::default() })
    }

    #[test]
    fn a_step_back_ends_a_walk_and_what_came_before_is_kept() {
        let mut rows = rows(&oid!(1, 3, 6), 10);
        assert_eq!(rows.take(vec![row(oid!(1, 3, 6, 1)), row(oid!(1, 3, 6, 2))]), None);
        assert_eq!(rows.take(vec![row(oid!(1, 3, 6, 2))]), Some(WalkEnd::NotIncreasing));
        assert_eq!(rows.take(vec![row(oid!(1, 3, 5))]), Some(WalkEnd::NotIncreasing));
        assert_eq!(rows.take(vec![row(oid!(1, 3, 7))]), Some(WalkEnd::EndOfSubtree));
        assert_eq!(rows.end(WalkEnd::NotIncreasing).varbinds.len(), 2);
    }

    #[test]
    fn values_are_kept_up_to_their_bytes() {
        let mut rows = Rows::new(&oid!(1, 3, 6), &WalkLimits { bytes: 250, ..WalkLimits::default() });
        let long = |n| VarBind { oid: oid!(1, 3, 6, n), value: Value::OctetString(vec![b'x'; 100]) };
        assert_eq!(rows.take(vec![long(1), long(2), long(3)]), Some(WalkEnd::ByteLimit));
        assert_eq!(rows.end(WalkEnd::ByteLimit).varbinds.len(), 2);
    }

    #[test]
    fn a_walk_with_a_gap_is_not_complete() {
        let mut rows = rows(&oid!(1, 3, 6), 10);
        rows.step_past(oid!(1, 3, 6, 5));
        assert_eq!(rows.take(vec![row(oid!(1, 3, 6, 6)), row(oid!(1, 3, 7))]), Some(WalkEnd::EndOfSubtree));
        let walk = rows.end(WalkEnd::EndOfSubtree);
        assert_eq!((walk.varbinds.len(), walk.end), (1, WalkEnd::BrokenOff));
    }

    proptest! {
        #[test]
        fn whatever_a_device_answers_rows_increase_inside_the_subtree_and_keep_the_limit(
            answers in proptest::collection::vec(proptest::collection::vec((0u32..9, 0u32..30, any::<bool>()), 0..6), 0..20),
        ) {
            let root = oid!(1, 3, 4);
            let mut rows = rows(&root, 12);
            for answer in answers {
                let bindings: Vec<VarBind> = answer.into_iter().map(|(a, b, present)| VarBind {
                    oid: oid!(1, 3, a, b),
                    value: if present { Value::Integer(1) } else { Value::Null },
                }).collect();
                if rows.take(bindings).is_some() {
                    break;
                }
            }
            let walk = rows.end(WalkEnd::TimeLimit);
            prop_assert!(walk.varbinds.len() <= 12);
            prop_assert!(walk.varbinds.iter().all(|row| row.oid.starts_with(&root) && row.value.is_present()));
            prop_assert!(walk.varbinds.windows(2).all(|pair| pair[0].oid < pair[1].oid));
        }
    }
}
