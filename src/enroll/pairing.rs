//! The conversation by which a box becomes somebody's: it asks, waits, says that somebody is there, and gets a certificate. What it
//! means is decided by the machine; here is only what travels.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::credential::Credential;
use super::identity::IdentityFolder;
use super::machine::Way;
use super::{BoundKey, EnrollError, Label};
use crate::proto::signed::{self, NONCE_BYTES};
use crate::proto::v1::start_enrollment_request::Way as Asked;
use crate::proto::v1::{self, EnrollmentState};
use crate::sys::{Entropy, SystemEntropy};
use crate::uplink::{Backoff, Cloud, CloudKey, CloudSession, GrpcCloud, UplinkError};

/// Waits after a call that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// The cloud may set the time between two questions within these bounds, in seconds.
const POLL_S: (u32, u32) = (1, 30);
/// Between two tries of the first contact.
const CONTACT_EVERY: Duration = Duration::from_secs(3);

/// What is heard.
#[derive(Debug)]
pub enum News {
    /// The cloud has begun.
    Began {
        /// What is typed in the portal; empty for the other ways.
        user_code: String,
        /// Where.
        portal_url: String,
        /// How long it may take, in seconds.
        expires_s: u32,
    },
    /// The button is to be pressed.
    Press,
    /// The LED is to blink so often.
    Number(u8),
    /// A certificate.
    Enrolled(Box<Credential>),
    /// It is over: why.
    No(String),
    /// A call failed; it is tried again.
    Trouble(String),
    /// The cloud has taken the new certificate and answered.
    Welcome,
    /// It refuses it: the word of the cause, and its words.
    Refused(String, String),
}

/// What a conversation needs.
#[derive(Debug)]
pub struct Conversation {
    /// The cloud, over TLS without a certificate.
    pub cloud: GrpcCloud,
    /// Its pinned key.
    pub cloud_key: CloudKey,
    /// The box's key.
    pub bound: BoundKey,
    /// What is on its label.
    pub label: Label,
    /// The board's name.
    pub model: String,
    /// How.
    pub way: Way,
    /// The code that was typed, for [`Way::Registration`].
    pub code: String,
    /// Where keys are made.
    pub identity: IdentityFolder,
}

impl Conversation {
    /// Talks until there is a certificate or no hope. Whoever began it ends it when the time is over. `presence` turns true when
    /// somebody has pressed the button.
    pub async fn run(self, news: mpsc::Sender<News>, presence: watch::Receiver<bool>) {
        let told = match self.talk(&news, presence).await {
            Ok(credential) => News::Enrolled(Box::new(credential)),
            Err(why) => News::No(why),
        };
        // Nobody listens any more: it was cancelled.
        let _gone = news.send(told).await;
    }

