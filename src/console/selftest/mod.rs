//! The self-test of the network: from the cable to the printer, one step after the other, until one fails; that one is the cause.
//!
//! What this room is for: a technician at the box learns in [`WHOLE_LIMIT`] what keeps it from its cloud, in the words that portal and
//! LED have too. What it promises: it ends in time whatever happens, because each step has a limit and all of them together make
//! that of the whole; it changes nothing on the box, in the cloud or in the LAN, so it may run beside the agent; what strangers said
//! is escaped in what it shows.

mod cloud;
mod local;
mod names;
mod printer;
mod report;
pub(in crate::console) mod system;
mod words;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::cloud::CloudSide;
pub use self::report::{Finding, Line, LineJson, Outcome, Verdict};
use self::system::{Linux, System};
pub use self::words::Word;
use crate::agent::{CloudEndpoints, Config};
use crate::cause::Cause;

/// Longest time for all of it.
pub const WHOLE_LIMIT: Duration = Duration::from_secs(45);

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Link,
    Address,
    Gateway,
    Dns,
    Time,
    Proxy,
    Tcp,
    Tls,
    Grpc,
    Mqtt,
    Ssh,
    Snmp,
}

impl Step {
    const ALL: [Self; 12] = [
        Self::Link,
        Self::Address,
        Self::Gateway,
        Self::Dns,
        Self::Time,
        Self::Proxy,
        Self::Tcp,
        Self::Tls,
        Self::Grpc,
        Self::Mqtt,
        Self::Ssh,
        Self::Snmp,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Gateway => "gateway",
            Self::Dns => "dns",
            Self::Time => "time",
            Self::Proxy => "proxy",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Grpc => "grpc",
            Self::Mqtt => "mqtt",
            Self::Ssh => "ssh",
            Self::Snmp => "snmp",
        }
    }

    /// Longest time for the step. The kernel asks for a gateway three times, a second apart; a SYN that is lost is repeated after one
    /// second and after three.
    const fn limit_ms(self) -> u64 {
        match self {
            Self::Link | Self::Address | Self::Time => 500,
            Self::Gateway | Self::Proxy | Self::Tcp => 4_000,
            Self::Dns => names::LOOKUP_LIMIT_MS + names::ASK_LIMIT_MS + 200,
            // Both have two tries: with HTTP/2 and without.
            Self::Tls | Self::Grpc => 2 * cloud::TRY_LIMIT_MS + 100,
            Self::Mqtt => 5_000,
            Self::Ssh => 3_500,
            Self::Snmp => printer::RESOLVE_LIMIT_MS + printer::ASK_LIMIT_MS + 200,
        }
    }

    /// What it means when the step does not end by itself.
    fn late(self) -> Outcome {
        let late = || format!("nothing within {:.1} s", Duration::from_millis(self.limit_ms()).as_secs_f64());
        match self {
            Self::Link | Self::Address | Self::Time => Outcome::Fail(Finding::new(Cause::Unspecified, late())),
            Self::Gateway => Outcome::Fail(Finding::local(words::GATEWAY_SILENT, late())),
            Self::Dns => Outcome::Fail(Finding::local(words::DNS_SILENT, late())),
            Self::Proxy => Outcome::Fail(Finding::new(Cause::Proxy, late())),
            Self::Tcp => Outcome::Fail(Finding::new(Cause::Tcp, late())),
            Self::Tls | Self::Grpc => Outcome::Fail(Finding::new(Cause::Timeout, late())),
            Self::Mqtt => Outcome::Warn(Finding::new(Cause::MqttBlocked, late())),
            Self::Ssh => Outcome::Warn(Finding::new(Cause::SshBlocked, late())),
            Self::Snmp => Outcome::Fail(Finding::new(Cause::Silent, late())),
        }
    }
}

/// What a step says: mostly one line.
type Said = Vec<Told>;

/// A line of a step.
struct Told {
    step: String,
    outcome: Outcome,
    /// Where it took another time than the step.
    took: Option<Duration>,
}

impl Told {
    fn new(step: &str, outcome: Outcome) -> Self {
        Self { step: step.to_owned(), outcome, took: None }
    }
}

/// Runs the test on this machine. `printer` is a host, or host and port, that one SNMP GET goes to; `line` gets each line as soon as
/// it is known.
pub async fn run(config: &Config, printer: Option<&str>, line: impl FnMut(Line)) -> Verdict {
    run_on(&Linux, config, printer, line).await
}

