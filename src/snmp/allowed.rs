//! The objects that this program may ask for, compiled in. Whatever a profile, a task or a person says, no other is.
//!
//! Data minimisation: no print job, user, document or address-book object is in a subtree that is listed here, or the
//! part of the subtree that has them is in [`PRIVATE`]. The list is narrow on purpose; a new profile may have to widen it,
//! and whoever reads that change sees what for.

use super::Oid;

/// Standard subtrees.
const STANDARD: &[&[u32]] = &[
    // system (RFC 3418). sysContact, a person's name, is asked for only where it is configured.
    &[1, 3, 6, 1, 2, 1, 1],
    // ifTable (RFC 2863): the MAC address.
    &[1, 3, 6, 1, 2, 1, 2, 2, 1],
    // hrDeviceTable and hrPrinterTable (RFC 2790).
    &[1, 3, 6, 1, 2, 1, 25, 3],
    // Printer-MIB (RFC 3805).
    &[1, 3, 6, 1, 2, 1, 43],
    // Port Monitor MIB (PWG 5107.1): the IEEE 1284 device id.
    &[1, 3, 6, 1, 4, 1, 2699, 1, 2],
    // snmpEngine and usmStats (RFC 3411, RFC 3414): what is said about an SNMPv3 engine.
    &[1, 3, 6, 1, 6, 3, 10, 2, 1],
    &[1, 3, 6, 1, 6, 3, 15, 1, 1],
];

/// Makers' subtrees, below 1.3.6.1.4.1.
const ENTERPRISES: &[&[u32]] = &[
    // HP: device id; device, counters and supplies of the LaserJet common MIB.
    &[11, 2, 3, 9, 1, 1, 7],
    &[11, 2, 3, 9, 4, 2, 1],
    // Samsung.
    &[236, 11, 5],
    // Xerox: the XCMI; Fuji Xerox uses it too.
    &[253, 8],
    &[297, 1],
    // Ricoh and its brands.
    &[367, 3, 2, 1],
    // Lexmark.
    &[641, 1],
    &[641, 2],
    &[641, 6],
    // Dell.
    &[674, 10898],
    // Extended Systems' print servers (in Zebra's printers).
    &[683, 1],
    &[683, 6],
    // Toshiba TEC.
    &[1129, 1, 2],
    &[1129, 2, 3],
    // Epson; its commands are in COMMANDS.
    &[1248, 1, 1],
    &[1248, 1, 2],
    // Kyocera.
    &[1347, 40],
    &[1347, 42],
    &[1347, 43],
    &[1347, 46],
    // Canon.
    &[1602, 1],
    // Panasonic.
    &[258, 405],
    &[258, 406],
    // Intermec and Honeywell.
    &[1963, 20, 10],
    // OKI.
    &[2001, 1],
    // Sharp.
    &[2385, 1, 1],
    &[2385, 2, 1],
    // Brother.
    &[2435, 2, 3, 9],
    &[2435, 2, 4, 3],
    // Zebra.
    &[10642],
    // Konica Minolta.
    &[18334, 1, 1],
    // Pantum.
    &[40093],
    // TSC.
    &[51966],
];

/// What is never asked for although it lies in a subtree above.
///
/// Epson: the index of objects below 1.3.6.1.4.1.1248.1.2.2.44.1.1.2.1 is a command; some reset waste-ink counters.
pub(super) const COMMANDS: &[&[u32]] = &[&[1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44]];

