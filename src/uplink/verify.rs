//! Judges a server's certificate, and remembers for one connection what was shown and why it was not taken: the TLS library
//! keeps neither the issuer's name nor whether only the dates are wrong.
//!
//! The rules (a box without a clock chip does not know the date when it starts):
//! - Chain, name and dates are verified by the box's clock, whatever it says.
//! - If, and only if, the verifier says "not valid yet", it verifies again at the beginning of that validity: chain and name
//!   are proven then, and only the box's clock is in question. Likewise with "expired", where the clock is only a guess.
//! - Such a connection is refused for everything but [`Purpose::Time`], whose one call is answered under another signature.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::CertificateError as Bad;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::error::{UplinkError, is_about_our_certificate, tls_error_in};
use super::tap::quoted;
use super::time::date;
use super::x509;
use crate::cause::Cause;

/// Times at which a chain is looked at: each certificate of a sane one may move it once.
const LOOKS_MAX: usize = 8;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Everything.
    Calls,
    /// `GetTime`, and nothing else.
    Time,
}

/// What was found out about the certificate that was shown.
#[derive(Debug, Clone, Default)]
struct Seen {
    issuer: Option<String>,
    /// Whether chain, name and dates hold (or, for the time, chain and name).
    is_taken: bool,
    /// Chain and name hold, and the validity begins only then, by the box's clock.
    begins: Option<UnixTime>,
    /// Chain and name hold, and the validity ended then.
    ended: Option<UnixTime>,
}

/// The verifier of one connection.
#[derive(Debug)]
pub(super) struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    purpose: Purpose,
    clock_is_a_guess: bool,
    seen: Mutex<Seen>,
}

/// What becomes of a chain at other times than now.
enum AnotherTime {
    /// It holds from then on.
    From(UnixTime),
    /// It held until then.
    Until(UnixTime),
}

impl Witness {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>, purpose: Purpose, clock_is_a_guess: bool) -> Self {
        Self { inner, purpose, clock_is_a_guess, seen: Mutex::default() }
    }

    fn with_seen<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names a handshake that failed. `first` is what the server said first, in case that it speaks no TLS. A refusal of our
    /// certificate is not proven here: the server has not shown yet that it holds its key, or anybody could have sent it.
    pub(super) fn name(&self, authority: &str, error: &std::io::Error, first: &[u8]) -> UplinkError {
        let seen = self.with_seen(|seen| seen.clone());
        let owned = authority.to_owned();
        let Some(cause) = tls_error_in(error) else {
            return match speaks_no_tls(authority, first) {
                Some(named) => named,
                // TCP came about, and then somebody ended it: not everybody lets TLS pass.
                None => UplinkError::Tls {
                    authority: owned,
                    detail: format!("the connection broke in the handshake ({})", error.to_string().escape_debug()),
                },
            };
        };
        match cause {
            Error::InvalidCertificate(_) if seen.is_taken => UplinkError::Tls {
                authority: owned,
                detail: "the server does not hold the key of the certificate that it shows".to_owned(),
            },
            Error::InvalidCertificate(_) if seen.begins.is_some() => UplinkError::Clock {
                authority: owned,
                detail: format!("its certificate is valid from {}, and here it is earlier", date_of(seen.begins)),
            },
            Error::InvalidCertificate(_) if seen.ended.is_some() => UplinkError::Expired {
                authority: owned,
                detail: format!("it was valid until {}", date_of(seen.ended)),
                clock_is_a_guess: self.clock_is_a_guess,
            },
            Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                UplinkError::WrongName { authority: owned, detail: cause.to_string().escape_debug().to_string() }
            }
            Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature | Bad::Other(_)) => {
                let issuer = seen.issuer.unwrap_or_else(|| "somebody".to_owned());
                UplinkError::UntrustedServer { authority: owned, issuer }
            }
            Error::AlertReceived(alert) if is_about_our_certificate(*alert) => UplinkError::Rejected {
                authority: owned,
                detail: format!("TLS alert {alert:?} in the handshake"),
                cause: Cause::Refused,
                proven: false,
            },
            other => speaks_no_tls(authority, first).unwrap_or_else(|| UplinkError::Tls {
                authority: owned,
                detail: other.to_string().escape_debug().to_string(),
            }),
        }
    }

    /// Looks at the chain at the times at which it says that it would hold.
    fn at_another_time(
        &self,
        mut error: Error,
        verify: impl Fn(UnixTime) -> Result<(), Error>,
    ) -> Result<AnotherTime, Error> {
        let (mut begins, mut ended) = (None, None);
        for _ in 0..LOOKS_MAX {
            let time = match &error {
                Error::InvalidCertificate(Bad::NotValidYetContext { not_before, .. }) => *begins.insert(*not_before),
                Error::InvalidCertificate(Bad::ExpiredContext { not_after, .. }) => *ended.insert(*not_after),
                _ => return Err(error),
            };
            match (verify(time), begins, ended) {
                (Ok(()), Some(begins), None) => return Ok(AnotherTime::From(begins)),
                (Ok(()), None, Some(ended)) => return Ok(AnotherTime::Until(ended)),
                // Both: there is no time at which all of it holds; whoever made it is to look.
                (Ok(()), ..) => return Err(Error::InvalidCertificate(Bad::Expired)),
                (Err(next), ..) => error = next,
            }
        }
        Err(error)
    }
}

fn date_of(time: Option<UnixTime>) -> String {
    date(time.map_or(0, |time| time.as_secs()))
}

/// Names a server that answered the handshake in plain text: a web page, or something else.
fn speaks_no_tls(authority: &str, first: &[u8]) -> Option<UplinkError> {
    // The records of TLS have the types 20 to 24 (RFC 8446 §5.1); text has not.
    if first.first().is_none_or(|octet| *octet < 0x20) {
        return None;
    }
    let (quote, authority) = (quoted(first), authority.to_owned());
    Some(if first.starts_with(b"HTTP/") || first.starts_with(b"<") {
        UplinkError::CaptivePortal { authority, answer: quote }
    } else {
        UplinkError::Tls { authority, detail: format!("it speaks no TLS: \"{quote}\"") }
    })
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.with_seen(|seen| seen.issuer = Some(x509::issuer(end_entity)));
        let verify =
            |time| self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time).map(drop);
        let taken = || {
            self.with_seen(|seen| seen.is_taken = true);
            Ok(ServerCertVerified::assertion())
        };
        let Err(error) = verify(now) else { return taken() };
        let another = self.at_another_time(error.clone(), verify)?;
        self.with_seen(|seen| match another {
            AnotherTime::From(time) => seen.begins = Some(time),
            AnotherTime::Until(time) => seen.ended = Some(time),
        });
        let is_in_question = matches!(another, AnotherTime::From(_)) || self.clock_is_a_guess;
        if self.purpose == Purpose::Time && is_in_question { taken() } else { Err(error) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
