//! The uplink: the connections that the box opens to its cloud.
//!
//! What this room is for: one dialer and one TLS configuration for every protocol; the gRPC calls of
//! `proto/platen/v1`; the MQTT wake-up link; the SSH connection to the relay.
//! What it promises: nothing is dialled that does not lie under the configured root domain; nothing is said to a
//! server whose certificate does not lead to the pinned roots; every failure is named (name service, refused, proxy,
//! wrong certificate, …) and every wait is bounded. A box that does not know the time learns it from its cloud and nobody else.
//! Who may call it: agent, enroll.

mod backoff;
mod calls;
mod dialer;
mod endpoint;
mod error;
mod grpc;
mod probe;
mod proxy;
mod ssh;
mod tap;
mod time;
mod tls;
mod verify;
mod wake;
mod way;
mod web;
mod wire;
mod x509;

pub use backoff::Backoff;
pub use calls::{Cloud, GrpcCloud, Session};
pub use dialer::{Dialer, Secured};
pub use endpoint::{Endpoint, EndpointError, RootDomain, Scheme};
pub use error::{RETRY_AFTER_MAX, UplinkError};
pub use grpc::{CloudSession, upload_batch};
pub use probe::{Hello, Probe, TlsFacts};
pub use proxy::{Proxy, ProxyMalformed};
pub use ssh::{HostKeys, KeepAlive, Relay, RelaySettings, SshConnection, SshKey};
pub use tap::Tap;
pub use time::TimeKeeper;
pub use tls::{CloudKey, TlsIdentity, TlsSettings};
pub use wake::{LinkState, WakeLink, WakeLinkConfig};
pub use x509::certificate_validity;
