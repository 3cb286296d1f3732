//! The way to the cloud, tried one layer after the other: what a technician's self-test asks. Nothing here changes anything in the
//! cloud or on the box, so it may run beside an agent.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::tap::quoted;
use super::verify::Purpose;
use super::wake::carry;
use super::way::{BOTH, HTTP1, WayMemory};
use super::{CloudSession, Dialer, Endpoint, UplinkError};
use crate::cause::{Cause, Trouble};
use crate::sys::Clock as _;

/// Longest that a relay may say before its version, in bytes (RFC 4253 §4.2: lines of text may come before it).
const BANNER_MAX_BYTES: usize = 4 * 1024;
/// MQTT's keep-alive of the one connection: longer than it lasts, in seconds.
const KEEP_ALIVE_S: u16 = 60;
/// PINGREQ, PINGRESP and DISCONNECT (MQTT 3.1.1 §3.12 to §3.14).
const PING: [u8; 2] = [0xc0, 0];
const PONG: [u8; 2] = [0xd0, 0];
const GOODBYE: [u8; 2] = [0xe0, 0];

/// What a TLS handshake found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// "TLS 1.3" or "TLS 1.2".
    pub version: &'static str,
    /// Whether the server chose HTTP/2.
    pub is_http2: bool,
    /// Chain and name hold, and the box's clock must be set first: why.
    pub clock_in_question: Option<String>,
}

/// What a first call found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// How it travelled: "h2" or "grpc-web".
    pub transport: &'static str,
    /// Why the cloud's word for the time is not believed, where it is not.
    pub time_doubt: Option<String>,
    /// By so much the cloud's word moved the clock, in milliseconds.
    pub clock_moved_ms: i64,
}

/// Tries the way of one dialer.
#[derive(Debug, Clone)]
pub struct Probe {
    dialer: Dialer,
}

impl Probe {
    /// Over this dialer.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer }
    }

    /// A TCP connection, through the proxy where there is one; says with whom.
    ///
    /// # Errors
    /// As [`Dialer::open_tcp`].
    pub async fn tcp(&self, endpoint: &Endpoint) -> Result<Option<SocketAddr>, UplinkError> {
        Ok(self.dialer.open_tcp(endpoint).await?.peer_addr().ok())
    }

    /// A TLS handshake, that offers HTTP/2 or does not. A certificate that only the box's clock speaks against is no fault yet.
    ///
    /// # Errors
    /// As [`Dialer::dial`].
    pub async fn tls(&self, endpoint: &Endpoint, http2: bool) -> Result<TlsFacts, UplinkError> {
        let offer = if http2 { BOTH } else { HTTP1 };
        let dial = async |purpose| self.dialer.dial_for(endpoint, offer, purpose).await;
        let (stream, clock_in_question) = match dial(Purpose::Calls).await {
            Err(error) if error.wants_the_time() && self.dialer.tls().time().is_some() => {
                (dial(Purpose::Time).await?, Some(error.trouble().detail))
            }
            other => (other?, None),
        };
        let tls = &stream.get_ref().1;
        let version = match tls.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        };
        Ok(TlsFacts { version, is_http2: tls.alpn_protocol() == Some(b"h2"), clock_in_question })
    }

    /// The first calls of a session: the signed time, and one that only a welcome box may make.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn hello(&self, endpoint: &Endpoint, http2: bool) -> Result<Hello, UplinkError> {
        let ways = if http2 { WayMemory::default() } else { WayMemory::only_http1() };
        let clock = self.dialer.tls().time().map(|time| time.clock().clone());
        // How far the wall clock is ahead of the one that never jumps.
        let ahead = || clock.as_ref().map_or(0, |clock| clock.wall_unix_ms().saturating_sub(clock.monotonic_ms()));
        let before = ahead();
        let mut session = CloudSession::open_by(&self.dialer, endpoint, &ways).await?;
        let time_doubt = session.hello().await?;
        let clock_moved_ms = i64::try_from(i128::from(ahead()) - i128::from(before)).unwrap_or(i64::MAX);
        Ok(Hello { transport: session.transport(), time_doubt, clock_moved_ms })
    }

    /// An MQTT connection and a ping over it. The broker takes it for the box's own, so the link of an agent that runs is closed,
    /// and comes back by itself.
    ///
    /// # Errors
    /// The cause by its name.
    pub async fn mqtt(&self, endpoint: &Endpoint, box_id: &str) -> Result<(), Trouble> {
        let (near, far) = UnixStream::pair().map_err(|e| Trouble::new(Cause::Storage, &e.to_string()))?;
        tokio::select! {
            // Why the way ended says more than that it did.
            biased;
            carried = carry(far, &self.dialer, endpoint) => {
                let closed = || UplinkError::broken(&endpoint.authority(), io::ErrorKind::UnexpectedEof.into());
                Err(carried.err().unwrap_or_else(closed).trouble())
            }
            talked = talk_mqtt(near, box_id) => talked,
        }
    }

    /// The first line of the relay, as it is: whoever shows it escapes it.
    ///
    /// # Errors
    /// As [`Dialer::open_tcp`]; or what answers in the relay's place.
    pub async fn ssh_banner(&self, endpoint: &Endpoint) -> Result<String, UplinkError> {
        let mut stream = self.dialer.open_tcp(endpoint).await?;
        let broken = |error| UplinkError::broken(&endpoint.authority(), error);
        let (mut said, mut begin) = (Vec::new(), 0);
        while said.len() < BANNER_MAX_BYTES {
            let octet = stream.read_u8().await.map_err(broken)?;
            said.push(octet);
            if octet != b'\n' {
                continue;
            }
            let line = said.get(begin..).unwrap_or_default();
            if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
                return Ok(String::from_utf8_lossy(line).trim_end().to_owned());
            }
            if line.starts_with(b"HTTP/") || line.starts_with(b"<") {
                let answer = quoted(line);
                return Err(UplinkError::CaptivePortal { authority: endpoint.authority(), answer });
            }
            begin = said.len();
        }
        Err(UplinkError::Contract(format!("{} speaks no SSH: \"{}\"", endpoint.authority(), quoted(&said))))
    }
}

