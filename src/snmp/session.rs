//! A session: one device, one set of credentials. Turns what devices do (leave objects out, refuse long lists, spoil a
//! v1 answer over one missing object) into one answer for each question.

use super::codec::{CommunityVersion, Message, Peer, Request, Response};
use super::engine::Outcome;
use super::limits::{MAX_OIDS_PER_CALL, MAX_OIDS_PER_REQUEST, MAX_REPETITIONS, MAX_REQUEST_BYTES};
use super::{
    Client, Credentials, ObjectSource, Oid, SecurityLevel, SnmpError, Timing, UsmReport, UsmUser, Value, VarBind, Walk,
    WalkLimits, codec, walk,
};
use crate::oid;
use std::net::SocketAddr;
use std::sync::Arc;

/// Error statuses of RFC 3416 §3 that are handled, and not just reported.
pub(super) mod status {
    pub(in crate::snmp) const NO_ERROR: u32 = 0;
    pub(in crate::snmp) const TOO_BIG: u32 = 1;
    pub(in crate::snmp) const NO_SUCH_NAME: u32 = 2;
    pub(in crate::snmp) const GEN_ERR: u32 = 5;
    pub(in crate::snmp) const NO_ACCESS: u32 = 6;
}

/// One device as one set of credentials sees it. Clones are cheap; requests of all sessions to one device go one
/// after the other.
#[derive(Debug, Clone)]
pub struct Session {
    client: Client,
    target: SocketAddr,
    credentials: Arc<Credentials>,
    timing: Timing,
}

impl Session {
    pub(super) fn new(client: Client, target: SocketAddr, credentials: Credentials, timing: Timing) -> Self {
        Self { client, target, credentials: Arc::new(credentials), timing }
    }

    /// The device's address and port.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// What walks have found out about the device.
    pub(super) fn habits(&self) -> &walk::HabitTable {
        self.client.habits()
    }

    /// Whether the version has GETBULK.
    pub(super) fn has_bulk(&self) -> bool {
        !matches!(*self.credentials, Credentials::V1 { .. })
    }

    /// Reads these instances, in as many requests as it takes. The answer has one binding for each, in the same order.
    /// What the device does not have is [`Value::NoSuchInstance`] or [`Value::NoSuchObject`]; what it has and cannot
    /// give (genErr about it, a value that cannot be read) is [`Value::Null`]: neither is present, and neither is zero.
    ///
    /// # Errors
    /// When the device does not answer, or refuses; when more than
    /// [`MAX_OIDS_PER_CALL`](super::limits::MAX_OIDS_PER_CALL) are asked for, or one that is never asked for.
    pub async fn get(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        self.each(oids, Ask::These).await
    }

