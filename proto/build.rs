//! Generates the Rust of `proto/platen/v1` with protox, so that no `protoc` is needed, and the list of the vendor profiles
//! in `src/printer/profiles`, so that a new file there needs no line of Rust.

use std::path::Path;

use prost::Message;

mod list_profiles;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/platen/v1/agent.proto"], ["proto"])?;
    keep_names(files.clone())?;
    tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_CLOUD").is_some())
        .compile_fds(files)?;
    say_when();
    list_profiles::list_profiles(&Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("src/printer/profiles"))
}

/// The contract's names of messages and fields, without its comments, for `platen show-outgoing`.
fn keep_names(mut files: prost_types::FileDescriptorSet) -> Result<(), Box<dyn std::error::Error>> {
    for file in &mut files.file {
        file.source_code_info = None;
    }
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("platen.v1.descriptors"), files.encode_to_vec())?;
    Ok(())
}

/// When this was built, for the clock of a box that does not know the time: it was then or later. Set `SOURCE_DATE_EPOCH`
/// (seconds since 1970) to build the same bytes again.
fn say_when() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.trim().parse::<u64>().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rustc-env=PLATEN_BUILD_UNIX_S={}", given.unwrap_or_else(now));
}
