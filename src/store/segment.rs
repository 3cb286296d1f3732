//! One file of the outbox: records one after the other, each of which says by itself whether it is whole.
//!
//! A record is: length of the payload (u32), CRC-32 of all that follows (u32), sequence number (u64), SHA-256 of the
//! payload (32 bytes), payload; numbers little-endian.

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 4 + 4 + 8 + 32;
/// Largest payload, in bytes.
pub(super) const PAYLOAD_MAX_BYTES: usize = 256 * 1024;

/// A record that was found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub seq: u64,
    pub sha256: [u8; 32],
    pub payload: Vec<u8>,
}

impl Record {
    pub(super) fn new(seq: u64, payload: &[u8]) -> Self {
        Self { seq, sha256: sha256(payload), payload: payload.to_vec() }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        (HEADER_BYTES + self.payload.len()) as u64
    }

    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(HEADER_BYTES - 8 + self.payload.len());
        body.extend_from_slice(&self.seq.to_le_bytes());
        body.extend_from_slice(&self.sha256);
        body.extend_from_slice(&self.payload);
        // Payloads are at most PAYLOAD_MAX_BYTES, so the length fits.
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&checksum(length, &body).to_le_bytes());
        out.extend_from_slice(&body);
    }

    /// The record at the start of `bytes`, where a whole one stands there.
    pub(super) fn read_from(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let payload_bytes = usize::try_from(length).ok().filter(|&n| n <= PAYLOAD_MAX_BYTES)?;
        let body = rest.get(..HEADER_BYTES - 8 + payload_bytes)?;
        if checksum(length, body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (seq, rest) = body.split_first_chunk::<8>()?;
        let (sha256_stored, payload) = rest.split_first_chunk::<32>()?;
        let record = Self { seq: u64::from_le_bytes(*seq), sha256: *sha256_stored, payload: payload.to_vec() };
        (sha256(payload) == record.sha256).then_some(record)
    }
}

/// The length is under the checksum too: a flipped length must not pass for a shorter record.
fn checksum(length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref()); // SHA-256 has 32 bytes
    out
}

/// The whole records from the start of a file on, each with its offset, and where the first that is not whole begins
/// (the end of the file, when all are). Records must follow each other without a gap, beginning with `first`.
pub(super) fn read_records(bytes: &[u8], first: u64) -> (Vec<(u64, Record)>, usize) {
    let mut records = Vec::new();
    let mut offset = 0;
    let mut expected = first;
    while let Some(record) = bytes.get(offset..).and_then(Record::read_from).filter(|r| r.seq == expected) {
        let size = HEADER_BYTES + record.payload.len();
        records.push((offset as u64, record));
        offset += size;
        expected += 1;
    }
    (records, offset)
}

/// Whether a whole record stands anywhere in `bytes`: then what precedes it was damaged, and not merely cut off.
pub(super) fn holds_a_record(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|offset| bytes.get(offset..).and_then(Record::read_from).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut bytes = Vec::new();
        Record::new(1, b"12345 impressions").write_to(&mut bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::read_from(&flipped), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_up_to_where_it_was_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (seq, payload) in (7..).zip(&payloads) {
                Record::new(seq, payload).write_to(&mut bytes);
                ends.push(bytes.len());
            }
            let cut = cut.index(bytes.len() + 1);
            let (records, end) = read_records(&bytes[..cut], 7);
            let whole = ends.iter().filter(|&&e| e <= cut).count();
            prop_assert_eq!(records.len(), whole);
            prop_assert_eq!(end, if whole == 0 { 0 } else { ends[whole - 1] });
            for ((_, record), payload) in records.iter().zip(&payloads) {
                prop_assert_eq!(&record.payload, payload);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_records(&bytes, 1);
        }
    }
}
