//! A TCP proxy that does to connections what lines, firewalls and dying machines do to them.

use std::net::SocketAddr;
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
    /// So after so many octets of the server's.
    FreezeAfter(usize),
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
    open: Arc<AtomicUsize>,
    octets_down: Arc<AtomicUsize>,
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
        Self::between(([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], target).into()).await
    }

    /// Between an address to listen at and a server.
    pub async fn between(at: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, mode) = watch::channel(Fault::None);
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let octets_down = Arc::new(AtomicUsize::new(0));
        let (counted, still, down) = (connections.clone(), open.clone(), octets_down.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                still.fetch_add(1, Ordering::Relaxed);
                let (still, mode, down) = (still.clone(), mode.clone(), down.clone());
                tokio::spawn(async move {
                    carry(client, target, mode, &down).await;
                    still.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, fault, connections, open, octets_down, task }
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Octets of the server's that went through, of all connections.
    pub fn octets_down(&self) -> usize {
        self.octets_down.load(Ordering::Relaxed)
    }

    /// Connections that have not ended.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

async fn carry(client: TcpStream, target: SocketAddr, mode: watch::Receiver<Fault>, down: &AtomicUsize) {
    if *mode.borrow() == Fault::Reset {
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(target).await else { return reset(&client) };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let handle = socket2::SockRef::from(&client).try_clone().unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (mut reset_now, offers_http2) = (mode.clone(), watch::channel(false).0);
    let ended = tokio::select! {
        ended = pump(from_client, to_server, mode.clone(), Way::Up(&offers_http2)) => ended,
        ended = pump(from_server, to_client, mode, Way::Down(down)) => ended,
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

/// From the client, with what it has offered; or from the server, with how much came.
enum Way<'a> {
    Up(&'a watch::Sender<bool>),
    Down(&'a AtomicUsize),
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Fault>, way: Way<'_>) -> End {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        // A frozen line holds what it has got, an end too.
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let Ok(fault) = mode.wait_for(|fault| *fault != Fault::Freeze).await.map(|fault| *fault) else {
            return End::Reset; // the proxy is gone
        };
        if read == 0 {
            return End::Close;
        }
        let mut piece = &buffer[..read];
        let mut end = None;
        match (fault, &way) {
            (Fault::Latency(time), _) => tokio::time::sleep(time).await,
            (Fault::ResetAfter(most) | Fault::CloseAfter(most), Way::Down(_)) if passed + read >= most => {
                piece = &buffer[..most.saturating_sub(passed)];
                end = Some(if matches!(fault, Fault::ResetAfter(_)) { End::Reset } else { End::Close });
            }
            (Fault::FreezeAfter(most), Way::Down(_)) if passed + read > most => {
                let _gone = mode.wait_for(|now| *now != fault).await;
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
        if let Way::Down(count) = &way {
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
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
