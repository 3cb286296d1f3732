//! What the kernel knows of who lives on the own network: its neighbour table (ARP), as /proc/net/arp shows it. An address
//! that did not answer three ARP requests has nobody: to ask it again costs everybody on that network three broadcasts
//! more, and finds nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where Linux shows its table.
const TABLE: &str = "/proc/net/arp";
/// How old a look at it may be.
const FRESH: Duration = Duration::from_secs(1);
/// Longest table that is read, in bytes: 8,192 lines, the highest gc_thresh3 that makes sense on a small board.
const TABLE_MAX_BYTES: u64 = 8_192 * 80;

/// Who lives on the own network, as far as the kernel has found out.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// `None` where there is no table to look at.
    source: Option<PathBuf>,
    looked: Option<Instant>,
    /// Whether somebody is there.
    known: Arc<HashMap<IpAddr, bool>>,
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
        Self { known: Arc::new(known.into_iter().collect()), ..Self::default() }
    }

    /// Whether the kernel has asked for this address and nobody has answered. An address that is not in the table may be
    /// anything: behind a router, never asked, or forgotten.
    pub fn is_known_absent(&mut self, ip: IpAddr) -> bool {
        if let Some(source) = &self.source
            && self.looked.is_none_or(|looked| looked.elapsed() > FRESH)
        {
            // A table that cannot be read says nothing of anybody.
            let mut table = String::new();
            let _unreadable = File::open(source).map(|file| file.take(TABLE_MAX_BYTES).read_to_string(&mut table));
            self.known = Arc::new(parse(&table));
            self.looked = Some(Instant::now());
        }
        self.known.get(&ip) == Some(&false)
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
        let mut neighbours = Neighbours { source: Some(path), ..Neighbours::default() };
        let absent =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|ip| neighbours.is_known_absent(ip.parse().unwrap()));
        assert_eq!(absent, [false, true, false, false]);
        let mut nowhere = Neighbours { source: Some("/nowhere/arp".into()), ..Neighbours::default() };
        assert!(!nowhere.is_known_absent("10.0.0.2".parse().unwrap()));
    }
}
