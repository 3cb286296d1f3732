//! Making room by thinning: of what waits for the cloud, of each printer and day, the first and the last record stay, and
//! what is kept by its label, and what one of those needs; of the others only number and hash, so that numbers stay
//! contiguous and the hash chain can be followed. Oldest days first; the newest day of a printer is left alone.
//!
//! Nothing about records is held in memory between thinnings. One goes through the files a few times, reading little more than
//! the heads of the records: once to learn which days there are, once for what is needed by what stays, then it
//! rewrites file by file. Each file is replaced in one step, and means the same before and after but for the payloads.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::generation::{Generation, Segment, Standing};
use super::limits::{MAX_BASES, MAX_GROUPS, MAX_SPANS, MAX_THINNING_ROUNDS};
use super::outbox::Outbox;
use super::record::{
    Chain, Flaw, HASH_BYTES, Head, Item, MAX_RUN, RECORD_HEAD_BYTES, RecordHead, SEGMENT_HEADER_BYTES, write_run,
};
use super::walk::{Obstacle, Walk};
use super::{Draft, Seq, StoreError};

/// The records of one printer and day in one epoch. In this order, so that the oldest days come first.
type SpanKey = (u32, u32, u64);

/// Day, generation, printer.
fn span_key(generation: &Generation, head: &RecordHead) -> SpanKey {
    (head.label.day, generation.state.generation, head.label.group)
}

#[derive(Debug, Clone, Copy)]
struct Span {
    first: Seq,
    last: Seq,
    /// Bytes that thinning could free, if no record were needed by another one.
    gain: u64,
    /// Of that, what the last record would have given.
    gain_of_last: u64,
}

/// What one look at all records has found.
#[derive(Debug, Default)]
struct Survey {
    /// The newest day of each printer.
    newest: HashMap<u64, u32>,
    spans: BTreeMap<SpanKey, Span>,
    /// There was more than could be remembered.
    is_partial: bool,
}

impl Survey {
    /// Takes note of a printer's day; says whether the printer can be told from others.
    fn note(&mut self, group: u64, day: u32) {
        if let Some(newest) = self.newest.get_mut(&group) {
            *newest = day.max(*newest);
        } else if self.newest.len() < MAX_GROUPS {
            self.newest.insert(group, day);
        } else {
            self.is_partial = true;
        }
    }

    fn add(&mut self, generation: &Generation, head: &RecordHead) {
        if head.label.group == 0 {
            return;
        }
        self.note(head.label.group, head.label.day);
        let may_go = head.label.can_be_thinned() && head.seq > generation.state.acknowledged();
        let gain = if may_go { (RECORD_HEAD_BYTES + head.length - HASH_BYTES) as u64 } else { 0 };
        let span = self.spans.entry(span_key(generation, head));
        let span = span.or_insert(Span { first: head.seq, last: head.seq, gain: 0, gain_of_last: 0 });
        if head.seq != span.first {
            span.last = head.seq;
            span.gain += gain;
            span.gain_of_last = gain;
        }
        if self.spans.len() > MAX_SPANS {
            self.spans.pop_last();
            self.is_partial = true;
        }
    }

    /// Whether this record goes, if days up to `up_to_day` are thinned and nothing needs it.
    fn is_dispensable(&self, generation: &Generation, head: &RecordHead, up_to_day: u32) -> bool {
        head.label.can_be_thinned()
            && head.label.day <= up_to_day
            && head.seq > generation.state.acknowledged()
            && self.newest.get(&head.label.group).is_some_and(|newest| head.label.day < *newest)
            && self
                .spans
                .get(&span_key(generation, head))
                .is_some_and(|span| head.seq > span.first && head.seq < span.last)
    }

    /// The days on which something could be freed, oldest first, with how many bytes.
    fn days(&self) -> BTreeMap<u32, u64> {
        let mut days = BTreeMap::new();
        for ((day, _, group), span) in &self.spans {
            let gain = span.gain - span.gain_of_last;
            if gain > 0 && self.newest.get(group).is_some_and(|newest| day < newest) {
                *days.entry(*day).or_insert(0) += gain;
            }
        }
        days
    }
}

