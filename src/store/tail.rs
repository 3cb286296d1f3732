//! What the cloud has said that it holds, and how long that is kept all the same.

use super::generation::{Generation, Segment, Standing};
use super::limits::{BASE_REACH_PARTS, CLOCK_SAVE_S, MAX_OPEN_S, TAIL_S};
use super::outbox::Outbox;
use super::state::EpochState;
use super::{Draft, Epoch, Resend, Seq, StoreError};

impl Outbox {
    /// Takes note, durably, that the cloud holds everything of this epoch up to this number. It is kept for seven days
    /// more, for a cloud that is restored from a backup and [asks again](Self::resend_from), if the room is not needed
    /// before; whole segments that are older are removed. Returns how many payloads were newly acknowledged: 0 when the
    /// cloud told nothing new. A number below an earlier one changes nothing.
    ///
    /// `now_unix_s` is the wall clock, seconds since 1970. The seven days are counted by its steps: a step back counts
    /// nothing, a step forward one day at most, so a clock that is set right by decades does not end them, one that is
    /// set back stops them only once, and while the box is without power at most one day passes. They may so last longer, by
    /// the time without power, but end for every box that runs; of a clock that stands still, room that is needed makes
    /// an end.
    ///
    /// # Errors
    /// When the number or the epoch was never given (nothing is changed then), or the disk refuses. Of an epoch that ended with
    /// damage the cloud may have more than is left here.
    pub fn acknowledge(&mut self, epoch: Epoch, seq: Seq, now_unix_s: u64) -> Result<u64, StoreError> {
        self.check_usable()?;
        let (index, generation) = self.named(epoch)?;
        let (last, before) = (generation.last(), generation.state.acknowledged());
        // An epoch ends with damage: the cloud may have had what the disk has lost of it.
        let has_ended = index < self.closed.len();
        let seq = if has_ended { seq.min(last) } else { seq };
        if seq > last {
            return Err(StoreError::AcknowledgedTooMuch { epoch, seq, last });
        }
        if seq <= before {
            return Ok(0);
        }
        let clock = self.clock.at(now_unix_s);
        let mut states = self.states();
        if let Some(state) = states.get_mut(index) {
            state.mark(seq, clock.lived_s);
        }
        self.release_old(&mut states, clock.lived_s);
        self.commit(clock, states)?;
        self.remove_released();
        self.keep_ballast()?;
        Ok(seq.0 - before.0)
    }

