//! The part that knows whose box this is: it takes what the console asks and what the button says, drives the machine of enrolment,
//! and does what that wants done. Every box has it, whatever state it is in.

use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::control::{Answer, Request};
use super::log_ring;
use super::panel::Shown;
use super::status::{EnrolmentStatus, PairingStatus, Status};
use super::{AgentError, VERSION};
use crate::board::Gesture;
use crate::enroll::machine::{Effect, Event, Now, Phase, Stage, Way};
use crate::enroll::pairing::{Conversation, News, first_contact};
use crate::enroll::{Credential, Enrolment, IdentityFolder, Label, letters, unlock, words};
use crate::proto::v1;
use crate::sys::{BoxClock, Clock, Entropy, SystemEntropy};
use crate::uplink::{CloudKey, Dialer, Endpoint, GrpcCloud, Proxy, TimeKeeper, TlsSettings};

/// Requests and news that may wait.
pub(super) const WAITING_MAX: usize = 8;
/// While something is under way, time is looked at this often.
const TICK: Duration = Duration::from_millis(500);
/// Longest time for telling the cloud that the box leaves.
const LEAVE_LIMIT: Duration = Duration::from_secs(6);

/// A request of the console, and where its answer goes.
pub(super) type Asked = (Request, oneshot::Sender<Answer>);

/// How the cloud is reached by a box that shows no certificate, or a new one.
#[derive(Clone)]
pub(super) struct Reach {
    pub endpoint: Endpoint,
    pub proxy: Option<Proxy>,
    pub roots_pem: Arc<Vec<u8>>,
    pub time: TimeKeeper,
}

impl Reach {
    pub(super) fn cloud(&self, credential: Option<&Credential>) -> Result<GrpcCloud, AgentError> {
        let tls = match credential {
            Some(credential) => TlsSettings::new(&credential.tls(&self.roots_pem)),
            None => TlsSettings::without_certificate(&self.roots_pem),
        };
        let tls = tls.map_err(AgentError::Tls)?.with_time(self.time.clone());
        Ok(GrpcCloud::new(Dialer::new(tls, self.proxy.clone()), self.endpoint.clone()))
    }

    pub(super) fn cloud_key(&self) -> Option<CloudKey> {
        CloudKey::in_roots(&self.roots_pem)
    }
}

/// What it needs.
pub(super) struct Owner {
    pub enrolment: Enrolment,
    pub identity: IdentityFolder,
    pub reach: Reach,
    pub label: Option<Label>,
    pub model: String,
    pub clock: BoxClock,
    pub status: watch::Sender<Status>,
    pub asked: mpsc::Receiver<Asked>,
    pub gestures: broadcast::Receiver<Gesture>,
    /// What the LED shows for a moment: that something was done, or refused.
    pub shown: broadcast::Sender<Shown>,
    /// What there was to do at the start.
    pub first: Vec<Effect>,
}

/// What is under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    presence: Option<watch::Sender<bool>>,
    code: String,
    credential: Option<Box<Credential>>,
    user_code: Option<String>,
    url: Option<String>,
    trouble: Option<String>,
}

/// What has come of an event, for whoever began it.
#[derive(Default)]
struct Outcome {
    refused: Option<&'static str>,
    restart: Option<&'static str>,
}

