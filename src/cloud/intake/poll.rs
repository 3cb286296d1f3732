//! A poll: whether it is the box that it was, what the cloud lacks of it, and what it is to leave to others.

use prost::Message;

use super::dating::Mark;
use super::record::{date_anew, keep_clocks};
use super::rows::{BoxState, Key, Progress, Rows, SeenBoot, SeenContact, Silence, Work};
use super::{Clocks, box_silence, lease};
use crate::cause::DETAIL_MAX_CHARS;
use crate::proto::v1;

/// Starts of a box that are remembered.
const BOOTS_MAX: usize = 32;
/// Silent printers that are taken down of one poll: the contract's limit.
const SILENT_MAX: usize = 1_000;

/// Epochs that have ended, of one poll: the contract's limit.
const ENDED_MAX: usize = 16;

/// What became of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// It is taken down.
    Welcome {
        /// What the cloud lacks although the box believes it there.
        resend: Vec<v1::Resend>,
        /// Printers that another box of the site reads.
        standby: Vec<String>,
        /// The epoch that it is to end, and where.
        end_epoch: Option<v1::EndEpoch>,
    },
    /// The box is stopped, or none of this cloud: why.
    Suspended(String),
}

/// Takes a poll down. `told_interval_s` is the time to the next poll that the box is told with the answer.
///
/// # Errors
/// Those of the rows; then nothing is taken down.
pub async fn poll<R: Rows>(
    rows: &R,
    box_id: &str,
    request: &v1::PollRequest,
    told_interval_s: u32,
    now_ms: i64,
) -> Result<Polled, R::Error> {
    let mut work = rows.begin().await?;
    let Some(mut state) = work.box_state(box_id).await? else {
        work.abandon().await?;
        return Ok(Polled::Suspended("no box of this cloud".to_owned()));
    };
    if let Some(reason) = state.suspended {
        work.abandon().await?;
        return Ok(Polled::Suspended(reason));
    }
    let status = request.status.clone().unwrap_or_default();
    let progress = work.progress(box_id, status.outbox_epoch).await?;
    let sighting = sight(&mut state, &status, now_ms);
    let doubt = match sighting {
        // Nobody waits for the answer any more, and it would turn back what is known.
        Sighting::Straggler => {
            work.abandon().await?;
            return Ok(Polled::Welcome { resend: Vec::new(), standby: Vec::new(), end_epoch: None });
        }
        Sighting::Twin(detail) => Some(("box_cloned", detail)),
        Sighting::Itself => match count(&mut state, &status, request.contact) {
            Some(detail) => Some(("box_cloned", detail)),
            None => went_back(&mut work, &state, &status, progress.as_ref()).await?,
        },
    };
    if let Some((reason, detail)) = doubt {
        state.status = Some(status.encode_to_vec());
        suspend(&mut work, &mut state, reason, &detail, now_ms).await?;
        work.commit().await?;
        return Ok(Polled::Suspended(reason.to_owned()));
    }
    state.last_poll_ms = Some(now_ms);
    state.told_interval_s = told_interval_s;
    state.status = Some(status.encode_to_vec());
    if state.silent_since_ms.take().is_some() {
        work.note(now_ms, box_id, "box_back", &troubles(&status)).await?;
    }
    let end_epoch = to_be_ended(&mut state, &status);
    work.put_box(&state).await?;
    take_silences(&mut work, &state, &request.silent, now_ms).await?;
    let resend = ask_again(&mut work, &state, &status).await?;
    bound_by_poll(&mut work, &state, &status, now_ms).await?;
    let standby = lease::at_poll(&mut work, &state, now_ms).await?;
    work.commit().await?;
    Ok(Polled::Welcome { resend, standby, end_epoch })
}

/// The epoch that a released box is to end, as long as it has not.
fn to_be_ended(state: &mut BoxState, status: &v1::BoxStatus) -> Option<v1::EndEpoch> {
    let fork = state.fork.as_mut()?;
    let goes_on = status.outbox_epoch == fork.epoch
        || status.ended_epochs.iter().any(|ended| ended.epoch == fork.epoch && ended.last_seq > fork.after_seq);
    if goes_on {
        fork.told = fork.told.saturating_add(1);
        return Some(v1::EndEpoch { epoch: fork.epoch, after_seq: fork.after_seq });
    }
    // What was decided of the old epoch does not hold for the new one.
    (state.fork, state.released) = (None, None);
    None
}

/// Stops a box until somebody has looked.
pub(super) async fn suspend<W: Work>(
    work: &mut W,
    state: &mut BoxState,
    reason: &str,
    detail: &str,
    now_ms: i64,
) -> Result<(), W::Error> {
    state.suspended = Some(reason.to_owned());
    detail.clone_into(&mut state.suspended_detail);
    work.put_box(state).await?;
    work.note(now_ms, &state.id, reason, detail).await
}

