//! The way from the console to the agent: a unix socket in the runtime folder, a request and an answer, one JSON object a line
//! (`agent::control`). Each request has a connection of its own, so that an agent that starts anew is no fault.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::agent::control::{Answer, LINE_MAX_BYTES, Request, SOCKET};
use crate::agent::status::{self, Status};

/// Longest time for an answer. The agent only begins what takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens.
    #[error(
        "the box's program does not run, so this cannot be done now. It starts by itself within a minute; if it does not, type reboot"
    )]
    NotRunning,
    /// Somebody listens, and it does not work.
    #[error("the box's program does not answer ({0}): try again; if it stays so, type reboot")]
    Broken(String),
}

/// Whoever can be asked.
pub trait AgentLink: Send + Sync {
    /// Asks, and waits for the answer.
    fn ask(&self, request: Request) -> impl Future<Output = Result<Answer, LinkError>> + Send;

    /// The status that was written down last, also by an agent that does not run any more.
    fn last_status(&self) -> Option<Status>;
}

/// The agent of the box with this runtime folder.
#[derive(Debug, Clone)]
pub struct SocketLink {
    runtime_dir: PathBuf,
}

impl SocketLink {
    /// The agent whose runtime folder this is.
    #[must_use]
    pub fn new(runtime_dir: &Path) -> Self {
        Self { runtime_dir: runtime_dir.to_owned() }
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, LinkError> {
        let broken = |error: io::Error| LinkError::Broken(error.to_string());
        let mut stream =
            UnixStream::connect(self.runtime_dir.join(SOCKET)).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => LinkError::NotRunning,
                _ => broken(error),
            })?;
        let mut line = serde_json::to_vec(request).map_err(|error| broken(error.into()))?;
        line.push(b'\n');
        stream.write_all(&line).await.map_err(broken)?;
        line.clear();
        // One more than the longest, so that one that is too long is seen to be.
        let most = LINE_MAX_BYTES as u64 + 1;
        BufReader::new(stream).take(most).read_until(b'\n', &mut line).await.map_err(broken)?;
        if line.last() != Some(&b'\n') {
            return Err(LinkError::Broken("its answer is cut short or too long".to_owned()));
        }
        serde_json::from_slice(&line).map_err(|error| broken(error.into()))
    }
}

impl AgentLink for SocketLink {
    async fn ask(&self, request: Request) -> Result<Answer, LinkError> {
        let late = |_| LinkError::Broken(format!("no answer within {} s", ANSWER_MAX.as_secs()));
        tokio::time::timeout(ANSWER_MAX, self.exchange(&request)).await.map_err(late)?
    }

    fn last_status(&self) -> Option<Status> {
        status::read(&self.runtime_dir).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn answered(answer: &'static [u8]) -> Result<Answer, LinkError> {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            BufReader::new(&mut stream).read_line(&mut request).await.unwrap();
            let _closed = stream.write_all(answer).await;
            request
        });
        let answer = SocketLink::new(folder.path()).ask(Request::Log { lines: 3 }).await;
        assert_eq!(serving.await.unwrap(), "{\"ask\":\"log\",\"lines\":3}\n");
        answer
    }

    #[tokio::test]
    async fn a_request_and_its_answer_are_a_line_each() {
        let answer = answered(b"{\"answer\":\"log\",\"lines\":[\"a\"]}\n").await.unwrap();
        assert_eq!(answer, Answer::Log { lines: vec!["a".to_owned()] });
        for bad in [&b""[..], b"{\"answer\":\"log\"", b"rubbish\n"] {
            assert!(matches!(answered(bad).await, Err(LinkError::Broken(_))), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn an_agent_that_does_not_run_is_told_from_one_that_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let link = SocketLink::new(folder.path());
        assert!(matches!(link.ask(Request::Status).await, Err(LinkError::NotRunning)));
        // What a killed agent leaves behind.
        drop(UnixListener::bind(folder.path().join(SOCKET)).unwrap());
        let told = link.ask(Request::Status).await.unwrap_err().to_string();
        assert!(told.contains("does not run") && told.contains("reboot"), "{told}");
        assert!(link.last_status().is_none());
    }
}
