//! What a meter counts: function × size × colour × sides × weighting × scope, and the name that is made of it.
//!
//! "Page count" is many numbers, and the wrong one is a wrong invoice. A name is composed of words of closed lists, in
//! one order, so that each key has one name and each name one key (`profiles/README.md` has the table).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Makes an enumeration of words: the variants, and for each the word in a name and the word in a reading's JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $in_name:literal, $in_json:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// As it stands in a meter's name; empty for what goes without saying.
            const fn in_name(self) -> &'static str {
                match self { $(Self::$variant => $in_name,)* }
            }

            fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.word() == word)
            }

            /// As it stands in a reading.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $in_json,)* }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Self::from_word(&word).ok_or_else(|| serde::de::Error::custom(format!("no meter counts \"{word}\"")))
            }
        }
    };
}

words! {
    /// What the device did.
    Function {
        /// Everything together.
        #[default]
        Total = "", "total";
        /// Printed for computers.
        Print = "print", "print";
        /// Copied.
        Copy = "copy", "copy";
        /// Faxes, where the maker does not tell received from sent, or counts printed ones.
        Fax = "fax", "fax";
        /// Received faxes.
        FaxIn = "fax_in", "fax_in";
        /// Sent faxes.
        FaxOut = "fax_out", "fax_out";
        /// Scanned.
        Scan = "scan", "scan";
        /// Reports and lists that it printed of its own accord.
        List = "list", "list";
        /// What the maker calls other.
        Other = "other", "other";
    }
}

words! {
    /// On what size.
    Size {
        /// Any.
        #[default]
        Any = "", "any";
        /// Smaller than A3.
        Small = "small", "small";
        /// A3, ledger and larger.
        Large = "large", "large";
        /// Not a count: a length of paper.
        Length = "length", "length";
    }
}

words! {
    /// With what colours.
    Colour {
        /// Any.
        #[default]
        All = "", "all";
        /// Black only.
        Mono = "mono", "mono";
        /// Full colour.
        Full = "colour", "full";
        /// A single colour, or two.
        Two = "two_colour", "two";
    }
}

words! {
    /// On one side or both.
    Sides {
        /// Any.
        #[default]
        Any = "", "any";
        /// On one.
        Simplex = "simplex", "simplex";
        /// On both.
        Duplex = "duplex", "duplex";
    }
}

words! {
    /// How large sheets count.
    Weight {
        /// Once.
        #[default]
        Plain = "", "plain";
        /// As their equivalent in A4: A3 counts 2.
        Equivalent = "equivalent", "equivalent";
    }
}

words! {
    /// Since when, or of whom.
    Scope {
        /// Since it was made.
        #[default]
        Life = "", "life";
        /// Since somebody set it to zero.
        SinceReset = "since_reset", "since_reset";
        /// Since it was switched on.
        SincePowerOn = "since_power_on", "since_power_on";
        /// Since it was made, by the maker's own total beside prtMarkerLifeCount.
        Maker = "maker", "maker";
        /// Since it was made, by the second marker alone; and so on.
        Marker2 = "marker_2", "marker_2";
        /// The third.
        Marker3 = "marker_3", "marker_3";
        /// The fourth.
        Marker4 = "marker_4", "marker_4";
    }
}

/// What a meter counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MeterKey {
    /// What the device did.
    pub function: Function,
    /// On what size.
    pub size: Size,
    /// With what colours.
    pub colour: Colour,
    /// On one side or both.
    pub sides: Sides,
    /// How large sheets count.
    pub weight: Weight,
    /// Since when, or of whom.
    pub scope: Scope,
}

impl MeterKey {
    /// prtMarkerLifeCount of the first marker.
    pub const TOTAL: Self = Self {
        function: Function::Total,
        size: Size::Any,
        colour: Colour::All,
        sides: Sides::Any,
        weight: Weight::Plain,
        scope: Scope::Life,
    };

    /// Whether `total` must be said, as nothing else says what is counted.
    fn says_total(self) -> bool {
        let stands_alone = matches!(self.function, Function::Fax | Function::FaxIn | Function::FaxOut | Function::Scan);
        let is_narrowed = self.size != Size::Any || self.colour != Colour::All || self.sides != Sides::Any;
        !stands_alone && !is_narrowed
    }
}

