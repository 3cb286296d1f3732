//! An HTTP proxy that opens a way with CONNECT (RFC 9110 §9.3.6), with basic authentication (RFC 7617) where it asks for it.
//!
//! User and password are sent to the configured proxy only, and only after it has asked for them (407): a log-in page that
//! answers in its place asks otherwise and gets nothing.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::UplinkError;

/// Longest time for the proxy's answer.
pub(super) const PROXY_LIMIT: Duration = Duration::from_secs(10);
/// Longest head of a proxy's answer, in bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Longest user and password together, in bytes.
const CREDENTIALS_MAX_BYTES: usize = 512;

/// The proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// "user:password".
    credentials: Option<Zeroizing<String>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}{})", if self.credentials.is_some() { "…@" } else { "" }, self.authority())
    }
}

/// Why a proxy cannot be used. It does not repeat what was written: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write HOST:PORT or http://USER:PASSWORD@HOST:PORT (in user and password, %25 stands for %, %40 for @, %3A for :)"
)]
pub struct ProxyMalformed;

impl Proxy {
    /// A proxy that asks nobody.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, credentials: None }
    }

    /// Reads `HOST:PORT` or `http://[USER:PASSWORD@]HOST:PORT`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, ProxyMalformed> {
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let (credentials, authority) = match text.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, text),
        };
        let (host, port) = authority.rsplit_once(':').ok_or(ProxyMalformed)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(ProxyMalformed)?;
        if !super::endpoint::is_host(host) {
            return Err(ProxyMalformed);
        }
        let credentials = match credentials {
            None => None,
            Some(both) => {
                let (user, password) = both.split_once(':').ok_or(ProxyMalformed)?;
                let (user, password) = (percent_decoded(user)?, percent_decoded(password)?);
                // RFC 7617 §2: a colon in the user would end it, control characters are not allowed.
                if user.is_empty() || user.contains(':') || user.len() + password.len() > CREDENTIALS_MAX_BYTES {
                    return Err(ProxyMalformed);
                }
                Some(Zeroizing::new(format!("{}:{}", *user, *password)))
            }
        };
        Ok(Self { host: host.to_ascii_lowercase(), port, credentials })
    }

    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn refused(&self, authority: &str, answer: String) -> UplinkError {
        UplinkError::Proxy { proxy: self.authority(), authority: authority.to_owned(), answer }
    }

    /// A connection to the proxy itself did not come about.
    pub(super) fn unreachable(&self, authority: &str, error: &UplinkError) -> UplinkError {
        self.refused(authority, format!("no way to the proxy: {error}"))
    }

    /// Asks for the way to `authority`; with the log-in where the proxy has asked for it before. Says whether the way is open;
    /// if not, it wants the log-in, on a new connection.
    pub(super) async fn open_way<S>(&self, stream: &mut S, authority: &str, log_in: bool) -> Result<bool, UplinkError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut request = Zeroizing::new(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"));
        if let Some(credentials) = self.credentials.as_ref().filter(|_| log_in) {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&Zeroizing::new(BASE64.encode(credentials.as_bytes())));
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let failed = |e: std::io::Error| self.refused(authority, e.to_string());
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let head = read_head(stream).await.map_err(failed)?;
        let answer = Answer::read(&head).ok_or_else(|| self.refused(authority, quoted(&head)))?;
        match answer.code {
            200 if answer.is_page() => Err(answer.captive(authority)),
            200..=299 => Ok(true),
            407 if !log_in && self.credentials.is_some() && answer.offers_basic() => Ok(false),
            // Some say 401 to a wrong password; only the proxy can be meant here.
            401 | 407 => Err(UplinkError::ProxyLogin { proxy: self.authority(), answer: answer.wanted(log_in) }),
            300..=399 | 511 => Err(answer.captive(authority)), // RFC 6585 §6
            _ => Err(self.refused(authority, answer.line)),
        }
    }
}

