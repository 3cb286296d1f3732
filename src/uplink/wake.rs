//! The MQTT wake-up link: the cloud's way to say "poll now". It carries no content and no decision; whatever arrives
//! leads to a poll and to nothing else.
//!
//! The MQTT client dials a unix socket of this process (mode 0600), behind which the one dialer opens the way: its own
//! TLS would bring a second, outdated certificate library along (see `src/README.md`).

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rumqttc::{AsyncClient, ConnectionError, Event, LastWill, MqttOptions, Packet, QoS, StateError, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;

use super::{Backoff, Dialer, Endpoint, Scheme, Secured, UplinkError};
use crate::cause::{Cause, Trouble};

/// MQTT keep-alive: a dead broker is seen after at most twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Largest MQTT packet in either direction, in bytes. A wake-up has no content.
const PACKET_MAX_BYTES: usize = 16 * 1024;
/// Requests of ours that may wait for the event loop: two subscriptions' and two publications' worth.
const REQUESTS_MAX: usize = 8;
/// Limit of everything from dialling to the broker's CONNACK, in seconds.
const CONNECT_LIMIT_S: u64 = 30;
/// Waits between tries.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What the link needs.
#[derive(Debug, Clone)]
pub struct WakeLinkConfig {
    /// The broker: `wss://…` or `mqtts://…`.
    pub endpoint: Endpoint,
    /// The box's id, which is the MQTT client id and part of the topics.
    pub box_id: String,
    /// A folder that only this process uses (under /run), for the unix socket.
    pub runtime_dir: PathBuf,
}

/// How the link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Dialling for the first time.
    Connecting,
    /// Subscribed: a wake-up would arrive.
    Up,
    /// Not connected, with the cause; tried again and again.
    Down(Trouble),
}

impl LinkState {
    /// What is to be told where the calls arrive and this link does not: `mqtt-blocked` for what stops it on the way, and the
    /// cause itself where it is the broker's or the box's own.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let Self::Down(why) = self else { return None };
        Some(match why.cause {
            Cause::Refused
            | Cause::Suspended
            | Cause::CloudBusy
            | Cause::Contract
            | Cause::Clock
            | Cause::Storage
            | Cause::TlsExpired => why.clone(),
            _ => Trouble::new(Cause::MqttBlocked, &why.to_string()),
        })
    }
}

/// The link. [`WakeLink::run`] lasts until it is told to stop.
#[derive(Debug)]
pub struct WakeLink {
    config: WakeLinkConfig,
    dialer: Dialer,
    state: watch::Sender<LinkState>,
    wake: mpsc::Sender<()>,
}

impl WakeLink {
    /// A link that says in `state` how it is and sends to `wake` at each wake-up. `wake` wants a capacity of 1: a second
    /// wake-up before the poll adds nothing.
    #[must_use]
    pub fn new(
        config: WakeLinkConfig,
        dialer: Dialer,
        state: watch::Sender<LinkState>,
        wake: mpsc::Sender<()>,
    ) -> Self {
        Self { config, dialer, state, wake }
    }