impl Owner {
    /// Serves until `stop`.
    ///
    /// # Errors
    /// [`AgentError::Restart`] where the box is to start anew.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        let (news, mut heard) = mpsc::channel(WAITING_MAX);
        let mut under_way = UnderWay::default();
        let mut outcome = Outcome::default();
        for effect in std::mem::take(&mut self.first) {
            self.perform(effect, &mut under_way, &news, &mut outcome).await?;
        }
        loop {
            if let Some(why) = outcome.restart {
                return Err(AgentError::Restart(why.to_owned()));
            }
            self.show(&under_way);
            let (event, answer) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some((request, answer)) = self.asked.recv() => match self.event_of(request, &mut under_way) {
                    Ok(event) => (event, Some(answer)),
                    Err((said, why)) => {
                        let _gone = answer.send(said);
                        outcome.restart = why;
                        continue;
                    }
                },
                Ok(gesture) = self.gestures.recv() => match event_of_gesture(gesture) {
                    Some(event) => (event, None),
                    None => continue,
                },
                Some(news) = heard.recv() => match self.event_of_news(news, &mut under_way) {
                    Some(event) => (event, None),
                    None => continue,
                },
                () = tokio::time::sleep(TICK), if self.is_waiting() => (Event::Tick, None),
            };
            // A tap that nobody waits for shows the state once more, and is no fault.
            let is_from_hands = matches!(event, Event::Ask(_) | Event::HeldTen);
            outcome = Outcome::default();
            let done = self.take(event, &mut under_way, &news, &mut outcome).await;
            if is_from_hands && answer.is_none() && outcome.refused.is_some() {
                let _nobody_looks = self.shown.send(Shown::Refused);
            }
            if let Some(answer) = answer {
                let _gone = answer.send(self.answer(&outcome, done.as_ref().err()));
            }
            done?;
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.enrolment.state().phase, Phase::Pairing { .. } | Phase::Enrolling { .. })
    }

    pub(super) fn now(&self) -> Now {
        Now::by(&self.clock)
    }

    async fn take(
        &mut self,
        event: Event,
        under_way: &mut UnderWay,
        news: &mpsc::Sender<News>,
        outcome: &mut Outcome,
    ) -> Result<(), AgentError> {
        let kept = |source| AgentError::Make { what: "the record of enrolment".to_owned(), source };
        let effects = self.enrolment.apply(event, self.now()).map_err(kept)?;
        for effect in effects {
            self.perform(effect, under_way, news, outcome).await?;
        }
        if !self.is_waiting() {
            // A conversation that nobody waits for any more ends here.
            under_way.tasks.abort_all();
            under_way.presence = None;
        }
        Ok(())
    }

    async fn perform(
        &mut self,
        effect: Effect,
        under_way: &mut UnderWay,
        news: &mpsc::Sender<News>,
        outcome: &mut Outcome,
    ) -> Result<(), AgentError> {
        match effect {
            Effect::MakeKeys => {
                self.identity.make_bound_key()?;
                Box::pin(self.take(Event::KeysMade, under_way, news, outcome)).await?;
            }
            Effect::Begin(way) => self.begin(way, under_way, news).await?,
            Effect::Confirm => {
                if let Some(presence) = &under_way.presence {
                    presence.send_replace(true);
                }
            }
            Effect::KeepNext => {
                let kept = match under_way.credential.take() {
                    Some(credential) => {
                        let roots = self.identity.keep_roots(&self.reach.roots_pem);
                        roots.and_then(|()| self.identity.keep_next(&credential)).map_err(|e| e.to_string())
                    }
                    None => Err("there is no certificate to be kept".to_owned()),
                };
                let event = kept.map_or_else(Event::NextNotKept, |()| Event::NextKept);
                Box::pin(self.take(event, under_way, news, outcome)).await?;
            }
            Effect::FirstContact => self.contact(under_way, news)?,
            Effect::Promote => {
                let credential = self.identity.promote_next()?;
                let _nobody_looks = self.shown.send(Shown::Done);
                let promoted = Event::Promoted(credential.validity, credential.generation);
                Box::pin(self.take(promoted, under_way, news, outcome)).await?;
            }
            Effect::DiscardNext => self.identity.discard_next()?,
            Effect::TellLeave => self.leave().await,
            // With nothing open, when the box starts again: the record says so.
            Effect::Wipe => outcome.restart = Some("it forgets everything"),
            Effect::Restart => outcome.restart = Some("whose box it is has changed"),
            Effect::Refuse(why) => outcome.refused = Some(why),
            Effect::Agree => {}
            // The part that talks with the cloud does these.
            Effect::Renew | Effect::Recover => {}
        }
        Ok(())
    }

    async fn begin(&mut self, way: Way, under_way: &mut UnderWay, news: &mpsc::Sender<News>) -> Result<(), AgentError> {
        let code = std::mem::take(&mut under_way.code);
        *under_way = UnderWay::default();
        let no = async |why: &str| {
            let _full = news.try_send(News::No(why.to_owned()));
            Ok(())
        };
        let Some(label) = self.label.clone() else {
            return no("this box has no label: name its file under [device] label in the configuration").await;
        };
        let Some(cloud_key) = self.reach.cloud_key() else {
            return no(
                "there is no key of the cloud (PUBLIC KEY) beside the pinned roots: take the roots file of this cloud",
            )
            .await;
        };
        let Some(bound) = self.identity.bound_key()? else {
            return no("the box has no key yet: try again in a minute").await;
        };
        let (presence, is_there) = watch::channel(false);
        under_way.presence = Some(presence);
        let (cloud, identity, model) = (self.reach.cloud(None)?, self.identity.clone(), self.model.clone());
        let conversation = Conversation { cloud, cloud_key, bound, label, model, way, code, identity };
        under_way.tasks.spawn(conversation.run(news.clone(), is_there));
        Ok(())
    }

    fn contact(&self, under_way: &mut UnderWay, news: &mpsc::Sender<News>) -> Result<(), AgentError> {
        let Some(credential) = self.identity.next()? else { return Ok(()) };
        let status = v1::BoxStatus {
            firmware_version: VERSION.to_owned(),
            boot_id: self.clock.boot_id().to_owned(),
            uptime_ms: self.clock.monotonic_ms(),
            wall_clock_unix_ms: self.clock.wall_unix_ms(),
            clock_quality: self.clock.now().quality.into(),
            ..v1::BoxStatus::default()
        };
        let contact = Some(v1::Contact { generation: credential.generation, counter: self.enrolment.next_contact() });
        let request = v1::PollRequest { status: Some(status), contact, ..v1::PollRequest::default() };
        under_way.tasks.spawn(first_contact(self.reach.cloud(Some(&credential))?, request, news.clone()));
        Ok(())
    }

    /// Tells the cloud that the box forgets who it is. It does so also where the cloud is not there.
    async fn leave(&self) {
        let pending = self.status.borrow().outbox.pending;
        let told = async {
            let credential = self.identity.current().ok().flatten();
            let cloud = self.reach.cloud(credential.as_ref()).map_err(|e| e.to_string())?;
            let mut session = crate::uplink::Cloud::open(&cloud).await.map_err(|e| e.to_string())?;
            session.leave(v1::LeaveRequest { pending }).await.map_err(|e| e.to_string())
        };
        match tokio::time::timeout(LEAVE_LIMIT, told).await {
            Ok(Ok(_)) => tracing::warn!(pending, "the cloud knows that this box was reset"),
            Ok(Err(error)) => tracing::warn!(error, "the cloud does not know that this box was reset"),
            Err(_) => tracing::warn!("the cloud does not know that this box was reset: it has not answered in time"),
        }
    }

    /// What a request makes happen; or its answer at once, and perhaps why the box starts again.
    fn event_of(&self, request: Request, under_way: &mut UnderWay) -> Result<Event, (Answer, Option<&'static str>)> {
        let done = |text: String| Err((Answer::Done { text }, None));
        match request {
            Request::Status => Err((Answer::Status { status: Box::new(self.status.borrow().clone()) }, None)),
            Request::Claim => Ok(Event::Ask(Way::Code)),
            Request::Register { code } => {
                under_way.code = code;
                Ok(Event::Ask(Way::Registration))
            }
            Request::Cancel => Ok(Event::Cancel),
            Request::Press => Ok(Event::Tap),
            Request::Unlock => {
                let mut random = [0; 16];
                match SystemEntropy.fill(&mut random) {
                    Ok(()) => Ok(Event::Unlock(letters::from_random(random, unlock::LETTERS))),
                    Err(error) => Err((Answer::Refused { why: error.to_string() }, None)),
                }
            }
            Request::Unlocked { code } => Err((self.unlocked(&code), self.restart_after_unlock())),
            Request::Tunnel { allowed } => {
                done(format!("printers' own pages {} be looked at", if allowed { "may" } else { "may not" }))
            }
            Request::Log { lines } => Err((Answer::Log { lines: log_ring::last(usize::from(lines)) }, None)),
            Request::ResetPreview => done(self.reset_preview()),
            Request::FactoryReset => Ok(Event::Reset),
            Request::Restart => Err((
                Answer::Done { text: "the box starts again".to_owned() },
                Some("the console has changed its settings"),
            )),
        }
    }

    fn unlocked(&self, typed: &str) -> Answer {
        let secret = self.identity.current().ok().flatten().map(|credential| credential.unlock_secret);
        let generation = self.enrolment.generation();
        let is_right = |asked: &str| {
            let answer = secret
                .as_ref()
                .filter(|secret| !secret.is_empty())
                .map(|secret| unlock::answer(secret, asked, generation));
            let typed =
                letters::parse(typed, unlock::LETTERS).map(|typed| letters::grouped(&typed)).unwrap_or_default();
            answer.is_some_and(|answer| answer.as_bytes().ct_eq(typed.as_bytes()).into())
        };
        match self.enrolment.answer(is_right, self.now()) {
            Ok(effects) => match effects.iter().find_map(|effect| match effect {
                Effect::Refuse(why) => Some(*why),
                _ => None,
            }) {
                Some(why) => Answer::Refused { why: why.to_owned() },
                None => Answer::Done { text: "right: the box tries its cloud once more, now".to_owned() },
            },
            Err(error) => Answer::Refused { why: format!("the record of enrolment cannot be written ({error})") },
        }
    }

    fn restart_after_unlock(&self) -> Option<&'static str> {
        self.enrolment.state().kept.may_try_now.then_some("it was unlocked at the console")
    }

    fn reset_preview(&self) -> String {
        let status = self.status.borrow();
        let tenant = self.enrolment.state().kept.tenant;
        let whose = tenant.map_or("It belongs to nobody.".to_owned(), |tenant| {
            format!("It stays the box of \"{tenant}\": nobody else can claim it until it is released there.")
        });
        format!(
            "Lost for ever: {} readings that the cloud does not have yet, {} known printers, all settings, the box's keys. {whose}",
            status.outbox.pending, status.lan.printers_known
        )
    }

    fn event_of_news(&self, news: News, under_way: &mut UnderWay) -> Option<Event> {
        match news {
            News::Began { user_code, portal_url, expires_s } => {
                under_way.trouble = None;
                under_way.user_code = Some(user_code).filter(|code| !code.is_empty());
                under_way.url = Some(portal_url).filter(|url| !url.is_empty());
                Some(Event::Began(u64::from(expires_s) * 1_000))
            }
            News::Press => Some(Event::SaidPress),
            News::Number(number) => Some(Event::SaidNumber(number)),
            News::Enrolled(credential) => {
                let tenant = credential.tenant.clone();
                under_way.credential = Some(credential);
                Some(Event::SaidEnrolled(tenant))
            }
            News::No(why) => Some(Event::SaidNo(why)),
            News::Trouble(why) => {
                under_way.trouble = Some(why);
                None
            }
            News::Welcome => Some(Event::Welcome),
            News::Refused(cause, detail) => Some(Event::Refused(cause, detail)),
        }
    }

    fn answer(&self, outcome: &Outcome, error: Option<&AgentError>) -> Answer {
        if let Some(error) = error {
            return Answer::Refused { why: error.to_string() };
        }
        if let Some(why) = outcome.refused {
            return Answer::Refused { why: why.to_owned() };
        }
        let state = self.enrolment.state();
        if state.phase == Phase::Disabled
            && let Some(challenge) = state.kept.challenge
        {
            return Answer::Challenge { code: letters::grouped(&challenge.letters) };
        }
        let text =
            if state.phase == Phase::Forgetting { "the box forgets everything and starts again" } else { "begun" };
        Answer::Done { text: text.to_owned() }
    }

    /// Puts what is under way into the status.
    fn show(&self, under_way: &UnderWay) {
        let state = self.enrolment.state();
        let now = self.now();
        let left = |until: u64| u32::try_from(until.saturating_sub(now.up_ms).div_ceil(1_000)).unwrap_or(0);
        let pairing = match &state.phase {
            Phase::Pairing { way, stage, until_up_ms } => Some(PairingStatus {
                way: way.word().to_owned(),
                user_code: under_way.user_code.clone(),
                url: under_way.url.clone(),
                number: if let Stage::Number(number) = stage { Some(*number) } else { None },
                wants_press: *stage == Stage::Press(false),
                seconds_left: left(*until_up_ms),
            }),
            _ => None,
        };
        let until = match &state.phase {
            Phase::Active(validity) | Phase::Renewing(validity) | Phase::Expired(validity) => {
                Some(validity.until_unix_ms)
            }
            _ => None,
        };
        let words = self.identity.bound_key().ok().flatten().map(|key| words(&key.public()));
        let shown = EnrolmentStatus {
            phase: state.phase.word().to_owned(),
            serial: self.label.as_ref().map(|label| label.serial.clone()).unwrap_or_default(),
            words: words.unwrap_or_default(),
            pairing,
            last_error: state.last_error.or_else(|| under_way.trouble.clone()),
            tenant: state.kept.tenant,
            certificate_until_unix_ms: until,
        };
        self.status.send_if_modified(|status| {
            let is_news = status.enrolment != shown;
            status.enrolment = shown;
            is_news
        });
    }
}

/// What a gesture makes happen; the panel itself has shown what means nothing.
fn event_of_gesture(gesture: Gesture) -> Option<Event> {
    Some(match gesture {
        Gesture::Tap => Event::Tap,
        Gesture::Pair => Event::Ask(Way::Button),
        Gesture::Retry => Event::HeldTen,
        Gesture::FactoryReset => Event::Reset,
        Gesture::ResetCancelled | Gesture::Refused | Gesture::Rescue | Gesture::Stuck => return None,
    })
}
