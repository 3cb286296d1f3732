//! The codec against itself and against hostile bytes. A test named `defect_N` is about the defect of that number in the
//! published crate `snmp2` ([`super::usm`] lists them). Its peer tests, against net-snmp, are in tests/snmp_peers.rs.

use super::varbinds::tests::wire;
use super::writer::{Envelope, Pdu};
use super::*;
use crate::oid;
use crate::snmp::testing::Asked;
use crate::snmp::{AuthAlgorithm, PrivacyAlgorithm, UsmUser, Value};
use proptest::prelude::*;
use std::time::Duration;

/// A response, or a report about the given arc of usmStats, as the engine would write it for a user without a
/// password: for the tests of the session.
pub(in crate::snmp) fn v3_answer(engine_id: &[u8], id: i32, report: Option<u32>) -> Vec<u8> {
    let found = Report { engine_id: engine_id.to_vec(), ..discovered(3, 1000) };
    let engine = Peer::new(&user(None, None), &found, Instant::now()).unwrap();
    match report {
        Some(arc) => {
            let stats = wire(&[(oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, arc, 0), 0x41, &[1])]);
            engine.forge(REPORT, id, 3, 1000, &stats)
        }
        None => {
            let value = wire(&[(oid!(1, 3, 6, 1, 2, 1, 1, 3, 0), 2, &[5])]);
            engine.forge(GET_RESPONSE, id, 3, 1000, &value)
        }
    }
}

const ENGINE: &[u8] = b"\x80\x00\x1f\x88\x04test";

fn name() -> impl Strategy<Value = Oid> {
    (0u32..40, proptest::collection::vec(any::<u32>(), 0..12)).prop_map(|(second, tail)| oid!(1, second).with(&tail))
}

fn any_request() -> impl Strategy<Value = Request> {
    let oids = proptest::collection::vec(name(), 0..5);
    (oids, 0u8..3, any::<u32>(), any::<u32>()).prop_map(|(oids, kind, non_repeaters, max_repetitions)| match kind {
        0 => Request::Get(oids),
        1 => Request::GetNext(oids),
        _ => Request::GetBulk { oids, non_repeaters, max_repetitions },
    })
}

fn discovered(boots: u32, time: u32) -> Report {
    Report { reason: UsmReport::UnknownEngineId, engine_id: ENGINE.to_vec(), boots, time, authenticated: false }
}

fn user(auth: Option<AuthAlgorithm>, privacy: Option<PrivacyAlgorithm>) -> UsmUser {
    UsmUser::new(
        "reader",
        auth.map(|algorithm| (algorithm, Secret::from("authpassword"))),
        privacy.map(|algorithm| (algorithm, Secret::from("privpassword"))),
        "",
    )
    .unwrap()
}

fn peer(auth: Option<AuthAlgorithm>, privacy: Option<PrivacyAlgorithm>) -> Arc<Peer> {
    Arc::new(Peer::new(&user(auth, privacy), &discovered(3, 1000), Instant::now()).unwrap())
}

/// The scoped PDU of a message that is not encrypted: tag and contents of its PDU.
fn v3_pdu(datagram: &[u8]) -> (u8, Vec<u8>) {
    let mut message = Reader::new(Reader::new(datagram).expect(0x30).unwrap());
    assert_eq!(message.integer(), Ok(3));
    message.element().unwrap();
    message.element().unwrap();
    let mut scoped = Reader::new(message.expect(0x30).unwrap());
    scoped.element().unwrap();
    scoped.element().unwrap();
    let (tag, content) = scoped.element().unwrap();
    (tag, content.to_vec())
}

