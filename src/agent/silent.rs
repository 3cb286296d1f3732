//! Printers that were not read, and why: in the words of the one list of causes. A printer that is known never vanishes from
//! what the box says; it is told as not read, since when and for which cause.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::{self, Cause, Trouble};
use crate::discovery::{Fence, ScopedIp, ping};
use crate::proto::v1;
use crate::snmp::SnmpError;

/// Most that are told, as the contract has it.
pub(super) const TOLD_MAX: usize = 1_000;
/// A printer that was told to be silent is pinged at most so often, with so much patience: the answer decides a word.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A printer that was not read when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentPrinter {
    /// What it is known by.
    pub device_key: String,
    /// The word of the cause.
    pub cause: String,
    /// Rounds of readings that it has missed in a row.
    pub missed: u32,
    /// The words of whatever failed last.
    pub detail: String,
}

impl SilentPrinter {
    pub(super) fn to_message(&self) -> v1::SilentPrinter {
        v1::SilentPrinter {
            device_key: self.device_key.clone(),
            cause: cause::from_word(&self.cause).unwrap_or_default() as i32,
            missed: self.missed,
            detail: self.detail.clone(),
        }
    }
}

/// What a failed reading means. Whether silence is [`Cause::PingOnly`] only a [ping](answers_pings) can tell.
pub(super) fn trouble_of(error: &SnmpError) -> Trouble {
    let cause = match error {
        SnmpError::Timeout { .. } | SnmpError::Network { .. } => Cause::Silent,
        error if error.is_wrong_credentials() => Cause::WrongCredentials,
        SnmpError::LockedOut { .. } | SnmpError::ErrorStatus { status: 16, .. } => Cause::WrongCredentials,
        SnmpError::Refused { .. } | SnmpError::ErrorStatus { .. } | SnmpError::Garbage { .. } => Cause::Partial,
        SnmpError::BadRequest { .. } | SnmpError::Engine(_) => Cause::Unspecified,
    };
    Trouble::new(cause, &error.to_string())
}

/// Whether a printer that answers no SNMP answers a ping, within the fence.
pub(super) async fn answers_pings(address: ScopedIp, fence: &Fence) -> bool {
    fence.allows(address) && ping(address, 1, PING_TIMEOUT).await.is_ok_and(|report| report.received > 0)
}

/// Printers at whose address somebody else answers now, and that no search has found elsewhere yet.
#[derive(Debug, Default)]
pub(super) struct Displaced {
    by_key: BTreeMap<String, Trouble>,
}

impl Displaced {
    /// Somebody else answers where this printer was.
    pub fn add(&mut self, device_key: &str, by: &str, address: &str) {
        if self.by_key.len() < TOLD_MAX {
            let trouble = Trouble::new(Cause::IdentityChanged, &format!("{by} answers at {address}"));
            self.by_key.insert(device_key.to_owned(), trouble);
        }
    }

    /// It was found.
    pub fn found(&mut self, device_key: &str) {
        self.by_key.remove(device_key);
    }

    pub fn silent(&self) -> impl Iterator<Item = SilentPrinter> {
        self.by_key.iter().map(|(key, trouble)| silent(key, 1, trouble))
    }
}

/// A printer that was not read, as it is told.
pub(super) fn silent(device_key: &str, missed: u32, trouble: &Trouble) -> SilentPrinter {
    SilentPrinter {
        device_key: device_key.to_owned(),
        cause: cause::explain(trouble.cause).word.to_owned(),
        missed,
        detail: trouble.detail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::UsmReport;

    #[test]
    fn what_the_engine_says_becomes_a_cause() {
        let target = "127.0.0.1:161".parse().unwrap();
        let cause = |error: SnmpError| trouble_of(&error).cause;
        assert_eq!(cause(SnmpError::Timeout { target, tries: 3 }), Cause::Silent);
        assert_eq!(cause(SnmpError::Refused { target, reason: UsmReport::WrongDigest }), Cause::WrongCredentials);
        assert_eq!(cause(SnmpError::LockedOut { target, minutes: 9 }), Cause::WrongCredentials);
        assert_eq!(cause(SnmpError::Garbage { target, detail: String::new() }), Cause::Partial);
    }

    #[test]
    fn who_lost_an_address_is_told_until_it_is_found() {
        let mut displaced = Displaced::default();
        displaced.add("serial:Acme:1", "serial:Acme:2", "10.0.0.7");
        let told: Vec<_> = displaced.silent().collect();
        assert_eq!(
            (told[0].cause.as_str(), told[0].detail.as_str()),
            ("identity-changed", "serial:Acme:2 answers at 10.0.0.7")
        );
        assert_eq!(told[0].to_message().cause(), Cause::IdentityChanged);
        displaced.found("serial:Acme:1");
        assert_eq!(displaced.silent().count(), 0);
    }
}
