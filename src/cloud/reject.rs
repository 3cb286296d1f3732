//! Refusals that prove that they come from this cloud: a status with `platen.v1.AuthReject` in its details, packed as gRPC's
//! richer errors are (google.rpc.Status, google.protobuf.Any).

use prost::Message;
use tonic::{Code, Status};

use crate::proto::v1;

/// google.rpc.Status.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// A refusal of a box's credential.
pub(super) fn reject(code: Code, cause: v1::Cause, message: &str) -> Status {
    let rejection = v1::AuthReject { cause: cause.into(), message: message.to_owned() };
    let any = Any { type_url: "type.googleapis.com/platen.v1.AuthReject".to_owned(), value: rejection.encode_to_vec() };
    let status = RpcStatus { code: code.into(), message: message.to_owned(), details: vec![any] };
    Status::with_details(code, message, status.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_proof() {
        let status = reject(Code::PermissionDenied, v1::Cause::Suspended, "stopped");
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "stopped"));
        let details = RpcStatus::decode(status.details()).unwrap();
        let rejection = v1::AuthReject::decode(details.details[0].value.as_slice()).unwrap();
        assert_eq!((rejection.cause(), rejection.message.as_str()), (v1::Cause::Suspended, "stopped"));
    }
}
