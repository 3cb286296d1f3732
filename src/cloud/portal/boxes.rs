//! A box on the fleet page.

use maud::{Markup, html};

use super::words::{age_of, clock, duration_words, grouped, or_dash};
use crate::cause::{Cause, Trouble, explain, from_number};
use crate::cloud::db::{BoxRow, TaskRow};
use crate::proto::v1;

/// A box: how it is, and what can be asked of it.
pub(super) fn box_card(row: &BoxRow, listening: bool, token: &str, now_ms: i64) -> Markup {
    let (state, class) = match (&row.silence, row.state.last_poll_ms) {
        (_, None) => ("never seen", "idle"),
        (None, _) => ("online", "good"),
        (Some(_), _) => ("silent", "bad"),
    };
    let (state, class) = if row.state.suspended.is_some() { ("stopped", "bad") } else { (state, class) };
    if let Some((how, at_ms)) = &row.left {
        return gone(row, how, *at_ms, now_ms);
    }
    if row.is_revoked {
        return turned_away(row, token);
    }
    let status = row.status.clone().unwrap_or_default();
    let ranges =
        if row.ranges.is_empty() { "as configured on the box".to_owned() } else { row.ranges.replace('\n', ", ") };
    html! {
        article.box {
            div.head {
                h3 { (row.name) }
                span.state.(class) { (state) }
            }
            @if let Some(reason) = &row.state.suspended {
                (trouble_words(&Trouble::new(Cause::Suspended, &format!("{reason}: {}", row.state.suspended_detail))))
                form method="post" action={ "/boxes/" (row.state.id) "/release" } {
                    input type="hidden" name="token" value=(token);
                    button type="submit" { "Release" }
                }
            }
            @if let Some(silence) = &row.silence { (trouble_words(&silence.trouble)) }
            @for trouble in &status.troubles {
                (trouble_words(&Trouble::new(from_number(trouble.cause), &trouble.detail)))
            }
            dl {
                dt { "Last poll" } dd { (age_of(row.state.last_poll_ms, now_ms)) @if let Some(at) = row.state.last_poll_ms { " · " (clock(at, now_ms)) " UTC" } }
                @if row.state.site != row.state.id { dt { "Site" } dd { (row.state.site) } }
                dt { "Wake-up" } dd { @if listening { "listening" } @else { "not connected" } }
                @if !status.state.is_empty() { dt { "Its light" } dd { (status.state) } }
                dt { "Printers" } dd { (status.printers_answering) " of " (status.printers_known) " answer" }
                dt { "Waiting" } dd { (grouped(status.outbox_pending)) " readings at the last poll"
                    @if status.outbox_thinned > 0 { "; of " (grouped(status.outbox_thinned)) " only the number is left, its disk was full" } }
                @if let Some(serial) = &row.serial { dt { "Serial number" } dd { (serial) } }
                dt { "Certificate" } dd { "number " (row.generation) @if let Some(ends_ms) = row.ends_ms { ", until " (clock(ends_ms, now_ms)) " UTC" } }
                dt { "Firmware" } dd { (or_dash(Some(status.firmware_version.as_str()).filter(|v| !v.is_empty()))) }
                dt { "Ranges" } dd { (ranges) }
                dt { "Reads" } dd { (schedule_words(row)) }
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
            details #{ "schedule-" (row.state.id) } {
                summary { "Set times" }
                form.ranges method="post" action={ "/boxes/" (row.state.id) "/schedule" } {
                    input type="hidden" name="token" value=(token);
                    label { "Every printer is read every so many minutes (1 to 1440; 0: as configured on the box)"
                        input type="text" inputmode="numeric" name="read_minutes" maxlength="4" value=(row.read_interval_s / 60);
                    }
                    label { "and besides at these times of the day, UTC, as 06:00, 18:30 (at most 24)"
                        input type="text" name="read_times" maxlength="200" value=(row.read_times.replace('\n', ", "));
                    }
                    label { "Status and total are looked at every so many seconds (10 to 86400; 0: as configured on the box)"
                        input type="text" inputmode="numeric" name="look_seconds" maxlength="5" value=(row.look_interval_s);
                    }
                    button type="submit" { "Save" }
                }
            }
            @if row.is_leaving { p.notice { "Released: it is told so at its next poll, delivers what waits, and forgets whose it was." } }
            @if row.serial.is_some() { (of_enrolled(row, token)) }
            details #{ "revoke-" (row.state.id) } {
                summary { "Turn away" }
                form.ranges method="post" action={ "/boxes/" (row.state.id) "/revoke" } {
                    input type="hidden" name="token" value=(token);
                    p { "The box is lost, stolen or not to report any more: it is refused from now on, and nothing is taken from it. What it has delivered stays." }
                    button.grave type="submit" { "Turn away" }
                }
            }
        }
    }
}