proptest! {
    /// The invariant of this program: there is no SET (0xa3) in any version.
    #[test]
    fn nothing_but_get_getnext_and_getbulk_can_be_written(request in any_request(), id in 0x4000_0000..=i32::MAX) {
        let expected = match request {
            Request::Get(_) => 0xa0,
            Request::GetNext(_) => 0xa1,
            Request::GetBulk { .. } => 0xa5,
        };
        for version in [CommunityVersion::V1, CommunityVersion::V2c] {
            let message = Message::Community { version, community: "public".into(), request: request.clone() };
            match message.encode(id, Instant::now()) {
                Ok(datagram) => {
                    let asked = Asked::read(&datagram);
                    prop_assert_eq!(asked.tag, expected);
                    prop_assert_eq!(&asked.oids[..], request.oids());
                    prop_assert_eq!(asked.id, id);
                    prop_assert_eq!(id_of(&datagram), Ok(id));
                    prop_assert_eq!(asked.community, b"public");
                    if let Request::GetBulk { non_repeaters, max_repetitions, .. } = request {
                        prop_assert_eq!((asked.first, asked.second), (non_repeaters.into(), max_repetitions.into()));
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error, EncodeError::BulkInV1);
                    prop_assert_eq!((version, expected), (CommunityVersion::V1, 0xa5));
                }
            }
        }
        let message = Message::Usm { peer: peer(None, None), request };
        let datagram = message.encode(id, Instant::now()).unwrap();
        prop_assert_eq!(v3_pdu(&datagram).0, expected);
        prop_assert_eq!(id_of(&datagram), Ok(id));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        decode_in_every_way(&bytes, &[1, 2]);
    }
}

fn decode_in_every_way(bytes: &[u8], ids: &[i32]) {
    let _ = id_of(bytes);
    for version in [CommunityVersion::V1, CommunityVersion::V2c] {
        let message = Message::Community { version, community: "x".into(), request: Request::Get(vec![]) };
        let _ = message.decode(bytes, ids, Instant::now());
    }
    let _ = Message::Discovery.decode(bytes, ids, Instant::now());
    PEERS.with(|peers| {
        for peer in peers {
            let _ = peer.decode(bytes, ids, Instant::now());
        }
    });
}

thread_local! {
    /// Keys are dear to make.
    static PEERS: Vec<Arc<Peer>> = vec![
        peer(None, None),
        peer(Some(AuthAlgorithm::Md5), None),
        peer(Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128)),
        peer(Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Des)),
    ];
}

/// An authenticated answer as an agent with the same keys would write it. The crate writes requests for us; with the
/// message type and the values of an answer, the same function writes answers.
fn signed_answer(peer: &Peer, id: i32, boots: u32, time: u32, bindings: &[(Oid, u8, &[u8])]) -> Vec<u8> {
    peer.forge(GET_RESPONSE, id, boots, time, &wire(bindings))
}

#[test]
fn a_signed_and_encrypted_answer_is_read() {
    for (auth, privacy) in [
        (AuthAlgorithm::Md5, Some(PrivacyAlgorithm::Des)),
        (AuthAlgorithm::Sha1, Some(PrivacyAlgorithm::Aes128)),
        (AuthAlgorithm::Sha224, Some(PrivacyAlgorithm::Aes192)),
        (AuthAlgorithm::Sha256, Some(PrivacyAlgorithm::Aes256)),
        (AuthAlgorithm::Sha384, None),
        (AuthAlgorithm::Sha512, Some(PrivacyAlgorithm::Aes256Reeder)),
        (AuthAlgorithm::Sha1, Some(PrivacyAlgorithm::Aes256Reeder)),
    ] {
        let peer = peer(Some(auth), privacy);
        let answer = signed_answer(&peer, 7, 3, 1000, &[(oid!(1, 3, 1), 2, &[42])]);
        let Decoded::Response(response) = peer.decode(&answer, &[5, 7], Instant::now()) else {
            panic!("{auth} {privacy:?}");
        };
        assert_eq!(response.bindings.list, [crate::snmp::VarBind { oid: oid!(1, 3, 1), value: Value::Integer(42) }]);
        assert!(peer.has_answered());
    }
}

