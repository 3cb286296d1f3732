//! Which credentials a printer answers to, and manners in trying them.
//!
//! Users of SNMPv3 are not hammered at devices that refuse them: after three refusals a device is asked for each of them
//! once an hour. Printers lock out, log and mail about wrong users; and a password is nothing to be tried on strangers
//! again and again. A user who was never refused there is tried all the same: he may be the right one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::snmp::Credentials;

/// Refusals of a device, whomever of, before those whom it refused are left out there.
const REFUSALS: u32 = 3;
/// For how long; then one more try is made with each.
const REST: Duration = Duration::from_secs(3_600);
/// Devices remembered; beyond, the one that refused longest ago is forgotten.
const DEVICES_MAX: usize = 4_096;

/// Who has refused us, how often, and when last.
#[derive(Debug, Default)]
pub struct Lockout {
    devices: Mutex<HashMap<SocketAddr, Refusals>>,
}

/// Of one device.
#[derive(Debug, Default)]
struct Refusals {
    count: u32,
    /// When it refused each of the credentials last, by their index; as many as are configured.
    last: Vec<(usize, Instant)>,
}

impl Refusals {
    fn of(&self, index: usize) -> Option<Instant> {
        self.last.iter().find(|(refused, _)| *refused == index).map(|(_, at)| *at)
    }

    fn latest(&self) -> Option<Instant> {
        self.last.iter().map(|(_, at)| *at).max()
    }
}

impl Lockout {
    fn devices(&self) -> MutexGuard<'_, HashMap<SocketAddr, Refusals>> {
        // Counts are whole whatever happened to their holder.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the user with this index among the credentials may be tried on a device now.
    ///
    /// # Errors
    /// How long he is still left out there.
    pub fn may_try(&self, target: SocketAddr, index: usize, now: Instant) -> Result<(), Duration> {
        let devices = self.devices();
        let Some(refusals) = devices.get(&target).filter(|refusals| refusals.count >= REFUSALS) else { return Ok(()) };
        let Some(last) = refusals.of(index) else { return Ok(()) };
        let rest = (last + REST).saturating_duration_since(now);
        if rest.is_zero() { Ok(()) } else { Err(rest) }
    }

    /// A device has refused this user.
    pub fn count(&self, target: SocketAddr, index: usize, now: Instant) {
        let mut devices = self.devices();
        if devices.len() >= DEVICES_MAX && !devices.contains_key(&target) {
            let oldest = devices.iter().min_by_key(|(_, refusals)| refusals.latest()).map(|(target, _)| *target);
            oldest.and_then(|oldest| devices.remove(&oldest));
        }
        let refusals = devices.entry(target).or_default();
        refusals.count = refusals.count.saturating_add(1);
        refusals.last.retain(|(refused, _)| *refused != index);
        refusals.last.push((index, now));
    }

    /// A device has let us in.
    pub fn forget(&self, target: SocketAddr) {
        self.devices().remove(&target);
    }
}

/// What a printer answered to, in a form that outlives a change of the configuration and tells no secret: `v3/` and the
/// user's name (and his context, where he has one); `v2c/` or `v1/` and which of the communities, from 0.
#[must_use]
pub fn label_of(all: &[Credentials], index: usize) -> String {
    let before = all.get(..index).unwrap_or_default();
    let count = |wanted: fn(&Credentials) -> bool| before.iter().filter(|it| wanted(it)).count();
    match all.get(index) {
        Some(Credentials::V3(user)) if !user.context_name().is_empty() => {
            format!("v3/{} in {}", user.name(), user.context_name())
        }
        Some(Credentials::V3(user)) => format!("v3/{}", user.name()),
        Some(Credentials::V2c { .. }) => format!("v2c/{}", count(|it| matches!(it, Credentials::V2c { .. }))),
        Some(Credentials::V1 { .. }) => format!("v1/{}", count(|it| matches!(it, Credentials::V1 { .. }))),
        None => String::new(),
    }
}

/// What to try on a printer that answered to this once, first to last. One that answered to SNMPv3 is never asked by an
/// older version as long as any user is configured: whoever takes its place and speaks only v1 gets nothing from us.
#[must_use]
pub fn candidates_for(all: &[Credentials], label: &str) -> Vec<usize> {
    if let Some(index) = (0..all.len()).find(|index| label_of(all, *index) == label) {
        return vec![index];
    }
    let users: Vec<usize> = (0..all.len()).filter(|&index| is_user(all, index)).collect();
    if label.starts_with("v3/") && !users.is_empty() { users } else { (0..all.len()).collect() }
}

