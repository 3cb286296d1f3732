//! The limits of the SNMP engine, each with its reason. Whatever a device does, nothing here grows past them.

use std::time::Duration;

/// Most requests whose answers may arrive at the same moment. Each answer of 1.3 KB costs about 2.3 KB of kernel
/// memory, and a stock receive buffer (212,992 bytes) holds 90 to 180 of them: 64 is safe without tuning.
pub const DEFAULT_WINDOW: usize = 64;

/// Datagrams a second, to all targets together: 1,000 printers of 7 requests each take 35 s.
pub const DEFAULT_PACKETS_PER_SECOND: u32 = 200;

/// Datagrams that may leave at once after a pause: small enough for any switch, large enough not to wait for timers.
pub const DEFAULT_BURST: u32 = 8;

/// What we ask the kernel to hold of answers not yet read (it grants `net.core.rmem_max` at most).
pub const DEFAULT_RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// What we ask the kernel to hold of datagrams not yet sent: those to dead on-link addresses wait 3 s for ARP.
pub const SEND_BUFFER_BYTES: usize = 1 << 20;

/// Requests handed over and not yet taken up by the engine; whoever wants to add one more waits.
pub(crate) const JOB_CHANNEL: usize = 256;

/// Requests that the engine itself holds back (window, pacing, one at a time per target); beyond, it takes no more up.
pub(crate) const MAX_WAITING: usize = 4_096;

/// Requests on the wire, those that missed their first deadline included: 256 a second that stay dead for 7 s, twice.
pub(crate) const MAX_IN_FLIGHT: usize = 4_096;

/// Least time between two requests to one device: small print controllers answer SNMP beside everything else they do.
pub const DEFAULT_GAP: Duration = Duration::from_millis(20);

/// Shortest wait for a device whose round trip is known: printers think for some 100 ms now and then, and must not be
/// asked again while they do.
pub const MIN_ADAPTIVE_TIMEOUT: Duration = Duration::from_millis(250);

/// Longest first wait for a device whose round trip is known.
pub const MAX_ADAPTIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A device is strained when it takes this many times as long as it used to, and longer than anybody would notice
/// otherwise; after so many answers it is known what it used to take.
pub(crate) const STRAINED_TIMES: u32 = 4;
pub(crate) const STRAINED_AT_LEAST: Duration = Duration::from_millis(200);
pub(crate) const STRAINED_AFTER_ANSWERS: u32 = 16;

/// Longest time from one request to the next to a strained device.
pub(crate) const MAX_REST: Duration = Duration::from_secs(2);

/// Devices whose round trip is remembered: some 100 bytes each. Beyond, those that nobody asks just now are forgotten.
pub(crate) const MAX_TARGETS: usize = 8_192;

/// How long a signed answer is waited for after an unsigned report, at a device that has never answered.
pub(crate) const HINT_PATIENCE: Duration = Duration::from_millis(200);

/// Sweeps that wait for their turn. More than these are not a plan but a fault.
pub(crate) const MAX_SWEEPS: usize = 8;

/// Devices that may answer one sweep: all of a /16.
pub(crate) const MAX_SWEEP_ANSWERS: usize = 65_536;

/// Addresses of a sweep that are put off because a session talks to them: as many as can be on the wire.
pub(crate) const MAX_SWEEP_POSTPONED: usize = MAX_IN_FLIGHT;

/// Addresses of one search of which it is remembered that they cannot be reached: all of a /16.
pub(crate) const MAX_UNREACHABLE: usize = 65_536;

/// Networks of one search of which it is remembered how many of their addresses a router keeps from us.
pub(crate) const MAX_CLOSED_NETWORKS: usize = 1_024;

/// Addresses of a network that a router keeps from us before the rest of it is not asked: one may be a rule about one.
/// Not more, as routers are sparing with such messages; Linux says so twice when it is asked often.
pub(crate) const CLOSED_AFTER: u32 = 2;

/// Errors of earlier datagrams that are taken off a socket at once.
pub(crate) const ERRORS_AT_ONCE: usize = 64;

