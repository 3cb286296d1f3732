//! A rhythm: how bright at which time. Pure; times are milliseconds since it began.

use serde::Deserialize;

/// Most changes in one rhythm: a number of six has twelve.
pub const STEPS_MAX: usize = 12;

/// Durations in ms, light and darkness in turns.
pub type Steps = heapless::Vec<u32, STEPS_MAX>;

/// Full brightness.
pub const FULL: u8 = u8::MAX;

/// How often a breathing light changes, in ms: 25 times a second looks smooth.
const BREATH_STEP_MS: u32 = 40;

/// How light and darkness follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rhythm {
    /// Never any light.
    Dark,
    /// Always light.
    Steady,
    /// Up and down again in so many ms, from dark to full.
    Breathe(u32),
    /// Light, darkness, light, … and again from the beginning.
    Blink(Steps),
    /// Light, darkness, light, …, and then darkness.
    Once(Steps),
}

impl Rhythm {
    /// How bright at this time since the beginning, 0 to 255.
    #[must_use]
    pub fn level_at(&self, t_ms: u64) -> u8 {
        match self {
            Self::Dark => 0,
            Self::Steady => FULL,
            Self::Breathe(period) => breath(t_ms, *period),
            Self::Blink(steps) => {
                let t = remainder(t_ms, sum(steps));
                step_at(steps, t).map_or(0, |(index, _)| lit(index))
            }
            Self::Once(steps) => step_at(steps, u32::try_from(t_ms).unwrap_or(u32::MAX)).map_or(0, |(n, _)| lit(n)),
        }
    }

    /// When it changes next after this time, in ms since the beginning; `None` where it never does again.
    #[must_use]
    pub fn next_change_ms(&self, t_ms: u64) -> Option<u64> {
        match self {
            Self::Dark | Self::Steady => None,
            Self::Breathe(_) => Some(t_ms.saturating_add(u64::from(BREATH_STEP_MS))),
            Self::Blink(steps) => {
                let t = remainder(t_ms, sum(steps));
                let (_, end) = step_at(steps, t)?;
                Some(t_ms.saturating_add(u64::from(end - t)))
            }
            Self::Once(steps) => step_at(steps, u32::try_from(t_ms).ok()?).map(|(_, end)| u64::from(end)),
        }
    }

    /// How long until it repeats, or until it is over, in ms. 0 for one that does not change.
    #[must_use]
    pub fn length_ms(&self) -> u32 {
        match self {
            Self::Dark | Self::Steady => 0,
            Self::Breathe(period) => *period,
            Self::Blink(steps) | Self::Once(steps) => sum(steps),
        }
    }

    /// Whether it is shown once and not again and again.
    #[must_use]
    pub const fn is_once(&self) -> bool {
        matches!(self, Self::Once(_))
    }

    /// A rhythm that shows something: no empty and no endless steps.
    pub(super) fn is_sound(&self) -> bool {
        const STEP_MAX_MS: u32 = 10_000;
        let in_bounds = |ms: &u32| (1..=STEP_MAX_MS).contains(ms);
        match self {
            Self::Dark | Self::Steady => true,
            Self::Breathe(period) => in_bounds(period) && *period >= 2 * BREATH_STEP_MS,
            Self::Blink(steps) => !steps.is_empty() && steps.len().is_multiple_of(2) && steps.iter().all(in_bounds),
            Self::Once(steps) => !steps.len().is_multiple_of(2) && steps.iter().all(in_bounds),
        }
    }
}

fn sum(steps: &Steps) -> u32 {
    steps.iter().fold(0, |sum, ms| sum.saturating_add(*ms))
}

fn remainder(t_ms: u64, period_ms: u32) -> u32 {
    let rest = t_ms.checked_rem(u64::from(period_ms)).unwrap_or(0);
    u32::try_from(rest).unwrap_or(0) // below a u32
}

/// Which step this time lies in, and when that ends.
fn step_at(steps: &Steps, t: u32) -> Option<(usize, u32)> {
    let mut end = 0_u32;
    steps.iter().enumerate().find_map(|(index, ms)| {
        end = end.saturating_add(*ms);
        (t < end).then_some((index, end))
    })
}

const fn lit(step: usize) -> u8 {
    if step.is_multiple_of(2) { FULL } else { 0 }
}

/// The square of a triangle: an eye sees brightness in ratios, so that this looks even.
fn breath(t_ms: u64, period_ms: u32) -> u8 {
    let half = u64::from(period_ms / 2).max(1);
    let t = u64::from(remainder(t_ms, period_ms));
    let up = if t < half { t } else { (2 * half).saturating_sub(t) };
    let linear = (up * u64::from(FULL) / half).min(u64::from(FULL));
    u8::try_from(linear * linear / u64::from(FULL)).unwrap_or(FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(list: &[u32]) -> Steps {
        Steps::from_slice(list).unwrap()
    }

    #[test]
    fn a_blink_begins_with_light_and_begins_again() {
        let blink = Rhythm::Blink(steps(&[600, 200]));
        let seen: Vec<u8> = [0, 599, 600, 799, 800, 1_400].map(|t| blink.level_at(t)).to_vec();
        assert_eq!(seen, [255, 255, 0, 0, 255, 0]);
        assert_eq!([0, 599, 600, 800].map(|t| blink.next_change_ms(t).unwrap()), [600, 600, 800, 1_400]);
    }

    #[test]
    fn what_is_shown_once_stays_dark_afterwards() {
        let once = Rhythm::Once(steps(&[600, 500, 600]));
        assert_eq!([0, 700, 1_200, 1_700, u64::MAX].map(|t| once.level_at(t)), [255, 0, 255, 0, 0]);
        assert_eq!(once.next_change_ms(1_200), Some(1_700));
        assert_eq!((once.next_change_ms(1_700), once.length_ms()), (None, 1_700));
    }

    #[test]
    fn a_breath_goes_up_and_down_without_a_jump() {
        let breath = Rhythm::Breathe(2_000);
        assert_eq!([0, 1_000, 2_000].map(|t| breath.level_at(t)), [0, 255, 0]);
        for t in 0..4_000 {
            assert!(breath.level_at(t).abs_diff(breath.level_at(t + 1)) <= 2, "at {t} ms");
        }
    }

    #[test]
    fn the_next_change_is_the_next_time_at_which_the_level_differs() {
        for rhythm in [Rhythm::Blink(steps(&[150, 150, 150, 1_050])), Rhythm::Once(steps(&[600, 500, 600]))] {
            for t in 0..4_000 {
                let next = rhythm.next_change_ms(t).unwrap_or(5_000);
                assert!((t..next).all(|at| rhythm.level_at(at) == rhythm.level_at(t)), "from {t} ms");
                assert!(next == 5_000 || rhythm.level_at(next) != rhythm.level_at(t), "at {next} ms");
            }
        }
    }
}
