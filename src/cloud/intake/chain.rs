//! The hash chain of an epoch (`ReadingBatch.previous_chain`, `.chain`): what the cloud holds is what the box accepted, all of
//! it, in that order. The cloud makes the chain itself from the hashes that it stores, and compares.

use ring::digest::{Context, SHA256, digest};

use crate::proto::v1;

/// Length of a SHA-256, in bytes.
const HASH_BYTES: usize = 32;

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// chain(0) of an epoch.
#[must_use]
pub fn beginning(epoch: u64) -> Vec<u8> {
    sha256(&epoch.to_be_bytes())
}

/// chain(seq), from chain(seq - 1) and the content's SHA-256.
#[must_use]
pub fn link(previous: &[u8], seq: u64, content_sha256: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(previous);
    context.update(&seq.to_be_bytes());
    context.update(content_sha256);
    context.finish().as_ref().to_vec()
}

/// Whether what a batch says of the chain fits to itself, and to the chain as the cloud has it at one number (`known`: chain
/// after that number). Empty fields say nothing. `Err` has the number after which it does not fit.
pub(super) fn check(batch: &v1::ReadingBatch, known: Option<(u64, &[u8])>) -> Result<(), u64> {
    let first = batch.readings.first().map_or(0, |stored| stored.seq);
    let before = first.saturating_sub(1);
    let is_hash = |bytes: &[u8]| bytes.is_empty() || bytes.len() == HASH_BYTES;
    if !is_hash(&batch.previous_chain) || !is_hash(&batch.chain) {
        return Err(before);
    }
    let known_before = known.filter(|(at, _)| *at == before).map(|(_, chain)| chain.to_vec());
    let said_before = Some(batch.previous_chain.clone()).filter(|chain| !chain.is_empty());
    if let (Some(known), Some(said)) = (&known_before, &said_before)
        && known != said
    {
        return Err(before);
    }
    let Some(mut chain) = said_before.or(known_before) else { return Ok(()) };
    let mut last = before;
    for stored in &batch.readings {
        chain = link(&chain, stored.seq, &stored.content_sha256);
        last = stored.seq;
        if known.is_some_and(|(at, known)| at == stored.seq && known != chain) {
            return Err(stored.seq);
        }
    }
    if batch.chain.is_empty() || batch.chain == chain { Ok(()) } else { Err(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: u64, first: u64, hashes: &[u8]) -> v1::ReadingBatch {
        let readings: Vec<_> = (first..)
            .zip(hashes)
            .map(|(seq, byte)| v1::StoredReading {
                seq,
                content_sha256: vec![*byte; 32],
                ..v1::StoredReading::default()
            })
            .collect();
        let mut previous_chain = beginning(epoch);
        for seq in 1..first {
            previous_chain = link(&previous_chain, seq, &[7; 32]);
        }
        let chain = readings.iter().fold(previous_chain.clone(), |chain, r| link(&chain, r.seq, &r.content_sha256));
        v1::ReadingBatch { epoch, readings, previous_chain, chain }
    }

    #[test]
    fn a_chain_fits_from_the_beginning_and_from_where_the_cloud_is() {
        let whole = batch(9, 1, &[7, 7, 8]);
        assert_eq!(check(&whole, Some((0, &beginning(9)))), Ok(()));
        assert_eq!(check(&whole, Some((3, &whole.chain))), Ok(()));
        let later = batch(9, 3, &[8]);
        assert_eq!(later.chain, whole.chain);
        assert_eq!(check(&later, None), Ok(()));
        assert_eq!(check(&later, Some((2, &later.previous_chain))), Ok(()));
    }

    #[test]
    fn a_chain_that_does_not_fit_is_named_by_its_number() {
        let whole = batch(9, 1, &[7, 7, 8]);
        assert_eq!(check(&whole, Some((0, &beginning(10)))), Err(0));
        assert_eq!(check(&whole, Some((2, &[1; 32]))), Err(2));
        assert_eq!(check(&v1::ReadingBatch { chain: vec![0; 32], ..whole.clone() }, None), Err(3));
        assert_eq!(check(&v1::ReadingBatch { chain: vec![0; 31], ..whole.clone() }, None), Err(0));
        // Only the end is told: it is compared where the beginning is known.
        let end = v1::ReadingBatch { previous_chain: vec![], chain: vec![0; 32], ..whole };
        assert_eq!(check(&end, Some((0, &beginning(9)))), Err(3));
        assert_eq!(check(&end, None), Ok(()));
    }
}