/// Lets a stopped box go on, because somebody has looked: it is taken for the one it says it is from now on. Whether it was
/// stopped.
///
/// # Errors
/// Those of the rows.
pub async fn release<R: Rows>(rows: &R, box_id: &str, now_ms: i64) -> Result<bool, R::Error> {
    let mut work = rows.begin().await?;
    let Some(mut state) = work.box_state(box_id).await?.filter(|state| state.suspended.is_some()) else {
        work.abandon().await?;
        return Ok(false);
    };
    let status = state.status.as_deref().and_then(|bytes| v1::BoxStatus::decode(bytes).ok()).unwrap_or_default();
    // Also of a box whose present epoch is new: numbers may have been given again in one that has ended.
    state.released = Some((status.outbox_epoch, 0));
    if let Some(mut progress) = work.progress(box_id, status.outbox_epoch).await? {
        state.released = Some((status.outbox_epoch, progress.last_seq));
        progress.chain.clear();
        work.put_progress(box_id, status.outbox_epoch, &progress).await?;
    }
    state.fork = None;
    let reason = state.suspended.take().unwrap_or_default();
    state.suspended_detail.clear();
    state.boots.clear();
    state.contact = None;
    work.put_box(&state).await?;
    work.note(now_ms, box_id, "box_released", &reason).await?;
    work.commit().await?;
    Ok(true)
}

/// Flags a box that is silent, once. Whether it was flagged now.
///
/// # Errors
/// Those of the rows.
pub async fn flag_silent<R: Rows>(
    rows: &R,
    box_id: &str,
    listening_since_ms: i64,
    now_ms: i64,
) -> Result<bool, R::Error> {
    let mut work = rows.begin().await?;
    let is_news =
        |state: &BoxState| state.silent_since_ms.is_none() && state.suspended.is_none() && state.last_poll_ms.is_some();
    // It may have polled since somebody looked.
    let found = work.box_state(box_id).await?.filter(is_news).and_then(|state| {
        let silence = box_silence(&state, listening_since_ms, now_ms)?;
        Some((state, silence))
    });
    let Some((mut state, silence)) = found else {
        work.abandon().await?;
        return Ok(false);
    };
    state.silent_since_ms = Some(silence.since_ms);
    work.put_box(&state).await?;
    work.note(now_ms, box_id, "box_silent", &silence.trouble.to_string()).await?;
    work.commit().await?;
    Ok(true)
}

/// Who polls.
enum Sighting {
    Itself,
    /// A poll of an earlier start that was long on its way: it says nothing new.
    Straggler,
    /// An earlier start that goes on running beside a later one.
    Twin(String),
}

/// Takes down which start of the box polls.
fn sight(state: &mut BoxState, status: &v1::BoxStatus, now_ms: i64) -> Sighting {
    if status.boot_id.is_empty() {
        return Sighting::Itself;
    }
    let uptime_ms = i64::try_from(status.uptime_ms).unwrap_or(i64::MAX / 2);
    let known = state.boots.iter().position(|boot| boot.boot_id == status.boot_id);
    let next_first_ms = known.and_then(|at| state.boots.get(at + 1)).map(|next| (next.boot_id.clone(), next.first_ms));
    match known.and_then(|at| state.boots.get_mut(at)) {
        None => {
            if state.boots.len() >= BOOTS_MAX {
                state.boots.remove(0);
            }
            let boot_id: String = status.boot_id.chars().take(64).collect();
            state.boots.push(SeenBoot { boot_id, first_ms: now_ms, last_ms: now_ms, uptime_ms });
            Sighting::Itself
        }
        Some(boot) => {
            // When this poll was sent, by how long the box had been running.
            let sent_ms = boot.last_ms.saturating_add(uptime_ms - boot.uptime_ms);
            match next_first_ms {
                Some((next, first_ms)) if sent_ms > first_ms => Sighting::Twin(format!(
                    "start {} polls while start {next} does: there are two of this box",
                    boot.boot_id.escape_debug()
                )),
                Some(_) => Sighting::Straggler,
                None if uptime_ms < boot.uptime_ms => Sighting::Straggler,
                None => {
                    (boot.last_ms, boot.uptime_ms) = (now_ms, uptime_ms);
                    Sighting::Itself
                }
            }
        }
    }
}

/// Takes down how often the box has polled. The words for it where that went back, or another start has polled as often: two hold
/// its keys, or an old copy of its storage has come back.
fn count(state: &mut BoxState, status: &v1::BoxStatus, contact: Option<v1::Contact>) -> Option<String> {
    let counter = contact.map(|contact| contact.counter).filter(|counter| *counter > 0)?;
    let boot_id: String = status.boot_id.chars().take(64).collect();
    if let Some(last) = &state.contact {
        let is_repeated = counter == last.counter && boot_id == last.boot_id;
        if counter <= last.counter && !is_repeated {
            return Some(format!(
                "start {} polls for the {counter}th time, and start {} had done so {} times before: there are two of this box",
                boot_id.escape_debug(),
                last.boot_id.escape_debug(),
                last.counter
            ));
        }
    }
    state.contact = Some(SeenContact { counter, boot_id });
    None
}