/// Reads up to the empty line. Byte by byte: whatever follows belongs to the connection behind it.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == HEAD_MAX_BYTES {
            return Err(std::io::Error::other("its answer does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn quoted(head: &[u8]) -> String {
    let line = head.split(|&b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    String::from_utf8_lossy(line).escape_debug().take(200).collect()
}

/// The head of a proxy's answer.
struct Answer {
    code: u16,
    /// The status line, escaped.
    line: String,
    headers: Vec<(String, String)>,
}

impl Answer {
    fn read(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let status = lines.next().filter(|line| line.starts_with("HTTP/1."))?;
        let code = status.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { code, line: quoted(head), headers })
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// An answer to CONNECT that opens the way has no content.
    fn is_page(&self) -> bool {
        self.header("content-type").any(|kind| kind.to_ascii_lowercase().starts_with("text/"))
    }

    fn captive(&self, authority: &str) -> UplinkError {
        let to = self.header("location").next().map(|to| format!(" to {}", to.escape_debug())).unwrap_or_default();
        UplinkError::CaptivePortal { authority: authority.to_owned(), answer: format!("{}{to}", self.line) }
    }

    fn schemes(&self) -> impl Iterator<Item = &str> {
        self.header("proxy-authenticate").filter_map(|challenge| challenge.split_ascii_whitespace().next())
    }

    fn offers_basic(&self) -> bool {
        // Some list several challenges in one header (RFC 9110 §11.6.1).
        self.header("proxy-authenticate")
            .any(|challenges| challenges.split(',').any(|each| each.trim().to_ascii_lowercase().starts_with("basic")))
    }

    /// What the proxy wants, for a person.
    fn wanted(&self, was_logged_in: bool) -> String {
        let schemes: Vec<String> = self.schemes().map(|scheme| scheme.escape_debug().to_string()).collect();
        let schemes = if schemes.is_empty() { "nothing that it names".to_owned() } else { schemes.join(", ") };
        if was_logged_in {
            format!("{}: it does not take the user and password", self.line)
        } else if self.offers_basic() {
            format!("{}: no user and password are configured", self.line)
        } else {
            format!("{}: it offers {schemes}, and the box can only do Basic", self.line)
        }
    }
}

fn percent_decoded(text: &str) -> Result<Zeroizing<String>, ProxyMalformed> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_at_checked(2).ok_or(ProxyMalformed)?;
            rest = after;
            let digits = std::str::from_utf8(digits).map_err(|_| ProxyMalformed)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| ProxyMalformed)?);
        } else {
            bytes.push(first);
        }
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ProxyMalformed)?;
    if text.chars().any(char::is_control) { Err(ProxyMalformed) } else { Ok(Zeroizing::new(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;

    #[test]
    fn a_proxy_is_read_with_and_without_a_log_in_which_is_never_shown() {
        let plain = Proxy::parse("proxy.lan:3128").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.credentials.is_none()), ("proxy.lan", 3128, true));
        let with = Proxy::parse("http://us%40er:pa%3Ass@Proxy.lan:8080/").unwrap();
        assert_eq!(with.credentials.as_deref().map(String::as_str), Some("us@er:pa:ss"));
        assert_eq!(format!("{with:?}"), "Proxy(…@proxy.lan:8080)");
        let secret = "http://user:secret@proxy.lan";
        for bad in
            ["proxy", "proxy:0", ":8080", "https://p:1", "http://user@p:1", "http://:x@p:1", "http://a:%@p:1", secret]
        {
            let error = Proxy::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    async fn asked(proxy: &str, answer: &'static str, log_in: bool) -> (Result<bool, UplinkError>, String) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let request = read_head(&mut theirs).await.unwrap();
            theirs.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let result = Proxy::parse(proxy).unwrap().open_way(&mut ours, "cloud.example:443", log_in).await;
        (result, server.await.unwrap())
    }

    #[tokio::test]
    async fn the_log_in_is_sent_only_when_the_proxy_has_asked_for_it() {
        const WANTED: &str =
            "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
        let (result, request) = asked("http://u:p@h:1", WANTED, false).await;
        assert_eq!(request, "CONNECT cloud.example:443 HTTP/1.1\r\nHost: cloud.example:443\r\n\r\n");
        assert!(!result.unwrap(), "to be asked again with it");
        let (result, request) = asked("http://u:p@h:1", "HTTP/1.1 200 Established\r\n\r\n", true).await;
        assert!(result.unwrap());
        assert!(request.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{request}");
        let (result, _) = asked("http://u:p@h:1", WANTED, true).await;
        assert_eq!(result.unwrap_err().trouble().cause, Cause::Proxy407);
    }

    #[tokio::test]
    async fn answers_of_proxies_and_log_in_pages_are_told_apart() {
        let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>";
        let ntlm = "HTTP/1.1 407 \x1b[31mlogin\r\nProxy-Authenticate: NTLM\r\n\r\n";
        for (answer, cause, word) in [
            ("HTTP/1.1 302 Found\r\nLocation: http://hotel/login\r\n\r\n", Cause::CaptivePortal, "hotel/login"),
            ("HTTP/1.1 511 Network Authentication Required\r\n\r\n", Cause::CaptivePortal, "511"),
            (page, Cause::CaptivePortal, "200"),
            (ntlm, Cause::Proxy407, "NTLM"),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", Cause::Proxy, "403"),
            ("HTTP/1.1 503 No\n\n", Cause::Proxy, "503"),
            ("SSH-2.0-x\r\n\r\n", Cause::Proxy, "SSH-2.0-x"),
        ] {
            let error = asked("http://u:p@h:1", answer, false).await.0.unwrap_err();
            let trouble = error.trouble();
            assert_eq!(trouble.cause, cause, "{error}");
            assert!(trouble.detail.contains(word) && !error.to_string().contains('\x1b'), "{error}");
        }
    }
}
