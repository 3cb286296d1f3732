//! The socket by which the console asks: in the runtime folder, for the box's own user only. A line is a request, a line is its
//! answer; whoever sends something else, or nothing for long, is cut off.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::control::{Answer, LINE_MAX_BYTES, Request, SOCKET};
use super::owner::Asked;

/// Consoles at once.
const CONSOLES_MAX: usize = 4;
/// Longest silence of a console, and the longest wait for an answer.
const SILENCE_MAX: Duration = Duration::from_secs(600);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Time for the last answer of an agent that ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Longest request, in bytes: the answers are the long ones.
const REQUEST_MAX_BYTES: u64 = 4 * 1024;

/// Serves until `stop`. A socket that cannot be made is said, and the box goes on without a console.
pub(super) async fn serve(runtime_dir: PathBuf, asked: mpsc::Sender<Asked>, stop: CancellationToken) {
    let path = runtime_dir.join(SOCKET);
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, socket = %path.display(), "the box goes on without a console: its socket cannot be made");
            return stop.cancelled().await;
        }
    };
    let room = Arc::new(Semaphore::new(CONSOLES_MAX));
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                // Who finds no room is cut off at once.
                let Ok(place) = room.clone().try_acquire_owned() else { continue };
                let (asked, stop) = (asked.clone(), stop.clone());
                tokio::spawn(async move {
                    // Whoever asked for the restart that ends this is answered first.
                    let stopped = async {
                        stop.cancelled().await;
                        tokio::time::sleep(LAST_WORDS).await;
                    };
                    tokio::select! {
                        () = stopped => {}
                        ended = talk(stream, asked) => if let Err(error) = ended {
                            tracing::debug!(%error, "a console was cut off");
                        },
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a console was not let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let _gone = std::fs::remove_file(&path);
}

fn listen(path: &std::path::Path) -> io::Result<UnixListener> {
    // What an earlier start has left.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn talk(stream: UnixStream, asked: mpsc::Sender<Asked>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(REQUEST_MAX_BYTES);
        let read = tokio::time::timeout(SILENCE_MAX, limited.read_until(b'\n', &mut line)).await??;
        if read == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => ask(&asked, request).await,
            Err(_) if !line.ends_with(b"\n") => return Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Answer::Refused { why: format!("this is no request: {error}") },
        };
        let mut text = serde_json::to_vec(&answer).map_err(io::Error::other)?;
        if text.len() > LINE_MAX_BYTES {
            let why = "the answer is longer than a console takes: ask for less".to_owned();
            text = serde_json::to_vec(&Answer::Refused { why }).map_err(io::Error::other)?;
        }
        text.push(b'\n');
        writer.write_all(&text).await?;
    }
}

async fn ask(asked: &mpsc::Sender<Asked>, request: Request) -> Answer {
    let (answer, answered) = oneshot::channel();
    let ask = async {
        asked.send((request, answer)).await.ok()?;
        answered.await.ok()
    };
    match tokio::time::timeout(ANSWER_LIMIT, ask).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::Refused { why: "the box is just starting again: try in a few seconds".to_owned() },
        Err(_) => Answer::Refused { why: "the box has not answered within 30 seconds: try again".to_owned() },
    }
}
