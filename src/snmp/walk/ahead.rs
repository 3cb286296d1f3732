//! Foretelling the names that come next, so that one GETNEXT can ask behind several of them.
//!
//! A table is laid out column by column, and each column mostly has the rows of the one before. So the names of the
//! next rows can be guessed. A guess is never believed: an answer counts only where the name asked is the name that the
//! device itself gave just before ([`chain`]), so nothing can be missed, however wrong the guesses are.

use crate::snmp::codec::varbinds::name_bytes;
use crate::snmp::limits::{MAX_OIDS_PER_REQUEST, MAX_REQUEST_BYTES};
use crate::snmp::{Oid, Value, VarBind};
use std::cmp::Ordering;
use std::ops::Range;

/// The last column that was seen to its end; a scalar, or a row of a list, is a column of one.
#[derive(Debug, Clone)]
struct Pattern {
    /// Where in the names the column's number stands; what follows it is the index.
    depth: usize,
    /// Which of the walk's rows make the column.
    rows: Range<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Ahead {
    pattern: Option<Pattern>,
    /// How many guessed names to ask for besides the one that is known.
    guesses: usize,
    /// How many of the walk's rows were looked at.
    learned: usize,
    /// Behind this name the device has nothing, as SNMPv1 says it: by spoiling the whole answer.
    ceiling: Option<Oid>,
}

impl Ahead {
    /// What to ask behind: the position, and guesses up to so many names in all.
    pub(super) fn names(&self, position: Oid, root: &Oid, found: &[VarBind], most: usize) -> Vec<Oid> {
        let mut bytes = name_bytes(&position);
        let mut names = vec![position];
        while names.len() < most.min(self.guesses + 1) {
            let Some(next) = names.last().and_then(|name| self.guess(name, found)) else { break };
            bytes += name_bytes(&next);
            let is_beyond = self.ceiling.as_ref().is_some_and(|ceiling| next >= *ceiling);
            if is_beyond || bytes > MAX_REQUEST_BYTES || !next.starts_with(root) {
                break;
            }
            names.push(next);
        }
        names
    }

    /// The name that most likely comes behind this one.
    pub(super) fn guess(&self, name: &Oid, found: &[VarBind]) -> Option<Oid> {
        let Pattern { depth, rows } = self.pattern.as_ref()?;
        let column = found.get(rows.clone())?;
        let (table, rest) = name.arcs().split_at_checked(*depth)?;
        let (number, index) = rest.split_first()?;
        if column.first()?.oid.arcs().get(..*depth)? != table {
            return None;
        }
        let index_of = |row: &VarBind| row.oid.arcs().get(depth + 1..).unwrap_or_default().to_vec();
        let next = column.partition_point(|row| row.oid.arcs().get(depth + 1..).unwrap_or_default() <= index);
        let (number, index) = match column.get(next) {
            Some(row) => (*number, index_of(row)),
            None => (number.checked_add(1)?, index_of(column.first()?)),
        };
        // A name of 128 arcs has nothing behind it that could be guessed.
        Oid::new(&[table, &[number], &index].concat())
    }

    /// Whether the pattern has a row with this name's index, in another column.
    fn fits(&self, name: &Oid, found: &[VarBind]) -> bool {
        let Some(Pattern { depth, rows }) = &self.pattern else { return false };
        let Some(column) = found.get(rows.clone()) else { return false };
        let same_table = column.first().is_some_and(|row| row.oid.arcs().get(..*depth) == name.arcs().get(..*depth));
        let index = name.arcs().get(depth + 1..);
        same_table
            && index.is_some()
            && column.binary_search_by(|row| row.oid.arcs().get(depth + 1..).cmp(&index)).is_ok()
    }

    /// Learns from what came to so many names, of which so many led on without a break.
    pub(super) fn learn(&mut self, asked: usize, taken: usize, found: &[VarBind]) {
        self.guesses = match (asked, taken.cmp(&asked)) {
            (2.., Ordering::Less) if taken >= 2 => taken,
            (2.., Ordering::Less) => self.guesses / 2,
            (2.., _) => (self.guesses * 2).min(MAX_OIDS_PER_REQUEST),
            _ => self.guesses,
        };
        while self.learned < found.len() {
            let last = self.learned.checked_sub(1).and_then(|last| found.get(last));
            if let (Some(last), Some(row)) = (last, found.get(self.learned)) {
                self.look_at(&last.oid, &row.oid, found);
            }
            self.learned += 1;
        }
    }

