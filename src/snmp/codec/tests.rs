//! The codec against itself and against hostile bytes. Its peer tests, against net-snmp, are in tests/snmp_peers.rs.

use super::varbinds::tests::wire;
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
            engine.forge(snmp2::MessageType::Report, id, 3, 1000, &stats)
        }
        None => {
            let value = wire(&[(oid!(1, 3, 6, 1, 2, 1, 1, 3, 0), 2, &[5])]);
            engine.forge(snmp2::MessageType::Response, id, 3, 1000, &value)
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
    peer.forge(snmp2::MessageType::Response, id, boots, time, &wire(bindings))
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
    let plain = super::tests::peer(None, None).forge(snmp2::MessageType::Response, 7, 3, 1000, &wire(bindings));
    assert_eq!(peer.decode(&plain, &[7], now), Decoded::Ignored("it is not signed, and this user's answers are"));
    let signed = super::tests::peer(Some(AuthAlgorithm::Sha1), None).forge(
        snmp2::MessageType::Response,
        7,
        3,
        1000,
        &wire(bindings),
    );
    assert_eq!(peer.decode(&signed, &[7], now), Decoded::Ignored("it is not encrypted, and this user's answers are"));
    assert!(!peer.has_answered());
    assert!(matches!(peer.decode(&good, &[7], now), Decoded::Response(_)));
    assert_eq!(peer.decode(&good, &[8], now), Decoded::Ignored("it answers another request"));
}

#[test]
fn a_spoofed_clock_does_not_lock_a_printer_out() {
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
    let spoofed = peer(None, None).forge(snmp2::MessageType::Report, 7, far, 5, &report);
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
fn a_clock_outside_its_range_is_refused_and_does_not_overflow() {
    let peer = peer(None, None);
    let good = peer.forge(snmp2::MessageType::Response, 7, 3, 0x0102_0304, &[]);
    let place = good.windows(6).position(|w| w == [2, 4, 1, 2, 3, 4]).unwrap();
    for time in [[0x80, 0, 0, 0], [0xff, 0xff, 0xff, 0xff]] {
        let mut bad = good.clone();
        bad[place + 2..place + 6].copy_from_slice(&time);
        assert!(matches!(peer.decode(&bad, &[7], Instant::now()), Decoded::Unreadable(_)));
    }
}

#[test]
fn what_follows_a_message_is_cut_off() {
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
fn each_usm_report_has_its_name() {
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
        let report = sender.forge(snmp2::MessageType::Report, 7, 3, 1000, &stats);
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
    let report = sender.forge(snmp2::MessageType::Report, 7, 9, 77, &stats);
    let Decoded::Report(report) = peer.decode(&report, &[7], now) else { panic!("no report") };
    assert_eq!((report.reason, report.authenticated), (UsmReport::NotInTimeWindow, true));
    assert_eq!((peer.as_discovered(now).boots, peer.as_discovered(now).time), (9, 77));
}

#[test]
fn a_strange_value_in_a_v3_answer_does_not_lose_the_rest() {
    let peer = peer(None, None);
    let raw = wire(&[(oid!(1, 3, 1), 2, &[1]), (oid!(1, 3, 2), 0x42, &[2]), (oid!(1, 3, 3), 2, &[3])]);
    let mut answer = peer.forge(snmp2::MessageType::Response, 7, 3, 1000, &raw);
    let place = answer.windows(3).position(|w| w == [0x42, 1, 2]).unwrap();
    answer[place] = 0x47;
    let Decoded::Response(response) = peer.decode(&answer, &[7], Instant::now()) else { panic!("no response") };
    let values: Vec<_> = response.bindings.list.into_iter().map(|binding| binding.value).collect();
    assert_eq!(values, [Value::Integer(1), Value::Gauge32(2), Value::Integer(3)]);
}

#[test]
fn an_agent_that_announces_huge_messages_gets_a_reason_and_not_a_crash() {
    let now = Instant::now();
    let signed = peer(Some(AuthAlgorithm::Sha1), None);
    let plain = peer(None, None);
    let bindings: &[(Oid, u8, &[u8])] = &[(oid!(1, 3, 1), 2, &[42])];
    for peer in [&signed, &plain] {
        let mut answer = signed_answer(peer, 7, 3, 1000, bindings);
        // 65,507 is written in three octets: 0x00ffe3. One more octet value makes it 65,535.
        let place = answer.windows(5).position(|w| w == [2, 3, 0, 0xff, 0xe3]).unwrap();
        answer[place + 4] = 0xff;
        let decoded = peer.decode(&answer, &[7], now);
        if Arc::ptr_eq(peer, &plain) {
            assert!(matches!(decoded, Decoded::Response(_)), "no signature, no codec, no limit");
        } else {
            let Decoded::Unreadable(why) = decoded else { panic!("{decoded:?}") };
            assert!(why.contains("65535"), "{why}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_mutation_of_an_answer_makes_the_decoder_panic(
        which in 0usize..4, changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(), report in any::<bool>(),
    ) {
        let bindings: &[(Oid, u8, &[u8])] = &[(oid!(1, 3, 1), 2, &[42]), (oid!(1, 3, 2), 4, b"text")];
        let kind = if report { snmp2::MessageType::Report } else { snmp2::MessageType::Response };
        let mut bytes = PEERS.with(|peers| peers[which].forge(kind, 7, 3, 1000, &wire(bindings)));
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        decode_in_every_way(&bytes, &[7]);
        decode_in_every_way(&bytes[..cut.index(bytes.len())], &[7]);
    }
}
