//! A simulated device: its objects, its SNMPv3 engine, its faults, and the printer behind it where it lives.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::life::Printer;
use super::usm::{Keys, SimUser};
use crate::oid;
use crate::snmp::{Oid, Recording, Value, VarBind};

/// What can be wrong with a simulated printer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Never answers.
    Silent,
    /// Answers after so long.
    Slow(Duration),
    /// Loses so many of a thousand requests.
    Lossy(u32),
    /// Answers with bytes that are no SNMP.
    Garbage,
    /// GETNEXT comes back to where it was.
    Looping,
    /// A table that never ends.
    Endless,
    /// Answers each request with two hundred datagrams that answer nothing, and then rightly.
    Flooding,
    /// Answers are cut off in the middle.
    Truncated,
    /// Behind each answer come 50,000 octets more in the same datagram.
    Oversized,
    /// Answers bear another id than was asked with.
    WrongId,
    /// Before each answer comes one with the right id and false values from another address.
    Spoofed,
    /// Does not know GETBULK, and says genErr to it: some older print servers.
    NoBulk,
    /// GETBULK of more than five repetitions is tooBig for it.
    TinyBulk,
    /// Falls silent for a minute when it is pressed: by a second request before the first is answered, by one that comes
    /// sooner than 15 ms after the last, or by more than 25 repetitions.
    Fragile,
}

/// Not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a fault: write silent, slow:MILLISECONDS, lossy:PERMILLE, garbage, looping, endless, flooding, truncated, oversized, wrong-id, spoofed, no-bulk, tiny-bulk or fragile"
)]
pub struct FaultError(String);

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = || FaultError(text.to_owned());
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number.parse::<u32>().map_err(|_| error())?)),
            None => (text, None),
        };
        Ok(match (kind, number) {
            ("silent", None) => Self::Silent,
            ("slow", Some(ms)) => Self::Slow(Duration::from_millis(u64::from(ms))),
            ("lossy", Some(permille)) if permille <= 1_000 => Self::Lossy(permille),
            ("garbage", None) => Self::Garbage,
            ("looping", None) => Self::Looping,
            ("endless", None) => Self::Endless,
            ("flooding", None) => Self::Flooding,
            ("truncated", None) => Self::Truncated,
            ("oversized", None) => Self::Oversized,
            ("wrong-id", None) => Self::WrongId,
            ("spoofed", None) => Self::Spoofed,
            ("no-bulk", None) => Self::NoBulk,
            ("tiny-bulk", None) => Self::TinyBulk,
            ("fragile", None) => Self::Fragile,
            _ => return Err(error()),
        })
    }
}

/// One device at one address.
#[derive(Debug)]
pub(super) struct Device {
    pub objects: Recording,
    pub community: String,
    pub fault: Option<Fault>,
    pub printer: Option<Printer>,
    /// A fragile device does not answer before.
    pub silent_until: Option<Instant>,
    users: Arc<Vec<SimUser>>,
    keys: HashMap<Vec<u8>, Keys>,
    engine_id: Vec<u8>,
    started: Instant,
}

impl Device {
    pub(super) fn new(
        address: Ipv4Addr,
        objects: Recording,
        printer: Option<Printer>,
        community: String,
        users: Arc<Vec<SimUser>>,
    ) -> Self {
        // RFC 3411 §5: highest bit, enterprise 0, format 1 (an IPv4 address).
        let engine_id = [&[0x80, 0, 0, 0, 1][..], &address.octets()].concat();
        Self {
            objects,
            community,
            fault: None,
            printer,
            silent_until: None,
            users,
            keys: HashMap::new(),
            engine_id,
            started: Instant::now(),
        }
    }

    pub(super) fn engine_id(&self) -> &[u8] {
        &self.engine_id
    }

    /// The msgMaxSize that it announces.
    pub(super) fn message_max_bytes(&self) -> i64 {
        65_507
    }

    /// Boots and seconds since the last of them.
    pub(super) fn clock(&self) -> (u32, u32) {
        (1, u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX))
    }

    /// The keys of a user, made when first needed: a megabyte of digest each.
    pub(super) fn keys_of(&mut self, user: &[u8]) -> Option<Keys> {
        if let Some(keys) = self.keys.get(user) {
            return Some(keys.clone());
        }
        let known = self.users.iter().find(|known| known.name.as_bytes() == user)?;
        let keys = Keys::of(known, &self.engine_id);
        self.keys.insert(user.to_vec(), keys.clone());
        Some(keys)
    }

    pub(super) fn known_keys(&self, user: &[u8]) -> Option<&Keys> {
        self.keys.get(user)
    }

    /// What follows an object: the truth, unless a fault says otherwise.
    pub(super) fn next_after(&self, oid: &Oid) -> Option<VarBind> {
        let truth = self.objects.next_after(oid).map(|(oid, value)| VarBind { oid: oid.clone(), value: value.clone() });
        let supplies = oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1, 6);
        match self.fault {
            Some(Fault::Looping) if oid.starts_with(&supplies) => {
                Some(VarBind { oid: supplies.with(&[1, 1]), value: Value::OctetString(b"again".to_vec()) })
            }
            Some(Fault::Endless) if oid.starts_with(&supplies) => {
                let row = oid.arcs().last().copied().unwrap_or(0).saturating_add(1);
                let value = Value::OctetString(b"one more".to_vec());
                Some(VarBind { oid: supplies.with(&[1, row]), value })
            }
            _ => truth,
        }
    }

    /// Lets time pass for the printer.
    pub(super) fn live(&mut self, elapsed: Duration) {
        if let Some(printer) = &mut self.printer {
            printer.step(elapsed);
            for (oid, value) in printer.changing_objects() {
                self.objects.set(oid, value);
            }
            for oid in printer.vanished_objects() {
                self.objects.remove(&oid);
            }
        }
    }
}