#[test]
fn an_answer_that_is_not_signed_with_the_users_key_is_not_taken() {
    let peer = peer(Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128));
    let now = Instant::now();
    let bindings: &[(Oid, u8, &[u8])] = &[(oid!(1, 3, 1), 2, &[42])];
    let good = signed_answer(&peer, 7, 3, 1000, bindings);
    // One bit anywhere spoils it.
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(
            !matches!(peer.decode(&bad, &[7], now), Decoded::Response(_)),
            "bit 0 of octet {place} may be turned unnoticed"
        );
    }
    // Nor is an unsigned one, nor one signed and not encrypted.
    let plain = super::tests::peer(None, None).forge(GET_RESPONSE, 7, 3, 1000, &wire(bindings));
    assert_eq!(peer.decode(&plain, &[7], now), Decoded::Ignored("it is not signed, and this user's answers are"));
    let signed = super::tests::peer(Some(AuthAlgorithm::Sha1), None).forge(GET_RESPONSE, 7, 3, 1000, &wire(bindings));
    assert_eq!(peer.decode(&signed, &[7], now), Decoded::Ignored("it is not encrypted, and this user's answers are"));
    assert!(!peer.has_answered());
    assert!(matches!(peer.decode(&good, &[7], now), Decoded::Response(_)));
    assert_eq!(peer.decode(&good, &[8], now), Decoded::Ignored("it answers another request"));
}

#[test]
fn defect_2_a_spoofed_clock_does_not_lock_a_printer_out() {
    let now = Instant::now();
    let ours = peer(Some(AuthAlgorithm::Sha1), None);
    let bindings: &[(Oid, u8, &[u8])] = &[(oid!(1, 3, 1), 2, &[42])];
    assert!(matches!(ours.decode(&signed_answer(&ours, 7, 3, 1000, bindings), &[7], now), Decoded::Response(_)));
    // Signed with another password, of the far future; and not signed at all.
    let stranger = Peer::new(
        &UsmUser::new("reader", Some((AuthAlgorithm::Sha1, "another password".into())), None, "").unwrap(),
        &discovered(3, 1000),
        now,
    )
    .unwrap();
    let far = i32::MAX as u32;
    let spoofed = signed_answer(&stranger, 7, far, 5, bindings);
    assert!(!matches!(ours.decode(&spoofed, &[7], now), Decoded::Response(_)));
    let report = wire(&[(oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, 2, 0), 0x41, &[1])]);
    let spoofed = peer(None, None).forge(REPORT, 7, far, 5, &report);
    assert!(matches!(
        ours.decode(&spoofed, &[7], now),
        Decoded::Report(Report { reason: UsmReport::NotInTimeWindow, authenticated: false, .. })
    ));
    // The next genuine answer is still taken, and the next request still bears the right time.
    let later = now + Duration::from_secs(300);
    assert!(matches!(ours.decode(&signed_answer(&ours, 8, 3, 1300, bindings), &[8], later), Decoded::Response(_)));
    assert_eq!((ours.as_discovered(later).boots, ours.as_discovered(later).time), (3, 1300));
}

#[test]
fn defect_9_a_clock_outside_its_range_is_refused_and_does_not_overflow() {
    let peer = peer(None, None);
    let good = peer.forge(GET_RESPONSE, 7, 3, 0x0102_0304, &[]);
    let place = good.windows(6).position(|w| w == [2, 4, 1, 2, 3, 4]).unwrap();
    for time in [[0x80, 0, 0, 0], [0xff, 0xff, 0xff, 0xff]] {
        let mut bad = good.clone();
        bad[place + 2..place + 6].copy_from_slice(&time);
        assert!(matches!(peer.decode(&bad, &[7], Instant::now()), Decoded::Unreadable(_)));
    }
}

#[test]
fn defect_12_what_follows_a_message_is_cut_off() {
    for (auth, privacy) in
        [(None, None), (Some(AuthAlgorithm::Sha1), None), (Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128))]
    {
        let peer = peer(auth, privacy);
        let mut answer = signed_answer(&peer, 7, 3, 1000, &[(oid!(1, 3, 1), 2, &[42])]);
        answer.extend_from_slice(b"\0\0trailing");
        assert!(matches!(peer.decode(&answer, &[7], Instant::now()), Decoded::Response(_)), "{auth:?}");
    }
}

#[test]
fn defect_12_msg_id_and_request_id_are_both_compared() {
    for (auth, privacy) in LEVELS {
        let peer = peer(auth, privacy);
        for (msg_id, request_id, taken) in [(7, 7, true), (7, 5, true), (7, 8, false), (8, 7, false)] {
            let bindings = wire(&[(oid!(1, 3, 1), 2, &[42])]);
            let scoped = Pdu::forged(GET_RESPONSE, request_id, 0, 0, &bindings).scoped(ENGINE, b"");
            let answer = peer.forge_with(peer.answer_envelope(msg_id, 3, 1000), scoped);
            let decoded = peer.decode(&answer, &[5, 7], Instant::now());
            assert_eq!(matches!(decoded, Decoded::Response(_)), taken, "{auth:?} {msg_id} {request_id}: {decoded:?}");
        }
    }
}