impl fmt::Display for MeterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = if self.says_total() { "total" } else { "" };
        let words = [
            self.function.in_name(),
            self.size.in_name(),
            self.colour.in_name(),
            total,
            self.sides.in_name(),
            self.weight.in_name(),
            self.scope.in_name(),
        ];
        let mut is_first = true;
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            if !std::mem::replace(&mut is_first, false) {
                f.write_str("_")?;
            }
            f.write_str(word)?;
        }
        Ok(())
    }
}

/// There is no meter of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no meter named \"{0}\": names are made of the words in src/printer/profiles/README.md, in their order"
)]
pub struct MeterNameError(String);

impl FromStr for MeterKey {
    type Err = MeterNameError;

    fn from_str(name: &str) -> Result<Self, MeterNameError> {
        let mut rest = name;
        let function = take(&mut rest, Function::ALL, Function::in_name);
        let size = take(&mut rest, Size::ALL, Size::in_name);
        let colour = take(&mut rest, Colour::ALL, Colour::in_name);
        take(&mut rest, &["total", ""], |word| word);
        let sides = take(&mut rest, Sides::ALL, Sides::in_name);
        let weight = take(&mut rest, Weight::ALL, Weight::in_name);
        let scope = take(&mut rest, Scope::ALL, Scope::in_name);
        let key = Self { function, size, colour, sides, weight, scope };
        // One key, one name: "fax_total" and "total_mono" are none.
        if rest.is_empty() && key.to_string() == name { Ok(key) } else { Err(MeterNameError(name.to_owned())) }
    }
}

/// Takes the longest of the words off the front, with the underscore behind it; the empty one if no other fits.
fn take<T: Copy + Default>(rest: &mut &str, all: &[T], word: impl Fn(T) -> &'static str) -> T {
    let fits = |candidate: &&T| {
        let word = word(**candidate);
        let tail = rest.strip_prefix(word);
        !word.is_empty() && tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('_'))
    };
    let Some(found) = all.iter().filter(fits).max_by_key(|candidate| word(**candidate).len()).copied() else {
        return T::default();
    };
    let tail = rest.get(word(found).len()..).unwrap_or_default();
    *rest = tail.strip_prefix('_').unwrap_or(tail);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_short_names_are_those_of_the_contract() {
        let key = MeterKey::default();
        let names = [
            (key, "total"),
            (MeterKey { colour: Colour::Mono, ..key }, "mono"),
            (MeterKey { colour: Colour::Full, ..key }, "colour"),
            (MeterKey { function: Function::Print, colour: Colour::Mono, ..key }, "print_mono"),
            (MeterKey { function: Function::Print, ..key }, "print_total"),
            (MeterKey { function: Function::Copy, colour: Colour::Full, ..key }, "copy_colour"),
            (MeterKey { function: Function::Fax, ..key }, "fax"),
            (MeterKey { function: Function::Scan, ..key }, "scan"),
            (MeterKey { sides: Sides::Duplex, ..key }, "duplex"),
            (MeterKey { size: Size::Large, ..key }, "large"),
            (MeterKey { size: Size::Length, ..key }, "length"),
            (MeterKey { scope: Scope::Maker, ..key }, "total_maker"),
            (
                MeterKey { size: Size::Large, colour: Colour::Two, function: Function::Print, ..key },
                "print_large_two_colour",
            ),
            (MeterKey { weight: Weight::Equivalent, scope: Scope::SinceReset, ..key }, "total_equivalent_since_reset"),
        ];
        for (key, name) in names {
            assert_eq!(key.to_string(), name);
            assert_eq!(name.parse(), Ok(key));
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_and_named() {
        for bad in ["", "pages", "fax_total", "total_mono", "mono_print", "print_", "_print", "print__mono", "TOTAL"] {
            let error = bad.parse::<MeterKey>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")), "{error}");
        }
    }

    fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
        proptest::sample::select(all)
    }

    proptest! {
        #[test]
        fn each_key_has_one_name_and_each_name_one_key(
            function in any_of(Function::ALL),
            size in any_of(Size::ALL),
            colour in any_of(Colour::ALL),
            sides in any_of(Sides::ALL),
            weight in any_of(Weight::ALL),
            scope in any_of(Scope::ALL),
        ) {
            let key = MeterKey { function, size, colour, sides, weight, scope };
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }
    }
}
