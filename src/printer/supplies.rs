//! prtMarkerSuppliesTable and prtMarkerColorantTable (RFC 3805 §6): what a printer uses up and what it fills.

use std::collections::BTreeMap;

use super::ask::Ask;
use super::profile::{Profile, SupplyLevel, SupplyRules};
use super::reading::Supply;
use super::supply_words::{colour_in, kind_in, part_number_in, serial_in};
use super::tables::{Row, Table, index_text, state_of};
use super::{text, words};
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value, WalkLimits};

// Columns of prtMarkerSuppliesEntry.
const MARKER_INDEX: u32 = 2;
const COLORANT_INDEX: u32 = 3;
const CLASS: u32 = 4;
const TYPE: u32 = 5;
const DESCRIPTION: u32 = 6;
const UNIT: u32 = 7;
const MAX_CAPACITY: u32 = 8;
const LEVEL: u32 = 9;
/// Most supplies whose numbers are looked for in the vendor's columns: each may cost six objects.
const NUMBERED_MAX: usize = 64;
/// prtMarkerColorantValue.
const COLORANT_VALUE: u32 = 4;

/// The supplies, and whether every level lies within its capacity.
pub(super) struct Supplies {
    pub supplies: Vec<Supply>,
    pub out_of_range: bool,
}

pub(super) async fn read<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    profile: Option<&Profile>,
) -> Result<Supplies, SnmpError> {
    let rules = profile.map(|profile| &profile.supplies);
    let levels = profile.map(|profile| profile.supply_levels.as_slice()).unwrap_or_default();
    let columns = [MARKER_INDEX, COLORANT_INDEX, CLASS, TYPE, DESCRIPTION, UNIT, MAX_CAPACITY, LEVEL];
    let table = ask.table(&oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1), &columns).await?;
    let colorants = if table.rows.values().any(|row| row.number(COLORANT_INDEX).is_some_and(|n| n > 0)) {
        colorants(ask).await?
    } else {
        BTreeMap::new()
    };
    // Indexes alone, as some agents keep for slots that hold nothing, are no supply.
    let is_there = |(_, row): &(&Vec<u32>, &Row)| row.value(LEVEL).is_some() || row.value(DESCRIPTION).is_some();
    let rows: Vec<(&Vec<u32>, &Row)> = unique(&table).into_iter().filter(is_there).collect();
    let numbers = vendor_numbers(ask, rules, rows.get(..NUMBERED_MAX).unwrap_or(&rows)).await?;
    let mut out_of_range = false;
    let supplies = rows
        .iter()
        .map(|(index, row)| {
            let mut supply = supply(index, row, &colorants, rules, &mut out_of_range);
            let (part_number, serial) = numbers.get(*index).cloned().unwrap_or_default();
            supply.part_number = part_number.or(supply.part_number);
            supply.serial = serial.or(supply.serial);
            if supply.percent.is_none() {
                supply.maker_percent = maker_percent(ask, levels, supply.description.as_deref());
            }
            supply
        })
        .collect();
    Ok(Supplies { supplies, out_of_range })
}

/// The rows, but for those that a device lists a second time under another hrDeviceIndex, alike in every cell.
fn unique(table: &Table) -> Vec<(&Vec<u32>, &Row)> {
    let mut unique: Vec<(&Vec<u32>, &Row)> = Vec::new();
    for (index, row) in &table.rows {
        let is_same = |(other, other_row): &&(&Vec<u32>, &Row)| other.get(1..) == index.get(1..) && *other_row == row;
        if row.value(DESCRIPTION).is_none() || !unique.iter().any(|known| is_same(&known)) {
            unique.push((index, row));
        }
    }
    unique
}

/// Part and serial numbers, by a supply's index.
type Numbers = BTreeMap<Vec<u32>, (Option<String>, Option<String>)>;

