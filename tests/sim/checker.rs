//! The judge: whether a history, and what the cloud holds at its end, keep the promise. It knows nothing of how either came about.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use crate::accepted::{Accepted, Named, accepted};
use platen::cloud::intake::memory::MemoryRows;
use platen::cloud::intake::{Key, Kind, Row};

use crate::history::{Event, Offer, Told};

/// Violations of one kind that are told; the rest is counted.
const TOLD_MAX: usize = 5;

/// Everything that is wrong.
#[derive(Debug, Default)]
pub struct Findings {
    by_rule: BTreeMap<&'static str, Vec<String>>,
}

impl Findings {
    pub fn add(&mut self, rule: &'static str, what: String) {
        self.by_rule.entry(rule).or_default().push(what);
    }

    pub fn is_empty(&self) -> bool {
        self.by_rule.is_empty()
    }

    /// Which rules are broken.
    pub fn rules(&self) -> Vec<&'static str> {
        self.by_rule.keys().copied().collect()
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (rule, found) in &self.by_rule {
            writeln!(f, "{rule}: {}", found.len())?;
            for what in found.iter().take(TOLD_MAX) {
                writeln!(f, "  {what}")?;
            }
        }
        Ok(())
    }
}

pub fn name(key: &Named) -> String {
    format!("{} of {}, epoch {:016x}", key.2, key.0, key.1)
}

fn named(row: &Row) -> Named {
    (row.key.box_id.clone(), row.key.epoch, row.key.seq)
}

/// What is accepted and not in the cloud, and should be. `may_have_given_up`: on a small disk what was acknowledged makes room, and
/// is gone when a restored cloud asks for it.
pub fn undelivered(told: &Told, accepted: &Accepted, rows: &[Row], may_have_given_up: bool) -> Vec<Named> {
    let there: BTreeSet<_> = rows.iter().map(|row| (row.key.box_id.as_str(), row.key.epoch, row.key.seq)).collect();
    let missing = accepted.by_name.keys().filter(|key| !there.contains(&(key.0.as_str(), key.1, key.2)));
    let acknowledged = acknowledged(told);
    let was_there = |key: &Named| acknowledged.get(&(key.0.clone(), key.1)).is_some_and(|up_to| *up_to >= key.2);
    let is_given_up =
        |key: &Named| (may_have_given_up && was_there(key)) || was_there_when_the_disk_was_full(told, key);
    let mut missing: Vec<_> = missing.filter(|key| !is_given_up(key)).cloned().collect();
    if !accepted.renamed.is_empty() {
        let contents: BTreeSet<_> =
            rows.iter().filter_map(|row| Some((row.key.box_id.as_str(), content(row)?))).collect();
        let is_there = |offer: usize| {
            let offer = &told.offers[offer];
            contents.contains(&(offer.box_id.as_str(), offer.content.as_slice()))
        };
        let lost = accepted.renamed.iter().filter(|(offer, _)| !is_there(**offer));
        missing.extend(lost.map(|(_, key)| key.clone()));
    }
    missing
}

/// On a full disk what was acknowledged makes room for the ballast: whole files of it, so never the one that is written.
fn was_there_when_the_disk_was_full(told: &Told, key: &Named) -> bool {
    let (box_id, epoch, seq) = key;
    let (mut is_full, mut was_there, mut is_past) = (false, false, false);
    let prefix = format!("{box_id}: ");
    for (_, event) in &told.events {
        match event {
            Event::Fault(what) if what.starts_with(&prefix) => {
                is_full = (is_full || what.contains("StorageFull")) && !what.ends_with("the disk works");
            }
            Event::Acknowledged { box_id: of, epoch: acknowledged, up_to } if of == box_id && acknowledged == epoch => {
                was_there |= up_to >= seq;
            }
            Event::Accepted { box_id: of, epoch: present, .. } if of == box_id => is_past = present != epoch,
            _ => {}
        }
        if is_full && was_there && is_past {
            return true;
        }
    }
    false
}

