//! The vendored crate is the published one plus its patches, and nothing else: whoever reads the patches has read all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn vendored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/snmp2")
}

/// Name and contents of every source file in a folder.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The vendored sources with the patches taken off again, the last one first.
fn without_patches() -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    for (name, text) in sources(&vendored().join("src")) {
        fs::write(folder.path().join("src").join(name), text).unwrap();
    }
    let patches: Vec<String> = sources(&vendored().join("patches")).into_keys().collect();
    assert!(!patches.is_empty());
    for name in patches.iter().rev() {
        let patch = vendored().join("patches").join(name);
        let output = Command::new("git").args(["apply", "--reverse"]).arg(patch).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{name} is not in the source: {}", String::from_utf8_lossy(&output.stderr));
    }
    sources(&folder.path().join("src"))
}

#[test]
fn the_vendored_source_is_the_published_one_and_its_patches() {
    let found = without_patches();
    let sums = fs::read_to_string(vendored().join("published.sha256")).unwrap();
    assert_eq!(sums.lines().count(), found.len());
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        let text = &found[path.strip_prefix("src/").unwrap()];
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let hex: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, sum, "{path} without the patches is not what was published");
    }
}

#[test]
fn where_the_published_source_is_here_it_is_the_same() {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let published = registries.into_iter().flatten().map(|entry| entry.unwrap().path().join("snmp2-0.5.3/src"));
    let Some(published) = published.into_iter().find(|folder| folder.is_dir()) else {
        eprintln!("SKIPPED: the published snmp2 0.5.3 is not on this machine");
        return;
    };
    assert_eq!(without_patches(), sources(&published));
}
