//! Numbers, times and ages in words. A time is never shown without saying how sure it is.

use crate::cloud::intake::Interval;

/// An interval narrower than this is shown as one time, in milliseconds: pages show minutes.
const ONE_TIME_MS: i64 = 2 * 60 * 1_000;
/// A lower bound before this is none: the first day of 2020, in milliseconds since 1970.
pub(super) const NO_BOUND_MS: i64 = 1_577_836_800_000;
const DAY_MS: i64 = 86_400_000;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(super) fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("–")
}

pub(super) fn unit_words(unit: &str) -> String {
    if unit == "unknown" { "(unit not told)".to_owned() } else { unit.replace('_', " ") }
}

/// 1234567 as 1 234 567, with narrow spaces.
pub(super) fn grouped(number: u64) -> String {
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

pub(super) fn age_of(at_ms: Option<i64>, now_ms: i64) -> String {
    match at_ms {
        None => "never".to_owned(),
        Some(at) if now_ms - at < 2_000 => "just now".to_owned(),
        Some(at) => format!("{} ago", duration_words(now_ms - at)),
    }
}

pub(super) fn duration_words(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Year, month from 1 and day of a time. Days since 1970 into a date of the Gregorian calendar, by eras of 400 years that
/// begin in March.
fn date_of(ms: i64) -> (i64, i64, i64) {
    let days = ms.div_euclid(DAY_MS) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day_of_month)
}

/// "09:12", "24 Nov 09:12" when it was another day, "24 Nov 2025 09:12" when it was another year. UTC.
pub(super) fn clock(ms: i64, now_ms: i64) -> String {
    let minutes = ms.rem_euclid(DAY_MS) / 60_000;
    let time = format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let ((year, month, day), today) = (date_of(ms), date_of(now_ms));
    let name = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).copied().unwrap_or("?");
    match (year, month, day) {
        date if date == today => time,
        _ if year == today.0 => format!("{day} {name} {time}"),
        _ => format!("{day} {name} {year} {time}"),
    }
}

/// When something was: "09:12 UTC (5 min ago)"; where only bounds are known, both.
pub(super) fn moment(taken: Interval, now_ms: i64) -> String {
    let Interval { low_ms, high_ms } = taken;
    if low_ms < NO_BOUND_MS {
        return format!("{} UTC or earlier", clock(high_ms, now_ms));
    }
    if high_ms - low_ms <= ONE_TIME_MS {
        let middle = taken.middle_ms();
        return format!("{} UTC ({})", clock(middle, now_ms), age_of(Some(middle), now_ms));
    }
    format!("between {} and {} UTC", clock(low_ms, now_ms), clock(high_ms, now_ms))
}

/// Since when a printer is not read: "not read since 09:12 UTC (5 min ago)".
pub(super) fn unread_words(since: Option<Interval>, now_ms: i64) -> String {
    match since {
        None => "never read yet".to_owned(),
        Some(since) if is_one_time(since) => format!("not read since {}", moment(since, now_ms)),
        Some(since) => format!("not read now; last {}", read_words(Some(since), now_ms)),
    }
}

fn is_one_time(taken: Interval) -> bool {
    taken.low_ms >= NO_BOUND_MS && taken.high_ms - taken.low_ms <= ONE_TIME_MS
}

/// When a printer was read: "read 5 min ago · 09:12 UTC".
pub(super) fn read_words(taken: Option<Interval>, now_ms: i64) -> String {
    let Some(taken) = taken else { return "never read".to_owned() };
    if !is_one_time(taken) {
        return format!("read {}", moment(taken, now_ms));
    }
    let middle = taken.middle_ms();
    format!("read {} · {} UTC", age_of(Some(middle), now_ms), clock(middle, now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 25 November 2026, 09:12:00 UTC.
    const NOW: i64 = 1_795_597_920_000;

    #[test]
    fn numbers_are_grouped_and_ages_are_words() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12), "12");
        assert_eq!(age_of(Some(0), 300_000), "5 min ago");
        assert_eq!(age_of(None, 1), "never");
    }

    #[test]
    fn times_say_their_day_where_it_is_another() {
        assert_eq!(clock(NOW, NOW), "09:12");
        assert_eq!(clock(NOW - DAY_MS, NOW), "24 Nov 09:12");
        assert_eq!(clock(NOW - 330 * DAY_MS, NOW), "30 Dec 2025 09:12");
        assert_eq!(date_of(951_782_400_000), (2000, 2, 29));
        assert_eq!(date_of(-1), (1969, 12, 31));
    }

    #[test]
    fn where_only_bounds_are_known_both_are_shown() {
        let exact = Interval { low_ms: NOW - 301_000, high_ms: NOW - 299_000 };
        assert_eq!(read_words(Some(exact), NOW), "read 5 min ago · 09:07 UTC");
        assert_eq!(moment(exact, NOW), "09:07 UTC (5 min ago)");
        let wide = Interval { low_ms: NOW - DAY_MS, high_ms: NOW };
        assert_eq!(read_words(Some(wide), NOW), "read between 24 Nov 09:12 and 09:12 UTC");
        assert_eq!(read_words(Some(Interval { low_ms: 0, high_ms: NOW }), NOW), "read 09:12 UTC or earlier");
        assert_eq!(read_words(None, NOW), "never read");
        assert_eq!(unread_words(Some(exact), NOW), "not read since 09:07 UTC (5 min ago)");
        assert_eq!(unread_words(Some(wide), NOW), "not read now; last read between 24 Nov 09:12 and 09:12 UTC");
    }
}
