//! gRPC-Web over HTTP/1.1 (PROTOCOL-WEB.md of gRPC): the same calls where HTTP/2 does not pass. A request is one body, and so is
//! its answer, with the trailers as its last frame; a stream of batches is therefore one batch a call.
//!
//! Looked at and not taken: the client of `tonic-web`. It buffers what a server sends without a limit, and brings tonic's server
//! into the firmware.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;

use super::error::UplinkError;
use super::grpc::{DECODE_MAX_BYTES, ENCODE_MAX_BYTES};
use super::wire::{Answer, BoxError, Peer, Watched};

const GRPC_WEB: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
/// Flag, and length of what follows.
const FRAME_HEAD_BYTES: usize = 5;
/// The flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;
/// Room for the trailers and frames' heads in an answer, in bytes.
const TRAILERS_MAX_BYTES: usize = 32 * 1024;

/// One HTTP/1.1 connection, over which one call goes at a time. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Http1 {
    sender: Arc<Mutex<SendRequest<Full<Bytes>>>>,
    host: HeaderValue,
}

impl Http1 {
    pub(super) async fn over(stream: Watched, peer: &Peer) -> Result<Self, UplinkError> {
        let host = HeaderValue::from_str(peer.authority()).map_err(|e| UplinkError::Contract(e.to_string()))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|e| UplinkError::after_handshake(peer.authority(), &e))?;
        // Ends with the sender. Whatever ends it before, the call that is under way is told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender: Arc::new(Mutex::new(sender)), host })
    }

    /// One call.
    pub(super) async fn call(self, request: http::Request<tonic::body::Body>, peer: Peer) -> Result<Answer, BoxError> {
        let (mut head, body) = request.into_parts();
        // Whole, so that it goes with a length: not everything between speaks of chunks.
        let body = Limited::new(body, ENCODE_MAX_BYTES).collect().await?.to_bytes();
        head.version = http::Version::HTTP_11;
        head.uri = head.uri.path().parse()?;
        head.headers.remove(TE);
        head.headers.insert(HOST, self.host.clone());
        head.headers.insert(CONTENT_TYPE, GRPC_WEB);
        head.headers.insert(ACCEPT, GRPC_WEB);
        head.headers.insert(HeaderName::from_static("x-grpc-web"), HeaderValue::from_static("1"));
        let mut sender = self.sender.lock().await;
        sender.ready().await?;
        let answer = sender.send_request(http::Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = answer.into_parts();
        peer.note_answer(head.status, &head.headers);
        let body = Limited::new(body, DECODE_MAX_BYTES + TRAILERS_MAX_BYTES).collect().await?.to_bytes();
        let (messages, trailers) = match head.status {
            http::StatusCode::OK => split(body).ok_or("the answer is no gRPC-Web")?,
            _ => (Bytes::new(), None), // named by its status
        };
        let frames = [Some(Frame::data(messages)), trailers.map(Frame::trailers)].into_iter().flatten();
        let frames = futures_util::stream::iter(frames.map(Ok::<_, std::convert::Infallible>));
        Ok(http::Response::from_parts(head, tonic::body::Body::new(StreamBody::new(frames))))
    }
}

/// The messages of an answer, still framed, and its trailers. `None` when it is not made of whole frames.
fn split(mut body: Bytes) -> Option<(Bytes, Option<HeaderMap>)> {
    let mut messages = body.clone();
    let mut taken = 0;
    while !body.is_empty() {
        let head = body.get(..FRAME_HEAD_BYTES)?;
        let (flag, length) = (*head.first()?, u32::from_be_bytes(head.get(1..)?.try_into().ok()?));
        let length = usize::try_from(length).ok()?;
        if flag & TRAILERS != 0 {
            let text = body.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES.checked_add(length)?)?;
            messages.truncate(taken);
            return Some((messages, Some(read_trailers(text)?)));
        }
        let whole = FRAME_HEAD_BYTES.checked_add(length).filter(|whole| *whole <= body.len())?;
        body.advance(whole);
        taken += whole;
    }
    Some((messages, None))
}

/// Trailers in the form of an HTTP/1.1 header.
fn read_trailers(text: &[u8]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    for line in text.split(|octet| *octet == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let colon = line.iter().position(|octet| *octet == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let name = HeaderName::from_bytes(name.trim_ascii()).ok()?;
        let value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?;
        trailers.try_append(name, value).ok()?;
    }
    Some(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(flag: u8, contents: &[u8]) -> Vec<u8> {
        [&[flag][..], &u32::try_from(contents.len()).unwrap().to_be_bytes(), contents].concat()
    }

    #[test]
    fn an_answer_is_its_messages_and_its_trailers() {
        let body = [frame(0, b"one"), frame(0, b""), frame(TRAILERS, b"grpc-status: 0\r\nGrpc-Message:x\r\n")].concat();
        let (messages, trailers) = split(body.into()).unwrap();
        assert_eq!(messages, [frame(0, b"one"), frame(0, b"")].concat());
        let trailers = trailers.unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"0".parse().unwrap(), &"x".parse().unwrap())
        );
        assert_eq!(split(Bytes::new()), Some((Bytes::new(), None)));
    }

    #[test]
    fn what_is_cut_or_is_no_grpc_web_is_not_taken() {
        let whole = [frame(0, b"one"), frame(TRAILERS, b"grpc-status:0\r\n")].concat();
        for cut in 1..whole.len() {
            assert!(cut == 8 || split(whole[..cut].to_vec().into()).is_none(), "{cut}");
        }
        for bad in [&b"<html>Please log in</html>"[..], &frame(TRAILERS, b"no colon\r\n"), b"\0\xff\xff\xff\xff"] {
            assert_eq!(split(bad.to_vec().into()), None);
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(body: Vec<u8>) {
            let _ = split(body.into());
        }
    }
}