#[test]
fn an_old_answer_played_back_is_not_taken_and_a_rebooted_agent_is() {
    let now = Instant::now();
    let peer = peer(Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128));
    let bindings: &[(Oid, u8, &[u8])] = &[(oid!(1, 3, 1), 2, &[42])];
    assert!(matches!(peer.decode(&signed_answer(&peer, 7, 3, 1000, bindings), &[7], now), Decoded::Response(_)));
    let old = signed_answer(&peer, 8, 3, 800, bindings);
    assert_eq!(peer.decode(&old, &[8], now), Decoded::Ignored("it is older than 150 s"));
    let older = signed_answer(&peer, 8, 2, 9000, bindings);
    assert_eq!(peer.decode(&older, &[8], now), Decoded::Ignored("it is older than 150 s"));
    assert!(matches!(peer.decode(&signed_answer(&peer, 9, 4, 2, bindings), &[9], now), Decoded::Response(_)));
}

#[test]
fn defect_5_each_usm_report_has_its_name() {
    let now = Instant::now();
    let sender = peer(None, None);
    let listener = peer(Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128));
    for (arc, reason) in [
        (1, UsmReport::UnsupportedSecurityLevel),
        (2, UsmReport::NotInTimeWindow),
        (3, UsmReport::UnknownUser),
        (4, UsmReport::UnknownEngineId),
        (5, UsmReport::WrongDigest),
        (6, UsmReport::DecryptionError),
        (7, UsmReport::Other),
    ] {
        let stats = wire(&[(oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, arc, 0), 0x41, &[1])]);
        let report = sender.forge(REPORT, 7, 3, 1000, &stats);
        let Decoded::Report(report) = listener.decode(&report, &[7], now) else { panic!("{reason:?}") };
        assert_eq!((report.reason, report.authenticated), (reason, false));
    }
}

#[test]
fn a_signed_report_sets_the_clock_though_answers_are_encrypted() {
    let now = Instant::now();
    let peer = peer(Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128));
    let sender = super::tests::peer(Some(AuthAlgorithm::Sha1), None);
    let stats = wire(&[(oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, 2, 0), 0x41, &[1])]);
    let report = sender.forge(REPORT, 7, 9, 77, &stats);
    let Decoded::Report(report) = peer.decode(&report, &[7], now) else { panic!("no report") };
    assert_eq!((report.reason, report.authenticated), (UsmReport::NotInTimeWindow, true));
    assert_eq!((peer.as_discovered(now).boots, peer.as_discovered(now).time), (9, 77));
}

#[test]
fn defect_4_a_strange_value_in_a_v3_answer_does_not_lose_the_rest() {
    let peer = peer(None, None);
    let raw = wire(&[(oid!(1, 3, 1), 2, &[1]), (oid!(1, 3, 2), 0x42, &[2]), (oid!(1, 3, 3), 2, &[3])]);
    let mut answer = peer.forge(GET_RESPONSE, 7, 3, 1000, &raw);
    let place = answer.windows(3).position(|w| w == [0x42, 1, 2]).unwrap();
    answer[place] = 0x47;
    let Decoded::Response(response) = peer.decode(&answer, &[7], Instant::now()) else { panic!("no response") };
    let values: Vec<_> = response.bindings.list.into_iter().map(|binding| binding.value).collect();
    assert_eq!(values, [Value::Integer(1), Value::Gauge32(2), Value::Integer(3)]);
}

/// A user of each security level.
const LEVELS: [(Option<AuthAlgorithm>, Option<PrivacyAlgorithm>); 3] =
    [(None, None), (Some(AuthAlgorithm::Sha1), None), (Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes128))];

