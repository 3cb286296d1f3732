//! What boxes have accepted, and under which numbers, as their history tells. A box whose memory card was put back to what it was
//! has lost what it accepted since, and gives numbers again; what it accepts then may get other numbers.

use std::collections::{BTreeMap, HashMap};

use crate::checker::{Findings, name};
use crate::history::{Event, Told};

/// Box, epoch and number.
pub type Named = (String, u64, u64);

/// Offers that were accepted.
#[derive(Debug, Default)]
pub struct Accepted {
    /// Under the number that they keep.
    pub by_name: BTreeMap<Named, usize>,
    /// Under a number that may have been given before: they are found once, under this one or another.
    pub renamed: BTreeMap<usize, Named>,
}

impl Accepted {
    pub fn len(&self) -> usize {
        self.by_name.len() + self.renamed.len()
    }
}

/// What is known of numbers at some moment.
#[derive(Debug, Clone, Default)]
struct Numbers {
    /// The last one of each box and epoch.
    last: HashMap<(String, u64), u64>,
    /// Offers of each box whose fate is not known: they may have taken numbers.
    unknown: HashMap<String, u64>,
    /// The epoch of each box.
    present: HashMap<String, u64>,
}

/// Judges the numbers as they were given.
#[derive(Debug, Default)]
struct Judge {
    numbers: Numbers,
    accepted: Accepted,
    /// When each of them was accepted.
    at: HashMap<Named, usize>,
    /// Numbers when a card's image was taken, by when that was.
    images: HashMap<usize, Numbers>,
    /// The epoch in which a box whose card was put back gives numbers again; `None` until it has given one, where none was
    /// given before.
    again: HashMap<String, Option<u64>>,
    /// What it has offered since: some of that may have taken numbers, and others later.
    offered: HashMap<String, u64>,
    /// Up to where the cloud had each epoch.
    committed: HashMap<(String, u64), u64>,
    /// What was lost with a card after the cloud had it.
    held: BTreeMap<Named, usize>,
}

/// What was accepted, and whether numbers were given as they should be.
pub fn accepted(told: &Told, findings: &mut Findings) -> Accepted {
    let mut judge = Judge::default();
    for (at, (_, event)) in told.events.iter().enumerate() {
        match event {
            Event::Offered { box_id, offers } => {
                *judge.numbers.unknown.entry(box_id.clone()).or_default() += offers.len() as u64;
                if judge.again.contains_key(box_id) {
                    *judge.offered.entry(box_id.clone()).or_default() += offers.len() as u64;
                }
            }
            Event::Accepted { box_id, epoch, first_seq, offers } => {
                judge.take(at, box_id, *epoch, *first_seq, offers.clone(), findings);
            }
            Event::CardImaged { .. } => {
                judge.images.insert(at, judge.numbers.clone());
            }
            Event::CardPutBack { box_id, since } => judge.put_back(box_id, *since),
            Event::Committed { box_id, epoch, up_to } | Event::CloudHas { box_id, epoch, up_to, .. } => {
                judge.committed.insert((box_id.clone(), *epoch), *up_to);
            }
            // A cloud that was restored need not have what no box has any more.
            Event::Fault(what) if what.starts_with("cloud: restored") => {
                judge.held.clear();
                judge.committed.clear();
            }
            _ => {}
        }
    }
    let Judge { mut accepted, held, .. } = judge;
    accepted.by_name.extend(held);
    accepted
}

impl Judge {
    fn take(
        &mut self,
        at: usize,
        box_id: &str,
        epoch: u64,
        first_seq: u64,
        offers: std::ops::Range<usize>,
        findings: &mut Findings,
    ) {
        let count = offers.len() as u64;
        let mut between = self.numbers.unknown.remove(box_id).unwrap_or_default().saturating_sub(count);
        let is_again = self.again.get_mut(box_id).is_some_and(|again| *again.get_or_insert(epoch) == epoch);
        if !is_again {
            // What was moved into a new epoch has numbers in it.
            between += self.offered.get(box_id).copied().unwrap_or_default();
        }
        let last = self.numbers.last.entry((box_id.to_owned(), epoch)).or_default();
        let key = (box_id.to_owned(), epoch, first_seq);
        if first_seq <= *last {
            findings.add("numbers are never used again", format!("{} after {last}", name(&key)));
        } else if first_seq > *last + 1 + between {
            let what = format!("{} after {last}, and {between} at most lie between", name(&key));
            findings.add("numbers have no gaps", what);
        }
        *last = first_seq + count - 1;
        self.numbers.present.insert(box_id.to_owned(), epoch);
        for (seq, offer) in (first_seq..).zip(offers) {
            let key = (box_id.to_owned(), epoch, seq);
            self.at.insert(key.clone(), at);
            if is_again {
                self.accepted.renamed.insert(offer, key);
            } else {
                self.accepted.by_name.insert(key, offer);
            }
        }
    }

    /// What was accepted since the image is gone from the box. What the cloud has of it stays there.
    fn put_back(&mut self, box_id: &str, since: usize) {
        let image = self.images.get(&since).cloned().unwrap_or_default();
        let is_gone = |key: &Named| key.0 == box_id && self.at.get(key).is_some_and(|at| *at > since);
        let gone: Vec<_> = self.accepted.by_name.keys().filter(|key| is_gone(key)).cloned().collect();
        for key in gone {
            let Some(offer) = self.accepted.by_name.remove(&key) else { continue };
            if self.committed.get(&(key.0.clone(), key.1)).is_some_and(|up_to| *up_to >= key.2) {
                self.held.insert(key, offer);
            }
        }
        self.numbers.last.retain(|(of, _), _| of != box_id);
        self.numbers.last.extend(image.last.into_iter().filter(|((of, _), _)| of == box_id));
        self.numbers.unknown.insert(box_id.to_owned(), image.unknown.get(box_id).copied().unwrap_or_default());
        self.again.insert(box_id.to_owned(), image.present.get(box_id).copied());
    }
}
