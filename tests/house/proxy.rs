//! A TCP proxy between box and cloud that cuts connections: mostly where the cloud answers an upload, so that what was committed
//! is not known to be.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What went up since the last answer, in bytes, for that answer to count as an acknowledgement.
const UPLOAD_BYTES: u64 = 4_096;
/// How many of a hundred acknowledgements are cut off, and how many of a thousand other answers.
const ACKS_CUT_PERCENT: u64 = 15;
const ANSWERS_CUT_PERMILLE: u64 = 5;

pub struct Proxy {
    pub port: u16,
    /// Connections cut at an acknowledgement.
    pub cuts: Arc<AtomicU64>,
    /// Whether there is a way at all; without it connections are closed at once.
    is_open: Arc<AtomicBool>,
    cuts_at_all: Arc<AtomicBool>,
}

impl Proxy {
    pub fn to(cloud_port: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, is_open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let cuts_at_all = Arc::new(AtomicBool::new(true));
        let mut random = fastrand::Rng::with_seed(seed);
        let shared = (cuts.clone(), is_open.clone(), cuts_at_all.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if !shared.1.load(Ordering::Relaxed) {
                    continue;
                }
                // A cloud that is not there closes the box's connection.
                let Ok(far) = TcpStream::connect(("127.0.0.1", cloud_port)) else { continue };
                join(near, far, random.fork(), &shared);
            }
        });
        Self { port, cuts, is_open, cuts_at_all }
    }

    /// Opens or closes the way for new connections.
    pub fn open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Lets everything through from now on.
    pub fn be_kind(&self) {
        self.cuts_at_all.store(false, Ordering::Relaxed);
    }
}

type Shared = (Arc<AtomicU64>, Arc<AtomicBool>, Arc<AtomicBool>);

fn join(near: TcpStream, far: TcpStream, mut random: fastrand::Rng, shared: &Shared) {
    let up = Arc::new(AtomicU64::new(0));
    let (mut from, mut to, counted) = (near.try_clone().unwrap(), far.try_clone().unwrap(), up.clone());
    std::thread::spawn(move || {
        pass(&mut from, &mut to, |length| {
            counted.fetch_add(length as u64, Ordering::Relaxed);
            true
        });
    });
    let (cuts, is_open, cuts_at_all) = shared.clone();
    let (mut from, mut to) = (far, near);
    std::thread::spawn(move || {
        pass(&mut from, &mut to, |_| {
            let is_ack = up.swap(0, Ordering::Relaxed) >= UPLOAD_BYTES;
            let is_cut =
                if is_ack { random.u64(..100) < ACKS_CUT_PERCENT } else { random.u64(..1_000) < ANSWERS_CUT_PERMILLE };
            let is_cut = is_cut && cuts_at_all.load(Ordering::Relaxed);
            cuts.fetch_add(u64::from(is_cut && is_ack), Ordering::Relaxed);
            is_open.load(Ordering::Relaxed) && !is_cut
        });
    });
}

/// Copies until the end, or until `goes_on` says no to what is about to be passed on; then both ends are closed.
fn pass(from: &mut TcpStream, to: &mut TcpStream, mut goes_on: impl FnMut(usize) -> bool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || !goes_on(length) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _closed_already = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
