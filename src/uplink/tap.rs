//! The TCP connection under TLS, watched: what the peer said first, in case that it speaks no TLS, and whether anything moves.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Of what the peer says first, so much is kept, in bytes: enough for a status line.
const FIRST_MAX_BYTES: usize = 128;
/// Of an answer in a protocol that was not expected, so much is quoted, in bytes.
const QUOTE_MAX_BYTES: usize = 80;

/// The first line of what a peer said first, for a person: cut and escaped.
pub(super) fn quoted(first: &[u8]) -> String {
    let line = first.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
    String::from_utf8_lossy(line.get(..QUOTE_MAX_BYTES).unwrap_or(line)).escape_debug().to_string()
}

/// What is known of a connection. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic {
    first: Arc<Mutex<Vec<u8>>>,
    received_bytes: Arc<AtomicU64>,
    sent_bytes: Arc<AtomicU64>,
}

impl Traffic {
    /// What the peer said first.
    pub(super) fn first(&self) -> Vec<u8> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that came in and that the kernel took so far. It takes little ahead of what it can send.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed).wrapping_add(self.sent_bytes.load(Ordering::Relaxed))
    }

    fn sent(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            self.sent_bytes.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }

    fn note(&self, bytes: &[u8]) {
        let before = self.received_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before < FIRST_MAX_BYTES as u64 {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            let room = FIRST_MAX_BYTES.saturating_sub(first.len());
            first.extend(bytes.iter().take(room));
        }
    }
}

/// A TCP connection that is watched.
#[derive(Debug)]
pub struct Tap {
    tcp: TcpStream,
    traffic: Traffic,
}

impl Tap {
    pub(super) fn new(tcp: TcpStream) -> (Self, Traffic) {
        let traffic = Traffic::default();
        (Self { tcp, traffic: traffic.clone() }, traffic)
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.traffic.note(buf.filled().get(before..).unwrap_or_default());
        result
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.traffic.sent(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.traffic.sent(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