/// Jobs, users, documents, address books.
const PRIVATE: &[&[u32]] = &[
    // Job Monitoring MIB (RFC 2707).
    &[1, 3, 6, 1, 4, 1, 2699, 1, 1],
    // HP: jobs and their owners (the LaserJet common MIB's job subtree).
    &[1, 3, 6, 1, 4, 1, 11, 2, 3, 9, 4, 2, 1, 1, 6],
    // HP: who sent and received faxes.
    &[1, 3, 6, 1, 4, 1, 11, 2, 3, 9, 4, 2, 1, 3, 7],
    // Xerox (XCMI): job monitoring, two job MIBs, security.
    &[1, 3, 6, 1, 4, 1, 253, 8, 56],
    &[1, 3, 6, 1, 4, 1, 253, 8, 58],
    &[1, 3, 6, 1, 4, 1, 253, 8, 59],
    &[1, 3, 6, 1, 4, 1, 253, 8, 63],
    // Fuji Xerox: accounts of users.
    &[1, 3, 6, 1, 4, 1, 297, 1, 111],
    // Ricoh: jobs (ricohQueJob).
    &[1, 3, 6, 1, 4, 1, 367, 3, 2, 1, 3],
    // Kyocera: account groups with their names.
    &[1, 3, 6, 1, 4, 1, 1347, 42, 1],
    // Konica Minolta: job management.
    &[1, 3, 6, 1, 4, 1, 18334, 1, 1, 4],
    // Brother: one-touch and speed dials.
    &[1, 3, 6, 1, 4, 1, 2435, 2, 3, 9, 2],
    // Host Resources: what runs there.
    &[1, 3, 6, 1, 2, 1, 25, 4],
    &[1, 3, 6, 1, 2, 1, 25, 5],
    &[1, 3, 6, 1, 2, 1, 25, 6],
];

const ENTERPRISE: &[u32] = &[1, 3, 6, 1, 4, 1];

fn lies_in(oid: &Oid, subtrees: &[&[u32]]) -> bool {
    subtrees.iter().any(|subtree| oid.arcs().starts_with(subtree))
}

/// Whether an object may be asked for, or a walk begin there.
#[must_use]
pub fn is_allowed(oid: &Oid) -> bool {
    let by_maker = oid.arcs().strip_prefix(ENTERPRISE);
    let listed = lies_in(oid, STANDARD)
        || by_maker.is_some_and(|rest| ENTERPRISES.iter().any(|subtree| rest.starts_with(subtree)));
    listed && !lies_in(oid, COMMANDS) && !lies_in(oid, PRIVATE)
}

/// The subtrees in which a walk may begin, in order: what a recording of a device is made of.
#[must_use]
pub fn allowed_subtrees() -> Vec<Oid> {
    let makers = ENTERPRISES.iter().map(|subtree| Oid::new(&[ENTERPRISE, subtree].concat()));
    let mut all: Vec<Oid> = STANDARD.iter().map(|subtree| Oid::new(subtree)).chain(makers).flatten().collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(text: &str) -> Oid {
        text.parse().unwrap()
    }

    #[test]
    fn printers_may_be_read_and_people_may_not() {
        for yes in ["1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.43.10.2.1.4.1.1", "1.3.6.1.4.1.11.2.3.9.4.2.1.1.3.3.0"] {
            assert!(is_allowed(&oid(yes)), "{yes}");
        }
        for no in [
            "1.3.6.1.4.1.1248.1.2.2.44.1.1.2.1.124.124",
            "1.3.6.1.4.1.2699.1.1.1.1",
            "1.3.6.1.4.1.11.2.3.9.4.2.1.1.6.5.1.0",
            "1.3.6.1.2.1.25.4.2.1.2.1",
            "1.3.6.1.2.1.4.22.1.2.1.10.0.0.1",
            "1.3.6.1.4.1.9.1.1",
            "1.3.6.1.4.1",
            "1.3.6.1.4.1.11",
        ] {
            assert!(!is_allowed(&oid(no)), "{no}");
        }
    }

    #[test]
    fn every_subtree_is_itself_allowed_and_none_holds_another() {
        let all = allowed_subtrees();
        for one in &all {
            assert!(is_allowed(one), "{one}");
            assert!(!all.iter().any(|other| other != one && other.starts_with(one)), "{one}");
        }
    }
}
