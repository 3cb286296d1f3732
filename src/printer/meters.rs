//! Counters: prtMarkerLifeCount, and the vendor's own as its profile names them. Nothing is derived from anything else.

use super::ask::Ask;
use super::meter_key::{MeterKey, Scope};
use super::profile::{MeterTable, Objects, Profile, Which};
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
        instances(ask, profile, model, &mut meters);
        for table in profile.meter_tables.iter().filter(|table| table.models.include(model)) {
            rows(ask, table, profile, &mut meters).await?;
        }
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

/// Those that have objects of their own, which have come already.
fn instances<S: ObjectSource>(ask: &Ask<'_, S>, profile: &Profile, model: Option<&str>, meters: &mut Meters) {
    for rule in profile.meters.iter().filter(|rule| rule.models.include(model)) {
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
}

/// The sum, and how it came about.
fn sum(parts: &[u64]) -> Option<(u64, String)> {
    let value = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(*part))?;
    Some((value, parts.iter().map(u64::to_string).collect::<Vec<_>>().join("+")))
}

/// Those of a table whose rows say by a number or a name what they count.
async fn rows<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    table: &MeterTable,
    profile: &Profile,
    meters: &mut Meters,
) -> Result<(), SnmpError> {
    let limits = WalkLimits::default();
    let types = ask.walk(&table.types, limits).await?;
    if types.is_empty() {
        return Ok(());
    }
    let values = ask.walk(&table.values, limits).await?;
    let value_beside = |type_oid: &Oid| {
        let oid = table.values.with(type_oid.suffix_of(&table.types)?);
        let value = values.iter().find(|(candidate, _)| *candidate == oid)?.1.as_i64()?;
        Some((oid, u64::try_from(value).ok()?))
    };
    let charset = ask.charset();
    let source = format!("{}:{}", profile.file, table.line);
    for row in &table.rows {
        let of_type = |wanted: &i64| {
            let is = |(_, value): &&(Oid, Value)| value.as_i64() == Some(*wanted);
            types.iter().find(is).and_then(|(oid, _)| value_beside(oid))
        };
        let found: Vec<(Oid, u64)> = match &row.which {
            Which::Types(numbers) => numbers.iter().filter_map(of_type).collect(),
            Which::Text(pattern) => {
                let is =
                    |(_, value): &&(Oid, Value)| charset.of_value(value).is_some_and(|text| pattern.matches(&text));
                types.iter().find(is).and_then(|(oid, _)| value_beside(oid)).into_iter().collect()
            }
        };
        let parts: Vec<u64> = found.iter().map(|(_, value)| *value).collect();
        if let (Some((oid, _)), Some((value, raw))) = (found.first(), sum(&parts)) {
            let raw = (parts.len() > 1).then_some(raw);
            meters.add(meter(ask, row.key, value, raw, &row.unit, oid, &source));
        }
    }
    Ok(())
}
