//! Why the cloud was not reached: one named cause for each thing that a technician would do something else about. The word of
//! the cause (`src/cause.rs`) comes first in every text, so that log, console and portal say the same.

use std::io;
use std::time::Duration;

use super::EndpointError;
use crate::cause::{Cause, Trouble, explain};

/// Longest wait that a server may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Why a connection, or a call over it, failed.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The endpoint is not one that the box may dial.
    #[error("contract: {0}")]
    Endpoint(#[from] EndpointError),
    /// The name has no address.
    #[error("dns: the name {host} cannot be resolved ({source}): check the DNS server of this network")]
    Dns {
        /// The name.
        host: String,
        /// The resolver's words.
        source: io::Error,
    },
    /// No TCP connection, or one that broke.
    #[error("tcp: no connection to {authority} ({source}): is the cloud running, and does the firewall allow it?")]
    Tcp {
        /// Host and port.
        authority: String,
        /// The operating system's words.
        source: io::Error,
    },
    /// Something took longer than it may.
    #[error("timeout: {authority} took longer than {seconds} s to {act}")]
    Timeout {
        /// Host and port.
        authority: String,
        /// What was waited for.
        act: &'static str,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The proxy wants to know who asks.
    #[error("proxy-407: {proxy} wants a log-in: {answer}")]
    ProxyLogin {
        /// Host and port of the proxy.
        proxy: String,
        /// What it wants, escaped.
        answer: String,
    },
    /// The proxy did not open the way.
    #[error("proxy: {proxy} does not connect to {authority}: {answer}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port that were wanted.
        authority: String,
        /// The proxy's status line, escaped.
        answer: String,
    },
    /// A web page answers where the cloud should.
    #[error(
        "captive-portal: a web page answers in the place of {authority} ({answer}): log this box in, or let it through"
    )]
    CaptivePortal {
        /// Host and port.
        authority: String,
        /// What it said, escaped.
        answer: String,
    },
    /// The server is not ours, or something between reads along.
    #[error(
        "tls-inspected: by {issuer}: the certificate of {authority} was not issued by our cloud's authority: a proxy may be inspecting TLS here (exempt {authority} from inspection), or the pinned roots are not this cloud's"
    )]
    UntrustedServer {
        /// Host and port.
        authority: String,
        /// Who issued the certificate that was shown: "CN=…", escaped.
        issuer: String,
    },
    /// The server's certificate has expired.
    #[error("tls-expired: the certificate of {authority} has expired ({detail})")]
    Expired {
        /// Host and port.
        authority: String,
        /// Since when.
        detail: String,
        /// The box's own clock is only a guess: it may be the box that is wrong.
        clock_is_a_guess: bool,
    },
    /// The server's certificate is for another name.
    #[error("tls-wrong-name: the certificate shown by {authority} is for another name ({detail})")]
    WrongName {
        /// Host and port.
        authority: String,
        /// Which.
        detail: String,
    },
    /// TLS failed in another way.
    #[error("tls-refused: TLS with {authority} failed: {detail}")]
    Tls {
        /// Host and port.
        authority: String,
        /// What happened, escaped.
        detail: String,
    },
    /// The box does not know what time it is, and could not learn it.
    #[error("clock: the box does not know the time, and {authority} could not tell it: {detail}")]
    Clock {
        /// Host and port.
        authority: String,
        /// What is missing.
        detail: String,
    },
    /// The server does not take the box's certificate.
    #[error("{}: {authority} does not accept this box's certificate ({detail})", explain(*cause).word)]
    Rejected {
        /// Host and port.
        authority: String,
        /// The server's words, escaped.
        detail: String,
        /// REFUSED or SUSPENDED.
        cause: Cause,
        /// Whether it is proven that our cloud says so. A refusal in the handshake is not: anybody on the way can send it.
        proven: bool,
    },
    /// The relay shows a key that is not pinned.
    #[error(
        "tls-inspected: by {shown}: this is the SSH key that {authority} shows, and it is not pinned: something may be reading SSH here (exempt {authority} from inspection), or the pinned keys are not this relay's"
    )]
    WrongHostKey {
        /// Host and port.
        authority: String,
        /// The key's fingerprint ("SHA256:…"), or what is wrong with it; escaped.
        shown: String,
    },
    /// The relay does not take the box's key. Nothing proves that to be the cloud's will: it disables no box.
    #[error("refused: {authority} does not accept this box's key for SSH ({detail})")]
    KeyRefused {
        /// Host and port.
        authority: String,
        /// How it said so, escaped.
        detail: String,
    },
    /// Certificate, key or roots of the box cannot be used.
    #[error("refused: the box's identity cannot be used: {0}")]
    Identity(String),
    /// The server is there and cannot serve the call now.
    #[error("cloud-busy: the cloud answered {call} with {detail}")]
    Busy {
        /// The call.
        call: &'static str,
        /// Code and words, escaped.
        detail: String,
        /// When it wants to be asked again, where it said so.
        retry_after: Option<Duration>,
    },
    /// The server answered a call with an error that waiting does not mend.
    #[error("contract: the cloud answered {call} with {code}: {message}")]
    Call {
        /// The call.
        call: &'static str,
        /// gRPC status code.
        code: tonic::Code,
        /// The server's words, escaped.
        message: String,
    },
    /// The server does not follow the contract.
    #[error("contract: the cloud does not follow the contract: {0}")]
    Contract(String),
}

