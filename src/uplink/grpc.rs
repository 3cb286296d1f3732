//! The gRPC calls of `proto/platen/v1/agent.proto` over one connection of the dialer. A session lasts for one round of
//! poll, upload and report; between rounds nothing is kept open, so no NAT table has to remember the box.
//!
//! A session also learns the time where the box does not know it: see [`CloudSession::open`].

use std::time::Duration;

use tokio::sync::mpsc;

use super::dialer::within;
use super::time::TimeKeeper;
use super::verify::Purpose;
use super::way::{Transport, WayMemory};
use super::wire::{Peer, Wire};
use super::{Dialer, Endpoint, UplinkError};
use crate::proto::signed::NONCE_BYTES;
use crate::proto::v1::agent_client::AgentClient;
use crate::proto::v1::{self, ClockQuality};
use crate::store::{Batch, Content};
use crate::sys::{Clock, Entropy, SystemEntropy};

/// Longest time for the answer to one call.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// Longest time in which nothing at all moves while a batch is under way: on a thin line a batch takes longer than a call may.
/// Looked at every [`SILENCE_STEP`], so twenty seconds at most.
const SILENCE_LIMIT: Duration = Duration::from_secs(16);
const SILENCE_STEP: Duration = Duration::from_secs(4);
/// Longest time for a batch and its acknowledgement: 512 KiB at 16 kbit/s.
const BATCH_LIMIT: Duration = Duration::from_secs(300);
/// Largest message taken from the cloud, in bytes.
pub(super) const DECODE_MAX_BYTES: usize = 1024 * 1024;
/// Largest message sent to the cloud, in bytes: a batch of 512 KiB and its frame.
pub(super) const ENCODE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// One connection to the cloud.
#[derive(Debug)]
pub struct CloudSession {
    client: AgentClient<Wire>,
    peer: Peer,
    time: Option<TimeKeeper>,
    cloud_key: Option<super::CloudKey>,
    transport: Transport,
    ways: WayMemory,
    /// The stream of batches, from the first batch on.
    upload: Option<Upload>,
}

impl CloudSession {
    /// Opens the connection.
    ///
    /// Where the box's clock says that the server's certificate is not valid yet (or no longer, and the clock is only a guess),
    /// a connection of its own asks for the signed time and nothing else; then the cloud is dialled again with full checks. And
    /// as long as the clock has no signed time, the session asks for one first and is opened again: a certificate that has
    /// expired may have looked valid to a clock that is behind.
    ///
    /// # Errors
    /// As [`Dialer::dial`].
    pub async fn open(dialer: &Dialer, endpoint: &Endpoint) -> Result<Self, UplinkError> {
        Self::open_by(dialer, endpoint, &WayMemory::default()).await
    }

    /// As [`open`](Self::open), by the way that passed before.
    pub(super) async fn open_by(dialer: &Dialer, endpoint: &Endpoint, ways: &WayMemory) -> Result<Self, UplinkError> {
        if let Some(time) = dialer.tls().time() {
            time.clock().look_at_system();
        }
        match Self::dial(dialer, endpoint, Purpose::Calls, ways).await {
            Err(error) if error.wants_the_time() && dialer.tls().time().is_some() => {
                tracing::info!(%error, "asking for the time first");
                Self::dial(dialer, endpoint, Purpose::Time, ways).await?.learn_time().await?;
            }
            Ok(mut session) if session.wants_the_time() => {
                // Best effort: without it goes on, and tries again in the next session.
                if !session.learn_time_or_say().await {
                    return Ok(session);
                }
            }
            other => return other,
        }
        Self::dial(dialer, endpoint, Purpose::Calls, ways).await
    }

    fn wants_the_time(&self) -> bool {
        self.time.as_ref().is_some_and(|time| time.clock().quality() != ClockQuality::Token)
    }

    async fn dial(
        dialer: &Dialer,
        endpoint: &Endpoint,
        purpose: Purpose,
        ways: &WayMemory,
    ) -> Result<Self, UplinkError> {
        let authority = endpoint.authority();
        let offer = ways.offer();
        let stream =
            dialer.dial_for(endpoint, offer, purpose).await.inspect_err(|error| ways.not_opened(offer, error))?;
        let peer = Peer::new(&authority, &stream);
        let transport = Wire::agreed_on(&stream);
        let wire = Wire::over(stream, &peer).await.inspect_err(|_| ways.broke(transport))?;
        let client = AgentClient::new(wire)
            .max_decoding_message_size(DECODE_MAX_BYTES)
            .max_encoding_message_size(ENCODE_MAX_BYTES);
        let (time, cloud_key) = (dialer.tls().time().cloned(), dialer.tls().cloud_key());
        Ok(Self { client, peer, time, cloud_key, transport, ways: ways.clone(), upload: None })
    }

