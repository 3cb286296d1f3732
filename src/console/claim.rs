//! Claiming a box from its console, followed until it is somebody's, refused, or given up.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::agent_link::AgentLink;
use super::host::Host;
use super::session::Session;
use super::wire::Got;
use super::{escape, large, show};
use crate::agent::control::Request;
use crate::agent::status::{EnrolmentStatus, PairingStatus};

/// How often it is asked how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest time until the agent has begun; it asks the cloud first.
const BEGIN_MAX: Duration = Duration::from_secs(30);
/// Longest time in which nothing is heard of the agent.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// However long a claim takes, it is not followed for longer: the window closes after 15 minutes.
const FOLLOW_MAX: Duration = Duration::from_secs(30 * 60);

/// What has been shown of a claim.
#[derive(Debug, Default)]
struct Shown {
    code: Option<String>,
    number: Option<u8>,
    wants_press: bool,
    enrolling: bool,
    /// Whether anything was seen to be under way.
    began: bool,
    words: bool,
}

/// What a look at the status brings.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// Nothing that ends it.
    Waiting,
    /// It is somebody's.
    Claimed(Option<String>),
    /// It came to nothing.
    Failed(String),
}

impl<I, H, A> Session<'_, I, H, A>
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
    H: Host,
    A: AgentLink,
{
    /// Begins to claim, and follows it.
    pub(super) async fn claim(&mut self, request: Request, ascii: bool) -> io::Result<()> {
        // What an earlier claim came to is no news.
        let before = self.fresh_status().await.ok().and_then(|status| status.enrolment.last_error);
        match self.request(request).await {
            Ok(text) if text.is_empty() => self.say("It has begun; Ctrl-C ends it.").await?,
            Ok(text) => self.say(&escape::lines(&text, 10)).await?,
            Err(why) => return self.say_result(Err(why)).await,
        }
        self.follow(before.as_deref(), ascii).await
    }

    async fn follow(&mut self, before: Option<&str>, ascii: bool) -> io::Result<()> {
        let start = Instant::now();
        let (mut shown, mut heard) = (Shown::default(), start);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.wire.begin("", false).await?;
        loop {
            tokio::select! {
                biased;
                got = self.wire.got() => {
                    if !self.heeded(got?).await? {
                        return Ok(());
                    }
                }
                _ = look.tick() => {
                    let news = match self.fresh_status().await {
                        Ok(status) => {
                            heard = Instant::now();
                            self.show_news(&status.enrolment, &mut shown, ascii).await?;
                            news(&status.enrolment, &shown, before, start.elapsed())
                        }
                        Err(why) if heard.elapsed() > SILENT_MAX => News::Failed(why),
                        Err(_) => News::Waiting,
                    };
                    let news = if start.elapsed() > FOLLOW_MAX { News::Failed("it takes too long".to_owned()) } else { news };
                    if news != News::Waiting {
                        self.wire.clear_line();
                        return self.say_end(news).await;
                    }
                }
            }
        }
    }

    /// What is typed while it is followed; whether it is followed on.
    async fn heeded(&mut self, got: Got) -> io::Result<bool> {
        match got {
            Got::Line(line) => match line.trim().to_ascii_lowercase().as_str() {
                "" => {}
                "confirm" => self.ask_and_say(Request::Press).await?,
                "cancel" => {
                    self.ask_and_say(Request::Cancel).await?;
                    return Ok(false);
                }
                _ => self.say("While the box is claimed, type confirm or cancel (Ctrl-C).").await?,
            },
            Got::Interrupt | Got::End => {
                self.ask_and_say(Request::Cancel).await?;
                return Ok(false);
            }
            // It ends by itself.
            Got::Idle | Got::TooLong => {}
        }
        self.wire.begin("", false).await?;
        Ok(true)
    }

    async fn show_news(&mut self, enrolment: &EnrolmentStatus, shown: &mut Shown, ascii: bool) -> io::Result<()> {
        let Some(pairing) = &enrolment.pairing else {
            if enrolment.phase == "enrolling" && !std::mem::replace(&mut shown.enrolling, true) {
                shown.began = true;
                self.note("The portal has agreed: the box fetches its certificate.").await?;
            }
            return Ok(());
        };
        shown.began = true;
        if pairing.user_code != shown.code {
            shown.code.clone_from(&pairing.user_code);
            self.show_code(pairing, ascii).await?;
        }
        if !enrolment.words.is_empty() && !std::mem::replace(&mut shown.words, true) {
            self.note(&format!("The portal must show these words too:  {}", escape::field(&enrolment.words))).await?;
        }
        if pairing.number != shown.number {
            shown.number = pairing.number;
            if let Some(number) = pairing.number {
                self.note(&format!("Its light blinks a number: {number}. Choose it in the portal.")).await?;
            }
        }
        if pairing.wants_press && !shown.wants_press {
            self.note("PRESS THE BUTTON of the box now, or type confirm and Enter.").await?;
        }
        shown.wants_press = pairing.wants_press;
        let left = show::time(Duration::from_secs(pairing.seconds_left.into()));
        let what = if pairing.wants_press { "press, or confirm" } else { "Ctrl-C ends it" };
        self.wire.prompt(&format!("{left} left ({what}) ")).await
    }

    async fn show_code(&mut self, pairing: &PairingStatus, ascii: bool) -> io::Result<()> {
        let Some(code) = &pairing.user_code else { return Ok(()) };
        let code = escape::within(code, 60);
        self.wire.clear_line();
        let at = pairing.url.as_ref().map(|url| format!("at {}", escape::field(url)));
        if let Some(drawing) = pairing.url.as_ref().filter(|_| !ascii).and_then(|url| large::side_by_side(&code, url)) {
            self.wire.draw(&drawing).await?;
            return self.say(&at.unwrap_or_default()).await;
        }
        // The code last: what does not fit on the screen leaves it at the top.
        if let Some(drawing) = pairing.url.as_ref().and_then(|url| large::qr(url, ascii)) {
            self.wire.draw(&drawing).await?;
        }
        self.say(&format!("Type in the portal: {code}\n\n{}\n", large::letters(&code))).await?;
        if let Some(at) = at { self.say(&at).await } else { Ok(()) }
    }

    /// A line above the one that counts the time.
    async fn note(&mut self, text: &str) -> io::Result<()> {
        self.wire.clear_line();
        self.say(text).await
    }

    async fn say_end(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Waiting => Ok(()),
            News::Claimed(tenant) => {
                let whose =
                    tenant.map_or(String::new(), |tenant| format!(" It belongs to {}.", escape::field(&tenant)));
                self.say(&format!(
                    "Done: the box is claimed.{whose}\nFrom now on this console asks for the code on its label."
                ))
                .await
            }
            News::Failed(why) => {
                let why = escape::field(why.trim_end_matches('.'));
                self.say(&format!("The box was not claimed: {why}.\nNothing has changed. Type test to look for the cause, claim to try again."))
                    .await
            }
        }
    }

    /// Leads through what a new box needs.
    pub(super) async fn setup(&mut self) -> io::Result<()> {
        self.say("Three steps: network, test, claim. Ctrl-C ends this at any point.\n\n1. The network, as it is now:")
            .await?;
        self.network(&[]).await?;
        self.say("Most networks need nothing here. Else type what is to be changed, as\n  network static 192.168.1.9/24 192.168.1.1   or   proxy set proxy.example:3128").await?;
        loop {
            match self.wire.ask("Enter to go on> ", false).await? {
                Got::Line(line) if line.trim().is_empty() => break,
                Got::Line(line) => match line.split_whitespace().next().unwrap_or_default() {
                    "network" | "dns" | "proxy" | "status" => {
                        Box::pin(self.command_line(&line)).await?;
                    }
                    _ => self.say("Here only network, dns, proxy and status; or Enter to go on.").await?,
                },
                Got::TooLong => self.say("That is too long.").await?,
                Got::Idle => return self.fell_asleep().await,
                Got::Interrupt | Got::End => return self.say("Ended. Type setup to begin again.").await,
            }
        }
        self.say("\n2. The test.").await?;
        while !self.test(None).await? {
            match self.wire.ask("Type again, or go to claim all the same; Enter ends this> ", false).await? {
                Got::Line(line) if line.trim().eq_ignore_ascii_case("again") => {}
                Got::Line(line) if line.trim().eq_ignore_ascii_case("go") => break,
                Got::Idle => return self.fell_asleep().await,
                _ => return self.say("Ended. When the cause is mended, type setup again.").await,
            }
        }
        self.say("\n3. The claim.").await?;
        self.claim(Request::Claim, false).await
    }
}

