//! The gRPC service of `proto/platen/v1/agent.proto`.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::db::Stored;
use super::device_port::Caller;
use super::now_ms;
use crate::proto::v1;
use crate::proto::v1::agent_server::Agent;

/// Readings of one batch, and their bytes: the contract's limits.
const BATCH_MAX_COUNT: usize = 500;
const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Alone, a reading may be this large, in bytes.
const READING_MAX_BYTES: usize = 256 * 1024;

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
}

fn unknown() -> Status {
    Status::unauthenticated("this certificate belongs to no box of this cloud")
}

async fn check_welcome(shared: &Shared, id: &str) -> Result<(), Status> {
    if shared.database.is_welcome(id).await.map_err(internal)? { Ok(()) } else { Err(unknown()) }
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
        let status = request.into_inner().status.unwrap_or_default();
        let config = self.shared.database.polled(&id, &status).await.map_err(internal)?;
        let tasks = self.shared.database.open_tasks(&id).await.map_err(internal)?;
        Ok(Response::new(v1::PollReply {
            server_time_unix_ms: u64::try_from(now_ms()).unwrap_or(0),
            next_poll_s: self.shared.poll_interval_s,
            config,
            tasks,
            ..v1::PollReply::default()
        }))
    }

    async fn get_time(&self, _: Request<v1::TimeRequest>) -> Result<Response<v1::TimeReply>, Status> {
        Err(Status::unimplemented("this cloud does not sign the time yet"))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverReply>, Status> {
        Ok(Response::new(v1::RecoverReply::default()))
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
    check(batch)?;
    match shared.database.store(id, batch).await.map_err(internal)? {
        Stored::UpTo(contiguous_seq) => Ok(v1::UploadAck { epoch: batch.epoch, contiguous_seq }),
        Stored::Conflict(seq) => {
            let detail = format!("epoch {:016x} seq {seq}", batch.epoch);
            shared.database.event(id, "seq_conflict", &detail).await.map_err(internal)?;
            Err(Status::already_exists(format!("reading {seq} of this epoch was stored before with other content")))
        }
    }
}

fn check(batch: &v1::ReadingBatch) -> Result<(), Status> {
    let refuse = |why: &str| Err(Status::invalid_argument(why));
    let bytes: usize = batch.readings.iter().map(|stored| stored.record.len()).sum();
    if batch.epoch == 0 || batch.readings.is_empty() {
        return refuse("a batch has an epoch and at least one reading");
    }
    if batch.readings.len() > BATCH_MAX_COUNT || (bytes > BATCH_MAX_BYTES && batch.readings.len() > 1) {
        return refuse("a batch has at most 500 readings and 512 KiB");
    }
    let first = batch.readings.first().map_or(0, |stored| stored.seq);
    for (expected, stored) in (first..).zip(&batch.readings) {
        if stored.seq == 0 || stored.seq != expected || i64::try_from(stored.seq).is_err() {
            return refuse("sequence numbers begin with 1 and ascend by one");
        }
        if stored.record.len() > READING_MAX_BYTES {
            return refuse("a reading has at most 256 KiB");
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, &stored.record);
        if digest.as_ref() != stored.content_sha256 {
            return refuse("a reading does not match its SHA-256");
        }
    }
    Ok(())
}
