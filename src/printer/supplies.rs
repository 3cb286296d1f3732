//! prtMarkerSuppliesTable and prtMarkerColorantTable (RFC 3805 §6): what a printer uses up and what it fills.

use std::collections::BTreeMap;

use super::reading::Supply;
use super::tables::{Table, index_text, state_of};
use super::{text, words};
use crate::oid;
use crate::snmp::{ObjectSource, SnmpError, Value};

// Columns of prtMarkerSuppliesEntry.
const COLORANT_INDEX: u32 = 3;
const CLASS: u32 = 4;
const TYPE: u32 = 5;
const DESCRIPTION: u32 = 6;
const UNIT: u32 = 7;
const MAX_CAPACITY: u32 = 8;
const LEVEL: u32 = 9;
/// prtMarkerColorantValue.
const COLORANT_VALUE: u32 = 4;

/// Words for colours as descriptions have them, in the languages that printers speak. The longest match wins.
const COLOUR_WORDS: &[(&str, &str)] = &[
    ("black", "black"),
    ("schwarz", "black"),
    ("noir", "black"),
    ("negro", "black"),
    ("nero", "black"),
    ("preto", "black"),
    ("zwart", "black"),
    ("cyan", "cyan"),
    ("cian", "cyan"),
    ("ciano", "cyan"),
    ("cyaan", "cyan"),
    ("magenta", "magenta"),
    ("yellow", "yellow"),
    ("gelb", "yellow"),
    ("jaune", "yellow"),
    ("amarillo", "yellow"),
    ("giallo", "yellow"),
    ("amarelo", "yellow"),
    ("geel", "yellow"),
    ("light cyan", "light cyan"),
    ("light magenta", "light magenta"),
    ("photo black", "photo black"),
    ("matte black", "matte black"),
    ("gray", "gray"),
    ("grey", "gray"),
    ("white", "white"),
    ("clear", "clear"),
];

/// The supplies, and whether the table is whole and every level lies within its capacity.
pub(super) struct Supplies {
    pub supplies: Vec<Supply>,
    pub incomplete: bool,
    pub out_of_range: bool,
}

pub(super) async fn read<S: ObjectSource>(source: &S) -> Result<Supplies, SnmpError> {
    let table = Table::read_whole(source, &oid!(1, 3, 6, 1, 2, 1, 43, 11, 1, 1)).await?;
    let colorants = if table.rows.values().any(|row| row.contains_key(&COLORANT_INDEX)) {
        colorants(source).await?
    } else {
        BTreeMap::new()
    };
    let mut out_of_range = false;
    let supplies = table
        .rows
        .iter()
        // Indexes alone, as some agents keep for slots that hold nothing, are no supply.
        .filter(|(_, row)| row.contains_key(&LEVEL) || row.contains_key(&DESCRIPTION))
        .map(|(index, row)| supply(index, row, &colorants, &mut out_of_range))
        .collect();
    Ok(Supplies { supplies, incomplete: table.incomplete, out_of_range })
}

async fn colorants<S: ObjectSource>(source: &S) -> Result<BTreeMap<Vec<u32>, String>, SnmpError> {
    let table = Table::read(source, &oid!(1, 3, 6, 1, 2, 1, 43, 12, 1, 1), &[COLORANT_VALUE]).await?;
    Ok(table
        .rows
        .into_iter()
        .filter_map(|(index, row)| {
            let value = row.get(&COLORANT_VALUE).and_then(text::of_value)?;
            Some((index, colour_in(&value)?))
        })
        .collect())
}

