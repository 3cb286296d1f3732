//! A small MQTT 3.1.1 broker for one purpose: to wake boxes, and to know which are there.
//!
//! Looked at and not taken: rmqtt brings over a hundred crates that nothing else here needs, rumqttd an old TLS library.
//! The packets are read and written by rumqttc's codec. There are no wildcards and no sessions that outlive a connection:
//! a box subscribes to its own topics, and is polled into shape whenever it comes back. Boxes run against other brokers
//! just as well; the tests do so.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode, UnsubAck,
};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Largest packet, in bytes. Wake-ups have no content.
const PACKET_MAX_BYTES: usize = 16 * 1024;
/// Wake-ups that may wait for a box; one more adds nothing.
const QUEUE_MAX: usize = 4;
/// Longest time for the first packet.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for a packet to be taken by a box.
const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// Silence that is allowed to a box that asked for no keep-alive.
const SILENCE_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
struct Session {
    number: u64,
    publish: mpsc::Sender<Publish>,
    wants_wake: bool,
}

/// The broker.
#[derive(Debug, Clone, Default)]
pub(super) struct Broker {
    sessions: Arc<Mutex<HashMap<String, Session>>>,
}

impl Broker {
    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Session>> {
        // Every holder leaves the map whole between two of its calls.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a box, if it listens.
    pub(super) fn wake(&self, box_id: &str) {
        let sessions = self.sessions();
        if let Some(session) = sessions.get(box_id).filter(|session| session.wants_wake) {
            let wake = Publish::new(topic(box_id, "wake"), QoS::AtLeastOnce, Vec::new());
            // Full: wake-ups are waiting already.
            let _enough = session.publish.try_send(wake);
        }
    }

    /// Whether a wake-up would reach a box.
    pub(super) fn is_listening(&self, box_id: &str) -> bool {
        self.sessions().get(box_id).is_some_and(|session| session.wants_wake)
    }

    /// Ends a box's session.
    pub(super) fn drop_session(&self, box_id: &str) {
        self.sessions().remove(box_id);
    }

    /// Serves a box's connection until it ends.
    pub(super) async fn session<S>(&self, box_id: &str, socket: WebSocketStream<S>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut link = Link { socket, buffer: BytesMut::new() };
        let first = timeout(CONNECT_LIMIT, link.read()).await??;
        let Packet::Connect(connect) = first else { return Err(protocol("the first packet is not CONNECT")) };
        if connect.client_id != box_id {
            link.write(&Packet::ConnAck(ConnAck::new(ConnectReturnCode::NotAuthorized, false))).await?;
            return Err(protocol("the client id is not the box's id"));
        }
        let silence = match connect.keep_alive {
            0 => SILENCE_MAX,
            seconds => Duration::from_secs(u64::from(seconds)).mul_f64(1.5), // MQTT 3.1.1 §3.1.2.10
        };
        let (publish, mut publications) = mpsc::channel(QUEUE_MAX);
        let number = fastrand::u64(..);
        // A box that comes back before its old connection is known dead takes its place (§3.1.4-2).
        self.sessions().insert(box_id.to_owned(), Session { number, publish, wants_wake: false });
        let result = async {
            link.write(&Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await?;
            self.talk(box_id, &mut link, &mut publications, silence).await
        }
        .await;
        let mut sessions = self.sessions();
        if sessions.get(box_id).is_some_and(|session| session.number == number) {
            sessions.remove(box_id);
        }
        result
    }

    async fn talk<S>(
        &self,
        box_id: &str,
        link: &mut Link<S>,
        publications: &mut mpsc::Receiver<Publish>,
        silence: Duration,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut deadline = Instant::now() + silence;
        let mut packet_id: u16 = 0;
        loop {
            let packet = tokio::select! {
                packet = timeout_at(deadline, link.read()) => packet??,
                publication = publications.recv() => {
                    // Gone: another connection took this one's place, or the box was turned away.
                    let Some(mut publication) = publication else { return Ok(()) };
                    packet_id = packet_id.checked_add(1).unwrap_or(1);
                    publication.pkid = packet_id;
                    link.write(&Packet::Publish(publication)).await?;
                    continue;
                }
            };
            deadline = Instant::now() + silence;
            match packet {
                Packet::PingReq => link.write(&Packet::PingResp).await?,
                Packet::Subscribe(subscribe) => {
                    let mut codes = Vec::with_capacity(subscribe.filters.len());
                    for filter in &subscribe.filters {
                        let is_wake = filter.path == topic(box_id, "wake");
                        codes.push(if is_wake {
                            SubscribeReasonCode::Success(QoS::AtLeastOnce)
                        } else {
                            SubscribeReasonCode::Failure
                        });
                        if let (true, Some(session)) = (is_wake, self.sessions().get_mut(box_id)) {
                            session.wants_wake = true;
                        }
                    }
                    link.write(&Packet::SubAck(SubAck::new(subscribe.pkid, codes))).await?;
                }
                Packet::Unsubscribe(unsubscribe) => {
                    if let Some(session) = self.sessions().get_mut(box_id) {
                        session.wants_wake = false;
                    }
                    link.write(&Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid))).await?;
                }
                Packet::Publish(publish) => {
                    // Presence is what the connection itself says; a box may say it too, and nothing else.
                    if publish.topic != topic(box_id, "presence") {
                        return Err(protocol("a publication to a topic that is not the box's own"));
                    }
                    match publish.qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => link.write(&Packet::PubAck(PubAck::new(publish.pkid))).await?,
                        QoS::ExactlyOnce => return Err(protocol("QoS 2 is not spoken here")),
                    }
                }
                Packet::PubAck(_) => {}
                Packet::Disconnect => return Ok(()),
                _ => return Err(protocol("a packet that a client does not send")),
            }
        }
    }
}

fn topic(box_id: &str, name: &str) -> String {
    format!("platen/v1/boxes/{box_id}/{name}")
}

fn protocol(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// MQTT packets over a WebSocket.
struct Link<S> {
    socket: WebSocketStream<S>,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// The next packet. May be dropped between two packets' bytes: what was read stays in the buffer.
    async fn read(&mut self) -> io::Result<Packet> {
        loop {
            match Packet::read(&mut self.buffer, PACKET_MAX_BYTES) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            }
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) if self.buffer.len() + bytes.len() <= 2 * PACKET_MAX_BYTES => {
                    self.buffer.extend_from_slice(&bytes);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Ok(_)) => return Err(protocol("not a binary message, or too large a one")),
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
    }

    async fn write(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_MAX_BYTES).map_err(|e| io::Error::other(e.to_string()))?;
        let sent = timeout(WRITE_LIMIT, self.socket.send(Message::Binary(bytes.freeze()))).await?;
        sent.map_err(io::Error::other)
    }
}
