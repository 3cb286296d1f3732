//! The TCP connection under SSH, which can be cut from outside: the SSH library reads and writes it in a task of its own, and
//! ends that task only when reading or writing fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Tap;

/// A connection that ends when its token is cancelled.
pub(super) struct Line {
    tap: Tap,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Line {
    pub(super) fn new(tap: Tap, cut: CancellationToken) -> Self {
        Self { tap, cut: Box::pin(cut.cancelled_owned()) }
    }

    /// Whether it is cut; if not, the task is woken when it is.
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(cx).is_ready()
    }
}

fn cut<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the box has closed the connection")))
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(cx) { cut() } else { Pin::new(&mut self.tap).poll_read(cx, buf) }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut(cx) { cut() } else { Pin::new(&mut self.tap).poll_write(cx, buf) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(cx) { cut() } else { Pin::new(&mut self.tap).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // After a failed shutdown the library would forget why the connection ended; it is dropped next in any case.
        Pin::new(&mut self.tap).poll_shutdown(cx).map(|_| Ok(()))
    }
}
