//! What the intake stores and looks up, and the trait behind which a database does it.

use super::dating::{Boot, Interval, Stamp};

/// Names a record for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Who delivered it.
    pub box_id: String,
    /// Epoch of that box's outbox.
    pub epoch: u64,
    /// Its number in the epoch.
    pub seq: u64,
}

/// What a stored record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole reading.
    Reading,
    /// An update, applied to its base.
    Update,
    /// An update whose base is missing or does not fit; kept as it was received.
    Unfit,
    /// An event.
    Event,
    /// A clock anchor.
    Anchor,
    /// Only number and hash: the box had no room for the rest.
    Thinned,
    /// What this program cannot read; kept as it was received.
    Unreadable,
}

impl Kind {
    /// As it is stored.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Update => "update",
            Self::Unfit => "unfit",
            Self::Event => "event",
            Self::Anchor => "anchor",
            Self::Thinned => "thinned",
            Self::Unreadable => "unreadable",
        }
    }

    /// Of the stored word; whatever else is unreadable.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let all = [Self::Reading, Self::Update, Self::Unfit, Self::Event, Self::Anchor, Self::Thinned];
        all.into_iter().find(|kind| kind.word() == word).unwrap_or(Self::Unreadable)
    }

    /// Whether there is a whole reading in it.
    #[must_use]
    pub fn is_reading(self) -> bool {
        matches!(self, Self::Reading | Self::Update)
    }
}

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub key: Key,
    /// SHA-256 of the record as it was accepted.
    pub sha256: Vec<u8>,
    /// When it arrived.
    pub received_ms: i64,
    /// What it is.
    pub kind: Kind,
    /// As it arrived; empty when thinned.
    pub record: Vec<u8>,
    /// For an update: the serialised reading that it makes of its base.
    pub whole: Option<Vec<u8>>,
    /// For an update: the number of its base.
    pub base_seq: Option<u64>,
    /// The device, where it is about one that has been read.
    pub device_id: Option<i64>,
    /// What it says about its time.
    pub stamp: Option<Stamp>,
    /// When it was taken.
    pub taken: Option<Interval>,
    /// Whether that may become narrower yet.
    pub is_open: bool,
    /// Whether another box held the device's lease when it was taken.
    pub is_outside: bool,
}

/// How far an epoch has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to here everything is held.
    pub contiguous_seq: u64,
    /// The highest number that is held.
    pub last_seq: u64,
    /// The hash chain after `contiguous_seq`; empty when it is not known.
    pub chain: Vec<u8>,
    /// Up to where the box said that everything is here.
    pub acknowledged_seq: u64,
    /// How often the box was asked to send again from `contiguous_seq + 1`.
    pub asked: u32,
}

/// A start of a box that has polled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SeenBoot {
    /// Its random identifier.
    pub boot_id: String,
    /// When it was first heard of, by the cloud's clock.
    pub first_ms: i64,
    /// When it was last heard of.
    pub last_ms: i64,
    /// How long it had been running then.
    pub uptime_ms: i64,
}

/// What is known of a box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoxState {
    /// Its id.
    pub id: String,
    /// Where it stands: boxes of one site share its printers.
    pub site: String,
    /// When it was taken in.
    pub created_ms: i64,
    /// Its last poll.
    pub last_poll_ms: Option<i64>,
    /// The time between polls that it was told then, in seconds.
    pub told_interval_s: u32,
    /// The serialised `platen.v1.BoxStatus` of then.
    pub status: Option<Vec<u8>>,
    /// Starts that have polled, the newest last.
    pub boots: Vec<SeenBoot>,
    /// Why it is stopped: `seq_conflict`, `chain_broken`, `box_restored`, `box_cloned`.
    pub suspended: Option<String>,
    /// The words for a person of that.
    pub suspended_detail: String,
    /// Epoch and number up to which somebody has decided that going back is right.
    pub released: Option<(u64, u64)>,
    /// Where the box is to end an epoch, because its numbers were given again.
    pub fork: Option<Fork>,
    /// Its last contact that it counted.
    pub contact: Option<SeenContact>,
    /// Since when it has been flagged as silent: its last poll, or its making.
    pub silent_since_ms: Option<i64>,
}

/// A poll that a box has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenContact {
    /// `Contact.counter`.
    pub counter: u64,
    /// The start of the box that made it.
    pub boot_id: String,
}

/// Where an epoch of a box that was released has other contents than the cloud has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// Which epoch.
    pub epoch: u64,
    /// The last number that both have alike.
    pub after_seq: u64,
    /// How often the box was told.
    pub told: u32,
}

/// A box's right to be the one whose readings of a device count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who has or had it.
    pub box_id: String,
    /// From then on.
    pub since_ms: i64,
    /// Until then; `None`: now.
    pub until_ms: Option<i64>,
}

/// A device and who holds it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub device_id: i64,
    /// `Reading.device_key`.
    pub device_key: String,
    /// Who.
    pub box_id: String,
}

/// A device that a box said it could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Which.
    pub device_id: i64,
    /// The contract's `Cause`, as a number.
    pub cause: i32,
    /// The words of whatever failed last.
    pub detail: String,
    /// Rounds that it has missed in a row.
    pub missed: u32,
    /// When the box first said so.
    pub since_ms: i64,
}

/// A record whose date is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRow {
    /// Its number.
    pub seq: u64,
    /// What it says about its time.
    pub stamp: Stamp,
    /// When it arrived.
    pub received_ms: i64,
    /// As it is dated.
    pub taken: Interval,
    /// Of which device.
    pub device_id: Option<i64>,
    /// Whether another box held the lease then.
    pub is_outside: bool,
}

