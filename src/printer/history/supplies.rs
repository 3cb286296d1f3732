//! When a supply was replaced, and when it runs out. Levels are noise to a few points, sleep, and come back; so a change
//! counts when a second reading confirms it, and a level that only comes back to where it was is no replacement.

use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, EventValue, Severity, shortened};
use super::limits::{
    CONFIRM_AFTER, FALL_POINTS, LOW_POINTS, NO_LONGER_LOW_POINTS, RISE_POINTS, SUPPLIES_MAX, TEXT_MAX_CHARS,
};
use super::moment::Moment;
use crate::printer::Supply;

/// How a supply was told to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Standing {
    #[default]
    Ok,
    Low,
    Empty,
}

/// A supply as it was last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownSupply {
    pub index: String,
    pub r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The level that counts, in percent; absent where none was told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<u32>,
    /// The one before it, of the same run: a rise is measured from the higher of the two, so that one odd value is no floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level_before: Option<u32>,
    /// Whether a second reading has confirmed it: from a first one alone nothing follows.
    #[serde(default)]
    is_level_sure: bool,
    /// A sudden fall, from and to: a sensor that comes back comes back to where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fall: Option<(u32, u32)>,
    /// The level at which a replacement was told by one proof; until the level has fallen from there, the other proof is
    /// of the same replacement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_at: Option<ToldAt>,
    #[serde(default)]
    standing: Standing,
    /// What one reading said and another has to confirm: a level far above (true) or below the one before, a standing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    awaited_level: Option<(bool, Moment)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    awaited_standing: Option<(Standing, Moment)>,
}

/// Which proof a replacement was told by, and which may still follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ToldAt {
    level: Option<u32>,
    by_serial: bool,
}

impl KnownSupply {
    fn of(supply: &Supply) -> Self {
        Self {
            index: supply.index.clone(),
            r#type: supply.r#type.clone(),
            colour: supply.colour.clone(),
            serial: normal(supply.serial.as_deref()),
            level: supply.percent,
            level_before: None,
            is_level_sure: false,
            fall: None,
            told_at: None,
            standing: Standing::Ok,
            awaited_level: None,
            awaited_standing: None,
        }
    }

