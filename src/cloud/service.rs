//! The gRPC service of `proto/platen/v1/agent.proto`.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::Shared;
use super::device_port::Caller;
use super::intake::{self, Outcome, Polled};
use super::now_ms;
use crate::proto::v1::agent_server::Agent;
use crate::proto::{rich_status, signed, v1};

/// How far this cloud's clock may be off, in milliseconds: a server that a time server keeps.
const TIME_RADIUS_MS: u64 = 1_000;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct AgentService {
    pub shared: Shared,
}

impl AgentService {
    /// The box that calls. Looked up again at each call: a box may have been turned away while it was connected.
    async fn caller<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let caller = request.extensions().get::<Caller>().cloned().ok_or_else(unknown)?;
        let id = caller.box_id.ok_or_else(unknown)?;
        check_welcome(&self.shared, &id).await?;
        Ok(id)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Status> {
        self.shared.authority.sign_message(message).map_err(|error| {
            tracing::error!(%error, "signing failed");
            Status::unavailable("the cloud cannot sign at the moment: try again later")
        })
    }
}

fn check_nonce(nonce: &[u8]) -> Result<(), Status> {
    if nonce.len() == signed::NONCE_BYTES { Ok(()) } else { Err(Status::invalid_argument("a nonce has 32 bytes")) }
}

/// Refuses so that it counts: a box believes it only with this in it.
fn unknown() -> Status {
    let message = "this certificate belongs to no box of this cloud".to_owned();
    let reject = v1::AuthReject { cause: v1::Cause::Refused.into(), message };
    rich_status::auth_rejected(Code::Unauthenticated, &reject)
}

async fn check_welcome(shared: &Shared, id: &str) -> Result<(), Status> {
    if shared.database.is_welcome(id).await.map_err(internal)? { Ok(()) } else { Err(unknown()) }
}

/// This box is stopped until somebody has looked: (contract) with the proof that it is this cloud that says so.
fn suspended(reason: &str) -> Status {
    let message = format!("this box is stopped ({reason}) until somebody has looked; the portal has a button");
    let reject = v1::AuthReject { cause: v1::Cause::Suspended.into(), message };
    rich_status::auth_rejected(Code::PermissionDenied, &reject)
}

/// What went wrong inside is logged and not told.
fn internal(error: sqlx::Error) -> Status {
    tracing::error!(%error, "the database failed");
    Status::unavailable("the cloud cannot store anything at the moment: try again later")
}

#[tonic::async_trait]
impl Agent for AgentService {
    async fn poll(&self, request: Request<v1::PollRequest>) -> Result<Response<v1::PollReply>, Status> {
        let id = self.caller(&request).await?;
        let request = request.into_inner();
        let shared = &self.shared;
        let polled = intake::poll(&shared.database, &id, &request, shared.poll_interval_s, now_ms()).await;
        let (resend, standby, end_epoch) = match polled.map_err(internal)? {
            Polled::Welcome { resend, standby, end_epoch } => (resend, standby, end_epoch),
            Polled::Suspended(reason) => return Err(suspended(&reason)),
        };
        let revision = request.status.unwrap_or_default().config_revision;
        let config = shared.database.config(&id, revision).await.map_err(internal)?;
        let tasks = shared.database.open_tasks(&id).await.map_err(internal)?;
        Ok(Response::new(v1::PollReply {
            server_time_unix_ms: u64::try_from(now_ms()).unwrap_or(0),
            next_poll_s: shared.poll_interval_s,
            config,
            tasks,
            resend,
            standby,
            end_epoch,
            decommission: None,
        }))
    }

