//! Generates the Rust of `proto/platen/v1` with protox, so that no `protoc` is needed, and the list of the vendor profiles
//! in `src/printer/profiles`, so that a new file there needs no line of Rust.

use std::path::Path;

mod list_profiles;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/platen/v1/agent.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_CLOUD").is_some())
        .compile_fds(files)?;
    list_profiles::list_profiles(&Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("src/printer/profiles"))
}