/// Whether to read a printer by these credentials would be a step down from what it answered to before.
#[must_use]
pub fn is_downgrade(all: &[Credentials], label_before: &str, index: usize) -> bool {
    label_before.starts_with("v3/") && !is_user(all, index) && (0..all.len()).any(|index| is_user(all, index))
}

fn is_user(all: &[Credentials], index: usize) -> bool {
    matches!(all.get(index), Some(Credentials::V3(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::UsmUser;

    fn configured(users: &[&str]) -> Vec<Credentials> {
        let users = users.iter().map(|name| Credentials::V3(UsmUser::new(*name, None, None, "").unwrap()));
        let v2c = ["a", "b"].map(|community| Credentials::V2c { community: community.into() });
        let v1 = ["a", "b"].map(|community| Credentials::V1 { community: community.into() });
        users.chain(v2c).chain(v1).collect()
    }

    #[test]
    fn a_printer_is_asked_by_what_it_answered_to_even_when_a_user_is_added() {
        let (before, after) = (configured(&["reader"]), configured(&["new", "reader"]));
        for index in 0..before.len() {
            let label = label_of(&before, index);
            assert_eq!(candidates_for(&after, &label), [index + 1], "{label}");
        }
        assert_eq!(label_of(&before, 2), "v2c/1");
        assert_eq!(candidates_for(&before, "").len(), before.len(), "nothing known: everything, the safe ones first");
    }

    #[test]
    fn a_user_in_a_context_is_another_than_without() {
        let users = ["", "one", "two"].map(|context| Credentials::V3(UsmUser::new("u", None, None, context).unwrap()));
        assert_eq!([0, 1, 2].map(|index| label_of(&users, index)), ["v3/u", "v3/u in one", "v3/u in two"]);
        assert_eq!(candidates_for(&users, "v3/u in two"), [2]);
        assert!(!is_downgrade(&users, "v3/u in two", 0));
    }

    #[test]
    fn a_printer_of_v3_is_never_asked_by_less_while_there_is_a_user() {
        let all = configured(&["renamed"]);
        assert_eq!(candidates_for(&all, "v3/reader"), [0]);
        assert!(is_downgrade(&all, "v3/reader", 1) && !is_downgrade(&all, "v3/reader", 0));
        assert!(!is_downgrade(&all, "v2c/0", 3));
        let none = configured(&[]);
        assert_eq!(candidates_for(&none, "v3/reader").len(), 4, "whoever takes all users away means it");
        assert!(!is_downgrade(&none, "v3/reader", 0));
    }

    #[test]
    fn three_refusals_and_then_one_an_hour() {
        let lockout = Lockout::default();
        let mut now = Instant::now();
        let target: SocketAddr = "10.0.0.1:161".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(lockout.may_try(target, 0, now), Ok(()));
            lockout.count(target, 0, now);
        }
        assert_eq!(lockout.may_try(target, 0, now + Duration::from_secs(60)), Err(REST - Duration::from_secs(60)));
        assert_eq!(lockout.may_try("10.0.0.2:161".parse().unwrap(), 0, now), Ok(()));
        for _ in 0..2 {
            now += REST;
            assert_eq!(lockout.may_try(target, 0, now), Ok(()), "one more try");
            lockout.count(target, 0, now);
            assert!(lockout.may_try(target, 0, now).is_err(), "and one only");
        }
        lockout.forget(target);
        assert_eq!(lockout.may_try(target, 0, now), Ok(()));
    }

    #[test]
    fn a_user_who_was_never_refused_is_tried_and_each_of_the_others_has_his_try_an_hour() {
        let lockout = Lockout::default();
        let now = Instant::now();
        let target: SocketAddr = "10.0.0.1:161".parse().unwrap();
        for index in 0..5 {
            assert_eq!(lockout.may_try(target, index, now), Ok(()), "{index}");
            lockout.count(target, index, now);
        }
        let later = now + REST - Duration::from_secs(1);
        assert!((0..5).all(|index| lockout.may_try(target, index, later).is_err()));
        // What the first of them costs must not cost the others their try.
        for index in 0..5 {
            assert_eq!(lockout.may_try(target, index, now + REST), Ok(()), "{index}");
            lockout.count(target, index, now + REST);
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let lockout = Lockout::default();
        let now = Instant::now();
        for port in 0..=4_999 {
            let later = now + Duration::from_millis(port.into());
            lockout.count(SocketAddr::from(([10, 0, 0, 1], port)), 0, later);
            lockout.count(SocketAddr::from(([10, 0, 0, 1], port)), 0, later);
        }
        let devices = lockout.devices();
        assert_eq!(devices.len(), DEVICES_MAX);
        assert_eq!(devices[&SocketAddr::from(([10, 0, 0, 1], 4_999))].last.len(), 1);
    }
}