#[test]
fn defect_1_agents_that_announce_huge_messages_are_read() {
    let now = Instant::now();
    let bindings = wire(&[(oid!(1, 3, 1), 2, &[42])]);
    for (auth, privacy) in LEVELS {
        let peer = peer(auth, privacy);
        for max_size in [484, 65_507, 65_508, 65_535, i64::from(i32::MAX)] {
            let scoped = Pdu::forged(GET_RESPONSE, 7, 0, 0, &bindings).scoped(ENGINE, b"");
            let envelope = Envelope { max_size, ..peer.answer_envelope(7, 3, 1000) };
            let answer = peer.forge_with(envelope, scoped);
            assert!(matches!(peer.decode(&answer, &[7], now), Decoded::Response(_)), "{auth:?} {privacy:?} {max_size}");
        }
    }
}

#[test]
fn defect_2_no_unsigned_clock_locks_a_printer_out() {
    let now = Instant::now();
    let bindings = wire(&[(oid!(1, 3, 1), 2, &[42])]);
    let stats = wire(&[(oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, 2, 0), 0x41, &[1])]);
    for (auth, privacy) in LEVELS {
        let peer = peer(auth, privacy);
        assert!(matches!(
            peer.decode(&peer.forge(GET_RESPONSE, 7, 3, 1000, &bindings), &[7], now),
            Decoded::Response(_)
        ));
        let before = peer.as_discovered(now);
        for boots in [4, i64::from(i32::MAX), i64::from(i32::MAX) + 1, i64::MAX, -1, i64::MIN] {
            for time in [0, i64::from(i32::MAX), i64::MAX, i64::MIN] {
                // Unsigned; and with a flag that claims a signature, where there are zeros.
                for flags in [0, 1, 3] {
                    let signature = if flags == 0 { 0 } else { 12 };
                    let envelope = Envelope { boots, time, flags, signature, ..peer.answer_envelope(7, 3, 1000) };
                    let scoped = Pdu::forged(REPORT, 7, 0, 0, &stats).scoped(ENGINE, b"");
                    let (spoofed, _) = envelope.write(&scoped, flags & 2 != 0);
                    let decoded = peer.decode(&spoofed, &[7], now);
                    let trusted = matches!(decoded, Decoded::Response(_))
                        || matches!(decoded, Decoded::Report(Report { authenticated: true, .. }));
                    assert!(!trusted, "{auth:?} {boots} {time} {flags}: {decoded:?}");
                }
            }
        }
        // A user without a password believes the clock of anybody, and needs none: its requests are answered anyway.
        if auth.is_some() {
            assert_eq!(peer.as_discovered(now), before);
        }
        let genuine = peer.forge(GET_RESPONSE, 8, 3, 1000, &bindings);
        assert!(matches!(peer.decode(&genuine, &[8], now), Decoded::Response(_)), "{auth:?}");
        assert!(Message::Usm { peer: peer.clone(), request: Request::Get(vec![]) }.encode(9, now).is_ok());
    }
}

#[test]
fn defect_2_a_spoofed_clock_before_the_first_answer_is_replaced_by_a_signed_one() {
    let now = Instant::now();
    for (auth, privacy) in &LEVELS[1..] {
        // Discovery itself was spoofed, and what came next, too.
        let far = discovered(i32::MAX as u32, i32::MAX as u32);
        let peer = Peer::new(&user(*auth, *privacy), &far, now).unwrap();
        let stats = wire(&[(oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, 2, 0), 0x41, &[1])]);
        let plain = super::tests::peer(None, None);
        assert!(matches!(
            peer.decode(&plain.forge(REPORT, 7, i32::MAX as u32, 0, &stats), &[7], now),
            Decoded::Report(Report { authenticated: false, .. })
        ));
        // The agent answers our wrong time with a signed report, and then our next request.
        let report = peer.forge(REPORT, 7, 3, 1000, &stats);
        assert!(matches!(
            peer.decode(&report, &[7], now),
            Decoded::Report(Report { reason: UsmReport::NotInTimeWindow, authenticated: true, .. })
        ));
        assert_eq!((peer.as_discovered(now).boots, peer.as_discovered(now).time), (3, 1000));
        let answer = peer.forge(GET_RESPONSE, 8, 3, 1000, &wire(&[(oid!(1, 3, 1), 2, &[42])]));
        assert!(matches!(peer.decode(&answer, &[8], now), Decoded::Response(_)));
    }
}

