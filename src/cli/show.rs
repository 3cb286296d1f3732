//! How readings look on a terminal. What came from the LAN was escaped when it was read; it is escaped again here, because
//! a terminal obeys what it is sent.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _};

use tokio::sync::watch;

use crate::agent::SearchProgress;
use crate::printer::{Explanation, Reading, Supply};

/// Width of a supply's bar, in characters.
const BAR_CHARS: u32 = 20;

fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if is_harmless(c) { vec![c] } else { c.escape_unicode().collect() }).collect()
}

/// Neither a control character nor one that turns the direction of text.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(|| "–".to_owned(), plain)
}

/// One reading, as a person reads it.
pub(super) fn reading(reading: &Reading) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_reading(&mut out, reading);
    out.trim_end().to_owned()
}

fn write_reading(out: &mut String, reading: &Reading) -> std::fmt::Result {
    if !reading.is_printer {
        return writeln!(out, "not a printer");
    }
    writeln!(out, "{} {}", or_dash(reading.vendor.as_deref()), or_dash(reading.model.as_deref()))?;
    for (label, value) in [
        ("serial", &reading.serial),
        ("firmware", &reading.firmware),
        ("name", &reading.name),
        ("address", &reading.address),
        ("MAC", &reading.mac),
        ("location", &reading.location),
        ("status", &reading.status.printer),
    ] {
        writeln!(out, "  {label:<10}{}", or_dash(value.as_deref()))?;
    }
    if !reading.status.errors.is_empty() {
        writeln!(out, "  {:<10}{}", "errors", plain(&reading.status.errors.join(", ")))?;
    }
    if !reading.meters.is_empty() {
        writeln!(out, "meters")?;
    }
    for meter in &reading.meters {
        writeln!(
            out,
            "  {:<16}{:>12} {}  ({})",
            plain(&meter.name),
            meter.value,
            plain(&meter.unit),
            plain(&meter.oid)
        )?;
    }
    if !reading.supplies.is_empty() {
        writeln!(out, "supplies")?;
    }
    for supply in &reading.supplies {
        let what = supply.description.as_deref().unwrap_or(&supply.r#type);
        writeln!(out, "  {:<34} {}", clip(&plain(what), 34), level(supply))?;
    }
    if !reading.input_trays.is_empty() {
        writeln!(out, "trays")?;
    }
    for tray in &reading.input_trays {
        let name = tray.name.as_deref().unwrap_or(&tray.index);
        let amount = match (tray.level, tray.max_capacity) {
            (Some(level), Some(max)) if level >= 0 && max > 0 => format!("{level} of {max}"),
            _ => plain(&tray.state),
        };
        writeln!(out, "  {:<34} {amount}  {}", clip(&plain(name), 34), or_dash(tray.media.as_deref()))?;
    }
    if !reading.alerts.is_empty() {
        writeln!(out, "alerts")?;
    }
    for alert in &reading.alerts {
        let text = alert.description.as_deref().unwrap_or(&alert.code);
        let service = if alert.service_required { "  (service)" } else { "" };
        writeln!(out, "  {:<10} {}{service}", plain(&alert.severity), plain(text))?;
    }
    for line in &reading.panel {
        writeln!(out, "panel       {}", plain(line))?;
    }
    if !reading.flags.is_empty() {
        writeln!(out, "flags       {}", plain(&reading.flags.join(", ")))?;
    }
    Ok(())
}

/// Where the values of a reading came from.
pub(super) fn explanation(explanation: &Explanation) -> String {
    let mut out = String::from("where it came from\n");
    for line in &explanation.lines {
        let _ =
            writeln!(out, "  {:<22} {:<34} {}", plain(&line.what), clip(&plain(&line.value), 34), plain(&line.source));
    }
    let _ = writeln!(out, "asked and not there: {}", explanation.unanswered.len());
    for oid in &explanation.unanswered {
        let _ = writeln!(out, "  {}", plain(oid));
    }
    if let Some(traffic) = &explanation.traffic {
        let _ = writeln!(out, "{}", plain(traffic));
    }
    out.trim_end().to_owned()
}

fn level(supply: &Supply) -> String {
    match supply.percent {
        Some(percent) => {
            let full = (percent.min(100) * BAR_CHARS).div_ceil(100);
            let bar: String = (0..BAR_CHARS).map(|n| if n < full { '█' } else { '░' }).collect();
            format!("{bar} {percent:>3} %")
        }
        None => plain(&supply.state),
    }
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Printers, a line each.
pub(super) fn table(readings: &[Reading], answered: usize) -> String {
    let mut out = String::new();
    let line = |cells: [&str; 6]| {
        let [address, vendor, model, serial, total, status] = cells;
        format!(
            "{:<16} {:<16} {:<26} {:<18} {:>10}  {}\n",
            clip(address, 16),
            clip(vendor, 16),
            clip(model, 26),
            clip(serial, 18),
            total,
            status
        )
    };
    out.push_str(&line(["ADDRESS", "VENDOR", "MODEL", "SERIAL", "TOTAL", "STATUS"]));
    for reading in readings {
        let total = reading.meters.iter().find(|meter| meter.name == "total");
        out.push_str(&line([
            &or_dash(reading.address.as_deref()),
            &or_dash(reading.vendor.as_deref()),
            &or_dash(reading.model.as_deref()),
            &or_dash(reading.serial.as_deref()),
            &total.map_or_else(|| "–".to_owned(), |meter| meter.value.to_string()),
            &or_dash(reading.status.printer.as_deref()),
        ]));
    }
    let _ = write!(out, "{} printers, {answered} devices answered", readings.len());
    out
}

/// Keeps one line of progress on a terminal, until the sender is gone. Silent elsewhere.
pub(super) async fn progress(mut progress: watch::Receiver<SearchProgress>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    while progress.changed().await.is_ok() {
        let now = *progress.borrow_and_update();
        let text = format!(
            "\r{} addresses, pass {} of {}, {} probes, {} answered, {} printers ",
            now.addresses, now.pass, now.passes, now.probes, now.answered, now.printers
        );
        let _nobody_looks = std::io::stderr().write_all(text.as_bytes());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let _nobody_looks = std::io::stderr().write_all(b"\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let evil = "A\u{1b}[31mB\r\nC\u{202e}D\u{7}\u{0}é";
        let shown = plain(evil);
        assert!(shown.chars().all(is_harmless), "{shown}");
        assert!(shown.contains('é') && shown.starts_with("A\\u{1b}"));
    }

    #[test]
    fn long_text_is_clipped_by_characters() {
        assert_eq!(clip("ééééé", 4), "ééé…");
        assert_eq!(clip("éééé", 4), "éééé");
    }
}