    /// Reads the instance behind each of these. The answer has one binding for each, in the same order;
    /// [`Value::EndOfMibView`] with the name that was asked where nothing follows.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_next(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        self.each(oids, Ask::Behind).await
    }

    /// One GETBULK (RFC 3416 §4.2.3), and its answer as it came: short if the device cut it short.
    ///
    /// # Errors
    /// As [`get`](Self::get); also in v1, which has no GETBULK, and with any error status.
    pub async fn get_bulk(
        &self,
        oids: &[Oid],
        non_repeaters: u32,
        max_repetitions: u32,
    ) -> Result<Vec<VarBind>, SnmpError> {
        let max_repetitions = max_repetitions.min(MAX_REPETITIONS);
        let response = self.exchange(Request::GetBulk { oids: oids.to_vec(), non_repeaters, max_repetitions }).await?;
        match response.error_status {
            status::NO_ERROR => Ok(response.bindings.list),
            status => Err(SnmpError::ErrorStatus { target: self.target, status }),
        }
    }

    /// Reads the subtree below `root`: with GETBULK where version and device have one that can be used, else with GETNEXT
    /// of several names at once where the next names can be guessed. What the device bears is remembered for its next walk.
    ///
    /// # Errors
    /// When the device does not answer the first request, or refuses; when the subtree has objects that are never to
    /// be asked for.
    pub async fn walk(&self, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
        walk::walk(self, root, limits).await
    }

    /// Reads some columns of a table, lowest first, side by side: one request brings the next rows of all of them. What the
    /// device cannot give so is read column by column. What it bears is remembered, as by [`walk`](Self::walk).
    ///
    /// # Errors
    /// As [`walk`](Self::walk), and for more than
    /// [`MAX_COLUMNS_PER_CALL`](super::limits::MAX_COLUMNS_PER_CALL) columns. Where some cells were read, or a column was
    /// seen to its end, what was read is kept, and the end tells that it is not all.
    pub async fn columns(&self, entry: &Oid, columns: &[u32], limits: WalkLimits) -> Result<Walk, SnmpError> {
        walk::columns(self, entry, columns, limits).await
    }

    /// Asks about each of these, in lists as long as the device bears.
    async fn each(&self, oids: &[Oid], ask: Ask) -> Result<Vec<VarBind>, SnmpError> {
        if oids.len() > MAX_OIDS_PER_CALL {
            let detail = format!("{} objects are asked for at once, more than {MAX_OIDS_PER_CALL}", oids.len());
            return Err(SnmpError::BadRequest { target: self.target, detail });
        }
        let mut found: Vec<Option<VarBind>> = vec![None; oids.len()];
        // Each answer settles at least one object or makes its list shorter, so this ends after 2n requests at most.
        let mut pending = batches(oids);
        while let Some(batch) = pending.pop() {
            let names: Vec<Oid> = batch.iter().filter_map(|index| oids.get(*index)).cloned().collect();
            let response = self.exchange(ask.request(names)).await?;
            let rest = match judge(&response, batch.len()) {
                Verdict::Answers => {
                    let rest = ask.settle(oids, &batch, response, &mut found);
                    match (rest.len() == batch.len(), rest.len()) {
                        // Alone and still not in its own answer: it cannot be had.
                        (true, 1) => Vec::new(),
                        (true, _) => halve(&batch, &mut pending),
                        (false, _) => rest,
                    }
                }
                Verdict::Spoilt { position, value } => {
                    let mut rest = batch;
                    let spoiler = rest.remove(position);
                    if let (Some(place), Some(oid)) = (found.get_mut(spoiler), oids.get(spoiler)) {
                        let value = if ask == Ask::Behind && value == Value::NoSuchInstance {
                            Value::EndOfMibView
                        } else {
                            value
                        };
                        *place = Some(VarBind { oid: oid.clone(), value });
                    }
                    rest
                }
                Verdict::Halve => halve(&batch, &mut pending),
                Verdict::Refused(status) => {
                    return Err(SnmpError::ErrorStatus { target: self.target, status });
                }
            };
            if !rest.is_empty() {
                pending.push(rest);
            }
        }
        Ok(found
            .into_iter()
            .zip(oids)
            .map(|(binding, oid)| binding.unwrap_or_else(|| VarBind { oid: oid.clone(), value: Value::Null }))
            .collect())
    }

    /// One request and its answer, whatever the version.
    pub(super) async fn exchange(&self, request: Request) -> Result<Response, SnmpError> {
        let (version, community) = match &*self.credentials {
            Credentials::V1 { community } => (CommunityVersion::V1, community.clone()),
            Credentials::V2c { community } => (CommunityVersion::V2c, community.clone()),
            Credentials::V3(user) => return self.exchange_v3(user, request).await,
        };
        let message = Message::Community { version, community, request };
        match self.client.send(self.target, message, self.timing).await? {
            Outcome::Response(response) => Ok(response),
            Outcome::Report(_) => Err(SnmpError::Garbage {
                target: self.target,
                detail: "a report of SNMPv3 to a request of another version".to_owned(),
            }),
        }
    }

    /// As above in SNMPv3: learns the engine id, and once each follows a clock or an engine id that has changed.
    async fn exchange_v3(&self, user: &UsmUser, request: Request) -> Result<Response, SnmpError> {
        super::guard::check(self.target, &request, self.client.asks())?;
        let (mut clock_followed, mut engine_followed) = (false, false);
        loop {
            let peer = self.client.peer(self.target, user, self.timing).await?;
            let message = Message::Usm { peer: Arc::clone(&peer), request: request.clone() };
            let report = match self.client.send(self.target, message, self.timing).await {
                Ok(Outcome::Response(response)) => return Ok(response),
                Ok(Outcome::Report(report)) => report,
                // Another device may live there by now, and some say nothing to an engine id that is not theirs.
                Err(SnmpError::Timeout { .. })
                    if !peer.has_answered() && self.client.forget_remembered(self.target) =>
                {
                    self.client.forget_peer(self.target, user, &peer);
                    continue;
                }
                Err(error @ SnmpError::Timeout { .. }) => return Err(self.explain_silence(user, &peer, error).await),
                Err(error) => return Err(error),
            };
            match report.reason {
                // The decoder has set the clock by the report, if the report was to be believed.
                UsmReport::NotInTimeWindow if !clock_followed => clock_followed = true,
                UsmReport::UnknownEngineId if !engine_followed => {
                    engine_followed = true;
                    self.client.forget_remembered(self.target);
                    self.client.forget_peer(self.target, user, &peer);
                }
                reason => return Err(SnmpError::Refused { target: self.target, reason }),
            }
        }
    }

    /// Many agents say nothing at all to what they cannot decrypt. Whether that is so can be found out by asking
    /// without encryption: an agent that knows the user's authentication password then says something.
    async fn explain_silence(&self, user: &UsmUser, peer: &Arc<Peer>, silence: SnmpError) -> SnmpError {
        if user.level() != SecurityLevel::AuthPriv || peer.has_answered() {
            return silence;
        }
        let discovered = peer.as_discovered(tokio::time::Instant::now().into_std());
        let Ok(plain) = self.client.make_peer(self.target, user.without_privacy(), discovered).await else {
            return silence;
        };
        let request = Request::Get(vec![oid!(1, 3, 6, 1, 2, 1, 1, 3, 0)]);
        let message = Message::Usm { peer: plain, request };
        let reason = match self.client.send(self.target, message, self.timing).await {
            Ok(Outcome::Response(_)) => UsmReport::DecryptionError,
            Ok(Outcome::Report(report)) => match report.reason {
                UsmReport::UnsupportedSecurityLevel | UsmReport::NotInTimeWindow => UsmReport::DecryptionError,
                other => other,
            },
            Err(_) => return silence,
        };
        SnmpError::Refused { target: self.target, reason }
    }
}

