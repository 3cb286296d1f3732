//! Reads a device: a few requests to see what it is; if it is a printer, its scalars by GET and the columns of its tables
//! that are wanted. One that was read before is read from what is remembered, with what may have changed asked anew.

use super::ask::Ask;
use super::explain::Explanation;
use super::identity::Clues;
use super::memory::Memory;
use super::profile::{Profile, Profiles};
use super::reading::{Capabilities, Reading, Status};
use super::recognise::{Recognition, recognise};
use super::text::{self, Charset};
use super::{alerts, meters, paper, supplies, words};
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value};

/// Lines of the panel that are kept.
const PANEL_LINES_MAX: usize = 8;

/// What a reading needs besides the device.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The address that is asked, to stand in the reading.
    pub address: Option<String>,
    /// By which profiles.
    pub profiles: Profiles,
    /// Whether to read the text on the panel, which may show a person's name.
    pub panel: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { address: None, profiles: Profiles::built_in(), panel: false }
    }
}

/// Standard instances for the device at one hrDeviceIndex.
struct Instances {
    hr_device_status: Oid,
    hr_printer_status: Oid,
    hr_detected_errors: Oid,
    config_changes: Oid,
    localization: Oid,
    printer_name: Oid,
    serial_number: Oid,
    life_count: Oid,
}

impl Instances {
    fn of(device: u32) -> Self {
        let mib2 = oid!(1, 3, 6, 1, 2, 1);
        let at = |arcs: &[u32]| mib2.with(arcs).with(&[device]);
        Self {
            hr_device_status: at(&[25, 3, 2, 1, 5]),
            hr_printer_status: at(&[25, 3, 5, 1, 1]),
            hr_detected_errors: at(&[25, 3, 5, 1, 2]),
            config_changes: at(&[43, 5, 1, 1, 1]),
            localization: at(&[43, 5, 1, 1, 2]),
            printer_name: at(&[43, 5, 1, 1, 16]),
            serial_number: at(&[43, 5, 1, 1, 17]),
            life_count: at(&[43, 10, 2, 1, 4]).with(&[1]),
        }
    }

    fn all(&self) -> [&Oid; 7] {
        [
            &self.hr_device_status,
            &self.hr_printer_status,
            &self.hr_detected_errors,
            &self.config_changes,
            &self.localization,
            &self.printer_name,
            &self.serial_number,
        ]
    }
}

/// What came of reading a device.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it said.
    pub reading: Reading,
    /// Where each value came from.
    pub explanation: Explanation,
    /// What makes its next reading short; nothing for what is no printer.
    pub memory: Option<Memory>,
}

/// Reads a device. One that is no printer gives a reading that says so.
///
/// # Errors
/// When the device does not answer, falls silent, or refuses.
pub async fn read<S: ObjectSource>(source: &S, options: &ReadOptions) -> Result<Reading, SnmpError> {
    Ok(explore(source, options).await?.reading)
}

/// Reads a device that nothing is known of, and says where each value came from.
///
/// # Errors
/// As [`read`].
pub async fn explore<S: ObjectSource>(source: &S, options: &ReadOptions) -> Result<Outcome, SnmpError> {
    read_by(source, options, None).await
}

/// Reads a device that was read before, with a fraction of the packets; as [`explore`] where it has changed since.
///
/// # Errors
/// As [`read`].
pub async fn read_known<S: ObjectSource>(
    source: &S,
    options: &ReadOptions,
    memory: &Memory,
) -> Result<Outcome, SnmpError> {
    match memory.refresh(source).await? {
        Some(fresh) => {
            let outcome = read_by(source, options, Some(&fresh)).await?;
            Ok(Outcome { memory: Some(fresh), ..outcome })
        }
        None => explore(source, options).await,
    }
}