/// An event of a printer to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The site of the box that tells it.
    pub site: String,
    /// The record that it came in.
    pub key: Key,
    /// `Event.id`.
    pub id: Vec<u8>,
    /// `Event.kind`.
    pub kind: String,
    /// `Event.device_key`.
    pub device_key: String,
    /// `Event.old_key`.
    pub old_key: Option<String>,
    /// The serialised `platen.v1.Event`.
    pub payload: Vec<u8>,
}

/// Where the intake keeps its rows.
pub trait Rows: Sync {
    /// What may fail.
    type Error: Send;
    /// A transaction.
    type Work: Work<Error = Self::Error>;

    /// Begins a transaction. One that writes waits for those before it.
    fn begin(&self) -> impl Future<Output = Result<Self::Work, Self::Error>> + Send;
}

/// One transaction: everything of it is kept, or nothing. What was written is found by what is looked up later in it.
/// Dropped without [`Work::commit`], nothing is kept.
pub trait Work: Send {
    /// What may fail.
    type Error: Send;

    /// Makes everything durable. Only after that may anybody be told of it.
    fn commit(self) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Undoes everything.
    fn abandon(self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// A box that was taken in and not turned away.
    fn box_state(&mut self, box_id: &str) -> impl Future<Output = Result<Option<BoxState>, Self::Error>> + Send;
    /// Keeps what is known of a box.
    fn put_box(&mut self, state: &BoxState) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// The boxes of a site.
    fn site_boxes(&mut self, site: &str) -> impl Future<Output = Result<Vec<BoxState>, Self::Error>> + Send;
    /// Notes what happened with a box, for the people who run the cloud.
    fn note(
        &mut self,
        at_ms: i64,
        box_id: &str,
        kind: &str,
        detail: &str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// A record.
    fn row(&mut self, key: &Key) -> impl Future<Output = Result<Option<Row>, Self::Error>> + Send;
    /// The SHA-256 of a record, and whether it is thinned.
    fn hash(&mut self, key: &Key) -> impl Future<Output = Result<Option<(Vec<u8>, bool)>, Self::Error>> + Send;
    /// A record that is not there yet.
    fn insert(&mut self, row: &Row) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// In the place of one with the same key.
    fn replace(&mut self, row: &Row) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Updates of a base that could not be applied.
    fn unfit(&mut self, base: &Key) -> impl Future<Output = Result<Vec<Row>, Self::Error>> + Send;
    /// How far an epoch has come; `None` when nothing is known of it.
    fn progress(
        &mut self,
        box_id: &str,
        epoch: u64,
    ) -> impl Future<Output = Result<Option<Progress>, Self::Error>> + Send;
    /// Keeps how far it has come.
    fn put_progress(
        &mut self,
        box_id: &str,
        epoch: u64,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The newest starts in an epoch, at most 64.
    fn boots(&mut self, box_id: &str, epoch: u64) -> impl Future<Output = Result<Vec<Boot>, Self::Error>> + Send;
    /// Keeps what is known of a start.
    fn put_boot(
        &mut self,
        box_id: &str,
        epoch: u64,
        boot: &Boot,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Records of an epoch whose date is open.
    fn open_rows(&mut self, box_id: &str, epoch: u64)
    -> impl Future<Output = Result<Vec<OpenRow>, Self::Error>> + Send;
    /// Dates a record anew.
    fn date(
        &mut self,
        key: &Key,
        taken: Interval,
        is_open: bool,
        is_outside: bool,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The device of a site with this key.
    fn device(&mut self, site: &str, device_key: &str)
    -> impl Future<Output = Result<Option<i64>, Self::Error>> + Send;
    /// A device that is not there yet; its number.
    fn add_device(
        &mut self,
        site: &str,
        device_key: &str,
        first_seen_ms: i64,
    ) -> impl Future<Output = Result<i64, Self::Error>> + Send;
    /// Gives a device another key, which no other of its site has.
    fn rename_device(
        &mut self,
        device_id: i64,
        device_key: &str,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Makes two devices one: what belonged to `from` belongs to `to`, and `from` is no more.
    fn merge_device(&mut self, from: i64, to: i64) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// The boxes of a site that have told `KEY_CHANGED` from this key to that.
    fn who_told_key_change(
        &mut self,
        site: &str,
        old_key: &str,
        device_key: &str,
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;
    /// The meters of a reading.
    fn add_meters(
        &mut self,
        key: &Key,
        device_id: i64,
        meters: &[(String, u64)],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// When the last reading of a device by a box arrived.
    fn last_delivery(
        &mut self,
        device_id: i64,
        box_id: &str,
    ) -> impl Future<Output = Result<Option<i64>, Self::Error>> + Send;
    /// Keeps an event; one that is there already (the same box and id) is passed over.
    fn add_event(&mut self, event: &NewEvent) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The leases of a device, the oldest first.
    fn leases(&mut self, device_id: i64) -> impl Future<Output = Result<Vec<Lease>, Self::Error>> + Send;
    /// Ends the present lease of a device, if there is one, and begins another.
    fn lease_to(
        &mut self,
        device_id: i64,
        box_id: &str,
        since_ms: i64,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// The devices of a site with those who hold them now.
    fn held(&mut self, site: &str) -> impl Future<Output = Result<Vec<Held>, Self::Error>> + Send;
    /// What a box cannot read, as it said last.
    fn silences(&mut self, box_id: &str) -> impl Future<Output = Result<Vec<Silence>, Self::Error>> + Send;
    /// Keeps what a box cannot read, in the place of what it said before.
    fn put_silences(
        &mut self,
        box_id: &str,
        silences: &[Silence],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