    async fn talk(&self, news: &mpsc::Sender<News>, mut presence: watch::Receiver<bool>) -> Result<Credential, String> {
        let words = |error: EnrollError| error.to_string();
        let (csr, key) = IdentityFolder::new_request().map_err(words)?;
        let nonce = SystemEntropy.bytes(NONCE_BYTES).map_err(|e| e.to_string())?;
        let request = self.request(csr, &nonce);
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let begun = loop {
            match self.begin(&request).await {
                Ok(begun) => break begun,
                Err(error) => self.pause(news, error, &mut backoff).await?,
            }
        };
        let v1::StartEnrollmentReply { enrollment, user_code, portal_url, expires_s, mut poll_s } = begun;
        let _gone = news.send(News::Began { user_code, portal_url, expires_s }).await;
        let (mut count, mut session, mut confirmed) = (0, None, false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(u64::from(poll_s.clamp(POLL_S.0, POLL_S.1)))) => {}
                Ok(_) = presence.wait_for(|is_there| *is_there), if !confirmed => {}
            }
            count += 1;
            let is_there = *presence.borrow() && !confirmed;
            let reply = match self.ask(&mut session, &enrollment, count, is_there).await {
                Ok(reply) => reply,
                Err(error) => {
                    session = None;
                    self.pause(news, error, &mut backoff).await?;
                    continue;
                }
            };
            backoff.reset();
            confirmed |= is_there;
            poll_s = if reply.poll_s == 0 { poll_s } else { reply.poll_s };
            let heard = match reply.state() {
                EnrollmentState::Press => News::Press,
                EnrollmentState::Number => News::Number(u8::try_from(reply.number).unwrap_or(0)),
                EnrollmentState::Enrolled => {
                    let enrolled = reply.enrolled.ok_or("the cloud has taken the box in and sent no certificate")?;
                    return Credential::from_enrolled(&enrolled, &nonce, key, &self.cloud_key, None).map_err(words);
                }
                EnrollmentState::Refused => return Err(said(&reply.message, "the cloud refused the box")),
                EnrollmentState::Expired => return Err(said(&reply.message, "nobody has taken the box in time")),
                EnrollmentState::Waiting | EnrollmentState::Unspecified => continue,
            };
            let _gone = news.send(heard).await;
        }
    }

    fn request(&self, csr: Vec<u8>, nonce: &[u8]) -> v1::StartEnrollmentRequest {
        let bound_key = self.bound.public().to_vec();
        let way = match self.way {
            Way::Code => Asked::ShowCode(v1::ShowCode {}),
            Way::Button => {
                let label_proof = self.label.secret.prove(&signed::label(nonce, &csr, &bound_key));
                Asked::ButtonHeld(v1::ButtonHeld { label_proof })
            }
            Way::Registration => {
                let code =
                    self.code.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase()).collect();
                Asked::RegistrationCode(v1::RegistrationCode { code })
            }
        };
        let signature = self.bound.sign(&signed::enrol(nonce, &csr, &self.label.serial, &way));
        v1::StartEnrollmentRequest {
            bound_key,
            serial: self.label.serial.clone(),
            model: self.model.clone(),
            firmware_version: env!("CARGO_PKG_VERSION").to_owned(),
            csr,
            nonce: nonce.to_vec(),
            signature,
            way: Some(way),
        }
    }

    async fn begin(&self, request: &v1::StartEnrollmentRequest) -> Result<v1::StartEnrollmentReply, UplinkError> {
        self.cloud.open().await?.start_enrollment(request.clone()).await
    }

    async fn ask(
        &self,
        session: &mut Option<CloudSession>,
        enrollment: &[u8],
        count: u64,
        is_there: bool,
    ) -> Result<v1::PollEnrollmentReply, UplinkError> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.cloud.open().await?),
        };
        if is_there {
            let signature = self.bound.sign(&signed::presence(enrollment));
            let request = v1::ConfirmPresenceRequest { enrollment: enrollment.to_vec(), signature };
            session.confirm_presence(request).await?;
        }
        let signature = self.bound.sign(&signed::enrol_poll(enrollment, count));
        session.poll_enrollment(v1::PollEnrollmentRequest { enrollment: enrollment.to_vec(), count, signature }).await
    }

    /// Waits after a failure, and says it; ends where trying again would not help.
    async fn pause(&self, news: &mpsc::Sender<News>, error: UplinkError, backoff: &mut Backoff) -> Result<(), String> {
        if error.is_a_no() {
            return Err(error.to_string());
        }
        tracing::info!(%error, "the cloud was not reached; it is tried again");
        let _gone = news.send(News::Trouble(error.to_string())).await;
        tokio::time::sleep(backoff.next_after(fastrand::f64(), error.retry_after())).await;
        Ok(())
    }
}

fn said(message: &str, otherwise: &str) -> String {
    let clean: String = message.chars().filter(|c| !c.is_control()).take(256).collect();
    if clean.is_empty() { otherwise.to_owned() } else { clean }
}

/// Polls as the new box until the cloud has answered: `cloud` shows the new certificate.
pub async fn first_contact(cloud: GrpcCloud, request: v1::PollRequest, news: mpsc::Sender<News>) {
    loop {
        let polled = async { cloud.open().await?.poll(request.clone()).await }.await;
        let told = match polled {
            Ok(_) => News::Welcome,
            Err(error) => match error.proven_refusal() {
                Some(cause) => News::Refused(crate::cause::explain(cause).word.to_owned(), error.to_string()),
                None => News::Trouble(error.to_string()),
            },
        };
        let is_over = !matches!(told, News::Trouble(_));
        if news.send(told).await.is_err() || is_over {
            return;
        }
        tokio::time::sleep(CONTACT_EVERY).await;
    }
}
