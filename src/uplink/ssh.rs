//! The SSH connection to the cloud's relay, over the one dialer, and so through a proxy too. Here is the connection only: opened,
//! authenticated, alive, ended with a cause. What goes through it belongs to whoever opens it.
//!
//! What the relay may do on it (the SSH library would let it do nearly everything): nothing. Every channel that it opens is refused,
//! whatever its type, until a tunnel asks for one kind of them. One connection is meant for one tunnel: the library hands a channel's
//! data over inside of the loop that serves all channels, so a printer that takes nothing holds up its whole connection.
//!
//! Three things that the library leaves open are closed here: a key exchange that stands still has no limit of time; a connection that
//! breaks during authentication looks like a refusal; and whoever drops a connection that stands still leaves a task behind.

mod keys;
mod line;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, ChannelOpenHandle, DisconnectReason, Msg, Session};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, Disconnect, Preferred, SshId, cipher, compression, kex, mac};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::keys::{HostKeys, SshKey};
use self::line::Line;
use super::dialer::within;
use super::tap::{Tap, Traffic};
use super::{Dialer, Endpoint, Scheme, UplinkError};
use crate::cause::Trouble;

/// Longest time for the versions and the key exchange, and for the authentication.
const KEY_EXCHANGE_LIMIT: Duration = Duration::from_secs(15);
const AUTHENTICATION_LIMIT: Duration = Duration::from_secs(15);
/// Longest time for the last words.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);
/// What the relay may send on a channel ahead of what was taken, in bytes, and in what pieces (RFC 4254 §5.2).
const WINDOW_BYTES: u32 = 256 * 1024;
const PACKET_MAX_BYTES: u32 = 32 * 1024;
/// Pieces of a channel that may wait to be taken: a window's worth of the largest, twice.
const CHANNEL_BUFFER_PIECES: usize = 16;

/// How a connection ends of which nobody said why.
const CLOSED: &str = "the connection was closed";

/// How the version of a relay begins.
const VERSIONS: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];

/// When a relay that says nothing counts as gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// After so much silence it is asked for a sign of life, and then again after each such time.
    pub interval: Duration,
    /// So many questions may stay unanswered; when the next one is due, the relay is gone.
    pub unanswered_max: u32,
}

impl Default for KeepAlive {
    /// Gone after 40 seconds of silence.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), unanswered_max: 3 }
    }
}

impl KeepAlive {
    /// After so long, at the latest, a connection over which nothing comes any more is given up.
    #[must_use]
    pub const fn noticed_within(&self) -> Duration {
        self.interval.saturating_mul(self.unanswered_max.saturating_add(1))
    }
}

/// Who the box is for the relay, and whom it believes.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The account at the relay.
    pub user: String,
    /// The box's key.
    pub key: SshKey,
    /// The relay's pinned keys.
    pub host_keys: HostKeys,
    /// When silence is too long.
    pub keep_alive: KeepAlive,
}

/// The relay, as it is dialled.
#[derive(Debug, Clone)]
pub struct Relay {
    dialer: Dialer,
    endpoint: Endpoint,
    settings: RelaySettings,
    config: Arc<client::Config>,
}

impl Relay {
    /// The relay at `endpoint` (`ssh://…`, port 22 where none is written).
    ///
    /// # Errors
    /// When the endpoint is none of SSH.
    pub fn new(dialer: Dialer, endpoint: Endpoint, settings: RelaySettings) -> Result<Self, UplinkError> {
        if endpoint.scheme() != Scheme::Ssh {
            return Err(UplinkError::Contract(format!("{endpoint} is no SSH endpoint: write ssh://HOST[:PORT]")));
        }
        let config = Arc::new(configuration(&settings));
        Ok(Self { dialer, endpoint, settings, config })
    }

    /// Opens a connection: TCP, through the proxy where there is one, then the relay's key, then the box's.
    ///
    /// # Errors
    /// The cause by its name: as [`Dialer::open_tcp`]; [`UplinkError::WrongHostKey`] before anything of the box's was shown;
    /// [`UplinkError::KeyRefused`]; a limit of time.
    pub async fn open(&self) -> Result<SshConnection, UplinkError> {
        let authority = self.endpoint.authority();
        let (tap, traffic) = Tap::new(self.dialer.open_tcp(&self.endpoint).await?);
        let cut = CancellationToken::new();
        let line = Line::new(tap, cut.clone());
        // Whatever ends this early ends the library's task too.
        let cut = cut.drop_guard();
        let (watcher, ended, shown) = Watcher::new(self.settings.host_keys.clone());
        let namer = Namer { authority: authority.clone(), traffic, shown, keep_alive: self.settings.keep_alive };
        let exchange = client::connect_stream(self.config.clone(), line, watcher);
        let handle = within(KEY_EXCHANGE_LIMIT, &authority, "exchange keys over SSH", exchange)
            .await
            .map_err(|late| namer.no_ssh().unwrap_or(late))?
            .map_err(|error| namer.name(&error))?;
        let mut connection = SshConnection { handle, ended: Some(ended), why: None, namer, _cut: cut };
        let login = connection.log_in(&self.settings);
        within(AUTHENTICATION_LIMIT, &authority, "take the box's key for SSH", login).await??;
        Ok(connection)
    }
}

