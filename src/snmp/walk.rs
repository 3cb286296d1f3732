//! Walking a subtree: GETBULK after GETBULK, fewer objects at a time where a device cannot bear more, and an end in
//! every case.

use super::codec::{Request, Response};
use super::limits::FIRST_REPETITIONS;
use super::session::status;
use super::{Oid, Session, SnmpError, Value, VarBind, Walk, WalkEnd, WalkLimits, guard};
use tokio::time::{Instant, timeout_at};

/// Walks with as large steps as the device bears.
pub(super) async fn walk(session: &Session, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
    let target = session.target();
    guard::check_walk(target, root)?;
    let deadline = Instant::now() + limits.time;
    let mut rows = Rows::new(root, limits.rows);
    let mut step =
        if session.has_bulk() && !guard::takes_single_steps(root) { Step::Bulk(FIRST_REPETITIONS) } else { Step::Next };
    let mut answered = false;
    // Each turn either brings an object identifier larger than all before, or makes the step smaller; the time limit
    // ends what the row limit does not.
    loop {
        let asked = timeout_at(deadline, session.exchange(step.request(rows.position()))).await;
        let trouble = match asked {
            Err(_) if answered => return Ok(rows.end(WalkEnd::TimeLimit)),
            Err(_) => return Err(SnmpError::Timeout { target, tries: 1 }),
            Ok(Ok(response)) => {
                answered = true;
                match judge(response) {
                    Verdict::Bindings(bindings) => match rows.take(bindings) {
                        Some(end) => return Ok(rows.end(end)),
                        None => continue,
                    },
                    Verdict::Nothing => return Ok(rows.end(WalkEnd::EndOfMibView)),
                    Verdict::Trouble(status) => Trouble::Status(status),
                }
            }
            Ok(Err(error @ SnmpError::Timeout { .. })) => Trouble::Silence(error),
            Ok(Err(error)) => Trouble::Error(error),
        };
        step = match (&trouble, step.smaller(answered)) {
            (Trouble::Status(_) | Trouble::Silence(_), Some(smaller)) => smaller,
            _ => return trouble.end(rows, target, answered),
        };
    }
}

/// Why a step did not lead on.
enum Trouble {
    Silence(SnmpError),
    Status(u32),
    Error(SnmpError),
}

impl Trouble {
    /// What has been found is kept; an error is only for a walk that found nothing.
    fn end(self, rows: Rows, target: std::net::SocketAddr, answered: bool) -> Result<Walk, SnmpError> {
        match self {
            Self::Silence(_) if answered => Ok(rows.end(WalkEnd::TimeLimit)),
            Self::Silence(error) | Self::Error(error) if rows.is_empty() => Err(error),
            Self::Status(status) if rows.is_empty() => Err(SnmpError::ErrorStatus { target, status }),
            Self::Silence(_) | Self::Error(_) | Self::Status(_) => Ok(rows.end(WalkEnd::BrokenOff)),
        }
    }
}

/// How far to go in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// GETBULK with so many repetitions.
    Bulk(u32),
    /// GETNEXT.
    Next,
}

impl Step {
    fn request(self, from: Oid) -> Request {
        match self {
            Self::Bulk(max_repetitions) => Request::GetBulk { oids: vec![from], non_repeaters: 0, max_repetitions },
            Self::Next => Request::GetNext(vec![from]),
        }
    }

    /// Half of it. A device that has not answered at all yet is not asked four times over: it gets one more chance,
    /// in case it is GETBULK that it does not know.
    fn smaller(self, answered: bool) -> Option<Self> {
        match self {
            Self::Bulk(repetitions) if answered && repetitions > 1 => Some(Self::Bulk(repetitions / 2)),
            Self::Bulk(_) => Some(Self::Next),
            Self::Next => None,
        }
    }
}

enum Verdict {
    Bindings(Vec<VarBind>),
    /// v1 says noSuchName at the end of everything.
    Nothing,
    Trouble(u32),
}

fn judge(response: Response) -> Verdict {
    match response.error_status {
        // No bindings at all, against RFC 3416 §4.2.3: as good as genErr.
        status::NO_ERROR if response.bindings.list.is_empty() => Verdict::Trouble(status::GEN_ERR),
        status::NO_ERROR => Verdict::Bindings(response.bindings.list),
        status::NO_SUCH_NAME => Verdict::Nothing,
        status => Verdict::Trouble(status),
    }
}

/// What a walk has found, and where it stands. Knows nothing of networks.
#[derive(Debug)]
struct Rows {
    root: Oid,
    position: Oid,
    limit: usize,
    found: Vec<VarBind>,
}

impl Rows {
    fn new(root: &Oid, limit: usize) -> Self {
        Self { root: root.clone(), position: root.clone(), limit, found: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Where to go on from. Roots of one arc get a zero behind it: BER cannot write them, and nothing lies between.
    fn position(&self) -> Oid {
        if self.position.arcs().len() < 2 { self.position.with(&[0]) } else { self.position.clone() }
    }

    /// Takes an answer over; returns why the walk is at its end, if it is.
    fn take(&mut self, bindings: Vec<VarBind>) -> Option<WalkEnd> {
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
            self.position = binding.oid.clone();
            if binding.value.is_present() {
                self.found.push(binding);
            }
        }
        None
    }

    fn end(self, end: WalkEnd) -> Walk {
        Walk { varbinds: self.found, end }
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

    #[test]
    fn a_device_that_answers_is_asked_for_half_and_a_silent_one_once_more() {
        let mut step = Step::Bulk(10);
        let mut steps = vec![step];
        while let Some(smaller) = step.smaller(true) {
            step = smaller;
            steps.push(step);
        }
        assert_eq!(steps, [Step::Bulk(10), Step::Bulk(5), Step::Bulk(2), Step::Bulk(1), Step::Next]);
        assert_eq!(Step::Bulk(10).smaller(false), Some(Step::Next));
    }

    #[test]
    fn a_step_back_ends_a_walk_and_what_came_before_is_kept() {
        let mut rows = Rows::new(&oid!(1, 3, 6), 10);
        assert_eq!(rows.take(vec![row(oid!(1, 3, 6, 1)), row(oid!(1, 3, 6, 2))]), None);
        assert_eq!(rows.take(vec![row(oid!(1, 3, 6, 2))]), Some(WalkEnd::NotIncreasing));
        assert_eq!(rows.take(vec![row(oid!(1, 3, 5))]), Some(WalkEnd::NotIncreasing));
        assert_eq!(rows.take(vec![row(oid!(1, 3, 7))]), Some(WalkEnd::EndOfSubtree));
        assert_eq!(rows.end(WalkEnd::NotIncreasing).varbinds.len(), 2);
    }

    proptest! {
        #[test]
        fn whatever_a_device_answers_rows_increase_inside_the_subtree_and_keep_the_limit(
            answers in proptest::collection::vec(proptest::collection::vec((0u32..9, 0u32..30, any::<bool>()), 0..6), 0..20),
        ) {
            let root = oid!(1, 3, 4);
            let mut rows = Rows::new(&root, 12);
            for answer in answers {
                let bindings = answer.into_iter().map(|(a, b, present)| VarBind {
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
