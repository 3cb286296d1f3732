//! The one way out: TCP, through an HTTP proxy where one is configured, then TLS. Every protocol goes through here, so what is
//! dialled, how long it may take and how failures are named is decided once.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::proxy::{PROXY_LIMIT, Proxy};
use super::tap::Tap;
use super::tls::TlsSettings;
use super::verify::Purpose;
use super::{Endpoint, UplinkError};

/// Longest time for the name, and for the TCP connection.
const RESOLVE_LIMIT: Duration = Duration::from_secs(8);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for the TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Addresses of a name that are tried, and how long each has before the next is tried beside it (RFC 8305 §5).
const ADDRESSES_MAX: usize = 8;
const STAGGER: Duration = Duration::from_millis(250);
/// After this long without an acknowledgement of sent data the kernel gives the connection up (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// The kernel takes no more than this ahead of what it has sent, in bytes: so what it takes shows whether anything moves.
const NOT_SENT_MAX_BYTES: u32 = 16 * 1024;

/// A connection over which only the cloud can be at the other end.
pub type Secured = TlsStream<Tap>;

/// Dials endpoints.
#[derive(Debug, Clone)]
pub struct Dialer {
    tls: TlsSettings,
    proxy: Option<Proxy>,
}

impl Dialer {
    /// A dialer with the box's TLS settings, through `proxy` where there is one.
    #[must_use]
    pub fn new(tls: TlsSettings, proxy: Option<Proxy>) -> Self {
        Self { tls, proxy }
    }

    pub(super) fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// Opens a TLS connection to `endpoint`, offering `alpn`.
    ///
    /// # Errors
    /// The cause by its name: name service, TCP, proxy, TLS; or a limit of time.
    pub async fn dial(&self, endpoint: &Endpoint, alpn: &[u8]) -> Result<Secured, UplinkError> {
        self.dial_for(endpoint, &[alpn], Purpose::Calls).await
    }

    pub(super) async fn dial_for(
        &self,
        endpoint: &Endpoint,
        alpn: &[&[u8]],
        purpose: Purpose,
    ) -> Result<Secured, UplinkError> {
        let authority = endpoint.authority();
        let (tap, traffic) = Tap::new(self.open_tcp(endpoint).await?);
        let name = ServerName::try_from(endpoint.host().to_owned())
            .map_err(|e| UplinkError::Tls { authority: authority.clone(), detail: e.to_string() })?;
        let (config, witness) = self.tls.for_connection(alpn, purpose);
        let connector = TlsConnector::from(config);
        within(HANDSHAKE_LIMIT, &authority, "do the TLS handshake", connector.connect(name, tap))
            .await?
            .map_err(|e| witness.name(&authority, &e, &traffic.first()))
    }

    /// Opens a TCP connection to `endpoint`, through the proxy where there is one: for protocols that bring their own
    /// encryption and know the other end by its key (SSH).
    ///
    /// # Errors
    /// As [`dial`](Self::dial), but for TLS.
    pub async fn open_tcp(&self, endpoint: &Endpoint) -> Result<TcpStream, UplinkError> {
        let authority = endpoint.authority();
        let Some(proxy) = &self.proxy else { return connect(endpoint.host(), endpoint.port()).await };
        for log_in in [false, true] {
            let mut stream =
                connect(&proxy.host, proxy.port).await.map_err(|error| proxy.unreachable(&authority, &error))?;
            let way = proxy.open_way(&mut stream, &authority, log_in);
            if within(PROXY_LIMIT, &proxy.authority(), "open the way as a proxy", way).await?? {
                return Ok(stream);
            }
        }
        // Not reached: the second time the proxy either opens the way or is named.
        Err(UplinkError::ProxyLogin { proxy: proxy.authority(), answer: "it asks again and again".to_owned() })
    }
}

