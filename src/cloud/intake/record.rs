//! From records to rows: what they are, when they were taken, whose they are, and what follows from them.

use prost::Message;

use super::chain::sha256;
use super::lease::is_outside;
use super::rows::{BoxState, Key, Kind, NewEvent, Row, Work};
use super::{Clocks, Interval, Stamp};
use crate::proto::update::{apply, reading_of};
use crate::proto::v1::{self, record::What};

/// The event after which a printer has another key.
const KEY_CHANGED: &str = "KEY_CHANGED";

/// With so many records in a batch, more are to come: what they tell of earlier ones by the time of their arrival alone is not
/// heeded before the last. Else a long backlog would be dated anew with every batch of it.
const FULL: usize = 100;

/// A record to be stored.
pub(super) struct Taking<'a> {
    pub stored: &'a v1::StoredReading,
    /// Whether its number is there already, without content.
    pub is_there: bool,
}

/// A record as it was understood.
struct Understood {
    row: Row,
    reading: Option<v1::Reading>,
    event: Option<v1::Event>,
}

/// Stores records of one box and epoch, in the order of their numbers, with all that follows from them.
pub(super) async fn project<W: Work>(
    work: &mut W,
    state: &BoxState,
    epoch: u64,
    records: &[Taking<'_>],
    now_ms: i64,
) -> Result<(), W::Error> {
    if records.is_empty() {
        return Ok(());
    }
    let mut clocks = Clocks::new(work.boots(&state.id, epoch).await?);
    let before = clocks.clone();
    let mut is_known_now = false;
    let mut understood = Vec::with_capacity(records.len());
    for taking in records {
        let key = Key { box_id: state.id.clone(), epoch, seq: taking.stored.seq };
        let one = understand(key, taking.stored, now_ms);
        if let Some(stamp) = &one.row.stamp {
            is_known_now |= clocks.learn(taking.stored.seq, stamp, now_ms);
        }
        understood.push((one, taking.is_there));
    }
    for (mut one, is_there) in understood {
        resolve(work, &mut one, None).await?;
        if one.row.kind == Kind::Unfit {
            let base = one.row.base_seq.unwrap_or_default();
            let detail =
                format!("record {} is an update of {base}, and does not fit what is held of it", one.row.key.seq);
            work.note(now_ms, &state.id, "update_unfit", &detail).await?;
        }
        store(work, state, &clocks, &mut one, is_there).await?;
        if one.row.kind == Kind::Reading {
            late_updates(work, state, &mut clocks, &one.row).await?;
        }
    }
    keep_clocks(work, state, epoch, &before, &clocks).await?;
    if is_known_now || (clocks != before && records.len() < FULL) {
        date_anew(work, state, epoch, &clocks).await?;
    }
    Ok(())
}

fn understand(key: Key, stored: &v1::StoredReading, now_ms: i64) -> Understood {
    let mut row = Row {
        key,
        sha256: stored.content_sha256.clone(),
        received_ms: now_ms,
        kind: Kind::Unreadable,
        record: stored.record.clone(),
        whole: None,
        base_seq: None,
        device_id: None,
        stamp: None,
        taken: None,
        is_open: false,
        is_outside: false,
    };
    let (mut reading, mut event) = (None, None);
    if stored.thinned {
        row.kind = Kind::Thinned;
        return Understood { row, reading, event };
    }
    match v1::Record::decode(stored.record.as_slice()).ok().and_then(|record| record.what) {
        Some(What::Reading(it)) => {
            row.kind = Kind::Reading;
            row.stamp = it.taken.as_ref().map(Stamp::from);
            reading = Some(it);
        }
        Some(What::Event(it)) => {
            row.kind = Kind::Event;
            row.stamp = it.seen.as_ref().map(Stamp::from);
            event = Some(it);
        }
        Some(What::ClockAnchor(it)) => {
            row.kind = Kind::Anchor;
            row.stamp = Some(Stamp::from(&it));
        }
        // Applied when it is stored: its base may be of the same batch.
        Some(What::Update(it)) => {
            row.kind = Kind::Unfit;
            row.base_seq = Some(it.base_seq);
        }
        None => {}
    }
    Understood { row, reading, event }
}

/// Applies an update to its base, where both fit.
async fn resolve<W: Work>(work: &mut W, one: &mut Understood, base: Option<&Row>) -> Result<(), W::Error> {
    let (Kind::Unfit, Some(base_seq)) = (one.row.kind, one.row.base_seq) else { return Ok(()) };
    let found;
    let base = match base {
        Some(base) => base,
        None => {
            found = work.row(&Key { seq: base_seq, ..one.row.key.clone() }).await?;
            let Some(base) = &found else { return Ok(()) };
            base
        }
    };
    let made = whole_of(&one.row, base);
    let Some((whole, reading)) = made else { return Ok(()) };
    one.row.kind = Kind::Update;
    one.row.stamp = reading.taken.as_ref().map(Stamp::from);
    one.row.whole = Some(whole);
    one.reading = Some(reading);
    Ok(())
}

/// The whole reading of an update.
fn whole_of(row: &Row, base: &Row) -> Option<(Vec<u8>, v1::Reading)> {
    // An update is never the base of another.
    let bytes = Some(base).filter(|base| base.kind == Kind::Reading).and_then(|base| reading_of(&base.record))?;
    let What::Update(update) = v1::Record::decode(row.record.as_slice()).ok()?.what? else { return None };
    let whole = apply(bytes, &update.edits, update.crc32).ok()?;
    let reading = v1::Reading::decode(whole.as_slice()).ok()?;
    Some((whole, reading))
}

/// Dates a record, finds its device, and keeps it with its meters or its event.
async fn store<W: Work>(
    work: &mut W,
    state: &BoxState,
    clocks: &Clocks,
    one: &mut Understood,
    is_there: bool,
) -> Result<(), W::Error> {
    let row = &mut one.row;
    if let Some(stamp) = &row.stamp {
        row.taken = Some(clocks.interval(stamp, row.received_ms));
        row.is_open = clocks.is_open(stamp);
    }
    if let Some(event) = &one.event {
        change_key(work, state, event).await?;
        row.device_id = work.device(&state.site, &event.device_key).await?;
    }
    if let Some(reading) = &one.reading {
        // A reading that does not say when it was taken was taken before it arrived, and nothing else is known.
        let taken = *row.taken.get_or_insert(Interval { low_ms: 0, high_ms: row.received_ms });
        let device_id = match work.device(&state.site, &reading.device_key).await? {
            Some(device_id) => device_id,
            // It was there then at the latest.
            None => work.add_device(&state.site, &reading.device_key, taken.high_ms).await?,
        };
        let leases = work.leases(device_id).await?;
        if leases.is_empty() {
            work.lease_to(device_id, &state.id, taken.low_ms).await?;
        }
        row.device_id = Some(device_id);
        row.is_outside = is_outside(&leases, &state.id, taken);
    }
    if is_there {
        work.replace(row).await?;
    } else {
        work.insert(row).await?;
    }
    if let (Some(reading), Some(device_id)) = (&one.reading, row.device_id) {
        let meters: Vec<_> = reading.meters.iter().map(|meter| (meter.name.clone(), meter.value)).collect();
        work.add_meters(&row.key, device_id, &meters).await?;
    }
    if let Some(event) = &one.event {
        work.add_event(&NewEvent {
            site: state.site.clone(),
            key: row.key.clone(),
            // Without an id, an event is told apart by its content.
            id: if event.id.is_empty() { sha256(&row.record) } else { event.id.clone() },
            kind: event.kind.clone(),
            device_key: event.device_key.clone(),
            old_key: event.old_key.clone(),
            payload: event.encode_to_vec(),
        })
        .await?;
    }
    Ok(())
}

/// What belonged to the old key belongs to the new one. Where both are there, each box of the site has met the printer by
/// both keys; they are made one when a second box says the same.
async fn change_key<W: Work>(work: &mut W, state: &BoxState, event: &v1::Event) -> Result<(), W::Error> {
    let (KEY_CHANGED, Some(old_key)) = (event.kind.as_str(), &event.old_key) else { return Ok(()) };
    let Some(old) = work.device(&state.site, old_key).await? else { return Ok(()) };
    match work.device(&state.site, &event.device_key).await? {
        None => work.rename_device(old, &event.device_key).await,
        Some(new) if new != old => {
            let told = work.who_told_key_change(&state.site, old_key, &event.device_key).await?;
            if told.iter().any(|other| *other != state.id) { work.merge_device(old, new).await } else { Ok(()) }
        }
        Some(_) => Ok(()),
    }
}

/// Updates that came before their base.
async fn late_updates<W: Work>(
    work: &mut W,
    state: &BoxState,
    clocks: &mut Clocks,
    base: &Row,
) -> Result<(), W::Error> {
    for row in work.unfit(&base.key).await? {
        let mut one = Understood { row, reading: None, event: None };
        resolve(work, &mut one, Some(base)).await?;
        if one.row.kind == Kind::Update {
            if let Some(stamp) = &one.row.stamp {
                clocks.learn(one.row.key.seq, stamp, one.row.received_ms);
            }
            store(work, state, clocks, &mut one, true).await?;
        }
    }
    Ok(())
}

/// Keeps what was learnt about the clocks.
pub(super) async fn keep_clocks<W: Work>(
    work: &mut W,
    state: &BoxState,
    epoch: u64,
    before: &Clocks,
    now: &Clocks,
) -> Result<(), W::Error> {
    for boot in now.boots().iter().filter(|boot| !before.boots().contains(boot)) {
        work.put_boot(&state.id, epoch, boot).await?;
    }
    Ok(())
}

/// Dates anew what may be dated more closely now.
pub(super) async fn date_anew<W: Work>(
    work: &mut W,
    state: &BoxState,
    epoch: u64,
    clocks: &Clocks,
) -> Result<(), W::Error> {
    for open in work.open_rows(&state.id, epoch).await? {
        let taken = clocks.interval(&open.stamp, open.received_ms);
        // What was known before still holds.
        let narrowed =
            Interval { low_ms: taken.low_ms.max(open.taken.low_ms), high_ms: taken.high_ms.min(open.taken.high_ms) };
        let taken = if narrowed.low_ms <= narrowed.high_ms { narrowed } else { taken };
        let is_open = clocks.is_open(&open.stamp);
        let is_outside = match open.device_id {
            Some(device_id) => is_outside(&work.leases(device_id).await?, &state.id, taken),
            None => false,
        };
        if (taken, is_open, is_outside) != (open.taken, true, open.is_outside) {
            let key = Key { box_id: state.id.clone(), epoch, seq: open.seq };
            work.date(&key, taken, is_open, is_outside).await?;
        }
    }
    Ok(())
}

/// Understands a record anew that an older cloud stored, which knew less: its time, its kind and its meters. Whose it is stays.
pub(in crate::cloud) async fn rebuild<W: Work>(work: &mut W, state: &BoxState, old: &Row) -> Result<(), W::Error> {
    let stored = v1::StoredReading {
        seq: old.key.seq,
        content_sha256: old.sha256.clone(),
        record: old.record.clone(),
        thinned: false,
    };
    let mut one = understand(old.key.clone(), &stored, old.received_ms);
    let before = Clocks::new(work.boots(&state.id, old.key.epoch).await?);
    let mut clocks = before.clone();
    if let Some(stamp) = &one.row.stamp {
        clocks.learn(old.key.seq, stamp, old.received_ms);
        one.row.taken = Some(clocks.interval(stamp, old.received_ms));
    }
    keep_clocks(work, state, old.key.epoch, &before, &clocks).await?;
    one.row.device_id = old.device_id;
    if let (Some(reading), Some(device_id)) = (&one.reading, old.device_id) {
        one.row.taken.get_or_insert(Interval { low_ms: 0, high_ms: old.received_ms });
        let meters: Vec<_> = reading.meters.iter().map(|meter| (meter.name.clone(), meter.value)).collect();
        work.add_meters(&old.key, device_id, &meters).await?;
    }
    work.replace(&one.row).await
}
