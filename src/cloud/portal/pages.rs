//! The pages. Everything that came from a printer goes through maud, which escapes it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::cloud::db::{BoxRow, DeviceRow, EventRow, TaskRow};
use crate::cloud::intake::Point;
use crate::proto::v1;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// A reading older than this is marked as old.
const OLD_AFTER_MS: i64 = 60 * 60 * 1_000;

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
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                header.top {
                    a.brand href="/" { "platen" }
                    span.live #live role="status" title="The page renews itself" { "live" }
                }
                main #view data-fragment=(fragment) { (view) }
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Boxes, then printers.
pub(super) fn fleet(boxes: &[BoxRow], listening: &[bool], devices: &[DeviceRow], token: &str, now_ms: i64) -> Markup {
    let alerts = devices.iter().map(|device| device.reading.alerts.len()).sum::<usize>();
    let low =
        devices.iter().flat_map(|device| &device.reading.supplies).filter(|supply| is_running_out(supply)).count();
    html! {
        section.counts aria-label="Summary" {
            (count(boxes.len(), if boxes.len() == 1 { "box" } else { "boxes" }))
            (count(devices.len(), if devices.len() == 1 { "printer" } else { "printers" }))
            (count(alerts, if alerts == 1 { "alert" } else { "alerts" }))
            (count(low, if low == 1 { "supply low" } else { "supplies low" }))
        }
        section {
            h2 { "Boxes" }
            @if boxes.is_empty() {
                p.empty { "No box is enrolled yet. On the box: " code { "platen enroll request" } "; here: "
                    code { "platen-cloud issue-box" } "." }
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

fn box_card(row: &BoxRow, listening: bool, token: &str, now_ms: i64) -> Markup {
    let (state, class) = match (&row.silence, row.state.last_poll_ms) {
        (_, None) => ("never seen", "idle"),
        (None, _) => ("online", "good"),
        (Some(_), _) => ("silent", "bad"),
    };
    let status = row.status.clone().unwrap_or_default();
    let ranges =
        if row.ranges.is_empty() { "as configured on the box".to_owned() } else { row.ranges.replace('\n', ", ") };
    html! {
        article.box {
            div.head {
                h3 { (row.name) }
                span.state.(class) { (state) }
            }
            dl {
                dt { "Last poll" } dd { (age_of(row.state.last_poll_ms, now_ms)) }
                dt { "Wake-up" } dd { @if listening { "listening" } @else { "not connected" } }
                dt { "Printers" } dd { (status.printers_answering) " of " (status.printers_known) " answer" }
                dt { "Waiting" } dd { (grouped(status.outbox_pending)) " readings at the last poll" }
                dt { "Firmware" } dd { (or_dash(Some(status.firmware_version.as_str()).filter(|v| !v.is_empty()))) }
                dt { "Ranges" } dd { (ranges) }
            }
            form method="post" action={ "/boxes/" (row.state.id) "/scan" } {
                input type="hidden" name="token" value=(token);
                button type="submit" { "Scan now" }
                @if let Some(task) = &row.task { span.task { (task_words(task, now_ms)) } }
            }
            details #{ "ping-" (row.state.id) } {
                summary { "Ping an address" }
                form.ranges method="post" action={ "/boxes/" (row.state.id) "/ping" } {
                    input type="hidden" name="token" value=(token);
                    label { "Whether a device is there at all; within the box's fence only."
                        input type="text" name="address" required maxlength="45" placeholder="10.0.0.7";
                    }
                    button type="submit" { "Ping" }
                }
            }
            details #{ "ranges-" (row.state.id) } {
                summary { "Set ranges" }
                form.ranges method="post" action={ "/boxes/" (row.state.id) "/ranges" } {
                    input type="hidden" name="token" value=(token);
                    label { "One a line, for example 10.0.0.0/24, 10.0.1.5-10.0.1.80, !10.0.0.7. The box asks only what its own fence allows"
                        @if !status.fence.is_empty() { " (" (status.fence.join(", ")) ")" } "."
                        textarea name="ranges" rows="3" { (row.ranges) }
                    }
                    button type="submit" { "Save" }
                }
            }
        }
    }
}

fn task_words(task: &TaskRow, now_ms: i64) -> String {
    let what = match task.kind.split_once(' ') {
        None if task.kind == "scan_now" => "Scan".to_owned(),
        Some(("ping", address)) => format!("Ping of {address}"),
        _ => task.kind.clone(),
    };
    let state = v1::TaskState::try_from(i32::try_from(task.state).unwrap_or(0)).unwrap_or_default();
    let message = if task.message.is_empty() { String::new() } else { format!(": {}", task.message) };
    match state {
        v1::TaskState::Unspecified if task.expires_ms < now_ms => format!("{what} expired: the box did not fetch it"),
        v1::TaskState::Unspecified => format!("{what}: the box is being woken…"),
        v1::TaskState::Running => format!("{what}: running for {}", duration_words(now_ms - task.created_ms)),
        v1::TaskState::Done => format!("{what} done{message}"),
        v1::TaskState::Failed => format!("{what} failed{message}"),
        v1::TaskState::Refused => format!("{what} refused{message}"),
        v1::TaskState::Unsupported => format!("{what} not possible{message}"),
    }
}

fn printer_card(device: &DeviceRow, now_ms: i64) -> Markup {
    let reading = &device.reading;
    let is_old = device.taken.is_none_or(|taken| now_ms - taken.high_ms > OLD_AFTER_MS);
    html! {
        article.printer.old[is_old] {
            div.head {
                h3 { a href={ "/printers/" (device.id) } { (or_dash(reading.vendor.as_deref())) " " (or_dash(reading.model.as_deref())) } }
                (status_badge(reading))
            }
            p.where {
                @if let Some(name) = &reading.name { strong { (name) } " · " }
                (reading.address) " · " (or_dash(reading.serial.as_deref()))
            }
            (total(reading))
            (supplies(reading))
            (alerts(reading))
            p.age { @if is_old { "not read since " (age_of(device.taken.map(|taken| taken.middle_ms()), now_ms)) } @else { "read " (age_of(device.taken.map(|taken| taken.middle_ms()), now_ms)) } }
        }
    }
}

fn status_badge(reading: &v1::Reading) -> Markup {
    let status = reading.status.clone().unwrap_or_default();
    let word = status.printer.as_deref().unwrap_or("unknown");
    let class = match (word, status.device.as_deref()) {
        (_, Some("down")) | ("other", _) => "bad",
        ("printing", _) => "busy",
        ("idle" | "warmup", _) => "good",
        _ => "idle",
    };
    let word = if word == "other" { "stopped" } else { word };
    html! { span.state.(class) { (word) } }
}

fn total(reading: &v1::Reading) -> Markup {
    html! {
        @match reading.meters.iter().find(|meter| meter.name == "total") {
            Some(meter) => p.total { strong { (grouped(meter.value)) } " " (unit_words(&meter.unit)) },
            None => p.total { span.muted { "no total meter" } },
        }
    }
}

fn supplies(reading: &v1::Reading) -> Markup {
    html! {
        @if !reading.supplies.is_empty() {
            ul.supplies {
                @for supply in &reading.supplies {
                    li title=(supply.description.as_deref().unwrap_or_default()) {
                        span.name { (supply.description.as_deref().unwrap_or(&supply.r#type)) }
                        (bar(supply))
                        span.amount { (amount(supply)) }
                    }
                }
            }
        }
    }
}

/// A bar only where there is a percentage; what is not known is drawn as not known.
fn bar(supply: &v1::Supply) -> Markup {
    let class = match supply.colour.as_deref() {
        Some("black" | "photo black" | "matte black") => "black",
        Some("cyan" | "light cyan") => "cyan",
        Some("magenta" | "light magenta") => "magenta",
        Some("yellow") => "yellow",
        _ => "plain",
    };
    html! {
        svg.bar.unknown[supply.percent.is_none()] viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            @if let Some(percent) = supply.percent {
                rect.(class) x="0" y="0" width=(percent.min(100)) height="8" {}
            }
        }
    }
}

fn amount(supply: &v1::Supply) -> String {
    match (supply.percent, supply.class.as_str()) {
        (None, _) if supply.maker_percent.is_some() => {
            format!("about {} %", supply.maker_percent.unwrap_or_default())
        }
        (Some(percent), "filled") => format!("{percent} % room"),
        (Some(percent), _) => format!("{percent} %"),
        (None, "filled") if supply.state == "some" => "some room".to_owned(),
        (None, _) if supply.state == "some" => "some left".to_owned(),
        (None, _) => supply.state.clone(),
    }
}

fn is_running_out(supply: &v1::Supply) -> bool {
    supply.class == "consumed" && matches!(supply.state.as_str(), "low" | "empty")
}

fn alerts(reading: &v1::Reading) -> Markup {
    html! {
        @if !reading.alerts.is_empty() {
            ul.alerts {
                @for alert in &reading.alerts {
                    li.critical[alert.severity == "critical"] {
                        span.severity { (alert.severity.replace('_', " ")) } " "
                        (alert.description.as_deref().unwrap_or(&alert.code))
                        @if alert.service_required { " " span.severity { "service" } }
                    }
                }
            }
        }
    }
}

/// Events, newest first.
fn events_list(events: &[EventRow], now_ms: i64) -> Markup {
    html! {
        @if events.is_empty() { p.empty { "Nothing yet." } } @else {
            div.scroll { table {
                thead { tr { th { "When" } th { "What" } th { "In words" } } }
                tbody { @for EventRow { taken, event } in events {
                    tr.critical[event.severity == "critical"] {
                        td { (age_of(Some(taken.middle_ms()), now_ms)) }
                        td { (event_words(&event.kind)) @if event.service_required { " · service" } }
                        td { (event.text) }
                    }
                } }
            } }
        }
    }
}

/// "ALERT_STARTED" as people read it.
fn event_words(kind: &str) -> String {
    let words = kind.to_lowercase().replace('_', " ");
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// What the printer says that it can do.
fn abilities(reading: &v1::Reading) -> String {
    let can = reading.capabilities.unwrap_or_default();
    let words = [
        (can.colour, "colour"),
        (can.duplex, "duplex"),
        (can.large, "A3"),
        (can.copy, "copy"),
        (can.scan, "scan"),
        (can.fax, "fax"),
    ];
    let mut words: Vec<String> =
        words.iter().filter(|(it, _)| *it == Some(true)).map(|(_, word)| (*word).to_owned()).collect();
    words.extend(can.pages_per_minute.map(|pages| format!("{pages} pages a minute")));
    words.join(", ")
}

fn open_covers(reading: &v1::Reading) -> String {
    let open = reading.covers.iter().filter(|cover| cover.status.ends_with("open"));
    open.map(|cover| cover.description.as_deref().unwrap_or("a cover")).collect::<Vec<_>>().join(", ")
}

/// One printer with everything that is known of it.
pub(super) fn printer(device: &DeviceRow, history: &[Point<i64>], events: &[EventRow], now_ms: i64) -> Markup {
    let reading = &device.reading;
    let status = reading.status.clone().unwrap_or_default();
    html! {
        p { a href="/" { "← Fleet" } }
        div.head {
            h1 { (or_dash(reading.vendor.as_deref())) " " (or_dash(reading.model.as_deref())) }
            (status_badge(reading))
        }
        dl.facts {
            dt { "Name" } dd { (or_dash(reading.name.as_deref())) }
            dt { "Serial" } dd { (or_dash(reading.serial.as_deref())) }
            dt { "Address" } dd { (reading.address) }
            dt { "MAC" } dd { (or_dash(reading.mac.as_deref())) }
            dt { "Firmware" } dd { (or_dash(reading.firmware.as_deref())) }
            dt { "Location" } dd { (or_dash(reading.location.as_deref())) }
            dt { "Can" } dd { (or_dash(Some(abilities(reading).as_str()).filter(|it| !it.is_empty()))) }
            dt { "Open" } dd { (or_dash(Some(open_covers(reading).as_str()).filter(|it| !it.is_empty()))) }
            dt { "Profile" } dd { (or_dash(reading.profile.as_deref())) }
            dt { "Read" } dd { (age_of(device.taken.map(|taken| taken.middle_ms()), now_ms)) " by " (device.box_name) }
            dt { "Known for" } dd { (duration_words(now_ms - device.first_seen_ms)) }
            dt { "Errors" } dd { (or_dash(Some(status.errors.join(", ").replace('_', " ").as_str()).filter(|e| !e.is_empty()))) }
            dt { "Flags" } dd { (or_dash(Some(reading.flags.join(", ").as_str()).filter(|f| !f.is_empty()))) }
        }
        (alerts(reading))
        section { h2 { "Total over time" } (chart(history)) }
        section { h2 { "What happened" } (events_list(events, now_ms)) }
        section {
            h2 { "Meters" }
            div.scroll { table {
                thead { tr { th { "Meter" } th.number { "Value" } th { "Unit" } th { "Object" } th { "Rule" } } }
                tbody { @for meter in &reading.meters {
                    tr { td { (meter.name) } td.number { (grouped(meter.value)) } td { (unit_words(&meter.unit)) } td.oid { (meter.oid) } td.oid { (meter.source) } }
                } }
            } }
            @if reading.meters.is_empty() { p.empty { "This printer tells no meters." } }
        }
        section { h2 { "Supplies" } (supplies(reading)) @if reading.supplies.is_empty() { p.empty { "This printer tells no supplies." } } }
        section {
            h2 { "Trays" }
            div.scroll { table {
                thead { tr { th { "Tray" } th { "Media" } th.number { "Level" } th.number { "Capacity" } } }
                tbody { @for tray in &reading.input_trays {
                    tr {
                        td { (tray.name.as_deref().unwrap_or(&tray.index)) }
                        td { (or_dash(tray.media.as_deref())) }
                        td.number { (number_or(tray.level, &tray.state)) }
                        td.number { (number_or(tray.max_capacity, "unknown")) }
                    }
                } }
            } }
        }
    }
}

/// Codes below zero are not numbers.
fn number_or(number: Option<i64>, otherwise: &str) -> String {
    number.filter(|n| *n >= 0).map_or_else(|| otherwise.to_owned(), |n| grouped(n.unsigned_abs()))
}

/// A line of the total, from its lowest to its highest value.
fn chart(history: &[Point<i64>]) -> Markup {
    let (Some(first), Some(last)) = (history.first(), history.last()) else {
        return html! { p.empty { "Nothing yet." } };
    };
    let values = || history.iter().map(|point| point.value);
    let (low, high) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
    let (first, last) = (first.taken.middle_ms(), last.taken.middle_ms());
    let x = |at: i64| 600.0 * (at - first) as f64 / (last - first).max(1) as f64;
    let y = |value: i64| 110.0 - 100.0 * (value - low) as f64 / (high - low).max(1) as f64;
    let points: Vec<String> =
        history.iter().map(|point| format!("{:.1},{:.1}", x(point.taken.middle_ms()), y(point.value))).collect();
    html! {
        svg.chart viewBox="0 0 600 120" preserveAspectRatio="none" role="img" aria-label={ "From " (low) " to " (high) } {
            polyline points=(points.join(" ")) {}
        }
        p.muted { (grouped(low.unsigned_abs())) " → " (grouped(high.unsigned_abs())) " in " (duration_words(last - first)) }
    }
}

fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("–")
}

fn unit_words(unit: &str) -> String {
    if unit == "unknown" { "(unit not told)".to_owned() } else { unit.replace('_', " ") }
}

/// 1234567 as 1 234 567, with narrow spaces.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn age_of(at_ms: Option<i64>, now_ms: i64) -> String {
    match at_ms {
        None => "never".to_owned(),
        Some(at) if now_ms - at < 2_000 => "just now".to_owned(),
        Some(at) => format!("{} ago", duration_words(now_ms - at)),
    }
}

fn duration_words(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for shown in [fleet(&[], &[], std::slice::from_ref(&device), "t", 1), printer(&device, &[], &[], 1)] {
            let shown = shown.into_string();
            assert!(!shown.contains("<script>alert") && !shown.contains("<img"), "{shown}");
        }
    }

    #[test]
    fn unknown_is_never_shown_as_a_number() {
        let supply = v1::Supply { state: "some".to_owned(), level: Some(-3), ..v1::Supply::default() };
        assert_eq!(amount(&supply), "some left");
        assert!(!bar(&supply).into_string().contains("rect"));
        assert_eq!(number_or(Some(-3), "some"), "some");
    }

    #[test]
    fn numbers_are_grouped_and_ages_are_words() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12), "12");
        assert_eq!(age_of(Some(0), 300_000), "5 min ago");
        assert_eq!(age_of(None, 1), "never");
    }
}
