//! The box's calls over the simulated network: frames of a length, a kind and a protobuf message, on a TCP connection for each
//! round. It takes the place of TLS and HTTP/2, with the same limits of time and the same names for what goes wrong.

use std::io;
use std::time::Duration;

use platen::cause::Cause;
use platen::proto::v1;
use platen::sys::FaultFs;
use platen::uplink::{Cloud, Session, UplinkError};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use turmoil::net::TcpStream;

use crate::clock::BoxClock;
use crate::history::{Event, History};

/// Where the cloud listens.
pub const PORT: u16 = 443;
/// Its name.
pub const CLOUD: &str = "cloud";
/// Larger frames are none.
const FRAME_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 1,
    Poll = 2,
    Upload = 3,
    Report = 4,
    Answer = 5,
    Unavailable = 6,
    Refused = 7,
}

impl Kind {
    fn of(byte: u8) -> io::Result<Self> {
        let all = [Self::Hello, Self::Poll, Self::Upload, Self::Report, Self::Answer, Self::Unavailable, Self::Refused];
        all.into_iter().find(|kind| *kind as u8 == byte).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Sends a frame.
pub async fn send(stream: &mut TcpStream, kind: Kind, body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(body.len() + 5);
    frame.extend_from_slice(&u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes());
    frame.push(kind as u8);
    frame.extend_from_slice(body);
    stream.write_all(&frame).await
}

/// Waits for a frame.
pub async fn receive(stream: &mut TcpStream) -> io::Result<(Kind, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if length > FRAME_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((Kind::of(head[4])?, body))
}

/// A process that was killed does nothing more, whatever its code would do next: it stays here until the world has removed it.
pub async fn while_alive(disk: &FaultFs) {
    if disk.is_killed() {
        std::future::pending().await
    }
}

/// The cloud as one box reaches it.
#[derive(Clone)]
pub struct SimCloud {
    pub box_id: String,
    pub disk: FaultFs,
    pub clock: BoxClock,
    /// Longest time for one call.
    pub limit: Duration,
    pub history: History,
}

/// A connection.
pub struct SimSession {
    cloud: SimCloud,
    stream: TcpStream,
}

impl SimCloud {
    async fn within<T>(
        &self,
        act: &'static str,
        work: impl Future<Output = Result<T, UplinkError>>,
    ) -> Result<T, UplinkError> {
        while_alive(&self.disk).await;
        let authority = CLOUD.to_owned();
        let late = |_| Err(UplinkError::Timeout { authority, act, seconds: self.limit.as_secs() });
        let result = timeout(self.limit, work).await.unwrap_or_else(late);
        while_alive(&self.disk).await;
        if let Err(error) = &result {
            self.history.note(Event::CallFailed { box_id: self.box_id.clone(), why: error.to_string() });
        }
        result
    }
}

fn broken(source: io::Error) -> UplinkError {
    UplinkError::Tcp { authority: CLOUD.to_owned(), source }
}

impl Cloud for SimCloud {
    type Session = SimSession;

    async fn open(&self) -> Result<SimSession, UplinkError> {
        let stream = self
            .within("connect", async {
                let mut stream = TcpStream::connect((CLOUD, PORT)).await.map_err(broken)?;
                send(&mut stream, Kind::Hello, self.box_id.as_bytes()).await.map_err(broken)?;
                Ok(stream)
            })
            .await?;
        Ok(SimSession { cloud: self.clone(), stream })
    }

    async fn recover(&self, _request: v1::RecoverRequest) -> Result<v1::RecoverReply, UplinkError> {
        Err(UplinkError::Contract("no box of this world is ever disabled".to_owned()))
    }
}

impl SimSession {
    async fn call<A: Message + Default>(
        &mut self,
        kind: Kind,
        call: &'static str,
        request: &impl Message,
    ) -> Result<A, UplinkError> {
        let (cloud, stream) = (self.cloud.clone(), &mut self.stream);
        cloud
            .within(call, async {
                send(stream, kind, &request.encode_to_vec()).await.map_err(broken)?;
                let (kind, body) = receive(stream).await.map_err(broken)?;
                let message = String::from_utf8_lossy(&body).into_owned();
                match kind {
                    Kind::Answer => A::decode(body.as_slice()).map_err(|e| UplinkError::Contract(e.to_string())),
                    Kind::Refused => Err(UplinkError::Rejected {
                        authority: CLOUD.to_owned(),
                        detail: message,
                        cause: Cause::Refused,
                        proven: false,
                    }),
                    _ => Err(UplinkError::Call { call, code: tonic::Code::Unavailable, message }),
                }
            })
            .await
    }
}

impl Session for SimSession {
    async fn poll(&mut self, request: v1::PollRequest) -> Result<v1::PollReply, UplinkError> {
        let sent_ms = self.cloud.clock.now_mono_ms();
        let reply: v1::PollReply = self.call(Kind::Poll, "poll", &request).await?;
        self.cloud.clock.learn(sent_ms, reply.server_time_unix_ms);
        Ok(reply)
    }

    async fn upload(&mut self, batch: v1::ReadingBatch) -> Result<v1::UploadAck, UplinkError> {
        let ack: v1::UploadAck = self.call(Kind::Upload, "upload", &batch).await?;
        let box_id = self.cloud.box_id.clone();
        self.cloud.history.note(Event::Acknowledged { box_id, epoch: ack.epoch, up_to: ack.contiguous_seq });
        Ok(ack)
    }

    async fn report_task(&mut self, report: v1::TaskReport) -> Result<(), UplinkError> {
        self.call::<v1::TaskReportReply>(Kind::Report, "report a task", &report).await.map(drop)
    }
}
