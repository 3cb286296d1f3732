//! Tables: the cells of some columns, by row; and what two numbers of a row say about an amount.

use std::collections::BTreeMap;

use super::text::Charset;
use crate::snmp::{Oid, Value};

/// The rows of a table, by index.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub rows: BTreeMap<Vec<u32>, Row>,
    charset: Charset,
}

/// The cells of one row, by column.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Row {
    cells: BTreeMap<u32, Value>,
    charset: Charset,
}

impl Table {
    pub(super) fn new(charset: Charset) -> Self {
        Self { rows: BTreeMap::new(), charset }
    }

    /// Adds cells of the table whose entry object is `entry`.
    pub(super) fn add(&mut self, entry: &Oid, cells: impl IntoIterator<Item = (Oid, Value)>) {
        for (oid, value) in cells {
            if let Some([column, index @ ..]) = oid.suffix_of(entry)
                && value.is_present()
            {
                let empty = || Row { cells: BTreeMap::new(), charset: self.charset };
                self.rows.entry(index.to_vec()).or_insert_with(empty).cells.insert(*column, value);
            }
        }
    }
}

impl Row {
    pub(super) fn value(&self, column: u32) -> Option<&Value> {
        self.cells.get(&column)
    }

    pub(super) fn number(&self, column: u32) -> Option<i64> {
        self.value(column).and_then(Value::as_i64)
    }

    pub(super) fn text(&self, column: u32) -> Option<String> {
        self.value(column).and_then(|value| self.charset.of_value(value))
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

    #[test]
    fn a_cell_outside_of_the_table_is_none() {
        let entry: Oid = "1.3.6.1.2.1.43.8.2.1".parse().unwrap();
        let mut table = Table::default();
        let cell = |oid: &str| (oid.parse().unwrap(), Value::Integer(1));
        table.add(&entry, [cell("1.3.6.1.2.1.43.8.2.1.9.1.2"), cell("1.3.6.1.2.1.43.9.2.1.9.1.2"), cell("1.3")]);
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[&vec![1, 2]].number(9), Some(1));
    }
}
