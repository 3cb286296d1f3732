//! One conversation over the serial line: greets, asks for commands, asks for the code where it must, and does what is in the
//! table of commands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Console;
use super::agent_link::AgentLink;
use super::commands::{self, Command, Verb, Who};
use super::host::Host;
use super::lock::{OpenedBy, Outcome, asks_for_code};
use super::wire::{Got, Wire};
use super::{diag, escape, light, show};
use crate::agent::control::{Answer, Request};
use crate::agent::status::Status;
use crate::agent::{VERSION, status};
use crate::sys::{SystemEntropy, uptime_ms};

/// Most lines of an answer that are shown.
const ANSWER_MAX_LINES: usize = 40;
/// Lines of the log that are shown when no number is given.
const LOG_LINES: u16 = 20;
/// Most lines of the log that are shown.
const LOG_LINES_MAX: u16 = 200;
/// Lines of the self-test that may wait to be shown: it has fifteen steps, of a line or two.
const REPORT_LINES_MAX: usize = 64;

/// Why a conversation ended.
#[derive(Debug)]
pub enum End {
    /// Somebody typed `exit`.
    Left,
    /// The line is gone.
    Gone(io::Error),
}

/// Whether the conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Leave,
}

pub(super) struct Session<'a, I, H, A> {
    pub(super) wire: Wire<I>,
    pub(super) console: &'a Console<H, A>,
    /// Whether the code was typed.
    unlocked: bool,
}

