//! What a gRPC status carries besides code and message: `google.rpc.Status` in the trailer `grpc-status-details-bin`, with
//! messages packed as `google.protobuf.Any`. The few fields that the contract uses, written by hand: generating them would
//! bring Google's files along. Field numbers: google/rpc/status.proto, google/rpc/error_details.proto, google/protobuf/any.proto.

use std::time::Duration;

use prost::Message;

use super::v1::AuthReject;

const AUTH_REJECT: &str = "type.googleapis.com/platen.v1.AuthReject";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// Longest details that are read, in bytes: a status is not a carrier.
const DETAILS_MAX_BYTES: usize = 16 * 1024;
/// Most messages in the details that are looked at.
const MESSAGES_MAX: usize = 16;

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What was found in a status's details.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// The cloud refuses this box's credential.
    pub auth_reject: Option<AuthReject>,
    /// When to come again, from now.
    pub retry_after: Option<Duration>,
}

/// Reads a status's details. What is not understood, damaged or too long is as if it were not there.
#[must_use]
pub fn read(details: &[u8]) -> Details {
    let mut found = Details::default();
    if details.is_empty() || details.len() > DETAILS_MAX_BYTES {
        return found;
    }
    let Ok(status) = RpcStatus::decode(details) else { return found };
    for any in status.details.iter().take(MESSAGES_MAX) {
        match any.type_url.as_str() {
            AUTH_REJECT => found.auth_reject = AuthReject::decode(any.value.as_slice()).ok(),
            RETRY_INFO => {
                let delay = RetryInfo::decode(any.value.as_slice()).ok().and_then(|info| info.retry_delay);
                found.retry_after = delay.and_then(|delay| u64::try_from(delay.seconds).ok()).map(Duration::from_secs);
            }
            _ => {}
        }
    }
    found
}

/// A status that refuses the caller's credential so that it counts (`AuthReject` of the contract).
#[must_use]
pub fn auth_rejected(code: tonic::Code, reject: &AuthReject) -> tonic::Status {
    with_details(code, &reject.message, AUTH_REJECT, reject.encode_to_vec())
}

/// A status that says when to come again.
#[must_use]
pub fn come_again(message: &str, after: Duration) -> tonic::Status {
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos: 0 }) };
    with_details(tonic::Code::Unavailable, message, RETRY_INFO, info.encode_to_vec())
}

fn with_details(code: tonic::Code, message: &str, type_url: &str, value: Vec<u8>) -> tonic::Status {
    let any = Any { type_url: type_url.to_owned(), value };
    let status = RpcStatus { code: code as i32, message: message.to_owned(), details: vec![any] };
    tonic::Status::with_details(code, message, status.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::Cause;

    #[test]
    fn what_the_cloud_packs_the_box_reads() {
        let reject = AuthReject { cause: Cause::Suspended.into(), message: "two of it".to_owned() };
        let status = auth_rejected(tonic::Code::PermissionDenied, &reject);
        assert_eq!((status.code(), status.message()), (tonic::Code::PermissionDenied, "two of it"));
        assert_eq!(read(status.details()), Details { auth_reject: Some(reject), retry_after: None });
        let busy = come_again("later", Duration::from_secs(90));
        assert_eq!(read(busy.details()).retry_after, Some(Duration::from_secs(90)));
    }

    #[test]
    fn what_is_damaged_foreign_or_too_long_is_as_if_it_were_not_there() {
        let reject = AuthReject { cause: Cause::Refused.into(), message: "x".repeat(DETAILS_MAX_BYTES) };
        let long = auth_rejected(tonic::Code::Unauthenticated, &reject);
        let foreign =
            with_details(tonic::Code::Unauthenticated, "", "type.googleapis.com/other.AuthReject", vec![8, 19]);
        for details in [&b""[..], b"\xff\xff\xff", long.details(), foreign.details()] {
            assert_eq!(read(details), Details::default());
        }
        let backwards = RetryInfo { retry_delay: Some(ProtoDuration { seconds: -5, nanos: 0 }) };
        let backwards = with_details(tonic::Code::Unavailable, "", RETRY_INFO, backwards.encode_to_vec());
        assert_eq!(read(backwards.details()).retry_after, None);
    }
}
