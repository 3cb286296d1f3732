//! What the cloud does with what boxes deliver and say: the decisions, without database, network, clock or randomness.
//!
//! Time is an argument, and the rows lie behind the traits [`Rows`] and [`Work`]: SQLite in the cloud
//! (`cloud/db/rows.rs`), memory in simulations ([`memory`]). [`accept`] takes a batch, [`poll`] a poll; each is one
//! transaction, and whatever they answer may be told only because it is committed.
//!
//! What it promises: (box, epoch, seq) is stored once, whole or as a number whose content went lost on the box; the same
//! number with other content, or a hash chain that does not fit, refuses the batch and stops the box; a record is dated by an
//! interval that holds the true time; of the boxes of a site one at a time reads a printer.

mod chain;
mod dating;
#[cfg(test)]
mod dating_tests;
mod history;
mod lease;
pub mod memory;
mod poll;
mod record;
mod rows;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use prost::Message;

pub use chain::{beginning, link};
pub use dating::{Boot, Clocks, Interval, Mark, Stamp};
pub use history::{Point, effective};
pub use lease::{LAPSE_INTERVALS_HALVES, is_lapsed};
pub use poll::{Polled, flag_silent, poll, release};
pub use rows::{
    BoxState, Fork, Held, Key, Kind, Lease, NewEvent, OpenRow, Progress, Row, Rows, SeenBoot, SeenContact, Silence,
    Work,
};
pub(super) use silence::READ_INTERVAL_DEFAULT_S;
pub use silence::{BoxSilence, PrinterSilence, box_silence, printer_silence};

use crate::proto::v1;
pub(super) use record::rebuild;
use record::{Taking, project};

/// Records of one batch, and their bytes: the contract's limits.
pub const BATCH_MAX_COUNT: usize = 500;
/// See [`BATCH_MAX_COUNT`].
pub const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Alone, a record may be this large, in bytes.
pub const RECORD_MAX_BYTES: usize = 256 * 1024;
/// A box is asked so often to send again before the cloud believes that it has no more of it.
const ASKED_ENOUGH: u32 = 3;

/// A box that was released is told so often to end an epoch whose numbers were given again. Then it is stopped again: it may be
/// one that does not know how.
const TOLD_ENOUGH: u32 = 5;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything up to here is committed: to be acknowledged.
    UpTo(u64),
    /// This number was stored before with other content. Nothing of the batch is stored, and the box is stopped.
    Conflict(u64),
    /// After this number the hash chain does not fit. Nothing of the batch is stored, and the box is stopped.
    ChainBroken(u64),
    /// It breaks the contract; nothing of it is stored.
    Refused(&'static str),
    /// The box is stopped, or none of this cloud.
    Suspended(String),
}

/// Why nothing of a batch is stored.
enum Fault {
    Conflict(u64),
    ChainBroken(u64),
}

/// Takes a batch, whole or not at all.
///
/// # Errors
/// Those of the rows; then nothing is stored, and nothing may be acknowledged.
pub async fn accept<R: Rows>(
    rows: &R,
    box_id: &str,
    batch: &v1::ReadingBatch,
    now_ms: i64,
) -> Result<Outcome, R::Error> {
    if let Err(why) = check(batch) {
        return Ok(Outcome::Refused(why));
    }
    let mut work = rows.begin().await?;
    let Some(mut state) = work.box_state(box_id).await? else {
        work.abandon().await?;
        return Ok(Outcome::Suspended("no box of this cloud".to_owned()));
    };
    if let Some(reason) = state.suspended {
        work.abandon().await?;
        return Ok(Outcome::Suspended(reason));
    }
    let (outcome, reason, detail) = match take(&mut work, &state, batch, now_ms).await? {
        Ok(up_to) => {
            let up_to = settle(&mut work, &mut state, batch, up_to).await?;
            work.commit().await?;
            return Ok(Outcome::UpTo(up_to));
        }
        Err(Fault::Conflict(seq)) if may_fork(&state, batch.epoch, seq) => {
            work.abandon().await?;
            return fork(rows, state, batch, seq, now_ms).await.map(Outcome::UpTo);
        }
        Err(Fault::Conflict(seq)) => {
            let detail = format!("record {seq} of epoch {:016x} came again with other content", batch.epoch);
            (Outcome::Conflict(seq), "seq_conflict", detail)
        }
        Err(Fault::ChainBroken(seq)) => {
            let detail = format!("the hash chain of epoch {:016x} does not fit after record {seq}", batch.epoch);
            (Outcome::ChainBroken(seq), "chain_broken", detail)
        }
    };
    work.abandon().await?;
    let mut work = rows.begin().await?;
    poll::suspend(&mut work, &mut state, reason, &detail, now_ms).await?;
    work.commit().await?;
    Ok(outcome)
}

