//! The folder of the identity: what it keeps, and whom it helps.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, Issuer, KeyPair};
use ring::signature::Ed25519KeyPair;

use super::*;
use crate::proto::{signed, v1};
use crate::uplink::CloudKey;

/// Signs certificates, and what stands above them.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    cloud: Ed25519KeyPair,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let root = CertificateParams::new(vec!["root".to_owned()]).unwrap();
        let root_pem = root.self_signed(&key).unwrap().pem();
        let cloud = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        Self { issuer: Issuer::new(root, key), root_pem, cloud }
    }

    fn certificate(&self, key: &KeyPair) -> rcgen::Certificate {
        CertificateParams::new(vec!["box".to_owned()]).unwrap().signed_by(key, &self.issuer).unwrap()
    }

    fn key(&self) -> CloudKey {
        use ring::signature::KeyPair as _;
        CloudKey::from_bytes(self.cloud.public_key().as_ref().try_into().unwrap())
    }

    /// The answer to a request.
    fn enrolled(&self, key: &OperationalKey, change: impl FnOnce(&mut v1::Enrolled)) -> v1::Enrolled {
        let key = KeyPair::from_pem(&key.pem()).unwrap();
        let mut enrolled = v1::Enrolled {
            box_id: "box-1".to_owned(),
            certificate_chain: vec![self.certificate(&key).der().to_vec()],
            generation: 3,
            tenant: "acme".to_owned(),
            unlock_secret: vec![9; 32],
            renew_after_unix_ms: 5_000,
            ..v1::Enrolled::default()
        };
        change(&mut enrolled);
        enrolled.signature = self.cloud.sign(&signed::enrolled(b"nonce", &enrolled)).as_ref().to_vec();
        enrolled
    }

    /// What a box makes of an answer.
    fn taken(
        &self,
        previous: Option<&Credential>,
        change: impl FnOnce(&mut v1::Enrolled),
    ) -> Result<Credential, EnrollError> {
        let (_, key) = IdentityFolder::new_request().unwrap();
        let enrolled = self.enrolled(&key, change);
        Credential::from_enrolled(&enrolled, b"nonce", key, &self.key(), previous)
    }

    /// The certificate to a folder's request by files.
    fn sign(&self, data: &Path) -> String {
        let pem = std::fs::read_to_string(data.join("identity/request.key")).unwrap();
        self.certificate(&KeyPair::from_pem(&pem).unwrap()).pem()
    }
}

fn folder(data: &Path) -> IdentityFolder {
    IdentityFolder::in_data_dir(data)
}

fn seal_file(at: &Path, name: &str) -> PathBuf {
    let path = at.join(name);
    std::fs::write(&path, format!("0123456789abcdef {name}")).unwrap();
    path
}

fn files(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let all = std::fs::read_dir(data.join("identity")).unwrap().map(|entry| entry.unwrap().path());
    all.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|part| part == what)
}

#[test]
fn the_key_is_private_and_stays_the_same_for_every_request() {
    let data = tempfile::tempdir().unwrap();
    assert!(folder(data.path()).request().unwrap().contains("BEGIN CERTIFICATE REQUEST"));
    let key = files(data.path());
    folder(data.path()).request().unwrap();
    folder(data.path()).make_bound_key().unwrap();
    assert!(files(data.path()).contains(&key[0]));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.path().join("identity")), 0o700);
    assert!(files(data.path()).iter().all(|(path, _)| mode(path) == 0o600));
}

