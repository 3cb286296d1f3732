//! What gRPC's calls travel over: one connection of the dialer, watched, because the gRPC library forgets why a connection
//! broke and what came in the place of an answer.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::Code;
use tonic::transport::{Channel, Uri};

use super::dialer::Secured;
use super::error::{UplinkError, root_of};
use super::tap::Traffic;
use super::way::Transport;
use super::web::Http1;
use crate::cause::Cause;
use crate::proto::rich_status;

/// While a call is under way and nothing comes in for so long, the peer is asked for a sign of life, and has so long to give
/// one: a frozen cloud is noticed within 16 s. Never between calls: that is what others' servers punish.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(8));
/// Longest words of a server that are kept, in characters.
const WORDS_MAX_CHARS: usize = 200;

/// What happened on a connection, as far as the gRPC library does not tell.
#[derive(Debug, Default)]
struct Observed {
    tls_error: Option<rustls::Error>,
    /// The last answer that HTTP itself refused: status, and after how many seconds to come again.
    http_refusal: Option<(u16, Option<u64>)>,
    /// Whether the cloud has answered anything.
    answered: bool,
}

/// Whom a session talks to, and what was seen of it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    authority: String,
    traffic: Traffic,
    observed: Arc<Mutex<Observed>>,
}

impl Peer {
    pub(super) fn new(authority: &str, stream: &Secured) -> Self {
        let traffic = stream.get_ref().0.traffic().clone();
        Self { authority: authority.to_owned(), traffic, observed: Arc::default() }
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Bytes that moved so far, in and out.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.traffic.moved_bytes()
    }

