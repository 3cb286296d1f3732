//! The gRPC calls of `proto/platen/v1/agent.proto` over one connection of the dialer. A session lasts for one round of
//! poll, upload and report; between rounds nothing is kept open, so no NAT table has to remember the box.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Uri};

use super::{Dialer, Endpoint, UplinkError};
use crate::proto::v1;
use crate::proto::v1::agent_client::AgentClient;
use crate::store::{Batch, Content};

/// Longest time for the answer to one call, or to one batch.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Largest message taken from the cloud, in bytes.
const DECODE_MAX_BYTES: usize = 1024 * 1024;
/// Largest message sent to the cloud, in bytes: a batch of 512 KiB and its frame.
const ENCODE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// One connection to the cloud.
#[derive(Debug)]
pub struct CloudSession {
    client: AgentClient<Channel>,
    peer: Peer,
    /// The stream of batches, from the first batch on.
    upload: Option<Upload>,
}

/// Whom a session talks to, and what TLS said when it broke: the gRPC library forgets the cause of a broken connection.
#[derive(Debug, Clone)]
struct Peer {
    authority: String,
    tls_error: Arc<Mutex<Option<rustls::Error>>>,
}

impl Peer {
    /// Names a failed call by what lies at its root. In TLS 1.3 a server judges the client's certificate after the client
    /// believes the handshake done (RFC 8446 §4.4.2.4), so its refusal comes with the first call.
    fn name(&self, call: &'static str, status: &tonic::Status) -> UplinkError {
        match &*self.tls_error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => UplinkError::from_tls(&self.authority, error),
            None => UplinkError::from_status(&self.authority, call, status),
        }
    }
}

impl CloudSession {
    /// Opens the connection.
    ///
    /// # Errors
    /// As [`Dialer::dial`]; or when the server does not speak HTTP/2.
    pub async fn open(dialer: &Dialer, endpoint: &Endpoint) -> Result<Self, UplinkError> {
        let authority = endpoint.authority();
        let stream = dialer.dial(endpoint, b"h2").await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let detail = "the server does not offer HTTP/2 (ALPN h2): something between may be speaking HTTP/1.1";
            return Err(UplinkError::Tls { authority, detail: detail.to_owned() });
        }
        // The connector hands over a stream that already is TLS, so tonic is told "http" and shows "https" outside.
        let peer = Peer { authority: authority.clone(), tls_error: Arc::default() };
        let malformed = |_| UplinkError::Contract(format!("{endpoint} is not a URI"));
        let origin: Uri = format!("https://{authority}").parse().map_err(malformed)?;
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|e| UplinkError::Contract(e.to_string()))?
            .origin(origin)
            .timeout(CALL_LIMIT)
            .connect_with_connector(ReadyConnection(Some(Watched { stream, tls_error: peer.tls_error.clone() })))
            .await
            .map_err(|e| UplinkError::from_tls(&authority, &e))?;
        let client = AgentClient::new(channel)
            .max_decoding_message_size(DECODE_MAX_BYTES)
            .max_encoding_message_size(ENCODE_MAX_BYTES);
        Ok(Self { client, peer, upload: None })
    }

    /// Says how the box is and asks what is wanted.
    ///
    /// # Errors
    /// [`UplinkError::Rejected`] when the cloud does not take the box's certificate; else the cause by its name.
    pub async fn poll(&mut self, request: v1::PollRequest) -> Result<v1::PollReply, UplinkError> {
        match self.client.poll(request).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) => Err(self.peer.name("Poll", &status)),
        }
    }

    /// Says what became of a task.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn report_task(&mut self, report: v1::TaskReport) -> Result<(), UplinkError> {
        match self.client.report_task(report).await {
            Ok(_) => Ok(()),
            Err(status) => Err(self.peer.name("ReportTask", &status)),
        }
    }

    /// Asks whether a disabled box was enabled again.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn recover(&mut self, request: v1::RecoverRequest) -> Result<v1::RecoverReply, UplinkError> {
        match self.client.recover(request).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) => Err(self.peer.name("Recover", &status)),
        }
    }

    /// Delivers a batch and waits for its acknowledgement.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn upload(&mut self, batch: v1::ReadingBatch) -> Result<v1::UploadAck, UplinkError> {
        let mut stream = match self.upload.take() {
            Some(stream) => stream,
            None => self.open_upload().await?,
        };
        let ack = stream.send(batch).await?;
        // Kept only while it is whole.
        self.upload = Some(stream);
        Ok(ack)
    }

    async fn open_upload(&mut self) -> Result<Upload, UplinkError> {
        // One batch at a time is under way: the next one is made when the last was acknowledged.
        let (batches, receiver) = mpsc::channel::<v1::ReadingBatch>(1);
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        match self.client.upload_readings(stream).await {
            Ok(reply) => Ok(Upload { batches, acks: reply.into_inner(), peer: self.peer.clone() }),
            Err(status) => Err(self.peer.name("UploadReadings", &status)),
        }
    }
}

/// A stream of readings to the cloud and of acknowledgements back.
#[derive(Debug)]
struct Upload {
    batches: mpsc::Sender<v1::ReadingBatch>,
    acks: tonic::Streaming<v1::UploadAck>,
    peer: Peer,
}

impl Upload {
    /// Sends one batch and waits for its acknowledgement.
    ///
    /// # Errors
    /// When the stream breaks or the cloud refuses the batch. What was sent may or may not have arrived: it stays in the
    /// outbox and is sent again.
    async fn send(&mut self, batch: v1::ReadingBatch) -> Result<v1::UploadAck, UplinkError> {
        // A closed channel means that the stream ended: its status says why, so the answer is read in any case.
        let _closed = self.batches.send(batch).await;
        let answer = tokio::time::timeout(CALL_LIMIT, self.acks.message()).await;
        match answer {
            Ok(Ok(Some(ack))) => Ok(ack),
            Ok(Ok(None)) => Err(UplinkError::Contract("the upload ended without an acknowledgement".to_owned())),
            Ok(Err(status)) => Err(self.peer.name("UploadReadings", &status)),
            Err(_) => Err(UplinkError::Timeout {
                authority: self.peer.authority.clone(),
                act: "acknowledge a batch",
                seconds: CALL_LIMIT.as_secs(),
            }),
        }
    }
}

/// Makes a batch of what the outbox holds.
#[must_use]
pub fn upload_batch(batch: Batch) -> v1::ReadingBatch {
    let chain = batch.entries.last().map_or(batch.previous_chain, |entry| entry.chain);
    let readings = batch.entries.into_iter().map(|entry| {
        let (record, thinned) = match entry.content {
            Content::Payload(payload) => (payload, false),
            Content::Thinned => (Vec::new(), true),
        };
        v1::StoredReading { seq: entry.seq.0, content_sha256: entry.sha256.to_vec(), record, thinned }
    });
    v1::ReadingBatch {
        epoch: batch.epoch.0,
        readings: readings.collect(),
        previous_chain: batch.previous_chain.to_vec(),
        chain: chain.to_vec(),
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
struct Watched {
    stream: TlsStream<TcpStream>,
    tls_error: Arc<Mutex<Option<rustls::Error>>>,
}

impl Watched {
    fn watch<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            *self.tls_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.clone());
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
