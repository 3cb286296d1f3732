//! Recordings of real devices, each with what a good reader finds in it. Prints a score for every file. Skipped where the
//! recordings are not there; the project's own hand-written recordings in `tests/data` are read in any case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

use std::path::{Path, PathBuf};

use platen::printer::{ReadOptions, Reading, read};
use platen::snmp::Recording;
use serde_json::Value;

fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: there are no recordings in {}", path.display());
    None
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "snmprec"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no recordings in {}", folder.display());
    files
}

fn replay(file: &Path) -> Reading {
    let recording =
        Recording::parse(&std::fs::read(file).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    replay_recording(&recording)
}

fn replay_recording(recording: &Recording) -> Reading {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(read(recording, &ReadOptions::default()))
        .unwrap()
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Counts what agrees and collects what does not.
#[derive(Default)]
struct Score {
    right: u32,
    wrong: Vec<String>,
}

impl Score {
    /// An expectation that is absent or null is not claimed.
    fn compare(&mut self, what: &str, expected: &Value, found: &Value) {
        if expected.is_null() {
            return;
        }
        if expected == found {
            self.right += 1;
        } else {
            self.wrong.push(format!("{what}: expected {expected}, found {found}"));
        }
    }

    fn compare_model(&mut self, expected: &Value, found: &Value, vendor: &Value) {
        let normal = |value: &Value| {
            let text = value.as_str().unwrap_or_default().to_lowercase();
            let vendor = vendor.as_str().unwrap_or_default().to_lowercase();
            let text = text.strip_prefix(&vendor).unwrap_or(&text).trim().to_owned();
            text.strip_suffix(" series").unwrap_or(&text).to_owned()
        };
        if !expected.is_null() {
            self.compare("model", &normal(expected).into(), &normal(found).into());
        }
    }

    fn compare_rows(&mut self, what: &str, expected: &Value, found: &Value) {
        let Some(expected) = expected.as_array() else { return };
        let found = found.as_array().unwrap();
        for row in expected {
            let index = &row["index"];
            let Some(mine) = found.iter().find(|mine| mine["index"] == *index) else {
                self.wrong.push(format!("{what} {index} is missing"));
                continue;
            };
            for (key, value) in row.as_object().unwrap() {
                if key == "percent" && value.is_null() {
                    // Here null is a claim: there is no percentage.
                    let is_null = mine[key].is_null();
                    self.compare(&format!("{what} {index} percent is null"), &true.into(), &is_null.into());
                } else {
                    self.compare(&format!("{what} {index} {key}"), value, &mine[key]);
                }
            }
        }
        self.compare(&format!("number of {what}"), &expected.len().into(), &found.len().into());
    }
}

fn compare_identity(score: &mut Score, expected: &Value, found: &Value) {
    for key in ["is_printer", "vendor", "serial", "firmware"] {
        score.compare(key, &expected[key], &found[key]);
    }
    score.compare_model(&expected["model"], &found["model"], &expected["vendor"]);
}

/// Reads each recording of a folder that has a `.json` beside it, and prints its score; returns what is wrong.
fn score_printers(folder: &Path) -> Vec<String> {
    let mut failures = Vec::new();
    for file in recordings(folder) {
        let Ok(expected) = std::fs::read(file.with_extension("json")) else { continue };
        let expected: Value = serde_json::from_slice(&expected).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let found = serde_json::to_value(replay(&file)).unwrap();
        let score = score_printer(&expected, &found);
        let all = score.right as usize + score.wrong.len();
        println!("{:<28} {:>3}/{all}", name(&file), score.right);
        failures.extend(score.wrong.iter().map(|wrong| format!("{}: {wrong}", name(&file))));
    }
    failures
}

fn score_printer(expected: &Value, found: &Value) -> Score {
    let mut score = Score::default();
    compare_identity(&mut score, expected, found);
    for key in ["name", "location", "mac"] {
        score.compare(key, &expected[key], &found[key]);
    }
    score.compare_rows("supply", &expected["supplies"], &found["supplies"]);
    score.compare_rows("tray", &expected["input_trays"], &found["input_trays"]);
    let meter = |name: &str| found["meters"].as_array().unwrap().iter().find(|mine| mine["name"] == name);
    for (name, value) in expected["meters"].as_object().into_iter().flatten() {
        score.compare(name, value, meter(name).map_or(&Value::Null, |mine| &mine["value"]));
    }
    for (name, unit) in expected["units"].as_object().into_iter().flatten() {
        score.compare(&format!("unit of {name}"), unit, meter(name).map_or(&Value::Null, |mine| &mine["unit"]));
    }
    if let Some(count) = expected["marker_life_count"].get("1.1") {
        score.compare("total", count, meter("total").map_or(&Value::Null, |meter| &meter["value"]));
    }
    if expected["hr_printer_status"] == 3 {
        score.compare("status", &"idle".into(), &found["status"]["printer"]);
    }
    score
}

#[test]
fn every_recorded_printer_is_read_right() {
    let Some(corpus) = corpus() else { return };
    let failures = score_printers(&corpus.join("printers"));
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The project's own recordings, each written by hand from what the makers' MIBs say, for every vendor of the profiles.
#[test]
fn every_hand_written_printer_is_read_right() {
    let failures = score_printers(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// A recording of no more than what a device says first of itself.
fn first_words(sys_object_id: &str, sys_descr: &str, hr_device_descr: &str) -> Recording {
    let mut text = format!("1.3.6.1.2.1.1.1.0|4|{sys_descr}\n");
    if !sys_object_id.is_empty() {
        text += &format!("1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.{sys_object_id}\n");
    }
    if hr_device_descr != "!" {
        text += "1.3.6.1.2.1.25.3.2.1.2.1|6|1.3.6.1.2.1.25.3.1.5\n";
    }
    if !matches!(hr_device_descr, "" | "!") {
        text += &format!("1.3.6.1.2.1.25.3.2.1.3.1|4|{hr_device_descr}\n");
    }
    Recording::parse(text.as_bytes()).unwrap()
}

/// The forms in which makers' devices have named themselves over the decades (`forms.tsv` says what its fields are).
#[test]
fn every_form_of_a_name_is_understood() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/forms.tsv");
    let mut failures = Vec::new();
    for line in std::fs::read_to_string(file).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [sys_object_id, sys_descr, hr_device_descr, vendor, rest @ ..] = fields.as_slice() else {
            panic!("too few fields: {line}")
        };
        let found = replay_recording(&first_words(sys_object_id, sys_descr, hr_device_descr));
        if *vendor == "-" {
            failures.extend(found.is_printer.then(|| format!("{line}: no printer")));
            continue;
        }
        let model = rest.first().copied().unwrap_or_default();
        let is_right = found.is_printer
            && found.vendor.as_deref() == Some(vendor)
            && found.model.as_deref().unwrap_or_default() == model
            && rest.get(1).is_none_or(|firmware| found.firmware.as_deref() == Some(firmware));
        if !is_right {
            failures.push(format!("{line}: found {:?} {:?} {:?}", found.vendor, found.model, found.firmware));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_recorded_identity_is_known() {
    let Some(corpus) = corpus() else { return };
    let all: Value = serde_json::from_slice(&std::fs::read(corpus.join("identify/expected.json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    for file in recordings(&corpus.join("identify")) {
        let found = serde_json::to_value(replay(&file)).unwrap();
        let mut score = Score::default();
        compare_identity(&mut score, &all[name(&file)], &found);
        println!("{:<28} {:>3}/{}", name(&file), score.right, score.right as usize + score.wrong.len());
        failures.extend(score.wrong.iter().map(|wrong| format!("{}: {wrong}", name(&file))));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn nothing_else_is_taken_for_a_printer() {
    let Some(corpus) = corpus() else { return };
    for file in recordings(&corpus.join("negatives")) {
        let reading = replay(&file);
        println!("{:<38} is_printer: {}", name(&file), reading.is_printer);
        assert!(!reading.is_printer, "{} is taken for a printer", file.display());
        assert!(reading.meters.is_empty() && reading.supplies.is_empty());
    }
}

/// The project's own recordings, written by hand, are read where nothing else is there.
#[test]
fn the_hand_written_recordings_are_read_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let label = replay(&folder.join("acme-label.snmprec"));
    assert!(label.is_printer);
    assert_eq!(label.model.as_deref(), Some("ACME Label 300"));
    assert_eq!(label.serial.as_deref(), Some("ACM-0012345"));
    assert_eq!(label.status.printer.as_deref(), Some("printing"));
    assert_eq!(label.status.errors, ["low_paper", "input_tray_empty"]);
    let total = &label.meters[0];
    assert_eq!((total.name.as_str(), total.value, total.unit.as_str()), ("total", 91_234, "meters"));
    assert_eq!((label.supplies[0].percent, label.supplies[0].state.as_str()), (None, "some"));

    let mfp = replay(&folder.join("unnamed-mfp.snmprec"));
    assert!(mfp.is_printer && mfp.serial.is_none() && mfp.meters.is_empty());
    assert_eq!(mfp.device_key(), "mac:02:aa:bb:cc:00:01:1.3.6.1.4.1.99998.7");
    assert_eq!(mfp.flags, ["WEAK_ID", "NO_METERS"]);
    assert_eq!(mfp.supplies[0].colour.as_deref(), Some("black"));
    let states: Vec<_> = mfp.supplies.iter().map(|supply| (supply.percent, supply.state.as_str())).collect();
    assert_eq!(states, [(None, "unknown"), (None, "some")]);
}

/// Reads a recording, changes it, and reads it again from what is remembered.
fn read_twice(first: &Recording, second: &Recording) -> (platen::printer::Outcome, platen::printer::Outcome) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = ReadOptions::default();
    runtime.block_on(async {
        let explored = platen::printer::explore(first, &options).await.unwrap();
        let memory = explored.memory.clone().unwrap();
        let again = platen::printer::read_known(second, &options, &memory).await.unwrap();
        (explored, again)
    })
}

/// Every counter and level one higher, as after some use.
fn used(recording: &Recording) -> Recording {
    let live = ["1.3.6.1.2.1.43.10.2.1.4", "1.3.6.1.2.1.43.11.1.1.9", "1.3.6.1.2.1.43.8.2.1.10", "1.3.6.1.2.1.1.3.0"];
    let live: Vec<platen::snmp::Oid> = live.iter().map(|oid| oid.parse().unwrap()).collect();
    let mut used = recording.clone();
    for (oid, value) in recording.iter().filter(|(oid, _)| live.iter().any(|root| oid.starts_with(root))) {
        let more = match value {
            platen::snmp::Value::Integer(n) if *n >= 0 => platen::snmp::Value::Integer(n + 1),
            platen::snmp::Value::Counter32(n) => platen::snmp::Value::Counter32(n + 1),
            platen::snmp::Value::TimeTicks(n) => platen::snmp::Value::TimeTicks(n + 6_000),
            other => other.clone(),
        };
        used.set(oid.clone(), more);
    }
    used
}

#[test]
fn a_known_printer_is_read_as_if_it_were_new() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let folders = corpus().map(|it| it.join("printers")).into_iter().chain([own]);
    for file in folders.flat_map(|folder| recordings(&folder)) {
        let recording = Recording::parse(&std::fs::read(&file).unwrap()).unwrap();
        let used = used(&recording);
        let (explored, again) = read_twice(&recording, &used);
        let truth = replay_recording(&used).without_ages();
        assert_eq!(again.reading.without_ages(), truth, "{}", file.display());
        let memory = again.memory.unwrap();
        println!(
            "{:<28} {:>4} objects asked again, {:>6} bytes",
            name(&file),
            memory.live_objects(),
            memory.kept_bytes()
        );
        assert!(explored.memory.is_some());
    }
}

#[test]
fn another_device_at_a_known_address_is_read_anew() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/acme-label.snmprec");
    let recording = Recording::parse(&std::fs::read(&file).unwrap()).unwrap();
    let text = |text: &str| platen::snmp::Value::OctetString(text.as_bytes().to_vec());
    let mut swapped = recording.clone();
    swapped.set("1.3.6.1.2.1.43.5.1.1.17.1".parse().unwrap(), text("ACM-7777777"));
    let (_, again) = read_twice(&recording, &swapped);
    assert_eq!(again.reading.serial.as_deref(), Some("ACM-7777777"));

    // Restarted with other firmware: what is not asked again otherwise is asked again then.
    let mut restarted = recording.clone();
    restarted.set("1.3.6.1.2.1.1.3.0".parse().unwrap(), platen::snmp::Value::TimeTicks(100));
    restarted.set("1.3.6.1.2.1.25.3.2.1.3.1".parse().unwrap(), text("ACME Label 300 Mk II"));
    let (_, again) = read_twice(&recording, &restarted);
    assert_eq!(again.reading.model.as_deref(), Some("ACME Label 300 Mk II"));
}