#[test]
fn an_installed_answer_is_an_identity() {
    let (data, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let folder = folder(data.path());
    assert!(matches!(folder.load(), Err(EnrollError::NotEnrolled { .. })));
    folder.request().unwrap();
    let certificate = authority.sign(data.path());
    folder.install("box-1", &certificate, &authority.root_pem).unwrap();
    folder.install("box-1", &certificate, &authority.root_pem).unwrap();
    assert_eq!(folder.load().unwrap().box_id, "box-1");
    let current = folder.current().unwrap().unwrap();
    assert_eq!((current.generation, &*current.tenant), (1, ""));
    assert!(current.validity.until_unix_ms > current.validity.from_unix_ms);
    assert!(!data.path().join("identity/request.key").exists());
}

#[test]
fn somebody_elses_certificate_is_not_installed() {
    let (data, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (mine, other) = (data.path().join("mine"), data.path().join("other"));
    folder(&mine).request().unwrap();
    folder(&other).request().unwrap();
    let certificate = authority.sign(&other);
    let mine = folder(&mine);
    assert!(matches!(mine.install("box-1", &certificate, &authority.root_pem), Err(EnrollError::Unusable(_))));
    assert!(matches!(mine.load(), Err(EnrollError::NotEnrolled { .. })));
    assert!(matches!(mine.install("a/b", &certificate, &authority.root_pem), Err(EnrollError::Unusable(_))));
}

#[test]
fn the_bound_key_is_made_once_and_signs() {
    let data = tempfile::tempdir().unwrap();
    let folder = folder(data.path());
    assert!(folder.bound_key().unwrap().is_none());
    folder.make_bound_key().unwrap();
    let public = folder.bound_key().unwrap().unwrap().public();
    folder.make_bound_key().unwrap();
    let key = folder.bound_key().unwrap().unwrap();
    assert_eq!(key.public(), public);
    assert!(CloudKey::from_bytes(public).has_signed(b"this", &key.sign(b"this")));
    assert_eq!(format!("{key:?}"), "BoundKey(…)");
    std::fs::write(data.path().join("identity/bound.key"), b"torn").unwrap();
    assert!(folder.make_bound_key().is_err(), "a damaged key was replaced");
}

#[test]
fn the_next_certificate_takes_the_place_of_the_current_in_one_step_or_goes() {
    let (data, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let seal = seal_file(data.path(), "seal");
    for seal in [None, Some(&*seal)] {
        let folder = folder(data.path()).sealed_by(seal).unwrap();
        assert!(folder.promote_next().is_err());
        folder.keep_next(&authority.taken(None, |_| ()).unwrap()).unwrap();
        assert_eq!(folder.found().unwrap().next.as_deref(), Some("acme"));
        assert_eq!(folder.promote_next().unwrap().generation, 3);
        folder.keep_next(&authority.taken(None, |enrolled| enrolled.generation = 4).unwrap()).unwrap();
        for _ in 0..2 {
            folder.discard_next().unwrap();
        }
        let found = folder.found().unwrap();
        assert_eq!((found.bound, found.next), (false, None));
        let current = folder.current().unwrap().unwrap();
        assert_eq!((current.generation, current.unlock_secret.len()), (3, 32));
        assert_eq!((Some(current.validity), current.validity.renew_unix_ms), (found.current, 5_000));
        assert_eq!(format!("{current:?}"), "Credential(box-1, generation 3, …)");
        assert!(is_good_in_tls(&folder, &authority));
    }
}

/// Whether what is read back is as good in TLS as what was kept.
fn is_good_in_tls(folder: &IdentityFolder, authority: &Authority) -> bool {
    folder.keep_roots(authority.root_pem.as_bytes()).unwrap();
    crate::uplink::TlsSettings::new(&folder.load().unwrap().tls).is_ok()
}

#[test]
fn only_the_clouds_own_answer_to_this_very_request_is_taken() {
    let authority = Authority::new();
    let (_, key) = IdentityFolder::new_request().unwrap();
    let good = authority.enrolled(&key, |_| ());
    let take = |enrolled: &v1::Enrolled, nonce: &[u8], cloud_key: CloudKey| {
        let (_, other) = IdentityFolder::new_request().unwrap();
        Credential::from_enrolled(enrolled, nonce, other, &cloud_key, None).unwrap_err().to_string()
    };
    assert!(take(&good, b"nonce", authority.key()).contains("private key"), "the certificate is another key's");
    assert!(take(&good, b"other", authority.key()).contains("signed"));
    assert!(take(&good, b"nonce", CloudKey::from_bytes([1; 32])).contains("signed"));
    assert!(
        take(&v1::Enrolled { tenant: "evil".to_owned(), ..good.clone() }, b"nonce", authority.key()).contains("signed")
    );
    assert!(Credential::from_enrolled(&good, b"nonce", key, &authority.key(), None).is_ok());
    let changes: [fn(&mut v1::Enrolled); 7] = [
        |e| e.box_id = "a/b".to_owned(),
        |e| e.tenant = String::new(),
        |e| e.tenant = "a b".to_owned(),
        |e| e.tenant = "a".repeat(65),
        |e| e.generation = 0,
        |e| e.unlock_secret = vec![1; 31],
        |e| e.certificate_chain.clear(),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert!(authority.taken(None, change).is_err(), "{at}");
    }
}

#[test]
fn a_renewal_keeps_the_unlock_secret_and_is_for_the_same_box() {
    let authority = Authority::new();
    let first = authority.taken(None, |_| ()).unwrap();
    let second = authority.taken(Some(&first), |enrolled| enrolled.unlock_secret.clear()).unwrap();
    assert_eq!(second.unlock_secret, first.unlock_secret);
    assert!(authority.taken(Some(&first), |enrolled| enrolled.box_id = "box-2".to_owned()).is_err());
}

#[test]
fn sealed_secrets_are_not_in_the_files_and_are_worth_nothing_on_another_board() {
    let (data, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (seal, other) = (seal_file(data.path(), "seal"), seal_file(data.path(), "other"));
    let canary = b"CANARY-UNLOCK-SECRET-0123456789!";
    let credential = authority.taken(None, |enrolled| enrolled.unlock_secret = canary.to_vec()).unwrap();
    let key_line = credential.key_pem.lines().nth(1).unwrap().to_owned();
    let in_base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, canary);
    let canaries: [&[u8]; 5] = [canary, in_base64.as_bytes(), key_line.as_bytes(), b"PRIVATE KEY", b"box-1"];

    let open = folder(data.path());
    open.make_bound_key().unwrap();
    open.request().unwrap();
    open.keep_next(&credential).unwrap();
    open.promote_next().unwrap();
    open.keep_next(&credential).unwrap();
    assert!(canaries[1..].iter().all(|canary| files(data.path()).iter().any(|(_, bytes)| holds(bytes, canary))));
    let public = open.bound_key().unwrap().unwrap().public();

    let sealed = open.clone().sealed_by(Some(&seal)).unwrap();
    assert_eq!(sealed.bound_key().unwrap().unwrap().public(), public, "what lay open is still read");
    sealed.request().unwrap();
    assert!(sealed.found().unwrap().current.is_some());
    let all = files(data.path());
    assert_eq!(all.len(), 4);
    for (path, bytes) in &all {
        assert!(super::seal::is_sealed(bytes), "{} lies open", path.display());
        assert!(!canaries.iter().any(|canary| holds(bytes, canary)), "{}", path.display());
    }

    for stranger in [open.clone(), open.sealed_by(Some(&other)).unwrap()] {
        let errors = [
            stranger.bound_key().map(|_| ()).unwrap_err(),
            stranger.make_bound_key().unwrap_err(),
            stranger.current().map(|_| ()).unwrap_err(),
            stranger.request().map(|_| ()).unwrap_err(),
            stranger.promote_next().map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, EnrollError::Sealed { .. }), "{error}");
            assert!(error.to_string().contains("give the seal file of that board"), "{error}");
        }
    }
    assert_eq!(files(data.path()), all, "a stranger has changed something");
    assert_eq!(sealed.promote_next().unwrap().unlock_secret.as_slice(), canary);
    assert!(folder(data.path()).sealed_by(Some(&data.path().join("missing"))).is_err());
}
