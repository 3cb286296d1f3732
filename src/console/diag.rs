//! What a supporter needs to know of a box, and nothing that is the customer's: no serial numbers, no names, of addresses the last
//! part alone. Made of what is known to be harmless, not of everything without what is known to be harmful.

use std::fmt::Write;
use std::net::IpAddr;

use super::escape::field;
use super::show;
use crate::agent::status::Status;
use crate::cause;

/// Stands before and after it.
pub const BEGIN: &str = "-----BEGIN PLATEN DIAGNOSTICS-----";
/// See [`BEGIN`].
pub const END: &str = "-----END PLATEN DIAGNOSTICS-----";
/// Longest number that is kept: longer ones may be serial numbers.
const NUMBER_MAX_DIGITS: usize = 6;

/// The diagnostics.
#[must_use]
pub fn export(status: Option<&Status>, log: &[String], console_version: &str) -> String {
    let mut text = format!("{BEGIN}\nconsole {console_version}\n");
    match status {
        Some(status) => text.push_str(&of_status(status)),
        None => text.push_str("agent does not run, and has left no status\n"),
    }
    for line in log {
        // A String takes whatever is written.
        let _written = writeln!(text, "log {}", redacted(line));
    }
    text.push_str(END);
    text
}

fn of_status(status: &Status) -> String {
    let word = |cause: &Option<String>| {
        // Only words of the list: whatever else stands there might be anything.
        let known = cause.as_deref().and_then(cause::from_word);
        known.map_or("none", |known| cause::explain(known).word)
    };
    let yes = |is: bool| if is { "yes" } else { "no" };
    let (cloud, outbox, lan) = (&status.cloud, &status.outbox, &status.lan);
    let mut lines = vec![
        format!("agent {}", field(&status.firmware_version)),
        format!("state {}", redacted(&show::word(status))),
        format!("phase {}", redacted(&status.enrolment.phase)),
        format!("uptime-ms {}", status.updated_unix_ms.saturating_sub(status.started_unix_ms)),
        format!("cloud contact {} cause {}", yes(cloud.last_contact_unix_ms.is_some()), word(&cloud.cause)),
        format!("cloud error {}", redacted(cloud.last_error.as_deref().unwrap_or("none"))),
        format!("wake-up {} {}", yes(cloud.wake_link_up), redacted(cloud.wake_link_error.as_deref().unwrap_or(""))),
        format!("outbox epoch {} last {} pending {}", outbox.epoch, outbox.last_seq, outbox.pending),
        format!("outbox acknowledged {} thinned {}", outbox.acknowledged, outbox.thinned),
        format!("trouble {}", redacted(status.storage_trouble().unwrap_or("none"))),
        format!("disabled {}", redacted(status.disabled.as_deref().unwrap_or("no"))),
        format!("claim error {}", redacted(status.enrolment.last_error.as_deref().unwrap_or("none"))),
        format!("printers known {} answering {}", lan.printers_known, lan.printers_answering),
        format!("lan error {}", redacted(lan.last_error.as_deref().unwrap_or("none"))),
        format!("snmp {}", lan.snmp),
    ];
    lines.extend(lan.ranges.iter().map(|range| format!("range {}", redacted(range))));
    lines.extend(lan.fence.iter().map(|range| format!("fence {}", redacted(range))));
    for printer in &lan.silent {
        let cause = word(&Some(printer.cause.clone()));
        lines.push(format!("silent {cause} missed {} {}", printer.missed, redacted(&printer.detail)));
    }
    lines.join("\n") + "\n"
}

/// A line of which only what is harmless stays: words in small letters, short numbers, the last part of addresses, times. Names in
/// quotes and after `=` become "…", as does everything else.
fn redacted(line: &str) -> String {
    let mut shown = String::new();
    for token in unquoted(line).split_whitespace() {
        shown.push_str(if shown.is_empty() { "" } else { " " });
        let (key, value) = token.split_once('=').map_or(("", token), |(key, value)| (key, value));
        if !key.is_empty() && is_words(key) {
            shown.push_str(key);
            shown.push('=');
        }
        // A value after a key may be a name in small letters.
        shown.push_str(&harmless(value, key.is_empty()).unwrap_or_else(|| "…".to_owned()));
    }
    field(&shown)
}

