//! How the calls travel, remembered from session to session: HTTP/2, or gRPC-Web over HTTP/1.1 where HTTP/2 does not pass.
//!
//! Something between may break a TLS handshake that offers HTTP/2, or let it through and break or swallow what follows. Three
//! sessions that broke before the cloud had answered anything, and HTTP/1.1 is tried. If the cloud answers there, HTTP/2 has one
//! more try: it may have been the cloud that was away. If that breaks too, HTTP/1.1 is kept for a day.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::UplinkError;

/// So many sessions in a row must break before the cloud has answered.
const BREAKS: u32 = 3;
/// HTTP/2 is tried again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// How calls travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// gRPC over HTTP/2.
    H2,
    /// gRPC-Web over HTTP/1.1.
    GrpcWeb,
}

impl Transport {
    /// The word of the contract (`BoxStatus.transport`).
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::GrpcWeb => "grpc-web",
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Sessions over HTTP/2 that broke in a row before the cloud had answered.
    breaks: u32,
    /// After so many, it answered over HTTP/1.1.
    passed_http1: bool,
    /// Since when it is certain that the cloud answers over HTTP/1.1 only.
    blocked_since: Option<Instant>,
    /// How the cloud answered last.
    last: Option<Transport>,
}

/// What is remembered. Clones are the same memory.
#[derive(Debug, Clone, Default)]
pub(super) struct WayMemory {
    state: Arc<Mutex<State>>,
}

impl WayMemory {
    /// One that knows that HTTP/2 does not pass.
    pub(super) fn only_http1() -> Self {
        let state = State { blocked_since: Some(Instant::now()), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What to offer in the next handshake (ALPN), best first. Where the server chooses HTTP/1.1, nothing need have broken.
    pub(super) fn offer(&self) -> &'static [&'static [u8]] {
        self.with(|state| match state.blocked_since {
            Some(since) if since.elapsed() >= AGAIN_AFTER => {
                *state = State { last: state.last, ..State::default() };
                BOTH
            }
            Some(_) => HTTP1,
            None if state.breaks >= BREAKS && !state.passed_http1 => HTTP1,
            None => BOTH,
        })
    }

    /// The cloud has answered.
    pub(super) fn answered(&self, transport: Transport) {
        self.with(|state| {
            state.last = Some(transport);
            match transport {
                Transport::H2 => *state = State { last: state.last, ..State::default() },
                Transport::GrpcWeb => state.passed_http1 = state.breaks >= BREAKS,
            }
        });
    }

    /// A session broke before the cloud had answered anything.
    pub(super) fn broke(&self, transport: Transport) {
        self.with(|state| match transport {
            Transport::H2 => {
                state.breaks = state.breaks.saturating_add(1);
                if state.passed_http1 {
                    state.blocked_since.get_or_insert_with(Instant::now);
                }
            }
            // Neither passes: it is not HTTP/2's fault, or not any more.
            Transport::GrpcWeb => *state = State { last: state.last, ..State::default() },
        });
    }

    /// The handshake that offered this did not succeed. It is HTTP/2's fault only where it was broken off, or swallowed.
    pub(super) fn not_opened(&self, offer: &[&[u8]], error: &UplinkError) {
        if matches!(error, UplinkError::Tls { .. } | UplinkError::Timeout { .. }) {
            self.broke(if offer.len() > 1 { Transport::H2 } else { Transport::GrpcWeb });
        }
    }

    /// Whether the cloud's last answer came by gRPC-Web.
    pub(super) fn is_on_web(&self) -> bool {
        self.with(|state| state.last == Some(Transport::GrpcWeb))
    }
}

pub(super) const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
pub(super) const HTTP1: &[&[u8]] = &[b"http/1.1"];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_three_breaks_http_1_is_tried_and_kept_for_a_day_if_only_there_the_cloud_answers() {
        let memory = WayMemory::default();
        for _ in 0..BREAKS {
            assert_eq!(memory.offer(), BOTH);
            memory.broke(Transport::H2);
        }
        assert_eq!(memory.offer(), HTTP1);
        memory.answered(Transport::GrpcWeb);
        assert!(memory.is_on_web());
        assert_eq!(memory.offer(), BOTH, "once more: it may have been the cloud");
        memory.broke(Transport::H2);
        assert_eq!(memory.offer(), HTTP1);
        memory.answered(Transport::GrpcWeb);
        tokio::time::advance(AGAIN_AFTER - Duration::from_secs(1)).await;
        assert_eq!(memory.offer(), HTTP1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(memory.offer(), BOTH);
        memory.answered(Transport::H2);
        assert!(!memory.is_on_web());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cloud_that_is_away_is_no_reason_to_leave_http_2() {
        let memory = WayMemory::default();
        for _ in 0..10 {
            for _ in 0..BREAKS {
                assert_eq!(memory.offer(), BOTH);
                memory.broke(Transport::H2);
            }
            assert_eq!(memory.offer(), HTTP1);
            memory.broke(Transport::GrpcWeb);
        }
        memory.broke(Transport::H2);
        memory.answered(Transport::H2);
        memory.broke(Transport::H2);
        memory.broke(Transport::H2);
        assert_eq!(memory.offer(), BOTH, "only breaks in a row count");
        // It comes back just when HTTP/1.1 is tried.
        memory.broke(Transport::H2);
        assert_eq!(memory.offer(), HTTP1);
        memory.answered(Transport::GrpcWeb);
        assert_eq!(memory.offer(), BOTH);
        memory.answered(Transport::H2);
        assert_eq!(memory.offer(), BOTH);
    }
}
