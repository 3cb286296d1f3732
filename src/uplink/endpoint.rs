//! Which hosts the box may dial: names under one configured root domain, and nothing else.

use std::fmt;
use std::str::FromStr;

/// The domain under which every endpoint must lie: `example.com` allows `example.com` and `boxes.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDomain(String);

/// How the endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// gRPC over HTTP/2 and TLS.
    Https,
    /// MQTT over WebSocket and TLS.
    Wss,
    /// MQTT over TLS.
    Mqtts,
    /// SSH, which brings its own encryption.
    Ssh,
}

/// A server of the cloud: scheme, host, port and path. Never in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

/// Why an endpoint is not dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not of the form `scheme://host[:port][/path]`.
    #[error(
        "\"{0}\" is not an endpoint: write https://HOST[:PORT], wss://HOST[:PORT]/PATH, mqtts://HOST[:PORT] or ssh://HOST[:PORT]"
    )]
    Malformed(String),
    /// Outside of the root domain.
    #[error("{host} does not lie under the root domain {root}: the box dials nothing else")]
    OutsideRootDomain {
        /// The host.
        host: String,
        /// The root domain.
        root: String,
    },
}

impl RootDomain {
    /// Whether `host` is the domain or lies below it. Compared without case; a final dot is ignored.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == self.0 || host.strip_suffix(&self.0).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl FromStr for RootDomain {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let domain = text.trim_end_matches('.').to_ascii_lowercase();
        if is_host(&domain) { Ok(Self(domain)) } else { Err(EndpointError::Malformed(text.to_owned())) }
    }
}

impl Endpoint {
    /// Reads an endpoint and checks it against the root domain.
    ///
    /// # Errors
    /// When it is malformed, has a scheme without encryption, or lies outside of the root domain.
    pub fn parse(text: &str, root: &RootDomain) -> Result<Self, EndpointError> {
        let endpoint = Self::parse_unchecked(text).ok_or_else(|| EndpointError::Malformed(text.to_owned()))?;
        if !root.covers(&endpoint.host) {
            return Err(EndpointError::OutsideRootDomain { host: endpoint.host, root: root.0.clone() });
        }
        Ok(endpoint)
    }

    fn parse_unchecked(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (scheme, default_port) = match scheme {
            "https" => (Scheme::Https, 443),
            "wss" => (Scheme::Wss, 443),
            "mqtts" => (Scheme::Mqtts, 8883),
            "ssh" => (Scheme::Ssh, 22),
            _ => return None,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|&p| p != 0)?),
            None => (authority, default_port),
        };
        let path_is_plain = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'"'));
        (is_host(host) && path_is_plain).then(|| Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path: path.to_owned(),
        })
    }

    /// How it is spoken to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, without port: a name, or an IPv4 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, at least "/".
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Wss => "wss",
            Scheme::Mqtts => "mqtts",
            Scheme::Ssh => "ssh",
        };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

/// A DNS name (RFC 1123 §2.1) or an IPv4 address; no user, no brackets, nothing else.
pub(super) fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> RootDomain {
        "Example.com".parse().unwrap()
    }

    #[test]
    fn endpoints_get_the_ports_of_their_schemes() {
        let texts =
            ["https://boxes.example.com", "wss://example.com/mqtt", "mqtts://b.example.com", "ssh://s.example.com"];
        assert_eq!(texts.map(|text| Endpoint::parse(text, &root()).unwrap().port()), [443, 443, 8883, 22]);
        let endpoint = Endpoint::parse("wss://example.com:8443/mqtt", &root()).unwrap();
        assert_eq!((endpoint.authority().as_str(), endpoint.path()), ("example.com:8443", "/mqtt"));
    }

    #[test]
    fn a_host_outside_the_root_domain_is_refused() {
        for evil in ["https://example.com.evil.net", "https://evilexample.com", "https://evil.net/example.com"] {
            let error = Endpoint::parse(evil, &root()).unwrap_err();
            assert!(matches!(error, EndpointError::OutsideRootDomain { .. }), "{evil}: {error}");
        }
    }

    #[test]
    fn plain_text_schemes_and_odd_authorities_are_malformed() {
        for bad in [
            "http://example.com",
            "ws://example.com/mqtt",
            "example.com",
            "https://",
            "https://a@example.com",
            "https://example.com:0",
            "https://example.com:99999",
            "https://exa mple.com",
            "https://[::1]:443",
            "wss://example.com/mqtt\r\nX: y",
        ] {
            let error = Endpoint::parse(bad, &root()).unwrap_err();
            assert_eq!(error, EndpointError::Malformed(bad.to_owned()));
        }
    }
}
