//! What the kernel knows of who lives on the own network: its neighbour table (ARP), as /proc/net/arp shows it. An address
//! that did not answer three ARP requests has nobody: to ask it again costs everybody on that network three broadcasts
//! more, and finds nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where Linux shows its table.
const TABLE: &str = "/proc/net/arp";
/// How old a look at it may be.
const FRESH: Duration = Duration::from_secs(1);
/// Most addresses that are remembered: a /16 and a half.
const KNOWN_MAX: usize = 100_000;
/// Longest table that is read, in bytes: 8,192 lines, the highest gc_thresh3 that makes sense on a small board.
const TABLE_MAX_BYTES: u64 = 8_192 * 80;

/// Who lives on the own network, as far as the kernel has found out since this was made. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// `None` where there is no table to look at.
    source: Option<PathBuf>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    /// Whether somebody is there. The kernel forgets the dead after some seconds when there are many; here they are
    /// remembered until somebody does answer.
    known: HashMap<IpAddr, bool>,
}

impl Neighbours {
    /// The kernel's table.
    #[must_use]
    pub fn of_the_kernel() -> Self {
        Self { source: Some(TABLE.into()), ..Self::default() }
    }

    /// Nothing is known: everybody is asked.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// What is given, for tests.
    #[cfg(test)]
    pub(super) fn of(known: impl IntoIterator<Item = (IpAddr, bool)>) -> Self {
        let seen = Seen { known: known.into_iter().collect(), looked: None };
        Self { source: None, seen: Arc::new(Mutex::new(seen)) }
    }

    /// Whether the kernel has asked for this address and nobody has answered. An address that was never in the table may
    /// be anything: behind a router, or never asked. To be called all along a sweep, so that the table is looked at often
    /// enough; it is read once a second at most.
    #[must_use]
    pub fn is_known_absent(&self, ip: IpAddr) -> bool {
        // What is known is whole whatever happened to whoever held it.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = &self.source
            && seen.looked.is_none_or(|looked| looked.elapsed() > FRESH)
        {
            // A table that cannot be read says nothing of anybody.
            let mut table = String::new();
            let _unreadable = File::open(source).map(|file| file.take(TABLE_MAX_BYTES).read_to_string(&mut table));
            if seen.known.len() > KNOWN_MAX {
                seen.known.clear();
            }
            seen.known.extend(parse(&table));
            seen.looked = Some(Instant::now());
        }
        seen.known.get(&ip) == Some(&false)
    }
}

/// Address, and whether its entry is complete (ATF_COM, 0x02 of the third column). On several interfaces: on any.
fn parse(table: &str) -> HashMap<IpAddr, bool> {
    let mut known = HashMap::new();
    for line in table.lines().skip(1) {
        let mut columns = line.split_ascii_whitespace();
        let (Some(ip), Some(flags)) = (columns.next(), columns.nth(1)) else { continue };
        let flags = flags.strip_prefix("0x").and_then(|flags| u32::from_str_radix(flags, 16).ok());
        if let (Ok(ip), Some(flags)) = (ip.parse(), flags) {
            *known.entry(ip).or_insert(false) |= flags & 0x02 != 0;
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_entry_is_nobody_and_no_entry_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arp");
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.1         0x1         0x2         02:00:00:00:00:01     *        eth0\n\
                     10.0.0.2         0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     10.0.0.3         0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     10.0.0.3         0x1         0x6         02:00:00:00:00:03     *        eth1\n\
                     nonsense\n";
        std::fs::write(&path, table).unwrap();
        let neighbours = Neighbours { source: Some(path.clone()), ..Neighbours::default() };
        let absent =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|ip| neighbours.is_known_absent(ip.parse().unwrap()));
        assert_eq!(absent, [false, true, false, false]);
        // The kernel has forgotten one, and another has come.
        std::fs::write(
            &path,
            table
                .replace("10.0.0.2 ", "10.0.0.9 ")
                .replace("10.0.0.1         0x1         0x2", "10.0.0.1         0x1         0x0"),
        )
        .unwrap();
        neighbours.seen.lock().unwrap().looked = None;
        let later = neighbours.clone();
        assert!(
            later.is_known_absent("10.0.0.2".parse().unwrap()) && later.is_known_absent("10.0.0.1".parse().unwrap())
        );
        let nowhere = Neighbours { source: Some("/nowhere/arp".into()), ..Neighbours::default() };
        assert!(!nowhere.is_known_absent("10.0.0.2".parse().unwrap()));
    }
}
