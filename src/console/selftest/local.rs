//! The steps that end at the box's own network: cable, address, gateway.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::report::{Finding, Outcome};
use super::system::{DefaultRoute, Interface, Neighbour, System};
use super::{FirstHop, words};
use crate::cause::Cause;

/// How long a gateway may take to answer. After three seconds the kernel has asked three times.
const GATEWAY_LIMIT: Duration = Duration::from_millis(3_500);
/// Between two looks at the kernel's table.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Where there is no gateway: longest time for the name of who may live in the own network.
const LOCAL_NAME_LIMIT: Duration = Duration::from_secs(2);

/// The machine does not say something about itself.
fn unreadable(what: &str, error: &io::Error) -> Outcome {
    Outcome::Fail(Finding::new(Cause::Unspecified, format!("{what} cannot be read: {error}")))
}

/// Whether there is something at the other end of a cable.
pub(super) fn link(system: &impl System) -> Outcome {
    let interfaces = match system.interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return unreadable("the network interfaces", &error),
    };
    let live: Vec<String> = interfaces.iter().filter(|each| each.is_on && each.has_carrier).map(described).collect();
    if !live.is_empty() {
        return Outcome::Ok(live.join(", "));
    }
    let dead: Vec<String> = interfaces
        .iter()
        .map(|each| format!("{}: {}", each.name, if each.is_on { "no carrier" } else { "switched off" }))
        .collect();
    let detail = if dead.is_empty() { "this machine has no network interface".to_owned() } else { dead.join(", ") };
    Outcome::Fail(Finding::new(Cause::NoLink, detail))
}

fn described(interface: &Interface) -> String {
    let speed = interface.speed_mbit_s.map(|speed| format!(" {speed} Mbit/s")).unwrap_or_default();
    format!("{}{speed}", interface.name)
}

/// Whether the box has an address that leads further than the cable.
pub(super) fn address(system: &impl System) -> Outcome {
    let addresses = match system.addresses() {
        Ok(addresses) => addresses,
        Err(error) => return unreadable("the addresses", &error),
    };
    let usable: Vec<String> = addresses
        .iter()
        .filter(|address| !is_self_made(address.ip))
        .map(|address| {
            format!("{} on {}{}", address.ip, address.interface, if address.is_leased { " (DHCP)" } else { "" })
        })
        .collect();
    if !usable.is_empty() {
        return Outcome::Ok(usable.join(", "));
    }
    let own: Vec<String> =
        addresses.iter().filter(|address| address.ip.is_ipv4()).map(|each| each.ip.to_string()).collect();
    let detail =
        if own.is_empty() { String::new() } else { format!("only {}, which the box gave itself", own.join(", ")) };
    Outcome::Fail(Finding::new(Cause::NoAddress, detail))
}

