//! The part of the build script that the room `printer` needs; also of the fuzz targets' build script (`tests/fuzz`).

use std::fmt::Write as _;
use std::path::Path;

/// Writes `BUILT_IN`: the name and the text of each profile, in alphabetical order.
///
/// # Errors
/// When a file cannot be read or written.
pub fn list_profiles(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?.iter().map(|it| it.path()).collect();
    files.sort();
    let mut list = String::from("const BUILT_IN: &[(&str, &str)] = &[\n");
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "toml")) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(list, "    ({name:?}, include_str!({:?})),", file.display().to_string())?;
    }
    list.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("profiles.rs"), list)?;
    Ok(())
}
