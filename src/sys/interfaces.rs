//! Network interfaces: their names, and the numbers by which the kernel knows them. A number is the kernel's own and may be
//! another after a restart, so only names are kept and shown.

use nix::net::if_::{if_indextoname, if_nameindex, if_nametoindex};

/// Most names that are listed: for a sentence, not for a router.
const LISTED_MAX: usize = 16;

/// The number of this interface; `None` where there is no such interface.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    if_nametoindex(name).ok().filter(|index| *index != 0)
}

/// The name of the interface with this number; `None` where there is no such interface.
#[must_use]
pub fn interface_name(index: u32) -> Option<String> {
    // Where there is none, the call may come back without an error and without a name.
    if_indextoname(index).ok()?.into_string().ok().filter(|name| !name.is_empty())
}

/// The names of this machine's interfaces; the first sixteen of them.
#[must_use]
pub fn interface_names() -> Vec<String> {
    let Ok(all) = if_nameindex() else { return Vec::new() };
    all.iter().take(LISTED_MAX).map(|interface| interface.name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_known_by_name_and_number_and_others_are_not() {
        let index = interface_index("lo").unwrap();
        assert_eq!(interface_name(index).as_deref(), Some("lo"));
        assert!(interface_names().contains(&"lo".to_owned()));
        for nobody in ["", "nosuch0", "a/b", "lo\0"] {
            assert_eq!(interface_index(nobody), None, "{nobody:?}");
        }
        assert_eq!((interface_name(0), interface_name(u32::MAX)), (None, None));
    }
}
