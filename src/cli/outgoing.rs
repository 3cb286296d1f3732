//! `platen show-outgoing`: what the box sends about the customer, readable and complete. Polls and results come from what the agent
//! keeps of its messages; readings and events from the outbox itself, so those that still wait are seen before they are sent.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::path::Path;

use prost::Message;
use serde_json::json;

use super::{Failure, OutgoingArgs, print};
use crate::agent::outgoing::{self, Outgoing};
use crate::agent::status;
use crate::proto::shown::{Shown, date, show};
use crate::proto::v1::record::What;
use crate::proto::{update, v1};
use crate::store::{Epoch, Held, Seq, StoreError, look};
use crate::sys::SystemFs;

/// Events and the like that are shown where not all are wanted.
const EVENTS_SHOWN: usize = 20;

pub(super) fn outgoing(args: &OutgoingArgs) -> Result<(), Failure> {
    let messages = outgoing::read(&args.runtime_dir).map_err(|error| {
        Failure::failed(format!("what was sent cannot be read in {}: {error}", args.runtime_dir.display()))
    })?;
    if args.messages {
        return show_messages(&messages, args.json);
    }
    let outbox = args.data.join("outbox");
    if messages.is_empty() && !outbox.is_dir() {
        return Err(Failure::failed(format!(
            "no box has run here: there is no outbox in {} and nothing was sent according to {}. Name its folders with --data and --runtime-dir",
            args.data.display(),
            args.runtime_dir.display()
        )));
    }
    let mut printed = Printer { json: args.json };
    printed.heading(&head(&args.runtime_dir))?;
    match messages.iter().rev().find(|message| message.call == "Poll") {
        Some(poll) => printed.message("the last poll", poll)?,
        None => printed.heading("No poll was sent since the box started.")?,
    }
    printed.records(&outbox, args)?;
    for report in messages.iter().filter(|message| message.call != "Poll" && message.call != "UploadReadings") {
        printed.message("a result, or a question of a disabled box", report)?;
    }
    Ok(())
}

fn head(runtime_dir: &Path) -> String {
    let endpoint = status::read(runtime_dir).map_or_else(
        |_| "the cloud (no box runs here now)".to_owned(),
        |status| format!("{} from box {}", status.cloud.endpoint, status.box_id),
    );
    format!(
        "To {endpoint} go, by the contract proto/platen/v1 and over TLS: polls, readings and events, results of tasks.\n\
         Besides these the box asks the cloud for the time with 32 random octets, and connects MQTT by its id; on MQTT it sends nothing.\n\
         The contract has no field for documents, their names, users, communities or passwords. Each field that is set is shown."
    )
}

fn show_messages(messages: &[Outgoing], json: bool) -> Result<(), Failure> {
    if messages.is_empty() {
        return Err(Failure::failed("nothing was sent since the box started, or no box runs here (--runtime-dir)"));
    }
    let mut printed = Printer { json };
    for message in messages {
        printed.message(&message.call, message)?;
    }
    Ok(())
}

/// A reading or an event of the outbox.
struct Told {
    epoch: Epoch,
    seq: Seq,
    is_delivered: bool,
    /// What is on the way: octets of the record, and whose reading they are the difference to.
    bytes: usize,
    base: Option<Seq>,
    device_key: String,
    address: String,
    what: Shown,
}

impl Told {
    fn matches(&self, printer: Option<&String>) -> bool {
        printer.is_none_or(|text| {
            let text = text.to_lowercase();
            [&self.device_key, &self.address].into_iter().any(|of| of.to_lowercase().contains(&text))
        })
    }
}

/// Makes whole readings of updates, as the cloud does.
#[derive(Default)]
struct Reader {
    /// The last whole reading of each printer.
    bases: HashMap<String, (Epoch, Seq)>,
    readings: HashMap<(Epoch, Seq), Vec<u8>>,
}

impl Reader {
    fn read(&mut self, held: &Held<'_>) -> Option<Told> {
        let record = held.payload?;
        let mut told = Told {
            epoch: held.epoch,
            seq: held.seq,
            is_delivered: held.is_delivered,
            bytes: record.len(),
            base: None,
            device_key: String::new(),
            address: String::new(),
            // Should it be none that this program knows, it is shown all the same.
            what: show("Record", record).unwrap_or_else(|error| Shown::Text(error.to_string())),
        };
        let of_reading = |told: &mut Told, serialised: &[u8]| {
            let reading = v1::Reading::decode(serialised).unwrap_or_default();
            (told.device_key, told.address) = (reading.device_key, reading.address);
        };
        match v1::Record::decode(record).ok().and_then(|record| record.what) {
            Some(What::Reading(_)) => {
                let serialised = update::reading_of(record)?;
                of_reading(&mut told, serialised);
                self.remember(&told, serialised);
            }
            Some(What::Update(change)) => {
                let base = Seq(change.base_seq);
                told.base = Some(base);
                let made = self.readings.get(&(held.epoch, base));
                if let Some(Ok(made)) = made.map(|of| update::apply(of, &change.edits, change.crc32)) {
                    of_reading(&mut told, &made);
                    if let Ok(reading) = show("Reading", &made) {
                        told.what = Shown::Fields(vec![("reading".to_owned(), reading)]);
                    }
                }
            }
            Some(What::Event(event)) => told.device_key = event.device_key,
            _ => {}
        }
        Some(told)
    }

