//! The gRPC calls of `proto/platen/v1/agent.proto` over one connection of the dialer. A session lasts for one round of
//! poll, upload and report; between rounds nothing is kept open, so no NAT table has to remember the box.
//!
//! A session also learns the time where the box does not know it: see [`CloudSession::open`].

use std::time::Duration;

use tokio::sync::mpsc;

use super::dialer::within;
use super::time::TimeKeeper;
use super::verify::Purpose;
use super::wire::{Peer, Wire};
use super::{Dialer, Endpoint, UplinkError};
use crate::proto::signed::NONCE_BYTES;
use crate::proto::v1::agent_client::AgentClient;
use crate::proto::v1::{self, ClockQuality};
use crate::store::{Batch, Content};
use crate::sys::{Clock, Entropy, SystemEntropy};

/// Longest time for the answer to one call.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// Longest time in which nothing at all comes in while a batch is under way: on a thin line a batch takes longer than a call
/// may, and the peer's signs of life come in meanwhile.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);
/// Longest time for a batch and its acknowledgement: 512 KiB at 16 kbit/s.
const BATCH_LIMIT: Duration = Duration::from_secs(300);
/// Largest message taken from the cloud, in bytes.
const DECODE_MAX_BYTES: usize = 1024 * 1024;
/// Largest message sent to the cloud, in bytes: a batch of 512 KiB and its frame.
const ENCODE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// One connection to the cloud.
#[derive(Debug)]
pub struct CloudSession {
    client: AgentClient<Wire>,
    peer: Peer,
    time: Option<TimeKeeper>,
    cloud_key: Option<super::CloudKey>,
    /// The stream of batches, from the first batch on.
    upload: Option<Upload>,
}

impl CloudSession {
    /// Opens the connection.
    ///
    /// Where the box's clock says that the server's certificate is not valid yet (or no longer, and the clock is only a guess),
    /// a connection of its own asks for the signed time and nothing else; then the cloud is dialled again with full checks. And
    /// as long as the clock has no signed time, the session asks for one first.
    ///
    /// # Errors
    /// As [`Dialer::dial`]; or when the server does not speak HTTP/2.
    pub async fn open(dialer: &Dialer, endpoint: &Endpoint) -> Result<Self, UplinkError> {
        let mut session = match Self::dial(dialer, endpoint, Purpose::Calls).await {
            Err(error) if error.wants_the_time() && dialer.tls().time().is_some() => {
                tracing::info!(%error, "asking for the time first");
                Self::learn_time_apart(dialer, endpoint).await?;
                return Self::dial(dialer, endpoint, Purpose::Calls).await;
            }
            other => other?,
        };
        if let Some(time) = &session.time {
            time.clock().look_at_system();
            if time.clock().quality() != ClockQuality::Token {
                // Best effort: it goes on without, and tries again in the next session.
                session.learn_time_or_say().await;
            }
        }
        Ok(session)
    }

