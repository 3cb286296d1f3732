//! Where the paper comes from and where it goes: prtInputTable, prtOutputTable, prtCoverTable, prtMediaPathTable (RFC 3805 §6).

use super::ask::Ask;
use super::reading::{Cover, InputTray, OutputBin};
use super::tables::{Row, index_text, state_of};
use super::words;
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError};

fn printer_mib(arcs: &[u32]) -> Oid {
    oid!(1, 3, 6, 1, 2, 1, 43).with(arcs)
}

pub(super) async fn trays<S: ObjectSource>(ask: &mut Ask<'_, S>) -> Result<Vec<InputTray>, SnmpError> {
    const TYPE: u32 = 2;
    const CAPACITY_UNIT: u32 = 8;
    const MAX_CAPACITY: u32 = 9;
    const LEVEL: u32 = 10;
    const STATUS: u32 = 11;
    const MEDIA: u32 = 12;
    const NAME: u32 = 13;
    const DESCRIPTION: u32 = 18;
    let columns = [TYPE, CAPACITY_UNIT, MAX_CAPACITY, LEVEL, STATUS, MEDIA, NAME, DESCRIPTION];
    let table = ask.table(&printer_mib(&[8, 2, 1]), &columns).await?;
    let tray = |(index, row): (&Vec<u32>, &Row)| {
        let (level, max_capacity) = (row.number(LEVEL), row.number(MAX_CAPACITY));
        InputTray {
            index: index_text(index),
            name: row.text(NAME).or_else(|| row.text(DESCRIPTION)),
            media: row.text(MEDIA),
            max_capacity,
            level,
            state: state_of(level, max_capacity).to_owned(),
            r#type: row.number(TYPE).map(words::input_type),
            unit: row.number(CAPACITY_UNIT).map_or_else(|| "unknown".to_owned(), words::unit),
            status: row.number(STATUS).map(words::subunit_status).unwrap_or_default(),
        }
    };
    // A tray of which nothing but its kind is told is a place where one could be.
    let says_more = [MAX_CAPACITY, LEVEL, MEDIA, NAME, DESCRIPTION];
    let is_there = |(_, row): &(&Vec<u32>, &Row)| says_more.iter().any(|column| row.value(*column).is_some());
    Ok(table.rows.iter().filter(is_there).map(tray).collect())
}

pub(super) async fn bins<S: ObjectSource>(ask: &mut Ask<'_, S>) -> Result<Vec<OutputBin>, SnmpError> {
    const MAX_CAPACITY: u32 = 4;
    const REMAINING: u32 = 5;
    const STATUS: u32 = 6;
    const NAME: u32 = 7;
    const DESCRIPTION: u32 = 12;
    let columns = [MAX_CAPACITY, REMAINING, STATUS, NAME, DESCRIPTION];
    let table = ask.table(&printer_mib(&[9, 2, 1]), &columns).await?;
    let bin = |(index, row): (&Vec<u32>, &Row)| OutputBin {
        index: index_text(index),
        name: row.text(NAME).or_else(|| row.text(DESCRIPTION)),
        max_capacity: row.number(MAX_CAPACITY),
        remaining_capacity: row.number(REMAINING),
        status: row.number(STATUS).map(words::subunit_status).unwrap_or_default(),
    };
    Ok(table.rows.iter().map(bin).collect())
}

pub(super) async fn covers<S: ObjectSource>(ask: &mut Ask<'_, S>) -> Result<Vec<Cover>, SnmpError> {
    const DESCRIPTION: u32 = 2;
    const STATUS: u32 = 3;
    let table = ask.table(&printer_mib(&[6, 1, 1]), &[DESCRIPTION, STATUS]).await?;
    let cover = |(index, row): (&Vec<u32>, &Row)| Cover {
        index: index_text(index),
        description: row.text(DESCRIPTION),
        status: row.number(STATUS).map_or_else(|| "unknown".to_owned(), words::cover_status),
    };
    Ok(table.rows.iter().map(cover).collect())
}

/// What the media paths say: how wide, how fast, whether to both sides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    pub duplex: Option<bool>,
    pub large: Option<bool>,
    pub pages_per_minute: Option<u32>,
}

pub(super) async fn paths<S: ObjectSource>(ask: &mut Ask<'_, S>) -> Result<Paths, SnmpError> {
    const SPEED_UNIT: u32 = 2;
    const SIZE_UNIT: u32 = 3;
    const SPEED: u32 = 4;
    const WIDTH: u32 = 6;
    const TYPE: u32 = 9;
    const DUPLEX_TYPES: [i64; 2] = [3, 4];
    const KNOWN_TYPES: std::ops::RangeInclusive<i64> = 3..=5;
    /// A3 is 297 mm wide; ledger, the narrowest that counts as large, 279.4 mm.
    const LARGE_WIDTH_MICROMETERS: i64 = 279_000;
    let table = ask.table(&printer_mib(&[13, 4, 1]), &[SPEED_UNIT, SIZE_UNIT, SPEED, WIDTH, TYPE]).await?;
    let types: Vec<i64> = table.rows.values().filter_map(|row| row.number(TYPE)).collect();
    let known = types.iter().any(|it| KNOWN_TYPES.contains(it));
    let width = |row: &Row| {
        let width = row.number(WIDTH).filter(|width| *width > 0)?;
        micrometers(width, row.number(SIZE_UNIT)?)
    };
    let widths: Vec<i64> = table.rows.values().filter_map(width).collect();
    let speed = |row: &Row| {
        let counts_pages = row.number(SPEED_UNIT).is_some_and(words::counts_pages_an_hour);
        row.number(SPEED).filter(|speed| counts_pages && *speed > 0).and_then(|speed| u32::try_from(speed / 60).ok())
    };
    Ok(Paths {
        duplex: known.then(|| types.iter().any(|it| DUPLEX_TYPES.contains(it))),
        large: widths.iter().max().map(|widest| *widest >= LARGE_WIDTH_MICROMETERS),
        pages_per_minute: table.rows.values().filter_map(speed).max().filter(|pages| *pages > 0),
    })
}

/// PrtMediaUnitTC: ten-thousandths of inches, micrometers.
fn micrometers(number: i64, unit: i64) -> Option<i64> {
    match unit {
        3 => number.checked_mul(254).map(|n| n / 100),
        4 => Some(number),
        _ => None,
    }
}
