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
        let now = Now { unix_ms: self.clock.wall_unix_ms(), up_ms: self.clock.monotonic_ms() };
        let allowed = self.enrolment.allow_retry(key, &self.box_id, &nonce, &reply.ticket, now);
        allowed.map_err(|e| format!("storage: {e}"))?.map_err(|e| e.to_string())?;
        Ok(true)
    }
}
