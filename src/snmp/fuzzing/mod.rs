//! What the fuzz targets of this room run (`tests/fuzz`), and what the instruction counts count (`tests/bench/codec`).
//! In no firmware: only with the feature `fuzzing`, and in tests, which replay the kept inputs.
//!
//! Each target takes the fuzzer's bytes, makes of them what a device might send ([`message`], [`v3`]), and looks at what
//! the codec makes of that. It panics when the codec does, or breaks a promise:
//!
//! - nothing is taken over from a message that its user's key has not signed, octet for octet;
//! - what an honest agent writes is read as it was meant;
//! - whatever came before, the next genuine answer is read.

mod element;
mod message;
pub mod operations;
mod v3;

use super::codec::{CommunityVersion, Decoded, Message, Peer, Report, Request, id_of};
use super::{AuthAlgorithm, Oid, PrivacyAlgorithm, Recording, Secret, UsmReport, UsmUser, Value};
use arbitrary::{Result, Unstructured};
use message::{IDS, REPORT, RESPONSE, Said};
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A user of each level and kind of algorithm.
const USERS: [(Option<AuthAlgorithm>, Option<PrivacyAlgorithm>); 6] = [
    (None, None),
    (Some(AuthAlgorithm::Sha1), None),
    (Some(AuthAlgorithm::Md5), Some(PrivacyAlgorithm::Des)),
    (Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128)),
    (Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128)),
    (Some(AuthAlgorithm::Sha512), Some(PrivacyAlgorithm::Aes256)),
];

/// A user's keys, and those of somebody with the same name.
struct Keys {
    ours: Peer,
    stranger: Peer,
}

thread_local! {
    /// Keys are dear to make: each is made once, when first used.
    static KEYS: [OnceCell<Keys>; USERS.len()] = const { [const { OnceCell::new() }; USERS.len()] };
    static NOW: Instant = Instant::now();
}

fn discovered() -> Report {
    let engine_id = v3::ENGINE.to_vec();
    Report { reason: UsmReport::UnknownEngineId, engine_id, boots: 3, time: 1000, authenticated: false }
}

#[allow(clippy::expect_used)] // names and passwords are constants of this file
fn keys_of((auth, privacy): (Option<AuthAlgorithm>, Option<PrivacyAlgorithm>), password: &str) -> Peer {
    let auth = auth.map(|algorithm| (algorithm, Secret::from(password)));
    let privacy = privacy.map(|algorithm| (algorithm, Secret::from(password)));
    let user = UsmUser::new(v3::USER, auth, privacy, "").expect("a name and passwords that are long enough");
    Peer::new(&user, &discovered(), NOW.with(|now| *now)).expect("an engine id of the right length")
}

/// Runs `with` with one user's keys, of which nothing has been asked yet.
fn with_keys<T>(which: usize, with: impl FnOnce(&Arc<Peer>, &Peer) -> T) -> T {
    KEYS.with(|all| {
        let which = which % USERS.len();
        let keys = all[which].get_or_init(|| Keys {
            ours: keys_of(USERS[which], "our own password"),
            stranger: keys_of(USERS[which], "another password"),
        });
        with(&Arc::new(keys.ours.anew(&discovered(), NOW.with(|now| *now))), &keys.stranger)
    })
}

/// Any bytes at all, read in every way there is.
pub fn datagram(bytes: &[u8]) {
    let now = NOW.with(|now| *now);
    // Whatever id is in it is waited for.
    let ids = [IDS[0], id_of(bytes).unwrap_or(IDS[1])];
    for version in [CommunityVersion::V1, CommunityVersion::V2c] {
        let _ = asked_of(version).decode(bytes, &ids, now);
    }
    discovery(bytes, &ids);
    for which in 0..USERS.len() {
        with_keys(which, |peer, _| {
            let trusted = is_trusted(&asked_by(peer).decode(bytes, &ids, now));
            assert!(!trusted || !peer.is_signed(), "nobody has signed it");
        });
    }
}

/// Messages of v1 and v2c that are nearly right, and requests that we write.
pub fn community(bytes: &[u8]) {
    let _ = try_community(&mut Unstructured::new(bytes));
}

/// SNMPv3 messages that are nearly right, one after the other to the same user.
pub fn usm(bytes: &[u8]) {
    let _ = try_usm(&mut Unstructured::new(bytes));
}

fn asked_by(peer: &Arc<Peer>) -> Message {
    Message::Usm { peer: peer.clone(), request: Request::Get(Vec::new()) }
}

fn asked_of(version: CommunityVersion) -> Message {
    Message::Community { version, community: "public".into(), request: Request::Get(Vec::new()) }
}

