//! Counters: prtMarkerLifeCount, and the vendor's own as its profile names them. Nothing is derived from anything else.

use std::collections::BTreeMap;

use super::ask::Ask;
use super::meter_key::{MeterKey, Scope};
use super::profile::{MeterPlace, MeterTable, Objects, Profile, Which};
use super::reading::Meter;
use super::words;
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value, WalkLimits};

// Columns of prtMarkerEntry (RFC 3805 §6).
const COUNTER_UNIT: u32 = 3;
const LIFE_COUNT: u32 = 4;
const POWER_ON_COUNT: u32 = 5;

/// The meters as they are found, the first of each key.
#[derive(Default)]
struct Meters(Vec<Meter>);

impl Meters {
    fn add(&mut self, meter: Meter) {
        if !self.0.iter().any(|other| other.key == meter.key) {
            self.0.push(meter);
        }
    }
}

/// Reads all meters. `model` decides which of the profile's rules are for this device.
pub(super) async fn read<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    profile: Option<&Profile>,
    has_printer_mib: bool,
    model: Option<&str>,
) -> Result<Vec<Meter>, SnmpError> {
    let mut meters = Meters::default();
    if has_printer_mib {
        markers(ask, &mut meters).await?;
    }
    if let Some(profile) = profile {
        // In the order in which the profile has them: of two rules for one meter the first that finds something counts.
        let mut done = 0;
        for table in &profile.meter_tables {
            done = instances_before(ask, profile, table.line, model, done, &mut meters);
            if table.models.include(model) {
                rows(ask, table, profile, &mut meters).await?;
            }
        }
        instances_before(ask, profile, usize::MAX, model, done, &mut meters);
    }
    let mut meters = meters.0;
    meters.sort_by_key(|meter| meter.key);
    Ok(meters)
}

/// prtMarkerTable: the first marker counts for the printer; others are second engines.
async fn markers<S: ObjectSource>(ask: &mut Ask<'_, S>, meters: &mut Meters) -> Result<(), SnmpError> {
    const OTHERS: [Scope; 3] = [Scope::Marker2, Scope::Marker3, Scope::Marker4];
    let entry = oid!(1, 3, 6, 1, 2, 1, 43, 10, 2, 1);
    let table = ask.table(&entry, &[COUNTER_UNIT, LIFE_COUNT, POWER_ON_COUNT]).await?;
    let counting = table.rows.iter().filter(|(_, row)| row.number(LIFE_COUNT).is_some());
    for (number, (index, row)) in counting.enumerate().take(1 + OTHERS.len()) {
        let unit = row.number(COUNTER_UNIT).map_or_else(|| "unknown".to_owned(), words::unit);
        let scope = number.checked_sub(1).and_then(|other| OTHERS.get(other)).copied();
        let mut add = |column: u32, scope: Scope| {
            let Some(value) = row.number(column).and_then(|n| u64::try_from(n).ok()) else { return };
            let oid = entry.with(&[column]).with(index);
            let key = MeterKey { scope, ..MeterKey::TOTAL };
            meters.add(meter(ask, key, value, None, &unit, &oid, "RFC 3805"));
        };
        add(LIFE_COUNT, scope.unwrap_or_default());
        if scope.is_none() {
            add(POWER_ON_COUNT, Scope::SincePowerOn);
        }
    }
    Ok(())
}

fn meter<S: ObjectSource>(
    ask: &Ask<'_, S>,
    key: MeterKey,
    value: u64,
    raw: Option<String>,
    unit: &str,
    oid: &Oid,
    source: &str,
) -> Meter {
    Meter {
        name: key.to_string(),
        value,
        unit: unit.to_owned(),
        oid: oid.to_string(),
        key,
        raw,
        age_ms: ask.age_ms(oid),
        source: source.to_owned(),
    }
}

/// The meters with objects of their own that stand before a line of the profile, from one on; how many are done then.
fn instances_before<S: ObjectSource>(
    ask: &Ask<'_, S>,
    profile: &Profile,
    line: usize,
    model: Option<&str>,
    done: usize,
    meters: &mut Meters,
) -> usize {
    let rest = profile.meters.get(done..).unwrap_or_default();
    let before: Vec<&MeterPlace> = rest.iter().take_while(|rule| rule.line < line).collect();
    for rule in before.iter().filter(|rule| rule.models.include(model)) {
        instance(ask, rule, profile, meters);
    }
    done + before.len()
}

/// One that has objects of its own, which have come already.
fn instance<S: ObjectSource>(ask: &Ask<'_, S>, rule: &MeterPlace, profile: &Profile, meters: &mut Meters) {
    if rule.only_if.as_ref().is_some_and(|only| !ask.text(&only.oid).is_some_and(|text| only.matches.matches(&text))) {
        return;
    }
    let number = |oid: &Oid| ask.value(oid).and_then(|value| rule.number.of(value));
    let source = format!("{}:{}", profile.file, rule.line);
    match &rule.objects {
        Objects::FirstOf(oids) => {
            let found = oids.iter().find_map(|oid| number(oid).map(|(value, raw)| (oid, value, raw)));
            if let Some((oid, value, raw)) = found {
                meters.add(meter(ask, rule.key, value, raw, &rule.unit, oid, &source));
            }
        }
        Objects::Sum(oids) => {
            let parts: Option<Vec<u64>> = oids.iter().map(|oid| number(oid).map(|(value, _)| value)).collect();
            if let (Some((value, raw)), Some(oid)) = (parts.as_deref().and_then(sum), oids.first()) {
                meters.add(meter(ask, rule.key, value, Some(raw), &rule.unit, oid, &source));
            }
        }
    }
}