#[test]
fn defect_3_the_crate_does_not_write_into_what_it_reads() {
    for (auth, privacy) in LEVELS {
        let peer = peer(auth, privacy);
        let answer = peer.forge(GET_RESPONSE, 7, 3, 1000, &wire(&[(oid!(1, 3, 1), 2, &[42])]));
        let before = answer.clone();
        for _ in 0..2 {
            // The second time would fail, had the first one wiped the signature.
            assert!(matches!(peer.decode(&answer, &[7], Instant::now()), Decoded::Response(_)));
        }
        assert_eq!(answer, before);
    }
}

#[test]
fn defect_4_a_strange_value_does_not_lose_the_rest_at_any_level() {
    let odd: &[(Oid, u8, &[u8])] = &[
        (oid!(1, 3, 1), 2, &[1]),
        (oid!(1, 3, 2), 0x47, &[2]),
        (oid!(1, 3, 3), 0x45, &[3]),
        (oid!(1, 3, 4), 1, &[1]),
        (oid!(1, 3, 5), 2, &[]),
        (oid!(1, 3, 6), 2, &[0, 0, 0, 0, 0, 0, 0, 0, 9]),
        (oid!(1, 3, 7), 0x40, &[1, 2]),
        (oid!(1, 3, 8), 4, b"last"),
    ];
    let expected = varbinds::read(&wire(odd));
    assert_eq!((expected.list.len(), expected.unreadable), (odd.len(), 0));
    for (auth, privacy) in LEVELS {
        let peer = peer(auth, privacy);
        let answer = peer.forge(GET_RESPONSE, 7, 3, 1000, &wire(odd));
        let Decoded::Response(response) = peer.decode(&answer, &[7], Instant::now()) else { panic!("{auth:?}") };
        assert_eq!(response.bindings, expected, "{auth:?} {privacy:?}");
    }
}

#[test]
fn defect_4_an_error_index_below_zero_does_not_lose_an_answer_at_any_level() {
    for (auth, privacy) in LEVELS {
        let peer = peer(auth, privacy);
        let scoped = Pdu::forged(GET_RESPONSE, 7, 2, -1, &wire(&[(oid!(1, 3, 1), 2, &[42])])).scoped(ENGINE, b"");
        let answer = peer.forge_with(peer.answer_envelope(7, 3, 1000), scoped);
        let Decoded::Response(response) = peer.decode(&answer, &[7], Instant::now()) else { panic!("{auth:?}") };
        assert_eq!((response.error_status, response.error_index, response.bindings.list.len()), (2, 0, 1));
    }
}

#[test]
fn no_octet_of_a_signed_answer_may_change() {
    let now = Instant::now();
    for (auth, privacy) in &LEVELS[1..] {
        let peer = peer(*auth, *privacy);
        let answer = peer.forge(GET_RESPONSE, 7, 3, 1000, &wire(&[(oid!(1, 3, 1), 2, &[42])]));
        for place in 0..answer.len() {
            let mut changed = answer.clone();
            changed[place] ^= 1;
            let decoded = peer.decode(&changed, &[7], now);
            let trusted = matches!(decoded, Decoded::Response(_) | Decoded::Report(Report { authenticated: true, .. }));
            assert!(!trusted, "{auth:?} {privacy:?}, octet {place}: {decoded:?}");
        }
        assert!(matches!(peer.decode(&answer, &[7], now), Decoded::Response(_)));
    }
}

#[test]
fn defect_6_each_request_bears_the_agents_time_of_its_moment() {
    let now = Instant::now();
    for (auth, privacy) in &LEVELS[1..] {
        let peer = peer(*auth, *privacy);
        let answer = peer.forge(GET_RESPONSE, 7, 3, 1000, &wire(&[(oid!(1, 3, 1), 2, &[42])]));
        assert!(matches!(peer.decode(&answer, &[7], now), Decoded::Response(_)));
        let later = now + Duration::from_secs(300);
        let message = Message::Usm { peer: peer.clone(), request: Request::Get(vec![oid!(1, 3, 1)]) };
        let (_, boots, time) = v3_user_and_clock(&message.encode(8, later).unwrap());
        assert_eq!((boots, time), (3, 1300));
    }
}

