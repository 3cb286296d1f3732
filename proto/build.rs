//! Generates the Rust of `proto/platen/v1` with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/platen/v1/agent.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_CLOUD").is_some())
        .compile_fds(files)?;
    Ok(())
}
