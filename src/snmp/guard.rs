//! What is never asked for, compiled in: on some devices a mere GET is a command.
//!
//! Two walls: [`check`] stands at the one way to the socket and looks at every name of every request; [`check_walk`]
//! refuses a walk that would come there by itself.

use super::codec::Request;
use super::{Oid, SnmpError};
use std::net::SocketAddr;

/// Subtrees whose objects do something when they are read.
///
/// Epson: the index of objects below 1.3.6.1.4.1.1248.1.2.2.44.1.1.2.1 is a command; some reset waste-ink counters.
const DENIED: &[&[u32]] = &[&[1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44]];

/// How many leading arcs name a vendor (1.3.6.1.4.1.VENDOR).
const ENTERPRISE_ARCS: usize = 7;

fn inside(oid: &Oid) -> bool {
    DENIED.iter().any(|denied| oid.arcs().starts_with(denied))
}

fn above(oid: &Oid) -> bool {
    DENIED.iter().any(|denied| denied.len() > oid.arcs().len() && denied.starts_with(oid.arcs()))
}

/// Whether a step from here might come to a denied subtree: it lies before it, below the same vendor.
/// Then a walk takes one step at a time, so that it goes no further past its own end than the first object there.
pub(super) fn takes_single_steps(root: &Oid) -> bool {
    DENIED.iter().any(|denied| {
        denied.get(..ENTERPRISE_ARCS).is_some_and(|vendor| root.arcs().starts_with(vendor)) && root.arcs() < *denied
    })
}

fn refused(target: SocketAddr, oid: &Oid, why: &str) -> SnmpError {
    SnmpError::BadRequest { target, detail: format!("{oid} is never asked for: {why}") }
}

const A_COMMAND: &str = "on Epson printers, reading objects there is a command (it can reset waste-ink counters)";
const LEADS_THERE: &str =
    "from there the next object may be one of Epson's whose reading is a command; walk narrower subtrees";

/// Refuses a request that names, or may step into, a denied subtree.
///
/// # Errors
/// [`SnmpError::BadRequest`] that says which name and why.
pub(super) fn check(target: SocketAddr, request: &Request) -> Result<(), SnmpError> {
    let steps = !matches!(request, Request::Get(_));
    for oid in request.oids() {
        if inside(oid) {
            return Err(refused(target, oid, A_COMMAND));
        }
        if steps && above(oid) {
            return Err(refused(target, oid, LEADS_THERE));
        }
    }
    Ok(())
}

/// Refuses a walk whose subtree lies in, or contains, a denied subtree.
///
/// # Errors
/// [`SnmpError::BadRequest`] that says why.
pub(super) fn check_walk(target: SocketAddr, root: &Oid) -> Result<(), SnmpError> {
    if inside(root) {
        return Err(refused(target, root, A_COMMAND));
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
            let error = check(TARGET, &request).unwrap_err();
            assert!(error.to_string().contains("waste-ink"), "{error}");
        }
    }

    #[test]
    fn a_walk_that_would_come_to_it_is_refused_and_its_neighbours_are_not() {
        for root in [oid!(1, 3), oid!(1, 3, 6, 1, 4, 1), oid!(1, 3, 6, 1, 4, 1, 1248), epson(), epson().with(&[1])] {
            assert!(check_walk(TARGET, &root).is_err(), "{root}");
        }
        for root in [
            oid!(1, 3, 6, 1, 2, 1),
            oid!(1, 3, 6, 1, 4, 1, 11),
            oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 1),
            oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 45),
        ] {
            assert!(check_walk(TARGET, &root).is_ok(), "{root}");
        }
        assert!(takes_single_steps(&oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 1)));
        assert!(!takes_single_steps(&oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 45)));
        assert!(!takes_single_steps(&oid!(1, 3, 6, 1, 2, 1)));
    }

    proptest! {
        #[test]
        fn whatever_the_index_it_stays_refused(index in proptest::collection::vec(any::<u32>(), 0..60)) {
            prop_assert!(check(TARGET, &Request::Get(vec![epson().with(&index)])).is_err());
        }
    }
}