async fn read_by<S: ObjectSource>(
    source: &S,
    options: &ReadOptions,
    known: Option<&Memory>,
) -> Result<Outcome, SnmpError> {
    let mut ask = Ask::new(source, known);
    let recognition = recognise(&mut ask, &options.profiles).await?;
    let mut reading = Reading {
        is_printer: recognition.is_printer,
        address: options.address.clone(),
        sys_object_id: recognition.sys_object_id.as_ref().map(ToString::to_string),
        ..Reading::default()
    };
    let mut explanation = Explanation::default();
    if !recognition.is_printer {
        return Ok(Outcome { reading, explanation, memory: None });
    }
    let instances = Instances::of(recognition.device_index);
    let by_profile = recognition.profile.map(Profile::instances).unwrap_or_default();
    // The total comes with the first, and again with its table, so that one sees whether the device printed meanwhile.
    let total = recognition.has_printer_mib.then_some(&instances.life_count);
    let wanted: Vec<Oid> = total.into_iter().chain(instances.all()).chain(&by_profile).cloned().collect();
    ask.get(&wanted).await?;
    let charset = charset(&mut ask, &recognition, &instances).await?;
    ask.set_charset(charset);

    identity(&mut ask, &recognition, &instances, &mut reading, &mut explanation).await?;
    reading.status = status(&ask, &recognition, &instances);
    reading.mac = mac(&mut ask).await?;
    reading.location = recognition.sys_location.clone();
    let model = reading.model.clone();
    reading.meters = meters::read(&mut ask, recognition.profile, recognition.has_printer_mib, model.as_deref()).await?;
    if recognition.has_printer_mib {
        tables(&mut ask, &recognition, options, &mut reading).await?;
    }
    reading.capabilities = capabilities(&reading);
    flag(&mut reading, ask.incomplete, ask.total_changed);
    explanation.of_reading(&reading);
    explanation.unanswered = ask.unanswered();
    let has_serial = reading.serial.is_some();
    let memory = Memory::of(ask, recognition.profile, has_serial, instances.config_changes);
    Ok(Outcome { reading, explanation, memory })
}

/// prtLocalizationCharacterSet of the localisation in force.
async fn charset<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    recognition: &Recognition<'_>,
    instances: &Instances,
) -> Result<Charset, SnmpError> {
    let current = ask.number(&instances.localization).and_then(|n| u32::try_from(n).ok());
    let Some(current) = current.filter(|_| recognition.has_printer_mib) else { return Ok(Charset::default()) };
    let set = oid!(1, 3, 6, 1, 2, 1, 43, 7, 1, 1, 4).with(&[recognition.device_index, current]);
    ask.get(std::slice::from_ref(&set)).await?;
    Ok(Charset::of(ask.number(&set)))
}

async fn identity<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    recognition: &Recognition<'_>,
    instances: &Instances,
    reading: &mut Reading,
    explanation: &mut Explanation,
) -> Result<(), SnmpError> {
    let (printer_name, serial_number) = (ask.text(&instances.printer_name), ask.text(&instances.serial_number));
    let mut clues = Clues { recognition, ask, printer_name, serial_number };
    let model = clues.model().await?;
    let vendor = clues.vendor(model.as_ref().map(|model| model.text.as_str()));
    let found = [
        ("vendor", &mut reading.vendor, vendor),
        ("model", &mut reading.model, model),
        ("serial", &mut reading.serial, clues.serial().await?),
        ("firmware", &mut reading.firmware, clues.firmware().await?),
        ("name", &mut reading.name, clues.name().await?),
    ];
    for (what, place, found) in found {
        if let Some(found) = found {
            explanation.say(what, &found.text, &found.source);
            *place = Some(found.text);
        }
    }
    reading.profile = recognition.profile.map(|profile| profile.file.clone());
    Ok(())
}

fn status<S: ObjectSource>(ask: &Ask<'_, S>, recognition: &Recognition<'_>, instances: &Instances) -> Status {
    let errors = ask.value(&instances.hr_detected_errors).and_then(Value::as_bytes);
    Status {
        printer: ask.number(&instances.hr_printer_status).map(words::printer_status),
        device: ask.number(&instances.hr_device_status).map(words::device_status),
        errors: errors.map(words::detected_errors).unwrap_or_default(),
        uptime_centiseconds: recognition.uptime_centiseconds,
    }
}

/// The first real address of an interface.
async fn mac<S: ObjectSource>(ask: &mut Ask<'_, S>) -> Result<Option<String>, SnmpError> {
    const PHYS_ADDRESS: u32 = 6;
    let table = ask.table(&oid!(1, 3, 6, 1, 2, 1, 2, 2, 1), &[PHYS_ADDRESS]).await?;
    Ok(table.rows.values().find_map(|row| row.value(PHYS_ADDRESS).and_then(text::mac_of)))
}

/// What the Printer-MIB has in tables.
async fn tables<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    recognition: &Recognition<'_>,
    options: &ReadOptions,
    reading: &mut Reading,
) -> Result<(), SnmpError> {
    let found = supplies::read(ask, recognition.profile).await?;
    if found.out_of_range {
        reading.flags.push("LEVEL_ABOVE_CAPACITY".to_owned());
    }
    reading.supplies = found.supplies;
    reading.input_trays = paper::trays(ask).await?;
    reading.output_bins = paper::bins(ask).await?;
    reading.covers = paper::covers(ask).await?;
    let paths = paper::paths(ask).await?;
    reading.capabilities.duplex = paths.duplex;
    reading.capabilities.large = paths.large;
    reading.capabilities.pages_per_minute = paths.pages_per_minute;
    let others_incomplete = std::mem::take(&mut ask.incomplete);
    reading.alerts = alerts::read(ask, recognition.uptime_centiseconds).await?;
    reading.alerts_complete = !ask.incomplete && reading.alerts.len() < alerts::ALERTS_MAX;
    ask.incomplete |= others_incomplete;
    if options.panel {
        let table = ask.table_anew(&oid!(1, 3, 6, 1, 2, 1, 43, 16, 5, 1), &[2]).await?;
        reading.panel = table.rows.values().filter_map(|row| row.text(2)).take(PANEL_LINES_MAX).collect();
    }
    Ok(())
}

