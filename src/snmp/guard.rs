//! What is never asked for. On some devices reading is not harmless: Epson printers carry commands below an object, and a
//! GET of the wrong instance resets a counter. The check stands in front of every request, whoever makes it.

use super::Oid;

/// Subtrees that no request may name or step into, with the reason.
const FORBIDDEN: &[(&[u32], &str)] =
    &[(&[1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44], "Epson: GETs in this subtree are commands that change the device")];

fn is_inside(oid: &Oid, root: &[u32]) -> bool {
    oid.arcs().starts_with(root)
}

/// Why a GET of these instances is refused, if it is.
pub(super) fn against_get(oids: &[Oid]) -> Option<&'static str> {
    FORBIDDEN.iter().find(|(root, _)| oids.iter().any(|oid| is_inside(oid, root))).map(|(_, reason)| *reason)
}

/// Why a step from these objects on is refused, if it is: the agent chooses where a GETNEXT or GETBULK ends, so none may
/// start in a forbidden subtree, or at the vendor's objects right before it, from where one answer could reach into it.
pub(super) fn against_step(oids: &[Oid]) -> Option<&'static str> {
    FORBIDDEN
        .iter()
        .find(|(root, _)| {
            let before = root.split_last().map(|(_, parent)| parent).unwrap_or_default();
            oids.iter()
                .any(|oid| is_inside(oid, root) || root.starts_with(oid.arcs()) || just_before(oid, before, root))
        })
        .map(|(_, reason)| *reason)
}

/// Whether `oid` lies in the same parent and precedes the forbidden subtree by one arc only.
fn just_before(oid: &Oid, parent: &[u32], root: &[u32]) -> bool {
    match (oid.arcs().strip_prefix(parent).and_then(|rest| rest.first()), root.last()) {
        (Some(&arc), Some(&forbidden)) => arc + 1 == forbidden,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oid;

    #[test]
    fn the_forbidden_subtree_is_neither_read_nor_stepped_into() {
        let inside = oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 44, 1, 1, 2, 1);
        assert!(against_get(std::slice::from_ref(&inside)).is_some());
        for start in [inside, oid!(1, 3, 6, 1, 4, 1), oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 43, 9)] {
            assert!(against_step(&[start]).is_some());
        }
    }

    #[test]
    fn printers_are_read_as_usual() {
        let usual = [oid!(1, 3, 6, 1, 2, 1, 43, 11), oid!(1, 3, 6, 1, 4, 1, 1248, 1, 2, 2, 2, 1, 1)];
        assert!(against_get(&usual).is_none() && against_step(&usual).is_none());
    }
}
