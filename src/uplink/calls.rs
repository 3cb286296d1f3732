//! The cloud as the agent sees it: calls, and sessions of them. Behind a trait, so that a simulated world can stand in the
//! place of gRPC, proxies and TLS.

use super::way::WayMemory;
use super::{CloudSession, Dialer, Endpoint, TimeKeeper, UplinkError};
use crate::cause::{Cause, Trouble};
use crate::proto::v1;

/// A cloud that can be called.
pub trait Cloud: Send + Sync + 'static {
    /// An open connection to it.
    type Session: Session;

    /// What is not as it should be with the way there, though the calls arrive.
    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    /// Opens a connection for one round of calls.
    ///
    /// # Errors
    /// The cause by its name.
    fn open(&self) -> impl Future<Output = Result<Self::Session, UplinkError>> + Send;

    /// Asks, for a disabled box, whether somebody has enabled it again.
    ///
    /// # Errors
    /// The cause by its name.
    fn recover(
        &self,
        request: v1::RecoverRequest,
    ) -> impl Future<Output = Result<v1::RecoverReply, UplinkError>> + Send;
}

/// One round of calls.
pub trait Session: Send {
    /// How its calls travel, in the words of the contract (`BoxStatus.transport`).
    fn transport(&self) -> &'static str {
        "h2"
    }

    /// Says how the box is and asks what is wanted.
    ///
    /// # Errors
    /// The cause by its name.
    fn poll(&mut self, request: v1::PollRequest) -> impl Future<Output = Result<v1::PollReply, UplinkError>> + Send;

    /// Delivers one batch and waits for its acknowledgement.
    ///
    /// # Errors
    /// The cause by its name. What was sent may or may not have arrived: it stays in the outbox and is sent again.
    fn upload(&mut self, batch: v1::ReadingBatch) -> impl Future<Output = Result<v1::UploadAck, UplinkError>> + Send;

    /// Says what became of a task.
    ///
    /// # Errors
    /// The cause by its name.
    fn report_task(&mut self, report: v1::TaskReport) -> impl Future<Output = Result<(), UplinkError>> + Send;

    /// Asks for a new certificate.
    ///
    /// # Errors
    /// The cause by its name; a cloud that has no such call breaks the contract.
    fn renew_certificate(
        &mut self,
        _request: v1::RenewCertificateRequest,
    ) -> impl Future<Output = Result<v1::RenewCertificateReply, UplinkError>> + Send {
        std::future::ready(Err(UplinkError::Contract("this cloud renews no certificates".to_owned())))
    }

    /// Says that the box is about to forget who it is.
    ///
    /// # Errors
    /// As [`renew_certificate`](Self::renew_certificate).
    fn leave(&mut self, _request: v1::LeaveRequest) -> impl Future<Output = Result<(), UplinkError>> + Send {
        std::future::ready(Err(UplinkError::Contract("this cloud lets nobody leave".to_owned())))
    }
}

/// The real cloud: gRPC over the one dialer. Clones remember together which way passes.
#[derive(Debug, Clone)]
pub struct GrpcCloud {
    dialer: Dialer,
    endpoint: Endpoint,
    ways: WayMemory,
}

impl GrpcCloud {
    /// The cloud at `endpoint`.
    #[must_use]
    pub fn new(dialer: Dialer, endpoint: Endpoint) -> Self {
        Self { dialer, endpoint, ways: WayMemory::default() }
    }
}

impl Cloud for GrpcCloud {
    type Session = CloudSession;

    fn troubles(&self) -> Vec<Trouble> {
        let words = "the calls go by gRPC-Web over HTTP/1.1";
        let web = self.ways.is_on_web().then(|| Trouble::new(Cause::Http2Blocked, words));
        let time = self.dialer.tls().time().and_then(TimeKeeper::trouble);
        web.into_iter().chain(time).collect()
    }

    async fn open(&self) -> Result<CloudSession, UplinkError> {
        CloudSession::open_by(&self.dialer, &self.endpoint, &self.ways).await
    }

    async fn recover(&self, request: v1::RecoverRequest) -> Result<v1::RecoverReply, UplinkError> {
        CloudSession::open_by(&self.dialer, &self.endpoint, &self.ways).await?.recover(request).await
    }
}

impl Session for CloudSession {
    fn transport(&self) -> &'static str {
        CloudSession::transport(self)
    }

    async fn poll(&mut self, request: v1::PollRequest) -> Result<v1::PollReply, UplinkError> {
        CloudSession::poll(self, request).await
    }

    async fn upload(&mut self, batch: v1::ReadingBatch) -> Result<v1::UploadAck, UplinkError> {
        CloudSession::upload(self, batch).await
    }

    async fn report_task(&mut self, report: v1::TaskReport) -> Result<(), UplinkError> {
        CloudSession::report_task(self, report).await
    }

    async fn renew_certificate(
        &mut self,
        request: v1::RenewCertificateRequest,
    ) -> Result<v1::RenewCertificateReply, UplinkError> {
        CloudSession::renew_certificate(self, request).await
    }

    async fn leave(&mut self, request: v1::LeaveRequest) -> Result<(), UplinkError> {
        CloudSession::leave(self, request).await.map(drop)
    }
}
