//! The one way out: TCP, through an HTTP proxy where one is configured, then TLS. gRPC and MQTT both go through here,
//! so what is dialled, how long it may take and how failures are named is decided once.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Endpoint, TlsSettings, UplinkError};

/// Longest time for the name and the TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for the proxy's answer.
const PROXY_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for the TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Longest head of a proxy's answer, in bytes.
const PROXY_HEAD_MAX_BYTES: usize = 16 * 1024;
/// After this long without an acknowledgement of sent data the kernel gives the connection up (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP proxy that opens a way with CONNECT (RFC 9110 §9.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

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

    /// Opens a TLS connection to `endpoint`, offering `alpn`.
    ///
    /// # Errors
    /// The cause by its name: name service, TCP, proxy, TLS; or a limit of time.
    pub async fn dial(&self, endpoint: &Endpoint, alpn: &[u8]) -> Result<TlsStream<TcpStream>, UplinkError> {
        let authority = endpoint.authority();
        let tcp = match &self.proxy {
            None => connect(endpoint.host(), endpoint.port()).await?,
            Some(proxy) => {
                let mut stream = connect(&proxy.host, proxy.port).await?;
                within(
                    PROXY_LIMIT,
                    &authority,
                    "open the way through the proxy",
                    open_way(&mut stream, proxy, &authority),
                )
                .await??;
                stream
            }
        };
        let name = ServerName::try_from(endpoint.host().to_owned())
            .map_err(|e| UplinkError::Tls { authority: authority.clone(), detail: e.to_string() })?;
        let connector = TlsConnector::from(self.tls.for_protocol(alpn));
        within(HANDSHAKE_LIMIT, &authority, "do the TLS handshake", connector.connect(name, tcp))
            .await?
            .map_err(|e| UplinkError::from_tls(&authority, &e))
    }
}

async fn within<F: Future>(
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
    let authority = format!("{host}:{port}");
    let dial = async {
        let addresses: Vec<_> = tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| UplinkError::Dns { host: host.to_owned(), source })?
            .take(16) // more answers than that are nobody's load balancing
            .collect();
        let stream = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(|source| UplinkError::Tcp { authority: authority.clone(), source })?;
        tune(&stream).map_err(|source| UplinkError::Tcp { authority: authority.clone(), source })?;
        Ok(stream)
    };
    within(CONNECT_LIMIT, &authority, "accept a TCP connection", dial).await?
}

/// Finds dead peers: keep-alive for silent ones, the user timeout for those that stop acknowledging.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_nodelay(true)
}

async fn open_way(stream: &mut TcpStream, proxy: &Proxy, authority: &str) -> Result<(), UplinkError> {
    let refused = |answer: String| UplinkError::Proxy {
        proxy: format!("{}:{}", proxy.host, proxy.port),
        authority: authority.to_owned(),
        answer,
    };
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| refused(e.to_string()))?;
    // Byte by byte: whatever follows the head belongs to the connection behind it.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == PROXY_HEAD_MAX_BYTES {
            return Err(refused("its answer does not end".to_owned()));
        }
        head.push(stream.read_u8().await.map_err(|e| refused(e.to_string()))?);
    }
    let status_line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let status_line = String::from_utf8_lossy(status_line);
    let code = status_line.split(' ').nth(1).unwrap_or_default();
    if status_line.starts_with("HTTP/1.") && code == "200" {
        return Ok(());
    }
    Err(refused(status_line.escape_debug().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::{RootDomain, TlsIdentity};

    fn dialer(proxy: Option<Proxy>) -> Dialer {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["box".to_owned()]).unwrap().self_signed(&key).unwrap();
        let identity = TlsIdentity {
            certificate_chain_pem: certificate.pem().into_bytes(),
            private_key_pem: key.serialize_pem().into_bytes().into(),
            roots_pem: certificate.pem().into_bytes(),
        };
        Dialer::new(TlsSettings::new(&identity).unwrap(), proxy)
    }

    fn endpoint(port: u16) -> Endpoint {
        let root: RootDomain = "localhost".parse().unwrap();
        Endpoint::parse(&format!("https://localhost:{port}"), &root).unwrap()
    }

    #[test]
    fn only_the_asked_protocol_is_offered() {
        assert_eq!(dialer(None).tls.for_protocol(b"h2").alpn_protocols, vec![b"h2".to_vec()]);
    }

    #[tokio::test]
    async fn a_closed_port_is_named_as_tcp() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = dialer(None).dial(&endpoint(port), b"h2").await.unwrap_err();
        assert!(matches!(error, UplinkError::Tcp { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_tls_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        let error = dialer(None).dial(&endpoint(port), b"h2").await.unwrap_err();
        assert!(matches!(error, UplinkError::Tls { .. }), "{error}");
        server.abort();
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_quoted_and_escaped() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 407 \x1b[31mlogin\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let proxy = Proxy { host: "127.0.0.1".to_owned(), port };
        let error = dialer(Some(proxy)).dial(&endpoint(443), b"h2").await.unwrap_err().to_string();
        assert!(error.contains("407") && !error.contains('\x1b'), "{error}");
        assert!(server.await.unwrap().starts_with("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n"));
    }
}