/// The sum, and how it came about.
fn sum(parts: &[u64]) -> Option<(u64, String)> {
    let value = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(*part))?;
    Some((value, parts.iter().map(u64::to_string).collect::<Vec<_>>().join("+")))
}

/// Those of a table whose rows say by numbers or a name what they count.
async fn rows<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    table: &MeterTable,
    profile: &Profile,
    meters: &mut Meters,
) -> Result<(), SnmpError> {
    let cells = Cells::read(ask, table).await?;
    let source = format!("{}:{}", profile.file, table.line);
    for row in &table.rows {
        let found = cells.of(&row.which, ask);
        let units: Vec<Option<i64>> = found.iter().map(|cell| cell.unit).collect();
        // What is counted in different units cannot be added.
        if units.windows(2).any(|pair| pair.first() != pair.last()) {
            continue;
        }
        let parts: Vec<u64> = found.iter().map(|cell| cell.value).collect();
        if let (Some(first), Some((value, raw))) = (found.first(), sum(&parts)) {
            let raw = (parts.len() > 1).then_some(raw);
            let unit = first.unit.map_or_else(|| row.unit.clone(), words::unit);
            meters.add(meter(ask, row.key, value, raw, &unit, &first.oid, &source));
        }
    }
    Ok(())
}

/// The columns of a table of meters.
struct Cells {
    /// By index: what stands in each column of types.
    types: BTreeMap<Vec<u32>, Vec<Option<Value>>>,
    values: BTreeMap<Vec<u32>, Cell>,
}

/// A count in a table.
#[derive(Clone)]
struct Cell {
    oid: Oid,
    value: u64,
    unit: Option<i64>,
}

impl Cells {
    async fn read<S: ObjectSource>(ask: &mut Ask<'_, S>, table: &MeterTable) -> Result<Self, SnmpError> {
        let limits = WalkLimits::default();
        let mut cells = Self { types: BTreeMap::new(), values: BTreeMap::new() };
        for (column, root) in table.types.iter().enumerate() {
            for (oid, value) in ask.walk(root, limits).await? {
                let Some(index) = oid.suffix_of(root) else { continue };
                let row = cells.types.entry(index.to_vec()).or_insert_with(|| vec![None; table.types.len()]);
                if let Some(cell) = row.get_mut(column) {
                    *cell = Some(value);
                }
            }
            if cells.types.is_empty() {
                return Ok(cells);
            }
        }
        let mut units: BTreeMap<Vec<u32>, i64> = BTreeMap::new();
        if let Some(root) = &table.unit_from {
            for (oid, value) in ask.walk(root, limits).await? {
                if let (Some(index), Some(unit)) = (oid.suffix_of(root), value.as_i64()) {
                    units.insert(index.to_vec(), unit);
                }
            }
        }
        for (oid, value) in ask.walk(&table.values, limits).await? {
            let count = value.as_i64().and_then(|n| u64::try_from(n).ok());
            if let (Some(index), Some(value)) = (oid.suffix_of(&table.values).map(<[u32]>::to_vec), count) {
                let unit = units.get(&index).copied();
                cells.values.insert(index, Cell { oid, value, unit });
            }
        }
        Ok(cells)
    }

    /// Those that a rule means, in the order of its types, and of the table where it means all.
    fn of<S: ObjectSource>(&self, which: &Which, ask: &Ask<'_, S>) -> Vec<Cell> {
        let charset = ask.charset();
        let number =
            |types: &[Option<Value>], column: usize| types.get(column).and_then(Option::as_ref).and_then(Value::as_i64);
        let cell = |index: &Vec<u32>| self.values.get(index).cloned();
        let first = |is: &dyn Fn(&[Option<Value>]) -> bool| {
            self.types.iter().find(|(_, types)| is(types)).and_then(|(index, _)| cell(index))
        };
        let all = |is: &dyn Fn(&[Option<Value>]) -> bool| {
            self.types.iter().filter(|(_, types)| is(types)).filter_map(|(index, _)| cell(index)).collect()
        };
        match which {
            Which::Types(wanted) => {
                wanted.iter().filter_map(|wanted| first(&|types| number(types, 0) == Some(*wanted))).collect()
            }
            Which::AllOfTypes(wanted) => all(&|types| number(types, 0).is_some_and(|number| wanted.contains(&number))),
            Which::All(wanted) => {
                all(&|types| wanted.iter().enumerate().all(|(column, it)| number(types, column) == Some(*it)))
            }
            Which::Text(pattern) => {
                let text = |types: &[Option<Value>]| charset.of_value(types.first()?.as_ref()?);
                first(&|types| text(types).is_some_and(|text| pattern.matches(&text))).into_iter().collect()
            }
        }
    }
}
