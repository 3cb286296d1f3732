//! The pages. Everything that came from a printer goes through maud, which escapes it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::alarms::{Alarm, alarm_list};
use super::boxes::box_card;
use super::printer::{is_running_out, printer_card};
use super::words::grouped;
use crate::cloud::db::{BoxRow, DeviceRow};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A page around a view that renews itself from `fragment`.
pub(super) fn whole(title: &str, fragment: &str, view: Markup, nonce: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · platen" }
                link rel="icon" href="data:,";
                style nonce=(nonce) { (PreEscaped(STYLE)) }
                @if !fragment.is_empty() { noscript { meta http-equiv="refresh" content="5"; } }
            }
            body {
                header.top {
                    a.brand href="/" { "platen" }
                    span.live #live role="status" title="The page renews itself" hidden[fragment.is_empty()] { "live" }
                }
                main #view data-fragment=(fragment) { (view) }
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// What is wrong, then boxes, then printers.
pub(super) fn fleet(
    alarms: &[Alarm],
    boxes: &[BoxRow],
    listening: &[bool],
    devices: &[DeviceRow],
    token: &str,
    now_ms: i64,
) -> Markup {
    let unread = devices.iter().filter(|device| device.silence.is_some()).count();
    let alerts = devices.iter().map(|device| device.reading.alerts.len()).sum::<usize>();
    let low =
        devices.iter().flat_map(|device| &device.reading.supplies).filter(|supply| is_running_out(supply)).count();
    html! {
        section.counts aria-label="Summary" {
            (count(boxes.len(), if boxes.len() == 1 { "box" } else { "boxes" }))
            (count(devices.len(), if devices.len() == 1 { "printer" } else { "printers" }))
            (count(unread, "not read"))
            (count(alerts, if alerts == 1 { "alert" } else { "alerts" }))
            (count(low, if low == 1 { "supply low" } else { "supplies low" }))
        }
        (alarm_list(alarms))
        section {
            div.head { h2 { "Boxes" } a.button href="/add" { "Add a box" } }
            @if boxes.is_empty() {
                p.empty { "No box is here yet: " a href="/add" { "add one" } "." }
            }
            div.boxes {
                @for (row, listening) in boxes.iter().zip(listening) {
                    (box_card(row, *listening, token, now_ms))
                }
            }
        }
        section {
            h2 { "Printers" }
            @if devices.is_empty() {
                p.empty { "No printer has been read yet." }
            }
            div.printers {
                @for device in devices { (printer_card(device, now_ms)) }
            }
        }
    }
}

fn count(number: usize, what: &str) -> Markup {
    html! { div.count { strong { (grouped(number as u64)) } " " span { (what) } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::portal::printer::printer;
    use crate::proto::v1;

    #[test]
    fn what_a_printer_says_cannot_become_part_of_the_page() {
        let reading = v1::Reading {
            model: Some("<script>alert(1)</script>".to_owned()),
            name: Some("\"><img src=x>".to_owned()),
            ..v1::Reading::default()
        };
        let device = DeviceRow {
            id: 1,
            site: "s".to_owned(),
            box_name: "b".to_owned(),
            first_seen_ms: 0,
            taken: None,
            is_outside: false,
            silence: None,
            reading,
        };
        for shown in [fleet(&[], &[], &[], std::slice::from_ref(&device), "t", 1), printer(&device, &[], &[], 1)] {
            let shown = shown.into_string();
            assert!(!shown.contains("<script>alert") && !shown.contains("<img"), "{shown}");
        }
    }
}
