//! The sweep: every address of a set is asked for who it is, in several passes of one datagram each, so that whoever
//! answers at once is found within the first of them.
//!
//! The order of the passes is from safe to old: SNMPv3 engine discovery where users are configured (it carries no secret),
//! v2c, v1; then all of it once more for those who have not answered, as a datagram may be lost. Politeness is the pace
//! of each part, and the addresses' order: neighbours lie far apart. The fence is looked at once more right before each
//! address is asked. An address on the own network at which nobody lives, as the kernel then knows, is not asked again; nor
//! is one of which the network says that it cannot be reached, nor any of a network that a router keeps from us.

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{AddressSet, Fence, Neighbours, ScopedIp};
use crate::oid;
use crate::snmp::{Client, Credentials, Pace, Probe, ProbeAnswer, Probes, SnmpError, SweepPlan, Unreachable};

/// Responders that may wait to be taken.
const RESPONDERS_MAX: usize = 64;
/// How often each address is asked: once, and once more as a datagram may be lost.
const ROUNDS: u32 = 2;
/// How often the count of addresses asked is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Why the sweep cannot go on. A silent address is not such a thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing can be asked any more.
    #[error("the search broke off: {0}")]
    Failed(String),
}

/// Asks many addresses, one datagram each.
pub trait Prober: Send + Sync + 'static {
    /// Where the answers come from.
    type Answers: Answers;

    /// Begins.
    fn begin(&self, plan: SweepPlan) -> impl Future<Output = Result<Self::Answers, SnmpError>> + Send;
}

/// Answers of one pass.
pub trait Answers: Send {
    /// The next one; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Option<ProbeAnswer>> + Send;
    /// How many addresses were asked until now.
    fn sent(&self) -> u64;
}

impl Prober for Client {
    type Answers = Probes;

    async fn begin(&self, plan: SweepPlan) -> Result<Probes, SnmpError> {
        self.sweep(plan).await
    }
}

impl Answers for Probes {
    async fn next(&mut self) -> Option<ProbeAnswer> {
        Probes::next(self).await
    }

    fn sent(&self) -> u64 {
        Probes::sent(self)
    }
}

/// Addresses that are asked at one pace.
#[derive(Debug, Clone)]
pub struct Part {
    /// Whom to ask.
    pub addresses: AddressSet,
    /// How fast.
    pub pace: Pace,
}

/// How a sweep is made.
#[derive(Clone)]
pub struct SweepOptions {
    /// Asked one after the other in each pass.
    pub parts: Vec<Part>,
    /// UDP port to ask.
    pub port: u16,
    /// What may let us in. Of users of SNMPv3 it only matters that there are some.
    pub credentials: Vec<Credentials>,
    /// How long to wait for answers after each pass.
    pub listen: Duration,
    /// Addresses that need not be asked.
    pub skip: HashSet<ScopedIp>,
    /// What the kernel knows of the own network.
    pub neighbours: Neighbours,
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responder {
    /// Where.
    pub address: SocketAddr,
    /// Which of the credentials it answered to; `None` for an SNMPv3 engine, with which nobody has spoken yet.
    pub credentials_index: Option<usize>,
}

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepProgress {
    /// The pass under way, from 1.
    pub pass: u32,
    /// Passes in all.
    pub passes: u32,
    /// Datagrams sent, all passes together.
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
    /// The next one who answered; `None` when all were asked. Each address comes once.
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

/// Begins a sweep. To be called within a tokio runtime.
#[must_use]
pub fn sweep<P: Prober>(prober: P, fence: Fence, options: SweepOptions, stop: CancellationToken) -> Sweep {
    let (sender, responders) = mpsc::channel(RESPONDERS_MAX);
    let (counts, progress) = watch::channel(SweepProgress::default());
    let task = tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = Passes::new(prober, fence, options, sender, counts).run() => ended,
        }
    });
    Sweep { responders, progress, task }
}

struct Passes<P> {
    prober: P,
    fence: Arc<Fence>,
    options: SweepOptions,
    sender: mpsc::Sender<Responder>,
    counts: watch::Sender<SweepProgress>,
    /// Who cannot be reached, as the network has said in this sweep.
    unreachable: Unreachable,
}

impl<P: Prober> Passes<P> {
    fn new(
        prober: P,
        fence: Fence,
        options: SweepOptions,
        sender: mpsc::Sender<Responder>,
        counts: watch::Sender<SweepProgress>,
    ) -> Self {
        Self { prober, fence: Arc::new(fence), options, sender, counts, unreachable: Unreachable::default() }
    }

