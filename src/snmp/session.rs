//! What a session can be asked: GET of any number of objects, GETNEXT, GETBULK, and walks that always end.

use std::time::Instant;

use super::client::{OIDS_PER_REQUEST_MAX, Session};
use super::codec::{Answer, Operation};
use super::source::{ObjectSource, Walk, WalkEnd, WalkLimits};
use super::{Oid, SnmpError, Value, VarBind};

/// Repetitions of the first GETBULK of a walk. Large numbers break old devices.
const REPETITIONS_FIRST: u32 = 10;
/// Repetitions that a walk grows to.
const REPETITIONS_MAX: u32 = 25;
/// Objects in the first GET; agents with small buffers get fewer after a tooBig.
const OIDS_PER_GET: usize = 24;
const _: () = assert!(OIDS_PER_GET <= OIDS_PER_REQUEST_MAX);

/// Error statuses, RFC 3416 §3.
const NO_ERROR: u32 = 0;
const TOO_BIG: u32 = 1;
const NO_SUCH_NAME: u32 = 2;

impl Session {
    /// The first object after each of these.
    ///
    /// # Errors
    /// When the device does not answer, or refuses.
    pub async fn get_next(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        let answer = self.request(Operation::GetNext, oids).await?;
        self.good(answer).map(|answer| answer.varbinds.read)
    }

    /// The objects after these: the first `non_repeaters` of them once, the others up to `max_repetitions` times.
    ///
    /// # Errors
    /// When the device does not answer, or refuses; or speaks v1, which has no GETBULK.
    pub async fn get_bulk(
        &self,
        non_repeaters: u32,
        max_repetitions: u32,
        oids: &[Oid],
    ) -> Result<Vec<VarBind>, SnmpError> {
        if self.speaks_v1() {
            let detail = "SNMPv1 has no GETBULK".to_owned();
            return Err(SnmpError::BadRequest { target: self.target(), detail });
        }
        let answer = self.request(Operation::GetBulk(non_repeaters, max_repetitions), oids).await?;
        self.good(answer).map(|answer| answer.varbinds.read)
    }

    fn good(&self, answer: Answer) -> Result<Answer, SnmpError> {
        match answer.error_status {
            NO_ERROR => Ok(answer),
            status => Err(SnmpError::ErrorStatus { target: self.target(), status }),
        }
    }

    /// GET of a few objects. Where one of them spoils the answer (v1) it is left out and the others are asked again; where
    /// the answer would be too big, halves are asked.
    async fn get_some(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        let mut found = Vec::with_capacity(oids.len());
        let mut parts: Vec<Vec<Oid>> = vec![oids.to_vec()];
        // Each turn answers, halves or shortens a part, so their number is bounded by the objects.
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let answer = self.request(Operation::Get, &part).await?;
            let culprit = usize::try_from(answer.error_index).unwrap_or(0).checked_sub(1);
            match (answer.error_status, culprit) {
                (NO_ERROR, _) => found.extend(answer.varbinds.read),
                (TOO_BIG, _) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([part, rest]);
                }
                // v1 says noSuchName; some agents say genErr. Either way that one object is not to be had.
                (status, Some(index)) if index < part.len() && status != TOO_BIG => {
                    part.remove(index);
                    parts.push(part);
                }
                (NO_SUCH_NAME, _) if part.len() == 1 => {}
                (NO_SUCH_NAME, _) => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([part, rest]);
                }
                (status, _) => return Err(SnmpError::ErrorStatus { target: self.target(), status }),
            }
        }
        Ok(oids
            .iter()
            .map(|oid| {
                let value = found.iter().find(|vb| vb.oid == *oid).map(|vb| vb.value.clone());
                VarBind { oid: oid.clone(), value: value.unwrap_or(Value::NoSuchInstance) }
            })
            .collect())
    }

    async fn step(&self, from: &Oid, repetitions: u32) -> Result<Answer, SnmpError> {
        let operation =
            if self.speaks_v1() || repetitions <= 1 { Operation::GetNext } else { Operation::GetBulk(0, repetitions) };
        self.request(operation, std::slice::from_ref(from)).await
    }
}

impl ObjectSource for Session {
    async fn get(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        let mut all = Vec::with_capacity(oids.len());
        for some in oids.chunks(OIDS_PER_GET) {
            all.extend(self.get_some(some).await?);
        }
        Ok(all)
    }

    async fn walk(&self, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
        let began = Instant::now();
        let mut varbinds: Vec<VarBind> = Vec::new();
        let mut position = root.clone();
        let mut repetitions = REPETITIONS_FIRST;
        loop {
            let end = |varbinds, end| Ok(Walk { varbinds, end });
            if began.elapsed() >= limits.time {
                return end(varbinds, WalkEnd::TimeLimit);
            }
            let answer = match self.step(&position, repetitions).await {
                Ok(answer) => answer,
                // A device that choked on a large answer may manage a small one.
                Err(SnmpError::Timeout { .. }) if repetitions > 2 && !self.speaks_v1() => {
                    repetitions /= 2;
                    continue;
                }
                Err(SnmpError::Timeout { .. }) if !varbinds.is_empty() => return end(varbinds, WalkEnd::TimeLimit),
                Err(error) => return Err(error),
            };
            match answer.error_status {
                NO_ERROR => {}
                NO_SUCH_NAME => return end(varbinds, WalkEnd::EndOfMibView),
                TOO_BIG if repetitions > 1 => {
                    repetitions /= 2;
                    continue;
                }
                status if varbinds.is_empty() => {
                    return Err(SnmpError::ErrorStatus { target: self.target(), status });
                }
                _ => return end(varbinds, WalkEnd::EndOfSubtree),
            }
            let before = position.clone();
            for varbind in answer.varbinds.read {
                if varbind.value == Value::EndOfMibView {
                    return end(varbinds, WalkEnd::EndOfMibView);
                }
                if !varbind.oid.starts_with(root) {
                    return end(varbinds, WalkEnd::EndOfSubtree);
                }
                if varbind.oid <= position {
                    return end(varbinds, WalkEnd::NotIncreasing);
                }
                position = varbind.oid.clone();
                if varbind.value.is_present() {
                    if varbinds.len() == limits.rows {
                        return end(varbinds, WalkEnd::RowLimit);
                    }
                    varbinds.push(varbind);
                }
            }
            // What cannot be read is stepped over, so that it hides nothing behind it.
            if let Some(last) = answer.varbinds.unreadable.iter().filter(|oid| **oid > position).max() {
                if !last.starts_with(root) {
                    return end(varbinds, WalkEnd::EndOfSubtree);
                }
                position = last.clone();
            }
            if position == before {
                return end(varbinds, WalkEnd::NotIncreasing);
            }
            repetitions = (repetitions + 5).min(REPETITIONS_MAX);
        }
    }
}
