//! Reads a device: a few requests to see what it is; if it is a printer, its scalars by GET and its tables column by column.

use super::identity::Clues;
use super::profile::MeterTable;
use super::reading::{Alert, InputTray, Meter, Reading, Status};
use super::recognise::{Recognition, recognise};
use super::tables::{Table, index_text, state_of};
use super::{supplies, text, words};
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value, VarBind};

/// IEEE 1284 device id: of the PWG's Port Monitor MIB, and where HP's cards (in many makes) have it.
const DEVICE_IDS: [&[u32]; 2] =
    [&[1, 3, 6, 1, 4, 1, 2699, 1, 2, 1, 2, 1, 1, 3, 1], &[1, 3, 6, 1, 4, 1, 11, 2, 3, 9, 1, 1, 7, 0]];
/// Most alerts that are kept of one reading.
const ALERTS_MAX: usize = 100;

/// What a reading needs besides the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The address that is asked, to stand in the reading.
    pub address: Option<String>,
}

/// Standard instances for the device at one hrDeviceIndex.
struct Instances {
    hr_device_descr: Oid,
    hr_device_status: Oid,
    hr_printer_status: Oid,
    hr_detected_errors: Oid,
    printer_name: Oid,
    serial_number: Oid,
}

impl Instances {
    fn of(device: u32) -> Self {
        let mib2 = oid!(1, 3, 6, 1, 2, 1);
        let at = |arcs: &[u32]| mib2.with(arcs).with(&[device]);
        Self {
            hr_device_descr: at(&[25, 3, 2, 1, 3]),
            hr_device_status: at(&[25, 3, 2, 1, 5]),
            hr_printer_status: at(&[25, 3, 5, 1, 1]),
            hr_detected_errors: at(&[25, 3, 5, 1, 2]),
            printer_name: at(&[43, 5, 1, 1, 16]),
            serial_number: at(&[43, 5, 1, 1, 17]),
        }
    }

    fn all(&self) -> [&Oid; 6] {
        [
            &self.hr_device_descr,
            &self.hr_device_status,
            &self.hr_printer_status,
            &self.hr_detected_errors,
            &self.printer_name,
            &self.serial_number,
        ]
    }
}

/// Reads a device. One that is no printer gives a reading that says so.
///
/// # Errors
/// When the device does not answer, falls silent, or refuses.
pub async fn read<S: ObjectSource>(source: &S, options: &ReadOptions) -> Result<Reading, SnmpError> {
    let recognition = recognise(source).await?;
    let mut reading = Reading {
        is_printer: recognition.is_printer,
        address: options.address.clone(),
        sys_object_id: recognition.sys_object_id.as_ref().map(ToString::to_string),
        ..Reading::default()
    };
    if !recognition.is_printer {
        return Ok(reading);
    }
    let instances = Instances::of(recognition.device_index);
    let device_ids = DEVICE_IDS.map(|arcs| Oid::default().with(arcs));
    let wanted: Vec<Oid> = instances
        .all()
        .into_iter()
        .chain(&device_ids)
        .chain(recognition.profile.iter().flat_map(|profile| profile.oids()))
        .cloned()
        .collect();
    let values = source.get(&wanted).await?;

    let text_at = |oid: &Oid| value_at(&values, oid).and_then(text::of_value);
    let clues = Clues {
        recognition: &recognition,
        values: &values,
        hr_device_descr: text_at(&instances.hr_device_descr),
        printer_name: text_at(&instances.printer_name),
        serial_number: text_at(&instances.serial_number),
        device_id: device_ids.iter().find_map(text_at),
    };
    reading.vendor = clues.vendor();
    reading.model = clues.model(reading.vendor.as_deref());
    reading.serial = clues.serial();
    reading.firmware = clues.firmware();
    reading.name = clues.name();
    reading.status = status(&recognition, &instances, &values);
    reading.mac = mac(source).await?;

    let mut incomplete = false;
    reading.meters = meters(source, &recognition, &values, &mut incomplete).await?;
    if recognition.has_printer_mib {
        let found = supplies::read(source).await?;
        incomplete |= found.incomplete;
        if found.out_of_range {
            reading.flags.push("LEVEL_ABOVE_CAPACITY".to_owned());
        }
        reading.supplies = found.supplies;
        reading.input_trays = trays(source, &mut incomplete).await?;
        reading.alerts = alerts(source, &mut incomplete).await?;
    }
    if reading.serial.is_none() {
        reading.flags.push("WEAK_ID".to_owned());
    }
    if reading.meters.is_empty() {
        reading.flags.push("NO_METERS".to_owned());
    }
    if incomplete {
        reading.flags.push("INCOMPLETE".to_owned());
    }
    Ok(reading)
}

