//! The step of names: the resolver is asked as every connection asks it; where it fails, the name servers are asked by our own
//! question, because the resolver's words do not say whether nobody answered or the name does not exist.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::report::{Finding, Outcome};
use super::system::System;
use super::{FirstHop, words};
use crate::cause::Cause;

/// Longest time for the resolver: with its usual settings it asks each server twice, and waits five seconds for each.
pub(super) const LOOKUP_LIMIT_MS: u64 = 5_000;
/// Longest time for our own questions, which go to all servers at once.
pub(super) const ASK_LIMIT_MS: u64 = 1_500;
const DNS_PORT: u16 = 53;
/// Most addresses that are shown.
const SHOWN_MAX: usize = 4;

/// Whether the name of whom the box dials has an address.
pub(super) async fn dns(system: &impl System, first_hop: &FirstHop) -> Outcome {
    let host = &first_hop.host;
    let what = if first_hop.is_proxy { "the proxy" } else { "the cloud" };
    if host.parse::<IpAddr>().is_ok() {
        return Outcome::Skip(format!("{what} is given by its address, {host}"));
    }
    let lookup = tokio::net::lookup_host((host.as_str(), first_hop.port));
    let words = match timeout(Duration::from_millis(LOOKUP_LIMIT_MS), lookup).await {
        Ok(Ok(found)) => {
            let addresses: Vec<String> = found.take(SHOWN_MAX).map(|address| address.ip().to_string()).collect();
            if !addresses.is_empty() {
                return Outcome::Ok(format!("{host} is {}", addresses.join(", ")));
            }
            "the name has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the resolver does not end".to_owned(),
    };
    let servers = system.name_servers();
    if servers.is_empty() {
        return Outcome::Fail(Finding::local(words::NO_DNS, ""));
    }
    let mut heard = Vec::new();
    for (server, code) in ask_all(&servers, host).await {
        match code {
            Some(NO_ERROR | NO_SUCH_NAME) => {
                return Outcome::Fail(Finding::new(Cause::Dns, format!("{host}: {words}; {server} has answered")));
            }
            Some(code) => heard.push(format!("{server} answers with error {code}")),
            None => heard.push(format!("{server} does not answer")),
        }
    }
    Outcome::Fail(Finding::local(words::DNS_SILENT, heard.join(", ")))
}

/// RCODEs (RFC 1035 §4.1.1).
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// Asks each server once for an address of this name; says with which code it answers.
async fn ask_all(servers: &[IpAddr], name: &str) -> Vec<(IpAddr, Option<u8>)> {
    let limit = Duration::from_millis(ASK_LIMIT_MS);
    let asked = servers.iter().map(async |server| {
        let answer = timeout(limit, ask((*server, DNS_PORT).into(), name)).await;
        (*server, answer.ok().and_then(Result::ok))
    });
    futures_util::future::join_all(asked).await
}

async fn ask(server: SocketAddr, name: &str) -> std::io::Result<u8> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = fastrand::u16(..).to_be_bytes();
    socket.send(&question(id, name)).await?;
    let mut answer = [0; 512];
    // Until the limit of time, which whoever calls keeps.
    loop {
        let length = socket.recv(&mut answer).await?;
        if let Some([high, low, flags, code, ..]) = answer.get(..length)
            && [*high, *low] == id
            && flags & 0x80 != 0
        {
            return Ok(code & 0x0f);
        }
    }
}

/// A question for an address (RFC 1035 §4.1), recursion desired. The name is a host's, which was checked.
fn question(id: [u8; 2], name: &str) -> Vec<u8> {
    let mut packet = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).unwrap_or(u8::MAX).min(63));
        packet.extend(label.bytes().take(63));
    }
    packet.extend([0, 0, 1, 0, 1]); // the root; A; IN
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_written_as_the_rfc_has_it() {
        let packet = question([0xab, 0xcd], "cloud.test");
        assert_eq!(packet[..12], [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packet[12..], *b"\x05cloud\x04test\x00\x00\x01\x00\x01");
    }

    #[tokio::test]
    async fn only_an_answer_to_this_question_counts() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut question = [0; 512];
            let (length, from) = server.recv_from(&mut question).await.unwrap();
            let mut other = question;
            other[0] ^= 1;
            (other[2], other[3]) = (0x81, 0);
            server.send_to(&other[..length], from).await.unwrap();
            (question[2], question[3]) = (0x81, 0x83);
            server.send_to(&question[..length], from).await.unwrap();
        });
        let code = timeout(Duration::from_secs(30), ask(address, "cloud.test")).await.unwrap().unwrap();
        assert_eq!(code, NO_SUCH_NAME);
        answering.await.unwrap();
    }
}
