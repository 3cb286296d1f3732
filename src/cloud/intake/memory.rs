//! The intake's rows in memory, for simulations: a transaction that is not committed when the machine crashes is lost, one
//! that is committed is not. Everything is ready at once, so a future of the intake over it is done when it is first polled.
//!
//! A simulation must be able to see that it would notice a broken cloud; so these rows can be told to lie ([`Lie`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rows::{BoxState, Held, Key, Kind, Lease, NewEvent, OpenRow, Progress, Row, Rows, Silence, Work};
use super::{Boot, Interval};

/// Starts of an epoch that are looked at.
const BOOTS_MAX: usize = 64;

/// Why a transaction ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The machine crashed ([`MemoryRows::crash`], [`MemoryRows::crash_after`]) and was not started again.
    #[error("the machine has crashed; start it again with MemoryRows::restart")]
    Crashed,
    /// Another transaction is open: simulations run one at a time.
    #[error("another transaction is open")]
    Busy,
}

/// How these rows can be made to break their promises, for tests of whoever should notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lie {
    /// They keep their promises.
    #[default]
    None,
    /// There is no unique key: no record is ever found to be there already, and each is stored beside those before.
    NoUniqueKey,
    /// A commit is answered before it is durable: a crash takes back what was committed since [`MemoryRows::sync`].
    AckBeforeCommit,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Of which site.
    pub site: String,
    /// By which key it is known.
    pub device_key: String,
    /// When it was first read.
    pub first_seen_ms: i64,
}

/// What is stored.
#[derive(Debug, Clone, Default)]
struct Tables {
    boxes: BTreeMap<String, BoxState>,
    notes: Vec<Note>,
    /// More than one of a key only without a unique key.
    rows: BTreeMap<Key, Vec<Row>>,
    open: BTreeSet<Key>,
    unfit: BTreeSet<Key>,
    progress: BTreeMap<(String, u64), Progress>,
    boots: BTreeMap<(String, u64, String), Boot>,
    devices: BTreeMap<i64, Device>,
    device_of: BTreeMap<(String, String), i64>,
    deliveries: BTreeMap<(i64, String), i64>,
    events: BTreeMap<(String, Vec<u8>), NewEvent>,
    leases: BTreeMap<i64, Vec<Lease>>,
    silences: BTreeMap<String, Vec<Silence>>,
}

/// What happened with a box, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at_ms: i64,
    /// With which box.
    pub box_id: String,
    /// What.
    pub kind: String,
    /// In words.
    pub detail: String,
}

type Undo = Box<dyn FnOnce(&mut Tables) + Send>;

#[derive(Default)]
struct State {
    tables: Tables,
    lie: Lie,
    is_open: bool,
    is_down: bool,
    /// Steps of transactions that are left until the machine crashes.
    fuse: Option<u32>,
    /// How to undo what is committed and not durable; only with [`Lie::AckBeforeCommit`].
    volatile: Vec<Undo>,
}

/// Rows in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryRows {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for MemoryRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryRows").finish_non_exhaustive()
    }
}

fn undo_all(state: &mut State, mut undo: Vec<Undo>) {
    while let Some(step) = undo.pop() {
        step(&mut state.tables);
    }
}

impl MemoryRows {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every holder leaves the tables whole between two of its calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a box in.
    pub fn add_box(&self, box_id: &str, site: &str, now_ms: i64) {
        let state =
            BoxState { id: box_id.to_owned(), site: site.to_owned(), created_ms: now_ms, ..BoxState::default() };
        self.state().tables.boxes.insert(box_id.to_owned(), state);
    }

    /// Makes them lie from now on.
    pub fn lie(&self, lie: Lie) {
        self.state().lie = lie;
    }

    /// The machine crashes now: what is not committed is lost, and nothing works until [`Self::restart`].
    pub fn crash(&self) {
        crash(&mut self.state());
    }

    /// The machine crashes after so many further steps of transactions, a commit being one.
    pub fn crash_after(&self, steps: u32) {
        self.state().fuse = Some(steps);
    }

    /// What is committed now, as other rows: a backup, or what is restored from one.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.state();
        let state = State { tables: state.tables.clone(), lie: state.lie, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The machine starts again.
    pub fn restart(&self) {
        let mut state = self.state();
        (state.is_down, state.fuse) = (false, None);
    }

    /// Makes everything durable that was committed ([`Lie::AckBeforeCommit`]).
    pub fn sync(&self) {
        self.state().volatile.clear();
    }

    /// All records, in the order of their keys; what is not committed among them.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.state().tables.rows.values().flatten().cloned().collect()
    }

