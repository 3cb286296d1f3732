//! The uplink: the connections that the box opens to its cloud.
//!
//! What this room is for: one dialer and one TLS configuration for every protocol; the gRPC calls of
//! `proto/platen/v1`; the MQTT wake-up link.
//! What it promises: nothing is dialled that does not lie under the configured root domain; nothing is said to a
//! server whose certificate does not lead to the pinned roots; every failure is named (name service, refused, proxy,
//! wrong certificate, …) and every wait is bounded.
//! Who may call it: agent, enroll.

mod backoff;
mod calls;
mod dialer;
mod endpoint;
mod error;
mod grpc;
mod tls;
mod wake;

pub use backoff::Backoff;
pub use calls::{Cloud, GrpcCloud, Session};
pub use dialer::{Dialer, Proxy};
pub use endpoint::{Endpoint, EndpointError, RootDomain, Scheme};
pub use error::UplinkError;
pub use grpc::{CloudSession, upload_batch};
pub use tls::{TlsIdentity, TlsSettings};
pub use wake::{LinkState, WakeLink, WakeLinkConfig};
