//! The bytes of a segment file. All numbers are little-endian, but those that go into the hash chain.
//!
//! ```text
//! segment: magic "PLTNSEG2" | epoch u64 | first sequence number u64 | hash chain before it 32 bytes
//!          | CRC32 of these u32 | items...
//! record:  kind u8 << 24 + payload length u32 | sequence number u64 | group u64 | day u32
//!          | distance back to the base u32, 0: none | SHA-256 of the payload 32 bytes | CRC32 of these u32 | payload
//! run:     kind u8 << 24 + count u32 | first sequence number u64 | 12 bytes of zeros | CRC32 of these u32
//!          | SHA-256 of each payload that was there | CRC32 of the hashes u32
//! ```
//! The head of a record has a check of its own so that a record that is merely cut off (power failed while it was
//! appended) can be told from one that was damaged later: a cut leaves the head right and the end missing; damage
//! cannot. A run stands for records that were thinned; it is only ever written with a whole new file, so it is never
//! cut off. (The zeros make it as long as the head of a record, so that it cannot be taken for one that is cut off.)

use ring::digest::{Context, SHA256, digest};

use super::{Epoch, Label, MAX_PAYLOAD_BYTES, Seq};

const MAGIC: &[u8; 8] = b"PLTNSEG2";
pub(super) const SEGMENT_HEADER_BYTES: usize = 60;
/// What a record takes besides its payload.
pub(super) const RECORD_HEAD_BYTES: usize = 64;
/// What a run takes besides its hashes.
pub(super) const RUN_OVERHEAD_BYTES: usize = 32;
const RUN_PADDING_BYTES: usize = 12;
const RUN_HEAD_BYTES: usize = 28;
pub(super) const HASH_BYTES: usize = 32;
/// The longest run: as long as a short segment, far below the longest record.
pub(super) const MAX_RUN: usize = 4_096;
/// The longest item.
pub(super) const MAX_ITEM_BYTES: usize = MAX_PAYLOAD_BYTES + RECORD_HEAD_BYTES;
const _: () = assert!(MAX_RUN * HASH_BYTES + RUN_OVERHEAD_BYTES <= MAX_ITEM_BYTES);
const _: () = assert!(RUN_OVERHEAD_BYTES + HASH_BYTES >= RECORD_HEAD_BYTES);

const KIND_RECORD: u32 = 1;
const KIND_KEPT: u32 = 2;
const KIND_RUN: u32 = 3;
const KIND_SHIFT: u32 = 24;
const LENGTH_MASK: u32 = (1 << KIND_SHIFT) - 1;
const _: () = assert!(MAX_PAYLOAD_BYTES <= LENGTH_MASK as usize);

/// A value of the hash chain, or a hash.
pub(super) type Chain = [u8; HASH_BYTES];

/// The hash chain of an epoch before its first record.
pub(super) fn first_chain(epoch: Epoch) -> Chain {
    sha256(&epoch.0.to_be_bytes())
}

/// The hash chain after a record.
pub(super) fn next_chain(before: &Chain, seq: Seq, sha256: &Chain) -> Chain {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&seq.0.to_be_bytes());
    context.update(sha256);
    finish(context)
}

pub(super) fn sha256(bytes: &[u8]) -> Chain {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

fn finish(context: Context) -> Chain {
    let mut chain = [0; HASH_BYTES];
    // SHA-256 has 32 bytes.
    chain.copy_from_slice(context.finish().as_ref());
    chain
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub seq: Seq,
    pub label: Label,
    pub sha256: Chain,
    pub length: usize,
}

/// The head of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Record(RecordHead),
    /// Records that were thinned, from this one on, so many.
    Run {
        first: Seq,
        count: usize,
    },
}

impl Head {
    /// The first number in it.
    pub fn first(&self) -> Seq {
        match self {
            Self::Record(head) => head.seq,
            Self::Run { first, .. } => *first,
        }
    }

    /// How many numbers it stands for.
    pub fn count(&self) -> u64 {
        match self {
            Self::Record(_) => 1,
            Self::Run { count, .. } => *count as u64,
        }
    }