    /// How many records there are of a box and epoch.
    #[must_use]
    pub fn count(&self, box_id: &str, epoch: u64) -> usize {
        let state = self.state();
        state.tables.rows.range(span(box_id, epoch)).map(|(_, rows)| rows.len()).sum()
    }

    /// A box.
    #[must_use]
    pub fn box_state(&self, box_id: &str) -> Option<BoxState> {
        self.state().tables.boxes.get(box_id).cloned()
    }

    /// How far an epoch has come.
    #[must_use]
    pub fn progress(&self, box_id: &str, epoch: u64) -> Option<Progress> {
        self.state().tables.progress.get(&(box_id.to_owned(), epoch)).cloned()
    }

    /// The devices by their numbers.
    #[must_use]
    pub fn devices(&self) -> BTreeMap<i64, Device> {
        self.state().tables.devices.clone()
    }

    /// The leases of a device, the oldest first.
    #[must_use]
    pub fn leases(&self, device_id: i64) -> Vec<Lease> {
        self.state().tables.leases.get(&device_id).cloned().unwrap_or_default()
    }

    /// What happened with boxes.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.state().tables.notes.clone()
    }

    /// The events of printers.
    #[must_use]
    pub fn events(&self) -> Vec<NewEvent> {
        self.state().tables.events.values().cloned().collect()
    }
}

fn span(box_id: &str, epoch: u64) -> (Bound<Key>, Bound<Key>) {
    let key = |seq| Key { box_id: box_id.to_owned(), epoch, seq };
    (Bound::Included(key(0)), Bound::Included(key(u64::MAX)))
}

fn crash(state: &mut State) {
    state.is_down = true;
    let volatile = std::mem::take(&mut state.volatile);
    undo_all(state, volatile);
}

impl Rows for MemoryRows {
    type Error = MemoryError;
    type Work = MemoryWork;

    async fn begin(&self) -> Result<MemoryWork, MemoryError> {
        let mut state = self.state();
        if state.is_down {
            return Err(MemoryError::Crashed);
        }
        if std::mem::replace(&mut state.is_open, true) {
            return Err(MemoryError::Busy);
        }
        Ok(MemoryWork { rows: self.clone(), undo: Vec::new(), is_ended: false })
    }
}

/// A transaction in memory. What it does is done at once, and undone unless it is committed.
pub struct MemoryWork {
    rows: MemoryRows,
    undo: Vec<Undo>,
    is_ended: bool,
}

impl std::fmt::Debug for MemoryWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryWork").field("is_ended", &self.is_ended).finish_non_exhaustive()
    }
}

impl Drop for MemoryWork {
    fn drop(&mut self) {
        if !self.is_ended {
            let undo = std::mem::take(&mut self.undo);
            end(&mut self.rows.state(), undo);
        }
    }
}

fn end(state: &mut State, undo: Vec<Undo>) {
    undo_all(state, undo);
    state.is_open = false;
}