/// What is offered to the relay: authenticated encryption, forward secrecy, and host keys of the pinned kinds only.
fn configuration(settings: &RelaySettings) -> client::Config {
    let keep_alive = settings.keep_alive;
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed("SSH-2.0-platen")),
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_MAX_BYTES,
        channel_buffer_size: CHANNEL_BUFFER_PIECES,
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::MLKEM768X25519_SHA256,
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::EXTENSION_SUPPORT_AS_CLIENT,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            ]),
            key: settings.host_keys.algorithms().into(),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(&[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM]),
            mac: Cow::Borrowed(&[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM]),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        keepalive_interval: Some(keep_alive.interval),
        keepalive_max: usize::try_from(keep_alive.unanswered_max).unwrap_or(usize::MAX),
        // A write that stands still keeps the library from looking at its keep-alives; this limit it looks at there too.
        inactivity_timeout: Some(keep_alive.noticed_within()),
        ..client::Config::default()
    }
}

/// An open connection. Dropped, it is cut; [`close`](Self::close) says goodbye first.
pub struct SshConnection {
    handle: client::Handle<Watcher>,
    ended: Option<oneshot::Receiver<DisconnectReason<russh::Error>>>,
    why: Option<Trouble>,
    namer: Namer,
    _cut: DropGuard,
}

impl fmt::Debug for SshConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshConnection")
            .field("to", &self.namer.authority)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

impl SshConnection {
    async fn log_in(&mut self, settings: &RelaySettings) -> Result<(), UplinkError> {
        let key = PrivateKeyWithHashAlg::new(settings.key.private(), None);
        match self.handle.authenticate_publickey(settings.user.clone(), key).await {
            Ok(AuthResult::Success) => Ok(()),
            // A relay that would take something else has answered; nothing at all may also be the end of the connection.
            Ok(AuthResult::Failure { remaining_methods, .. }) if !remaining_methods.is_empty() => {
                Err(self.namer.refused("it is not authorised there"))
            }
            Ok(AuthResult::Failure { .. }) | Err(_) => Err(self.end().await),
        }
    }

    /// Waits until the connection ends, and names why.
    async fn end(&mut self) -> UplinkError {
        let Some(ended) = self.ended.as_mut() else { return self.namer.broken(CLOSED) };
        let reason = ended.await;
        self.ended = None;
        match reason {
            Ok(DisconnectReason::Error(error)) => self.namer.name(&error),
            Ok(DisconnectReason::ReceivedDisconnect(said)) => self.namer.said(said.reason_code, &said.message),
            Err(_) => self.namer.broken(CLOSED),
        }
    }

    /// Whether it is open, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.why.is_none() && !self.handle.is_closed()
    }

    /// Waits until it ends, and says why; the same again when it is asked again. It may be dropped and called anew.
    pub async fn closed(&mut self) -> Trouble {
        if let Some(why) = &self.why {
            return why.clone();
        }
        let why = self.end().await.trouble();
        self.why.insert(why).clone()
    }

    /// Says goodbye and closes; after five seconds at most it is cut.
    pub async fn close(mut self) {
        let goodbye = async {
            // A connection that has ended needs none.
            if self.handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
                self.closed().await;
            }
        };
        let _cut = timeout(GOODBYE_LIMIT, goodbye).await;
    }
}

/// Names failures.
struct Namer {
    authority: String,
    traffic: Traffic,
    shown: Arc<Mutex<Option<String>>>,
    keep_alive: KeepAlive,
}

impl Namer {
    fn name(&self, error: &russh::Error) -> UplinkError {
        use russh::Error;
        if let Some(no_ssh) = self.no_ssh() {
            return no_ssh;
        }
        match error {
            Error::UnknownKey => {
                let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let shown = shown.unwrap_or_else(|| "something that is no key".to_owned());
                UplinkError::WrongHostKey { authority: self.authority.clone(), shown }
            }
            Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, theirs, .. } => {
                let shown = format!("a key of another kind ({})", theirs.join(", ").escape_debug());
                UplinkError::WrongHostKey { authority: self.authority.clone(), shown }
            }
            Error::NoAuthMethod => self.refused("it takes no key at all"),
            Error::IO(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => self.broken(CLOSED),
            Error::HUP | Error::Disconnect | Error::SendError => self.broken(CLOSED),
            Error::IO(error) => self.broken(&error.to_string()),
            Error::KeepaliveTimeout | Error::InactivityTimeout | Error::ConnectionTimeout | Error::Elapsed(_) => {
                UplinkError::Timeout {
                    authority: self.authority.clone(),
                    act: "give a sign of life over SSH",
                    seconds: self.keep_alive.noticed_within().as_secs(),
                }
            }
            other => {
                UplinkError::Contract(format!("SSH with {}: {}", self.authority, other.to_string().escape_debug()))
            }
        }
    }