/// Judges a history that has come to rest. `may_have_given_up`: the boxes' disks are so small that what was acknowledged may
/// not be there any more when a restored cloud asks for it again.
pub fn check(told: &Told, cloud: &MemoryRows, may_have_given_up: bool) -> Findings {
    let mut findings = Findings::default();
    let accepted = accepted(told, &mut findings);
    let rows = cloud.rows();
    check_rows(told, &accepted, &rows, may_have_given_up, &mut findings);
    check_numbers(cloud, &rows, &mut findings);
    for key in undelivered(told, &accepted, &rows, may_have_given_up) {
        findings.add("what is accepted is delivered", name(&key));
    }
    check_acknowledgements(told, may_have_given_up, &mut findings);
    check_tasks(told, &mut findings);
    findings
}

/// The highest number of each epoch that its box ever heard to be acknowledged.
fn acknowledged(told: &Told) -> HashMap<(String, u64), u64> {
    let mut highest: HashMap<(String, u64), u64> = HashMap::new();
    for (_, event) in &told.events {
        if let Event::Acknowledged { box_id, epoch, up_to } = event {
            let known = highest.entry((box_id.clone(), *epoch)).or_default();
            *known = (*known).max(*up_to);
        }
    }
    highest
}

fn check_rows(told: &Told, accepted: &Accepted, rows: &[Row], may_have_given_up: bool, findings: &mut Findings) {
    let mut seen: BTreeSet<&Key> = BTreeSet::new();
    let taken: BTreeSet<usize> = accepted.by_name.values().copied().collect();
    let free = (0..told.offers.len()).filter(|offer| !taken.contains(offer));
    // What was offered and neither accepted nor, for certain, refused, or accepted under a number that may have become another
    // one: it may be found once.
    let mut loose: HashMap<(&str, &[u8]), usize> = HashMap::new();
    for index in free {
        let offer = &told.offers[index];
        loose.insert((&offer.box_id, &offer.content), index);
    }
    let mut order: HashMap<(&str, u64), usize> = HashMap::new();
    let there: BTreeSet<_> = rows.iter().map(|row| (row.key.box_id.as_str(), row.key.epoch, row.key.seq)).collect();
    let acknowledged = acknowledged(told);
    for row in rows {
        let key = named(row);
        if !seen.insert(&row.key) {
            findings.add("nothing is stored twice", name(&key));
            continue;
        }
        if row.kind == Kind::Thinned {
            match accepted.by_name.get(&key) {
                Some(offer) if told.offers[*offer].is_kept => {
                    findings.add("what is kept is not thinned", name(&key));
                }
                _ => {}
            }
            continue;
        }
        // What was delivered once may be let go on a small disk, and with it the whole reading that others are told by. What
        // waits keeps its own.
        let base = row.base_seq.map(|seq| (row.key.box_id.as_str(), row.key.epoch, seq));
        let was_there = acknowledged.get(&(key.0.clone(), key.1)).is_some_and(|up_to| *up_to >= key.2);
        let may_lack_base = may_have_given_up && was_there && base.is_some_and(|base| !there.contains(&base));
        if row.kind == Kind::Unfit && may_lack_base {
            continue;
        }
        let content = content(row);
        let offer = match accepted.by_name.get(&key) {
            Some(offer) => Some(*offer),
            None => content.and_then(|content| loose.remove(&(row.key.box_id.as_str(), content))),
        };
        let Some(offer) = offer else {
            let what = format!("{}: a {:?} that nobody offered", name(&key), row.kind);
            findings.add("nothing is invented", what);
            continue;
        };
        check_content(row, content, &told.offers[offer], &key, findings);
        let last = order.entry((&row.key.box_id, row.key.epoch)).or_default();
        if offer < *last {
            findings.add("numbers are in the order of taking", name(&key));
        }
        *last = offer;
    }
}

/// What a row holds, as it was offered; nothing, where it is not known.
fn content(row: &Row) -> Option<&[u8]> {
    row.whole.as_deref().or_else(|| inner(row))
}

/// The serialised reading in a whole record, or the record itself where it is none.
fn inner(row: &Row) -> Option<&[u8]> {
    match row.kind {
        Kind::Reading => platen::proto::update::reading_of(&row.record),
        Kind::Update | Kind::Unfit => None,
        _ => Some(&row.record),
    }
}

