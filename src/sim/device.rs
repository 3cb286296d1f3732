//! A simulated device: its objects, its SNMPv3 engine, its faults, and the printer behind it where it lives.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::faults::Fault;
use super::life::Printer;
use super::usm::{Keys, Users};
use crate::oid;
use crate::snmp::{Oid, Recording, Value, VarBind};

/// One device at one address.
#[derive(Debug)]
pub(super) struct Device {
    pub objects: Recording,
    pub community: String,
    pub fault: Option<Fault>,
    pub printer: Option<Printer>,
    /// A fragile device does not answer before.
    pub silent_until: Option<Instant>,
    /// The repetitions of the last request, if it was a GETBULK.
    pub last_repetitions: Option<i64>,
    /// Subtrees that nobody should touch, and how often somebody has: named in a request, or come to by a step.
    tripwires: Arc<[Oid]>,
    tripped: AtomicU64,
    users: Arc<Users>,
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
        users: Arc<Users>,
    ) -> Self {
        // RFC 3411 §5: highest bit, enterprise 0, format 1 (an IPv4 address).
        let engine_id = [&[0x80, 0, 0, 0, 1][..], &address.octets()].concat();
        Self {
            objects,
            community,
            fault: None,
            printer,
            silent_until: None,
            last_repetitions: None,
            tripwires: Arc::default(),
            tripped: AtomicU64::new(0),
            users,
            keys: HashMap::new(),
            engine_id,
            started: Instant::now(),
        }
    }

    pub(super) fn lay_tripwires(&mut self, subtrees: Arc<[Oid]>) {
        self.tripwires = subtrees;
    }

    /// Somebody reads this object, or asks for it.
    pub(super) fn touch(&self, oid: &Oid) {
        if self.tripwires.iter().any(|subtree| oid.starts_with(subtree)) {
            self.tripped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn tripped(&self) -> u64 {
        self.tripped.load(Ordering::Relaxed)
    }

    pub(super) fn engine_id(&self) -> &[u8] {
        &self.engine_id
    }

    /// The msgMaxSize that it announces.
    pub(super) fn message_max_bytes(&self) -> i64 {
        if self.fault == Some(Fault::BigMsgSize) { i64::from(i32::MAX) } else { 65_507 }
    }

    /// Boots and seconds since the last of them.
    pub(super) fn clock(&self) -> (u32, u32) {
        (1, u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX))
    }

    /// The keys of a user, made when first needed.
    pub(super) fn keys_of(&mut self, user: &[u8]) -> Option<Keys> {
        if let Some(keys) = self.keys.get(user) {
            return Some(keys.clone());
        }
        let keys = self.users.keys(user, &self.engine_id)?;
        self.keys.insert(user.to_vec(), keys.clone());
        Some(keys)
    }

    pub(super) fn known_keys(&self, user: &[u8]) -> Option<&Keys> {
        self.keys.get(user)
    }

    /// What follows an object: the truth, unless a fault says otherwise.
    pub(super) fn next_after(&self, oid: &Oid) -> Option<VarBind> {
        let truth = self.objects.next_after(oid).map(|(oid, value)| VarBind { oid: oid.clone(), value: value.clone() });
        if let Some(found) = &truth {
            self.touch(&found.oid);
        }
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