    /// What the relay said when it closed the connection (RFC 4253 §11.1).
    fn said(&self, reason: Disconnect, message: &str) -> UplinkError {
        let words: String = message.chars().take(200).flat_map(char::escape_debug).collect();
        match reason {
            Disconnect::TooManyConnections | Disconnect::ServiceNotAvailable => self.busy(&words),
            Disconnect::HostNotAllowedToConnect
            | Disconnect::NoMoreAuthMethodsAvailable
            | Disconnect::AuthCancelledByUser
            | Disconnect::IllegalUserName => self.refused(&words),
            Disconnect::ByApplication | Disconnect::ConnectionLost => self.broken(&format!("it said \"{words}\"")),
            other => UplinkError::Contract(format!("SSH with {}: {other:?}: {words}", self.authority)),
        }
    }

    /// Something other than SSH has answered.
    fn no_ssh(&self) -> Option<UplinkError> {
        let first = self.traffic.first();
        // RFC 4253 §4.2: lines of text may come before its version; §5.1: 1.99 is 2.0. The last line may not be whole yet.
        let is_version = |line: &[u8]| VERSIONS.iter().any(|v| line.starts_with(v) || v.starts_with(line));
        if first.split(|octet| *octet == b'\n').any(|line| is_version(line) && (!line.is_empty() || first.is_empty())) {
            return None;
        }
        let quote = super::tap::quoted(&first);
        // What sshd says before its version when it wants nobody more (MaxStartups, PerSourcePenalties).
        if first.starts_with(b"Exceeded MaxStartups") || first.starts_with(b"Not allowed at this time") {
            return Some(self.busy(&quote));
        }
        Some(if first.starts_with(b"HTTP/") || first.starts_with(b"<") {
            UplinkError::CaptivePortal { authority: self.authority.clone(), answer: quote }
        } else {
            UplinkError::Contract(format!("{} speaks no SSH 2: \"{quote}\"", self.authority))
        })
    }

    fn busy(&self, words: &str) -> UplinkError {
        UplinkError::Busy { call: "SSH", detail: words.to_owned(), retry_after: None }
    }

    fn refused(&self, detail: &str) -> UplinkError {
        UplinkError::KeyRefused { authority: self.authority.clone(), detail: detail.to_owned() }
    }

    fn broken(&self, words: &str) -> UplinkError {
        UplinkError::broken(&self.authority, std::io::Error::other(words.escape_debug().to_string()))
    }
}

/// Watches a connection for us, inside of the library: believes pinned keys only, lets the relay open nothing, tells the end.
struct Watcher {
    host_keys: HostKeys,
    shown: Arc<Mutex<Option<String>>>,
    ended: Option<oneshot::Sender<DisconnectReason<russh::Error>>>,
}

type End = oneshot::Receiver<DisconnectReason<russh::Error>>;

impl Watcher {
    fn new(host_keys: HostKeys) -> (Self, End, Arc<Mutex<Option<String>>>) {
        let (ended, end) = oneshot::channel();
        let shown = Arc::<Mutex<_>>::default();
        (Self { host_keys, shown: shown.clone(), ended: Some(ended) }, end, shown)
    }
}

/// Refuses: a handle that is dropped says no.
async fn refuse(kind: &'static str, reply: ChannelOpenHandle) -> Result<(), russh::Error> {
    tracing::warn!(kind, "the relay wants to open a channel that nobody asked for; it is refused");
    drop(reply);
    Ok(())
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // A certificate is not asked for, and no authority is pinned that could have signed one.
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        Ok(self.host_keys.hold(key))
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        if let Some(ended) = self.ended.take() {
            // Nobody may be waiting.
            let _ = ended.send(reason);
        }
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse("forwarded-tcpip", reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse("forwarded-streamlocal", reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse("auth-agent", reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse("session", reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse("direct-tcpip", reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse("direct-streamlocal", reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse("x11", reply).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_open_connection_is_given_up_within_forty_five_seconds() {
        // Asked after 10, 20 and 30 seconds of silence; when the next question is due, after 40, it is over. Before the box is
        // authenticated each step has a limit of its own.
        assert_eq!(KeepAlive::default().noticed_within(), Duration::from_secs(40));
        for limit in [KeepAlive::default().noticed_within(), KEY_EXCHANGE_LIMIT, AUTHENTICATION_LIMIT] {
            assert!(limit <= Duration::from_secs(45));
        }
    }
}
