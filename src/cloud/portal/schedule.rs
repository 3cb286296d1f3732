//! Setting when a box reads: the form, and what it may say.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::{Failure, Portal};
use crate::proto::times::{READ_TIMES_MAX, minutes_of_day};

/// Bounds of the time between readings, in minutes, and between looks, in seconds.
const READ_MINUTES: std::ops::RangeInclusive<u32> = 1..=1_440;
const LOOK_SECONDS: std::ops::RangeInclusive<u32> = 10..=86_400;

/// As it comes from the page.
#[derive(Deserialize)]
pub(super) struct ScheduleForm {
    token: String,
    read_minutes: String,
    read_times: String,
    look_seconds: String,
}

/// What a form means.
#[derive(Debug, PartialEq, Eq)]
struct Schedule {
    read_interval_s: u32,
    look_interval_s: u32,
    /// "HH:MM", one a line.
    read_times: String,
}

impl Schedule {
    /// # Errors
    /// What is wrong, for a person.
    fn parse(form: &ScheduleForm) -> Result<Self, String> {
        let read_minutes = number(&form.read_minutes, &READ_MINUTES, "The time between readings", "minutes")?;
        let look_interval_s = number(&form.look_seconds, &LOOK_SECONDS, "The time between looks", "seconds")?;
        let mut times = Vec::new();
        for word in form.read_times.split([',', ' ', '\n', '\r', ';']).filter(|word| !word.is_empty()) {
            times.push(time(word)?);
        }
        times.sort_unstable();
        times.dedup();
        if times.len() > READ_TIMES_MAX {
            return Err(format!("{} times of the day are too many: at most {READ_TIMES_MAX}.", times.len()));
        }
        Ok(Self { read_interval_s: read_minutes * 60, look_interval_s, read_times: times.join("\n") })
    }
}

fn number(text: &str, range: &std::ops::RangeInclusive<u32>, what: &str, unit: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(number) if number == 0 || range.contains(&number) => Ok(number),
        _ => Err(format!(
            "{what} is a number of {unit} from {} to {}, or 0 for what is configured on the box; not {:?}.",
            range.start(),
            range.end(),
            text.chars().take(20).collect::<String>()
        )),
    }
}

/// "HH:MM".
fn time(word: &str) -> Result<String, String> {
    let said = || word.chars().take(20).collect::<String>();
    minutes_of_day(word)
        .map(|_| word.to_owned())
        .ok_or_else(|| format!("{:?} is no time of the day, as 06:00 or 18:30 (UTC).", said()))
}

/// Takes the form.
pub(super) async fn set(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<ScheduleForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.refusal(&form.token, &id).await? {
        return Ok(refusal);
    }
    let schedule = match Schedule::parse(&form) {
        Ok(schedule) => schedule,
        Err(why) => return Ok((StatusCode::BAD_REQUEST, why + "\n").into_response()),
    };
    let Schedule { read_interval_s, look_interval_s, read_times } = schedule;
    portal.shared.database.set_schedule(&id, read_interval_s, look_interval_s, &read_times).await?;
    portal.shared.broker.wake(&id);
    Ok(Redirect::to("/").into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(minutes: &str, times: &str, seconds: &str) -> Result<Schedule, String> {
        let [read_minutes, read_times, look_seconds] = [minutes, times, seconds].map(str::to_owned);
        Schedule::parse(&ScheduleForm { token: String::new(), read_minutes, read_times, look_seconds })
    }

    #[test]
    fn a_schedule_is_taken_in_order_and_without_repetition() {
        let schedule = parse(" 60 ", "18:30, 06:00 18:30", "300").unwrap();
        let read_times = "06:00\n18:30".to_owned();
        assert_eq!(schedule, Schedule { read_interval_s: 3_600, look_interval_s: 300, read_times });
        assert_eq!(parse("0", "", "0").unwrap().read_times, "");
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_said() {
        let why = |minutes, times, seconds| parse(minutes, times, seconds).unwrap_err();
        assert!(why("1441", "", "0").contains("from 1 to 1440"));
        assert!(why("-1", "", "0").contains("minutes") && why("1", "", "9").contains("from 10 to 86400"));
        for bad in ["24:00", "6:00", "06:60", "0600", "+6:00", "06:00:00", "é6:00"] {
            assert!(why("0", bad, "0").contains("no time of the day"), "{bad}");
        }
        let many: Vec<_> = (0..25).map(|minute| format!("00:{minute:02}")).collect();
        assert!(why("0", &many.join(","), "0").contains("at most 24"));
    }
}