/// Whether the box has given out fewer numbers than the cloud holds: an old copy of it has come back. What is accepted is
/// synced to its disk before it is sent, so a power cut never does that.
async fn went_back<W: Work>(
    work: &mut W,
    state: &BoxState,
    status: &v1::BoxStatus,
    progress: Option<&Progress>,
) -> Result<Option<(&'static str, String)>, W::Error> {
    let Some(held) = progress.map(|progress| progress.last_seq).filter(|held| *held > status.outbox_last_seq) else {
        return Ok(None);
    };
    if state.released.is_some_and(|(epoch, seq)| epoch == status.outbox_epoch && held <= seq) {
        return Ok(None);
    }
    // Unless the poll was sent before the last of them was taken, and overtaken by it.
    let key = Key { box_id: state.id.clone(), epoch: status.outbox_epoch, seq: held };
    let last = work.row(&key).await?.and_then(|row| row.stamp);
    let uptime_ms = i64::try_from(status.uptime_ms).unwrap_or(i64::MAX);
    if last.is_some_and(|stamp| stamp.boot_id == status.boot_id && stamp.mono_ms > uptime_ms) {
        return Ok(None);
    }
    let detail = format!(
        "it says that its last record of epoch {:016x} is {}, and {held} is held: an old copy of it has come back",
        status.outbox_epoch, status.outbox_last_seq
    );
    Ok(Some(("box_restored", detail)))
}

/// Takes down what the box cannot read.
async fn take_silences<W: Work>(
    work: &mut W,
    state: &BoxState,
    silent: &[v1::SilentPrinter],
    now_ms: i64,
) -> Result<(), W::Error> {
    let before = work.silences(&state.id).await?;
    if silent.is_empty() && before.is_empty() {
        return Ok(());
    }
    let mut silences: Vec<Silence> = Vec::new();
    for printer in silent.iter().filter(|printer| !printer.device_key.is_empty()).take(SILENT_MAX) {
        let device_id = match work.device(&state.site, &printer.device_key).await? {
            Some(device_id) => device_id,
            None => work.add_device(&state.site, &printer.device_key, now_ms).await?,
        };
        if silences.iter().any(|silence| silence.device_id == device_id) {
            continue;
        }
        let known = before.iter().find(|silence| silence.device_id == device_id);
        silences.push(Silence {
            device_id,
            cause: printer.cause,
            detail: printer.detail.chars().take(DETAIL_MAX_CHARS).collect(),
            missed: printer.missed,
            since_ms: known.map_or(now_ms, |silence| silence.since_ms),
        });
    }
    work.put_silences(&state.id, &silences).await
}

/// What the box believes delivered and the cloud does not hold, after it was restored from a backup: of the present epoch, and of
/// those that have ended and are not let go yet.
async fn ask_again<W: Work>(
    work: &mut W,
    state: &BoxState,
    status: &v1::BoxStatus,
) -> Result<Vec<v1::Resend>, W::Error> {
    let ended = status.ended_epochs.iter().take(ENDED_MAX).map(|ended| (ended.epoch, ended.acknowledged));
    let present = (status.outbox_epoch, status.outbox_acknowledged);
    let mut resend = Vec::new();
    for (epoch, acknowledged) in ended.chain([present]) {
        if epoch == 0 || acknowledged == 0 {
            continue;
        }
        let mut progress = work.progress(&state.id, epoch).await?.unwrap_or_default();
        if progress.contiguous_seq >= acknowledged {
            continue;
        }
        progress.acknowledged_seq = progress.acknowledged_seq.max(acknowledged);
        progress.asked = progress.asked.saturating_add(1);
        work.put_progress(&state.id, epoch, &progress).await?;
        resend.push(v1::Resend { epoch, from_seq: progress.contiguous_seq + 1 });
    }
    Ok(resend)
}

/// It was not later than now when the box had been running for so long: that bounds what is not dated yet.
async fn bound_by_poll<W: Work>(
    work: &mut W,
    state: &BoxState,
    status: &v1::BoxStatus,
    now_ms: i64,
) -> Result<(), W::Error> {
    let epoch = status.outbox_epoch;
    let before = Clocks::new(work.boots(&state.id, epoch).await?);
    let mut clocks = before.clone();
    let Ok(mono_ms) = i64::try_from(status.uptime_ms) else { return Ok(()) };
    let Some(boot) = clocks.boot_mut(&status.boot_id).filter(|boot| !boot.is_known) else { return Ok(()) };
    if boot.not_later(Mark { mono_ms, unix_ms: now_ms }) {
        keep_clocks(work, state, epoch, &before, &clocks).await?;
        date_anew(work, state, epoch, &clocks).await?;
    }
    Ok(())
}

/// What a box says is wrong with itself, in words.
fn troubles(status: &v1::BoxStatus) -> String {
    let words = |trouble: &v1::Trouble| {
        crate::cause::Trouble::new(crate::cause::from_number(trouble.cause), &trouble.detail).to_string()
    };
    status.troubles.iter().take(4).map(words).collect::<Vec<_>>().join("; ")
}
