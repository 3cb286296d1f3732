//! Ending an epoch because the cloud wishes it. An old copy of the outbox came back (a memory card was put back to what it was),
//! and gave numbers again that the cloud has under other contents. What the box holds after the last number that both have
//! alike is accepted anew, in the epoch that begins: moved there, in its order, before anything else is accepted.
//!
//! How far that has come is not written down: it is the number of records in the epochs since. Each portion is a whole file, put
//! there in one step, so wherever the power fails the next portion begins behind the last. What was moved is removed when all is.

use super::files::{TEMPORARY, with_suffix, write_atomically};
use super::generation::{Generation, Segment, SegmentName, Standing};
use super::limits::{MAX_CLOSED_EPOCHS, MAX_MOVED_BYTES};
use super::outbox::Outbox;
use super::record::{Chain, Item, SEGMENT_HEADER_BYTES, next_chain, write_record, write_run, write_segment_header};
use super::state::{Cut, EpochState, State};
use super::walk::{Obstacle, Walk};
use super::{Draft, Epoch, Seq, StoreError};
use crate::sys::Entropy;

/// A record that is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It is accepted anew as this.
    Draft(Draft),
    /// Only its hash is left.
    Thinned(Chain),
}

/// Some records that are to be moved.
#[derive(Debug)]
pub struct Portion {
    /// The epoch in which they were accepted; bases in their labels are numbers of it.
    pub from: Epoch,
    /// The number that the first of them gets; the others follow.
    pub first: Seq,
    /// In their order.
    pub records: Vec<Moved>,
}

impl Outbox {
    /// Ends this epoch after this number (but after nothing that is acknowledged), and begins a new one. What the epoch holds
    /// after it is to be [moved](Self::move_on). Says whether it was ended now: not when it was before, when nothing is
    /// held of it, or while there are too many ended ones that wait (16).
    ///
    /// # Errors
    /// When the disk refuses, or there is no randomness; then nothing is changed.
    pub fn end_epoch(&mut self, epoch: Epoch, after: Seq, entropy: &dyn Entropy) -> Result<bool, StoreError> {
        self.check_usable()?;
        let Ok((index, generation)) = self.named(epoch) else { return Ok(false) };
        if generation.state.cut.is_some() || self.is_moving() {
            return Ok(false);
        }
        let after = after.0.max(generation.state.acknowledged).min(generation.last().0);
        let is_moved = Seq(after) >= generation.end();
        if is_moved && index < self.closed.len() {
            return Ok(false);
        }
        let is_spare = |(at, closed): (usize, &Generation)| at != index && closed.pending() == 0;
        let spare = match self.closed.len() {
            count if count < MAX_CLOSED_EPOCHS => None,
            _ => match self.closed.iter().enumerate().position(is_spare) {
                None => return Ok(false),
                spare => spare,
            },
        };
        let into = self.current.state.generation.saturating_add(1);
        let fresh = EpochState::new(into, entropy.nonzero_u64()?);
        let cut = Some(Cut { after, into, is_moved });
        let mut states = self.states();
        if let Some(state) = states.get_mut(index) {
            state.cut = cut;
        }
        if let Some(spare) = spare {
            states.remove(spare);
        }
        let state = State::new(self.clock, fresh.clone(), states);
        if let Err(error) = self.reserve().save(&state) {
            return Err(self.fail(error));
        }
        if let Some(generation) = self.generation_mut(index) {
            generation.state.cut = cut;
        }
        let ended = std::mem::replace(&mut self.current, Generation::new(fresh));
        self.closed.push(ended);
        if let Some(spare) = spare {
            let spare = self.closed.remove(spare);
            self.remove_files(spare.segments.into_iter().map(|segment| segment.name));
        }
        (self.active, self.place, self.thinned_out) = (None, None, None);
        Ok(true)
    }

