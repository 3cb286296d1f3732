//! The gRPC service of `proto/platen/v1/agent.proto`.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::Shared;
use super::db::Credential;
use super::device_port::Caller;
use super::enrolment::{self, EnrolError, Why};
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
    /// The box that calls, by its certificate. Looked up again at each call: a box may have been turned away, or have got a newer
    /// certificate, while it was connected.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Credential, Status> {
        let fingerprint = fingerprint_of(request).ok_or_else(unknown)?;
        let credential = check_welcome(&self.shared, &fingerprint).await?;
        if !credential.is_used {
            let has_ended_others =
                self.shared.database.used(&credential, self.shared.now_ms()).await.map_err(internal)?;
            if has_ended_others {
                // Whoever is connected by the certificate before this one.
                self.shared.broker.drop_session(&credential.box_id);
            }
        }
        Ok(credential)
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

fn fingerprint_of<T>(request: &Request<T>) -> Option<String> {
    request.extensions().get::<Caller>().and_then(|caller| caller.fingerprint.clone())
}

async fn check_welcome(shared: &Shared, fingerprint: &str) -> Result<Credential, Status> {
    shared.database.credential(fingerprint).await.map_err(internal)?.ok_or_else(unknown)
}

/// Why an enrolment does not go on, or a certificate is not made. Nothing here counts as a refusal of the box.
fn not_enrolled(error: EnrolError) -> Status {
    match error {
        EnrolError::Database(error) => internal(error),
        EnrolError::Authority(error) => {
            tracing::error!(%error, "the authority failed");
            Status::unavailable("the cloud cannot sign at the moment: try again later")
        }
        EnrolError::Refused(why, words) => {
            let code = match why {
                Why::Invalid => Code::InvalidArgument,
                Why::Unknown => Code::NotFound,
                Why::Forbidden => Code::FailedPrecondition,
                Why::Again => Code::AlreadyExists,
                Why::TooMany => Code::ResourceExhausted,
            };
            Status::new(code, words)
        }
    }
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
        let credential = self.caller(&request).await?;
        let id = credential.box_id.clone();
        let request = request.into_inner();
        let shared = &self.shared;
        let polled = intake::poll(&shared.database, &id, &request, shared.poll_interval_s, shared.now_ms()).await;
        let (resend, standby, end_epoch) = match polled.map_err(internal)? {
            Polled::Welcome { resend, standby, end_epoch } => (resend, standby, end_epoch),
            Polled::Suspended(reason) => return Err(suspended(&reason)),
        };
        let revision = request.status.unwrap_or_default().config_revision;
        let config = shared.database.config(&id, revision).await.map_err(internal)?;
        let tasks = shared.database.open_tasks(&id).await.map_err(internal)?;
        let decommission = enrolment::decommission(&shared.database, &shared.authority, &credential, shared.now_ms());
        let decommission = decommission.await.map_err(not_enrolled)?;
        Ok(Response::new(v1::PollReply {
            server_time_unix_ms: u64::try_from(now_ms()).unwrap_or(0),
            next_poll_s: shared.poll_interval_s,
            config,
            tasks,
            resend,
            standby,
            end_epoch,
            decommission,
        }))
    }

    /// For everybody, also without a certificate: what time it is, is no secret.
    async fn get_time(&self, request: Request<v1::TimeRequest>) -> Result<Response<v1::TimeReply>, Status> {
        let nonce = request.into_inner().nonce;
        check_nonce(&nonce)?;
        let unix_ms = u64::try_from(now_ms()).unwrap_or(0);
        let signature = self.sign(&signed::time(&nonce, unix_ms, TIME_RADIUS_MS))?;
        Ok(Response::new(v1::TimeReply { unix_ms, radius_ms: TIME_RADIUS_MS, signature }))
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverReply>, Status> {
        // Not `caller`: a box that was refused may ask this, and one whose certificate has ended has none to show.
        let caller = match fingerprint_of(&request) {
            Some(fingerprint) => self.shared.database.credential(&fingerprint).await.map_err(internal)?,
            None => None,
        };
        let (shared, asked) = (&self.shared, request.into_inner());
        let reply =
            enrolment::recover(&shared.database, &shared.authority, caller.as_ref(), &asked, shared.now_ms()).await;
        Ok(Response::new(reply.map_err(not_enrolled)?))
    }

    async fn start_enrollment(
        &self,
        request: Request<v1::StartEnrollmentRequest>,
    ) -> Result<Response<v1::StartEnrollmentReply>, Status> {
        let address = request.extensions().get::<Caller>().map(|caller| caller.address).ok_or_else(unknown)?;
        let (shared, now_ms) = (&self.shared, self.shared.now_ms());
        let asked = request.into_inner();
        let started =
            enrolment::start(&shared.database, &shared.authority, &asked, address, &shared.portal_url, now_ms);
        Ok(Response::new(started.await.map_err(not_enrolled)?))
    }

    async fn poll_enrollment(
        &self,
        request: Request<v1::PollEnrollmentRequest>,
    ) -> Result<Response<v1::PollEnrollmentReply>, Status> {
        let polled = enrolment::poll(&self.shared.database, &request.into_inner(), self.shared.now_ms()).await;
        Ok(Response::new(polled.map_err(not_enrolled)?))
    }

    async fn confirm_presence(
        &self,
        request: Request<v1::ConfirmPresenceRequest>,
    ) -> Result<Response<v1::ConfirmPresenceReply>, Status> {
        let shared = &self.shared;
        let confirmed =
            enrolment::confirm(&shared.database, &shared.authority, &request.into_inner(), shared.now_ms()).await;
        confirmed.map_err(not_enrolled)?;
        Ok(Response::new(v1::ConfirmPresenceReply {}))
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::RenewCertificateReply>, Status> {
        let id = self.caller(&request).await?.box_id;
        let shared = &self.shared;
        let renewed =
            enrolment::renew(&shared.database, &shared.authority, &id, &request.into_inner(), shared.now_ms()).await;
        Ok(Response::new(v1::RenewCertificateReply { enrolled: Some(renewed.map_err(not_enrolled)?) }))
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveReply>, Status> {
        let id = self.caller(&request).await?.box_id;
        let pending = request.into_inner().pending;
        enrolment::leave(&self.shared.database, &id, pending, self.shared.now_ms()).await.map_err(not_enrolled)?;
        self.shared.broker.drop_session(&id);
        Ok(Response::new(v1::LeaveReply {}))
    }

    type UploadReadingsStream = Pin<Box<dyn Stream<Item = Result<v1::UploadAck, Status>> + Send>>;

    async fn upload_readings(
        &self,
        request: Request<Streaming<v1::ReadingBatch>>,
    ) -> Result<Response<Self::UploadReadingsStream>, Status> {
        let credential = self.caller(&request).await?;
        let state = (self.shared.clone(), credential, request.into_inner());
        // Each batch is answered before the next one is taken, so nothing piles up here.
        let acks = futures_util::stream::try_unfold(state, |(shared, credential, mut batches)| async move {
            let Some(batch) = batches.message().await? else { return Ok(None) };
            // A stream may outlive the box's welcome.
            check_welcome(&shared, &credential.fingerprint).await?;
            let ack = store_batch(&shared, &credential.box_id, &batch).await?;
            Ok(Some((ack, (shared, credential, batches))))
        });
        Ok(Response::new(Box::pin(acks)))
    }

    async fn report_task(&self, request: Request<v1::TaskReport>) -> Result<Response<v1::TaskReportReply>, Status> {
        let id = self.caller(&request).await?.box_id;
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