    /// For whoever shows a certificate of ours, also one that was turned away: what time it is, is no secret.
    async fn get_time(&self, request: Request<v1::TimeRequest>) -> Result<Response<v1::TimeReply>, Status> {
        let nonce = request.into_inner().nonce;
        check_nonce(&nonce)?;
        let unix_ms = u64::try_from(now_ms()).unwrap_or(0);
        let signature = self.sign(&signed::time(&nonce, unix_ms, TIME_RADIUS_MS))?;
        Ok(Response::new(v1::TimeReply { unix_ms, radius_ms: TIME_RADIUS_MS, signature }))
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverReply>, Status> {
        // Not `caller`: a box that was refused may ask this.
        let id = request.extensions().get::<Caller>().and_then(|caller| caller.box_id.clone());
        let asked = request.into_inner();
        check_nonce(&asked.nonce)?;
        // Whoever would be welcome now has been enabled: the box only does not know it yet.
        let allowed = match id.filter(|id| *id == asked.box_id) {
            Some(id) => self.shared.database.would_be_welcome(&id).await.map_err(internal)?,
            None => false,
        };
        let ticket = match allowed {
            true => self.sign(&signed::retry(&asked.nonce, asked.generation, &asked.box_id))?,
            false => Vec::new(),
        };
        Ok(Response::new(v1::RecoverReply { ticket, ..Default::default() }))
    }

    async fn start_enrollment(
        &self,
        _request: Request<v1::StartEnrollmentRequest>,
    ) -> Result<Response<v1::StartEnrollmentReply>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn poll_enrollment(
        &self,
        _request: Request<v1::PollEnrollmentRequest>,
    ) -> Result<Response<v1::PollEnrollmentReply>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn confirm_presence(
        &self,
        _request: Request<v1::ConfirmPresenceRequest>,
    ) -> Result<Response<v1::ConfirmPresenceReply>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn renew_certificate(
        &self,
        _request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::RenewCertificateReply>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn leave(&self, _request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveReply>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    type UploadReadingsStream = Pin<Box<dyn Stream<Item = Result<v1::UploadAck, Status>> + Send>>;

    async fn upload_readings(
        &self,
        request: Request<Streaming<v1::ReadingBatch>>,
    ) -> Result<Response<Self::UploadReadingsStream>, Status> {
        let id = self.caller(&request).await?;
        let state = (self.shared.clone(), id, request.into_inner());
        // Each batch is answered before the next one is taken, so nothing piles up here.
        let acks = futures_util::stream::try_unfold(state, |(shared, id, mut batches)| async move {
            let Some(batch) = batches.message().await? else { return Ok(None) };
            // A stream may outlive the box's welcome.
            check_welcome(&shared, &id).await?;
            let ack = store_batch(&shared, &id, &batch).await?;
            Ok(Some((ack, (shared, id, batches))))
        });
        Ok(Response::new(Box::pin(acks)))
    }

    async fn report_task(&self, request: Request<v1::TaskReport>) -> Result<Response<v1::TaskReportReply>, Status> {
        let id = self.caller(&request).await?;
        self.shared.database.reported(&id, &request.into_inner()).await.map_err(internal)?;
        Ok(Response::new(v1::TaskReportReply {}))
    }
}

async fn store_batch(shared: &Shared, id: &str, batch: &v1::ReadingBatch) -> Result<v1::UploadAck, Status> {
    match intake::accept(&shared.database, id, batch, now_ms()).await.map_err(internal)? {
        Outcome::UpTo(_) if fastrand::u8(0..100) < shared.trial.lose_acks_percent => {
            Err(Status::unavailable("this acknowledgement is lost for a trial (--lose-acks)"))
        }
        Outcome::UpTo(contiguous_seq) => Ok(v1::UploadAck { epoch: batch.epoch, contiguous_seq }),
        Outcome::Conflict(seq) => {
            Err(Status::already_exists(format!("reading {seq} of this epoch was stored before with other content")))
        }
        Outcome::ChainBroken(seq) => {
            Err(Status::already_exists(format!("the hash chain of this epoch does not fit after reading {seq}")))
        }
        Outcome::Refused(why) => Err(Status::invalid_argument(why)),
        Outcome::Suspended(reason) => Err(suspended(&reason)),
    }
}