fn check_content(row: &Row, content: Option<&[u8]>, offer: &Offer, key: &Named, findings: &mut Findings) {
    if content != Some(&offer.content) || offer.is_reading != row.kind.is_reading() {
        findings.add("what arrives is what was accepted", format!("{}: a {:?}", name(key), row.kind));
        return;
    }
    let sha256 = ring::digest::digest(&ring::digest::SHA256, &row.record);
    if sha256.as_ref() != row.sha256 {
        findings.add("what arrives is what was accepted", format!("{}: another hash", name(key)));
    }
    let true_ms = i64::try_from(offer.true_ms).unwrap_or(i64::MAX);
    if let Some(taken) = row.taken
        && !(taken.low_ms <= true_ms && true_ms <= taken.high_ms)
    {
        let what = format!(
            "{}: taken at {true_ms}, dated {} to {} (off by {} s), stamp {:?}",
            name(key),
            taken.low_ms,
            taken.high_ms,
            (true_ms - taken.high_ms).max(taken.low_ms - true_ms) / 1_000,
            row.stamp
        );
        findings.add("the date holds the true time", what);
    }
}

/// Whether the cloud's numbers have no gaps, and its own account of them is true.
fn check_numbers(cloud: &MemoryRows, rows: &[Row], findings: &mut Findings) {
    let mut spans: BTreeMap<(&str, u64), Range<u64>> = BTreeMap::new();
    for row in rows {
        let seq = row.key.seq;
        let span = spans.entry((&row.key.box_id, row.key.epoch)).or_insert(seq..seq);
        if seq > span.end {
            let key = (row.key.box_id.clone(), row.key.epoch, seq);
            let gone = is_gone(cloud, &key, span.end);
            if !gone {
                findings.add("numbers have no gaps", format!("in the cloud before {}", name(&key)));
            }
        }
        span.end = seq + 1;
    }
    for ((box_id, epoch), span) in spans {
        let up_to = cloud.progress(box_id, epoch).unwrap_or_default().contiguous_seq;
        if up_to >= span.end {
            findings.add("the cloud's account is true", format!("{up_to} for {box_id}, the last is {}", span.end - 1));
        }
    }
}

/// Whether the cloud has said that the numbers from `from` until this one are gone.
fn is_gone(cloud: &MemoryRows, key: &Named, from: u64) -> bool {
    let words = format!("records {from} to {} of epoch {:016x}", key.2 - 1, key.1);
    cloud.notes().iter().any(|note| note.box_id == key.0 && note.detail.starts_with(&words))
}

/// What a cloud has told to be committed is there when it has crashed and come up again.
fn check_acknowledgements(told: &Told, may_have_given_up: bool, findings: &mut Findings) {
    let mut told_of: HashMap<(String, u64), u64> = HashMap::new();
    for (at_ms, event) in &told.events {
        match event {
            Event::Committed { box_id, epoch, up_to } => {
                told_of.insert((box_id.clone(), *epoch), *up_to);
            }
            Event::CloudHas { box_id, epoch, up_to, count } => {
                let promised = told_of.get(&(box_id.clone(), *epoch)).copied().unwrap_or_default();
                if *up_to < promised || (!may_have_given_up && (*count as u64) < promised) {
                    let since = (at_ms - crate::history::BEGINNING_MS) / 1_000;
                    let what = format!(
                        "{promised} of {box_id} was acknowledged, {up_to} ({count} records) is there after {since} s"
                    );
                    findings.add("what is acknowledged is committed", what);
                }
            }
            Event::Fault(what) if what.starts_with("cloud: restored") => told_of.clear(),
            _ => {}
        }
    }
}

fn check_tasks(told: &Told, findings: &mut Findings) {
    let mut done: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, (_, event)) in told.events.iter().enumerate() {
        match event {
            Event::TaskDone { box_id, task_id } => done.entry((box_id, task_id)).or_default().push(at),
            // What was written of tasks since is gone with the card.
            Event::CardPutBack { box_id, since } => {
                let of_box = done.iter_mut().filter(|((of, _), _)| of == box_id);
                of_box.for_each(|(_, times)| times.retain(|at| at < since));
            }
            _ => {}
        }
    }
    for ((box_id, task_id), times) in done.into_iter().filter(|(_, times)| times.len() > 1) {
        findings.add("a task is done once", format!("{task_id} was done {} times by {box_id}", times.len()));
    }
}