impl MemoryWork {
    /// One step: the machine may crash before it.
    fn step(&mut self) -> Result<MutexGuard<'_, State>, MemoryError> {
        let mut state = self.rows.state();
        match state.fuse {
            Some(0) => {
                // First what is open, then what was committed before it.
                let undo = std::mem::take(&mut self.undo);
                undo_all(&mut state, undo);
                state.fuse = None;
                crash(&mut state);
            }
            Some(left) => state.fuse = Some(left - 1),
            None => {}
        }
        if state.is_down { Err(MemoryError::Crashed) } else { Ok(state) }
    }

    /// Reads.
    fn read<T>(&mut self, look: impl FnOnce(&Tables) -> T) -> Result<T, MemoryError> {
        Ok(look(&self.step()?.tables))
    }

    /// Writes, and keeps how to undo it.
    fn write<T>(&mut self, change: impl FnOnce(&mut Tables) -> (T, Undo)) -> Result<T, MemoryError> {
        let mut state = self.step()?;
        let (out, undo) = change(&mut state.tables);
        drop(state);
        self.undo.push(undo);
        Ok(out)
    }

    /// Puts a value under a key of one of the tables.
    fn put<K, V>(&mut self, table: fn(&mut Tables) -> &mut BTreeMap<K, V>, key: K, value: V) -> Result<(), MemoryError>
    where
        K: Ord + Clone + Send + 'static,
        V: Send + 'static,
    {
        self.write(|tables| {
            let before = table(tables).insert(key.clone(), value);
            let undo: Undo = Box::new(move |tables| match before {
                Some(before) => drop(table(tables).insert(key, before)),
                None => drop(table(tables).remove(&key)),
            });
            ((), undo)
        })
    }

    /// Takes what is under a key of one of the tables away.
    fn take<K, V>(&mut self, table: fn(&mut Tables) -> &mut BTreeMap<K, V>, key: K) -> Result<(), MemoryError>
    where
        K: Ord + Send + 'static,
        V: Send + 'static,
    {
        self.write(|tables| {
            let before = table(tables).remove(&key);
            let undo: Undo = Box::new(move |tables| {
                if let Some(before) = before {
                    table(tables).insert(key, before);
                }
            });
            ((), undo)
        })
    }

    /// Keeps a set true: whether a key is in it.
    fn mark(&mut self, set: fn(&mut Tables) -> &mut BTreeSet<Key>, key: &Key, is_in: bool) -> Result<(), MemoryError> {
        let key = key.clone();
        self.write(|tables| {
            let was_in = if is_in { !set(tables).insert(key.clone()) } else { set(tables).remove(&key) };
            let undo: Undo = Box::new(move |tables| {
                if was_in {
                    set(tables).insert(key);
                } else {
                    set(tables).remove(&key);
                }
            });
            ((), undo)
        })
    }

    fn put_rows(&mut self, key: &Key, rows: Vec<Row>) -> Result<(), MemoryError> {
        let last = rows.last().cloned();
        self.put(|tables| &mut tables.rows, key.clone(), rows)?;
        let Some(row) = last else { return Ok(()) };
        self.mark(|tables| &mut tables.open, key, row.is_open)?;
        self.mark(|tables| &mut tables.unfit, key, row.kind == Kind::Unfit)?;
        if let Some(device_id) = row.device_id.filter(|_| row.kind.is_reading()) {
            let place = (device_id, key.box_id.clone());
            let before = self.read(|tables| tables.deliveries.get(&place).copied())?;
            let at_ms = before.map_or(row.received_ms, |before| before.max(row.received_ms));
            self.put(|tables| &mut tables.deliveries, place, at_ms)?;
        }
        Ok(())
    }
}

impl Work for MemoryWork {
    type Error = MemoryError;

    async fn commit(mut self) -> Result<(), MemoryError> {
        drop(self.step()?);
        let undo = std::mem::take(&mut self.undo);
        self.is_ended = true;
        let mut state = self.rows.state();
        if state.lie == Lie::AckBeforeCommit {
            state.volatile.extend(undo);
        }
        state.is_open = false;
        Ok(())
    }

    async fn abandon(mut self) -> Result<(), MemoryError> {
        let undo = std::mem::take(&mut self.undo);
        self.is_ended = true;
        end(&mut self.rows.state(), undo);
        Ok(())
    }

    async fn box_state(&mut self, box_id: &str) -> Result<Option<BoxState>, MemoryError> {
        self.read(|tables| tables.boxes.get(box_id).cloned())
    }

    async fn put_box(&mut self, state: &BoxState) -> Result<(), MemoryError> {
        self.put(|tables| &mut tables.boxes, state.id.clone(), state.clone())
    }

    async fn site_boxes(&mut self, site: &str) -> Result<Vec<BoxState>, MemoryError> {
        self.read(|tables| tables.boxes.values().filter(|state| state.site == site).cloned().collect())
    }

    async fn note(&mut self, at_ms: i64, box_id: &str, kind: &str, detail: &str) -> Result<(), MemoryError> {
        let note = Note { at_ms, box_id: box_id.to_owned(), kind: kind.to_owned(), detail: detail.to_owned() };
        self.write(|tables| {
            tables.notes.push(note);
            ((), Box::new(|tables| drop(tables.notes.pop())))
        })
    }

    async fn row(&mut self, key: &Key) -> Result<Option<Row>, MemoryError> {
        self.read(|tables| tables.rows.get(key).and_then(|rows| rows.last()).cloned())
    }

