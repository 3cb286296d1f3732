//! Reading what waits for the cloud.

use super::generation::{Generation, Segment};
use super::limits::{MAX_APPEND_BYTES, MAX_BATCH_ENTRIES};
use super::outbox::Outbox;
use super::record::{Chain, Flaw, Head, Item, SEGMENT_HEADER_BYTES, next_chain, read_segment_header};
use super::walk::{Obstacle, Walk};
use super::{Batch, Content, Entry, Seq, StoreError};

/// Where the last batch began, so that the next one need not be looked for from the beginning of its segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    generation: u32,
    segment: Seq,
    /// Offset in the file of an item, the first number in it, and the hash chain before it.
    pub offset: u64,
    seq: Seq,
    chain: Chain,
}

/// A batch as it grows.
struct Growing {
    entries: Vec<Entry>,
    chain: Chain,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
    /// What comes after it belongs to another epoch.
    up_to: Seq,
}

impl Growing {
    /// Whether another payload, of this number and length, belongs into it.
    fn takes(&self, seq: Seq, length: usize) -> bool {
        let fits = self.bytes.saturating_add(length) <= self.max_bytes;
        seq <= self.up_to && self.entries.len() < self.max_count && (fits || self.entries.is_empty())
    }

    fn push(&mut self, seq: Seq, sha256: Chain, content: Content) {
        self.chain = next_chain(&self.chain, seq, &sha256);
        self.bytes += content.payload().map_or(0, <[u8]>::len);
        self.entries.push(Entry { seq, sha256, content, chain: self.chain });
    }
}

impl Outbox {
    /// The oldest payloads that are not acknowledged, in order, all of one epoch; `None` when nothing waits. At most
    /// `max_count`, and at most `max_bytes` of payload together, but always at least one when there is any (and
    /// `max_count` is not 0): a payload must not be able to block the queue.
    ///
    /// # Errors
    /// When the disk refuses, or a record is not what was written. Then nothing more is taken until the outbox is
    /// opened again, which sets the file aside.
    pub fn next_batch(&mut self, max_count: usize, max_bytes: usize) -> Result<Option<Batch>, StoreError> {
        if max_count == 0 {
            return Ok(None);
        }
        let max = (max_count.min(MAX_BATCH_ENTRIES), max_bytes.min(MAX_APPEND_BYTES));
        match self.read_batch(max.0, max.1) {
            Err(error @ StoreError::Damaged { .. }) => Err(self.fail(error)),
            other => other,
        }
    }

    fn read_batch(&mut self, max_count: usize, max_bytes: usize) -> Result<Option<Batch>, StoreError> {
        let waits = |generation: &&Generation| {
            let acknowledged = generation.state.acknowledged();
            generation.end().min(generation.last()) > acknowledged
        };
        let Some(generation) = self.generations().find(waits) else { return Ok(None) };
        let epoch = generation.state.epoch();
        let first = Seq(generation.state.acknowledged.saturating_add(1));
        let mut index = generation.segments.partition_point(|segment| segment.last < first);
        let Some(segment) = generation.segments.get(index) else { return Ok(None) };
        let place = self.find(generation, segment, first)?;
        let up_to = generation.last();
        let mut growing = Growing { entries: Vec::new(), chain: place.chain, bytes: 0, max_count, max_bytes, up_to };
        // The item may be a run that begins before the first number that is wanted.
        let mut previous_chain = None;
        let mut offset = place.offset;
        while let Some(segment) = generation.segments.get(index) {
            let mut walk = Walk::new(&*self.fs, segment.name.path(&self.dir), offset, segment.bytes);
            let is_whole = take_from(&mut walk, generation.state.reached, first, &mut growing, &mut previous_chain)?;
            if !is_whole {
                break;
            }
            index += 1;
            offset = SEGMENT_HEADER_BYTES as u64;
        }
        self.place = Some(place);
        if growing.entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(Batch { epoch, previous_chain: previous_chain.unwrap_or(place.chain), entries: growing.entries }))
    }

    /// Finds the item that holds this number of the segment.
    pub(super) fn find(&self, generation: &Generation, segment: &Segment, seq: Seq) -> Result<Place, StoreError> {
        let path = segment.name.path(&self.dir);
        let number = generation.state.generation;
        let is_near =
            |place: &Place| (place.generation, place.segment) == (number, segment.name.first) && place.seq <= seq;
        let mut place = match self.place.filter(is_near) {
            Some(place) => place,
            None => {
                let head = self.fs.read_at(&path, 0, SEGMENT_HEADER_BYTES).map_err(StoreError::io("read", &path))?;
                let (_, first, chain) = read_segment_header(&head).map_err(|flaw| Obstacle::Flaw(flaw).at(&path))?;
                let offset = SEGMENT_HEADER_BYTES as u64;
                Place { generation: number, segment: segment.name.first, offset, seq: first, chain }
            }
        };
        let mut walk = Walk::new(&*self.fs, path, place.offset, segment.bytes);
        loop {
            let shorter = || Obstacle::Flaw(Flaw::Damaged("it became shorter"));
            let head =
                walk.head().and_then(|head| head.ok_or_else(shorter)).map_err(|obstacle| obstacle.at(&walk.path))?;
            if head.first() != place.seq {
                return Err(misplaced(&walk));
            }
            if head.first().0 + head.count() > seq.0 {
                return Ok(place);
            }
            match (head, walk.item()) {
                (Head::Record(head), _) => place.chain = next_chain(&place.chain, head.seq, &head.sha256),
                (Head::Run { .. }, Ok(Some((Item::Run { first, hashes }, _)))) => {
                    for (seq, hash) in (first.0..).map(Seq).zip(hashes) {
                        place.chain = next_chain(&place.chain, seq, hash);
                    }
                }
                (Head::Run { .. }, Err(obstacle)) => return Err(obstacle.at(&walk.path)),
                (Head::Run { .. }, Ok(_)) => return Err(misplaced(&walk)),
            }
            place.seq = Seq(head.first().0 + head.count());
            walk.pass(head.bytes());
            place.offset = walk.offset;
        }
    }
}