impl<'a, I, H, A> Session<'a, I, H, A>
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
    H: Host,
    A: AgentLink,
{
    pub(super) fn new(io: I, console: &'a Console<H, A>) -> Self {
        Self { wire: Wire::new(io, console.idle_max), console, unlocked: false }
    }

    pub(super) async fn run(mut self) -> End {
        match self.conversation().await {
            Ok(()) => End::Left,
            Err(error) => End::Gone(error),
        }
    }

    async fn conversation(&mut self) -> io::Result<()> {
        self.greet().await?;
        loop {
            match self.wire.ask("platen> ", false).await? {
                Got::Line(line) => {
                    if self.command_line(&line).await? == Next::Leave {
                        return self.leave().await;
                    }
                }
                Got::TooLong => {
                    let most = super::editor::LINE_MAX_BYTES;
                    self.say(&format!(
                        "That line is longer than {most} characters: nothing was done. Type a shorter one."
                    ))
                    .await?;
                }
                Got::Interrupt => {}
                Got::End => {
                    self.say("").await?;
                    return self.leave().await;
                }
                Got::Idle => self.fell_asleep().await?,
            }
        }
    }

    /// A line of commands; also for those who are led.
    pub(super) async fn command_line(&mut self, line: &str) -> io::Result<Next> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((name, words)) = words.split_first() else { return Ok(Next::Go) };
        let Some(command) = commands::find(name) else {
            let name = escape::within(name, 30);
            let hint = match commands::nearest(&name) {
                Some(meant) => format!("Did you mean {meant}?"),
                None => "Type help for what there is.".to_owned(),
            };
            self.say(&format!("There is no command \"{name}\". {hint}")).await?;
            return Ok(Next::Go);
        };
        // What may hold a secret is not kept for the arrow keys.
        if command.verb != Verb::Register {
            self.wire.editor.remember(line);
        }
        if words.len() > command.words_max {
            self.say(&commands::usage(command)).await?;
            return Ok(Next::Go);
        }
        if command.who == Who::Holder && !self.may().await? {
            return Ok(Next::Go);
        }
        let next = self.act(command, words).await;
        self.wire.somebody_is_there();
        next
    }

    async fn act(&mut self, command: &Command, words: &[&str]) -> io::Result<Next> {
        match (command.verb, words) {
            (Verb::Help, []) => {
                let locked = self.is_locked().await;
                self.say(&commands::overview(locked)).await?;
            }
            (Verb::Help, [name, ..]) => self.help(name).await?,
            (Verb::Status, _) => self.status().await?,
            (Verb::Setup, _) => self.setup().await?,
            (Verb::Network, words) => self.network(words).await?,
            (Verb::Dns, words) => self.network(&[&["dns"], words].concat()).await?,
            (Verb::Proxy, words) => self.proxy(command, words).await?,
            (Verb::Ranges | Verb::Fence, words) => self.ranges(command, words).await?,
            (Verb::Claim, []) => self.claim(Request::Claim, false).await?,
            (Verb::Claim, ["ascii"]) => self.claim(Request::Claim, true).await?,
            (Verb::Register, [code]) => self.claim(Request::Register { code: (*code).to_owned() }, false).await?,
            (Verb::Cancel, _) => self.ask_and_say(Request::Cancel).await?,
            (Verb::Confirm, _) => self.ask_and_say(Request::Press).await?,
            (Verb::Test, words) => {
                self.test(words.first().copied()).await?;
            }
            (Verb::Tunnel, ["on"]) => self.tunnel(true).await?,
            (Verb::Tunnel, ["off"]) => self.tunnel(false).await?,
            (Verb::Light, []) => self.light().await?,
            (Verb::Light, ["all"]) => self.say(&light::all()).await?,
            (Verb::Light, [how @ ("mute" | "on")]) => {
                // Changing something is not for anyone.
                if self.may().await? {
                    self.mute(*how == "mute").await?;
                }
            }
            (Verb::Log, []) => self.log(LOG_LINES).await?,
            (Verb::Log, ["tail"]) => self.log(LOG_LINES).await?,
            (Verb::Log, ["tail", count] | [count]) => match count.parse() {
                Ok(count @ 1..=LOG_LINES_MAX) => self.log(count).await?,
                _ => self.say(&commands::usage(command)).await?,
            },
            (Verb::Unlock, _) => self.unlock().await?,
            (Verb::Code, ["change"]) => self.change_code().await?,
            (Verb::Code, ["label"]) => self.label_code().await?,
            (Verb::Reboot, _) => {
                let answer = self.console.host.reboot().await;
                self.say_result(answer).await?;
            }
            (Verb::FactoryReset, _) => self.factory_reset().await?,
            (Verb::ExportDiag, _) => self.export().await?,
            (Verb::Lock, _) => {
                self.forget();
                let locked = self.is_locked().await;
                self.say(if locked { "Locked." } else { "There is no lock yet: this box is not claimed." }).await?;
            }
            (Verb::Exit, _) => return Ok(Next::Leave),
            _ => self.say(&commands::usage(command)).await?,
        }
        Ok(Next::Go)
    }

    /// Prints text of our own, or what is harmless already.
    pub(super) async fn say(&mut self, text: &str) -> io::Result<()> {
        self.wire.print(if text.is_empty() { "\n" } else { text }).await
    }

    /// Prints what others answered.
    pub(super) async fn say_result(&mut self, answer: Result<String, String>) -> io::Result<()> {
        let text = match answer {
            Ok(text) => text,
            Err(why) => format!("Not done: {why}"),
        };
        let text = escape::lines(&text, ANSWER_MAX_LINES);
        self.say(if text.is_empty() { "Done." } else { &text }).await
    }

    /// Asks the agent for something to be done.
    pub(super) async fn request(&self, request: Request) -> Result<String, String> {
        match self.console.agent.ask(request).await {
            Ok(Answer::Done { text }) => Ok(text),
            Ok(Answer::Refused { why }) => Err(why),
            Ok(_) => Err("the box's program answered something else: type reboot".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) async fn ask_and_say(&mut self, request: Request) -> io::Result<()> {
        let answer = self.request(request).await;
        self.say_result(answer).await
    }

    /// How the box is, as the agent that runs says.
    pub(super) async fn fresh_status(&self) -> Result<Status, String> {
        match self.console.agent.ask(Request::Status).await {
            Ok(Answer::Status { status }) => Ok(*status),
            Ok(_) => Err("the box's program answered something else: type reboot".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// How it is, or was when it was last heard of.
    async fn known_status(&self) -> Option<Status> {
        match self.fresh_status().await {
            Ok(status) => Some(status),
            Err(_) => self.console.agent.last_status(),
        }
    }

    /// Whether the code would be asked for.
    pub(super) async fn is_locked(&self) -> bool {
        let status = self.known_status().await;
        !self.unlocked && asks_for_code(status.as_ref().map(|status| status.enrolment.phase.as_str()))
    }

    /// Whether whoever types may do more than look; asks for the code where it must.
    async fn may(&mut self) -> io::Result<bool> {
        if !self.is_locked().await {
            return Ok(true);
        }
        self.unlocked = self.asked_for_code("This box is claimed.").await?;
        Ok(self.unlocked)
    }

    /// Asks for the code until it is right, or nothing is typed.
    pub(super) async fn asked_for_code(&mut self, why: &str) -> io::Result<bool> {
        let lock = self.console.lock.clone();
        let (opened_by, closed) = match lock.opened_by().and_then(|by| Ok((by, lock.closed_for()?))) {
            Ok(found) => found,
            Err(error) => {
                self.say(&format!("Not possible: {error}.")).await?;
                return Ok(false);
            }
        };
        if let Some(left) = closed {
            self.say(&closed_text(left)).await?;
            return Ok(false);
        }
        let prompt = match opened_by {
            OpenedBy::Label => "Code on its label (not shown): ",
            OpenedBy::OwnCode => "Code of its console (not shown): ",
            OpenedBy::Nothing => {
                self.say(&format!(
                    "{why} But it has no label (device.label in its configuration), so there is no code that opens this\n\
                     console. Reset the box by its button, or give it a label."
                ))
                .await?;
                return Ok(false);
            }
        };
        self.say(why).await?;
        loop {
            let typed = match self.wire.ask(prompt, true).await? {
                Got::Line(typed) if !typed.trim().is_empty() => typed,
                Got::Line(_) | Got::Interrupt | Got::End => {
                    self.say("Not done: no code was typed.").await?;
                    return Ok(false);
                }
                Got::TooLong => {
                    self.say("That is too long for a code. Try again, or press Enter to give up.").await?;
                    continue;
                }
                Got::Idle => {
                    self.fell_asleep().await?;
                    return Ok(false);
                }
            };
            // Hashing and the disk take their time, and nobody else shall wait for it.
            let lock = Arc::clone(&lock);
            let tried = tokio::task::spawn_blocking(move || lock.attempt(&typed)).await.map_err(io::Error::other)?;
            match tried {
                Ok(Outcome::Right) => return Ok(true),
                Ok(Outcome::Wrong { tries_left }) => {
                    let times =
                        if tries_left == 1 { "once more".to_owned() } else { format!("{tries_left} more times") };
                    self.say(&format!("That is not the code. You may try {times}; Enter gives up.")).await?;
                }
                Ok(Outcome::Closed(left)) => {
                    self.say(&closed_text(left)).await?;
                    return Ok(false);
                }
                Ok(Outcome::NoCode) => return Ok(false),
                Err(error) => {
                    self.say(&format!("Not possible: {error}.")).await?;
                    return Ok(false);
                }
            }
        }
    }

    async fn greet(&mut self) -> io::Result<()> {
        let status = self.known_status().await;
        let word = status.as_ref().map(show::word);
        let state = match word.as_deref().map(|word| (word, light::find(word))) {
            Some((word, Some(state))) => format!("{word}: {}", state.means),
            Some((word, None)) => escape::field(word),
            None => "its program does not run; it starts by itself within a minute".to_owned(),
        };
        let hint = match word.as_deref() {
            Some("unclaimed") => "This box is new: type setup to be led, or help.",
            _ => "Type help for what there is.",
        };
        self.say(&format!(
            "\nplaten {VERSION}: reads printers, brings their meters to the cloud\nState {state}.\n{hint}"
        ))
        .await
    }

    async fn leave(&mut self) -> io::Result<()> {
        self.forget();
        self.say("Goodbye.").await
    }

    /// No key for minutes.
    pub(super) async fn fell_asleep(&mut self) -> io::Result<()> {
        let was_open = self.unlocked;
        self.forget();
        if was_open {
            let time = show::time(self.console.idle_max);
            self.say(&format!("\nLocked: no key was pressed for {time}.")).await?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.unlocked = false;
        self.wire.editor.forget_all();
    }

    async fn help(&mut self, name: &str) -> io::Result<()> {
        match commands::find(name) {
            Some(command) => self.say(&commands::explain(command)).await,
            None => {
                self.say(&format!("There is no command \"{}\". Type help for what there is.", escape::within(name, 30)))
                    .await
            }
        }
    }

    async fn status(&mut self) -> io::Result<()> {
        let fresh = self.fresh_status().await;
        let (status, note) = match fresh {
            Ok(status) => (Some(status), None),
            Err(why) => (self.console.agent.last_status(), Some(why)),
        };
        let text = match &status {
            Some(status) if !self.is_locked().await => show::full(status),
            status => show::brief(status.as_ref()),
        };
        self.say(&text).await?;
        if self.is_locked().await {
            self.say("More of it after the code: type a command that asks for it, as log.").await?;
        }
        match note {
            Some(why) => {
                let old = status
                    .as_ref()
                    .and_then(age)
                    .map_or(String::new(), |age| format!(" That was {} ago.", show::time(age)));
                self.say(&format!("{}{old}", capital(&escape::field(&why)))).await
            }
            None => Ok(()),
        }
    }

    async fn light(&mut self) -> io::Result<()> {
        let status = self.known_status().await;
        let word = status.as_ref().map_or("starting".to_owned(), show::word);
        let pressing = status.and_then(|status| status.enrolment.pairing).is_some_and(|pairing| pairing.wants_press);
        match light::find(if pressing { "press" } else { &word }) {
            Some(state) => self.say(&light::explain(state)).await,
            None => self.say("The light says nothing that is known here. Type led all for the list.").await,
        }
    }

    async fn log(&mut self, lines: u16) -> io::Result<()> {
        match self.console.agent.ask(Request::Log { lines }).await {
            Ok(Answer::Log { lines }) if lines.is_empty() => self.say("Nothing was noted yet.").await,
            Ok(Answer::Log { lines }) => {
                for line in lines.iter().take(LOG_LINES_MAX.into()) {
                    self.say(&escape::field(line)).await?;
                }
                Ok(())
            }
            Ok(Answer::Refused { why }) => self.say_result(Err(why)).await,
            Ok(_) => self.say_result(Err("the box's program answered something else: type reboot".to_owned())).await,
            Err(error) => self.say_result(Err(error.to_string())).await,
        }
    }

    pub(super) async fn network(&mut self, words: &[&str]) -> io::Result<()> {
        let answer = self.console.host.network(words).await;
        self.say_result(answer).await
    }

    /// Whether the box can do its work. Ctrl-C ends it.
    pub(super) async fn test(&mut self, printer: Option<&str>) -> io::Result<bool> {
        self.say("Testing; Ctrl-C ends it.").await?;
        let (lines, mut reported) = tokio::sync::mpsc::channel::<String>(REPORT_LINES_MAX);
        // A line that does not fit is left out: the test shall not wait for a slow terminal.
        let mut line = move |text: String| drop(lines.try_send(text));
        let outcome = {
            let testing = self.console.host.selftest(printer, &mut line);
            tokio::pin!(testing);
            let mut told: Vec<String> = Vec::new();
            loop {
                let step = tokio::select! {
                    biased;
                    Some(text) = reported.recv() => Some(text),
                    outcome = &mut testing => {
                        while let Ok(text) = reported.try_recv() {
                            told.push(text);
                        }
                        break Some((outcome, told));
                    }
                    interrupted = self.wire.interrupted() => {
                        interrupted?;
                        break None;
                    }
                };
                if let Some(text) = step {
                    self.wire.print(&escape::lines(&text, ANSWER_MAX_LINES)).await?;
                }
            }
        };
        let Some((outcome, told)) = outcome else {
            self.say("^C\nThe test was ended.").await?;
            return Ok(false);
        };
        for text in told {
            self.say(&escape::lines(&text, ANSWER_MAX_LINES)).await?;
        }
        match outcome {
            Ok(()) => self.say("All is well.").await.map(|()| true),
            Err(why) => self.say(&format!("Not well: {}", escape::lines(&why, ANSWER_MAX_LINES))).await.map(|()| false),
        }
    }

    async fn unlock(&mut self) -> io::Result<()> {
        let code = match self.console.agent.ask(Request::Unlock).await {
            Ok(Answer::Challenge { code }) => code,
            Ok(Answer::Refused { why }) => return self.say_result(Err(why)).await,
            Ok(Answer::Done { text }) => return self.say_result(Ok(text)).await,
            Ok(_) => {
                return self.say_result(Err("the box's program answered something else: type reboot".to_owned())).await;
            }
            Err(error) => return self.say_result(Err(error.to_string())).await,
        };
        self.say(&format!(
            "Read this to somebody who is at the portal, on the page of this box:\n\n{}\n\n\
             The portal answers with eight characters; they hold for 15 minutes.",
            super::large::letters(&escape::within(&code, 20))
        ))
        .await?;
        match self.wire.ask("The portal's answer: ", false).await? {
            Got::Line(answer) if !answer.trim().is_empty() => {
                let code = answer.trim().to_owned();
                self.ask_and_say(Request::Unlocked { code }).await
            }
            Got::Idle => self.fell_asleep().await,
            _ => self.say("Not done: no answer was typed.").await,
        }
    }

    async fn change_code(&mut self) -> io::Result<()> {
        if !self.asked_for_code("First the present code.").await? {
            return Ok(());
        }
        let Got::Line(new) = self.wire.ask("New code, 8 to 64 characters (not shown): ", true).await? else {
            return self.say("Not done: the present code holds.").await;
        };
        let Got::Line(again) = self.wire.ask("The same again (not shown): ", true).await? else {
            return self.say("Not done: the present code holds.").await;
        };
        if new != again {
            return self.say("Not done: the two differ. The present code holds; type code change to try again.").await;
        }
        match self.console.lock.set_code(Some(&new), &SystemEntropy) {
            Ok(()) => {
                self.say("Done: from now on the new code opens this console, and the one on the label does not.").await
            }
            Err(error) => self.say_result(Err(error.to_string())).await,
        }
    }

    async fn label_code(&mut self) -> io::Result<()> {
        if !self.asked_for_code("First the present code.").await? {
            return Ok(());
        }
        match self.console.lock.set_code(None, &SystemEntropy) {
            Ok(()) => self.say("Done: the code on the label opens this console again.").await,
            Err(error) => self.say_result(Err(error.to_string())).await,
        }
    }

    async fn factory_reset(&mut self) -> io::Result<()> {
        let preview = match self.request(Request::ResetPreview).await {
            Ok(text) => text,
            Err(why) => return self.say_result(Err(why)).await,
        };
        self.say("A factory reset makes the box forget everything but whose it is. It would lose:").await?;
        self.say(&escape::lines(&preview, ANSWER_MAX_LINES)).await?;
        match self.wire.ask("Type RESET to go on, Enter to give up: ", false).await? {
            Got::Line(word) if word.trim() == "RESET" => {}
            Got::Idle => return self.fell_asleep().await,
            _ => return self.say("Not done: nothing was lost.").await,
        }
        let has_code = !matches!(self.console.lock.opened_by(), Ok(OpenedBy::Nothing));
        if has_code && !self.asked_for_code("And the code once more.").await? {
            return self.say("Not done: nothing was lost.").await;
        }
        self.ask_and_say(Request::FactoryReset).await
    }

    async fn export(&mut self) -> io::Result<()> {
        let status = self.known_status().await;
        let log = match self.console.agent.ask(Request::Log { lines: LOG_LINES_MAX }).await {
            Ok(Answer::Log { lines }) => lines,
            _ => Vec::new(),
        };
        let log = log.get(..usize::from(LOG_LINES_MAX).min(log.len())).unwrap_or_default();
        self.say(&diag::export(status.as_ref(), log, VERSION)).await
    }
}

fn closed_text(left: Duration) -> String {
    // A wait that looks over when it is not would be taken for a fault.
    let left = Duration::from_secs(left.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX));
    format!(
        "After too many wrong codes no code is taken for {}.\nLeave the box on: the wait begins anew when it starts.",
        show::time(left)
    )
}

/// How old a status is, by the clock that never jumps.
fn age(status: &status::Status) -> Option<Duration> {
    Some(Duration::from_millis(uptime_ms()?.checked_sub(status.updated_uptime_ms?)?))
}

pub(super) fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(rest).collect::<String>() + "."
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
