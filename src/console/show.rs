//! The status in words: what a technician wants to know, worst first, with what to do. What it holds of printers, proxies and the
//! cloud is made harmless here.

use std::time::Duration;

use super::escape::{columns_of, field, within};
use super::light;
use crate::agent::status::Status;
use crate::cause;

/// Printers that do not answer, of which the names are shown.
const SILENT_MAX: usize = 8;
/// Columns for what stands beside a name, on a screen of 80.
const LINE_COLUMNS: usize = 69;

/// What anybody may see.
#[must_use]
pub fn brief(status: Option<&Status>) -> String {
    let Some(status) = status else { return "state     unknown: the box's program does not run".to_owned() };
    [
        state_line(status),
        format!("serial    {}", field(or_unknown(&status.enrolment.serial))),
        format!("version   {}", field(&status.firmware_version)),
        format!("phase     {}", field(or_unknown(&status.enrolment.phase))),
    ]
    .join("\n")
}

/// All of it.
#[must_use]
pub fn full(status: &Status) -> String {
    let mut lines = brief(Some(status));
    let mut add = |name: &str, text: String| {
        for (n, line) in in_lines(&text).iter().enumerate() {
            lines.push_str(&format!("\n{:<10}{line}", if n == 0 { name } else { "" }));
        }
    };
    if let Some(tenant) = &status.enrolment.tenant {
        add("owner", field(tenant));
    }
    if let Some(error) = status.enrolment.last_error.as_ref().filter(|_| status.enrolment.phase != "active") {
        add("claim", format!("the last one failed: {}", field(error)));
    }
    for trouble in [status.disabled.as_deref(), status.storage_trouble()].into_iter().flatten() {
        add("trouble", field(trouble));
    }
    let contact = ago(status.cloud.last_contact_unix_ms, status);
    add("cloud", format!("{}, last contact {contact}", field(&status.cloud.endpoint)));
    if let Some(error) = &status.cloud.last_error {
        add("", format!("failed: {}", field(error)));
        if let Some(cause) = status.cloud.cause.as_deref().and_then(cause::from_word) {
            let told = cause::explain(cause);
            add("", format!("{}: {}", told.word, told.means));
            add("", format!("What to do: {}", told.remedy));
        }
    }
    let wake = status.cloud.wake_link_error.as_deref().map_or(String::new(), |error| format!(": {}", field(error)));
    add("wake-up", format!("{}{wake}", if status.cloud.wake_link_up { "connected" } else { "not connected" }));
    add("readings", format!("{} wait for the cloud, {} made", status.outbox.pending, status.outbox.last_seq));
    let doing = status.lan.activity.as_deref().map_or(String::new(), |doing| format!("; {} now", field(doing)));
    let (known, answering) = (status.lan.printers_known, status.lan.printers_answering);
    let search = ago(status.lan.last_scan_unix_ms, status);
    add("printers", format!("{known} known, {answering} answered; last search {search}{doing}"));
    if let Some(error) = &status.lan.last_error {
        add("", format!("failed: {}", field(error)));
    }
    for printer in status.lan.silent.iter().take(SILENT_MAX) {
        add("", format!("{} is not read: {}", within(&printer.device_key, 48), field(&printer.cause)));
    }
    if let Some(more @ 1..) = status.lan.silent.len().checked_sub(SILENT_MAX) {
        add("", format!("and {more} more; the portal lists them"));
    }
    add("ranges", list(&status.lan.ranges));
    add("fence", list(&status.lan.fence));
    lines
}

/// The text in lines that fit beside the names, broken between words where it can be.
fn in_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let wide = columns_of(word);
        if used > 0 && used + 1 + wide > LINE_COLUMNS {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
        used += wide + usize::from(used > 0);
    }
    lines
}

/// The state's word, and what it means.
fn state_line(status: &Status) -> String {
    let word = word(status);
    let means = light::find(&word).map_or(String::new(), |state| format!(": {}", state.means));
    format!("state     {}{means}", field(&word))
}

/// The state's word: that of the phase where the box is nobody's yet.
#[must_use]
pub fn word(status: &Status) -> String {
    match status.enrolment.phase.as_str() {
        phase @ ("unclaimed" | "pairing") => phase.to_owned(),
        _ if status.state.is_empty() => status.word().to_owned(),
        _ => status.state.clone(),
    }
}

/// Ranges as they are written; "none".
#[must_use]
pub fn list(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { field(&items.join(", ")) }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

fn ago(unix_ms: Option<u64>, status: &Status) -> String {
    let passed = |at| Duration::from_millis(status.updated_unix_ms.saturating_sub(at));
    unix_ms.map_or("never".to_owned(), |at| format!("{} ago", time(passed(at))))
}

/// A time as people say it.
#[must_use]
pub fn time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds @ 3_600..172_800 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::status::{CloudStatus, EnrolmentStatus, LanStatus};

    fn status() -> Status {
        Status {
            firmware_version: "0.1.0".to_owned(),
            box_id: "box-7".to_owned(),
            updated_unix_ms: 100_000,
            cloud: CloudStatus {
                endpoint: "https://cloud.example".to_owned(),
                last_contact_unix_ms: Some(40_000),
                last_error: Some("tls \u{1b}[31mCN=Inspector\u{202e}".to_owned()),
                cause: Some("tls-inspected".to_owned()),
                ..CloudStatus::default()
            },
            lan: LanStatus { ranges: vec!["10.1.0.0/24".to_owned()], ..LanStatus::default() },
            enrolment: EnrolmentStatus {
                phase: "active".to_owned(),
                serial: "PL26-000017".to_owned(),
                tenant: Some("Customer Ltd".to_owned()),
                ..EnrolmentStatus::default()
            },
            ..Status::default()
        }
    }

    #[test]
    fn long_texts_are_broken_between_words_and_long_words_are_left_alone() {
        let (word, long) = ("x".repeat(30), "y".repeat(100));
        assert_eq!(
            in_lines(&format!("{word} {word} {word} {long} z")),
            [format!("{word} {word}"), word.clone(), long, "z".to_owned()]
        );
        assert_eq!(in_lines(""), [""]);
    }

    #[test]
    fn without_the_code_nothing_of_the_customers_is_shown() {
        let text = brief(Some(&status()));
        assert!(text.contains("clock/tls") && text.contains("PL26-000017") && text.contains("active"), "{text}");
        for secret in ["Customer", "10.1", "cloud.example", "Inspector", "box-7"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_remedy_and_strangers_words_are_harmless() {
        let text = full(&status());
        assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(cause::explain(cause::from_word("tls-inspected").unwrap()).remedy), "{text}");
        assert!(text.contains("Exempt the cloud's name") && text.contains("1 min 00 s ago"), "{text}");
        assert!(text.contains("\\x1b[31mCN=Inspector\\u{202e}") && !text.contains('\u{1b}'), "{text}");
    }
}