/// What the vendor has in columns of its own. Their rows have a supply's whole index, its last arc, or that and a zero; or
/// indexes of their own, and the supply's description in a column beside them.
async fn vendor_numbers<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    rules: Option<&SupplyRules>,
    rows: &[(&Vec<u32>, &Row)],
) -> Result<Numbers, SnmpError> {
    let Some(rules) = rules else { return Ok(Numbers::new()) };
    if rules.part_number.is_none() && rules.serial.is_none() {
        return Ok(Numbers::new());
    }
    let mut places: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
    match &rules.by_description {
        Some(column) => {
            let descriptions = ask.walk(column, WalkLimits::default()).await?;
            places.extend(rows.iter().filter_map(|(index, row)| {
                Some(((*index).clone(), same_words(ask, &descriptions, column, rows, row)?))
            }));
        }
        None => places.extend(rows.iter().flat_map(|(index, _)| {
            let last = index.last().copied().unwrap_or_default();
            [(*index).clone(), vec![last], vec![last, 0]].map(|place| ((*index).clone(), place))
        })),
    }
    let columns = [&rules.part_number, &rules.serial];
    let asked: Vec<Oid> =
        columns.into_iter().flatten().flat_map(|column| places.iter().map(|(_, place)| column.with(place))).collect();
    ask.get(&asked).await?;
    let said = |column: &Option<Oid>, place: &[u32]| {
        let value = ask.value(&column.as_ref()?.with(place))?;
        text::of_pml(value).filter(|text| super::identity::is_serial(text))
    };
    let mut numbers = Numbers::new();
    for (index, place) in places {
        let entry = numbers.entry(index).or_default();
        entry.0 = entry.0.take().or_else(|| said(&rules.part_number, &place));
        entry.1 = entry.1.take().or_else(|| said(&rules.serial, &place));
    }
    Ok(numbers)
}

/// The index of the row that has the same description as a supply, where just one row and one supply have it.
fn same_words<S: ObjectSource>(
    ask: &Ask<'_, S>,
    descriptions: &[(Oid, Value)],
    column: &Oid,
    rows: &[(&Vec<u32>, &Row)],
    row: &Row,
) -> Option<Vec<u32>> {
    let wanted = row.text(DESCRIPTION)?;
    let namesakes = rows.iter().filter(|(_, other)| other.text(DESCRIPTION).as_ref() == Some(&wanted)).count();
    let charset = ask.charset();
    let mut same = descriptions.iter().filter(|(_, value)| charset.of_value(value).as_ref() == Some(&wanted));
    let (oid, _) = same.next()?;
    (namesakes == 1 && same.next().is_none()).then(|| oid.suffix_of(column).map(<[u32]>::to_vec)).flatten()
}

/// What the maker's own object says is left of the supply with this description, in percent.
fn maker_percent<S: ObjectSource>(ask: &Ask<'_, S>, levels: &[SupplyLevel], description: Option<&str>) -> Option<u32> {
    let description = description?;
    levels.iter().filter(|level| level.description.matches(description)).find_map(|level| {
        let (number, _) = ask.value(&level.oid).and_then(|value| level.number.of(value))?;
        percent_of(i64::try_from(number).ok()?, i64::try_from(level.full).ok()?)
    })
}

async fn colorants<S: ObjectSource>(ask: &mut Ask<'_, S>) -> Result<BTreeMap<Vec<u32>, String>, SnmpError> {
    let table = ask.table(&oid!(1, 3, 6, 1, 2, 1, 43, 12, 1, 1), &[COLORANT_VALUE]).await?;
    let colour = |(index, row): (Vec<u32>, Row)| Some((index, colour_in(&row.text(COLORANT_VALUE)?)?));
    Ok(table.rows.into_iter().filter_map(colour).collect())
}