    /// Keeps the link up until `stop`. Where the unix socket cannot be made (the runtime folder is gone or full), it is down for
    /// that, and tried again.
    pub async fn run(self, stop: CancellationToken) {
        let socket = self.config.runtime_dir.join("mqtt.sock");
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let error = tokio::select! {
                () = stop.cancelled() => break,
                error = self.keep_bridged(&socket) => error,
            };
            tracing::error!(%error, socket = %socket.display(), "the wake-up link has no socket: no wake-up arrives");
            self.state.send_replace(LinkState::Down(Trouble::new(Cause::Storage, &error.to_string())));
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(backoff.next(fastrand::f64())) => {}
            }
        }
        // Best effort: the next start removes a stale socket too.
        let _ = std::fs::remove_file(&socket);
    }

    /// Lasts until the socket fails.
    async fn keep_bridged(&self, socket: &Path) -> io::Error {
        let listener = match bind_private(socket) {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        // The bridge knows why dialling failed; the MQTT client only sees its socket close.
        let (cause, last_cause) = watch::channel(None::<Trouble>);
        tokio::select! {
            error = bridge(&listener, &self.dialer, &self.config.endpoint, &cause) => error,
            never = self.keep_subscribed(socket, &last_cause) => match never {},
        }
    }

    async fn keep_subscribed(&self, socket: &Path, last_cause: &watch::Receiver<Option<Trouble>>) -> Infallible {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            // A new client for each connection: nothing of an old session can get stuck, and nothing is lost by it,
            // because no content is carried here.
            let error = self.one_connection(socket, &mut backoff).await;
            let cause = last_cause.borrow().clone().unwrap_or(error);
            let wait = backoff.next(fastrand::f64());
            tracing::info!(%cause, wait_ms = wait.as_millis(), "wake-up link is down");
            self.state.send_replace(LinkState::Down(cause));
            tokio::time::sleep(wait).await;
        }
    }

    /// Lasts as long as one connection and says why it ended, as far as the MQTT client knows.
    async fn one_connection(&self, socket: &Path, backoff: &mut Backoff) -> Trouble {
        let topic = |name: &str| format!("platen/v1/boxes/{}/{name}", self.config.box_id);
        let mut options = MqttOptions::new(&self.config.box_id, socket.to_string_lossy(), 1);
        options
            .set_transport(Transport::Unix)
            .set_keep_alive(KEEP_ALIVE)
            .set_max_packet_size(PACKET_MAX_BYTES, PACKET_MAX_BYTES)
            .set_clean_session(true)
            .set_last_will(LastWill::new(topic("presence"), "offline", QoS::AtLeastOnce, true));
        let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
        events.network_options.set_connection_timeout(CONNECT_LIMIT_S);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    // try_: the event loop that would make room runs in this very task.
                    let asked = client
                        .try_subscribe(topic("wake"), QoS::AtLeastOnce)
                        .and_then(|()| client.try_publish(topic("presence"), QoS::AtLeastOnce, true, "online"));
                    if let Err(error) = asked {
                        return Trouble::new(Cause::Contract, &error.to_string());
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    if ack.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure) {
                        let words = "the broker does not let this box subscribe to its own wake-up topic";
                        return Trouble::new(Cause::Contract, words);
                    }
                    backoff.reset();
                    self.state.send_replace(LinkState::Up);
                    // Whatever was said while the link was down is asked for now.
                    let _already_waiting = self.wake.try_send(());
                }
                Ok(Event::Incoming(Packet::Publish(publish))) if publish.topic == topic("wake") => {
                    let _already_waiting = self.wake.try_send(());
                }
                Ok(_) => {}
                Err(error) => return named(&error),
            }
        }
    }
}

/// Names the end of an MQTT connection of which the dialer knows nothing: the broker ended it, or fell silent.
fn named(error: &ConnectionError) -> Trouble {
    use rumqttc::ConnectReturnCode as Code;
    let cause = match error {
        ConnectionError::ConnectionRefused(Code::NotAuthorized | Code::BadUserNamePassword) => Cause::Refused,
        ConnectionError::ConnectionRefused(Code::ServiceUnavailable) => Cause::CloudBusy,
        ConnectionError::ConnectionRefused(_) | ConnectionError::NotConnAck(_) => Cause::Contract,
        ConnectionError::NetworkTimeout
        | ConnectionError::FlushTimeout
        | ConnectionError::MqttState(StateError::AwaitPingResp) => Cause::Timeout,
        ConnectionError::MqttState(StateError::Io(_) | StateError::ConnectionAborted) | ConnectionError::Io(_) => {
            Cause::Tcp
        }
        _ => Cause::Contract,
    };
    Trouble::new(cause, &error.to_string())
}

