//! `platen ping`: whether a device is there at all.

use std::net::IpAddr;
use std::time::Duration;

use super::{Failure, FenceArgs, block_on, print, print_json, read};
use crate::discovery;

pub(super) fn ping(
    address: IpAddr,
    count: u32,
    timeout: Duration,
    fence: &FenceArgs,
    json: bool,
) -> Result<(), Failure> {
    read::check_fence(&fence.fence()?, address)?;
    let report = block_on(async { discovery::ping(address, count, timeout).await.map_err(Failure::failed) })?;
    if json {
        print_json(&report)?;
    } else {
        print(&format!("{address}: {report}"))?;
    }
    if report.received == 0 {
        return Err(Failure::failed(format!(
            "{address} did not answer: it is off, not there, or does not answer pings"
        )));
    }
    Ok(())
}