fn harmless(token: &str, words_are: bool) -> Option<String> {
    let bare = token.trim_matches(|c: char| matches!(c, ',' | '.' | ';' | ':' | '(' | ')' | '[' | ']'));
    let keep = || Some(token.to_owned());
    let is_number = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit());
    if bare.is_empty() || matches!(bare, "INFO" | "WARN" | "ERROR" | "DEBUG" | "true" | "false" | "none") {
        return keep();
    }
    if is_number || cause::from_word(bare).is_some() {
        return keep().filter(|_| bare.len() <= NUMBER_MAX_DIGITS || !is_number);
    }
    if is_time(bare) || (words_are && (is_words(bare) || is_module(bare))) {
        return keep();
    }
    last_part(bare)
}

/// What stands in quotes is somebody's.
fn unquoted(line: &str) -> String {
    let part = |(n, part): (usize, &str)| if n % 2 == 0 { part.to_owned() } else { "…".to_owned() };
    line.split('"').enumerate().map(part).collect()
}

/// Small letters, as in a sentence of this program.
fn is_words(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'\'')) && !token.is_empty()
}

fn is_module(token: &str) -> bool {
    token.starts_with("platen::") && token.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b':' | b'_'))
}

/// As `2026-11-25T17:00:00.123456Z`.
fn is_time(token: &str) -> bool {
    let form = |(n, b): (usize, u8)| match n {
        4 | 7 => b == b'-',
        10 => b == b'T',
        13 | 16 => b == b':',
        19 => matches!(b, b'.' | b'Z'),
        _ => b.is_ascii_digit() || (n > 19 && b == b'Z'),
    };
    (20..=32).contains(&token.len()) && token.bytes().enumerate().all(form)
}

/// Of an address, with or without port, length or a range's end, the last part.
fn last_part(token: &str) -> Option<String> {
    let (start, rest) = match token.find(['/', '-']) {
        Some(at) => token.split_at(at),
        None => (token, ""),
    };
    let (start, excluded) = start.strip_prefix('!').map_or((start, ""), |start| (start, "!"));
    let bare = start.parse::<IpAddr>().ok();
    let address = bare.or_else(|| start.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))?;
    let last = match address {
        IpAddr::V4(address) => format!("x.x.x.{}", address.octets()[3]),
        IpAddr::V6(address) => format!("x::{:x}", address.segments()[7]),
    };
    let rest = match rest.split_at_checked(1) {
        Some(("-", end)) => format!("-{}", end.parse::<IpAddr>().ok().and_then(|_| last_part(end))?),
        Some(("/", length)) => format!("/{}", length.parse::<u8>().ok()?),
        _ => String::new(),
    };
    Some(format!("{excluded}{last}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::status::EnrolmentStatus;

    #[test]
    fn of_a_line_of_the_log_nothing_stays_that_names_anybody() {
        for (line, expected) in [
            (
                "2026-11-25T17:00:00.123456Z  INFO platen::agent::lan: a printer was found address=10.20.30.40:161 serial=\"CNB1234567\" count=3",
                "2026-11-25T17:00:00.123456Z INFO platen::agent::lan: a printer was found address=x.x.x.40 serial=… count=3",
            ),
            ("the name prn-finance-2.corp.example cannot be resolved", "the name … cannot be resolved"),
            ("device=hp/CNB1234567 name=jane cause=dns", "device=… name=… cause=dns"),
            (
                "asked 192.168.7.0/24 and 10.0.0.1-10.0.0.9 and fd00::17",
                "asked x.x.x.0/24 and x.x.x.1-x.x.x.9 and x::17",
            ),
            ("mac 00:17:c8:01:02:03 of Jane, Büro 2, counted 123456789", "mac … of … … 2, counted …"),
            ("said \"Jane Doe\" to \"open", "said … to …"),
            ("\u{1b}[31mred", "…"),
        ] {
            assert_eq!(redacted(line), expected, "{line}");
        }
    }

    #[test]
    fn the_whole_stands_between_marks_and_holds_no_secret() {
        let status = Status {
            box_id: "box-17".to_owned(),
            enrolment: EnrolmentStatus {
                serial: "PL26-000017".to_owned(),
                words: "four secret little words".to_owned(),
                tenant: Some("Customer Ltd".to_owned()),
                phase: "active".to_owned(),
                ..EnrolmentStatus::default()
            },
            ..Status::default()
        };
        let text = export(Some(&status), &["x=Y".to_owned()], "0.1.0");
        assert!(text.starts_with(BEGIN) && text.ends_with(END) && text.contains("phase active"), "{text}");
        for secret in ["box-17", "PL26", "secret", "Customer", "Y"] {
            assert!(!text.replace(BEGIN, "").replace(END, "").contains(secret), "{secret}: {text}");
        }
    }
}