/// Records that are needed by those that stay.
#[derive(Debug, Default)]
struct Needed {
    bases: HashSet<Seq>,
    /// There were too many to remember: whatever could be one counts as one.
    is_partial: bool,
}

impl Needed {
    fn add(&mut self, base: Option<Seq>) {
        let Some(base) = base else { return };
        if self.bases.len() < MAX_BASES || self.bases.contains(&base) {
            self.bases.insert(base);
        } else {
            self.is_partial = true;
        }
    }

    fn has(&self, head: &RecordHead) -> bool {
        self.bases.contains(&head.seq) || (self.is_partial && head.label.base.is_none())
    }
}

impl Outbox {
    /// Takes note of what is about to be appended: a new day of a printer makes an earlier one fit for thinning.
    pub(super) fn note_days(&mut self, drafts: &[Draft]) {
        let Some(newest) = &mut self.thinned_out else { return };
        for label in drafts.iter().map(|draft| &draft.label).filter(|label| label.group != 0) {
            match newest.get(&label.group) {
                Some(day) if label.day <= *day => {}
                None if newest.len() < MAX_GROUPS => {
                    newest.insert(label.group, label.day);
                }
                _ => {
                    self.thinned_out = None;
                    return;
                }
            }
        }
    }

    /// Thins until so many bytes are free, or nothing is left that may go. `drafts` is what is about to be appended.
    pub(super) fn thin(&mut self, drafts: &[Draft], bytes: u64) -> Result<(), StoreError> {
        let result = self.thin_days(drafts, bytes);
        match result {
            // What was rewritten is rewritten, the rest is as it was: the room that there is decides.
            Err(error) if error.is_disk_full() && !error.is_sync() => Ok(()),
            Err(error) => Err(self.fail(error)),
            Ok(()) => Ok(()),
        }
    }

    fn thin_days(&mut self, drafts: &[Draft], bytes: u64) -> Result<(), StoreError> {
        let survey = self.survey(drafts)?;
        let mut days = survey.days().into_iter();
        let mut freed = 0;
        for round in 1..=MAX_THINNING_ROUNDS {
            let mut expected = 0;
            let enough = |(_, gain): &(u32, u64)| {
                expected += gain;
                round < MAX_THINNING_ROUNDS && freed + expected >= bytes
            };
            // The days up to the one with which it should be enough, or all.
            let Some((day, _)) = last_until(&mut days, enough) else { break };
            freed += self.thin_up_to(&survey, drafts, day)?;
            if freed >= bytes {
                break;
            }
        }
        if freed < bytes && !survey.is_partial {
            self.thinned_out = Some(survey.newest);
        }
        if freed > 0 {
            self.join_segments()?;
            self.reserve().keep_ballast();
        }
        Ok(())
    }