    /// How many bytes the whole item takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Record(head) => RECORD_HEAD_BYTES + head.length,
            Self::Run { count, .. } => RUN_OVERHEAD_BYTES + count * HASH_BYTES,
        }
    }
}

/// A whole item, checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Record(RecordHead, &'a [u8]),
    Run { first: Seq, hashes: &'a [Chain] },
}

/// What is wrong with some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// They are a right beginning, and the rest is not there.
    CutOff,
    /// They are not what was written.
    Damaged(&'static str),
    /// The payload is not what was written; the head is.
    DamagedPayload(RecordHead),
}

impl Flaw {
    /// What to say of it where nothing can be cut off.
    pub const fn what(self) -> &'static str {
        match self {
            Self::CutOff => "its end is missing",
            Self::Damaged(what) => what,
            Self::DamagedPayload(_) => "a payload does not match its checksum",
        }
    }
}

pub(super) fn write_segment_header(buffer: &mut Vec<u8>, epoch: Epoch, first: Seq, chain: &Chain) {
    let start = buffer.len();
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&epoch.0.to_le_bytes());
    buffer.extend_from_slice(&first.0.to_le_bytes());
    buffer.extend_from_slice(chain);
    write_crc(buffer, start);
}

/// Writes a record; the answer is the hash of its payload. The label's base must be in reach (see [`Label::base`]).
pub(super) fn write_record(buffer: &mut Vec<u8>, seq: Seq, label: &Label, payload: &[u8]) -> Chain {
    let start = buffer.len();
    let sha256 = sha256(payload);
    let kind = if label.is_kept { KIND_KEPT } else { KIND_RECORD };
    // Callers have checked the length against MAX_PAYLOAD_BYTES, and the distance.
    let length = u32::try_from(payload.len()).unwrap_or(LENGTH_MASK) & LENGTH_MASK;
    let distance = label.base.map_or(0, |base| u32::try_from(seq.0.saturating_sub(base.0)).unwrap_or(0));
    buffer.extend_from_slice(&(kind << KIND_SHIFT | length).to_le_bytes());
    buffer.extend_from_slice(&seq.0.to_le_bytes());
    buffer.extend_from_slice(&label.group.to_le_bytes());
    buffer.extend_from_slice(&label.day.to_le_bytes());
    buffer.extend_from_slice(&distance.to_le_bytes());
    buffer.extend_from_slice(&sha256);
    write_crc(buffer, start);
    buffer.extend_from_slice(payload);
    sha256
}

/// Writes a run: at least one hash and at most [`MAX_RUN`].
pub(super) fn write_run(buffer: &mut Vec<u8>, first: Seq, hashes: &[Chain]) {
    let start = buffer.len();
    let count = u32::try_from(hashes.len()).unwrap_or(LENGTH_MASK) & LENGTH_MASK;
    buffer.extend_from_slice(&(KIND_RUN << KIND_SHIFT | count).to_le_bytes());
    buffer.extend_from_slice(&first.0.to_le_bytes());
    buffer.extend_from_slice(&[0; RUN_PADDING_BYTES]);
    write_crc(buffer, start);
    let start = buffer.len();
    buffer.extend_from_slice(hashes.as_flattened());
    write_crc(buffer, start);
}

fn write_crc(buffer: &mut Vec<u8>, start: usize) {
    let crc = crc32fast::hash(buffer.get(start..).unwrap_or_default());
    buffer.extend_from_slice(&crc.to_le_bytes());
}

/// Reads the head of a segment: its epoch, first sequence number and the hash chain before that.
pub(super) fn read_segment_header(bytes: &[u8]) -> Result<(Epoch, Seq, Chain), Flaw> {
    let mut rest = bytes;
    let (Some(magic), Some(epoch), Some(first), Some(chain), Some(crc)) =
        (take::<8>(&mut rest), take(&mut rest), take(&mut rest), take(&mut rest), take(&mut rest))
    else {
        return Err(Flaw::CutOff);
    };
    let checked = bytes.get(..SEGMENT_HEADER_BYTES - 4).unwrap_or_default();
    if crc32fast::hash(checked) != u32::from_le_bytes(crc) || &magic != MAGIC {
        return Err(Flaw::Damaged("the head of the file does not match its checksum"));
    }
    Ok((Epoch(u64::from_le_bytes(epoch)), Seq(u64::from_le_bytes(first)), chain))
}