    /// How its calls travel: "h2" or "grpc-web".
    #[must_use]
    pub fn transport(&self) -> &'static str {
        self.transport.word()
    }

    /// Ends a call: names its failure, and remembers whether this way passes.
    fn end<T>(
        &self,
        call: &'static str,
        result: Result<Result<T, tonic::Status>, UplinkError>,
    ) -> Result<T, UplinkError> {
        let result = result.and_then(|answer| answer.map_err(|status| self.peer.name(call, &status)));
        match &result {
            _ if self.peer.has_answered() => self.ways.answered(self.transport),
            // A refusal in TLS is an answer of its own kind.
            Err(UplinkError::Rejected { .. }) | Ok(_) => {}
            Err(_) => self.ways.broke(self.transport),
        }
        result
    }

    /// Sets the clock by the cloud's signed word.
    async fn learn_time(&mut self) -> Result<(), UplinkError> {
        let Some(time) = self.time.clone() else { return Ok(()) };
        let unknown = |detail: String| UplinkError::Clock { authority: self.peer.authority().to_owned(), detail };
        let key = self
            .cloud_key
            .ok_or_else(|| unknown("there is no key of the cloud (PUBLIC KEY) beside the pinned roots".to_owned()))?;
        let nonce = SystemEntropy.bytes(NONCE_BYTES).map_err(|e| unknown(e.to_string()))?;
        let sent_ms = time.clock().monotonic_ms();
        let reply = self.client.get_time(v1::TimeRequest { nonce: nonce.clone() });
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer GetTime", reply).await;
        let received_ms = time.clock().monotonic_ms();
        let reply = self.end("GetTime", reply)?.into_inner();
        time.take(key, &nonce, &reply, sent_ms, received_ms).map_err(unknown)
    }

    /// Says whether it has learnt it.
    async fn learn_time_or_say(&mut self) -> bool {
        let learnt = self.learn_time().await;
        if let Err(error) = &learnt {
            tracing::info!(%error, "the cloud has not told the time");
        }
        learnt.is_ok()
    }

    /// Asks for the signed time, and whether the box is welcome: by a stream of readings without any, which changes nothing.
    /// Says why the time is not believed, where it is not.
    pub(super) async fn hello(&mut self) -> Result<Option<String>, UplinkError> {
        let doubt = match self.learn_time().await {
            Ok(()) => None,
            Err(UplinkError::Clock { detail, .. }) => Some(detail),
            Err(other) => return Err(other),
        };
        let nothing = futures_util::stream::empty::<v1::ReadingBatch>();
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer UploadReadings", async {
            self.client.upload_readings(nothing).await?.into_inner().message().await
        });
        let reply = reply.await;
        self.end("UploadReadings", reply).map(|_| doubt)
    }

    /// Says how the box is and asks what is wanted. The time in the reply corrects the clock's drift.
    ///
    /// # Errors
    /// [`UplinkError::Rejected`] when the cloud does not take the box's certificate; else the cause by its name.
    pub async fn poll(&mut self, request: v1::PollRequest) -> Result<v1::PollReply, UplinkError> {
        let now = |time: &Option<TimeKeeper>| time.as_ref().map_or(0, |time| time.clock().monotonic_ms());
        let sent_ms = now(&self.time);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer Poll", self.client.poll(request)).await;
        let reply = self.end("Poll", reply)?.into_inner();
        if let Some(time) = &self.time
            && time.clock().quality() == ClockQuality::Token
            && time.correct(reply.server_time_unix_ms, sent_ms, now(&self.time))
        {
            // The two are far apart: only a signed word can tell which is right. The next session is dialled by that.
            self.learn_time_or_say().await;
        }
        Ok(reply)
    }

    /// Says what became of a task.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn report_task(&mut self, report: v1::TaskReport) -> Result<(), UplinkError> {
        let reply = self.client.report_task(report);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer ReportTask", reply).await;
        self.end("ReportTask", reply).map(drop)
    }

    /// Asks whether a disabled box was enabled again.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn recover(&mut self, request: v1::RecoverRequest) -> Result<v1::RecoverReply, UplinkError> {
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer Recover", self.client.recover(request)).await;
        self.end("Recover", reply).map(tonic::Response::into_inner)
    }

    /// Asks that this box become somebody's.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn start_enrollment(
        &mut self,
        request: v1::StartEnrollmentRequest,
    ) -> Result<v1::StartEnrollmentReply, UplinkError> {
        let reply = self.client.start_enrollment(request);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer StartEnrollment", reply).await;
        self.end("StartEnrollment", reply).map(tonic::Response::into_inner)
    }

    /// Asks what became of that.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn poll_enrollment(
        &mut self,
        request: v1::PollEnrollmentRequest,
    ) -> Result<v1::PollEnrollmentReply, UplinkError> {
        let reply = self.client.poll_enrollment(request);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer PollEnrollment", reply).await;
        self.end("PollEnrollment", reply).map(tonic::Response::into_inner)
    }

    /// Says that somebody stands before the box.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn confirm_presence(
        &mut self,
        request: v1::ConfirmPresenceRequest,
    ) -> Result<v1::ConfirmPresenceReply, UplinkError> {
        let reply = self.client.confirm_presence(request);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer ConfirmPresence", reply).await;
        self.end("ConfirmPresence", reply).map(tonic::Response::into_inner)
    }

    /// Asks for a new certificate.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn renew_certificate(
        &mut self,
        request: v1::RenewCertificateRequest,
    ) -> Result<v1::RenewCertificateReply, UplinkError> {
        let reply = self.client.renew_certificate(request);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer RenewCertificate", reply).await;
        self.end("RenewCertificate", reply).map(tonic::Response::into_inner)
    }

    /// Says that the box is about to forget who it is.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn leave(&mut self, request: v1::LeaveRequest) -> Result<v1::LeaveReply, UplinkError> {
        let reply = self.client.leave(request);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer Leave", reply).await;
        self.end("Leave", reply).map(tonic::Response::into_inner)
    }

    /// Delivers a batch and waits for its acknowledgement.
    ///
    /// # Errors
    /// As [`CloudSession::poll`]. What was sent may or may not have arrived: it stays in the outbox and is sent again.
    pub async fn upload(&mut self, batch: v1::ReadingBatch) -> Result<v1::UploadAck, UplinkError> {
        let (mut stream, first) = match self.upload.take() {
            Some(stream) => (stream, Some(batch)),
            None => (self.open_upload(batch).await?, None),
        };
        let ack = while_it_lives(&self.peer, stream.exchange(first)).await;
        let ack = self.end("UploadReadings", ack)?;
        let ack = ack.ok_or_else(|| UplinkError::Contract("the upload ended without an acknowledgement".to_owned()))?;
        // Kept only while it is whole, and where a stream may have more than one batch.
        self.upload = Some(stream).filter(|_| self.transport == Transport::H2);
        Ok(ack)
    }

    /// Begins a stream with its first batch.
    async fn open_upload(&mut self, first: v1::ReadingBatch) -> Result<Upload, UplinkError> {
        // One batch at a time is under way: the next one is made when the last was acknowledged.
        let (batches, receiver) = mpsc::channel::<v1::ReadingBatch>(1);
        // There is room: the channel is new.
        let _sent = batches.try_send(first);
        let batches = Some(batches).filter(|_| self.transport == Transport::H2);
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        let reply = while_it_lives(&self.peer, self.client.upload_readings(stream)).await;
        let acks = self.end("UploadReadings", reply)?.into_inner();
        Ok(Upload { batches, acks })
    }
}