    fn survey(&self, drafts: &[Draft]) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        for label in drafts.iter().map(|draft| &draft.label).filter(|label| label.group != 0) {
            survey.note(label.group, label.day);
        }
        for generation in self.generations() {
            self.each_record(generation, |head| survey.add(generation, head))?;
        }
        Ok(survey)
    }

    /// Shows the heads of all records of an epoch that have a payload.
    fn each_record(&self, generation: &Generation, mut show: impl FnMut(&RecordHead)) -> Result<(), StoreError> {
        generation.segments.iter().try_for_each(|segment| self.each_head(segment, &mut show))
    }

    /// The same of one segment.
    pub(super) fn each_head(&self, segment: &Segment, mut show: impl FnMut(&RecordHead)) -> Result<(), StoreError> {
        let mut walk = self.walk(segment);
        while let Some(head) = walk.head().map_err(|obstacle| obstacle.at(&walk.path))? {
            if let Head::Record(head) = &head {
                show(head);
            }
            walk.pass(head.bytes());
        }
        Ok(())
    }

    fn walk(&self, segment: &Segment) -> Walk<'_> {
        Walk::new(&*self.fs, segment.name.path(&self.dir), SEGMENT_HEADER_BYTES as u64, segment.bytes)
    }

    /// Thins all days up to this one; says how many bytes that freed.
    fn thin_up_to(&mut self, survey: &Survey, drafts: &[Draft], day: u32) -> Result<u64, StoreError> {
        let mut freed = 0;
        for index in 0..=self.closed.len() {
            let Some(generation) = self.generations().nth(index) else { break };
            let is_current = index == self.closed.len();
            let mut needed = Needed::default();
            if is_current {
                drafts.iter().for_each(|draft| needed.add(draft.label.base));
            }
            self.each_record(generation, |head| {
                if !survey.is_dispensable(generation, head, day) {
                    needed.add(head.label.base);
                }
            })?;
            for at in 0..generation.segments.len() {
                let generation = self.generations().nth(index);
                let Some((generation, segment)) = generation.and_then(|g| Some((g, g.segments.get(at)?))) else {
                    break;
                };
                let goes = |head: &RecordHead| survey.is_dispensable(generation, head, day) && !needed.has(head);
                // A damaged file is left as it is, as evidence.
                if segment.name.standing != Standing::Good {
                    continue;
                }
                let Some(thinned) = self.without_payloads(segment, generation.state.reached, goes)? else { continue };
                let is_active = is_current && at + 1 == generation.segments.len();
                self.reserve().replace(&segment.name.path(&self.dir), &thinned.bytes)?;
                freed += self.replaced(index, at, is_active, &thinned);
            }
        }
        Ok(freed)
    }

    /// Takes note that a file was replaced by a thinner one; says how many bytes that freed.
    fn replaced(&mut self, index: usize, at: usize, is_active: bool, thinned: &Thinned) -> u64 {
        self.place = None;
        if is_active {
            // The open file is the old one.
            self.active = None;
        }
        let Some(segment) = self.generation_mut(index).and_then(|generation| generation.segments.get_mut(at)) else {
            return 0;
        };
        let freed = segment.bytes.saturating_sub(thinned.bytes.len() as u64);
        segment.bytes = thinned.bytes.len() as u64;
        segment.thinned += thinned.count;
        freed
    }

    pub(super) fn generation_mut(&mut self, index: usize) -> Option<&mut Generation> {
        self.closed.iter_mut().chain([&mut self.current]).nth(index)
    }

    /// The contents of a segment file without the payloads that go; `None` when none does.
    fn without_payloads(
        &self,
        segment: &Segment,
        reached: u64,
        goes: impl Fn(&RecordHead) -> bool,
    ) -> Result<Option<Thinned>, StoreError> {
        let mut walk = self.walk(segment);
        let mut any = false;
        while let Some(head) = walk.head().map_err(|obstacle| obstacle.at(&walk.path))? {
            any |= matches!(&head, Head::Record(head) if goes(head));
            walk.pass(head.bytes());
        }
        if !any {
            return Ok(None);
        }
        let path = segment.name.path(&self.dir);
        let mut bytes = self.fs.read_at(&path, 0, SEGMENT_HEADER_BYTES).map_err(StoreError::io("read", &path))?;
        let mut walk = self.walk(segment);
        let mut run = Run::default();
        let mut count = 0;
        loop {
            let length = match walk.item() {
                Ok(None) => break,
                Ok(Some((Item::Record(head, _), length))) => {
                    if goes(&head) {
                        run.push(&mut bytes, head.seq, &head.sha256);
                        count += 1;
                        walk.pass(length);
                        continue;
                    }
                    length
                }
                Ok(Some((Item::Run { first, hashes }, length))) => {
                    for (seq, hash) in (first.0..).map(Seq).zip(hashes) {
                        run.push(&mut bytes, seq, hash);
                    }
                    walk.pass(length);
                    continue;
                }
                // Of no harm (the cloud has had it), and not to be made good by rewriting.
                Err(Obstacle::Flaw(Flaw::DamagedPayload(head))) if head.seq.0 <= reached => Head::Record(head).bytes(),
                Err(obstacle) => return Err(obstacle.at(&path)),
            };
            run.end(&mut bytes);
            bytes.extend_from_slice(walk.raw(length).map_err(|obstacle| obstacle.at(&path))?);
            walk.pass(length);
        }
        run.end(&mut bytes);
        Ok(Some(Thinned { bytes, count }))
    }

    /// Joins neighbouring segments that have become short, so that there are never more files than so and so many.
    /// The first of them takes in all; a crash before the others are removed leaves files of which the next opening
    /// sees that they are within another one.
    fn join_segments(&mut self) -> Result<(), StoreError> {
        for index in 0..=self.closed.len() {
            let is_current = index == self.closed.len();
            let mut at = 0;
            while let Some(joined) = self.joinable(index, at, is_current && self.active.is_some()) {
                if joined > 1 {
                    self.join(index, at, joined)?;
                }
                at += 1;
            }
        }
        Ok(())
    }

    /// How many segments from this one on fit together into one; `None` past the last.
    fn joinable(&self, index: usize, at: usize, spare_last: bool) -> Option<usize> {
        let segments = &self.generations().nth(index)?.segments;
        let count = segments.len().saturating_sub(usize::from(spare_last));
        if at >= count {
            return None;
        }
        let mut bytes = 0;
        let short = |segment: &&Segment| {
            bytes += segment.bytes;
            segment.name.standing == Standing::Good
                && segment.bytes <= self.limits.segment_bytes / 2
                && bytes <= self.limits.segment_bytes
        };
        Some(segments.range(at..count).take_while(short).count())
    }

    fn join(&mut self, index: usize, at: usize, joined: usize) -> Result<(), StoreError> {
        let Some(generation) = self.generations().nth(index) else { return Ok(()) };
        let mut whole = Vec::new();
        for segment in generation.segments.range(at..at + joined) {
            let path = segment.name.path(&self.dir);
            let skipped = if whole.is_empty() { 0 } else { SEGMENT_HEADER_BYTES as u64 };
            let wanted = usize::try_from(segment.bytes - skipped).unwrap_or(usize::MAX);
            let bytes = self.fs.read_at(&path, skipped, wanted).map_err(StoreError::io("read", &path))?;
            if bytes.len() != wanted {
                return Err(Obstacle::Flaw(Flaw::Damaged("it became shorter")).at(&path));
            }
            whole.extend_from_slice(&bytes);
        }
        let Some(path) = generation.segments.get(at).map(|segment| segment.name.path(&self.dir)) else { return Ok(()) };
        self.reserve().replace(&path, &whole)?;
        self.place = None;
        let Some(generation) = self.generation_mut(index) else { return Ok(()) };
        let others: Vec<Segment> = generation.segments.drain(at + 1..at + joined).collect();
        if let (Some(first), Some(last)) = (generation.segments.get_mut(at), others.last()) {
            first.last = last.last;
            first.bytes = whole.len() as u64;
            first.thinned += others.iter().map(|segment| segment.thinned).sum::<u64>();
        }
        for segment in others {
            let _ = self.fs.remove(&segment.name.path(&self.dir));
        }
        Ok(())
    }
}

/// A rewritten segment.
struct Thinned {
    bytes: Vec<u8>,
    /// How many records were thinned now.
    count: u64,
}

/// A run of thinned records as it grows.
#[derive(Default)]
struct Run {
    first: Seq,
    hashes: Vec<Chain>,
}

impl Run {
    fn push(&mut self, bytes: &mut Vec<u8>, seq: Seq, sha256: &Chain) {
        if self.hashes.len() >= MAX_RUN {
            self.end(bytes);
        }
        if self.hashes.is_empty() {
            self.first = seq;
        }
        self.hashes.push(*sha256);
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        if !self.hashes.is_empty() {
            write_run(bytes, self.first, &self.hashes);
            self.hashes.clear();
        }
    }
}

/// Takes items up to the first for which `enough` says so; answers with the last that was taken.
fn last_until<T>(items: &mut impl Iterator<Item = T>, mut enough: impl FnMut(&T) -> bool) -> Option<T> {
    let mut last = None;
    for item in items {
        let is_enough = enough(&item);
        last = Some(item);
        if is_enough {
            break;
        }
    }
    last
}