/// Whether numbers that were given again are no reason to stop the box: somebody has released it, and it has not been told too
/// often to end the epoch.
fn may_fork(state: &BoxState, epoch: u64, seq: u64) -> bool {
    let told = state.fork.filter(|fork| fork.epoch == epoch && fork.after_seq + 1 == seq).map_or(0, |fork| fork.told);
    (state.released.is_some() || state.fork.is_some()) && told < TOLD_ENOUGH
}

/// Takes what precedes the first number that was given again, and remembers where the box is to end the epoch. How far the box
/// is acknowledged: not past that, though the cloud holds more under the same numbers.
async fn fork<R: Rows>(
    rows: &R,
    mut state: BoxState,
    batch: &v1::ReadingBatch,
    seq: u64,
    now_ms: i64,
) -> Result<u64, R::Error> {
    let mut work = rows.begin().await?;
    let readings: Vec<_> = batch.readings.iter().filter(|stored| stored.seq < seq).cloned().collect();
    let before = v1::ReadingBatch { readings, chain: Vec::new(), ..batch.clone() };
    let held = if before.readings.is_empty() {
        work.progress(&state.id, batch.epoch).await?.unwrap_or_default().contiguous_seq
    } else {
        // It was looked through already; should it not fit now, nothing of it is acknowledged.
        take(&mut work, &state, &before, now_ms).await?.unwrap_or(0)
    };
    let after_seq = seq - 1;
    if state.fork.is_none_or(|fork| (fork.epoch, fork.after_seq) != (batch.epoch, after_seq)) {
        state.fork = Some(Fork { epoch: batch.epoch, after_seq, told: 0 });
        work.put_box(&state).await?;
        let detail = format!(
            "record {seq} of epoch {:016x} came again with other content: the released box is to begin a new epoch",
            batch.epoch
        );
        work.note(now_ms, &state.id, "epoch_forked", &detail).await?;
    }
    work.commit().await?;
    Ok(held.min(after_seq))
}

/// Of a box that gave numbers again the cloud may hold more under an epoch than the box knows of: no more is acknowledged than it
/// has sent, or said at its last poll that it has, where it did say so. Once a released box has delivered a number that is new to the cloud, it is
/// the box that it was.
async fn settle<W: Work>(
    work: &mut W,
    state: &mut BoxState,
    batch: &v1::ReadingBatch,
    up_to: u64,
) -> Result<u64, W::Error> {
    let last = batch.readings.last().map_or(0, |stored| stored.seq);
    if state.released.is_some_and(|(epoch, held)| epoch == batch.epoch && last > held) {
        state.released = None;
        work.put_box(state).await?;
    }
    let status = state.status.as_deref().and_then(|bytes| v1::BoxStatus::decode(bytes).ok()).unwrap_or_default();
    let ended = status.ended_epochs.iter().map(|ended| (ended.epoch, ended.last_seq));
    let told = ended.chain([(status.outbox_epoch, status.outbox_last_seq)]).find(|(epoch, _)| *epoch == batch.epoch);
    Ok(told.map_or(up_to, |(_, told)| up_to.min(last.max(told))))
}

/// Whether a batch is what the contract allows.
fn check(batch: &v1::ReadingBatch) -> Result<(), &'static str> {
    let bytes: usize = batch.readings.iter().map(|stored| stored.record.len()).sum();
    if batch.epoch == 0 || batch.readings.is_empty() {
        return Err("a batch has an epoch and at least one reading");
    }
    if batch.readings.len() > BATCH_MAX_COUNT || (bytes > BATCH_MAX_BYTES && batch.readings.len() > 1) {
        return Err("a batch has at most 500 readings and 512 KiB");
    }
    let first = batch.readings.first().map_or(0, |stored| stored.seq);
    for (expected, stored) in (first..).zip(&batch.readings) {
        if stored.seq == 0 || stored.seq != expected || i64::try_from(stored.seq).is_err() {
            return Err("sequence numbers begin with 1 and ascend by one");
        }
        if stored.record.len() > RECORD_MAX_BYTES {
            return Err("a reading has at most 256 KiB");
        }
        if stored.thinned && !stored.record.is_empty() {
            return Err("a thinned reading has no record");
        }
        if stored.content_sha256.len() != 32
            || (!stored.thinned && chain::sha256(&stored.record) != stored.content_sha256)
        {
            return Err("a reading does not match its SHA-256");
        }
    }
    Ok(())
}