impl UplinkError {
    /// What it is, in the words of the one list of causes.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        let (cause, detail) = match self {
            Self::Endpoint(error) => (Cause::Contract, error.to_string()),
            Self::Dns { host, .. } => (Cause::Dns, host.clone()),
            Self::Tcp { authority, source } => (Cause::Tcp, format!("{authority}: {source}")),
            Self::Timeout { authority, act, seconds } => {
                (Cause::Timeout, format!("{authority} took longer than {seconds} s to {act}"))
            }
            Self::ProxyLogin { proxy, answer } => (Cause::Proxy407, format!("{proxy}: {answer}")),
            Self::Proxy { proxy, answer, .. } => (Cause::Proxy, format!("{proxy}: {answer}")),
            Self::CaptivePortal { authority, answer } => {
                (Cause::CaptivePortal, format!("in the place of {authority}: {answer}"))
            }
            Self::UntrustedServer { authority, issuer } => (Cause::TlsInspected, format!("by {issuer} ({authority})")),
            Self::Expired { detail, .. } => (Cause::TlsExpired, detail.clone()),
            Self::WrongName { authority, detail } => (Cause::TlsWrongName, format!("{authority}: {detail}")),
            Self::Tls { detail, .. } => (Cause::TlsRefused, detail.clone()),
            Self::Clock { detail, .. } => (Cause::Clock, detail.clone()),
            Self::Rejected { detail, cause, .. } => (*cause, detail.clone()),
            Self::WrongHostKey { authority, shown } => {
                (Cause::TlsInspected, format!("by {shown} (SSH key of {authority})"))
            }
            Self::KeyRefused { authority, detail } => (Cause::Refused, format!("{authority} (SSH): {detail}")),
            Self::Identity(detail) => (Cause::Refused, detail.clone()),
            Self::Busy { call, detail, .. } => (Cause::CloudBusy, format!("{call}: {detail}")),
            Self::Call { call, code, message } => (Cause::Contract, format!("{call}: {code:?}: {message}")),
            Self::Contract(detail) => (Cause::Contract, detail.clone()),
        };
        Trouble::new(cause, &detail)
    }

    /// The cause, where this is a refusal of the box's own credential that is proven to come from its cloud: five of these in
    /// a row disable the box, and nothing else does. Proven is a TLS alert about our certificate after the server's Finished
    /// was verified, and a status with the contract's `AuthReject` in it.
    #[must_use]
    pub fn proven_refusal(&self) -> Option<Cause> {
        match self {
            Self::Rejected { cause, proven: true, .. } => Some(*cause),
            _ => None,
        }
    }

    /// Whether the cloud has answered, and asking again would bring the same answer.
    #[must_use]
    pub fn is_a_no(&self) -> bool {
        matches!(self, Self::Call { .. } | Self::Contract(_))
    }

    /// How long the server wants to be left alone, where it said so; at most an hour.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => retry_after.map(|after| after.min(RETRY_AFTER_MAX)),
            _ => None,
        }
    }

    /// Whether a signed time may mend it: by the box's clock the server's certificate is not valid yet, or is no longer and
    /// the clock is only a guess.
    pub(super) fn wants_the_time(&self) -> bool {
        matches!(self, Self::Clock { .. } | Self::Expired { clock_is_a_guess: true, .. })
    }

    /// A connection that broke while it was in use.
    pub(super) fn broken(authority: &str, source: io::Error) -> Self {
        Self::Tcp { authority: authority.to_owned(), source }
    }

    /// Names the end of a TLS connection whose handshake is done: the server's Finished was verified, so what it says about
    /// our certificate is said by the cloud (RFC 8446 §4.4.2.4: in TLS 1.3 it judges it only now).
    pub(super) fn after_handshake(authority: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let owned = authority.to_owned();
        match tls_error_in(error) {
            Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => Self::Rejected {
                authority: owned,
                detail: format!("TLS alert {alert:?}"),
                cause: Cause::Refused,
                proven: true,
            },
            Some(other) => Self::Tls { authority: owned, detail: other.to_string() },
            None => Self::broken(authority, io::Error::other(root_of(error).escape_debug().to_string())),
        }
    }
}

