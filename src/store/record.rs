//! The bytes of a segment file. All numbers are little-endian.
//!
//! ```text
//! segment: magic "PLTNSEG1" | epoch u64 | first sequence number u64 | CRC32 of these u32 | records...
//! record:  payload length u32 | sequence number u64 | SHA-256 of the payload 32 bytes | CRC32 of these u32
//!          | payload | CRC32 of all of it u32
//! ```
//! The header has a check of its own so that a record that is merely cut off (power failed while it was appended) can
//! be told from one that was damaged later: a cut leaves the header right and the end missing; damage cannot.

use ring::digest::{SHA256, digest};

use super::{Epoch, MAX_PAYLOAD_BYTES, Seq};

const MAGIC: &[u8; 8] = b"PLTNSEG1";
pub(super) const SEGMENT_HEADER_BYTES: usize = 28;
const RECORD_HEADER_BYTES: usize = 48;
/// What a record takes besides its payload.
pub(super) const RECORD_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + 4;
/// The longest record.
pub(super) const MAX_RECORD_BYTES: usize = MAX_PAYLOAD_BYTES + RECORD_OVERHEAD_BYTES;

/// A record as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub seq: Seq,
    pub sha256: [u8; 32],
    pub payload: &'a [u8],
}

/// What is wrong with some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// They are a right beginning, and the rest is not there.
    CutOff,
    /// They are not what was written.
    Damaged(&'static str),
    /// The payload is not what was written; the header is, and says how many bytes the record takes.
    DamagedPayload { seq: Seq, bytes: usize },
}

pub(super) fn write_segment_header(buffer: &mut Vec<u8>, epoch: Epoch, first: Seq) {
    let start = buffer.len();
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&epoch.0.to_le_bytes());
    buffer.extend_from_slice(&first.0.to_le_bytes());
    write_crc(buffer, start);
}

pub(super) fn write_record(buffer: &mut Vec<u8>, seq: Seq, payload: &[u8]) {
    let start = buffer.len();
    // Callers have checked the length against MAX_PAYLOAD_BYTES, far below 2^32.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&seq.0.to_le_bytes());
    buffer.extend_from_slice(digest(&SHA256, payload).as_ref());
    write_crc(buffer, start);
    buffer.extend_from_slice(payload);
    write_crc(buffer, start);
}

fn write_crc(buffer: &mut Vec<u8>, start: usize) {
    let crc = crc32fast::hash(buffer.get(start..).unwrap_or_default());
    buffer.extend_from_slice(&crc.to_le_bytes());
}

/// Reads the head of a segment: its epoch and first sequence number.
pub(super) fn read_segment_header(bytes: &[u8]) -> Result<(Epoch, Seq), Flaw> {
    let mut rest = bytes;
    let (Some(magic), Some(epoch), Some(first), Some(crc)) =
        (take::<8>(&mut rest), take(&mut rest), take(&mut rest), take(&mut rest))
    else {
        return Err(Flaw::CutOff);
    };
    let checked = bytes.get(..SEGMENT_HEADER_BYTES - 4).unwrap_or_default();
    if crc32fast::hash(checked) != u32::from_le_bytes(crc) || &magic != MAGIC {
        return Err(Flaw::Damaged("the head of the file does not match its checksum"));
    }
    Ok((Epoch(u64::from_le_bytes(epoch)), Seq(u64::from_le_bytes(first))))
}

/// Reads the record at the beginning of these bytes; also how many bytes it takes.
pub(super) fn read_record(bytes: &[u8]) -> Result<(Record<'_>, usize), Flaw> {
    let mut rest = bytes;
    let (Some(length), Some(seq), Some(sha256), Some(crc)) =
        (take(&mut rest), take(&mut rest), take::<32>(&mut rest), take(&mut rest))
    else {
        return Err(Flaw::CutOff);
    };
    let header = bytes.get(..RECORD_HEADER_BYTES - 4).unwrap_or_default();
    if crc32fast::hash(header) != u32::from_le_bytes(crc) {
        return Err(Flaw::Damaged("the head of a record does not match its checksum"));
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_PAYLOAD_BYTES {
        return Err(Flaw::Damaged("a record says that it is longer than any may be"));
    }
    let seq = Seq(u64::from_le_bytes(seq));
    let Some((payload, mut rest)) = rest.split_at_checked(length) else {
        return Err(Flaw::CutOff);
    };
    let Some(crc) = take(&mut rest) else {
        return Err(Flaw::CutOff);
    };
    let size = RECORD_OVERHEAD_BYTES + length;
    let checked = bytes.get(..size - 4).unwrap_or_default();
    if crc32fast::hash(checked) != u32::from_le_bytes(crc) || digest(&SHA256, payload).as_ref() != sha256 {
        return Err(Flaw::DamagedPayload { seq, bytes: size });
    }
    Ok((Record { seq, sha256, payload }, size))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        for payload in [&b""[..], b"x", &[7; 5_000]] {
            let mut bytes = Vec::new();
            write_record(&mut bytes, Seq(9), payload);
            let end = bytes.len();
            bytes.extend_from_slice(b"what follows");
            let (record, size) = read_record(&bytes).unwrap();
            assert_eq!((record.seq, record.payload, size), (Seq(9), payload, end));
        }
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_cut_off_and_not_damaged() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, Seq(1), b"payload");
        for cut in 0..bytes.len() {
            assert_eq!(read_record(&bytes[..cut]), Err(Flaw::CutOff));
        }
        let mut header = Vec::new();
        write_segment_header(&mut header, Epoch(1), Seq(1));
        assert_eq!(header.len(), SEGMENT_HEADER_BYTES);
        for cut in 0..header.len() {
            assert_eq!(read_segment_header(&header[..cut]), Err(Flaw::CutOff));
        }
    }

    #[test]
    fn no_flipped_bit_is_taken_for_a_cut_or_passes() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, Seq(1), b"payload");
        for i in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[i / 8] ^= 1 << (i % 8);
            assert!(matches!(read_record(&bad), Err(Flaw::Damaged(_) | Flaw::DamagedPayload { .. })), "bit {i}");
        }
    }
}