fn supply(
    index: &[u32],
    row: &Row,
    colorants: &BTreeMap<Vec<u32>, String>,
    rules: Option<&SupplyRules>,
    out_of_range: &mut bool,
) -> Supply {
    let description = row.text(DESCRIPTION);
    let (level, max_capacity) = (row.number(LEVEL), row.number(MAX_CAPACITY));
    let colorant = row
        .number(COLORANT_INDEX)
        .filter(|&colorant| colorant > 0)
        .and_then(|colorant| u32::try_from(colorant).ok())
        .zip(index.first())
        .and_then(|(colorant, device)| colorants.get(&vec![*device, colorant]).cloned());
    let percent = match (level, max_capacity) {
        (Some(level), Some(max)) if level >= 0 && max > 0 => {
            *out_of_range |= level > max;
            percent_of(level, max)
        }
        _ => None,
    };
    // A word of the description stands in where no object says what it is, never against one that does.
    let by_description = || description.as_deref().and_then(kind_in).unwrap_or("unknown").to_owned();
    let kind = row.number(TYPE).map_or_else(by_description, words::supply_type);
    let class = row.number(CLASS).map_or_else(|| class_of(&kind).to_owned(), words::supply_class);
    let part_number = description.as_deref().and_then(|text| part_number_in(text, rules));
    let by_words = || description.as_deref().and_then(colour_in).or_else(|| part_number.as_deref().and_then(colour_in));
    Supply {
        index: index_text(index),
        colour: colorant.or_else(by_words),
        class,
        r#type: kind,
        serial: description.as_deref().and_then(|text| serial_in(text, rules)),
        unit: row.number(UNIT).map_or_else(|| "unknown".to_owned(), words::unit),
        max_capacity,
        level,
        percent,
        state: state_of(level, max_capacity).to_owned(),
        marker: row.number(MARKER_INDEX).filter(|n| *n > 0),
        maker_percent: None,
        part_number,
        description,
    }
}

/// The class that goes with a type, where the device does not say it.
fn class_of(kind: &str) -> &'static str {
    match kind {
        "wasteToner" | "wasteInk" | "wasteWax" | "wasteWater" | "wastePaper" => "filled",
        "unknown" | "other" => "unknown",
        _ => "consumed",
    }
}

/// Rounded to the nearest whole; never above 100.
fn percent_of(level: i64, max: i64) -> Option<u32> {
    let (level, max) = (i128::from(level.min(max)), i128::from(max));
    u32::try_from((level * 200 + max) / (2 * max)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(cells: &[(u32, Value)]) -> Row {
        let mut table = Table::default();
        let entry = oid!(1, 3);
        table.add(&entry, cells.iter().map(|(column, value)| (entry.with(&[*column, 1, 1]), value.clone())));
        table.rows.remove(&vec![1, 1]).unwrap_or_default()
    }

    fn of(cells: &[(u32, Value)]) -> Supply {
        supply(&[1, 1], &row(cells), &BTreeMap::new(), None, &mut false)
    }

    fn text(text: &str) -> Value {
        Value::OctetString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_object_goes_before_a_word_and_a_word_before_nothing() {
        let said = of(&[(TYPE, Value::Integer(1)), (DESCRIPTION, text("Transfer Roller"))]);
        assert_eq!((said.r#type.as_str(), said.class.as_str()), ("other", "unknown"));
        let unsaid = of(&[(DESCRIPTION, text("Resttonerbehälter"))]);
        assert_eq!((unsaid.r#type.as_str(), unsaid.class.as_str()), ("wasteToner", "filled"));
        assert_eq!(of(&[(LEVEL, Value::Integer(5))]).r#type, "unknown");
    }

    #[test]
    fn a_supply_that_is_listed_under_two_devices_is_one() {
        let entry = oid!(1, 3);
        let cell = |device: u32, index: u32, what: &str| (entry.with(&[DESCRIPTION, device, index]), text(what));
        let mut table = Table::default();
        table.add(&entry, [cell(1, 1, "Black"), cell(3, 1, "Black"), cell(1, 2, "Black"), cell(3, 2, "Cyan")]);
        let kept: Vec<&[u32]> = unique(&table).into_iter().map(|(index, _)| index.as_slice()).collect();
        assert_eq!(kept, [&[1, 1][..], &[1, 2], &[3, 2]]);
    }

    proptest! {
        #[test]
        fn a_percentage_is_one(level in 0i64.., max in 1i64..) {
            prop_assert!(percent_of(level, max).is_some_and(|percent| percent <= 100));
        }

        #[test]
        fn a_code_never_becomes_a_percentage(level in -3i64..0, max in any::<i64>()) {
            let supply = of(&[(LEVEL, Value::Integer(level)), (MAX_CAPACITY, Value::Integer(max))]);
            prop_assert_eq!(supply.percent, None);
        }
    }
}