#[test]
fn defect_7_silence_after_discovery_is_told_from_a_device_that_has_answered() {
    // A wrong privacy password looks like silence; the session asks this to say so.
    let peer = peer(Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128));
    assert!(!peer.has_answered());
    let answer = peer.forge(GET_RESPONSE, 7, 3, 1000, &wire(&[(oid!(1, 3, 1), 2, &[42])]));
    let other = Peer::new(
        &UsmUser::new(
            "reader",
            Some((AuthAlgorithm::Sha1, "authpassword".into())),
            Some((PrivacyAlgorithm::Aes128, "another password".into())),
            "",
        )
        .unwrap(),
        &discovered(3, 1000),
        Instant::now(),
    )
    .unwrap();
    assert!(matches!(other.decode(&answer, &[7], Instant::now()), Decoded::Unreadable(_)));
    assert!(!other.has_answered());
    assert!(matches!(peer.decode(&answer, &[7], Instant::now()), Decoded::Response(_)));
    assert!(peer.has_answered());
}

#[test]
fn defect_8_there_is_no_user_with_a_short_password() {
    for password in ["", "seven77"] {
        let auth = Some((AuthAlgorithm::Sha1, Secret::from(password)));
        assert!(UsmUser::new("reader", auth, None, "").is_err());
        let good = Some((AuthAlgorithm::Sha1, Secret::from("authpassword")));
        let privacy = Some((PrivacyAlgorithm::Aes128, Secret::from(password)));
        assert!(UsmUser::new("reader", good, privacy, "").is_err());
    }
}

#[test]
fn defect_10_a_request_too_long_is_refused_and_does_not_crash() {
    let request = Request::Get((0..5_000).map(|n| oid!(1, 3, 6, 1, 4, 1, n, u32::MAX)).collect());
    let now = Instant::now();
    for (auth, privacy) in LEVELS {
        let message = Message::Usm { peer: peer(auth, privacy), request: request.clone() };
        assert!(matches!(message.encode(7, now), Err(EncodeError::TooLong(_))));
    }
    let message = Message::Community { version: CommunityVersion::V2c, community: "x".into(), request };
    assert!(matches!(message.encode(7, now), Err(EncodeError::TooLong(_))));
}

// Defect 11, keys that are made from passwords for each engine, is met where engines are remembered:
// `sessions_that_need_an_engine_at_the_same_time_discover_it_once` and its neighbours in the tests of the session.

#[test]
fn defect_13_large_counters_are_read_and_values_are_never_written() {
    let counter: &[(Oid, u8, &[u8])] = &[
        (oid!(1, 3, 1), 0x46, &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (oid!(1, 3, 2), 0x46, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]),
    ];
    for (auth, privacy) in LEVELS {
        let peer = peer(auth, privacy);
        let answer = peer.forge(GET_RESPONSE, 7, 3, 1000, &wire(counter));
        let Decoded::Response(response) = peer.decode(&answer, &[7], Instant::now()) else { panic!("{auth:?}") };
        let values: Vec<_> = response.bindings.list.into_iter().map(|binding| binding.value).collect();
        assert_eq!(values, [Value::Counter64(u64::MAX), Value::Counter64(u64::MAX - 1)]);
    }
}

#[test]
fn an_agent_that_never_counts_its_boots_is_read_also_after_its_restart() {
    let now = Instant::now();
    for (auth, privacy) in LEVELS {
        let peer = Peer::new(&user(auth, privacy), &discovered(0, 5000), now).unwrap();
        let bindings = wire(&[(oid!(1, 3, 1), 2, &[42])]);
        let answer = |id, time| peer.forge(GET_RESPONSE, id, 0, time, &bindings);
        assert!(matches!(peer.decode(&answer(7, 5000), &[7], now), Decoded::Response(_)), "{auth:?} {privacy:?}");
        if auth.is_none() {
            continue;
        }
        // Played back: the time is older than the window.
        assert_eq!(peer.decode(&answer(8, 4000), &[8], now), Decoded::Ignored("it is older than 150 s"));
        // Restarted: it refuses our time, says its own under its signature, and is read again.
        let stats = wire(&[(oid!(1, 3, 6, 1, 6, 3, 15, 1, 1, 2, 0), 0x41, &[1])]);
        let report = peer.forge(REPORT, 9, 0, 12, &stats);
        assert!(matches!(
            peer.decode(&report, &[9], now),
            Decoded::Report(Report { reason: UsmReport::NotInTimeWindow, authenticated: true, boots: 0, time: 12, .. })
        ));
        assert!(matches!(peer.decode(&answer(10, 13), &[10], now), Decoded::Response(_)));
    }
}

