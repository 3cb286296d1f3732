//! The list of vendor profiles, for the room `printer`.

use std::path::Path;

#[path = "../../proto/list_profiles.rs"]
mod list_profiles;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    list_profiles::list_profiles(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/printer/profiles"))
}