fn is_trusted(decoded: &Decoded) -> bool {
    matches!(decoded, Decoded::Response(_) | Decoded::Report(Report { authenticated: true, .. }))
}

/// What is read of any datagram as the answer to the question for an engine id, and whether a session can go on with it.
fn discovery(bytes: &[u8], ids: &[i32]) {
    let now = NOW.with(|now| *now);
    match Message::Discovery.decode(bytes, ids, now) {
        Decoded::Report(report) => {
            assert!(!report.authenticated, "a discovery has no key");
            let user = UsmUser::new(v3::USER, None, None, "").map(|user| Peer::new(&user, &report, now));
            assert!(user.is_ok_and(|peer| peer.is_ok() == (1..=64).contains(&report.engine_id.len())));
        }
        other => assert!(!is_trusted(&other), "a discovery has no response"),
    }
}

fn try_community(u: &mut Unstructured<'_>) -> Result<()> {
    let now = NOW.with(|now| *now);
    write_request(u)?;
    let (datagram, version, said, honest) = message::community(u)?;
    for (asked, number) in [(CommunityVersion::V1, 0), (CommunityVersion::V2c, 1)] {
        let decoded = asked_of(asked).decode(&datagram, &IDS, now);
        if honest && (0..=1).contains(&version) {
            assert_eq!(id_of(&datagram).ok(), i32::try_from(said.id).ok());
            if number == version {
                is_as_meant(&said, &decoded, false);
            } else {
                assert!(matches!(decoded, Decoded::Ignored(_) | Decoded::Unreadable(_)), "{decoded:?}");
            }
        }
    }
    discovery(&datagram, &IDS);
    with_keys(0, |peer, _| drop(asked_by(peer).decode(&datagram, &IDS, now)));
    Ok(())
}

/// What we ask can be written or is refused, and is nothing but a question.
fn write_request(u: &mut Unstructured<'_>) -> Result<()> {
    let mut oids = Vec::new();
    for _ in 0..u.int_in_range(0..=24u8)? {
        oids.extend(Oid::new(&message::arcs(u)?));
    }
    let (request, tag) = match u.int_in_range(0..=2u8)? {
        0 => (Request::Get(oids), 0xa0),
        1 => (Request::GetNext(oids), 0xa1),
        _ => (Request::GetBulk { oids, non_repeaters: u.arbitrary()?, max_repetitions: u.arbitrary()? }, 0xa5),
    };
    let id = u.arbitrary()?;
    let now = NOW.with(|now| *now);
    for version in [CommunityVersion::V1, CommunityVersion::V2c] {
        let message = Message::Community { version, community: "public".into(), request: request.clone() };
        if let Ok(datagram) = message.encode(id, now) {
            assert_eq!(id_of(&datagram), Ok(id));
            assert!(datagram.windows(2).any(|pair| pair[0] == tag));
            // Whoever answers by sending it back has not answered.
            assert!(!is_trusted(&message.decode(&datagram, &[id], now)));
        }
    }
    with_keys(0, |peer, _| {
        let message = Message::Usm { peer: peer.clone(), request: request.clone() };
        if let Ok(datagram) = message.encode(id, now) {
            assert_eq!(id_of(&datagram), Ok(id));
            assert!(!is_trusted(&message.decode(&datagram, &[id], now)));
        }
    });
    Ok(())
}

fn is_as_meant(said: &Said, decoded: &Decoded, signed: bool) {
    let (status, is_answer) = (u32::try_from(said.status).ok(), said.tag == RESPONSE && said.is_for_us());
    match (decoded, status) {
        (Decoded::Response(response), Some(error_status)) if is_answer => {
            assert_eq!(response.error_status, error_status);
            assert_eq!(response.error_index, u32::try_from(said.index).unwrap_or(0));
            if let Some(meant) = &said.bindings {
                assert_eq!((&response.bindings.list, response.bindings.unreadable), (meant, 0));
            }
        }
        (Decoded::Report(report), Some(_)) if said.tag == REPORT => assert_eq!(report.authenticated, signed),
        (Decoded::Unreadable(_), None) => {}
        // What is no answer, and no report of v3, need not even be read.
        (Decoded::Ignored(_) | Decoded::Unreadable(_), _) if !(is_answer || signed && said.tag == REPORT) => {}
        _ => panic!("{said:?} was read as {decoded:?}"),
    }
}