    async fn hash(&mut self, key: &Key) -> Result<Option<(Vec<u8>, bool)>, MemoryError> {
        let is_lying = self.rows.state().lie == Lie::NoUniqueKey;
        let found = self.read(|tables| {
            tables.rows.get(key).and_then(|rows| rows.last()).map(|row| (row.sha256.clone(), row.kind == Kind::Thinned))
        })?;
        Ok(found.filter(|_| !is_lying))
    }

    async fn insert(&mut self, row: &Row) -> Result<(), MemoryError> {
        let mut rows = self.read(|tables| tables.rows.get(&row.key).cloned().unwrap_or_default())?;
        rows.push(row.clone());
        self.put_rows(&row.key, rows)
    }

    async fn replace(&mut self, row: &Row) -> Result<(), MemoryError> {
        self.put_rows(&row.key, vec![row.clone()])
    }

    async fn unfit(&mut self, base: &Key) -> Result<Vec<Row>, MemoryError> {
        self.read(|tables| {
            let waiting = tables.unfit.range(span(&base.box_id, base.epoch));
            let rows = waiting.filter_map(|key| tables.rows.get(key).and_then(|rows| rows.last()));
            rows.filter(|row| row.base_seq == Some(base.seq)).cloned().collect()
        })
    }

    async fn progress(&mut self, box_id: &str, epoch: u64) -> Result<Option<Progress>, MemoryError> {
        self.read(|tables| tables.progress.get(&(box_id.to_owned(), epoch)).cloned())
    }

    async fn put_progress(&mut self, box_id: &str, epoch: u64, progress: &Progress) -> Result<(), MemoryError> {
        self.put(|tables| &mut tables.progress, (box_id.to_owned(), epoch), progress.clone())
    }

    async fn boots(&mut self, box_id: &str, epoch: u64) -> Result<Vec<Boot>, MemoryError> {
        self.read(|tables| {
            let from = (box_id.to_owned(), epoch, String::new());
            let of_epoch = tables.boots.range(from..).take_while(|((id, of, _), _)| id == box_id && *of == epoch);
            let mut boots: Vec<Boot> = of_epoch.map(|(_, boot)| boot.clone()).collect();
            boots.sort_by_key(|boot| boot.first_seq);
            boots.split_off(boots.len().saturating_sub(BOOTS_MAX))
        })
    }

    async fn put_boot(&mut self, box_id: &str, epoch: u64, boot: &Boot) -> Result<(), MemoryError> {
        self.put(|tables| &mut tables.boots, (box_id.to_owned(), epoch, boot.boot_id.clone()), boot.clone())
    }

    async fn open_rows(&mut self, box_id: &str, epoch: u64) -> Result<Vec<OpenRow>, MemoryError> {
        self.read(|tables| {
            let open = tables.open.range(span(box_id, epoch));
            let rows = open.filter_map(|key| tables.rows.get(key).and_then(|rows| rows.last()));
            let open_row = |row: &Row| {
                Some(OpenRow {
                    seq: row.key.seq,
                    stamp: row.stamp.clone()?,
                    received_ms: row.received_ms,
                    taken: row.taken?,
                    device_id: row.device_id.filter(|_| row.kind.is_reading()),
                    is_outside: row.is_outside,
                })
            };
            rows.filter_map(open_row).collect()
        })
    }

    async fn date(&mut self, key: &Key, taken: Interval, is_open: bool, is_outside: bool) -> Result<(), MemoryError> {
        let mut rows = self.read(|tables| tables.rows.get(key).cloned().unwrap_or_default())?;
        for row in &mut rows {
            (row.taken, row.is_open, row.is_outside) = (Some(taken), is_open, is_outside);
        }
        self.put_rows(key, rows)
    }

    async fn device(&mut self, site: &str, device_key: &str) -> Result<Option<i64>, MemoryError> {
        self.read(|tables| tables.device_of.get(&(site.to_owned(), device_key.to_owned())).copied())
    }

    async fn add_device(&mut self, site: &str, device_key: &str, first_seen_ms: i64) -> Result<i64, MemoryError> {
        let device_id = self.read(|tables| tables.devices.keys().next_back().map_or(1, |last| last + 1))?;
        let device = Device { site: site.to_owned(), device_key: device_key.to_owned(), first_seen_ms };
        self.put(|tables| &mut tables.devices, device_id, device)?;
        self.put(|tables| &mut tables.device_of, (site.to_owned(), device_key.to_owned()), device_id)?;
        Ok(device_id)
    }