/// What can be done with a box that has a serial number and a bound key.
fn of_enrolled(row: &BoxRow, token: &str) -> Markup {
    html! {
        details #{ "unlock-" (row.state.id) } {
            summary { "Unlock" }
            form.ranges method="post" action={ "/boxes/" (row.state.id) "/unlock" } {
                input type="hidden" name="token" value=(token);
                label { "It has disabled itself and has no way to the Internet: type the challenge that its console shows after unlock."
                    input type="text" name="challenge" required maxlength="12" placeholder="WDJB-MJHT" autocomplete="off";
                }
                button type="submit" { "Show the answer" }
            }
        }
        details #{ "recovery-" (row.state.id) } {
            summary { "Allow one more recovery" }
            form.ranges method="post" action={ "/boxes/" (row.state.id) "/recovery" } {
                input type="hidden" name="token" value=(token);
                p { "A box whose certificate has ended while it was off comes back by itself; " (row.recoveries_left) " more times, and not after 13 months. Allow it once more, however long it was away." }
                button type="submit" { "Allow" }
            }
        }
        details #{ "leave-" (row.state.id) } {
            summary { "Release for good" }
            form.ranges method="post" action={ "/boxes/" (row.state.id) "/leave" } {
                input type="hidden" name="token" value=(token);
                p { "The box delivers what waits, forgets who it is, and may become another customer's. What it has delivered stays here." }
                button.grave type="submit" { "Release for good" }
            }
        }
    }
}

/// A box that has left.
fn gone(row: &BoxRow, how: &str, at_ms: i64, now_ms: i64) -> Markup {
    let is_released = how == "released";
    html! {
        article.box {
            div.head {
                h3 { (row.name) }
                span.state { @if is_released { "released" } @else { "reset" } }
            }
            p { (age_of(Some(at_ms), now_ms)) ". "
                @if is_released { "It may become another customer's. What it has delivered stays." }
                @else { "Somebody has reset it. It stays yours: " a href="/add" { "add it again" } " and it is the same box, with all that it has delivered." } }
        }
    }
}

/// The answer to the challenge at a console, or why there is none.
pub(super) fn unlock_answer(challenge: &str, answer: &Result<String, String>) -> Markup {
    html! {
        h1 { "Unlock a box" }
        article.narrow {
            @match answer {
                Ok(answer) => {
                    p { "Challenge " strong { (challenge.trim()) } ". Type this at the console:" }
                    p.code { (answer) }
                    p.muted { "It holds for this box and this challenge. That it was given is noted." }
                }
                Err(words) => p.error role="alert" { strong { "That did not work. " } (words) }
            }
            p { a.button href="/" { "To the fleet" } }
        }
    }
}

/// A box that may not connect.
fn turned_away(row: &BoxRow, token: &str) -> Markup {
    html! {
        article.box {
            div.head {
                h3 { (row.name) }
                span.state.idle { "turned away" }
            }
            p { "Its certificate is refused. After five refusals it disables itself and sends nothing into its network; once a day it asks whether it may come back." }
            form method="post" action={ "/boxes/" (row.state.id) "/enable" } {
                input type="hidden" name="token" value=(token);
                button type="submit" { "Enable" }
            }
        }
    }
}

/// Word, meaning and remedy of what is wrong.
pub(super) fn trouble_words(trouble: &Trouble) -> Markup {
    let explanation = explain(trouble.cause);
    html! {
        p.trouble {
            strong { (explanation.word) } @if !trouble.detail.is_empty() { ": " (trouble.detail) }
            br; (explanation.means) " " (explanation.remedy)
        }
    }
}

fn schedule_words(row: &BoxRow) -> String {
    let mut words = match row.read_interval_s {
        0 => "as configured on the box".to_owned(),
        seconds => format!("every {}", duration_words(i64::from(seconds) * 1_000)),
    };
    if !row.read_times.is_empty() {
        words += &format!(", and at {} UTC", row.read_times.replace('\n', ", "));
    }
    if row.look_interval_s > 0 {
        words += &format!("; a look every {}", duration_words(i64::from(row.look_interval_s) * 1_000));
    }
    words
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
