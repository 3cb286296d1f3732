//! Walks 1.3.6.1.2.1.43 of many printers with the crate async-snmp: one shared transport, 64 printers at once, GETBULK of 50
//! repetitions, values kept until a printer is done. Usage: bench-async-snmp FIRST_ADDRESS COUNT PORT.

use async_snmp::transport::UdpTransport;
use async_snmp::{Auth, Client, WalkOptions, oid};
use futures_util::StreamExt;
use std::net::{Ipv4Addr, SocketAddr};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, first, count, port] = arguments.as_slice() else { return Err("FIRST_ADDRESS COUNT PORT".into()) };
    let (first, count, port) = (first.parse::<Ipv4Addr>()?.to_bits(), count.parse::<u32>()?, port.parse::<u16>()?);
    let shared = UdpTransport::builder().bind("0.0.0.0:0").recv_buffer_size(8 << 20).build().await?;
    let options = WalkOptions { max_repetitions: 50, ..WalkOptions::default() };
    let walks = futures_util::stream::iter(0..count).map(|n| {
        let shared = &shared;
        async move {
            let target = SocketAddr::new(Ipv4Addr::from_bits(first + n).into(), port);
            let client = Client::builder(target, Auth::v2c("public")).build_with(shared).await.ok()?;
            let mut walk = client.walk_with(oid!(1, 3, 6, 1, 2, 1, 43), options).ok()?;
            let mut found = Vec::new();
            while let Some(Ok(varbind)) = walk.next().await {
                found.push(varbind);
            }
            Some(found)
        }
    });
    let mut walks = std::pin::pin!(walks.buffer_unordered(64));
    let mut varbinds = 0;
    while let Some(walk) = walks.next().await {
        varbinds += walk.map_or(0, |found| found.len());
    }
    println!("{{\"varbinds\": {varbinds}}}");
    Ok(())
}