/// How long a probe may still be answered, so that nothing else is asked of its target.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// Probes remembered for that long: sixteen times what the fastest pace on a real network sends in that time. Only
/// an unpaced sweep (loopback) has more on the wire, and the oldest are then forgotten.
pub(crate) const MAX_PROBED_AT_ONCE: usize = 4_096;

/// Datagrams sent or read before the other direction gets its turn.
pub(crate) const TURN: usize = 64;

/// The largest payload of a UDP datagram over IPv4, so the largest answer.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 65_507;

/// Variable bindings of a request, in bytes: with headers, USM and padding it stays below one Ethernet frame.
/// (The codec panics beyond 65,507 bytes; we never come near.)
pub(crate) const MAX_REQUEST_BYTES: usize = 1_100;

/// Objects asked for in one GET: their answers mostly fit one Ethernet frame, and old devices refuse long lists.
pub const MAX_OIDS_PER_REQUEST: usize = 20;

/// Objects asked for in one call of `get`: far more than a printer profile has.
pub const MAX_OIDS_PER_CALL: usize = 4_096;

/// Columns read together in one call: twice what the largest table of the Printer MIB has.
pub const MAX_COLUMNS_PER_CALL: usize = 64;

/// Repetitions of the first GETBULK of a walk. Devices are known that break at larger ones.
pub const FIRST_REPETITIONS: u32 = 10;

/// Repetitions that a walk adds after a whole clean answer.
pub(crate) const MORE_REPETITIONS: u32 = 10;

/// Most repetitions of a walk: with the usual values the answer still fits one Ethernet frame, or nearly.
pub const MAX_WALK_REPETITIONS: u32 = 25;

/// Clean answers after which a device that refused something is tried with a little more. Doubles with each refusal.
pub(crate) const TRY_AGAIN_AFTER: u32 = 100;

/// Most clean answers to wait for before that.
pub(crate) const MAX_TRY_AGAIN_AFTER: u32 = 10_000;

/// Objects that a walk steps past because the device cannot give them: more of them, and the device is broken.
pub(crate) const MAX_STEPPED_PAST: u32 = 3;

/// Walks of one device of which it is remembered how many rows they brought: twice what a reading takes.
pub(crate) const MAX_LENGTHS: usize = 40;

/// Devices of which it is remembered what they bear, half a KB each. Beyond, one is forgotten and found out anew.
pub(crate) const MAX_HABITS: usize = 4_096;

/// Most repetitions of a GETBULK.
pub const MAX_REPETITIONS: u32 = 50;

/// Longest first timeout of a request, and longest wait for any one of its tries.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// Most retransmissions of a request.
pub const MAX_RETRIES: u32 = 10;

/// Longest community that we send; longer ones are mistakes.
pub const MAX_COMMUNITY_BYTES: usize = 255;

/// Shortest SNMPv3 password (RFC 3414 §11.2). An empty one would crash the codec.
pub const MIN_PASSWORD_BYTES: usize = 8;

/// Longest SNMPv3 password that we keep.
pub const MAX_PASSWORD_BYTES: usize = 255;

/// Longest user name (RFC 3414 §5, usmUserName) and context name (RFC 3415 §4, vacmContextName).
pub const MAX_NAME_BYTES: usize = 32;

/// Longest engine id taken from an agent (RFC 3411 §5: 5 to 32; a few agents exceed it).
pub(crate) const MAX_ENGINE_ID_BYTES: usize = 64;

/// SNMPv3 engines remembered, keys included: some 1 KB each. Beyond, an old one is forgotten and discovered anew.
pub(crate) const MAX_PEERS: usize = 4_096;

/// Threads that localise SNMPv3 keys at once (8 to 25 ms of CPU each): one core stays free for everything else.
pub(crate) const KEY_MAKERS: usize = 1;

/// Seconds that an authenticated answer may be behind the agent's clock as we know it (RFC 3414 §2.2.3).
pub(crate) const TIME_WINDOW_SECONDS: u32 = 150;
