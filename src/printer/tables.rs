//! Tables: the cells of some columns, by row.

use std::collections::BTreeMap;

use crate::snmp::{ObjectSource, Oid, SnmpError, Value, WalkLimits};

/// The rows of a table: index → column → value.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub rows: BTreeMap<Vec<u32>, BTreeMap<u32, Value>>,
    /// Whether the device broke off in the middle of a column.
    pub incomplete: bool,
}

impl Table {
    /// Walks some columns of the table whose entry object is `entry`.
    pub(super) async fn read<S: ObjectSource>(source: &S, entry: &Oid, columns: &[u32]) -> Result<Self, SnmpError> {
        let mut table = Self::default();
        for &column in columns {
            let root = entry.with(&[column]);
            let walk = source.walk(&root, WalkLimits::default()).await?;
            table.incomplete |= !walk.end.is_complete();
            for varbind in walk.varbinds {
                if let Some(index) = varbind.oid.suffix_of(&root) {
                    table.rows.entry(index.to_vec()).or_default().insert(column, varbind.value);
                }
            }
        }
        Ok(table)
    }

    /// Walks the whole table at once: for tables of which nearly every column is wanted.
    pub(super) async fn read_whole<S: ObjectSource>(source: &S, entry: &Oid) -> Result<Self, SnmpError> {
        let walk = source.walk(entry, WalkLimits::default()).await?;
        let mut table = Self { incomplete: !walk.end.is_complete(), ..Self::default() };
        for varbind in walk.varbinds {
            if let Some([column, index @ ..]) = varbind.oid.suffix_of(entry) {
                table.rows.entry(index.to_vec()).or_default().insert(*column, varbind.value);
            }
        }
        Ok(table)
    }
}

/// An index as people write it: "1.4".
pub(super) fn index_text(index: &[u32]) -> String {
    index.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

/// ok, low, empty, some, unknown, unlimited; of two numbers that may be codes (RFC 3805: −1 no limit, −2 unknown, −3 some).
pub(super) fn state_of(level: Option<i64>, max: Option<i64>) -> &'static str {
    match (level, max) {
        (Some(-1), _) => "unlimited",
        (Some(-3), _) => "some",
        (Some(0), _) => "empty",
        (Some(level), Some(max)) if level > 0 && max > 0 => {
            if i128::from(level) * 10 <= i128::from(max) {
                "low"
            } else {
                "ok"
            }
        }
        (Some(level), _) if level > 0 => "some",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_states_and_never_amounts() {
        assert_eq!(state_of(Some(-3), Some(-2)), "some");
        assert_eq!(state_of(Some(-2), Some(100)), "unknown");
        assert_eq!(state_of(Some(-1), None), "unlimited");
        assert_eq!(state_of(None, Some(100)), "unknown");
        assert_eq!(state_of(Some(5), Some(-2)), "some");
        assert_eq!(state_of(Some(0), Some(100)), "empty");
        assert_eq!(state_of(Some(10), Some(100)), "low");
        assert_eq!(state_of(Some(11), Some(100)), "ok");
    }
}
