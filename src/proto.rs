//! The contract with the cloud, generated from `proto/platen/v1`. The comments of its messages are in those files.

pub mod rich_status;
pub mod shown;
pub mod signed;
pub mod times;
pub mod update;

/// Version 1 of the contract.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]
    tonic::include_proto!("platen.v1");
}