/// Takes what belongs into the batch out of a segment; says whether it took all up to its end.
fn take_from(
    walk: &mut Walk<'_>,
    reached: u64,
    first: Seq,
    growing: &mut Growing,
    previous_chain: &mut Option<Chain>,
) -> Result<bool, StoreError> {
    let mut expected: Option<Seq> = growing.entries.last().map(|entry| Seq(entry.seq.0 + 1));
    loop {
        let head = match walk.head() {
            Ok(None) => return Ok(true),
            Ok(Some(head)) => head,
            Err(obstacle) => return Err(obstacle.at(&walk.path)),
        };
        if expected.is_some_and(|expected| expected != head.first()) {
            return Err(misplaced(walk));
        }
        match head {
            Head::Record(head) => {
                if !growing.takes(head.seq, head.length) {
                    return Ok(false);
                }
                previous_chain.get_or_insert(growing.chain);
                match walk.item() {
                    Ok(Some((Item::Record(head, payload), _))) => {
                        growing.push(head.seq, head.sha256, Content::Payload(payload.to_vec()));
                    }
                    // The cloud had it once and asks again: its number and its hash are all that is left of it.
                    Err(Obstacle::Flaw(Flaw::DamagedPayload(head))) if head.seq.0 <= reached => {
                        growing.push(head.seq, head.sha256, Content::Thinned);
                    }
                    Err(obstacle) => return Err(obstacle.at(&walk.path)),
                    Ok(_) => return Err(misplaced(walk)),
                }
            }
            Head::Run { .. } => {
                let (begin, hashes) = match walk.item() {
                    Ok(Some((Item::Run { first, hashes }, _))) => (first, hashes),
                    Err(obstacle) => return Err(obstacle.at(&walk.path)),
                    Ok(_) => return Err(misplaced(walk)),
                };
                for (seq, hash) in (begin.0..).map(Seq).zip(hashes) {
                    if seq < first {
                        growing.chain = next_chain(&growing.chain, seq, hash);
                        continue;
                    }
                    if !growing.takes(seq, 0) {
                        return Ok(false);
                    }
                    previous_chain.get_or_insert(growing.chain);
                    growing.push(seq, *hash, Content::Thinned);
                }
            }
        }
        expected = Some(Seq(head.first().0 + head.count()));
        walk.pass(head.bytes());
    }
}

fn misplaced(walk: &Walk<'_>) -> StoreError {
    let flaw = Flaw::Damaged("a record has another number than its place");
    Obstacle::Flaw(flaw).at(&walk.path)
}
