//! Vendor profiles that came after the firmware: `DATA/profiles/NAME.toml`, each with its signature `NAME.toml.sig` beside it.
//! They are data: a bad one is left out and told, and keeps nobody from being read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::printer::{ProfileKey, Profiles};
use crate::store::read_bounded;

/// Most profiles that are added: several times the makers there are.
const FILES_MAX: usize = 64;
/// Largest profile, and largest signature (64 bytes in hexadecimal and a line's end), in bytes.
const PROFILE_MAX_BYTES: usize = 256 * 1024;
const SIGNATURE_MAX_BYTES: usize = 130;

/// The built-in profiles, and those in the folder that carry a signature by the key. Without a key none is added.
pub(super) fn load(data_dir: &Path, key: Option<&ProfileKey>) -> Profiles {
    let mut profiles = Profiles::built_in();
    for file in files(&data_dir.join("profiles")) {
        let Some(key) = key else {
            tracing::warn!(file = %file.display(), "no key for profiles is configured ([profiles] key): it is not used");
            continue;
        };
        match add(&profiles, &file, key) {
            Ok(more) => {
                tracing::info!(file = %file.display(), "a signed profile is used");
                profiles = more;
            }
            Err(problem) => tracing::warn!(file = %file.display(), %problem, "a profile is left out"),
        }
    }
    profiles
}

/// The profiles in a folder, by name. A folder that is not there has none.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_profile = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_profile).collect();
    files.sort();
    if files.len() > FILES_MAX {
        tracing::warn!(folder = %folder.display(), most = FILES_MAX, "there are more profiles than are used");
        files.truncate(FILES_MAX);
    }
    files
}

fn add(profiles: &Profiles, file: &Path, key: &ProfileKey) -> Result<Profiles, String> {
    let signature_file = file.with_extension("toml.sig");
    let read = |path: &Path, most| read_bounded(path, most).map_err(|e| format!("{}: {e}", path.display()));
    let text = String::from_utf8(read(file, PROFILE_MAX_BYTES)?).map_err(|_| "it is no UTF-8 text".to_owned())?;
    let signature = from_hexadecimal(&read(&signature_file, SIGNATURE_MAX_BYTES)?)
        .ok_or_else(|| format!("{}: it is not 128 hexadecimal digits", signature_file.display()))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    profiles.with_signed(&name, &text, &signature, key).map_err(|e| e.to_string())
}

fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let is_whole = text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let pairs = || text.as_bytes().chunks_exact(2);
    is_whole.then(|| pairs().filter_map(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::{ReadOptions, read, signed_bytes};
    use crate::snmp::Recording;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const TEXT: &str = "vendor = \"Acme\"\n[recognise]\nsys_descr = [\"^ACME \"]\n";

    #[tokio::test]
    async fn a_signed_profile_in_the_data_folder_is_used_and_an_unsigned_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let profiles = folder.path().join("profiles");
        fs::create_dir(&profiles).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let key: ProfileKey = hexadecimal(pair.public_key().as_ref()).parse().unwrap();
        let recording = Recording::parse(b"1.3.6.1.2.1.1.1.0|4|ACME 1\n1.3.6.1.2.1.43.5.1.1.17.1|4|SN12345\n").unwrap();
        let vendor = async |key: Option<&ProfileKey>| {
            let options = ReadOptions { profiles: load(folder.path(), key), ..ReadOptions::default() };
            read(&recording, &options).await.unwrap().vendor
        };
        assert_eq!(vendor(Some(&key)).await, None);
        fs::write(profiles.join("acme.toml"), TEXT).unwrap();
        assert_eq!(vendor(Some(&key)).await, None, "not signed");
        let signature = pair.sign(&signed_bytes("acme", TEXT));
        fs::write(profiles.join("acme.toml.sig"), hexadecimal(signature.as_ref()) + "\n").unwrap();
        assert_eq!(vendor(Some(&key)).await.as_deref(), Some("Acme"));
        assert_eq!(vendor(None).await, None, "no key");
        fs::write(profiles.join("acme.toml"), TEXT.replace("Acme", "Evil")).unwrap();
        assert_eq!(vendor(Some(&key)).await, None, "changed");
    }
}