/// Link-local (RFC 3927, RFC 4291 §2.5.6): every machine makes such an address by itself.
fn is_self_made(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether there is a way out of the own network, and somebody who takes packets.
pub(super) async fn gateway(system: &impl System, first_hop: &FirstHop) -> Outcome {
    let routes = match system.default_routes() {
        Ok(routes) => routes,
        Err(error) => return unreadable("the routes", &error),
    };
    let Some(route) = routes.first() else { return without_gateway(system, first_hop).await };
    let Some(ip) = route.gateway else {
        return Outcome::Ok(format!("point to point over {}", route.interface));
    };
    answers(system, route, ip).await
}

/// A proxy, or a cloud, in the own network needs no gateway.
async fn without_gateway(system: &impl System, first_hop: &FirstHop) -> Outcome {
    let found = match first_hop.known {
        Some(ip) => Some(ip),
        None => {
            let lookup = tokio::net::lookup_host((first_hop.host.as_str(), first_hop.port));
            timeout(LOCAL_NAME_LIMIT, lookup)
                .await
                .ok()
                .and_then(Result::ok)
                .and_then(|mut all| all.next())
                .map(|at| at.ip())
        }
    };
    match found.filter(|ip| system.has_route_to(*ip)) {
        Some(ip) => Outcome::Ok(format!("none, and none is needed to {ip}")),
        None => Outcome::Fail(Finding::local(words::NO_GATEWAY, "")),
    }
}

async fn answers(system: &impl System, route: &DefaultRoute, ip: IpAddr) -> Outcome {
    let silent =
        |why: &str| Outcome::Fail(Finding::local(words::GATEWAY_SILENT, format!("{ip} on {}{why}", route.interface)));
    let socket = match system.nudge(ip, &route.interface) {
        Ok(socket) => socket,
        Err(error) => return silent(&format!(": {error}")),
    };
    let deadline = Instant::now() + GATEWAY_LIMIT;
    while Instant::now() < deadline {
        match system.neighbour(ip) {
            Some(Neighbour::There(hardware)) => {
                return Outcome::Ok(format!("{ip} is {hardware} on {}", route.interface));
            }
            Some(Neighbour::Nobody) => {}
            // Of IPv6 there is no table to look at; the socket hears when nobody has answered, or that the port is closed.
            None => match socket.take_error().ok().flatten() {
                Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                Some(error) => return silent(&format!(": {error}")),
                None => {}
            },
        }
        sleep(LOOK_EVERY).await;
    }
    match system.neighbour(ip) {
        Some(_) => silent(""),
        None => Outcome::Ok(format!("{ip} on {}", route.interface)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::system::{Address, MadeUp};
    use super::*;
    use crate::console::selftest::words;

    fn interface(is_on: bool, has_carrier: bool) -> Interface {
        Interface { name: "eth0".to_owned(), is_on, has_carrier, speed_mbit_s: Some(1_000) }
    }

    fn word(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Fail(finding) => finding.word.word,
            _ => "",
        }
    }

    #[test]
    fn a_link_is_there_when_any_cable_has_something_at_its_other_end() {
        let with = |interfaces: &[Interface]| link(&MadeUp { interfaces: interfaces.to_vec(), ..MadeUp::default() });
        assert_eq!(with(&[interface(true, false), interface(true, true)]), Outcome::Ok("eth0 1000 Mbit/s".to_owned()));
        for dead in [&[][..], &[interface(true, false)], &[interface(false, false)]] {
            assert_eq!(word(&with(dead)), "no-link");
        }
    }

    #[test]
    fn an_address_that_the_box_gave_itself_is_none() {
        let with = |ips: &[&str]| {
            let one = |ip: &&str| Address { interface: "eth0".to_owned(), ip: ip.parse().unwrap(), is_leased: true };
            address(&MadeUp { addresses: ips.iter().map(one).collect(), ..MadeUp::default() })
        };
        for none in [&[][..], &["169.254.1.2"], &["169.254.1.2", "fe80::1"]] {
            assert_eq!(word(&with(none)), "no-address", "{none:?}");
        }
        assert_eq!(with(&["fe80::1", "10.0.0.1"]), Outcome::Ok("10.0.0.1 on eth0 (DHCP)".to_owned()));
        assert_eq!(word(&with(&["2001:db8::1"])), "");
    }

    fn to(known: Option<&str>) -> FirstHop {
        let known = known.map(|ip| ip.parse().unwrap());
        FirstHop { host: "cloud.invalid".to_owned(), port: 443, is_proxy: false, known }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_in_the_own_network_needs_no_gateway_and_others_do() {
        let system = MadeUp { attached: vec!["10.0.0.9".parse().unwrap()], ..MadeUp::default() };
        assert_eq!(word(&gateway(&system, &to(Some("10.0.0.9"))).await), "");
        assert_eq!(word(&gateway(&system, &to(Some("192.0.2.1"))).await), words::NO_GATEWAY.word);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_is_given_the_time_that_the_kernel_takes_to_ask_three_times() {
        let route = |gateway: Option<&str>| MadeUp {
            routes: vec![DefaultRoute {
                interface: "eth0".to_owned(),
                gateway: gateway.map(|ip| ip.parse().unwrap()),
                metric: 0,
            }],
            ..MadeUp::default()
        };
        let with = |neighbour| MadeUp { neighbour, ..route(Some("10.0.0.1")) };
        let began = Instant::now();
        let there = Neighbour::There("02:00:00:00:00:01".to_owned());
        assert_eq!(word(&gateway(&with(Some(there)), &to(None)).await), "");
        assert_eq!(word(&gateway(&route(None), &to(None)).await), "");
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(word(&gateway(&with(Some(Neighbour::Nobody)), &to(None)).await), "gateway-silent");
        assert!(began.elapsed() >= Duration::from_secs(3));
        // Of an IPv6 gateway nothing is known, and nothing speaks against it.
        assert_eq!(word(&gateway(&with(None), &to(None)).await), "");
    }

    #[tokio::test]
    async fn a_machine_that_says_nothing_of_itself_is_told_so() {
        let system = MadeUp { is_broken: true, ..MadeUp::default() };
        for outcome in [link(&system), address(&system), gateway(&system, &to(None)).await] {
            assert_eq!(word(&outcome), "unknown");
        }
    }
}