    /// One name after the other: as guessed, or the end of a column, or something new.
    fn look_at(&mut self, last: &Oid, name: &Oid, found: &[VarBind]) {
        if self.guess(last, found).as_ref() == Some(name) {
            self.guesses = self.guesses.max(1);
            return;
        }
        if self.fits(name, found) {
            return;
        }
        let depth = last.arcs().iter().zip(name.arcs()).take_while(|(one, other)| one == other).count();
        let (Some(column), Some(before)) = (last.arcs().get(..=depth), found.get(..self.learned)) else { return };
        let start = before.partition_point(|row| row.oid.arcs() < column);
        let Some(first) = before.get(start) else { return };
        if first.oid.arcs().len() == name.arcs().len() {
            self.pattern = Some(Pattern { depth, rows: start..self.learned });
            self.guesses = (self.learned - start).min(MAX_OIDS_PER_REQUEST);
        }
    }

    /// The device has nothing behind this name.
    pub(super) fn nothing_behind(&mut self, name: Oid) {
        if self.ceiling.as_ref().is_none_or(|ceiling| name < *ceiling) {
            self.ceiling = Some(name);
        }
    }
}

/// What an answer to GETNEXT of these names brings without a gap: the answer to the first name, and each further one
/// whose name asked is the name answered in the place before. `None` if the answer contradicts itself, so that this
/// device cannot be asked for several names.
pub(super) fn chain(names: &[Oid], mut bindings: Vec<VarBind>) -> Option<Vec<VarBind>> {
    bindings.truncate(names.len());
    let is_end = |binding: &VarBind| binding.value == Value::EndOfMibView;
    if names.len() > 1 {
        // The names asked increase, so do those answered; the end comes last.
        let forward = names.iter().zip(&bindings).all(|(name, binding)| is_end(binding) || binding.oid > *name);
        let in_order = bindings.windows(2).all(|pair| match pair {
            [one, other] => is_end(other) || (!is_end(one) && one.oid <= other.oid),
            _ => true,
        });
        if bindings.len() < names.len() || !forward || !in_order {
            return None;
        }
    }
    let linked = bindings.iter().zip(names.iter().skip(1)).take_while(|(before, asked)| before.oid == **asked).count();
    bindings.truncate(linked + 1);
    Some(bindings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;

    fn row(oid: Oid) -> VarBind {
        VarBind { oid, value: Value::Integer(1) }
    }

    #[test]
    fn only_what_the_device_itself_links_is_taken() {
        let names = [oid!(1, 3, 1), oid!(1, 3, 2), oid!(1, 3, 3)];
        let all = vec![row(oid!(1, 3, 2)), row(oid!(1, 3, 3)), row(oid!(1, 3, 4))];
        assert_eq!(chain(&names, all.clone()), Some(all));
        let gap = vec![row(oid!(1, 3, 1, 5)), row(oid!(1, 3, 3)), row(oid!(1, 3, 4))];
        assert_eq!(chain(&names, gap.clone()), Some(gap[..1].to_vec()));
        let shuffled = vec![row(oid!(1, 3, 3)), row(oid!(1, 3, 2)), row(oid!(1, 3, 4))];
        assert_eq!(chain(&names, shuffled), None);
        assert_eq!(chain(&names, vec![row(oid!(1, 3, 2))]), None, "short");
    }

    #[test]
    fn a_column_foretells_the_next() {
        let cell = |column, index| oid!(1, 3, 6).with(&[column, index]);
        let found: Vec<VarBind> =
            [(1, 1), (1, 4), (1, 9), (2, 1)].iter().map(|(column, index)| row(cell(*column, *index))).collect();
        let mut ahead = Ahead::default();
        ahead.learn(1, 1, &found);
        let names = ahead.names(cell(2, 1), &oid!(1, 3, 6), &found, 20);
        assert_eq!(names, [cell(2, 1), cell(2, 4), cell(2, 9), cell(3, 1)]);
        ahead.nothing_behind(cell(2, 9));
        assert_eq!(ahead.names(cell(2, 1), &oid!(1, 3, 6), &found, 20), [cell(2, 1), cell(2, 4)]);
        assert_eq!(ahead.names(cell(2, 1), &oid!(1, 3, 6), &found, 1), [cell(2, 1)]);
    }
}
