//! Discovery: which addresses may be asked, and who answers there.
//!
//! What this room is for: ranges as people write them, the fence, and the sweep; ping, for who looks for a fault.
//! What it promises: the addresses asked are those of the ranges, without the exclusions, within the fence; nothing else
//! ever gets a packet, whatever a name resolves to and whatever the cloud says.
//! Who may call it: agent, the command line; tunnel (the fence).

mod address;
mod fence;
mod intervals;
mod neighbours;
mod on_link;
mod ping;
mod ranges;
mod sweep;

pub use address::{AddressError, ScopedIp};
pub use fence::Fence;
pub use neighbours::Neighbours;
pub use on_link::{ON_LINK_PER_SECOND, OnLink, Paces, ROUTED_PER_SECOND};
pub use ping::{PING_COUNT_MAX, PingError, PingReport, RoundTrips, ping};
pub use ranges::{ADDRESSES_MAX, AddressSet, DnsResolver, RangeError, Ranges, Resolver};
pub use sweep::{Answers, Part, ProbeError, Prober, Responder, Sweep, SweepOptions, SweepProgress, sweep};
