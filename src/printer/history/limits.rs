//! The limits and measures of the rules, each with its reason.

use std::time::Duration;

/// Devices in the book: as many as the inventory holds.
pub(super) const DEVICES_MAX: usize = 4_096;
/// Serial numbers remembered for being on several devices.
pub(super) const CLONES_MAX: usize = 256;
/// Meters of one device whose history is kept: devices with the most have some sixty.
pub(super) const METERS_MAX: usize = 100;
/// Alerts of one device that are followed: real tables have a handful.
pub(super) const ALERTS_MAX: usize = 32;
/// Supplies of one device that are followed: a production press has some twenty.
pub(super) const SUPPLIES_MAX: usize = 32;
/// Addresses that a device had a short while ago.
pub(super) const LEFT_MAX: usize = 4;
/// Longest text of a device that is kept, in characters: descriptions are a line of a panel.
pub(super) const TEXT_MAX_CHARS: usize = 120;
/// Longest device key, in characters.
pub(super) const KEY_MAX_CHARS: usize = 200;
/// Longest serial number that is believed, in characters: RFC 3805 allows 255, real ones have at most some twenty.
pub(super) const SERIAL_MAX_CHARS: usize = 64;

/// How long a device that cannot prove any more who it is may stand in the place of the one that could.
pub(super) const UNPROVEN_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Pages a meter may be lower by after a restart and be the same meter still. HP writes its meters to permanent memory
/// every ten impressions, so nine may vanish; twice that, and duplex counts two.
pub(super) const SMALL_REGRESS: u64 = 20;
/// Values at which meters of all vendors begin at zero again: six digits (LaserJets roll after 999,999), 2^24, 2^32.
pub(super) const MODULI: [u64; 3] = [1_000_000, 1 << 24, 1 << 32];
/// Pages a minute when the speed is not known. Office devices do up to 100, and count two for a sheet of A3.
pub(super) const PAGES_PER_MINUTE: u32 = 200;
/// What every printer can do, whatever it says of itself.
pub(super) const SLOWEST: u32 = 20;
/// A meter may rise by so much more than the speed allows: the speed is the maker's claim.
pub(super) const SPEED_TOLERANCE: f64 = 1.2;
/// … and by so many pages at once, whatever the time: buffered counts are written late.
pub(super) const JUMP_ALLOWANCE: u64 = 100;
/// How far a sum may lie beside the total: a printer prints while it is read.
pub(super) const SUM_TOLERANCE: u64 = 20;

/// A supply whose level rises by so many points was replaced …
pub(super) const RISE_POINTS: u32 = 15;
/// … if a second reading, so much later, says so too.
pub(super) const CONFIRM_AFTER: Duration = Duration::from_secs(120);
/// A level below this by its own reading is low, as the state of a reading is (a tenth).
pub(super) const LOW_POINTS: u32 = 10;
/// A supply that was low is so no longer from here on: further above than noise reaches, and than one step of sensors that know
/// quarters only.
pub(super) const NO_LONGER_LOW_POINTS: u32 = 30;
/// What a level must fall for it to be consumption and no noise: more than ±3 points twice.
pub(super) const FALL_POINTS: u32 = 8;