/// Whether an alert says that our certificate is not taken (RFC 8446 §6.2).
pub(super) fn is_about_our_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// Every error in a chain, outermost first. `io::Error` hides what it wraps from `source()`, so it is opened here.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let below = |current: &&'a (dyn std::error::Error + 'static)| match current
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
        None => current.source(),
    };
    std::iter::successors(Some(error), below).take(16)
}

/// The TLS library's own error in a chain of errors.
pub(super) fn tls_error_in<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|each| each.downcast_ref::<rustls::Error>())
}

/// The words of the innermost error: "connection reset by peer" says more than "transport error".
pub(super) fn root_of(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<UplinkError> {
        let (authority, detail) = ("cloud:443".to_owned(), "so".to_owned());
        let io = || io::Error::from(io::ErrorKind::ConnectionReset);
        let rejected = |cause, proven| UplinkError::Rejected {
            authority: "cloud:443".to_owned(),
            detail: "no".to_owned(),
            cause,
            proven,
        };
        vec![
            UplinkError::Endpoint(EndpointError::Malformed("x".to_owned())),
            UplinkError::Dns { host: "cloud".to_owned(), source: io() },
            UplinkError::Tcp { authority: authority.clone(), source: io() },
            UplinkError::Timeout { authority: authority.clone(), act: "answer", seconds: 1 },
            UplinkError::ProxyLogin { proxy: "p:1".to_owned(), answer: "407".to_owned() },
            UplinkError::Proxy { proxy: "p:1".to_owned(), authority: authority.clone(), answer: "403".to_owned() },
            UplinkError::CaptivePortal { authority: authority.clone(), answer: "302".to_owned() },
            UplinkError::UntrustedServer { authority: authority.clone(), issuer: "CN=Corp".to_owned() },
            UplinkError::Expired { authority: authority.clone(), detail: detail.clone(), clock_is_a_guess: false },
            UplinkError::WrongName { authority: authority.clone(), detail: detail.clone() },
            UplinkError::Tls { authority: authority.clone(), detail: detail.clone() },
            UplinkError::Clock { authority: authority.clone(), detail: detail.clone() },
            UplinkError::WrongHostKey { authority: authority.clone(), shown: "SHA256:x".to_owned() },
            UplinkError::KeyRefused { authority, detail: detail.clone() },
            rejected(Cause::Refused, true),
            rejected(Cause::Suspended, true),
            rejected(Cause::Refused, false),
            UplinkError::Identity(detail.clone()),
            UplinkError::Busy { call: "Poll", detail: detail.clone(), retry_after: None },
            UplinkError::Call { call: "Poll", code: tonic::Code::NotFound, message: detail.clone() },
            UplinkError::Contract(detail),
        ]
    }

    #[test]
    fn the_word_of_the_cause_comes_first_in_every_text() {
        for error in one_of_each() {
            let (text, trouble) = (error.to_string(), error.trouble());
            let word = explain(trouble.cause).word;
            assert!(text.starts_with(&format!("{word}: ")), "{text}");
            assert!(trouble.to_string().starts_with(&format!("{word}: ")), "{trouble}");
        }
    }

    #[test]
    fn only_proven_refusals_count() {
        let counted: Vec<_> = one_of_each().iter().filter_map(UplinkError::proven_refusal).collect();
        assert_eq!(counted, [Cause::Refused, Cause::Suspended]);
    }

    #[test]
    fn a_server_may_send_the_box_away_for_an_hour_at_most() {
        let after = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            UplinkError::Busy { call: "Poll", detail: String::new(), retry_after }.retry_after()
        };
        assert_eq!(after(30), Some(Duration::from_secs(30)));
        assert_eq!(after(u64::MAX), Some(RETRY_AFTER_MAX));
    }
}
