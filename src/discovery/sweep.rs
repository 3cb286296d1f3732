//! The sweep: every address of a set is asked once for who it is. Politeness (packets a second) is the engine's; here it is
//! bounded how many addresses wait at once, and the fence is looked at once more right before each is asked.

use std::collections::HashSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{AddressSet, Fence};

/// Responders that may wait to be taken.
const RESPONDERS_MAX: usize = 64;

/// What a device said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// sysObjectID.
    pub sys_object_id: Option<String>,
    /// sysDescr.
    pub sys_descr: Option<String>,
}

/// Why the sweep cannot go on. A silent address is not such a thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing can be asked any more.
    #[error("the search broke off: {0}")]
    Failed(String),
}

/// Asks one address.
pub trait Prober: Send + Sync + 'static {
    /// Who is there; `None` when nobody answers.
    fn probe(&self, target: SocketAddr) -> impl Future<Output = Result<Option<Answer>, ProbeError>> + Send;
}

/// How a sweep is made.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// UDP port to ask.
    pub port: u16,
    /// Addresses that wait for their answers at once.
    pub at_once: usize,
    /// Addresses that need not be asked.
    pub skip: HashSet<IpAddr>,
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responder {
    /// Where.
    pub address: SocketAddr,
    /// What it said.
    pub answer: Answer,
}

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepProgress {
    /// Addresses asked.
    pub asked: u64,
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep {
    responders: mpsc::Receiver<Responder>,
    progress: watch::Receiver<SweepProgress>,
    task: JoinHandle<Result<(), ProbeError>>,
}

impl Sweep {
    /// The next one who answered; `None` when all were asked.
    pub async fn next(&mut self) -> Option<Responder> {
        self.responders.recv().await
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<SweepProgress> {
        self.progress.clone()
    }

    /// Ends it.
    ///
    /// # Errors
    /// Why it broke off, when it did.
    pub async fn finish(self) -> Result<(), ProbeError> {
        drop(self.responders);
        self.task.await.unwrap_or_else(|stopped| Err(ProbeError::Failed(stopped.to_string())))
    }
}

/// Begins a sweep of `addresses`. To be called within a tokio runtime.
#[must_use]
pub fn sweep<P: Prober>(
    prober: P,
    fence: Fence,
    addresses: AddressSet,
    options: SweepOptions,
    stop: CancellationToken,
) -> Sweep {
    let (sender, responders) = mpsc::channel(RESPONDERS_MAX);
    let (counts, progress) = watch::channel(SweepProgress::default());
    let task = tokio::spawn(async move {
        let targets = addresses
            .iter_permuted()
            .filter(|ip| !options.skip.contains(ip))
            // The set was made within the fence; looking again costs nothing and does not trust whoever made it.
            .filter(|ip| fence.allows(*ip))
            .map(|ip| SocketAddr::new(ip, options.port));
        let (prober, counts) = (&prober, &counts);
        let mut answers = futures_util::stream::iter(targets)
            .map(|target| async move {
                counts.send_modify(|progress| progress.asked += 1);
                (target, prober.probe(target).await)
            })
            .buffer_unordered(options.at_once.max(1));
        loop {
            let answered = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                answered = answers.next() => answered,
            };
            match answered {
                None => return Ok(()),
                Some((_, Err(error))) => return Err(error),
                Some((_, Ok(None))) => {}
                Some((address, Ok(Some(answer)))) => {
                    if sender.send(Responder { address, answer }).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    });
    Sweep { responders, progress, task }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{DnsResolver, Ranges};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Recorder {
        asked: Arc<Mutex<Vec<IpAddr>>>,
    }

    impl Prober for Recorder {
        async fn probe(&self, target: SocketAddr) -> Result<Option<Answer>, ProbeError> {
            self.asked.lock().unwrap().push(target.ip());
            let answers = target.ip().to_string().ends_with(".7");
            Ok(answers.then(Answer::default))
        }
    }

    async fn set(items: &[&str], fence: &Fence) -> AddressSet {
        Ranges::parse(items).unwrap().resolve(fence, &DnsResolver).await.unwrap()
    }

    #[tokio::test]
    async fn each_address_is_asked_once_and_who_answers_is_told() {
        let fence = Fence::default();
        let addresses = set(&["10.0.0.0/24", "!10.0.0.9"], &fence).await;
        let prober = Recorder::default();
        let skip = HashSet::from(["10.0.0.8".parse().unwrap()]);
        let options = SweepOptions { port: 161, at_once: 8, skip };
        let mut sweep = sweep(prober.clone(), fence, addresses, options, CancellationToken::new());
        let found = sweep.next().await.unwrap();
        assert_eq!(found.address.to_string(), "10.0.0.7:161");
        assert!(sweep.next().await.is_none());
        assert_eq!(sweep.progress().borrow().asked, 252);
        sweep.finish().await.unwrap();
        let asked = prober.asked.lock().unwrap().clone();
        let distinct: HashSet<_> = asked.iter().collect();
        assert_eq!((asked.len(), distinct.len()), (252, 252));
    }

    #[tokio::test]
    async fn a_set_that_was_made_for_a_wider_fence_gets_no_packet_outside() {
        let wide = Fence::parse(&["0.0.0.0/0"]).unwrap();
        let addresses = set(&["9.255.255.250-10.0.0.5"], &wide).await;
        let prober = Recorder::default();
        let options = SweepOptions { port: 161, at_once: 8, skip: HashSet::new() };
        let mut sweep = sweep(prober.clone(), Fence::default(), addresses, options, CancellationToken::new());
        while sweep.next().await.is_some() {}
        sweep.finish().await.unwrap();
        let asked = prober.asked.lock().unwrap().clone();
        assert!(!asked.is_empty() && asked.iter().all(|ip| Fence::default().allows(*ip)));
    }
}
