//! Object identifiers (X.660; limits of SMIv2, RFC 2578 §3.5: 128 arcs of 32 bits).

use smallvec::SmallVec;
use std::fmt;
use std::str::FromStr;

/// The most arcs an object identifier may have (RFC 2578 §3.5).
pub const MAX_ARCS: usize = 128;

/// An object identifier, ordered as an SNMP agent orders its objects (lexicographically by arcs).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(Arcs);

/// The arcs of nearly every object of a printer lie in place; longer ones take an allocation.
pub(super) type Arcs = SmallVec<[u32; 16]>;

/// Why a text or a list of arcs is no object identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// An arc is not a number from 0 to 4294967295.
    #[error("\"{0}\" is not an object identifier: write numbers joined by dots, for example 1.3.6.1.2.1.1.1.0")]
    NotNumeric(String),
    /// More arcs than SMIv2 allows.
    #[error("an object identifier has at most {MAX_ARCS} numbers, this one has {0}")]
    TooLong(usize),
}

impl Oid {
    /// Makes an object identifier of the given arcs; `None` when there are more than [`MAX_ARCS`].
    #[must_use]
    pub fn new(arcs: &[u32]) -> Option<Self> {
        (arcs.len() <= MAX_ARCS).then(|| Self(Arcs::from_slice(arcs)))
    }

    /// As [`new`](Self::new), of arcs that are there already.
    pub(super) fn of(arcs: Arcs) -> Option<Self> {
        (arcs.len() <= MAX_ARCS).then_some(Self(arcs))
    }

    /// The arcs, first to last.
    #[must_use]
    pub fn arcs(&self) -> &[u32] {
        &self.0
    }

    /// This object identifier with more arcs behind it (a column and its index, say).
    /// Arcs beyond [`MAX_ARCS`] are left off: such an object cannot exist, so asking for it finds nothing.
    #[must_use]
    pub fn with(&self, more: &[u32]) -> Self {
        let mut arcs = self.0.clone();
        arcs.extend_from_slice(more);
        arcs.truncate(MAX_ARCS);
        Self(arcs)
    }

    /// Whether this object lies in the subtree of `root` (`root` itself included).
    #[must_use]
    pub fn starts_with(&self, root: &Oid) -> bool {
        self.0.starts_with(&root.0)
    }

    /// What follows `root`: the index of a cell below its column. `None` outside of the subtree.
    #[must_use]
    pub fn suffix_of(&self, root: &Oid) -> Option<&[u32]> {
        self.arcs().strip_prefix(root.arcs())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arc) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            write!(f, "{arc}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

impl FromStr for Oid {
    type Err = OidError;

    /// Reads dotted numbers; a leading dot, as net-snmp prints it, is allowed.
    fn from_str(text: &str) -> Result<Self, OidError> {
        let dotted = text.strip_prefix('.').unwrap_or(text);
        let arcs = dotted
            .split('.')
            .map(|arc| arc.parse::<u32>().map_err(|_| OidError::NotNumeric(text.to_owned())))
            .collect::<Result<Arcs, _>>()?;
        if arcs.len() > MAX_ARCS {
            return Err(OidError::TooLong(arcs.len()));
        }
        Ok(Self(arcs))
    }
}

impl<'de> serde::Deserialize<'de> for Oid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Oid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes an [`Oid`] in place: `oid!(1, 3, 6, 1, 2, 1, 1)`. For lists far below [`MAX_ARCS`].
#[macro_export]
macro_rules! oid {
    ($($arc:expr),+ $(,)?) => {
        $crate::snmp::Oid::default().with(&[$($arc),+])
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_is_by_arcs_and_not_by_text() {
        let two: Oid = "1.3.2".parse().unwrap();
        let ten: Oid = "1.3.10".parse().unwrap();
        assert!(two < ten);
        assert!(two < two.with(&[0]));
    }

    #[test]
    fn a_suffix_is_only_given_inside_the_subtree() {
        let column = oid!(1, 3, 6);
        assert_eq!(oid!(1, 3, 6, 1, 1).suffix_of(&column), Some(&[1, 1][..]));
        assert_eq!(oid!(1, 3, 61).suffix_of(&column), None);
        assert!(!oid!(1, 3, 61).starts_with(&column));
    }

    #[test]
    fn bad_text_is_named_in_the_error() {
        for bad in ["", "1..3", "1.x", "1.4294967296", "sysDescr.0", "-1.3"] {
            let error = bad.parse::<Oid>().unwrap_err();
            assert_eq!(error, OidError::NotNumeric(bad.to_owned()));
        }
        let long = vec!["1"; MAX_ARCS + 1].join(".");
        assert_eq!(long.parse::<Oid>().unwrap_err(), OidError::TooLong(MAX_ARCS + 1));
    }

    proptest! {
        #[test]
        fn text_and_arcs_say_the_same(arcs in proptest::collection::vec(any::<u32>(), 1..=MAX_ARCS)) {
            let oid = Oid::new(&arcs).unwrap();
            prop_assert_eq!(oid.to_string().parse::<Oid>().unwrap(), oid);
        }
    }
}
