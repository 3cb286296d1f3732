//! A cloud that stands in for the real one: it shows the certificate, tells the time and gives the answers that a test wants.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use platen::proto::v1::agent_server::{Agent, AgentServer};
use platen::proto::{signed, v1};
use rcgen::{KeyPair, PKCS_ED25519, SigningKey};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, Streaming};
use tower::{Layer, ServiceExt};

/// How calls other than GetTime are answered.
#[derive(Clone)]
pub enum Answer {
    Well,
    Status(Status),
    /// HTTP itself: status, and after how many seconds to come again.
    Http(u16, Option<u64>),
    Never,
}

/// What the tests look at and turn.
pub struct State {
    /// The cloud's time, milliseconds since 1970. Stands still.
    pub now_ms: AtomicU64,
    pub answer: Mutex<Answer>,
    pub calls: Mutex<Vec<&'static str>>,
    /// Handshakes in which the other side has shown its certificate.
    pub certificates_seen: AtomicUsize,
    pub connections: AtomicUsize,
    key: Mutex<KeyPair>,
}

impl State {
    /// From now on the time is signed by somebody else.
    pub fn sign_by_another(&self) {
        *self.key.lock().unwrap() = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    }

    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

/// The key by which a stand-in signs: made first, because boxes pin it.
pub struct SignedBy(KeyPair);

impl SignedBy {
    pub fn new() -> Self {
        Self(KeyPair::generate_for(&PKCS_ED25519).unwrap())
    }

    pub fn public_pem(&self) -> String {
        self.0.public_key_pem()
    }
}

/// A stand-in that runs until it is dropped.
pub struct StandIn {
    pub port: u16,
    pub state: Arc<State>,
    tls: tokio::sync::watch::Sender<Arc<rustls::ServerConfig>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    pub async fn start(tls: rustls::ServerConfig, now_ms: u64, key: SignedBy) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), tls, now_ms, key).await
    }

    /// At an address that the caller chooses.
    pub async fn start_at(at: SocketAddr, tls: rustls::ServerConfig, now_ms: u64, key: SignedBy) -> Self {
        let listener = tokio::net::TcpListener::bind(at).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            now_ms: AtomicU64::new(now_ms),
            answer: Mutex::new(Answer::Well),
            calls: Mutex::default(),
            certificates_seen: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            key: Mutex::new(key.0),
        });
        let (tls, configured) = tokio::sync::watch::channel(Arc::new(tls));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(tcp, TlsAcceptor::from(configured.borrow().clone()), shared.clone()));
            }
        });
        Self { port, state, tls, task }
    }

    /// From the next connection on it shows another certificate.
    pub fn show(&self, tls: rustls::ServerConfig) {
        self.tls.send_replace(Arc::new(tls));
    }
}

async fn serve(tcp: tokio::net::TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    if tls.get_ref().1.peer_certificates().is_some() {
        state.certificates_seen.fetch_add(1, Ordering::Relaxed);
    }
    let agent = tonic_web::GrpcWebLayer::new().layer(AgentServer::new(Answering(state.clone())));
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (agent, answer) = (agent.clone(), state.answer.lock().unwrap().clone());
        async move {
            if let (Answer::Http(status, after), false) = (answer, request.uri().path().ends_with("GetTime")) {
                let mut response = http::Response::builder().status(status);
                if let Some(after) = after {
                    response = response.header("retry-after", after.to_string());
                }
                return Ok::<_, std::convert::Infallible>(response.body(tonic::body::Body::empty()).unwrap());
            }
            agent.oneshot(request).await
        }
    });
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

#[derive(Clone)]
struct Answering(Arc<State>);

impl Answering {
    async fn called<T>(&self, name: &'static str, well: T) -> Result<Response<T>, Status> {
        self.0.calls.lock().unwrap().push(name);
        let answer = self.0.answer.lock().unwrap().clone();
        match answer {
            Answer::Well | Answer::Http(..) => Ok(Response::new(well)),
            Answer::Status(status) => Err(status),
            Answer::Never => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl Agent for Answering {
    async fn get_time(&self, request: Request<v1::TimeRequest>) -> Result<Response<v1::TimeReply>, Status> {
        self.0.calls.lock().unwrap().push("GetTime");
        let (unix_ms, radius_ms) = (self.0.now_ms.load(Ordering::Relaxed), 1_000);
        let message = signed::time(&request.into_inner().nonce, unix_ms, radius_ms);
        let signature = self.0.key.lock().unwrap().sign(&message).unwrap();
        Ok(Response::new(v1::TimeReply { unix_ms, radius_ms, signature }))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverReply>, Status> {
        self.called("Recover", v1::RecoverReply::default()).await
    }

    async fn poll(&self, _: Request<v1::PollRequest>) -> Result<Response<v1::PollReply>, Status> {
        let server_time_unix_ms = self.0.now_ms.load(Ordering::Relaxed);
        self.called("Poll", v1::PollReply { server_time_unix_ms, ..v1::PollReply::default() }).await
    }

    type UploadReadingsStream = Pin<Box<dyn futures_util::Stream<Item = Result<v1::UploadAck, Status>> + Send>>;

    async fn upload_readings(
        &self,
        request: Request<Streaming<v1::ReadingBatch>>,
    ) -> Result<Response<Self::UploadReadingsStream>, Status> {
        self.called("UploadReadings", ()).await?;
        let acks = request.into_inner().map(|batch| {
            let batch = batch?;
            let contiguous_seq = batch.readings.last().map_or(0, |reading| reading.seq);
            Ok(v1::UploadAck { epoch: batch.epoch, contiguous_seq })
        });
        Ok(Response::new(Box::pin(acks)))
    }

    async fn report_task(&self, _: Request<v1::TaskReport>) -> Result<Response<v1::TaskReportReply>, Status> {
        self.called("ReportTask", v1::TaskReportReply {}).await
    }

    async fn start_enrollment(
        &self,
        _: Request<v1::StartEnrollmentRequest>,
    ) -> Result<Response<v1::StartEnrollmentReply>, Status> {
        self.called("StartEnrollment", v1::StartEnrollmentReply::default()).await
    }

    async fn poll_enrollment(
        &self,
        _: Request<v1::PollEnrollmentRequest>,
    ) -> Result<Response<v1::PollEnrollmentReply>, Status> {
        self.called("PollEnrollment", v1::PollEnrollmentReply::default()).await
    }

    async fn confirm_presence(
        &self,
        _: Request<v1::ConfirmPresenceRequest>,
    ) -> Result<Response<v1::ConfirmPresenceReply>, Status> {
        self.called("ConfirmPresence", v1::ConfirmPresenceReply::default()).await
    }

    async fn renew_certificate(
        &self,
        _: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::RenewCertificateReply>, Status> {
        self.called("RenewCertificate", v1::RenewCertificateReply::default()).await
    }

    async fn leave(&self, _: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveReply>, Status> {
        self.called("Leave", v1::LeaveReply::default()).await
    }
}
