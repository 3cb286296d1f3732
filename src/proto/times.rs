//! Times of the day as the contract has them (`BoxConfig.read_times_utc`): the same reading of them on both sides.

/// Most of them.
pub const READ_TIMES_MAX: usize = 24;

/// Minutes since midnight of "HH:MM"; `None` for what is no such time.
#[must_use]
pub fn minutes_of_day(time: &str) -> Option<u64> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |digits: &str, below: u64| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_number && *number < below)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}