impl ObjectSource for Session {
    async fn get(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        Session::get(self, oids).await
    }

    async fn walk(&self, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
        Session::walk(self, root, limits).await
    }

    async fn columns(&self, entry: &Oid, columns: &[u32], limits: WalkLimits) -> Result<Walk, SnmpError> {
        Session::columns(self, entry, columns, limits).await
    }
}

/// Cuts a list of objects into requests; the last of them comes first.
fn batches(oids: &[Oid]) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut batch: Vec<usize> = Vec::new();
    let mut bytes = 0;
    for (index, oid) in oids.iter().enumerate() {
        let more = codec::varbinds::name_bytes(oid);
        if batch.len() >= MAX_OIDS_PER_REQUEST || (bytes + more > MAX_REQUEST_BYTES && !batch.is_empty()) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        batch.push(index);
        bytes += more;
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches.reverse();
    batches
}

/// Puts the second half off, and returns the first.
fn halve(batch: &[usize], pending: &mut Vec<Vec<usize>>) -> Vec<usize> {
    let (first, second) = batch.split_at(batch.len() / 2);
    pending.push(second.to_vec());
    first.to_vec()
}

/// What an answer means for a list of objects.
enum Verdict {
    /// It has the values.
    Answers,
    /// One object, at this position, spoilt it; the others are to be asked again without it.
    Spoilt { position: usize, value: Value },
    /// It may go better with half as many.
    Halve,
    /// It will not go at all.
    Refused(u32),
}

fn judge(response: &Response, asked: usize) -> Verdict {
    let position = usize::try_from(response.error_index).ok().and_then(|index| index.checked_sub(1));
    let position = position.filter(|position| *position < asked);
    match (response.error_status, position) {
        (status::NO_ERROR, _) => Verdict::Answers,
        (status::NO_SUCH_NAME, Some(position)) => Verdict::Spoilt { position, value: Value::NoSuchInstance },
        (status::NO_SUCH_NAME, None) if asked == 1 => Verdict::Spoilt { position: 0, value: Value::NoSuchInstance },
        (status::GEN_ERR | status::NO_ACCESS, Some(position)) => Verdict::Spoilt { position, value: Value::Null },
        (status::TOO_BIG | status::NO_SUCH_NAME | status::GEN_ERR | status::NO_ACCESS, _) if asked > 1 => {
            Verdict::Halve
        }
        (status, _) => Verdict::Refused(status),
    }
}

/// GET or GETNEXT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    These,
    Behind,
}

impl Ask {
    fn request(self, oids: Vec<Oid>) -> Request {
        match self {
            Self::These => Request::Get(oids),
            Self::Behind => Request::GetNext(oids),
        }
    }

    /// Takes the values of an answer over; returns which objects are to be asked again.
    fn settle(self, oids: &[Oid], batch: &[usize], response: Response, found: &mut [Option<VarBind>]) -> Vec<usize> {
        let whole = response.bindings.unreadable == 0 && response.bindings.list.len() == batch.len();
        let mut rest = Vec::new();
        let bindings = response.bindings.list;
        for (position, index) in batch.iter().enumerate() {
            let (Some(oid), Some(place)) = (oids.get(*index), found.get_mut(*index)) else { continue };
            let binding = match self {
                // By name, wherever in the answer it stands.
                Self::These => match bindings.get(position).filter(|binding| binding.oid == *oid) {
                    Some(binding) => Some(binding.clone()),
                    None => bindings.iter().find(|binding| binding.oid == *oid).cloned(),
                },
                // By place, so only in a whole answer.
                Self::Behind if whole => bindings.get(position).cloned(),
                Self::Behind => None,
            };
            match binding {
                Some(binding) => *place = Some(binding),
                None => rest.push(*index),
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests;