    async fn dial(dialer: &Dialer, endpoint: &Endpoint, purpose: Purpose) -> Result<Self, UplinkError> {
        let authority = endpoint.authority();
        let stream = dialer.dial_for(endpoint, &[b"h2"], purpose).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let detail = "the server does not offer HTTP/2 (ALPN h2): something between may be speaking HTTP/1.1";
            return Err(UplinkError::Tls { authority, detail: detail.to_owned() });
        }
        let peer = Peer::new(&authority, &stream);
        let wire = Wire::h2(stream, &peer).await?;
        let client = AgentClient::new(wire)
            .max_decoding_message_size(DECODE_MAX_BYTES)
            .max_encoding_message_size(ENCODE_MAX_BYTES);
        let (time, cloud_key) = (dialer.tls().time().cloned(), dialer.tls().cloud_key());
        Ok(Self { client, peer, time, cloud_key, upload: None })
    }

    /// Asks for the time over a connection that is good for nothing else, because the dates of its certificate are in question.
    async fn learn_time_apart(dialer: &Dialer, endpoint: &Endpoint) -> Result<(), UplinkError> {
        let mut session = Self::dial(dialer, endpoint, Purpose::Time).await?;
        session.learn_time().await
    }

    /// Sets the clock by the cloud's signed word.
    async fn learn_time(&mut self) -> Result<(), UplinkError> {
        let Some(time) = self.time.clone() else { return Ok(()) };
        let unknown = |detail: String| UplinkError::Clock { authority: self.peer.authority().to_owned(), detail };
        let key = self
            .cloud_key
            .ok_or_else(|| unknown("there is no key of the cloud (PUBLIC KEY) beside the pinned roots".to_owned()))?;
        let mut nonce = vec![0; NONCE_BYTES];
        SystemEntropy.fill(&mut nonce).map_err(|e| unknown(e.to_string()))?;
        let sent_ms = time.clock().monotonic_ms();
        let reply = self.client.get_time(v1::TimeRequest { nonce: nonce.clone() });
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer GetTime", reply).await?;
        let received_ms = time.clock().monotonic_ms();
        let reply = reply.map_err(|status| self.peer.name("GetTime", &status))?.into_inner();
        time.take(key, &nonce, &reply, sent_ms, received_ms).map_err(unknown)
    }

    async fn learn_time_or_say(&mut self) {
        if let Err(error) = self.learn_time().await {
            tracing::info!(%error, "the cloud has not told the time");
        }
    }

    /// Says how the box is and asks what is wanted. The time in the reply corrects the clock's drift.
    ///
    /// # Errors
    /// [`UplinkError::Rejected`] when the cloud does not take the box's certificate; else the cause by its name.
    pub async fn poll(&mut self, request: v1::PollRequest) -> Result<v1::PollReply, UplinkError> {
        let now = |time: &Option<TimeKeeper>| time.as_ref().map_or(0, |time| time.clock().monotonic_ms());
        let sent_ms = now(&self.time);
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer Poll", self.client.poll(request)).await?;
        let reply = reply.map_err(|status| self.peer.name("Poll", &status))?.into_inner();
        if let Some(time) = &self.time
            && time.clock().quality() == ClockQuality::Token
            && time.correct(reply.server_time_unix_ms, sent_ms, now(&self.time))
        {
            // The two are far apart: only a signed word can tell which is right.
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
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer ReportTask", reply).await?;
        reply.map(drop).map_err(|status| self.peer.name("ReportTask", &status))
    }

    /// Asks whether a disabled box was enabled again.
    ///
    /// # Errors
    /// As [`CloudSession::poll`].
    pub async fn recover(&mut self, request: v1::RecoverRequest) -> Result<v1::RecoverReply, UplinkError> {
        let reply = within(CALL_LIMIT, self.peer.authority(), "answer Recover", self.client.recover(request)).await?;
        reply.map(tonic::Response::into_inner).map_err(|status| self.peer.name("Recover", &status))
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
        let ack = while_it_lives(&self.peer, stream.send(batch)).await??;
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
        let reply = self.client.upload_readings(stream);
        match within(CALL_LIMIT, self.peer.authority(), "begin an upload", reply).await? {
            Ok(reply) => Ok(Upload { batches, acks: reply.into_inner(), peer: self.peer.clone() }),
            Err(status) => Err(self.peer.name("UploadReadings", &status)),
        }
    }
}

/// Waits for something that may take long, as long as there are signs of life from the peer.
async fn while_it_lives<F: Future>(peer: &Peer, future: F) -> Result<F::Output, UplinkError> {
    let silence = async {
        let mut heard = peer.received_bytes();
        loop {
            tokio::time::sleep(SILENCE_LIMIT).await;
            let now = peer.received_bytes();
            if now == heard {
                return UplinkError::Timeout {
                    authority: peer.authority().to_owned(),
                    act: "give a sign of life while a batch was under way",
                    seconds: SILENCE_LIMIT.as_secs(),
                };
            }
            heard = now;
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
        match self.acks.message().await {
            Ok(Some(ack)) => Ok(ack),
            Ok(None) => Err(UplinkError::Contract("the upload ended without an acknowledgement".to_owned())),
            Err(status) => Err(self.peer.name("UploadReadings", &status)),
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
