//! What is left of a box that has disabled itself: it sends nothing into the LAN, keeps what it has accepted, and asks its cloud
//! once a day whether somebody has enabled it again.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::AgentError;
use super::certificates::Certificates;
use super::status::Status;
use crate::enroll::Enrolment;
use crate::enroll::machine::Now;
use crate::proto::signed::NONCE_BYTES;
use crate::sys::{Clock, Entropy, SystemEntropy};
use crate::uplink::Cloud;

/// The wait before the next look at the time. The clock of the box may be corrected meanwhile.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(600);

/// What it needs.
pub(super) struct Guard<C, L> {
    pub cloud: L,
    pub clock: C,
    pub enrolment: Enrolment,
    /// By whose key it asks.
    pub certificates: Certificates<L>,
    pub box_id: String,
    pub status: watch::Sender<Status>,
}

impl<C: Clock, L: Cloud> Guard<C, L> {
    /// Asks once a day until `stop`.
    ///
    /// # Errors
    /// [`AgentError::Restart`] when the box was enabled again: it starts as a whole.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        let unit = fastrand::f64();
        loop {
            let wait = self.enrolment.until_probe(self.clock.wall_unix_ms(), unit);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait.min(LOOK_AT_CLOCK)) => {}
            }
            if wait > LOOK_AT_CLOCK {
                continue;
            }
            match self.probe().await {
                Ok(true) => return Err(AgentError::Restart("the box was enabled again".to_owned())),
                Ok(false) => tracing::info!("the box is still disabled"),
                Err(problem) => {
                    tracing::warn!(%problem, "whether the box was enabled again is not known");
                    self.status.send_modify(|status| status.cloud.last_error = Some(problem));
                }
            }
        }
    }

    /// Asks; says whether one more try is allowed.
    async fn probe(&mut self) -> Result<bool, String> {
        self.enrolment.probing(self.clock.wall_unix_ms()).map_err(|e| format!("storage: {e}"))?;
        let nonce = SystemEntropy.bytes(NONCE_BYTES).map_err(|e| e.to_string())?;
        let request = self.certificates.request(&self.box_id, self.enrolment.generation(), &nonce, Vec::new())?;
        let reply = self.cloud.recover(request).await.map_err(|e| e.to_string())?;
        if reply.ticket.is_empty() {
            return Ok(false);
        }
        let key = self.certificates.cloud_key.ok_or("no signing key of the cloud is pinned: enrol the box again")?;
        let now = Now::by(&self.clock);
        let allowed = self.enrolment.allow_retry(key, &self.box_id, &nonce, &reply.ticket, now);
        allowed.map_err(|e| format!("storage: {e}"))?.map_err(|e| e.to_string())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::enroll::IdentityFolder;
    use crate::enroll::machine::{Found, Validity};
    use crate::proto::v1;
    use crate::uplink::{Session, UplinkError};

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    /// Time as tokio has it, which the test moves.
    struct TestClock(Instant);

    impl Clock for TestClock {
        fn monotonic_ms(&self) -> u64 {
            u64::try_from(self.0.elapsed().as_millis()).unwrap()
        }

        fn wall_unix_ms(&self) -> u64 {
            1_700_000_000_000 + self.monotonic_ms()
        }

        fn boot_id(&self) -> &str {
            "boot"
        }
    }

    /// A cloud that has not enabled the box, and counts how often it is asked; nothing else can be asked of it.
    #[derive(Clone, Default)]
    struct Asked(Arc<AtomicU32>);

    impl Cloud for Asked {
        type Session = Asked;

        async fn open(&self) -> Result<Asked, UplinkError> {
            Err(UplinkError::Contract("a disabled box opens no session".to_owned()))
        }

        async fn recover(&self, _: v1::RecoverRequest) -> Result<v1::RecoverReply, UplinkError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(v1::RecoverReply::default())
        }
    }

    impl Session for Asked {
        async fn poll(&mut self, _: v1::PollRequest) -> Result<v1::PollReply, UplinkError> {
            unreachable!("no session is opened")
        }

        async fn upload(&mut self, _: v1::ReadingBatch) -> Result<v1::UploadAck, UplinkError> {
            unreachable!("no session is opened")
        }

        async fn report_task(&mut self, _: v1::TaskReport) -> Result<(), UplinkError> {
            unreachable!("no session is opened")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p_64_a_disabled_box_asks_at_most_once_a_day_for_a_month() {
        let folder = tempfile::tempdir().unwrap();
        let identity = IdentityFolder::in_data_dir(folder.path());
        identity.make_bound_key().unwrap();
        let validity = Validity { until_unix_ms: u64::MAX, ..Validity::default() };
        let found = Found { bound: true, current: Some(validity), generation: 1, next: None };
        let clock = TestClock(Instant::now());
        let now = Now { unix_ms: clock.wall_unix_ms(), up_ms: 0 };
        let (enrolment, _) = Enrolment::open(folder.path(), found, now).unwrap();
        for _ in 0..5 {
            enrolment.count("refused", "revoked", now, 0.5).unwrap();
        }
        let cloud = Asked::default();
        let certificates = Certificates { identity, stranger: cloud.clone(), cloud_key: None };
        let status = watch::Sender::new(Status::default());
        let guard = Guard { cloud: cloud.clone(), clock, enrolment, certificates, box_id: "box-1".to_owned(), status };
        let stop = CancellationToken::new();
        let running = tokio::spawn(guard.run(stop.clone()));
        tokio::time::sleep(DAY * 30).await;
        let asked = cloud.0.load(Ordering::Relaxed);
        assert!((25..=36).contains(&asked), "{asked} questions in 30 days, 20 to 28 hours apart");
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}