fn try_usm(u: &mut Unstructured<'_>) -> Result<()> {
    let which = u.int_in_range(0..=USERS.len() - 1)?;
    with_keys(which, |peer, stranger| {
        let mut now = NOW.with(|now| *now);
        for _ in 0..u.int_in_range(1..=3u8)? {
            let sent = v3::message(u, peer, stranger, now)?;
            receive(peer, &sent, now);
            discovery(&sent.datagram, &IDS);
            now += Duration::from_secs(if element::rarely(u, 4)? { u.arbitrary::<u32>()?.into() } else { 1 });
        }
        still_works(peer, now);
        Ok(())
    })
}

/// Nothing is taken from a datagram that is not, to its last octet, what the user's key has signed.
fn receive(peer: &Arc<Peer>, sent: &v3::Sent, now: Instant) {
    let before = (peer.as_discovered(now), peer.has_answered());
    let decoded = asked_by(peer).decode(&sent.datagram, &IDS, now);
    let after = peer.as_discovered(now);
    assert!(after.boots <= i32::MAX as u32 && after.time <= i32::MAX as u32, "{after:?}");
    if peer.is_signed() {
        let signed = sent.signed.as_ref().is_some_and(|signed| sent.datagram.starts_with(signed));
        assert!(signed || !is_trusted(&decoded), "it is not signed with the user's key: {decoded:?}");
    } else {
        assert!(!matches!(decoded, Decoded::Report(Report { authenticated: true, .. })), "there is no key");
    }
    let is_hint = matches!(&decoded, Decoded::Report(report) if report.reason == UsmReport::NotInTimeWindow);
    if !is_trusted(&decoded) && (before.1 || !is_hint) {
        assert_eq!((after, peer.has_answered()), before, "{decoded:?}");
    }
    if let Some(said) = &sent.meant {
        is_as_meant(said, &decoded, peer.is_signed());
    }
}

/// The next request leaves, and its answer is read.
fn still_works(peer: &Arc<Peer>, now: Instant) {
    let clock = peer.as_discovered(now);
    let answer = peer.forge(RESPONSE, IDS[0], clock.boots, clock.time, &[]);
    let decoded = asked_by(peer).decode(&answer, &IDS, now);
    assert!(matches!(decoded, Decoded::Response(_)), "{clock:?}: {decoded:?}");
    assert!(asked_by(peer).encode(IDS[0], now).is_ok_and(|datagram| id_of(&datagram) == Ok(IDS[0])));
}

/// A recording: whatever can be read of it can be written and read again, and is found where it says it is.
pub fn recording(bytes: &[u8]) {
    let Ok(recording) = Recording::parse(bytes) else { return };
    assert!(!recording.is_empty());
    let mut text = Vec::new();
    let mut last: Option<&Oid> = None;
    for (oid, value) in recording.iter() {
        assert!(last.is_none_or(|last| last < oid));
        assert_eq!(recording.value(oid), Some(value));
        if let Some(last) = last {
            assert_eq!(recording.next_after(last), Some((oid, value)));
        }
        text.extend(line(oid, value).into_bytes());
        last = Some(oid);
    }
    let again = Recording::parse(&text).map(|again| again.iter().eq(recording.iter()));
    assert_eq!(again, Ok(true), "{}", String::from_utf8_lossy(&text));
}

/// The line of one object.
fn line(oid: &Oid, value: &Value) -> String {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        Value::Integer(number) => format!("{oid}|2|{number}\n"),
        Value::OctetString(bytes) => format!("{oid}|4x|{}\n", hexadecimal(bytes)),
        Value::ObjectId(other) => format!("{oid}|6|{other}\n"),
        Value::IpAddress(address) => format!("{oid}|64|{address}\n"),
        Value::Counter32(number) => format!("{oid}|65|{number}\n"),
        Value::Gauge32(number) => format!("{oid}|66|{number}\n"),
        Value::TimeTicks(number) => format!("{oid}|67|{number}\n"),
        Value::Opaque(bytes) => format!("{oid}|68x|{}\n", hexadecimal(bytes)),
        Value::Counter64(number) => format!("{oid}|70|{number}\n"),
        Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => format!("{oid}|5|\n"),
    }
}

/// Runs a target with each input that was kept of it, in `tests/fuzz/corpus`.
#[cfg(test)]
pub(crate) fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 10, "there are but {} inputs in {}", inputs.len(), folder.display());
    for input in inputs {
        // Told only where it fails.
        println!("{}", input.display());
        run(&std::fs::read(&input).unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_inputs_of_datagram_hold() {
        replay("datagram", datagram);
    }

    #[test]
    fn the_kept_inputs_of_community_hold() {
        replay("community", community);
    }

    #[test]
    fn the_kept_inputs_of_usm_hold() {
        replay("usm", usm);
    }

    #[test]
    fn the_kept_inputs_of_recording_hold() {
        replay("recording", recording);
    }
}
