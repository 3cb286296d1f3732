//! How the reader asks: straight from the device, or from what is remembered of a device that was read before, with what may
//! have changed since asked anew. It also keeps who asked for what and what came of it, for whoever wants to know.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::memory::Memory;
use super::tables::Table;
use super::text::Charset;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value, WalkEnd, WalkLimits};

/// prtMarkerLifeCount of the first marker, of whatever device.
pub(super) fn is_total(oid: &Oid) -> bool {
    const LIFE_COUNT: &[u32] = &[1, 3, 6, 1, 2, 1, 43, 10, 2, 1, 4];
    oid.arcs().strip_prefix(LIFE_COUNT).is_some_and(|index| matches!(index, [_, 1]))
}

/// Most rows of one table that are kept: several times what the largest devices have in any. More is a fault, and flagged.
const TABLE_ROWS_MAX: usize = 256;

/// What came, and when.
pub(super) type Values = HashMap<Oid, (Value, Instant)>;
/// By their roots: the objects that were walked over, and the end.
pub(super) type Walks = BTreeMap<Oid, (Vec<Oid>, WalkEnd)>;

/// Asks one device.
pub(super) struct Ask<'a, S> {
    source: &'a S,
    /// What is remembered of it, refreshed.
    known: Option<&'a Memory>,
    /// Everything that came, absences included, and when it came.
    values: Values,
    /// Walks that were made: the root, and the objects below it.
    walks: Walks,
    charset: Charset,
    /// Whether walks go one step at a time.
    careful: bool,
    /// Whether a table broke off.
    pub incomplete: bool,
    /// Whether the total was another at the end than at the beginning.
    pub total_changed: bool,
    pub began: Instant,
}

impl<'a, S: ObjectSource> Ask<'a, S> {
    pub(super) fn new(source: &'a S, known: Option<&'a Memory>) -> Self {
        Self {
            source,
            known,
            values: HashMap::new(),
            walks: BTreeMap::new(),
            charset: Charset::default(),
            careful: false,
            incomplete: false,
            total_changed: known.is_some_and(Memory::total_changed),
            began: Instant::now(),
        }
    }

    /// In what character set the device's texts are.
    pub(super) fn set_charset(&mut self, charset: Charset) {
        self.charset = charset;
    }

    /// From here on no request may run past the end of what is walked.
    pub(super) fn be_careful(&mut self) {
        self.careful = true;
    }

    pub(super) fn charset(&self) -> Charset {
        self.charset
    }

    /// Reads those of these instances that have not come yet.
    pub(super) async fn get(&mut self, oids: &[Oid]) -> Result<(), SnmpError> {
        let mut missing: Vec<Oid> = Vec::new();
        for oid in oids {
            if self.values.contains_key(oid) || missing.contains(oid) {
                continue;
            }
            match self.known.and_then(|known| known.value(oid)) {
                Some(value) => drop(self.values.insert(oid.clone(), (value.clone(), self.began))),
                None => missing.push(oid.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let answers = self.source.get(&missing).await?;
        let now = Instant::now();
        self.values.extend(answers.into_iter().map(|binding| (binding.oid, (binding.value, now))));
        Ok(())
    }

    /// A value that has come, if the device has it.
    pub(super) fn value(&self, oid: &Oid) -> Option<&Value> {
        self.values.get(oid).map(|(value, _)| value).filter(|value| value.is_present())
    }

    /// How long ago a value came, in milliseconds.
    pub(super) fn age_ms(&self, oid: &Oid) -> Option<u64> {
        self.values.get(oid).and_then(|(_, when)| u64::try_from(when.elapsed().as_millis()).ok())
    }

    pub(super) fn number(&self, oid: &Oid) -> Option<i64> {
        self.value(oid).and_then(Value::as_i64)
    }

    pub(super) fn text(&self, oid: &Oid) -> Option<String> {
        self.value(oid).and_then(|value| self.charset.of_value(value))
    }

    /// Walks a subtree, or remembers it.
    pub(super) async fn walk(&mut self, root: &Oid, limits: WalkLimits) -> Result<Vec<(Oid, Value)>, SnmpError> {
        if let Some((rows, end)) = self.known.and_then(|known| known.walk(root)) {
            self.keep_walk(root, rows.clone(), end);
            return Ok(rows);
        }
        let limits = WalkLimits { careful: self.careful, ..limits };
        let walk = self.source.walk(root, limits).await?;
        let rows: Vec<(Oid, Value)> = walk.varbinds.into_iter().map(|vb| (vb.oid, vb.value)).collect();
        self.keep_walk(root, rows.clone(), walk.end);
        Ok(rows)
    }

    fn keep_walk(&mut self, root: &Oid, rows: Vec<(Oid, Value)>, end: WalkEnd) {
        let now = Instant::now();
        let was = |oid: &Oid| self.values.get(oid).map(|(value, _)| value);
        self.total_changed |= rows.iter().any(|(oid, value)| is_total(oid) && was(oid).is_some_and(|was| was != value));
        self.walks.insert(root.clone(), (rows.iter().map(|(oid, _)| oid.clone()).collect(), end));
        self.values.extend(rows.into_iter().map(|(oid, value)| (oid, (value, now))));
    }

    /// Some columns of the table whose entry object is `entry`.
    pub(super) async fn table(&mut self, entry: &Oid, columns: &[u32]) -> Result<Table, SnmpError> {
        let remembered = |column: &u32| self.known.is_some_and(|known| known.walk(&entry.with(&[*column])).is_some());
        if !columns.iter().all(remembered) {
            return self.table_anew(entry, columns).await;
        }
        let mut table = Table::new(self.charset);
        for &column in columns {
            let root = entry.with(&[column]);
            if let Some((rows, end)) = self.known.and_then(|known| known.walk(&root)) {
                table.add(entry, rows.iter().cloned());
                self.keep_walk(&root, rows, end);
            }
        }
        Ok(table)
    }

    /// The same, whatever is remembered: for tables whose rows come and go.
    pub(super) async fn table_anew(&mut self, entry: &Oid, columns: &[u32]) -> Result<Table, SnmpError> {
        let limits = WalkLimits { rows: TABLE_ROWS_MAX, careful: self.careful, ..WalkLimits::default() };
        let walk = self.source.columns(entry, columns, limits).await?;
        self.incomplete |= !walk.end.is_complete();
        let cells: Vec<(Oid, Value)> = walk.varbinds.into_iter().map(|vb| (vb.oid, vb.value)).collect();
        let mut table = Table::new(self.charset);
        table.add(entry, cells.iter().cloned());
        for &column in columns {
            let root = entry.with(&[column]);
            let rows = cells.iter().filter(|(oid, _)| oid.starts_with(&root)).cloned().collect();
            self.keep_walk(&root, rows, walk.end);
        }
        Ok(table)
    }

    /// Instances that were asked for and that the device does not have, in order.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let absent = self.values.iter().filter(|(_, (value, _))| !value.is_present());
        let mut oids: Vec<&Oid> = absent.map(|(oid, _)| oid).collect();
        oids.sort();
        oids.iter().map(ToString::to_string).collect()
    }

    /// Everything that came, to be remembered.
    pub(super) fn into_memory(self) -> (Values, Walks) {
        (self.values, self.walks)
    }
}