    async fn run(self) -> Result<(), ProbeError> {
        let asks = asks(&self.options.credentials);
        let passes = ROUNDS * u32::try_from(asks.len()).unwrap_or(u32::MAX);
        let mut answered = self.options.skip.clone();
        for (pass, (index, probe)) in (0..ROUNDS).flat_map(|_| &asks).enumerate() {
            self.counts.send_modify(|progress| {
                progress.pass = u32::try_from(pass + 1).unwrap_or(u32::MAX);
                progress.passes = passes;
            });
            for part in &self.options.parts {
                if !self.pass(part, pass > 0, *index, probe.clone(), &mut answered).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One datagram to each address of a part. Returns whether anybody still listens.
    async fn pass(
        &self,
        part: &Part,
        is_later: bool,
        credentials_index: Option<usize>,
        probe: Probe,
        answered: &mut HashSet<ScopedIp>,
    ) -> Result<bool, ProbeError> {
        let (fence, port, neighbours) = (Arc::clone(&self.fence), self.options.port, self.options.neighbours.clone());
        let (done, unreachable) = (answered.clone(), self.unreachable.clone());
        let targets = part
            .addresses
            .iter_permuted()
            .filter(move |address| !done.contains(address))
            // The set was made within the fence; looking again costs nothing and does not trust whoever made it.
            .filter(move |address| fence.allows(*address))
            // Looked at in the first pass too, as the kernel soon forgets.
            .filter(move |address| !neighbours.is_known_absent(address.ip()) || !is_later)
            .map(move |address| address.with_port(port))
            // A network that a router keeps from us is left alone; somebody who is not there is not asked again.
            .filter(move |target| !(unreachable.is_closed(*target) || is_later && unreachable.is_known(*target)));
        let (pace, listen, unreachable) = (part.pace, self.options.listen, self.unreachable.clone());
        let plan = SweepPlan { targets: Box::new(targets), probe, pace, listen, unreachable };
        let failed = |error: SnmpError| ProbeError::Failed(error.to_string());
        let mut answers = self.prober.begin(plan).await.map_err(failed)?;
        let before = self.counts.borrow().asked;
        let mut tell = tokio::time::interval(TELL_EVERY);
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                _ = tell.tick() => {
                    self.counts.send_modify(|progress| progress.asked = before + answers.sent());
                    if self.sender.is_closed() { return Ok(false) }
                    continue;
                }
            };
            self.counts.send_modify(|progress| progress.asked = before + answers.sent());
            let Some(answer) = answer else { return Ok(true) };
            let address = answer.target;
            if answered.insert(address.into())
                && self.sender.send(Responder { address, credentials_index }).await.is_err()
            {
                return Ok(false);
            }
        }
    }
}

/// What is asked, in this order, and which of the credentials each is.
fn asks(credentials: &[Credentials]) -> Vec<(Option<usize>, Probe)> {
    let who = [oid!(1, 3, 6, 1, 2, 1, 1, 2, 0)];
    let by = |wanted: fn(&Credentials) -> bool| {
        let who = who.clone();
        credentials
            .iter()
            .enumerate()
            .filter(move |(_, credentials)| wanted(credentials))
            .map(move |(index, it)| (Some(index), Probe::Community { credentials: it.clone(), oids: who.to_vec() }))
    };
    let is_v3 = |credentials: &Credentials| matches!(credentials, Credentials::V3(_));
    let engines = credentials.iter().any(is_v3).then_some((None, Probe::EngineDiscovery));
    engines
        .into_iter()
        .chain(by(|credentials| matches!(credentials, Credentials::V2c { .. })))
        .chain(by(|credentials| matches!(credentials, Credentials::V1 { .. })))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{DnsResolver, Ranges};
    use crate::snmp::UsmUser;
    use std::collections::VecDeque;
    use std::net::IpAddr;
    use std::sync::Mutex;

    /// Remembers who was asked what, and lets those answer whose address ends so.
    #[derive(Clone, Default)]
    struct Recorder {
        asked: Arc<Mutex<Vec<(IpAddr, String)>>>,
        ending: &'static str,
        /// Passes in which nobody is heard.
        deaf: usize,
    }

    impl Recorder {
        fn asked(&self) -> Vec<IpAddr> {
            self.asked.lock().unwrap().iter().map(|(ip, _)| *ip).collect()
        }

        fn passes(&self) -> Vec<String> {
            let mut passes: Vec<String> = self.asked.lock().unwrap().iter().map(|(_, what)| what.clone()).collect();
            passes.dedup();
            passes
        }
    }

    struct Recorded(VecDeque<ProbeAnswer>, u64);

    impl Prober for Recorder {
        type Answers = Recorded;

        async fn begin(&self, plan: SweepPlan) -> Result<Recorded, SnmpError> {
            let what = match &plan.probe {
                Probe::EngineDiscovery => "engines".to_owned(),
                Probe::Community { credentials: Credentials::V1 { community }, .. } => {
                    format!("v1 {}", String::from_utf8_lossy(community.expose()))
                }
                Probe::Community { credentials: Credentials::V2c { community }, .. } => {
                    format!("v2c {}", String::from_utf8_lossy(community.expose()))
                }
                Probe::Community { .. } => panic!("a user is not for everybody"),
            };
            let pass = self.passes().len();
            let targets: Vec<SocketAddr> = plan.targets.collect();
            self.asked.lock().unwrap().extend(targets.iter().map(|target| (target.ip(), what.clone())));
            let answers = targets
                .iter()
                .filter(|target| pass >= self.deaf && target.ip().to_string().ends_with(self.ending))
                .map(|target| ProbeAnswer { target: *target, bindings: Vec::new(), engine_id: None })
                .collect();
            Ok(Recorded(answers, targets.len() as u64))
        }
    }

    impl Answers for Recorded {
        async fn next(&mut self) -> Option<ProbeAnswer> {
            self.0.pop_front()
        }

        fn sent(&self) -> u64 {
            self.1
        }
    }

    fn v2c(community: &str) -> Credentials {
        Credentials::V2c { community: community.into() }
    }

    fn v1(community: &str) -> Credentials {
        Credentials::V1 { community: community.into() }
    }

    async fn options(items: &[&str], fence: &Fence, credentials: Vec<Credentials>) -> SweepOptions {
        let addresses = Ranges::parse(items).unwrap().resolve(fence, &DnsResolver).await.unwrap();
        SweepOptions {
            parts: vec![Part { addresses, pace: Pace::of_the_client() }],
            port: 161,
            credentials,
            listen: Duration::ZERO,
            skip: HashSet::new(),
            neighbours: Neighbours::unknown(),
        }
    }

    async fn all(mut sweep: Sweep) -> Vec<Responder> {
        let mut found = Vec::new();
        while let Some(responder) = sweep.next().await {
            found.push(responder);
        }
        sweep.finish().await.unwrap();
        found
    }

    #[tokio::test]
    async fn the_silent_are_asked_twice_and_who_answers_is_told_once() {
        let fence = Fence::default();
        let mut options = options(&["10.0.0.0/24", "!10.0.0.9"], &fence, vec![v2c("public")]).await;
        options.skip = HashSet::from(["10.0.0.8".parse::<ScopedIp>().unwrap()]);
        let prober = Recorder { ending: ".7", ..Recorder::default() };
        let sweep = sweep(prober.clone(), fence, options, CancellationToken::new());
        let progress = sweep.progress();
        let found = all(sweep).await;
        assert_eq!(found, [Responder { address: "10.0.0.7:161".parse().unwrap(), credentials_index: Some(0) }]);
        assert_eq!(*progress.borrow(), SweepProgress { pass: 2, passes: 2, asked: 252 + 251 });
        let asked = prober.asked();
        let distinct: HashSet<_> = asked.iter().collect();
        assert_eq!((asked.len(), distinct.len()), (252 + 251, 252));
    }

    #[tokio::test]
    async fn a_device_whose_first_datagrams_were_lost_is_found_in_the_second_round() {
        let fence = Fence::default();
        let options = options(&["10.0.0.1-9"], &fence, vec![v2c("a"), v1("a")]).await;
        let prober = Recorder { ending: ".7", deaf: 2, ..Recorder::default() };
        let found = all(sweep(prober, fence, options, CancellationToken::new())).await;
        assert_eq!(found.len(), 1);
    }

    #[tokio::test]
    async fn the_passes_go_from_what_tells_no_secret_to_what_is_old() {
        let fence = Fence::default();
        let user = Credentials::V3(UsmUser::new("reader", None, None, "").unwrap());
        let credentials = vec![v1("a"), v2c("a"), user.clone(), v2c("b"), user];
        let options = options(&["10.0.0.1-3"], &fence, credentials).await;
        let prober = Recorder { ending: "nobody", ..Recorder::default() };
        all(sweep(prober.clone(), fence, options, CancellationToken::new())).await;
        let round = ["engines", "v2c a", "v2c b", "v1 a"];
        assert_eq!(prober.passes(), [round, round].concat());
    }

    #[tokio::test]
    async fn who_is_known_to_be_absent_is_asked_once_and_no_more() {
        let fence = Fence::default();
        let mut options = options(&["10.0.0.1-4"], &fence, vec![v2c("public")]).await;
        options.neighbours =
            Neighbours::of([("10.0.0.2".parse().unwrap(), false), ("10.0.0.3".parse().unwrap(), true)]);
        let prober = Recorder { ending: "nobody", ..Recorder::default() };
        all(sweep(prober.clone(), fence, options, CancellationToken::new())).await;
        let count = |ip: &str| prober.asked().iter().filter(|asked| asked.to_string() == ip).count();
        assert_eq!(["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(count), [2, 1, 2]);
    }

    #[tokio::test]
    async fn a_set_that_was_made_for_a_wider_fence_gets_no_packet_outside() {
        let wide = Fence::parse(&["0.0.0.0/0"]).unwrap();
        let options = options(&["9.255.255.250-10.0.0.5"], &wide, vec![v2c("public")]).await;
        let prober = Recorder { ending: ".7", ..Recorder::default() };
        all(sweep(prober.clone(), Fence::default(), options, CancellationToken::new())).await;
        let asked = prober.asked();
        assert!(!asked.is_empty() && asked.iter().all(|ip| Fence::default().allows(*ip)));
    }
}