fn news(enrolment: &EnrolmentStatus, shown: &Shown, before: Option<&str>, passed: Duration) -> News {
    let failed = |default: &str| {
        let why = enrolment.last_error.clone().unwrap_or_else(|| default.to_owned());
        News::Failed(why)
    };
    match enrolment.phase.as_str() {
        "active" | "renewing" if enrolment.pairing.is_none() => News::Claimed(enrolment.tenant.clone()),
        _ if enrolment.pairing.is_some() || matches!(enrolment.phase.as_str(), "pairing" | "enrolling") => {
            News::Waiting
        }
        _ if shown.began => failed("the time is over, or somebody ended it"),
        // It has not begun, and there is a new reason.
        _ if enrolment.last_error.as_deref() != before => failed(""),
        _ if passed > BEGIN_MAX => News::Failed("it did not begin: type status".to_owned()),
        _ => News::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolment(phase: &str, pairing: bool, last_error: Option<&str>) -> EnrolmentStatus {
        EnrolmentStatus {
            phase: phase.to_owned(),
            pairing: pairing.then(PairingStatus::default),
            last_error: last_error.map(str::to_owned),
            ..EnrolmentStatus::default()
        }
    }

    #[test]
    fn a_claim_is_followed_until_it_has_come_to_something() {
        let (new, began) = (Shown::default(), Shown { began: true, ..Shown::default() });
        let at = Duration::from_secs;
        let old = Some("old");
        assert_eq!(news(&enrolment("unclaimed", false, old), &new, old, at(1)), News::Waiting);
        assert_eq!(news(&enrolment("pairing", true, old), &began, old, at(600)), News::Waiting);
        assert_eq!(news(&enrolment("enrolling", false, old), &began, old, at(600)), News::Waiting);
        assert_eq!(news(&enrolment("active", false, None), &began, old, at(9)), News::Claimed(None));
        let failed = |why: &str| News::Failed(why.to_owned());
        assert_eq!(news(&enrolment("unclaimed", false, Some("no")), &began, None, at(9)), failed("no"));
        assert_eq!(news(&enrolment("unclaimed", false, Some("dns")), &new, None, at(1)), failed("dns"));
        assert!(matches!(news(&enrolment("unclaimed", false, None), &new, None, at(31)), News::Failed(_)));
    }
}