/// Waits for something that may take long, as long as there are signs of life from the peer.
async fn while_it_lives<F: Future>(peer: &Peer, future: F) -> Result<F::Output, UplinkError> {
    let silence = async {
        let (mut moved, mut silent) = (peer.moved_bytes(), Duration::ZERO);
        while silent < SILENCE_LIMIT {
            tokio::time::sleep(SILENCE_STEP).await;
            let now = peer.moved_bytes();
            silent = if now == moved { silent + SILENCE_STEP } else { Duration::ZERO };
            moved = now;
        }
        UplinkError::Timeout {
            authority: peer.authority().to_owned(),
            act: "let anything of a batch move",
            seconds: SILENCE_LIMIT.as_secs(),
        }
    };
    let limited = within(BATCH_LIMIT, peer.authority(), "acknowledge a batch", future);
    tokio::select! {
        result = limited => result,
        silent = silence => Err(silent),
    }
}

/// A stream of readings to the cloud and of acknowledgements back.
#[derive(Debug)]
struct Upload {
    /// `None` where the stream ended with its first batch.
    batches: Option<mpsc::Sender<v1::ReadingBatch>>,
    acks: tonic::Streaming<v1::UploadAck>,
}

impl Upload {
    /// Sends one more batch, where there is one, and waits for the next acknowledgement.
    async fn exchange(&mut self, batch: Option<v1::ReadingBatch>) -> Result<Option<v1::UploadAck>, tonic::Status> {
        if let (Some(batches), Some(batch)) = (&self.batches, batch) {
            // A closed channel means that the stream ended: its status says why, so the answer is read in any case.
            let _closed = batches.send(batch).await;
        }
        self.acks.message().await
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
