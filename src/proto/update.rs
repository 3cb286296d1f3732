//! Readings that are told as edits of earlier ones ([`ReadingUpdate`](super::v1::ReadingUpdate)): how to make the whole reading again.

use super::v1;

/// Largest reading that edits may make, in bytes: what a reading may have alone in a batch.
pub const READING_MAX_BYTES: usize = 256 * 1024;
/// Most edits of one update. Our own updates have some dozens.
pub const EDITS_MAX: usize = 4_096;

/// Field 1 of `platen.v1.Record`, length-delimited: its reading (Protocol Buffers encoding, "Message Structure").
const READING_TAG: u64 = (1 << 3) | 2;

/// Why edits make no reading of this base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// An edit reaches beyond the base.
    #[error("edit {0} reaches beyond the end of its base")]
    BeyondBase(usize),
    /// More edits than [`EDITS_MAX`].
    #[error("there are {0} edits; at most {EDITS_MAX} are taken")]
    TooMany(usize),
    /// More than [`READING_MAX_BYTES`] would result.
    #[error("more than {READING_MAX_BYTES} bytes would result")]
    TooLarge,
    /// What results is not what was meant: the base is another one, or an edit is damaged.
    #[error("the reading that results has CRC-32 {found:08x} and not {expected:08x}: it is of another base")]
    Crc {
        /// As the update has it.
        expected: u32,
        /// Of what results.
        found: u32,
    },
}

/// The serialised reading that edits make of the serialised reading of their base. Whatever the edits are, the work is
/// bounded by [`EDITS_MAX`] and [`READING_MAX_BYTES`].
///
/// # Errors
/// When the edits do not fit the base, or what results is not what was meant by `crc32` (ISO-HDLC).
pub fn apply(base: &[u8], edits: &[v1::Edit], crc32: u32) -> Result<Vec<u8>, UpdateError> {
    if edits.len() > EDITS_MAX {
        return Err(UpdateError::TooMany(edits.len()));
    }
    let mut made = Vec::with_capacity(base.len().min(READING_MAX_BYTES));
    let mut rest = base;
    for (number, edit) in edits.iter().enumerate() {
        let beyond = UpdateError::BeyondBase(number);
        let (kept, after) = split(rest, edit.keep).ok_or(beyond)?;
        let (_, after) = split(after, edit.skip).ok_or(beyond)?;
        push(&mut made, kept)?;
        push(&mut made, &edit.put)?;
        rest = after;
    }
    push(&mut made, rest)?;
    let found = crc32fast::hash(&made);
    if found == crc32 { Ok(made) } else { Err(UpdateError::Crc { expected: crc32, found }) }
}

fn split(bytes: &[u8], at: u32) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(at).ok()?)
}

fn push(made: &mut Vec<u8>, bytes: &[u8]) -> Result<(), UpdateError> {
    if made.len() + bytes.len() > READING_MAX_BYTES {
        return Err(UpdateError::TooLarge);
    }
    made.extend_from_slice(bytes);
    Ok(())
}

/// The serialised reading within a serialised `platen.v1.Record`, byte for byte as it was accepted: what edits are made of
/// and against. `None` when the record is no single reading.
#[must_use]
pub fn reading_of(record: &[u8]) -> Option<&[u8]> {
    let mut rest = record;
    if prost::encoding::decode_varint(&mut rest).ok()? != READING_TAG {
        return None;
    }
    let length = usize::try_from(prost::encoding::decode_varint(&mut rest).ok()?).ok()?;
    // Anything behind it would be another record's, or a field that this program does not know.
    (rest.len() == length).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn edit(keep: u32, skip: u32, put: &[u8]) -> v1::Edit {
        v1::Edit { keep, skip, put: put.to_vec() }
    }

    #[test]
    fn edits_keep_skip_and_put_and_the_rest_is_kept() {
        let made = apply(
            b"total 100 idle",
            &[edit(6, 3, b"101"), edit(1, 4, b"printing")],
            crc32fast::hash(b"total 101 printing"),
        );
        assert_eq!(made.as_deref(), Ok(b"total 101 printing".as_slice()));
        assert_eq!(apply(b"same", &[], crc32fast::hash(b"same")).as_deref(), Ok(b"same".as_slice()));
    }

    #[test]
    fn edits_of_another_base_are_refused() {
        let crc32 = crc32fast::hash(b"total 101");
        assert!(matches!(apply(b"TOTAL 100", &[edit(6, 3, b"101")], crc32), Err(UpdateError::Crc { .. })));
        assert_eq!(apply(b"total", &[edit(3, 0, b""), edit(1, 2, b"")], 0), Err(UpdateError::BeyondBase(1)));
        assert_eq!(apply(b"", &[edit(u32::MAX, u32::MAX, b"")], 0), Err(UpdateError::BeyondBase(0)));
        assert_eq!(apply(b"", &[edit(0, 0, &[0; READING_MAX_BYTES]), edit(0, 0, b"x")], 0), Err(UpdateError::TooLarge));
        assert!(matches!(apply(b"", &vec![edit(0, 0, b""); EDITS_MAX + 1], 0), Err(UpdateError::TooMany(_))));
    }

    #[test]
    fn a_reading_is_cut_out_of_its_record_as_it_is() {
        let reading = v1::Reading { device_key: "k".repeat(300), ..v1::Reading::default() };
        let record = v1::Record { what: Some(v1::record::What::Reading(reading.clone())) }.encode_to_vec();
        assert_eq!(reading_of(&record), Some(reading.encode_to_vec().as_slice()));
        let event = v1::Record { what: Some(v1::record::What::Event(v1::Event::default())) }.encode_to_vec();
        for none in [event.as_slice(), b"", &record[..10], &[record.as_slice(), b"\x12\x00"].concat()] {
            assert_eq!(reading_of(none), None);
        }
    }

    proptest! {
        #[test]
        fn no_edits_and_no_record_make_it_panic(
            base in proptest::collection::vec(any::<u8>(), 0..64),
            edits in proptest::collection::vec((0_u32..80, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..8)), 0..6),
        ) {
            let edits: Vec<_> = edits.iter().map(|(keep, skip, put)| edit(*keep, skip % 80, put)).collect();
            let _ = apply(&base, &edits, 0);
            let _ = reading_of(&base);
        }
    }
}