/// The messages that we write are read by the crate, which has a reader of its own, as what they are.
#[test]
fn the_crate_reads_what_we_write() {
    let now = Instant::now();
    let request = Request::GetBulk {
        oids: vec![oid!(1, 3, 6, 1, 2, 1, 43), oid!(2, 999, 3)],
        non_repeaters: 1,
        max_repetitions: 25,
    };
    for (auth, privacy) in [
        (None, None),
        (Some(AuthAlgorithm::Md5), Some(PrivacyAlgorithm::Des)),
        (Some(AuthAlgorithm::Sha1), Some(PrivacyAlgorithm::Aes128)),
        (Some(AuthAlgorithm::Sha224), Some(PrivacyAlgorithm::Aes192)),
        (Some(AuthAlgorithm::Sha256), Some(PrivacyAlgorithm::Aes256)),
        (Some(AuthAlgorithm::Sha384), None),
        (Some(AuthAlgorithm::Sha512), Some(PrivacyAlgorithm::Aes256Reeder)),
    ] {
        let peer = peer(auth, privacy);
        let datagram = peer.encode(&request, 0x4711_0815, now).unwrap();
        peer.with_crate(&datagram, |pdu| {
            assert_eq!(pdu.message_type, snmp2::MessageType::GetBulkRequest, "{auth:?} {privacy:?}");
            assert_eq!((pdu.v3_msg_id, pdu.req_id, pdu.community), (0x4711_0815, 0x4711_0815, &b"reader"[..]));
            assert_eq!((pdu.error_status, pdu.error_index), (1, 25));
            let names: Vec<_> =
                pdu.varbinds.clone().map(|(name, _)| ber::object_id(name.as_bytes()).unwrap()).collect();
            assert_eq!(names, request.oids());
        });
    }
    for (version, number) in [(CommunityVersion::V1, 0), (CommunityVersion::V2c, 1)] {
        let request = Request::GetNext(vec![oid!(1, 3, 6), oid!(0, 39, u32::MAX)]);
        let datagram = community::encode(version, &"public".into(), &request, -5).unwrap();
        let pdu = snmp2::Pdu::from_bytes(&datagram).unwrap();
        assert_eq!((pdu.version().unwrap() as i64, pdu.community, pdu.req_id), (number, &b"public"[..], -5));
        assert_eq!(pdu.message_type, snmp2::MessageType::GetNextRequest);
        // What the crate writes itself is the same, octet for octet.
        assert_eq!(pdu.to_bytes().unwrap(), datagram);
    }
}

/// User, boots and time in the header of a message.
fn v3_user_and_clock(datagram: &[u8]) -> (Vec<u8>, i64, i64) {
    let mut message = Reader::new(Reader::new(datagram).expect(0x30).unwrap());
    message.element().unwrap();
    message.element().unwrap();
    let mut usm = Reader::new(Reader::new(message.expect(4).unwrap()).expect(0x30).unwrap());
    usm.element().unwrap();
    let (boots, time) = (usm.integer().unwrap(), usm.integer().unwrap());
    (usm.expect(4).unwrap().to_vec(), boots, time)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_mutation_of_an_answer_makes_the_decoder_panic(
        which in 0usize..4, changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(), report in any::<bool>(),
    ) {
        let bindings: &[(Oid, u8, &[u8])] = &[(oid!(1, 3, 1), 2, &[42]), (oid!(1, 3, 2), 4, b"text")];
        let kind = if report { REPORT } else { GET_RESPONSE };
        let mut bytes = PEERS.with(|peers| peers[which].forge(kind, 7, 3, 1000, &wire(bindings)));
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        decode_in_every_way(&bytes, &[7]);
        decode_in_every_way(&bytes[..cut.index(bytes.len())], &[7]);
    }
}