/// Reads the head of the item at the beginning of these bytes ([`RECORD_HEAD_BYTES`] are always enough).
pub(super) fn read_head(bytes: &[u8]) -> Result<Head, Flaw> {
    let mut rest = bytes;
    let word = take(&mut rest).map(u32::from_le_bytes).ok_or(Flaw::CutOff)?;
    let length = (word & LENGTH_MASK) as usize;
    match word >> KIND_SHIFT {
        kind @ (KIND_RECORD | KIND_KEPT) => read_record_head(bytes, rest, kind == KIND_KEPT, length),
        KIND_RUN => {
            let (Some(first), Some(_), Some(crc)) =
                (take(&mut rest), take::<RUN_PADDING_BYTES>(&mut rest), take(&mut rest))
            else {
                return Err(Flaw::Damaged("the head of a run is cut off"));
            };
            let checked = bytes.get(..RUN_HEAD_BYTES - 4).unwrap_or_default();
            if crc32fast::hash(checked) != u32::from_le_bytes(crc) || length == 0 || length > MAX_RUN {
                return Err(Flaw::Damaged("the head of a run does not match its checksum"));
            }
            let first = u64::from_le_bytes(first);
            if first.checked_add(length as u64).is_none() {
                return Err(Flaw::Damaged("a run has numbers that cannot be"));
            }
            Ok(Head::Run { first: Seq(first), count: length })
        }
        _ => Err(Flaw::Damaged("there is neither a record nor a run where one should begin")),
    }
}

fn read_record_head(bytes: &[u8], mut rest: &[u8], is_kept: bool, length: usize) -> Result<Head, Flaw> {
    let (Some(seq), Some(group), Some(day), Some(distance), Some(sha256), Some(crc)) = (
        take(&mut rest),
        take(&mut rest),
        take(&mut rest),
        take(&mut rest),
        take::<HASH_BYTES>(&mut rest),
        take(&mut rest),
    ) else {
        return Err(Flaw::CutOff);
    };
    let checked = bytes.get(..RECORD_HEAD_BYTES - 4).unwrap_or_default();
    if crc32fast::hash(checked) != u32::from_le_bytes(crc) {
        return Err(Flaw::Damaged("the head of a record does not match its checksum"));
    }
    let seq = u64::from_le_bytes(seq);
    let distance = u64::from(u32::from_le_bytes(distance));
    if length > MAX_PAYLOAD_BYTES || seq == u64::MAX || distance >= seq.max(1) {
        return Err(Flaw::Damaged("the head of a record says what cannot be"));
    }
    let base = (distance > 0).then(|| Seq(seq - distance));
    let label = Label { group: u64::from_le_bytes(group), day: u32::from_le_bytes(day), is_kept, base };
    Ok(Head::Record(RecordHead { seq: Seq(seq), label, sha256, length }))
}

