//! Factory reset: what the box forgets, and what it keeps.

use std::io;
use std::path::Path;

use super::RECORD;

/// What stays: whose box this is (the record says that a reset is under way until it is done), and the floor of the clock.
const KEPT: [&str; 2] = [RECORD, "clock.json"];

/// Forgets everything in the data folder but the record of enrolment and the floor of the clock. May be begun again at any point.
///
/// # Errors
/// When something cannot be removed: the record still says that the reset is under way.
pub fn wipe(data_dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(data_dir)? {
        let entry = entry?;
        if KEPT.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