/// Makes the socket so that nobody else can dial it.
fn bind_private(socket: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the MQTT client's connections one after the other.
async fn bridge(
    listener: &UnixListener,
    dialer: &Dialer,
    endpoint: &Endpoint,
    cause: &watch::Sender<Option<Trouble>>,
) -> io::Error {
    loop {
        let local = match listener.accept().await {
            Ok((local, _)) => local,
            Err(error) => return error,
        };
        cause.send_replace(None);
        if let Err(error) = carry(local, dialer, endpoint).await {
            cause.send_replace(Some(error.trouble()));
        }
    }
}

pub(super) async fn carry(mut local: UnixStream, dialer: &Dialer, endpoint: &Endpoint) -> Result<(), UplinkError> {
    if endpoint.scheme() == Scheme::Mqtts {
        let mut remote = dialer.dial(endpoint, b"mqtt").await?;
        return tokio::io::copy_bidirectional(&mut local, &mut remote)
            .await
            .map(drop)
            .map_err(|e| UplinkError::after_handshake(&endpoint.authority(), &e));
    }
    let remote = dialer.dial(endpoint, b"http/1.1").await?;
    carry_over_websocket(local, remote, endpoint).await
}

/// Carries the MQTT bytes in binary WebSocket messages (MQTT 3.1.1 §6).
async fn carry_over_websocket(local: UnixStream, remote: Secured, endpoint: &Endpoint) -> Result<(), UplinkError> {
    let failed = |error: tokio_tungstenite::tungstenite::Error| match error {
        tokio_tungstenite::tungstenite::Error::Io(error) => UplinkError::after_handshake(&endpoint.authority(), &error),
        other => UplinkError::Contract(format!("WebSocket with {endpoint}: {other}")),
    };
    let mut request =
        format!("wss://{}{}", endpoint.authority(), endpoint.path()).into_client_request().map_err(failed)?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    let limits = WebSocketConfig::default()
        .max_message_size(Some(PACKET_MAX_BYTES * 4))
        .max_frame_size(Some(PACKET_MAX_BYTES * 4));
    let (socket, answer) =
        tokio_tungstenite::client_async_with_config(request, remote, Some(limits)).await.map_err(failed)?;
    if answer.headers().get("Sec-WebSocket-Protocol").is_none_or(|protocol| protocol != "mqtt") {
        return Err(UplinkError::Contract(format!("{endpoint} does not speak MQTT over WebSocket")));
    }
    let (mut to_remote, mut from_remote) = socket.split();
    let (mut from_local, mut to_local) = local.into_split();
    let out = async {
        let mut buffer = vec![0; PACKET_MAX_BYTES];
        loop {
            match from_local.read(&mut buffer).await {
                Ok(0) | Err(_) => return to_remote.close().await.map_err(failed),
                Ok(read) => {
                    let chunk = bytes::Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
                    to_remote.send(Message::Binary(chunk)).await.map_err(failed)?;
                }
            }
        }
    };
    let back = async {
        while let Some(message) = from_remote.next().await {
            match message.map_err(failed)? {
                Message::Binary(bytes) => {
                    let Ok(()) = to_local.write_all(&bytes).await else { break };
                }
                Message::Close(_) => break,
                // Pings are answered by the library; text is not MQTT.
                _ => {}
            }
        }
        Ok(())
    };
    // Either side's end drops both, which wakes the MQTT client.
    tokio::select! {
        result = out => result,
        result = back => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_blocked_is_said_of_what_stops_it_on_the_way_and_of_nothing_else() {
        let told = |cause| LinkState::Down(Trouble::new(cause, "why")).trouble().unwrap();
        for cause in [Cause::Dns, Cause::Tcp, Cause::Timeout, Cause::Proxy407, Cause::TlsInspected, Cause::TlsRefused] {
            let trouble = told(cause);
            assert_eq!(trouble.cause, Cause::MqttBlocked);
            assert_eq!(trouble.detail, Trouble::new(cause, "why").to_string(), "the true cause is in it");
        }
        for cause in [Cause::Refused, Cause::CloudBusy, Cause::Contract, Cause::TlsExpired] {
            assert_eq!(told(cause), Trouble::new(cause, "why"));
        }
        assert_eq!(LinkState::Connecting.trouble().or(LinkState::Up.trouble()), None);
    }

    #[test]
    fn what_only_the_mqtt_client_sees_is_named_too() {
        use rumqttc::ConnectReturnCode as Code;
        for (error, cause) in [
            (ConnectionError::ConnectionRefused(Code::NotAuthorized), Cause::Refused),
            (ConnectionError::ConnectionRefused(Code::ServiceUnavailable), Cause::CloudBusy),
            (ConnectionError::ConnectionRefused(Code::BadClientId), Cause::Contract),
            (ConnectionError::MqttState(StateError::AwaitPingResp), Cause::Timeout),
            (ConnectionError::MqttState(StateError::ConnectionAborted), Cause::Tcp),
        ] {
            assert_eq!(named(&error).cause, cause, "{error}");
        }
    }
}
