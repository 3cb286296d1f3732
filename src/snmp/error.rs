//! What can go wrong between the box and an agent, in words a technician can act on.

use std::net::SocketAddr;

/// Why an SNMP request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnmpError {
    /// Nothing came back in all tries.
    #[error(
        "{target} did not answer {tries} SNMP request(s): check the address, that SNMP is switched on there, and the community, or the user and context"
    )]
    Timeout {
        /// Who was asked.
        target: SocketAddr,
        /// How many datagrams were sent.
        tries: u32,
    },
    /// An SNMPv3 agent answered with a USM report (RFC 3414 §3.2).
    #[error("{target} refuses the SNMPv3 user: {reason}")]
    Refused {
        /// Who answered.
        target: SocketAddr,
        /// The report, in words.
        reason: UsmReport,
    },
    /// The agent answered with an error status (RFC 3416 §3) that is not about one missing object.
    #[error("{target} answered with SNMP error status {status}: {}", status_in_words(*status))]
    ErrorStatus {
        /// Who answered.
        target: SocketAddr,
        /// The number of the status, for example 1 tooBig, 5 genErr, 16 authorizationError.
        status: u32,
    },
    /// Something answered from the right address to the right request, and it was not SNMP.
    #[error("{target} answered with something that is not a valid SNMP message: {detail}")]
    Garbage {
        /// Who answered.
        target: SocketAddr,
        /// What could not be read.
        detail: String,
    },
    /// The request could not be made: too long, or credentials that cannot work.
    #[error("the request to {target} cannot be made: {detail}")]
    BadRequest {
        /// Who was to be asked.
        target: SocketAddr,
        /// What is wrong with it.
        detail: String,
    },
    /// The network refused to carry the datagram, or the machine refused to send it.
    #[error("cannot reach {target}: {detail}")]
    Network {
        /// Who was to be asked.
        target: SocketAddr,
        /// The operating system's words.
        detail: String,
    },
    /// Not asked: it has refused our users of SNMPv3 too often.
    #[error(
        "{target} has refused the SNMPv3 user three times and is left alone for {minutes} more minute(s), so that it does not lock us out: correct the user, then read it again"
    )]
    LockedOut {
        /// Who would have been asked.
        target: SocketAddr,
        /// How long it is left alone.
        minutes: u64,
    },
    /// The engine was closed, or too much is waiting for it.
    #[error("the SNMP engine is not taking requests: {0}")]
    Engine(String),
}

impl SnmpError {
    /// Whether the device said that it does not let this user in. (To a wrong community devices say nothing.)
    #[must_use]
    pub fn is_wrong_credentials(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                reason: UsmReport::UnknownUser
                    | UsmReport::WrongDigest
                    | UsmReport::DecryptionError
                    | UsmReport::UnsupportedSecurityLevel,
                ..
            }
        )
    }
}

/// The statuses of RFC 3416 §3 that an agent can answer a question with.
fn status_in_words(status: u32) -> &'static str {
    match status {
        1 => "tooBig (even one object is too much for one of its answers)",
        2 => "noSuchName (it does not have the object)",
        5 => "genErr (it failed, and does not say why)",
        6 => "noAccess (it keeps the object from us)",
        13 => "resourceUnavailable (it is too busy: try again later)",
        16 => "authorizationError (it does not let this community or user, at this level, read)",
        _ => "one that has no meaning in an answer",
    }
}

/// A USM report of an SNMPv3 agent (RFC 3414 §5, usmStats). Unauthenticated, so a hint and no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsmReport {
    /// usmStatsUnsupportedSecLevels.
    #[error("it does not offer this security level: try another --level")]
    UnsupportedSecurityLevel,
    /// usmStatsNotInTimeWindows, again after its time was taken over.
    #[error("its clock is out of step: it may have restarted, try again")]
    NotInTimeWindow,
    /// usmStatsUnknownUserNames.
    #[error("it does not know the user name")]
    UnknownUser,
    /// usmStatsUnknownEngineIDs, again after its engine id was taken over.
    #[error("it does not keep its engine id: restart the printer's network card")]
    UnknownEngineId,
    /// usmStatsWrongDigests.
    #[error("the authentication password or algorithm is wrong")]
    WrongDigest,
    /// usmStatsDecryptionErrors.
    #[error("the privacy password or algorithm is wrong")]
    DecryptionError,
    /// Some other report.
    #[error("it sent a report that says nothing more")]
    Other,
}
