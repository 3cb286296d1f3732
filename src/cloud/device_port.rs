//! The port for boxes: TLS, mutual but for a box that is nobody's yet, and behind it gRPC (ALPN h2), or over HTTP/1.1 the same calls as gRPC-Web and MQTT over
//! WebSocket (`/mqtt`). One name and one port are all that a customer's firewall has to let through.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use super::Shared;
use super::authority::fingerprint;
use super::service::AgentService;
use crate::proto::v1::agent_server::AgentServer;

/// Connections at once.
const CONNECTIONS_MAX: usize = 10_000;
/// Longest time for the TLS handshake, and for the WebSocket's.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Connections that may wait for the gRPC server to take them.
const ACCEPTED_MAX: usize = 64;
/// Largest message taken from a box, in bytes: a batch and its frame.
const DECODE_MAX_BYTES: usize = 1024 * 1024;

/// Who is at the other end, as its certificate says.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// SHA-256 of its certificate, which is one of ours; `None`: it has shown none. Whose it is and whether it holds is looked up at
    /// each call.
    pub fingerprint: Option<String>,
    /// From where it is connected.
    pub address: IpAddr,
}

/// A box's connection.
struct BoxStream {
    tls: TlsStream<TcpStream>,
    caller: Caller,
    /// What was read of it already, to know what it wants.
    ahead: Bytes,
    /// One of the connections that there may be at once.
    _place: OwnedSemaphorePermit,
}

impl Connected for BoxStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for BoxStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let part = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(part));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for BoxStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

/// Serves boxes until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shared: Shared,
    stop: CancellationToken,
) {
    let (accepted, receiver) = mpsc::channel::<io::Result<BoxStream>>(ACCEPTED_MAX);
    let incoming = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|stream| (stream, receiver))
    });
    let service = AgentServer::new(AgentService { shared: shared.clone() }).max_decoding_message_size(DECODE_MAX_BYTES);
    let grpc = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .accept_http1(true)
        .layer(tonic_web::GrpcWebLayer::new())
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::select! {
        result = grpc => if let Err(error) = result {
            tracing::error!(%error, "the gRPC server ended");
        },
        () = accept(listener, TlsAcceptor::from(tls), shared, accepted, stop.clone()) => {}
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Shared,
    accepted: mpsc::Sender<io::Result<BoxStream>>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let tcp = tokio::select! {
            () = stop.cancelled() => return,
            tcp = listener.accept() => tcp,
        };
        let (tcp, peer) = match tcp {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, say: others will be given back.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, shared, accepted, stop) = (acceptor.clone(), shared.clone(), accepted.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(tcp, peer.ip(), place, acceptor, shared, accepted, stop).await {
                tracing::debug!(%peer, %error, "a box's connection ended");
            }
        });
    }
}

async fn connection(
    tcp: TcpStream,
    address: IpAddr,
    place: OwnedSemaphorePermit,
    acceptor: TlsAcceptor,
    shared: Shared,
    accepted: mpsc::Sender<io::Result<BoxStream>>,
    stop: CancellationToken,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp)).await??;
    let session = tls.get_ref().1;
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let fingerprint = certificate.map(|certificate| fingerprint(certificate));
    let ahead = if is_h2 { Bytes::new() } else { timeout(HANDSHAKE_LIMIT, method(&mut tls)).await?? };
    let wants_mqtt = ahead.starts_with(b"GET");
    let caller = Caller { fingerprint: fingerprint.clone(), address };
    let stream = BoxStream { tls, caller, ahead, _place: place };
    if !wants_mqtt {
        // Closed only when the server is stopping.
        let _stopping = accepted.send(Ok(stream)).await;
        return Ok(());
    }
    let Some(fingerprint) = fingerprint else { return Err(io::ErrorKind::PermissionDenied.into()) };
    let credential = shared.database.credential(&fingerprint).await.map_err(io::Error::other)?;
    let Some(credential) = credential else { return Err(io::ErrorKind::PermissionDenied.into()) };
    let socket = timeout(HANDSHAKE_LIMIT, tokio_tungstenite::accept_hdr_async(stream, mqtt_only))
        .await?
        .map_err(io::Error::other)?;
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        result = shared.broker.session(&credential.box_id, socket) => result,
    }
}

/// The first letters of an HTTP/1.1 request: a WebSocket begins with GET, a call with POST.
async fn method(tls: &mut TlsStream<TcpStream>) -> io::Result<Bytes> {
    let mut letters = [0; 3];
    tls.read_exact(&mut letters).await?;
    Ok(Bytes::copy_from_slice(&letters))
}

/// Takes the WebSocket only for MQTT.
#[allow(clippy::result_large_err)] // the library's signature
fn mqtt_only(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offers_mqtt = request
        .headers()
        .get_all("Sec-WebSocket-Protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').any(|protocol| protocol.trim() == "mqtt"));
    if request.uri().path() != "/mqtt" || !offers_mqtt {
        let mut refusal = ErrorResponse::new(Some("MQTT over WebSocket is at /mqtt".to_owned()));
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        return Err(refusal);
    }
    response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    Ok(response)
}