/// Stores what is new of a batch; how far the epoch is complete then.
async fn take<W: Work>(
    work: &mut W,
    state: &BoxState,
    batch: &v1::ReadingBatch,
    now_ms: i64,
) -> Result<Result<u64, Fault>, W::Error> {
    let mut progress = work.progress(&state.id, batch.epoch).await?.unwrap_or_default();
    if progress.contiguous_seq == 0 {
        progress.chain = beginning(batch.epoch);
    }
    let key = |seq| Key { box_id: state.id.clone(), epoch: batch.epoch, seq };
    let mut new = Vec::with_capacity(batch.readings.len());
    for stored in &batch.readings {
        let known = work.hash(&key(stored.seq)).await?;
        match known {
            Some((sha256, _)) if sha256 != stored.content_sha256 => return Ok(Err(Fault::Conflict(stored.seq))),
            // Its content comes after all.
            Some((_, true)) if !stored.thinned => new.push(Taking { stored, is_there: true }),
            Some(_) => {}
            None => new.push(Taking { stored, is_there: false }),
        }
    }
    // After the numbers: a chain that does not fit does not say which number was given again.
    let known = Some((progress.contiguous_seq, progress.chain.as_slice())).filter(|(_, chain)| !chain.is_empty());
    if let Err(seq) = chain::check(batch, known) {
        return Ok(Err(Fault::ChainBroken(seq)));
    }
    skip_what_is_gone(work, state, batch, &mut progress, now_ms).await?;
    project(work, state, batch.epoch, &new, now_ms).await?;
    advance(work, state, batch, &mut progress).await?;
    work.put_progress(&state.id, batch.epoch, &progress).await?;
    Ok(Ok(progress.contiguous_seq))
}

/// Moves the watermark over what is held without a gap. Records beyond a gap are kept and not acknowledged.
async fn advance<W: Work>(
    work: &mut W,
    state: &BoxState,
    batch: &v1::ReadingBatch,
    progress: &mut Progress,
) -> Result<(), W::Error> {
    let in_batch: HashMap<u64, &[u8]> =
        batch.readings.iter().map(|stored| (stored.seq, stored.content_sha256.as_slice())).collect();
    let first = batch.readings.first().map_or(0, |stored| stored.seq);
    // Where the chain was forgotten, the box's word is taken, and held against it from then on.
    if progress.chain.is_empty() && first == progress.contiguous_seq + 1 {
        progress.chain.clone_from(&batch.previous_chain);
    }
    loop {
        let seq = progress.contiguous_seq + 1;
        let sha256 = match in_batch.get(&seq) {
            Some(sha256) => sha256.to_vec(),
            None => {
                let key = Key { box_id: state.id.clone(), epoch: batch.epoch, seq };
                let Some((sha256, _)) = work.hash(&key).await? else { break };
                sha256
            }
        };
        if !progress.chain.is_empty() {
            progress.chain = link(&progress.chain, seq, &sha256);
        }
        progress.contiguous_seq = seq;
        progress.asked = 0;
    }
    let last = batch.readings.last().map_or(0, |stored| stored.seq);
    progress.last_seq = progress.last_seq.max(last).max(progress.contiguous_seq);
    Ok(())
}

/// A cloud that was restored from a backup asks for what it has lost; a box that was told "delivered" keeps it for seven
/// days. What it does not have any more will never come: without this, nothing behind it would ever be acknowledged.
async fn skip_what_is_gone<W: Work>(
    work: &mut W,
    state: &BoxState,
    batch: &v1::ReadingBatch,
    progress: &mut Progress,
    now_ms: i64,
) -> Result<(), W::Error> {
    let first = batch.readings.first().map_or(0, |stored| stored.seq);
    let missing = progress.contiguous_seq + 1;
    // The box answers with what it has of the acknowledged ones. New ones may be on their way before it has heard the
    // question: only when it was asked again and again do they say that it has nothing older.
    let is_answer = first <= progress.acknowledged_seq
        || (first == progress.acknowledged_seq + 1 && progress.asked >= ASKED_ENOUGH);
    if first <= missing || progress.asked == 0 || !is_answer {
        return Ok(());
    }
    let gone = first - 1;
    let detail = format!(
        "records {missing} to {gone} of epoch {:016x} were acknowledged before this cloud was restored, and the box has them no more",
        batch.epoch
    );
    work.note(now_ms, &state.id, "records_gone", &detail).await?;
    progress.contiguous_seq = gone;
    progress.chain.clone_from(&batch.previous_chain);
    Ok(())
}