    /// Another thing in the same place of the table, as when the table was numbered anew.
    fn is_another(&self, supply: &Supply) -> bool {
        let differ = |one: Option<&str>, other: Option<&str>| one.zip(other).is_some_and(|(one, other)| one != other);
        let known = |r#type: &'_ str| !matches!(r#type, "unknown" | "other");
        (self.r#type != supply.r#type && known(&self.r#type) && known(&supply.r#type))
            || differ(self.colour.as_deref(), supply.colour.as_deref())
    }

    /// Takes a new serial number over; says whether it proves a replacement.
    fn take_serial(&mut self, supply: &Supply) -> bool {
        let Some(serial) = normal(supply.serial.as_deref()) else { return false };
        match self.serial.replace(serial.clone()) {
            Some(before) if before != serial => {
                // The level has told it already: the number comes late.
                let is_late = self.told_at.take_if(|told| !told.by_serial).is_some();
                !is_late
            }
            _ => false,
        }
    }

    /// Takes a level over; returns the level before, where the rise from there proves a replacement.
    fn take_level(&mut self, percent: u32, now: Moment) -> Option<u32> {
        let Some(level) = self.level else {
            self.level = Some(percent);
            return None;
        };
        let is_rise = percent >= self.level_before.map_or(level, |before| before.max(level)) + RISE_POINTS;
        let is_fall = percent + RISE_POINTS <= level;
        if !is_rise && !is_fall {
            self.awaited_level = None;
            (self.level_before, self.level) = (self.level, Some(percent));
            self.is_level_sure = true;
            self.forget_after_consumption(percent);
            return None;
        }
        match &mut self.awaited_level {
            Some((awaited, at)) if *awaited == is_rise => {
                if !is_confirmed(at, now) {
                    return None;
                }
            }
            awaited => {
                *awaited = Some((is_rise, now));
                return None;
            }
        }
        self.awaited_level = None;
        (self.level_before, self.level) = (None, Some(percent));
        let was_sure = std::mem::replace(&mut self.is_level_sure, true);
        if is_fall {
            self.fall = Some((level, percent));
            self.forget_after_consumption(percent);
            return None;
        }
        let came_back = self.fall.take().is_some_and(|(before, _)| percent < before + RISE_POINTS);
        // The serial number has told it already: the level comes late.
        let is_late = self.told_at.take_if(|told| told.by_serial).is_some();
        (was_sure && !came_back && !is_late).then_some(level)
    }

    /// What was used up since a fall, or since a replacement, makes it history.
    fn forget_after_consumption(&mut self, percent: u32) {
        let is_used_up = |from: u32| percent + FALL_POINTS <= from;
        self.told_at.take_if(|told| told.level.is_some_and(is_used_up));
        self.fall.take_if(|(_, to)| is_used_up(*to));
    }

    /// Takes over how it stands; says whether that is told now.
    fn take_standing(&mut self, supply: &Supply, now: Moment) -> bool {
        let Some(target) = self.target(supply) else { return false };
        if target == self.standing {
            self.awaited_standing = None;
            return false;
        }
        let from = self.standing;
        match &mut self.awaited_standing {
            // Empty confirms low too.
            Some((awaited, at)) if (*awaited > from) == (target > from) => {
                if !is_confirmed(at, now) {
                    return false;
                }
                self.standing = if target > from { target.min(*awaited) } else { target.max(*awaited) };
                self.awaited_standing = None;
                true
            }
            awaited => {
                *awaited = Some((target, now));
                false
            }
        }
    }

    /// How it stands by this reading; nothing where that says nothing. Between low and well it stays as it was.
    fn target(&self, supply: &Supply) -> Option<Standing> {
        if let Some(percent) = supply.percent {
            return Some(match percent {
                0 => Standing::Empty,
                percent if percent <= LOW_POINTS => self.standing.max(Standing::Low),
                percent if percent >= NO_LONGER_LOW_POINTS => Standing::Ok,
                _ => self.standing,
            });
        }
        match supply.state.as_str() {
            "empty" => Some(Standing::Empty),
            // "Some is left" of a supply that has told percents is less than it has told before.
            "some" | "ok" if self.level.is_none() => Some(Standing::Ok),
            _ => None,
        }
    }

    /// A new supply is in its place.
    fn begin_anew(&mut self, supply: &Supply, by_serial: bool) {
        if supply.percent.is_some() {
            (self.level_before, self.level) = (None, supply.percent);
        }
        (self.fall, self.awaited_level, self.awaited_standing) = (None, None, None);
        self.standing = Standing::Ok;
        self.told_at = Some(ToldAt { level: self.level, by_serial });
    }
}

/// Whether enough time has passed since the first reading that said so. Where the clock ran backwards, it begins anew.
fn is_confirmed(at: &mut Moment, now: Moment) -> bool {
    match now.since(at) {
        Some(elapsed) => elapsed >= CONFIRM_AFTER,
        None => {
            *at = now;
            false
        }
    }
}

fn normal(serial: Option<&str>) -> Option<String> {
    let normal: String = serial?.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect();
    crate::printer::identity::is_serial(&normal).then(|| shortened(&normal, TEXT_MAX_CHARS))
}

/// Compares the supplies of a reading with those before. A supply that is not in it is remembered as it was.
pub(super) fn compare(known: &mut Vec<KnownSupply>, supplies: &[Supply], now: Moment, device_key: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for supply in supplies {
        let Some(before) = known.iter_mut().find(|known| known.index == supply.index) else {
            if known.len() < SUPPLIES_MAX {
                let mut fresh = KnownSupply::of(supply);
                fresh.take_standing(supply, now);
                known.push(fresh);
            }
            continue;
        };
        if before.is_another(supply) {
            *before = KnownSupply::of(supply);
            continue;
        }
        before.colour = before.colour.take().or_else(|| supply.colour.clone());
        let level_before = before.level;
        let (old_serial, has_other_serial) = (before.serial.clone(), before.take_serial(supply));
        let risen_from = supply.percent.and_then(|percent| before.take_level(percent, now));
        if has_other_serial || risen_from.is_some() {
            before.begin_anew(supply, has_other_serial);
            let from = risen_from.or(level_before);
            events.push(replaced(
                supply,
                from,
                old_serial.as_deref(),
                (has_other_serial, risen_from.is_some()),
                device_key,
            ));
            continue;
        }
        if before.take_standing(supply, now) {
            events.push(standing_event(supply, before.standing, device_key));
        }
    }
    events
}

fn name_of(supply: &Supply) -> String {
    shortened(supply.description.as_deref().unwrap_or(&supply.r#type), TEXT_MAX_CHARS)
}

fn level_of(supply: &Supply, before: Option<u32>) -> EventValue {
    EventValue {
        name: "level".to_owned(),
        before: before.map(i64::from),
        after: supply.percent.map(i64::from),
        unit: "percent".to_owned(),
    }
}

fn replaced(
    supply: &Supply,
    from: Option<u32>,
    old_serial: Option<&str>,
    (by_serial, by_level): (bool, bool),
    device_key: &str,
) -> Event {
    let mut evidence = Vec::new();
    if by_serial {
        let (old, new) = (old_serial.unwrap_or("?"), supply.serial.as_deref().unwrap_or("?"));
        evidence.push(format!("serial {old} -> {}", shortened(new, TEXT_MAX_CHARS)));
    }
    if by_level {
        evidence.push("level, confirmed by a second reading".to_owned());
    }
    let verb = if supply.class == "filled" { "was replaced or emptied" } else { "was replaced" };
    Event {
        subject: supply.index.clone(),
        values: vec![level_of(supply, from)],
        evidence,
        ..Event::new(EventKind::SupplyReplaced, device_key, Severity::Info, format!("{} {verb}", name_of(supply)))
    }
}

fn standing_event(supply: &Supply, now: Standing, device_key: &str) -> Event {
    let is_filled = supply.class == "filled";
    let (kind, severity, words) = match (now, is_filled) {
        (Standing::Ok, _) => (EventKind::SupplyOk, Severity::Info, "is well again"),
        (Standing::Low, false) => (EventKind::SupplyLow, Severity::Warning, "is low"),
        (Standing::Low, true) => (EventKind::SupplyLow, Severity::Warning, "is nearly full"),
        (Standing::Empty, false) => (EventKind::SupplyEmpty, Severity::Warning, "is empty"),
        (Standing::Empty, true) => (EventKind::SupplyEmpty, Severity::Warning, "is full"),
    };
    Event {
        subject: supply.index.clone(),
        values: vec![level_of(supply, None)],
        ..Event::new(kind, device_key, severity, format!("{} {words}", name_of(supply)))
    }
}
