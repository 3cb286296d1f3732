//! What is never asked for, compiled in: on some devices a mere GET is a command, and some objects are people's own.
//!
//! Two walls: [`check`] stands at the one way to the socket and looks at every name of every request; [`check_walk`]
//! refuses a walk that would come there by itself. What may be asked for at all is listed in `allowed`.

use super::allowed::{COMMANDS, PRIVATE, is_allowed};
use super::codec::Request;
use super::{Oid, SnmpError};
use std::net::SocketAddr;

/// What a client may ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Asks {
    /// What `allowed` lists: printers, and nothing of people.
    #[default]
    Listed,
    /// Anything but commands and what is private. For a person who records an unknown maker's objects, and for agents in
    /// tests that are no printers.
    AllButDenied,
}

/// How many leading arcs name a vendor (1.3.6.1.4.1.VENDOR).
const ENTERPRISE_ARCS: usize = 7;

/// Subtrees that no request names, and why.
const DENIED: [(&[&[u32]], &str); 2] = [
    (COMMANDS, "on Epson printers, reading objects there is a command (it can reset waste-ink counters)"),
    (PRIVATE, "there are print jobs, users, documents or address books"),
];
const LEADS_THERE: &str = "from there the next object may be one that is never asked for; walk narrower subtrees";
const NOT_LISTED: &str = "it is not among the objects that this program may ask for";

fn inside(oid: &Oid) -> Option<&'static str> {
    let is_in = |subtrees: &[&[u32]]| subtrees.iter().any(|denied| oid.arcs().starts_with(denied));
    DENIED.iter().find(|(subtrees, _)| is_in(subtrees)).map(|(_, why)| *why)
}

fn above(oid: &Oid) -> bool {
    let is_above = |denied: &&[u32]| denied.len() > oid.arcs().len() && denied.starts_with(oid.arcs());
    DENIED.iter().flat_map(|(subtrees, _)| subtrees.iter()).any(is_above)
}

/// Whether a step from here might come to a command: one lies behind it, below the same vendor.
/// Then a walk takes one step at a time, so that it goes no further past its own end than the first object there.
pub(super) fn takes_single_steps(root: &Oid) -> bool {
    COMMANDS.iter().any(|denied| {
        denied.get(..ENTERPRISE_ARCS).is_some_and(|vendor| root.arcs().starts_with(vendor)) && root.arcs() < *denied
    })
}

fn refused(target: SocketAddr, oid: &Oid, why: &str) -> SnmpError {
    SnmpError::BadRequest { target, detail: format!("{oid} is never asked for: {why}") }
}

/// Refuses a request that names, or may step into, a denied subtree; or one that is not listed.
///
/// # Errors
/// [`SnmpError::BadRequest`] that says which name and why.
pub(super) fn check(target: SocketAddr, request: &Request, asks: Asks) -> Result<(), SnmpError> {
    let steps = !matches!(request, Request::Get(_));
    for oid in request.oids() {
        if let Some(why) = inside(oid) {
            return Err(refused(target, oid, why));
        }
        if steps && above(oid) {
            return Err(refused(target, oid, LEADS_THERE));
        }
        if asks == Asks::Listed && !is_allowed(oid) {
            return Err(refused(target, oid, NOT_LISTED));
        }
    }
    Ok(())
}

/// Refuses a walk whose subtree lies in, or contains, a denied subtree.
///
/// # Errors
/// [`SnmpError::BadRequest`] that says why.
pub(super) fn check_walk(target: SocketAddr, root: &Oid) -> Result<(), SnmpError> {
    if let Some(why) = inside(root) {
        return Err(refused(target, root, why));
    }
    if above(root) {
        return Err(refused(target, root, LEADS_THERE));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;
    use proptest::prelude::*;

    const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 161);

    fn epson() -> Oid {
        oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44)
    }

    #[test]
    fn a_read_of_epsons_command_subtree_is_refused_in_every_request() {
        let name = epson().with(&[1, 1, 2, 1, 124, 124]);
        for request in [
            Request::Get(vec![oid!(1, 3, 6, 1), name.clone()]),
            Request::GetNext(vec![name.clone()]),
            Request::GetBulk { oids: vec![name.clone()], non_repeaters: 0, max_repetitions: 1 },
        ] {
            let error = check(TARGET, &request, Asks::AllButDenied).unwrap_err();
            assert!(error.to_string().contains("waste-ink"), "{error}");
        }
    }

    #[test]
    fn a_walk_that_would_come_to_it_is_refused_and_its_neighbours_are_not() {
        for root in [oid!(1, 3), oid!(1, 3, 6, 1, 4, 1), oid!(1, 3, 6, 1, 4, 1, 1248), epson(), epson().with(&[1])] {
            assert!(check_walk(TARGET, &root).is_err(), "{root}");
        }
        for root in [
            oid!(1, 3, 6, 1, 2, 1, 43),
            oid!(1, 3, 6, 1, 4, 1, 2),
            oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 1),
            oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 45),
        ] {
            assert!(check_walk(TARGET, &root).is_ok(), "{root}");
        }
        assert!(takes_single_steps(&oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 1)));
        assert!(!takes_single_steps(&oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 45)));
        assert!(!takes_single_steps(&oid!(1, 3, 6, 1, 2, 1)));
    }

    #[test]
    fn what_is_private_is_refused_however_it_is_asked_for() {
        for private in PRIVATE {
            let oid = Oid::new(private).unwrap();
            for asks in [Asks::Listed, Asks::AllButDenied] {
                let error = check(TARGET, &Request::Get(vec![oid.with(&[1, 0])]), asks).unwrap_err();
                assert!(error.to_string().contains("users"), "{error}");
            }
            assert!(check_walk(TARGET, &oid).is_err());
            assert!(check_walk(TARGET, &Oid::new(&private[..private.len() - 1]).unwrap()).is_err(), "{oid}");
        }
    }

    #[test]
    fn what_is_not_listed_is_asked_only_by_who_may() {
        let request = Request::Get(vec![oid!(1, 3, 6, 1, 4, 1, 99_999, 1, 0)]);
        assert!(check(TARGET, &request, Asks::AllButDenied).is_ok());
        let error = check(TARGET, &request, Asks::Listed).unwrap_err();
        assert!(error.to_string().contains("may ask for"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_the_index_it_stays_refused(index in proptest::collection::vec(any::<u32>(), 0..60)) {
            prop_assert!(check(TARGET, &Request::Get(vec![epson().with(&index)]), Asks::AllButDenied).is_err());
        }
    }
}
