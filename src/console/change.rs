//! The settings that are changed at the console and kept on the box: fence, ranges, proxy, tunnel, light.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::agent_link::AgentLink;
use super::commands::{self, Command, Verb};
use super::escape;
use super::host::Host;
use super::session::Session;
use super::show;
use super::wire::Got;
use crate::agent::ProxyText;
use crate::agent::control::Request;
use crate::agent::local::LocalSettings;

impl<I, H, A> Session<'_, I, H, A>
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
    H: Host,
    A: AgentLink,
{
    pub(super) async fn ranges(&mut self, command: &Command, words: &[&str]) -> io::Result<()> {
        let set = |items: Option<Vec<String>>| {
            let is_fence = command.verb == Verb::Fence;
            move |settings: &mut LocalSettings| {
                *(if is_fence { &mut settings.fence } else { &mut settings.ranges }) = items
            }
        };
        match words {
            [] => self.show_ranges().await,
            ["default"] => self.change(set(None)).await,
            ["set", items @ ..] if !items.is_empty() => {
                // People write lists with commas too.
                let items = items.iter().flat_map(|item| item.split(',')).filter(|item| !item.is_empty());
                self.change(set(Some(items.map(str::to_owned).collect()))).await
            }
            _ => self.say(&commands::usage(command)).await,
        }
    }

    async fn show_ranges(&mut self) -> io::Result<()> {
        let settings = match LocalSettings::load(&self.console.data_dir) {
            Ok(settings) => settings,
            Err(error) => return self.say_result(Err(error.to_string())).await,
        };
        let set_here = |items: &Option<Vec<String>>| items.as_deref().map_or("nothing".to_owned(), show::list);
        let (ranges, fence) = (set_here(&settings.ranges), set_here(&settings.fence));
        let in_force = match self.fresh_status().await {
            Ok(status) => format!(
                "ranges in force   {}\nfence in force    {}\n",
                show::list(&status.lan.ranges),
                show::list(&status.lan.fence)
            ),
            Err(_) => "in force          unknown: the box's program does not run\n".to_owned(),
        };
        self.say(&format!("{in_force}ranges set here   {ranges}\nfence set here    {fence}\nOf the ranges only what lies within the fence is asked."))
            .await
    }

    pub(super) async fn proxy(&mut self, command: &Command, words: &[&str]) -> io::Result<()> {
        match words {
            [] => self.show_proxy().await,
            ["off"] => self.change(|settings| settings.proxy = Some(ProxyText::new(""))).await,
            ["default"] => self.change(|settings| settings.proxy = None).await,
            // On the command line a password would be seen.
            ["set", proxy] if proxy.contains('@') => {
                self.say("Not done: a password is not typed here, where it is seen. Write: proxy set HOST:PORT USER")
                    .await
            }
            ["set", proxy] => {
                let proxy = ProxyText::new(proxy);
                self.change(|settings| settings.proxy = Some(proxy)).await
            }
            ["set", proxy, user] => {
                let Got::Line(password) = self.wire.ask("Password of the proxy (not shown): ", true).await? else {
                    return self.say("Not done: no password was typed.").await;
                };
                let authority = proxy.strip_prefix("http://").unwrap_or(proxy);
                let (user, password) = (encoded(user), encoded(&password));
                let text = Zeroizing::new(format!("http://{}:{}@{authority}", *user, *password));
                let proxy = ProxyText::new(&text);
                self.change(|settings| settings.proxy = Some(proxy)).await
            }
            _ => self.say(&commands::usage(command)).await,
        }
    }

    async fn show_proxy(&mut self) -> io::Result<()> {
        let text = match LocalSettings::load(&self.console.data_dir) {
            Err(error) => return self.say_result(Err(error.to_string())).await,
            Ok(LocalSettings { proxy: None, .. }) => "as the configuration has it; nothing was set here".to_owned(),
            Ok(LocalSettings { proxy: Some(proxy), .. }) if proxy.is_none() => "none: set so here".to_owned(),
            Ok(LocalSettings { proxy: Some(proxy), .. }) => match proxy.parse() {
                // Without user and password.
                Ok(proxy) => format!("{}, set here", escape::field(&proxy.authority())),
                Err(error) => format!("cannot be used: {error}"),
            },
        };
        self.say(&format!("proxy  {text}")).await
    }

    pub(super) async fn tunnel(&mut self, allowed: bool) -> io::Result<()> {
        // Written down first: it holds also where the agent does not run.
        if let Err(error) = self.keep(|settings| settings.tunnel_allowed = Some(allowed)) {
            return self.say_result(Err(error)).await;
        }
        match self.request(Request::Tunnel { allowed }).await {
            Ok(text) => self.say_result(Ok(text)).await,
            Err(why) => {
                self.say(&format!("Written down, and it holds from the next start on. {}", escape::lines(&why, 4)))
                    .await
            }
        }
    }

    pub(super) async fn mute(&mut self, muted: bool) -> io::Result<()> {
        self.change(|settings| settings.led_muted = Some(muted)).await
    }

    /// Changes the settings and lets the agent start anew with them.
    async fn change(&mut self, change: impl FnOnce(&mut LocalSettings)) -> io::Result<()> {
        if let Err(error) = self.keep(change) {
            return self.say_result(Err(error)).await;
        }
        match self.request(Request::Restart).await {
            Ok(_) => self.say("Done: it is written down, and the box goes on with it in a few seconds.").await,
            Err(why) => {
                self.say(&format!("Written down, and it holds from the next start on. {}", escape::lines(&why, 4)))
                    .await
            }
        }
    }

    fn keep(&self, change: impl FnOnce(&mut LocalSettings)) -> Result<(), String> {
        let mut settings = LocalSettings::load(&self.console.data_dir).map_err(|error| error.to_string())?;
        change(&mut settings);
        settings.save(&self.console.data_dir).map_err(|error| error.to_string())
    }
}

/// As in a URL (RFC 3986 §2.1).
fn encoded(text: &str) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_any_characters_reaches_the_proxy_as_it_is() {
        let text = format!("http://{}:{}@proxy.example:3128", *encoded("dom\\jane"), *encoded("p@ss:w/ör%d"));
        assert_eq!(ProxyText::new(&text).parse().unwrap().authority(), "proxy.example:3128");
        assert_eq!(*encoded("a:b@c%ü"), "a%3Ab%40c%25%C3%BC");
    }
}