fn supply(
    index: &[u32],
    row: &BTreeMap<u32, Value>,
    colorants: &BTreeMap<Vec<u32>, String>,
    out_of_range: &mut bool,
) -> Supply {
    let number = |column: u32| row.get(&column).and_then(Value::as_i64);
    let word = |column, words: fn(i64) -> String| number(column).map_or_else(|| "unknown".to_owned(), words);
    let description = row.get(&DESCRIPTION).and_then(text::of_value);
    let (level, max_capacity) = (number(LEVEL), number(MAX_CAPACITY));
    let colorant = number(COLORANT_INDEX)
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
    Supply {
        index: index_text(index),
        r#type: word(TYPE, words::supply_type),
        class: word(CLASS, words::supply_class),
        colour: colorant.or_else(|| description.as_deref().and_then(colour_in)),
        part_number: description.as_deref().and_then(part_number_in),
        serial: description.as_deref().and_then(serial_in),
        unit: word(UNIT, words::unit),
        max_capacity,
        level,
        percent,
        state: state_of(level, max_capacity).to_owned(),
        description,
    }
}

/// Rounded to the nearest whole; never above 100.
fn percent_of(level: i64, max: i64) -> Option<u32> {
    let (level, max) = (i128::from(level.min(max)), i128::from(max));
    u32::try_from((level * 200 + max) / (2 * max)).ok()
}

fn colour_in(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let found = COLOUR_WORDS.iter().filter(|(word, _)| text.contains(word)).max_by_key(|(word, _)| word.len());
    found.map(|(_, colour)| (*colour).to_owned())
}

/// What follows `mark`, up to a separator, where it looks like a number of a part.
fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let rest = text.get(text.find(mark)? + mark.len()..)?.trim_start();
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
    rest.get(..end).filter(|found| found.len() >= 4)
}

fn part_number_in(description: &str) -> Option<String> {
    // Xerox: "Black Toner, PN 006R01509;SN…"; HP: "Black Cartridge HP CF410A".
    let found = after(description, "PN ").or_else(|| {
        after(description, " HP ").filter(|word| {
            word.starts_with(|c: char| c.is_ascii_uppercase()) && word.bytes().any(|b| b.is_ascii_digit())
        })
    });
    found.map(str::to_owned)
}

fn serial_in(description: &str) -> Option<String> {
    // Xerox: ";SN48178080"; Samsung: "S/N:CRUM-1234".
    after(description, "S/N:")
        .or_else(|| after(description, ";SN"))
        .filter(|found| *found != "CRUM-")
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_found_in_descriptions() {
        let xerox = "Black Toner, PN 006R01509;SN48178080123";
        assert_eq!(part_number_in(xerox).as_deref(), Some("006R01509"));
        assert_eq!(serial_in(xerox).as_deref(), Some("48178080123"));
        assert_eq!(part_number_in("Black Cartridge HP CF410A").as_deref(), Some("CF410A"));
        assert_eq!(serial_in("Black Toner S/N:CRUM-18012345678").as_deref(), Some("CRUM-18012345678"));
        assert_eq!(serial_in("Black Toner Cartridge S/N:CRUM-"), None);
        assert_eq!(serial_in("Fuser S/N:"), None);
        assert_eq!(part_number_in("Waste Toner Box"), None);
    }

    #[test]
    fn colours_are_known_in_several_languages() {
        assert_eq!(colour_in("Cartouche de toner jaune").as_deref(), Some("yellow"));
        assert_eq!(colour_in("Toner (Black)").as_deref(), Some("black"));
        assert_eq!(colour_in("Photo Black Ink").as_deref(), Some("photo black"));
        assert_eq!(colour_in("Fuser"), None);
    }

    proptest! {
        #[test]
        fn a_percentage_is_one(level in 0i64.., max in 1i64..) {
            prop_assert!(percent_of(level, max).is_some_and(|percent| percent <= 100));
        }

        #[test]
        fn a_code_never_becomes_a_percentage(level in -3i64..0, max in any::<i64>()) {
            let row = BTreeMap::from([(LEVEL, Value::Integer(level)), (MAX_CAPACITY, Value::Integer(max))]);
            prop_assert_eq!(supply(&[1, 1], &row, &BTreeMap::new(), &mut false).percent, None);
        }
    }
}