fn value_at<'a>(values: &'a [VarBind], oid: &Oid) -> Option<&'a Value> {
    values.iter().find(|vb| vb.oid == *oid).map(|vb| &vb.value).filter(|value| value.is_present())
}

fn status(recognition: &Recognition, instances: &Instances, values: &[VarBind]) -> Status {
    let number = |oid: &Oid| value_at(values, oid).and_then(Value::as_i64);
    let errors = value_at(values, &instances.hr_detected_errors).and_then(Value::as_bytes);
    Status {
        printer: number(&instances.hr_printer_status).map(words::printer_status),
        device: number(&instances.hr_device_status).map(words::device_status),
        errors: errors.map(words::detected_errors).unwrap_or_default(),
        uptime_centiseconds: recognition.uptime_centiseconds,
    }
}

/// The first real address of an interface.
async fn mac<S: ObjectSource>(source: &S) -> Result<Option<String>, SnmpError> {
    let table = Table::read(source, &oid!(1, 3, 6, 1, 2, 1, 2, 2, 1), &[6]).await?;
    Ok(table.rows.values().find_map(|row| row.get(&6).and_then(text::mac_of)))
}

/// The vendor's meters as its profile names them, and prtMarkerLifeCount as the total where the vendor has none.
async fn meters<S: ObjectSource>(
    source: &S,
    recognition: &Recognition,
    values: &[VarBind],
    incomplete: &mut bool,
) -> Result<Vec<Meter>, SnmpError> {
    let mut meters: Vec<Meter> = Vec::new();
    let mut add = |name: &str, value: Option<&Value>, unit: &str, oid: &Oid| {
        let count = value.and_then(Value::as_i64).and_then(|n| u64::try_from(n).ok());
        let is_new = !meters.iter().any(|meter| meter.name == name);
        if let (Some(value), true) = (count, is_new) {
            meters.push(Meter { name: name.to_owned(), value, unit: unit.to_owned(), oid: oid.to_string() });
        }
    };
    if let Some(profile) = recognition.profile {
        for meter in &profile.meters {
            add(&meter.name, value_at(values, &meter.oid), &meter.unit, &meter.oid);
        }
        for table in &profile.meter_tables {
            for (row, oid, value) in table_meters(source, table).await? {
                add(&row.name, Some(&value), &row.unit, &oid);
            }
        }
    }
    if recognition.has_printer_mib {
        const COUNTER_UNIT: u32 = 3;
        const LIFE_COUNT: u32 = 4;
        let entry = oid!(1, 3, 6, 1, 2, 1, 43, 10, 2, 1);
        let markers = Table::read(source, &entry, &[COUNTER_UNIT, LIFE_COUNT]).await?;
        *incomplete |= markers.incomplete;
        // The first marker counts for the printer; others are second engines.
        let first = markers.rows.iter().find(|(_, row)| row.contains_key(&LIFE_COUNT));
        if let Some((index, row)) = first {
            let unit = row.get(&COUNTER_UNIT).and_then(Value::as_i64).map_or("unknown".to_owned(), words::unit);
            add("total", row.get(&LIFE_COUNT), &unit, &entry.with(&[LIFE_COUNT]).with(index));
        }
    }
    meters.sort_by_key(|meter| super::profile::METER_NAMES.iter().position(|name| *name == meter.name));
    Ok(meters)
}

