//! The rules of a trial, without a disk and without a network: what is written, applied and removed in which order, so that a power
//! cut after any of it leads to one of two ends: everything as before, or the new settings kept.
//!
//! - Before anything is changed, the intent is durable: what there was, and what there shall be.
//! - A change is kept when the file of kept settings holds it: that one write decides.
//! - At the start, an intent says that the network may be anything: the kept settings are applied, which are the old ones or, where
//!   only the removal was missed, the new ones. Should they not be readable, the intent knows what there was.

use serde::{Deserialize, Serialize};

use super::Settings;

/// What is about to be tried. `None`: nothing of ours, the system's own default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intent {
    /// What is to be restored.
    pub old: Option<Settings>,
    /// What is tried.
    pub new: Settings,
}

/// One thing that is done to the world. Each is durable before the next begins, and may be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Write the intent.
    WriteIntent(Intent),
    /// Make the network so.
    Apply(Option<Settings>),
    /// Write the kept settings.
    WriteKept(Settings),
    /// Remove the intent.
    RemoveIntent,
}

/// How a trial ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The test has passed, or somebody has typed `keep`.
    Keep,
    /// Time is up, or the settings could not be applied.
    RollBack,
}

/// What begins a trial.
pub(super) fn begin(intent: &Intent) -> [Effect; 2] {
    [Effect::WriteIntent(intent.clone()), Effect::Apply(Some(intent.new.clone()))]
}

/// What ends it.
pub(super) fn end(intent: &Intent, end: End) -> [Effect; 2] {
    let first = match end {
        End::Keep => Effect::WriteKept(intent.new.clone()),
        End::RollBack => Effect::Apply(intent.old.clone()),
    };
    [first, Effect::RemoveIntent]
}

/// What the disk says of the kept settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// These; none where the network was never changed.
    Known(Option<Settings>),
    /// The file is damaged.
    Unreadable,
}

/// What is done at the start, where there is an intent. `None`: it cannot be read, and says only that something was tried.
pub(super) fn recover(intent: Option<&Intent>, kept: Kept) -> Vec<Effect> {
    let (settings, found_again) = match (kept, intent) {
        (Kept::Known(settings), _) => (settings, None),
        (Kept::Unreadable, Some(intent)) => (intent.old.clone(), intent.old.clone()),
        (Kept::Unreadable, None) => (None, None),
    };
    let found_again = found_again.map(Effect::WriteKept);
    [Effect::Apply(settings)].into_iter().chain(found_again).chain([Effect::RemoveIntent]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What survives a power cut, and how the network is.
    #[derive(Debug, Clone, Default, PartialEq)]
    struct World {
        intent: Option<Intent>,
        kept: Option<Settings>,
        live: Option<Settings>,
    }

    impl World {
        /// Does one thing; or, where the power fails in the middle of it, may have done it or not.
        fn does(&mut self, effect: &Effect, is_done: bool) {
            if !is_done {
                // Half a change of the network may be anything; a file is the old or the new one.
                if let Effect::Apply(_) = effect {
                    self.live = Some(Settings { vlan: Some(4_000), ..Settings::default() });
                }
                return;
            }
            match effect.clone() {
                Effect::WriteIntent(intent) => self.intent = Some(intent),
                Effect::Apply(settings) => self.live = settings,
                Effect::WriteKept(settings) => self.kept = Some(settings),
                Effect::RemoveIntent => self.intent = None,
            }
        }

        /// The start after a power cut, which may be cut again: `cuts` says after how many effects each time.
        fn starts(&mut self, cuts: &[usize]) {
            for cut in cuts.iter().copied().chain([usize::MAX]) {
                if self.intent.is_none() {
                    return;
                }
                let effects = recover(self.intent.as_ref(), Kept::Known(self.kept.clone()));
                for (place, effect) in effects.iter().enumerate() {
                    if place > cut {
                        break;
                    }
                    self.does(effect, place < cut);
                }
            }
        }
    }

    fn settings() -> impl Strategy<Value = Settings> {
        (1_u16..4, any::<bool>()).prop_map(|(vlan, ipv6)| Settings { vlan: Some(vlan), ipv6, ..Settings::default() })
    }

    proptest! {
        #[test]
        fn a_power_cut_anywhere_leads_to_all_as_before_or_to_the_new_settings_kept(
            old in proptest::option::of(settings()),
            new in settings(),
            keep in any::<bool>(),
            cut in 0_usize..6,
            is_half in any::<bool>(),
            further_cuts in proptest::collection::vec(0_usize..3, 0..4),
        ) {
            let mut world = World { intent: None, kept: old.clone(), live: old.clone() };
            let intent = Intent { old: old.clone(), new: new.clone() };
            let ended = end(&intent, if keep { End::Keep } else { End::RollBack });
            let mut was_kept = false;
            for (place, effect) in begin(&intent).iter().chain(&ended).enumerate() {
                if place == cut {
                    if is_half {
                        world.does(effect, false);
                    }
                    break;
                }
                world.does(effect, true);
                was_kept |= matches!(effect, Effect::WriteKept(_));
                // Never is the network another than what was kept without a durable word about it.
                prop_assert!(world.live == world.kept || world.intent.is_some());
            }
            world.starts(&further_cuts);
            let expected = if was_kept { Some(new) } else { old };
            prop_assert_eq!(&world.live, &expected);
            prop_assert_eq!(&world.kept, &expected);
            prop_assert_eq!(&world.intent, &None);
        }
    }

    #[test]
    fn what_cannot_be_read_leads_back_to_the_best_that_is_known() {
        let kept = Settings { ipv6: false, ..Settings::default() };
        let old = Settings { vlan: Some(7), ..Settings::default() };
        let intent = Intent { old: Some(old.clone()), new: kept.clone() };
        let apply = |settings: &Settings| Effect::Apply(Some(settings.clone()));
        assert_eq!(recover(None, Kept::Known(Some(kept.clone()))), [apply(&kept), Effect::RemoveIntent]);
        let found_again = [apply(&old), Effect::WriteKept(old), Effect::RemoveIntent];
        assert_eq!(recover(Some(&intent), Kept::Unreadable), found_again);
        assert_eq!(recover(None, Kept::Unreadable), [Effect::Apply(None), Effect::RemoveIntent]);
    }
}