    /// Removes what was acknowledged more than seven days ago (see [`acknowledge`](Self::acknowledge) for what counts as
    /// a day). To be called now and then, every few minutes to hours; it writes only when there is something to write.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn tidy(&mut self, now_unix_s: u64) -> Result<(), StoreError> {
        self.check_usable()?;
        let clock = self.clock.at(now_unix_s);
        let mut states = self.states();
        self.release_old(&mut states, clock.lived_s);
        let releases = |(state, generation): (&EpochState, &Generation)| state.released > generation.state.released;
        let is_new = states.iter().zip(self.generations()).any(releases);
        if is_new || clock.lived_s - self.saved_lived_s >= CLOCK_SAVE_S {
            self.commit(clock, states)?;
        } else {
            self.clock = clock;
        }
        self.remove_released();
        self.keep_ballast()?;
        if let Some(segment) = self.current.segments.back() {
            let marks = &self.current.state.marks;
            let is_old = marks
                .iter()
                .any(|mark| mark.0 >= segment.name.first.0 && clock.lived_s.saturating_sub(mark.1) >= MAX_OPEN_S);
            if is_old && !segment.is_empty() {
                self.active = None;
            }
        }
        Ok(())
    }

    /// The cloud was restored from a backup and lacks everything of this epoch from this number on: what is still held of
    /// it waits again, durably, and comes with the [next batches](Self::next_batch) under its old numbers. Where the
    /// first of it is not held any more, they begin with the first that is.
    ///
    /// # Errors
    /// When the number or the epoch was never given (nothing is changed then), or the disk refuses.
    pub fn resend_from(&mut self, epoch: Epoch, seq: Seq) -> Result<Resend, StoreError> {
        self.check_usable()?;
        let (index, generation) = self.named(epoch)?;
        let last = generation.last();
        if seq.0 > last.0.saturating_add(1) {
            return Err(StoreError::NeverGiven { epoch, seq, last });
        }
        let wanted = seq.0.max(1);
        let held = wanted.max(generation.first_held().0);
        let before = generation.state.acknowledged;
        if wanted > before {
            return Ok(Resend::default());
        }
        let acknowledged = held.saturating_sub(1).min(before);
        let resend = Resend { again: before - acknowledged, lost: held.min(before + 1) - wanted };
        if resend.again > 0 {
            let mut states = self.states();
            if let Some(state) = states.get_mut(index) {
                state.take_back(acknowledged);
            }
            self.commit(self.clock, states)?;
            self.place = None;
        }
        Ok(resend)
    }

    /// The epoch of this name, and its place among [`states`](Self::states).
    pub(super) fn named(&self, epoch: Epoch) -> Result<(usize, &Generation), StoreError> {
        let mut known = self.generations().enumerate();
        known.find(|(_, generation)| generation.state.epoch() == epoch).ok_or(StoreError::UnknownEpoch(epoch))
    }

    /// Lets go, in these states, of whole segments that were acknowledged long enough ago.
    fn release_old(&self, states: &mut [EpochState], now_s: u64) {
        for (state, generation) in states.iter_mut().zip(self.generations()) {
            let old = Seq(state.older_than(TAIL_S, now_s));
            for segment in self.removable(generation).take_while(|segment| segment.last <= old) {
                release(state, segment);
            }
        }
    }

    /// Lets go of delivered segments, oldest first, until so many bytes are free. (What was taken back is not delivered.) Whole
    /// readings stay that are needed by what waits: a cloud that was restored from a backup may have lost them, and could not
    /// read what comes then. `drafts` is what is about to be appended.
    pub(super) fn give_up_tail(&mut self, drafts: &[Draft], bytes: u64) -> Result<(), StoreError> {
        let mut states = self.states();
        let mut freed = 0;
        let current = self.current.state.generation;
        for (state, generation) in states.iter_mut().zip(self.generations()) {
            let acknowledged = generation.state.acknowledged();
            let delivered: Vec<_> =
                self.removable(generation).take_while(|segment| segment.last <= acknowledged).collect();
            if delivered.is_empty() || freed >= bytes {
                continue;
            }
            let drafts = if generation.state.generation == current { drafts } else { &[] };
            let Ok(needed) = self.oldest_base(generation, drafts) else {
                // Damaged, or not to be read now: delivering meets it, and has an answer to it.
                continue;
            };
            for segment in delivered.into_iter().take_while(|segment| segment.last < needed) {
                if freed >= bytes {
                    break;
                }
                freed += segment.bytes;
                release(state, segment);
            }
        }
        if freed > 0 {
            self.commit(self.clock, states)?;
            self.remove_released();
        }
        Ok(())
    }

    /// The lowest number of this epoch that is the base of something that waits in it, or of one of the drafts.
    fn oldest_base(&self, generation: &Generation, drafts: &[Draft]) -> Result<Seq, StoreError> {
        let acknowledged = generation.state.acknowledged();
        let mut oldest = drafts.iter().filter_map(|draft| draft.label.base).min().unwrap_or(Seq(u64::MAX));
        for segment in generation.segments.iter().filter(|segment| segment.last > acknowledged) {
            self.each_head(segment, |head| {
                if let Some(base) = head.label.base.filter(|_| head.seq > acknowledged) {
                    oldest = oldest.min(base);
                }
            })?;
        }
        Ok(oldest)
    }

    /// From this number on a record may be the base of new ones: so near that a small outbox need not keep most of what it
    /// holds for the sake of a few. What is farther back than a quarter of the quota is better told whole again.
    #[must_use]
    pub fn bases_from(&self) -> Seq {
        let mut behind = 0;
        for segment in self.current.segments.iter().rev() {
            behind += segment.bytes;
            if behind > self.limits.max_total_bytes / BASE_REACH_PARTS {
                return segment.name.first;
            }
        }
        Seq(1)
    }

    /// Makes the ballast again where it was given up; where there is no room for it, out of the tail.
    fn keep_ballast(&mut self) -> Result<(), StoreError> {
        if !self.reserve().keep_ballast() {
            self.give_up_tail(&[], self.limits.ballast_bytes())?;
        }
        Ok(())
    }

    /// The segments of an epoch that are not let go, without the last of the current one: it says which number is next.
    fn removable<'a>(&self, generation: &'a Generation) -> impl Iterator<Item = &'a Segment> {
        let is_current = generation.state.generation == self.current.state.generation;
        let released = generation.state.released;
        let count = generation.segments.len() - usize::from(is_current && !generation.segments.is_empty());
        generation.segments.iter().take(count).skip_while(move |segment| segment.last.0 <= released)
    }

    /// Removes the files of segments that are let go. The state that says so is durable already, so it does no harm when
    /// a removal fails or is undone by a power cut.
    pub(super) fn remove_released(&mut self) {
        let mut removed = false;
        let closed = self.closed.iter_mut().map(|generation| (generation, 0));
        for (generation, keep) in closed.chain([(&mut self.current, 1)]) {
            while generation.segments.len() > keep {
                let released = generation.state.released;
                let Some(segment) = generation.segments.front().filter(|segment| segment.last.0 <= released) else {
                    break;
                };
                // A damaged file stays as evidence; the next opening limits how many.
                if segment.name.standing == Standing::Good {
                    match self.fs.remove(&segment.name.path(&self.dir)) {
                        Ok(()) => removed = true,
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(_) => break,
                    }
                }
                generation.segments.pop_front();
            }
        }
        self.closed.retain(Generation::is_worth_keeping);
        if removed {
            self.reserve().keep_ballast();
        }
    }
}

fn release(state: &mut EpochState, segment: &Segment) {
    state.released = segment.last.0;
    state.thinned = state.thinned.saturating_add(segment.thinned);
}