async fn run_on(system: &impl System, config: &Config, printer: Option<&str>, mut line: impl FnMut(Line)) -> Verdict {
    let endpoints = match config.endpoints() {
        Ok(endpoints) => endpoints,
        Err(error) => {
            let finding = Finding::local(words::CONFIG, error.to_string());
            let outcome = Outcome::Fail(finding.clone());
            line(Line { step: "config".to_owned(), outcome, took: Duration::ZERO });
            return Verdict::Failed(finding);
        }
    };
    let mut test =
        Test { system, config, printer, first_hop: FirstHop::new(system, &endpoints), cloud: None, endpoints };
    let mut failed = None;
    for step in Step::ALL {
        if failed.is_some() {
            line(Line { step: step.name().to_owned(), outcome: Outcome::NotTried, took: Duration::ZERO });
            continue;
        }
        let began = Instant::now();
        let limit = Duration::from_millis(step.limit_ms());
        let said = timeout(limit, test.take(step)).await;
        let said = said.unwrap_or_else(|_| vec![Told::new(step.name(), step.late())]);
        for Told { step, outcome, took } in said {
            if let Outcome::Fail(finding) = &outcome {
                failed.get_or_insert_with(|| finding.clone());
            }
            line(Line { step, outcome, took: took.unwrap_or_else(|| began.elapsed()) });
        }
    }
    failed.map_or(Verdict::Passed, Verdict::Failed)
}

/// Whom the box speaks to first: the proxy where there is one, else the cloud.
#[derive(Debug, Clone)]
struct FirstHop {
    host: String,
    port: u16,
    is_proxy: bool,
    /// Where it is, as far as no name server is needed for that.
    known: Option<std::net::IpAddr>,
}

impl FirstHop {
    fn new(system: &impl System, endpoints: &CloudEndpoints) -> Self {
        let (host, port) = match &endpoints.proxy {
            Some(proxy) => (proxy.host.clone(), proxy.port),
            None => (endpoints.grpc.host().to_owned(), endpoints.grpc.port()),
        };
        // RFC 6761 §6.3: localhost is this machine, whoever is asked.
        let is_local = host == "localhost" || host.ends_with(".localhost");
        let known = host.parse().ok().or_else(|| system.host(&host));
        let known = known.or_else(|| is_local.then(|| std::net::Ipv4Addr::LOCALHOST.into()));
        Self { host, port, is_proxy: endpoints.proxy.is_some(), known }
    }

    fn is_this_machine(&self) -> bool {
        self.known.is_some_and(|ip| ip.is_loopback())
    }
}

/// What the steps know and hand on.
struct Test<'a, S> {
    system: &'a S,
    config: &'a Config,
    printer: Option<&'a str>,
    first_hop: FirstHop,
    endpoints: CloudEndpoints,
    /// From the step `time` on.
    cloud: Option<CloudSide>,
}

impl<S: System> Test<'_, S> {
    async fn take(&mut self, step: Step) -> Said {
        if matches!(step, Step::Link | Step::Address | Step::Gateway) && self.first_hop.is_this_machine() {
            let what = if self.first_hop.is_proxy { "the proxy" } else { "the cloud" };
            return one(step, Outcome::Skip(format!("{what} is on this machine")));
        }
        let outcome = match step {
            Step::Link => local::link(self.system),
            Step::Address => local::address(self.system),
            Step::Gateway => local::gateway(self.system, &self.first_hop).await,
            Step::Dns => names::dns(self.system, &self.first_hop).await,
            Step::Time => match CloudSide::prepare(self.config, &self.endpoints) {
                Ok((cloud, clock)) => {
                    self.cloud = Some(cloud);
                    clock
                }
                Err(finding) => Outcome::Fail(finding),
            },
            Step::Snmp => printer::snmp(self.config, self.printer).await,
            _ => match &mut self.cloud {
                None => Outcome::NotTried, // `time` came before
                Some(cloud) => match step {
                    Step::Proxy => cloud.proxy().await,
                    Step::Tcp => return cloud.tcp().await,
                    Step::Tls => return cloud.tls().await,
                    Step::Grpc => return cloud.grpc().await,
                    Step::Mqtt => cloud.mqtt().await,
                    _ => cloud.ssh().await,
                },
            },
        };
        one(step, outcome)
    }
}

fn one(step: Step, outcome: Outcome) -> Said {
    vec![Told::new(step.name(), outcome)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_together_end_within_the_limit_of_the_whole() {
        let sum: u64 = Step::ALL.iter().map(|step| step.limit_ms()).sum();
        // A second for what lies between them, on a slow board.
        assert!(Duration::from_millis(sum) + Duration::from_secs(1) <= WHOLE_LIMIT, "{sum} ms");
    }

    #[test]
    fn what_the_box_can_do_without_is_a_warning_also_when_it_is_late() {
        for step in Step::ALL {
            let is_warning = matches!(step.late(), Outcome::Warn(_));
            assert_eq!(is_warning, matches!(step, Step::Mqtt | Step::Ssh), "{}", step.name());
        }
    }
}
