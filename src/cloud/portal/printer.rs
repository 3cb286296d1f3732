//! A printer: its card on the fleet page, and its own page. A value is never shown without the time it was read.

use maud::{Markup, html};

use super::boxes::trouble_words;
use super::words::{duration_words, grouped, moment, or_dash, read_words, unit_words, unread_words};
use crate::cloud::db::{DeviceRow, EventRow};
use crate::cloud::intake::Point;
use crate::proto::v1;

/// A reading older than this is marked as old.
const OLD_AFTER_MS: i64 = 60 * 60 * 1_000;
/// Times that are less sure than this are drawn as lines, in milliseconds.
const ONE_TIME_MS: i64 = 60 * 1_000;

/// What people call it: vendor and model, else the key that it is known by.
pub(super) fn title(device: &DeviceRow) -> String {
    let reading = &device.reading;
    match (&reading.vendor, &reading.model) {
        (None, None) => reading.device_key.clone(),
        (vendor, model) => format!("{} {}", or_dash(vendor.as_deref()), or_dash(model.as_deref())),
    }
}

/// Since when it is not read, and why.
fn not_read(device: &DeviceRow, now_ms: i64) -> Markup {
    html! {
        @if let Some(silence) = &device.silence {
            p.not-read { (unread_words(silence.since, now_ms)) }
            (trouble_words(&silence.trouble))
        }
    }
}

/// A printer on the fleet page.
pub(super) fn printer_card(device: &DeviceRow, now_ms: i64) -> Markup {
    let reading = &device.reading;
    let is_old = device.silence.is_some() || device.taken.is_none_or(|taken| now_ms - taken.high_ms > OLD_AFTER_MS);
    html! {
        article.printer.old[is_old] {
            div.head {
                h3 { a href={ "/printers/" (device.id) } { (title(device)) } }
                (status_badge(device))
            }
            p.where {
                @if let Some(name) = &reading.name { strong { (name) } " · " }
                (reading.address) " · " (or_dash(reading.serial.as_deref()))
            }
            (not_read(device, now_ms))
            (total(reading))
            (supplies(reading))
            (alerts(reading))
            p.age { (read_words(device.taken, now_ms)) }
        }
    }
}

/// What it is doing; of a printer that is not read now, nobody knows.
fn status_badge(device: &DeviceRow) -> Markup {
    if device.silence.is_some() {
        return html! { span.state.bad { "not read" } };
    }
    let status = device.reading.status.clone().unwrap_or_default();
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

pub(super) fn is_running_out(supply: &v1::Supply) -> bool {
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
                        td { (moment(*taken, now_ms)) }
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
            h1 { (title(device)) }
            (status_badge(device))
        }
        (not_read(device, now_ms))
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
            dt { "Read" } dd { (read_words(device.taken, now_ms)) }
            dt { "By" } dd { (or_dash(Some(device.box_name.as_str()).filter(|name| !name.is_empty()))) @if device.is_outside { " holds it; this reading is another box's" } }
            dt { "Site" } dd { (device.site) }
            dt { "Known for" } dd { (duration_words(now_ms - device.first_seen_ms)) }
            dt { "Errors" } dd { (or_dash(Some(status.errors.join(", ").replace('_', " ").as_str()).filter(|e| !e.is_empty()))) }
            dt { "Flags" } dd { (or_dash(Some(reading.flags.join(", ").as_str()).filter(|f| !f.is_empty()))) }
        }
        (alerts(reading))
        section { h2 { "Total over time" } (chart(history)) }
        section { h2 { "What happened" } (events_list(events, now_ms)) }
        section {
            h2 { "Meters" } p.muted { (read_words(device.taken, now_ms)) }
            div.scroll { table {
                thead { tr { th { "Meter" } th.number { "Value" } th { "Unit" } th { "Object" } th { "Rule" } } }
                tbody { @for meter in &reading.meters {
                    tr { td { (meter.name) } td.number { (grouped(meter.value)) } td { (unit_words(&meter.unit)) } td.oid { (meter.oid) } td.oid { (meter.source) } }
                } }
            } }
            @if reading.meters.is_empty() { p.empty { "This printer tells no meters." } }
        }
        section { h2 { "Supplies" } p.muted { (read_words(device.taken, now_ms)) } (supplies(reading)) @if reading.supplies.is_empty() { p.empty { "This printer tells no supplies." } } }
        section {
            h2 { "Trays" } p.muted { (read_words(device.taken, now_ms)) }
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
            @for point in history.iter().filter(|point| point.taken.radius_ms() > ONE_TIME_MS) {
                line.unsure x1=(format!("{:.1}", x(point.taken.low_ms.max(first)))) x2=(format!("{:.1}", x(point.taken.high_ms.min(last))))
                    y1=(format!("{:.1}", y(point.value))) y2=(format!("{:.1}", y(point.value))) {}
            }
        }
        p.muted { (grouped(low.unsigned_abs())) " → " (grouped(high.unsigned_abs())) " in " (duration_words(last - first)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_never_shown_as_a_number() {
        let supply = v1::Supply { state: "some".to_owned(), level: Some(-3), ..v1::Supply::default() };
        assert_eq!(amount(&supply), "some left");
        assert!(!bar(&supply).into_string().contains("rect"));
        assert_eq!(number_or(Some(-3), "some"), "some");
    }
}
