//! A TCP proxy that does to connections what lines, firewalls and dying machines do to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is done to connections, also to those that are open already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Each piece takes so long.
    Latency(Duration),
    /// Each octet travels alone.
    Slices,
    /// Nothing moves, and nothing is closed: half open.
    Freeze,
    /// Connections are reset.
    Reset,
    /// Reset after so many octets of the server's.
    ResetAfter(usize),
    /// Closed in order after so many octets of the server's.
    CloseAfter(usize),
    /// Connections that offer HTTP/2 (ALPN, in clear in the ClientHello) are reset when their handshake is over.
    ResetHttp2,
}

/// The proxy; it ends when it is dropped.
pub struct FaultProxy {
    pub port: u16,
    fault: watch::Sender<Fault>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultProxy {
    /// In front of a port of this machine.
    pub async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, mode) = watch::channel(Fault::None);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, target, mode.clone()));
            }
        });
        Self { port, fault, connections, task }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn carry(client: TcpStream, target: u16, mode: watch::Receiver<Fault>) {
    if *mode.borrow() == Fault::Reset {
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return reset(&client) };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let handle = socket2::SockRef::from(&client).try_clone().unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (mut reset_now, offers_http2) = (mode.clone(), watch::channel(false).0);
    let ended = tokio::select! {
        ended = pump(from_client, to_server, mode.clone(), Way::Up(&offers_http2)) => ended,
        ended = pump(from_server, to_client, mode, Way::Down(&offers_http2)) => ended,
        _ = reset_now.wait_for(|fault| *fault == Fault::Reset) => End::Reset,
    };
    if ended == End::Reset {
        handle.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn reset(client: &TcpStream) {
    socket2::SockRef::from(client).set_linger(Some(Duration::ZERO)).unwrap();
}

#[derive(PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

/// From the client, or from the server; either knows what the client has offered.
enum Way<'a> {
    Up(&'a watch::Sender<bool>),
    Down(&'a watch::Sender<bool>),
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Fault>, way: Way<'_>) -> End {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return End::Close };
        // A frozen line holds what it has got.
        let Ok(fault) = mode.wait_for(|fault| *fault != Fault::Freeze).await.map(|fault| *fault) else {
            return End::Reset; // the proxy is gone
        };
        let mut piece = &buffer[..read];
        let mut end = None;
        match (fault, &way) {
            (Fault::Latency(time), _) => tokio::time::sleep(time).await,
            (Fault::ResetAfter(most) | Fault::CloseAfter(most), Way::Down(_)) if passed + read >= most => {
                piece = &buffer[..most.saturating_sub(passed)];
                end = Some(if matches!(fault, Fault::ResetAfter(_)) { End::Reset } else { End::Close });
            }
            (Fault::ResetHttp2, Way::Up(offers)) => {
                if passed == 0 {
                    offers.send_replace(piece.windows(3).any(|three| three == b"\x02h2"));
                } else if *offers.borrow() {
                    // The client believes that its handshake is over.
                    return End::Reset;
                }
            }
            _ => {}
        }
        passed += read;
        let written = if fault == Fault::Slices { in_slices(&mut to, piece).await } else { to.write_all(piece).await };
        if written.is_err() {
            return End::Close;
        }
        if let Some(end) = end {
            return end;
        }
    }
}

async fn in_slices(to: &mut OwnedWriteHalf, piece: &[u8]) -> std::io::Result<()> {
    for octet in piece {
        to.write_all(&[*octet]).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