    /// Whether the cloud has answered anything over this connection.
    pub(super) fn has_answered(&self) -> bool {
        self.with(|observed| observed.answered)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Observed) -> T) -> T {
        act(&mut self.observed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note_answer(&self, status: http::StatusCode, headers: &http::HeaderMap) {
        let refusal = (status != http::StatusCode::OK).then(|| (status.as_u16(), seconds(headers)));
        self.with(|observed| (observed.answered, observed.http_refusal) = (true, refusal));
    }

    /// Names a failed call by what lies at its root.
    pub(super) fn name(&self, call: &'static str, status: &tonic::Status) -> UplinkError {
        let (tls_error, http_refusal) =
            self.with(|observed| (observed.tls_error.clone(), observed.http_refusal.take()));
        if let Some(error) = tls_error {
            return UplinkError::after_handshake(&self.authority, &error);
        }
        let words: String = status.message().chars().take(WORDS_MAX_CHARS).flat_map(char::escape_debug).collect();
        if let Some((code, retry_after)) = http_refusal {
            return self.http_refused(call, code, retry_after);
        }
        // A status that was made here, because the connection broke, has a source; one that came from the server has none.
        if let Some(source) = std::error::Error::source(status) {
            return self.broke(source);
        }
        let details = rich_status::read(status.details());
        if let (Code::Unauthenticated | Code::PermissionDenied, Some(reject)) = (status.code(), &details.auth_reject) {
            let cause = crate::cause::from_number(reject.cause);
            if matches!(cause, Cause::Refused | Cause::Suspended) {
                let authority = self.authority.clone();
                return UplinkError::Rejected { authority, detail: words, cause, proven: true };
            }
        }
        match status.code() {
            Code::Unavailable | Code::ResourceExhausted | Code::Internal | Code::DeadlineExceeded | Code::Aborted => {
                let header = status.metadata().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                let retry_after = details.retry_after.or(header.map(Duration::from_secs));
                UplinkError::Busy { call, detail: format!("{:?}: {words}", status.code()), retry_after }
            }
            code => UplinkError::Call { call, code, message: words },
        }
    }

    fn http_refused(&self, call: &'static str, code: u16, retry_after: Option<u64>) -> UplinkError {
        match code {
            429 | 500..=599 => UplinkError::Busy {
                call,
                detail: format!("HTTP status {code}"),
                retry_after: retry_after.map(Duration::from_secs),
            },
            _ => UplinkError::Contract(format!("it answered {call} with HTTP status {code}")),
        }
    }

    fn broke(&self, source: &(dyn std::error::Error + 'static)) -> UplinkError {
        let root = root_of(source);
        if root.contains("keep-alive") || root.contains("timed out") {
            let seconds = (KEEP_ALIVE.0 + KEEP_ALIVE.1).as_secs();
            return UplinkError::Timeout { authority: self.authority.clone(), act: "give a sign of life", seconds };
        }
        UplinkError::after_handshake(&self.authority, source)
    }
}

/// Retry-After in seconds (RFC 9110 §10.2.3). As a date it would need a clock.
fn seconds(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// How the calls travel.
#[derive(Debug, Clone)]
enum Way {
    H2(Channel),
    Web(Http1),
}

/// The service that the generated client calls.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    way: Way,
    peer: Peer,
}

impl Wire {
    /// How calls travel over a connection: by HTTP/2 only where that was agreed on (RFC 7301).
    pub(super) fn agreed_on(stream: &Secured) -> Transport {
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Transport::H2,
            _ => Transport::GrpcWeb,
        }
    }

    /// Over a connection, by what was agreed on it.
    pub(super) async fn over(stream: Secured, peer: &Peer) -> Result<Self, UplinkError> {
        if Self::agreed_on(&stream) == Transport::H2 {
            return Self::h2(stream, peer).await;
        }
        let way = Way::Web(Http1::over(Watched { stream, peer: peer.clone() }, peer).await?);
        Ok(Self { way, peer: peer.clone() })
    }

    async fn h2(stream: Secured, peer: &Peer) -> Result<Self, UplinkError> {
        // The connector hands over a stream that already is TLS, so tonic is told "http" and shows "https" outside.
        let malformed = |_| UplinkError::Contract(format!("{} is not an authority", peer.authority));
        let origin: Uri = format!("https://{}", peer.authority).parse().map_err(malformed)?;
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", peer.authority))
            .map_err(|e| UplinkError::Contract(e.to_string()))?
            .origin(origin)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(false)
            .connect_with_connector(ReadyConnection(Some(Watched { stream, peer: peer.clone() })))
            .await
            .map_err(|e| UplinkError::after_handshake(&peer.authority, &e))?;
        Ok(Self { way: Way::H2(channel), peer: peer.clone() })
    }
}

pub(super) type Answer = http::Response<tonic::body::Body>;
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl tower_service::Service<http::Request<tonic::body::Body>> for Wire {
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.way {
            Way::H2(channel) => tower_service::Service::poll_ready(channel, cx).map_err(Into::into),
            Way::Web(_) => Poll::Ready(Ok(())), // waits in the call
        }
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let peer = self.peer.clone();
        let answer = match &mut self.way {
            Way::H2(channel) => tower_service::Service::call(channel, request),
            Way::Web(http1) => return Box::pin(http1.clone().call(request, peer)),
        };
        Box::pin(async move {
            let answer = answer.await?;
            peer.note_answer(answer.status(), answer.headers());
            Ok(answer)
        })
    }
}

/// A connector that has its connection already, and only that one: when it breaks, the session is over.
struct ReadyConnection(Option<Watched>);

impl tower_service::Service<Uri> for ReadyConnection {
    type Response = TokioIo<Watched>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let over = || io::Error::new(io::ErrorKind::NotConnected, "the connection to the cloud broke");
        ready(self.0.take().map(TokioIo::new).ok_or_else(over))
    }
}

/// A connection that remembers why TLS ended it.
pub(super) struct Watched {
    stream: Secured,
    peer: Peer,
}

impl Watched {
    fn watch<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            self.peer.with(|observed| observed.tls_error = Some(cause.clone()));
        }
        result
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(result)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