    /// Whether records of an ended epoch are yet to be [moved](Self::move_on). Until they are, nothing is accepted.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.closed.iter().any(Generation::is_moving)
    }

    /// Moves some records of an ended epoch into the present one; says whether there are more. `make` says as what each of
    /// them is accepted: as many as it is shown, with bases in the present epoch.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room beside the old ones: to be tried again when the cloud has taken something.
    /// After any other error nothing more is taken until the outbox is opened again.
    pub fn move_on(
        &mut self,
        make: impl FnOnce(&Self, Portion) -> Result<Vec<Moved>, StoreError>,
    ) -> Result<bool, StoreError> {
        self.check_usable()?;
        let Some(index) = self.closed.iter().position(Generation::is_moving) else { return Ok(false) };
        let portion = match self.closed.get(index).map(|generation| self.portion(generation)).transpose() {
            Err(error) => return Err(self.fail(error)),
            Ok(portion) => portion.flatten(),
        };
        let Some(portion) = portion else {
            self.end_moving(index)?;
            return Ok(self.is_moving());
        };
        let count = portion.records.len();
        let moved = match make(self, portion) {
            Err(error) => return Err(self.fail(error)),
            Ok(moved) => moved,
        };
        if moved.len() != count {
            return Err(self.fail(StoreError::Failed("another number of records was to be moved".to_owned())));
        }
        self.append_moved(&moved)?;
        Ok(true)
    }

    /// The next records of an ended epoch; `None` when all are moved.
    fn portion(&self, generation: &Generation) -> Result<Option<Portion>, StoreError> {
        let Some(cut) = generation.state.cut else { return Ok(None) };
        let next = Seq(cut.after.saturating_add(self.moved(cut)).saturating_add(1));
        let index = generation.segments.partition_point(|segment| segment.last < next);
        let Some(segment) = generation.segments.get(index) else { return Ok(None) };
        let place = self.find(generation, segment, next)?;
        let mut walk = Walk::new(&*self.fs, segment.name.path(&self.dir), place.offset, segment.bytes);
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < MAX_MOVED_BYTES {
            let length = match walk.item() {
                Ok(None) => break,
                Ok(Some((Item::Record(head, payload), length))) => {
                    bytes += length;
                    records.push(Moved::Draft(Draft { payload: payload.to_vec(), label: head.label }));
                    length
                }
                Ok(Some((Item::Run { first, hashes }, length))) => {
                    let wanted = (first.0..).zip(hashes).filter(|(seq, _)| *seq >= next.0);
                    records.extend(wanted.map(|(_, hash)| Moved::Thinned(*hash)));
                    bytes += length;
                    length
                }
                Err(obstacle) => return Err(obstacle.at(&walk.path)),
            };
            walk.pass(length);
        }
        let first = Seq(self.last_seq().0.saturating_add(1));
        Ok(Some(Portion { from: generation.state.epoch(), first, records }))
    }

    /// How many records are moved.
    fn moved(&self, cut: Cut) -> u64 {
        self.generations().filter(|later| later.state.generation >= cut.into).map(|later| later.last().0).sum()
    }

    /// How many records are yet to be moved.
    pub(super) fn unmoved(&self) -> u64 {
        let moving = self.closed.iter().filter(|generation| generation.is_moving());
        let left = |generation: &Generation| {
            let cut = generation.state.cut?;
            Some(generation.end().0.saturating_sub(cut.after).saturating_sub(self.moved(cut)))
        };
        moving.filter_map(left).sum()
    }

    /// A payload by its number, where it is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn payload(&self, epoch: Epoch, seq: Seq) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok((_, generation)) = self.named(epoch) else { return Ok(None) };
        let index = generation.segments.partition_point(|segment| segment.last < seq);
        let Some(segment) = generation.segments.get(index).filter(|segment| segment.name.first <= seq) else {
            return Ok(None);
        };
        let place = self.find(generation, segment, seq)?;
        let mut walk = Walk::new(&*self.fs, segment.name.path(&self.dir), place.offset, segment.bytes);
        match walk.item() {
            Ok(Some((Item::Record(head, payload), _))) if head.seq == seq => Ok(Some(payload.to_vec())),
            Err(Obstacle::Io(cause)) => Err(Obstacle::Io(cause).at(&walk.path)),
            _ => Ok(None),
        }
    }

    /// Puts moved records into a file of their own, in one step.
    fn append_moved(&mut self, moved: &[Moved]) -> Result<(), StoreError> {
        let first = Seq(self.last_seq().0.saturating_add(1));
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES + MAX_MOVED_BYTES);
        let mut chain = self.current.chain;
        write_segment_header(&mut bytes, self.epoch(), first, &chain);
        let mut last = first;
        for (seq, moved) in (first.0..).map(Seq).zip(moved) {
            let sha256 = match moved {
                Moved::Draft(draft) => write_record(&mut bytes, seq, &draft.label, &draft.payload),
                Moved::Thinned(sha256) => {
                    write_run(&mut bytes, seq, &[*sha256]);
                    *sha256
                }
            };
            chain = next_chain(&chain, seq, &sha256);
            last = seq;
        }
        let (length, max_bytes) = (bytes.len() as u64, self.limits.max_total_bytes);
        let over = |outbox: &Self| outbox.used_bytes().saturating_add(length).saturating_sub(max_bytes);
        if over(self) > 0 {
            self.give_up_tail(&[], over(self))?;
        }
        let full = |outbox: &Self| StoreError::Full { used_bytes: outbox.used_bytes(), max_bytes };
        if over(self) > 0 {
            return Err(full(self));
        }
        let name = SegmentName { generation: self.current.state.generation, first, standing: Standing::Good };
        let path = name.path(&self.dir);
        match write_atomically(&*self.fs, &path, &bytes) {
            Ok(()) => {}
            Err(error) if error.is_disk_full() && !error.is_sync() => {
                // It is left over and overwritten the next time, or removed when the outbox is opened.
                let _ = self.fs.remove(&with_suffix(&path, TEMPORARY));
                return Err(full(self));
            }
            Err(error) => return Err(self.fail(error)),
        }
        let thinned = moved.iter().filter(|moved| matches!(moved, Moved::Thinned(_))).count() as u64;
        self.current.segments.push_back(Segment { name, last, bytes: length, thinned });
        self.current.chain = chain;
        self.active = None;
        Ok(())
    }

    /// Takes note that all is moved, and removes the old.
    fn end_moving(&mut self, index: usize) -> Result<(), StoreError> {
        let mut states = self.states();
        if let Some(cut) = states.get_mut(index).and_then(|state| state.cut.as_mut()) {
            cut.is_moved = true;
        }
        self.commit(self.clock, states)?;
        self.place = None;
        let files = self.closed.get_mut(index).map(Generation::clip).unwrap_or_default();
        self.remove_files(files);
        self.closed.retain(Generation::is_worth_keeping);
        Ok(())
    }

    /// Removes files of which nothing is awaited any more. Should it fail, the next opening does it.
    fn remove_files(&self, names: impl IntoIterator<Item = SegmentName>) {
        for name in names.into_iter().filter(|name| name.standing == Standing::Good) {
            let _ = self.fs.remove(&name.path(&self.dir));
        }
    }
}
