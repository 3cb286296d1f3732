//! A tiny agent for tests: a UDP socket on a loopback address and a closure that writes the answers, byte by byte and
//! with none of the client's encoder, so that it can lie as devices lie.

use super::codec::ber::{self, Reader};
use super::codec::varbinds::tests::wire;
use super::{Asks, Client, ClientConfig, Credentials, Oid, Session, Timing};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What an agent reads of a v1 or v2c request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) version: i64,
    pub(super) community: Vec<u8>,
    pub(super) tag: u8,
    pub(super) id: i32,
    /// error-status, or non-repeaters.
    pub(super) first: i64,
    /// error-index, or max-repetitions.
    pub(super) second: i64,
    pub(super) oids: Vec<Oid>,
}

impl Asked {
    pub(super) fn read(datagram: &[u8]) -> Self {
        let mut message = Reader::new(Reader::new(datagram).expect(0x30).unwrap());
        let version = message.integer().unwrap();
        let community = message.expect(4).unwrap().to_vec();
        let (tag, pdu) = message.element().unwrap();
        let mut pdu = Reader::new(pdu);
        let id = i32::try_from(pdu.integer().unwrap()).unwrap();
        let (first, second) = (pdu.integer().unwrap(), pdu.integer().unwrap());
        let mut list = Reader::new(pdu.expect(0x30).unwrap());
        let mut oids = Vec::new();
        while !list.is_empty() {
            let mut binding = Reader::new(list.expect(0x30).unwrap());
            oids.push(ber::object_id(binding.expect(6).unwrap()).unwrap());
            assert_eq!(binding.expect(5).unwrap(), b"", "a name is asked for with NULL");
        }
        Self { version, community, tag, id, first, second, oids }
    }

    /// A response to this request.
    pub(super) fn response(&self, status: u8, index: u8, bindings: &[(Oid, u8, &[u8])]) -> Vec<u8> {
        self.response_with_id(self.id, status, index, bindings)
    }

    pub(super) fn response_with_id(&self, id: i32, status: u8, index: u8, bindings: &[(Oid, u8, &[u8])]) -> Vec<u8> {
        let mut pdu = Vec::new();
        ber::push(&mut pdu, 2, &id.to_be_bytes());
        ber::push(&mut pdu, 2, &[status]);
        ber::push(&mut pdu, 2, &[index]);
        ber::push(&mut pdu, 0x30, &wire(bindings));
        let mut message = Vec::new();
        ber::push(&mut message, 2, &[u8::try_from(self.version).unwrap()]);
        ber::push(&mut message, 4, &self.community);
        ber::push(&mut message, 0xa2, &pdu);
        let mut datagram = Vec::new();
        ber::push(&mut datagram, 0x30, &message);
        datagram
    }
}

/// An agent that lives as long as this does.
pub(super) struct Agent {
    pub(super) address: SocketAddr,
    pub(super) heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Agent {
    /// Answers each datagram with what `answer` makes of it; it is told how many came before.
    pub(super) async fn start(answer: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer).await
    }

    pub(super) async fn start_at(
        address: &str,
        mut answer: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            let mut count = 0;
            while let Ok((length, source)) = socket.recv_from(&mut buffer).await {
                log.lock().unwrap().push(buffer[..length].to_vec());
                for datagram in answer(count, &buffer[..length]) {
                    socket.send_to(&datagram, source).await.unwrap();
                }
                count += 1;
            }
        });
        Self { address, heard, task }
    }

    /// An agent of v1 or v2c.
    pub(super) async fn answering(mut answer: impl FnMut(usize, Asked) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start(move |count, datagram| answer(count, Asked::read(datagram))).await
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.heard.lock().unwrap().iter().map(|datagram| Asked::read(datagram)).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client without pacing, as loopback needs none.
pub(super) fn client() -> Client {
    Client::open(ClientConfig { packets_per_second: None, asks: Asks::AllButDenied, ..ClientConfig::default() })
        .unwrap()
}

/// Short waits, for agents that are meant to be silent.
pub(super) fn impatient() -> Timing {
    Timing { timeout: Duration::from_millis(30), retries: 1 }
}

/// Long waits, for agents that answer: a slow machine must not make a test fail.
pub(super) fn patient() -> Timing {
    Timing { timeout: Duration::from_secs(10), retries: 1 }
}

pub(super) fn v1() -> Credentials {
    Credentials::V1 { community: "public".into() }
}

pub(super) fn v2c() -> Credentials {
    Credentials::V2c { community: "public".into() }
}

pub(super) fn session(agent: &Agent, credentials: Credentials) -> Session {
    client().session(agent.address, credentials, patient())
}