    async fn rename_device(&mut self, device_id: i64, device_key: &str) -> Result<(), MemoryError> {
        let Some(mut device) = self.read(|tables| tables.devices.get(&device_id).cloned())? else { return Ok(()) };
        self.take(|tables| &mut tables.device_of, (device.site.clone(), device.device_key.clone()))?;
        device_key.clone_into(&mut device.device_key);
        self.put(|tables| &mut tables.device_of, (device.site.clone(), device.device_key.clone()), device_id)?;
        self.put(|tables| &mut tables.devices, device_id, device)
    }

    async fn merge_device(&mut self, from: i64, to: i64) -> Result<(), MemoryError> {
        let of_from = self.read(|tables| {
            let rows = tables.rows.iter().filter(|(_, rows)| rows.iter().any(|row| row.device_id == Some(from)));
            rows.map(|(key, rows)| (key.clone(), rows.clone())).collect::<Vec<_>>()
        })?;
        for (key, mut rows) in of_from {
            rows.iter_mut().filter(|row| row.device_id == Some(from)).for_each(|row| row.device_id = Some(to));
            self.put_rows(&key, rows)?;
        }
        if let Some(device) = self.read(|tables| tables.devices.get(&from).cloned())? {
            self.take(|tables| &mut tables.device_of, (device.site, device.device_key))?;
        }
        self.take(|tables| &mut tables.devices, from)?;
        self.take(|tables| &mut tables.leases, from)
    }

    async fn who_told_key_change(
        &mut self,
        site: &str,
        old_key: &str,
        device_key: &str,
    ) -> Result<Vec<String>, MemoryError> {
        self.read(|tables| {
            let told = tables.events.values().filter(|event| {
                event.kind == "KEY_CHANGED"
                    && event.site == site
                    && event.device_key == device_key
                    && event.old_key.as_deref() == Some(old_key)
            });
            told.map(|event| event.key.box_id.clone()).collect()
        })
    }

    async fn add_meters(&mut self, _: &Key, _: i64, _: &[(String, u64)]) -> Result<(), MemoryError> {
        // They are in the rows.
        self.read(|_| ())
    }

    async fn last_delivery(&mut self, device_id: i64, box_id: &str) -> Result<Option<i64>, MemoryError> {
        self.read(|tables| tables.deliveries.get(&(device_id, box_id.to_owned())).copied())
    }

    async fn add_event(&mut self, event: &NewEvent) -> Result<(), MemoryError> {
        let place = (event.key.box_id.clone(), event.id.clone());
        if self.read(|tables| tables.events.contains_key(&place))? {
            return Ok(());
        }
        self.put(|tables| &mut tables.events, place, event.clone())
    }

    async fn leases(&mut self, device_id: i64) -> Result<Vec<Lease>, MemoryError> {
        self.read(|tables| tables.leases.get(&device_id).cloned().unwrap_or_default())
    }

    async fn lease_to(&mut self, device_id: i64, box_id: &str, since_ms: i64) -> Result<(), MemoryError> {
        let mut leases = self.read(|tables| tables.leases.get(&device_id).cloned().unwrap_or_default())?;
        for lease in leases.iter_mut().filter(|lease| lease.until_ms.is_none()) {
            lease.until_ms = Some(since_ms);
        }
        leases.push(Lease { box_id: box_id.to_owned(), since_ms, until_ms: None });
        self.put(|tables| &mut tables.leases, device_id, leases)
    }

    async fn held(&mut self, site: &str) -> Result<Vec<Held>, MemoryError> {
        self.read(|tables| {
            let of_site = tables.devices.iter().filter(|(_, device)| device.site == site);
            let held = of_site.filter_map(|(device_id, device)| {
                let lease = tables.leases.get(device_id)?.iter().find(|lease| lease.until_ms.is_none())?;
                let (device_key, box_id) = (device.device_key.clone(), lease.box_id.clone());
                Some(Held { device_id: *device_id, device_key, box_id })
            });
            held.collect()
        })
    }

    async fn silences(&mut self, box_id: &str) -> Result<Vec<Silence>, MemoryError> {
        self.read(|tables| tables.silences.get(box_id).cloned().unwrap_or_default())
    }

    async fn put_silences(&mut self, box_id: &str, silences: &[Silence]) -> Result<(), MemoryError> {
        self.put(|tables| &mut tables.silences, box_id.to_owned(), silences.to_vec())
    }
}
