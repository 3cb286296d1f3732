//! The books of a trial: what boxes accepted, by their log; what the cloud has, by its database; and whether the two agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use platen::proto::v1;
use platen::proto::v1::record::What;
use prost::Message;

/// Numbers that a box said it accepted, by epoch.
#[derive(Debug, Default)]
pub struct Accepted {
    by_epoch: BTreeMap<u64, BTreeSet<u64>>,
    /// Numbers that were given a second time.
    again: Vec<(u64, u64)>,
}

impl Accepted {
    /// From the log of all lives of a box.
    pub fn of_log(log: &str) -> Self {
        let mut accepted = Self::default();
        for line in log.lines().filter_map(|line| line.split_once(": accepted ")) {
            let Some((epoch, first, last)) = fields(line.1) else { continue };
            let numbers = accepted.by_epoch.entry(epoch).or_default();
            for seq in first..=last {
                if !numbers.insert(seq) {
                    accepted.again.push((epoch, seq));
                }
            }
        }
        accepted
    }

    pub fn count(&self) -> usize {
        self.by_epoch.values().map(BTreeSet::len).sum()
    }

    /// The last number of an epoch; 0 where there is none.
    pub fn last_of(&self, epoch: u64) -> u64 {
        self.by_epoch.get(&epoch).and_then(BTreeSet::last).copied().unwrap_or(0)
    }

    pub fn epochs(&self) -> usize {
        self.by_epoch.len()
    }
}

/// `epoch=HEX first=N last=N`; `None` for a line that a kill cut.
fn fields(text: &str) -> Option<(u64, u64, u64)> {
    let value = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key));
    let epoch = u64::from_str_radix(value("epoch=")?, 16).ok()?;
    Some((epoch, value("first=")?.parse().ok()?, value("last=")?.parse().ok()?))
}

/// A record as the cloud stored it.
#[derive(Debug, Clone)]
pub struct Row {
    pub epoch: u64,
    pub seq: u64,
    pub record: Vec<u8>,
}

/// All records of a box, in the order of their numbers. The cloud may be running.
pub fn rows(cloud_folder: &Path, box_id: &str) -> Vec<Row> {
    let sql = "SELECT epoch, seq, payload FROM readings WHERE box_id = $1 ORDER BY epoch, seq";
    let rows: Vec<(i64, i64, Vec<u8>)> =
        query(cloud_folder, async |pool| sqlx::query_as(sql).bind(box_id.to_owned()).fetch_all(&pool).await.unwrap());
    rows.into_iter()
        .map(|(epoch, seq, record)| Row { epoch: epoch.cast_unsigned(), seq: seq.cast_unsigned(), record })
        .collect()
}

/// Asks the cloud's database something.
pub fn query<T>(cloud_folder: &Path, ask: impl AsyncFnOnce(sqlx::SqlitePool) -> T) -> T {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(cloud_folder.join("cloud.sqlite"));
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let pool = sqlx::SqlitePool::connect_with(options.read_only(true)).await.unwrap();
        ask(pool).await
    })
}

/// What came of the comparison, each with examples.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub accepted: usize,
    pub lost: Vec<String>,
    pub twice: Vec<String>,
    pub gaps: Vec<String>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.twice.is_empty() && self.gaps.is_empty()
    }

    /// "M readings accepted, lost 0, twice 0, gaps 0"
    pub fn line(&self) -> String {
        let (lost, twice, gaps) = (self.lost.len(), self.twice.len(), self.gaps.len());
        format!("{} readings accepted, lost {lost}, twice {twice}, gaps {gaps}", self.accepted)
    }

    /// With the first few of each.
    pub fn details(&self) -> String {
        let few = |what: &str, all: &[String]| format!("{what}: {}", all[..all.len().min(5)].join("; "));
        [self.line(), few("lost", &self.lost), few("twice", &self.twice), few("gaps", &self.gaps)].join("\n")
    }
}

/// Compares what was accepted with what the cloud has after everything has settled.
pub fn audit(accepted: &Accepted, rows: &[Row]) -> Verdict {
    let mut verdict = Verdict { accepted: accepted.count(), ..Verdict::default() };
    let mut stored: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for row in rows {
        if !stored.entry(row.epoch).or_default().insert(row.seq) {
            verdict.twice.push(format!("number {} is stored twice", row.seq));
        }
    }
    for (epoch, numbers) in &accepted.by_epoch {
        let there = stored.get(epoch).cloned().unwrap_or_default();
        verdict.lost.extend(numbers.difference(&there).map(|seq| format!("{epoch:016x}/{seq}")));
    }
    verdict.twice.extend(accepted.again.iter().map(|(_, seq)| format!("number {seq} was given to two records")));
    for (epoch, there) in &stored {
        let highest = there.last().copied().unwrap_or(0);
        verdict.gaps.extend((1..=highest).filter(|seq| !there.contains(seq)).map(|seq| format!("{epoch:016x}/{seq}")));
    }
    let mut seen: HashMap<(String, String, u64), u64> = HashMap::new();
    for (seq, reading) in readings(rows) {
        let taken = reading.taken.unwrap_or_default();
        let content = (reading.device_key, taken.boot_id, taken.monotonic_ms);
        if let Some(before) = seen.insert(content, seq) {
            verdict.twice.push(format!("the same reading has the numbers {before} and {seq}"));
        }
    }
    verdict
}

/// The readings among records with their numbers, those told as what differs included.
pub fn readings(rows: &[Row]) -> Vec<(u64, v1::Reading)> {
    let mut whole: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut readings = Vec::new();
    for row in rows {
        let serialised = match v1::Record::decode(row.record.as_slice()).unwrap().what {
            Some(What::Reading(reading)) => {
                let serialised = reading.encode_to_vec();
                whole.insert((row.epoch, row.seq), serialised.clone());
                serialised
            }
            Some(What::Update(update)) => {
                let base = whole.get(&(row.epoch, update.base_seq));
                let base = base.unwrap_or_else(|| panic!("{} needs {}, which is no reading", row.seq, update.base_seq));
                let made = apply(base, &update.edits);
                assert_eq!(crc32fast::hash(&made), update.crc32, "{} is not what its edits make", row.seq);
                made
            }
            Some(What::Event(_) | What::ClockAnchor(_)) | None => continue,
        };
        readings.push((row.seq, v1::Reading::decode(serialised.as_slice()).unwrap()));
    }
    readings
}

/// By the words of the contract.
fn apply(base: &[u8], edits: &[v1::Edit]) -> Vec<u8> {
    let (mut at, mut made) = (0, Vec::new());
    for edit in edits {
        made.extend_from_slice(&base[at..at + edit.keep as usize]);
        made.extend_from_slice(&edit.put);
        at += (edit.keep + edit.skip) as usize;
    }
    made.extend_from_slice(&base[at..]);
    made
}