/// What can be said from what was read.
fn capabilities(reading: &Reading) -> Capabilities {
    use super::meter_key::{Colour, Function};
    let has = |functions: &[Function]| reading.meters.iter().any(|meter| functions.contains(&meter.key.function));
    let is_marking = |kind: &str| matches!(kind, "toner" | "tonerCartridge" | "ink" | "inkCartridge");
    let colours: Vec<&str> = reading
        .supplies
        .iter()
        .filter(|supply| is_marking(&supply.r#type))
        .filter_map(|supply| supply.colour.as_deref())
        .collect();
    let counts_colour = reading.meters.iter().any(|meter| meter.key.colour == Colour::Full && meter.value > 0);
    let is_black = |colour: &&str| colour.contains("black");
    let colour = (!colours.is_empty()).then(|| !colours.iter().all(is_black)).or(counts_colour.then_some(true));
    Capabilities {
        colour,
        copy: has(&[Function::Copy]).then_some(true),
        scan: has(&[Function::Scan]).then_some(true),
        fax: has(&[Function::Fax, Function::FaxIn, Function::FaxOut]).then_some(true),
        ..reading.capabilities
    }
}

fn flag(reading: &mut Reading, incomplete: bool, total_changed: bool) {
    let flags = [
        ("WEAK_ID", reading.serial.is_none()),
        ("NO_METERS", reading.meters.is_empty()),
        ("CHANGED_WHILE_READ", total_changed),
        ("INCOMPLETE", incomplete),
    ];
    reading.flags.extend(flags.into_iter().filter(|(_, is)| *is).map(|(flag, _)| flag.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::{Recording, VarBind, Walk, WalkLimits};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A printer that prints `pages` between any two requests.
    struct Printing {
        recording: Recording,
        pages: u32,
        count: AtomicU32,
    }

    impl Printing {
        fn now(&self) -> Recording {
            let count = self.count.fetch_add(self.pages, Ordering::Relaxed);
            let mut recording = self.recording.clone();
            recording.set(oid!(1, 3, 6, 1, 2, 1, 43, 10, 2, 1, 4, 1, 1), Value::Counter32(count));
            recording
        }
    }

    impl ObjectSource for Printing {
        async fn get(&self, oids: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
            // As over the network: a few objects at a time.
            let mut all = Vec::new();
            for oids in oids.chunks(2) {
                all.extend(self.now().get(oids).await?);
            }
            Ok(all)
        }

        async fn walk(&self, root: &Oid, limits: WalkLimits) -> Result<Walk, SnmpError> {
            self.now().walk(root, limits).await
        }

        async fn columns(&self, entry: &Oid, columns: &[u32], limits: WalkLimits) -> Result<Walk, SnmpError> {
            self.now().columns(entry, columns, limits).await
        }
    }

    #[tokio::test]
    async fn a_printer_that_prints_while_it_is_read_is_flagged_and_the_later_total_counts() {
        let text = b"1.3.6.1.2.1.1.1.0|4|A printer\n1.3.6.1.2.1.43.5.1.1.17.1|4|ABC12345\n1.3.6.1.2.1.43.10.2.1.3.1.1|2|7\n1.3.6.1.2.1.43.10.2.1.4.1.1|65|1\n";
        let source =
            |pages| Printing { recording: Recording::parse(text).unwrap(), pages, count: AtomicU32::new(1_000) };
        let options = ReadOptions::default();
        let is_flagged = |reading: &Reading| reading.flags.iter().any(|flag| flag == "CHANGED_WHILE_READ");

        let (idle, busy) = (source(0), source(3));
        let quiet = explore(&idle, &options).await.unwrap();
        assert!(!is_flagged(&quiet.reading), "{:?}", quiet.reading.flags);
        let again = read_known(&idle, &options, &quiet.memory.unwrap()).await.unwrap();
        assert!(!is_flagged(&again.reading), "{:?}", again.reading.flags);

        let first = explore(&busy, &options).await.unwrap();
        assert!(is_flagged(&first.reading));
        let before = busy.count.load(Ordering::Relaxed);
        let again = read_known(&busy, &options, &first.memory.unwrap()).await.unwrap();
        assert!(is_flagged(&again.reading));
        assert!(again.reading.meters[0].value > u64::from(before), "{:?}", again.reading.meters);
    }
}