async fn table_meters<'a, S: ObjectSource>(
    source: &S,
    table: &'a MeterTable,
) -> Result<Vec<(&'a super::profile::MeterRow, Oid, Value)>, SnmpError> {
    let limits = crate::snmp::WalkLimits::default();
    let types = source.walk(&table.types, limits).await?;
    if types.varbinds.is_empty() {
        return Ok(Vec::new());
    }
    let values = source.walk(&table.values, limits).await?;
    let mut found = Vec::new();
    for varbind in types.varbinds {
        let row = varbind.value.as_i64().and_then(|number| table.rows.iter().find(|row| row.r#type == number));
        let (Some(row), Some(index)) = (row, varbind.oid.suffix_of(&table.types)) else { continue };
        let oid = table.values.with(index);
        if let Some(value) = value_at(&values.varbinds, &oid) {
            found.push((row, oid.clone(), value.clone()));
        }
    }
    Ok(found)
}

async fn trays<S: ObjectSource>(source: &S, incomplete: &mut bool) -> Result<Vec<InputTray>, SnmpError> {
    const MAX_CAPACITY: u32 = 9;
    const LEVEL: u32 = 10;
    const MEDIA: u32 = 12;
    const NAME: u32 = 13;
    const DESCRIPTION: u32 = 18;
    let entry = oid!(1, 3, 6, 1, 2, 1, 43, 8, 2, 1);
    let table = Table::read(source, &entry, &[MAX_CAPACITY, LEVEL, MEDIA, NAME, DESCRIPTION]).await?;
    *incomplete |= table.incomplete;
    Ok(table
        .rows
        .iter()
        .map(|(index, row)| {
            let number = |column| row.get(&column).and_then(Value::as_i64);
            let words = |column| row.get(&column).and_then(text::of_value);
            let (level, max_capacity) = (number(LEVEL), number(MAX_CAPACITY));
            InputTray {
                index: index_text(index),
                name: words(NAME).or_else(|| words(DESCRIPTION)),
                media: words(MEDIA),
                max_capacity,
                level,
                state: state_of(level, max_capacity).to_owned(),
            }
        })
        .collect())
}

async fn alerts<S: ObjectSource>(source: &S, incomplete: &mut bool) -> Result<Vec<Alert>, SnmpError> {
    const SEVERITY: u32 = 2;
    const TRAINING: u32 = 3;
    const GROUP: u32 = 4;
    const LOCATION: u32 = 6;
    const CODE: u32 = 7;
    const DESCRIPTION: u32 = 8;
    const TIME: u32 = 9;
    let table = Table::read_whole(source, &oid!(1, 3, 6, 1, 2, 1, 43, 18, 1, 1)).await?;
    *incomplete |= table.incomplete;
    Ok(table
        .rows
        .iter()
        // A row without a severity is an index that some agents keep after the alert has gone.
        .filter(|(_, row)| row.contains_key(&SEVERITY))
        .take(ALERTS_MAX)
        .map(|(index, row)| {
            let number = |column| row.get(&column).and_then(Value::as_i64);
            let word = |column, words: fn(i64) -> String| number(column).map_or("unknown".to_owned(), words);
            Alert {
                index: index.last().copied().unwrap_or_default(),
                severity: word(SEVERITY, words::alert_severity),
                training: number(TRAINING).map(words::alert_training),
                group: word(GROUP, words::alert_group),
                code: word(CODE, words::alert_code),
                code_number: number(CODE),
                description: row.get(&DESCRIPTION).and_then(text::of_value),
                location: number(LOCATION).filter(|n| *n >= 0),
                time_centiseconds: number(TIME).and_then(|n| u64::try_from(n).ok()),
            }
        })
        .collect())
}