    fn remember(&mut self, told: &Told, serialised: &[u8]) {
        let place = (told.epoch, told.seq);
        if let Some(before) = self.bases.insert(told.device_key.clone(), place) {
            self.readings.remove(&before);
        }
        self.readings.insert(place, serialised.to_vec());
    }
}

/// Prints sections for a person, or objects on lines for a program.
struct Printer {
    json: bool,
}

impl Printer {
    fn heading(&mut self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { print(&format!("{text}\n")) }
    }

    fn message(&mut self, title: &str, outgoing: &Outgoing) -> Result<(), Failure> {
        let encoded = outgoing.encoded();
        let shown = encoded.as_deref().map(|encoded| show(&outgoing.message, encoded));
        if self.json {
            let fields = shown.and_then(Result::ok);
            return print(&to_line(&json!({
                "call": outgoing.call, "message": outgoing.message, "sent_unix_ms": outgoing.sent_unix_ms,
                "bytes": outgoing.bytes, "base64": outgoing.base64, "fields": fields,
            }))?);
        }
        let mut text =
            format!("== {title}: {} of {} octets, {}\n", outgoing.message, outgoing.bytes, date(outgoing.sent_unix_ms));
        // Writing to a String cannot fail.
        let _ = match shown {
            Some(Ok(fields)) => write!(text, "{fields}"),
            Some(Err(error)) => writeln!(text, "{error}"),
            None => writeln!(text, "too long to be kept"),
        };
        print(&text)
    }

    fn records(&mut self, outbox: &Path, args: &OutgoingArgs) -> Result<(), Failure> {
        let (mut waiting, mut delivered, mut thinned) = (0u64, 0u64, 0u64);
        let mut reader = Reader::default();
        // Of each printer the newest reading; of the rest the last few.
        let mut newest: HashMap<String, Told> = HashMap::new();
        let mut others = VecDeque::new();
        let mut failed = Ok(());
        let seen = look(&SystemFs, outbox, &mut |held| {
            *(if held.is_delivered { &mut delivered } else { &mut waiting }) += 1;
            thinned += u64::from(held.payload.is_none());
            let Some(told) = reader.read(&held) else { return };
            if !told.matches(args.printer.as_ref()) || failed.is_err() {
                return;
            }
            if args.all {
                failed = self.told(&told);
            } else if told.what.field("reading").is_some() {
                newest.insert(told.device_key.clone(), told);
            } else {
                others.push_back(told);
                if others.len() > EVENTS_SHOWN {
                    others.pop_front();
                }
            }
        });
        failed?;
        let mut newest: Vec<_> = newest.into_values().collect();
        newest.sort_by(|a, b| a.device_key.cmp(&b.device_key));
        if !args.all {
            self.heading(&format!(
                "In the outbox: {waiting} readings and events wait, {delivered} were delivered and are kept for seven days\
                 {}. Of each printer the newest reading follows, and the last {EVENTS_SHOWN} events; --all prints all.",
                if thinned == 0 { String::new() } else { format!(", of {thinned} only the number is left") }
            ))?;
        }
        newest.iter().chain(&others).try_for_each(|told| self.told(told))?;
        seen.map_err(|error: StoreError| Failure::failed(format!("the outbox cannot be read to its end: {error}")))
    }

    fn told(&mut self, told: &Told) -> Result<(), Failure> {
        let Told { epoch, seq, is_delivered, bytes, base, what, .. } = told;
        if self.json {
            return print(&to_line(&json!({
                "epoch": epoch.to_string(), "seq": seq.0, "is_delivered": is_delivered, "bytes": bytes,
                "base_seq": base.map(|seq| seq.0), "record": what,
            }))?);
        }
        let state = if *is_delivered { "delivered" } else { "waits" };
        let how = base.map_or(String::new(), |base| format!(", as what differs from number {base}"));
        print(&format!("== number {seq} of epoch {epoch}: {state}; {bytes} octets{how}\n{what}"))
    }
}

fn to_line(value: &serde_json::Value) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(Failure::failed)
}