/// Reads the whole item at the beginning of these bytes and checks all of it; also how many bytes it takes.
pub(super) fn read_item(bytes: &[u8]) -> Result<(Item<'_>, usize), Flaw> {
    let head = read_head(bytes)?;
    let size = head.bytes();
    match head {
        Head::Record(head) => {
            let payload = bytes.get(RECORD_HEAD_BYTES..size).ok_or(Flaw::CutOff)?;
            if digest(&SHA256, payload).as_ref() != head.sha256 {
                return Err(Flaw::DamagedPayload(head));
            }
            Ok((Item::Record(head, payload), size))
        }
        Head::Run { first, .. } => {
            let (Some(hashes), Some(mut rest)) = (bytes.get(RUN_HEAD_BYTES..size - 4), bytes.get(size - 4..size))
            else {
                return Err(Flaw::Damaged("a run is cut off"));
            };
            if take(&mut rest).map(u32::from_le_bytes) != Some(crc32fast::hash(hashes)) {
                return Err(Flaw::Damaged("a run does not match its checksum"));
            }
            Ok((Item::Run { first, hashes: hashes.as_chunks().0 }, size))
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { group: 77, day: 20_000, is_kept: false, base: Some(Seq(5)) };

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        for payload in [&b""[..], b"x", &[7; 5_000]] {
            for label in [LABEL, Label::kept(), Label { base: None, ..LABEL }] {
                let mut bytes = Vec::new();
                let hash = write_record(&mut bytes, Seq(9), &label, payload);
                let end = bytes.len();
                bytes.extend_from_slice(b"what follows");
                let head = RecordHead { seq: Seq(9), label, sha256: hash, length: payload.len() };
                assert_eq!(read_item(&bytes), Ok((Item::Record(head, payload), end)));
                assert_eq!(read_head(&bytes[..RECORD_HEAD_BYTES]), Ok(Head::Record(head)));
                assert_eq!(end, Head::Record(head).bytes());
            }
        }
    }

    #[test]
    fn a_run_comes_back_as_it_was_written_and_is_damaged_when_it_is_cut() {
        for count in [1, 3, MAX_RUN] {
            let hashes: Vec<Chain> = (0..count).map(|n| [n as u8; 32]).collect();
            let mut bytes = Vec::new();
            write_run(&mut bytes, Seq(7), &hashes);
            assert_eq!(read_item(&bytes), Ok((Item::Run { first: Seq(7), hashes: &hashes }, bytes.len())));
            assert_eq!(bytes.len(), Head::Run { first: Seq(7), count }.bytes());
            for cut in 4..bytes.len() {
                assert!(matches!(read_item(&bytes[..cut]), Err(Flaw::Damaged(_))));
            }
        }
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_cut_off_and_not_damaged() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, Seq(9), &LABEL, b"payload");
        for cut in 0..bytes.len() {
            assert_eq!(read_item(&bytes[..cut]), Err(Flaw::CutOff));
        }
        let mut header = Vec::new();
        write_segment_header(&mut header, Epoch(1), Seq(1), &first_chain(Epoch(1)));
        assert_eq!(header.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(read_segment_header(&header), Ok((Epoch(1), Seq(1), first_chain(Epoch(1)))));
        for cut in 0..header.len() {
            assert_eq!(read_segment_header(&header[..cut]), Err(Flaw::CutOff));
        }
    }

    #[test]
    fn no_flipped_bit_is_taken_for_a_cut_or_passes() {
        let mut record = Vec::new();
        write_record(&mut record, Seq(9), &LABEL, b"payload");
        let mut run = Vec::new();
        write_run(&mut run, Seq(1), &[[1; 32]]);
        let mut runs = Vec::new();
        write_run(&mut runs, Seq(1), &[[1; 32], [2; 32]]);
        for bytes in [record, run, runs] {
            for i in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[i / 8] ^= 1 << (i % 8);
                assert!(matches!(read_item(&bad), Err(Flaw::Damaged(_) | Flaw::DamagedPayload(_))), "bit {i}");
            }
        }
        let mut header = Vec::new();
        write_segment_header(&mut header, Epoch(1), Seq(1), &[3; 32]);
        for i in 0..header.len() * 8 {
            header[i / 8] ^= 1 << (i % 8);
            assert!(matches!(read_segment_header(&header), Err(Flaw::Damaged(_))), "bit {i}");
            header[i / 8] ^= 1 << (i % 8);
        }
    }

    /// The contract's definition (proto/platen/v1/agent.proto), computed here from its words.
    #[test]
    fn the_hash_chain_is_the_contracts() {
        let start = first_chain(Epoch(0x0102_0304_0506_0708));
        assert_eq!(start, sha256(&[1, 2, 3, 4, 5, 6, 7, 8]));
        let mut bytes = start.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend_from_slice(&sha256(b"payload"));
        assert_eq!(next_chain(&start, Seq(1), &sha256(b"payload")), sha256(&bytes));
    }
}
