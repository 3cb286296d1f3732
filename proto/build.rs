//! Generates the Rust of `proto/platen/v1` with protox, so that no `protoc` is needed, and the list of the vendor profiles
//! in `src/printer/profiles`, so that a new file there needs no line of Rust.

use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/platen/v1/agent.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_CLOUD").is_some())
        .compile_fds(files)?;
    list_profiles()
}

/// Writes `BUILT_IN`: the name and the text of each profile, in alphabetical order.
fn list_profiles() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("src/printer/profiles");
    println!("cargo::rerun-if-changed=src/printer/profiles");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?.iter().map(|it| it.path()).collect();
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
