//! Why the cloud was not reached: one named cause for each thing that a technician would do something else about.

use std::io;

use super::EndpointError;
use crate::cause::{Cause, Trouble};

/// Why a connection, or a call over it, failed.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The endpoint is not one that the box may dial.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The name has no address.
    #[error("dns: the name {host} cannot be resolved ({source}): check the DNS server of this network")]
    Dns {
        /// The name.
        host: String,
        /// The resolver's words.
        source: io::Error,
    },
    /// No TCP connection.
    #[error(
        "tcp-blocked: no connection to {authority} ({source}): is the cloud running, and does the firewall allow it?"
    )]
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
    /// The server is not ours, or something between reads along.
    #[error(
        "tls-untrusted: the certificate of {authority} was not issued by our cloud's authority: a proxy may be inspecting TLS here (exempt {authority} from inspection), or the pinned roots are not this cloud's"
    )]
    UntrustedServer {
        /// Host and port.
        authority: String,
    },
    /// TLS failed in another way.
    #[error("tls-refused: TLS with {authority} failed: {detail}")]
    Tls {
        /// Host and port.
        authority: String,
        /// The TLS library's words.
        detail: String,
    },
    /// The server does not take the box's certificate.
    #[error("rejected: {authority} does not accept this box's certificate ({detail}): enrol the box again")]
    Rejected {
        /// Host and port.
        authority: String,
        /// The server's words.
        detail: String,
    },
    /// Certificate, key or roots of the box cannot be used.
    #[error("the box's identity cannot be used: {0}")]
    Identity(String),
    /// The server answered a call with an error.
    #[error("the cloud answered {call} with {code}: {message}")]
    Call {
        /// The call.
        call: &'static str,
        /// gRPC status code.
        code: tonic::Code,
        /// The server's words, escaped.
        message: String,
    },
    /// The server does not follow the contract.
    #[error("the cloud does not follow the contract: {0}")]
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
            Self::Proxy { answer, .. } => (Cause::Proxy, answer.clone()),
            Self::UntrustedServer { authority } => (Cause::TlsInspected, authority.clone()),
            Self::Tls { detail, .. } => (Cause::TlsRefused, detail.clone()),
            Self::Rejected { detail, .. } => (Cause::Refused, detail.clone()),
            Self::Identity(detail) => (Cause::Refused, detail.clone()),
            Self::Call { call, code, message } => (Cause::CloudBusy, format!("{call}: {code}: {message}")),
            Self::Contract(detail) => (Cause::Contract, detail.clone()),
        };
        Trouble::new(cause, &detail)
    }

    /// The cause, where this is a refusal of the box's own credential that is proven to come from its cloud: five of these in
    /// a row disable the box, and nothing else does.
    #[must_use]
    pub fn proven_refusal(&self) -> Option<Cause> {
        matches!(self, Self::Rejected { .. }).then_some(Cause::Refused)
    }

    /// Names a failure of a TLS connection by what lies at its root.
    pub(super) fn from_tls(authority: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let authority = authority.to_owned();
        match rustls_cause(error) {
            Some(rustls::Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature,
            )) => Self::UntrustedServer { authority },
            Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => {
                Self::Rejected { authority, detail: format!("TLS alert {alert:?}") }
            }
            Some(other) => Self::Tls { authority, detail: other.to_string() },
            None => Self::Tls { authority, detail: error.to_string() },
        }
    }

    /// Names a failed call, looking below the status for a TLS alert: in TLS 1.3 the server judges the client's
    /// certificate only after the client believes the handshake done (RFC 8446 §4.4.2.4).
    pub(super) fn from_status(authority: &str, call: &'static str, status: &tonic::Status) -> Self {
        if status.code() == tonic::Code::Unauthenticated {
            let detail = status.message().escape_debug().to_string();
            return Self::Rejected { authority: authority.to_owned(), detail };
        }
        if let Some(cause) = std::error::Error::source(status)
            && rustls_cause(cause).is_some()
        {
            return Self::from_tls(authority, cause);
        }
        Self::Call { call, code: status.code(), message: status.message().escape_debug().to_string() }
    }
}

fn is_about_our_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// The TLS library's own error in a chain of errors. `io::Error` hides what it wraps from `source()`, so it is opened here.
fn rustls_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next: Option<&'a (dyn std::error::Error + 'static)> = Some(error);
    for _ in 0..16 {
        let current = next?;
        if let Some(found) = current.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}
