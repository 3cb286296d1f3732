//! `platen ping`: whether a device is there at all.

use std::time::Duration;

use super::{Failure, FenceArgs, block_on, print, print_json, read};
use crate::discovery::{self, ScopedIp};

pub(super) fn ping(
    address: ScopedIp,
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