pub(super) async fn within<F: Future>(
    limit: Duration,
    authority: &str,
    act: &'static str,
    future: F,
) -> Result<F::Output, UplinkError> {
    timeout(limit, future).await.map_err(|_| UplinkError::Timeout {
        authority: authority.to_owned(),
        act,
        seconds: limit.as_secs(),
    })
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, UplinkError> {
    let unresolved = |source| UplinkError::Dns { host: host.to_owned(), source };
    let late = |words: &str| io::Error::new(io::ErrorKind::TimedOut, words);
    let addresses: Vec<_> = timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| unresolved(late("the DNS server does not answer")))?
        .map_err(unresolved)?
        .take(ADDRESSES_MAX)
        .collect();
    // A firewall that drops packets looks like this; so it is no time-out of something that had begun.
    let dropped = || late("nothing answers: packets may be dropped on the way");
    let stream = timeout(CONNECT_LIMIT, first_of(&addresses)).await.unwrap_or_else(|_| Err(dropped()));
    let failed = |source| UplinkError::Tcp { authority: format!("{host}:{port}"), source };
    let stream = stream.map_err(failed)?;
    tune(&stream).map_err(failed)?;
    Ok(stream)
}

/// The first of several addresses that takes the connection. They are tried one beside the other: where IPv6 is announced and
/// does not work, waiting for it would use up all the time there is.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut tries = JoinSet::new();
    for (place, address) in (0_u32..).zip(addresses.iter().copied()) {
        tries.spawn(async move {
            tokio::time::sleep(STAGGER * place).await;
            TcpStream::connect(address).await
        });
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(ended) = tries.join_next().await {
        match ended {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(error) => last = io::Error::other(error),
        }
    }
    Err(last)
}

/// Finds dead peers: keep-alive for silent ones, the user timeout for those that stop acknowledging.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(NOT_SENT_MAX_BYTES)?;
    socket.set_tcp_nodelay(true)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::cause::Cause;
    use crate::uplink::{RootDomain, TlsIdentity};

    fn dialer(proxy: Option<Proxy>) -> Dialer {
        Dialer::new(TlsSettings::new(&TlsIdentity::made_up()).unwrap(), proxy)
    }

    fn endpoint(host: &str, port: u16) -> Endpoint {
        let root: RootDomain = host.parse().unwrap();
        Endpoint::parse(&format!("https://{host}:{port}"), &root).unwrap()
    }

    /// A server that answers whatever comes first with this.
    async fn answering(answer: &'static [u8]) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut some = [0; 512];
                    let _ = stream.read(&mut some).await;
                    let _ = stream.write_all(answer).await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn a_closed_port_and_a_name_without_address_are_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = dialer(None).dial(&endpoint("localhost", port), b"h2").await.unwrap_err();
        assert_eq!(error.trouble().cause, Cause::Tcp, "{error}");
        let error = dialer(None).dial(&endpoint("cloud.invalid", 443), b"h2").await.unwrap_err();
        assert_eq!(error.trouble().cause, Cause::Dns, "{error}");
        let error =
            dialer(Some(Proxy::new("localhost", port))).dial(&endpoint("localhost", 443), b"h2").await.unwrap_err();
        assert_eq!(error.trouble().cause, Cause::Proxy, "{error}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_tls_is_named_by_what_it_speaks() {
        for (answer, cause, word) in [
            (&b"HTTP/1.1 302 Found\r\nLocation: http://hotel/\r\n\r\n"[..], Cause::CaptivePortal, "302 Found"),
            (b"<html>Welcome", Cause::CaptivePortal, "Welcome"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Cause::TlsRefused, "SSH-2.0"),
            (b"\x15\x03\x01\x00\x02\x02\x46", Cause::TlsRefused, "ProtocolVersion"),
            (b"\x16\x03\x02\x00\x04\x02\x00\x00\x00", Cause::TlsRefused, ""),
        ] {
            let port = answering(answer).await;
            let error = dialer(None).dial(&endpoint("localhost", port), b"h2").await.unwrap_err();
            assert_eq!(error.trouble().cause, cause, "{error}");
            assert!(error.trouble().detail.contains(word), "{error}");
            assert_eq!(error.proven_refusal(), None);
        }
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_does_not_keep_the_next_from_being_tried() {
        let port = answering(b"").await;
        // A socket whose queue is full takes no further connection and says nothing.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let deaf = full.local_addr().unwrap().as_socket().unwrap();
        let _fill: Vec<_> =
            (0..4).map(|_| std::net::TcpStream::connect_timeout(&deaf, Duration::from_millis(200))).collect();
        let addresses = [deaf, ([127, 0, 0, 1], port).into()];
        let stream = timeout(Duration::from_secs(5), first_of(&addresses));
        assert_eq!(stream.await.unwrap().unwrap().peer_addr().unwrap().port(), port);
    }
}