async fn talk_mqtt(mut near: UnixStream, box_id: &str) -> Result<(), Trouble> {
    let broken = |error: io::Error| Trouble::new(Cause::Tcp, &format!("the broker ended the connection ({error})"));
    near.write_all(&connect_packet(box_id)).await.map_err(broken)?;
    let mut ack = [0; 4]; // CONNACK, MQTT 3.1.1 §3.2
    near.read_exact(&mut ack).await.map_err(broken)?;
    match ack {
        [0x20, 2, _, 0] => {}
        [0x20, 2, _, 3] => return Err(Trouble::new(Cause::CloudBusy, "the broker serves nobody at the moment")),
        [0x20, 2, _, 4 | 5] => return Err(Trouble::new(Cause::Refused, "the broker does not accept this box")),
        _ => return Err(Trouble::new(Cause::Contract, &format!("the broker answers {ack:02x?} to CONNECT"))),
    }
    near.write_all(&PING).await.map_err(broken)?;
    let mut pong = [0; 2];
    near.read_exact(&mut pong).await.map_err(broken)?;
    if pong != PONG {
        return Err(Trouble::new(Cause::Contract, &format!("the broker answers {pong:02x?} to a ping")));
    }
    // It was a courtesy.
    let _gone = near.write_all(&GOODBYE).await;
    Ok(())
}

/// CONNECT with a clean session and no last will (MQTT 3.1.1 §3.1). A box's id has 64 characters at most.
fn connect_packet(box_id: &str) -> Vec<u8> {
    let id = box_id.as_bytes().get(..box_id.len().min(64)).unwrap_or_default();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    let [high, low] = KEEP_ALIVE_S.to_be_bytes();
    let mut packet = vec![0x10, 12 + length(id), 0, 4, b'M', b'Q', b'T', b'T', 4, 0b10, high, low, 0, length(id)];
    packet.extend(id);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_that_connects_is_one_that_a_broker_reads() {
        use rumqttc::mqttbytes::v4::Packet;
        let packet = connect_packet(&"b".repeat(64));
        let read = Packet::read(&mut bytes::BytesMut::from(packet.as_slice()), 1_000).unwrap();
        let Packet::Connect(connect) = read else { panic!("{read:?}") };
        assert_eq!((connect.client_id.len(), connect.clean_session, connect.keep_alive), (64, true, KEEP_ALIVE_S));
        assert_eq!(connect.last_will, None);
    }
}
