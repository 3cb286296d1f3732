//! Printers that another box of the same site reads now: this box leaves them alone, as long as the cloud's word is fresh. A box
//! that hears nothing from the cloud reads them itself: read twice is harmless, not read is not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Poll intervals for which the cloud's word holds.
const HOLDS_FOR_POLLS: u32 = 3;
/// Most keys that are heeded: as many printers as an inventory has.
const KEYS_MAX: usize = 4_096;

/// The cloud's last word on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Standby {
    keys: Arc<HashSet<String>>,
    until: Option<Instant>,
}

impl Standby {
    /// As the answer to a poll says, now.
    pub fn told(keys: Vec<String>, poll_interval: Duration) -> Self {
        let keys: HashSet<String> = keys.into_iter().take(KEYS_MAX).collect();
        Self { keys: Arc::new(keys), until: Some(Instant::now() + poll_interval * HOLDS_FOR_POLLS) }
    }

    /// Whether another box reads this printer.
    pub fn covers(&self, device_key: &str) -> bool {
        self.until.is_some_and(|until| Instant::now() < until) && self.keys.contains(device_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clouds_word_holds_for_three_polls_and_not_longer() {
        let poll = Duration::from_secs(300);
        let standby = Standby::told(vec!["serial:Acme:1".to_owned()], poll);
        assert!(standby.covers("serial:Acme:1") && !standby.covers("serial:Acme:2"));
        tokio::time::advance(Duration::from_secs(899)).await;
        assert!(standby.covers("serial:Acme:1"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!standby.covers("serial:Acme:1"));
        assert!(!Standby::default().covers("serial:Acme:1"));
    }
}
