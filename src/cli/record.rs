//! `platen record`: a recording of a device that can be shared, so that a model that is not read right can be.

use std::sync::Arc;

use super::mask::Secrets;
use super::read::{open_client, search_options};
use super::{Failure, FenceArgs, SnmpArgs, block_on, print, resolve};
use crate::agent::{Lockout, SearchOptions, read_with};
use crate::oid;
use crate::printer::Reading;
use crate::snmp::{Asks, Oid, Recording, Session, WalkEnd, WalkLimits, allowed_subtrees};

/// Most objects of one subtree that are recorded.
const ROWS_MAX: usize = 5_000;
/// Packets per second: the device's own pace is what matters.
const PACKETS_PER_SECOND: u32 = 50;
/// Tables of the Printer-MIB that are recorded: all that are read, so not what stands on the panel (16).
const PRINTER_MIB_TABLES: [u32; 12] = [5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 18];

pub(super) fn record(host: &str, also: &[String], snmp: &SnmpArgs, fence: &FenceArgs) -> Result<(), Failure> {
    let also = also.iter().map(|text| subtree(text)).collect::<Result<Vec<Oid>, Failure>>()?;
    let credentials = snmp.credentials()?;
    let fence = fence.fence()?;
    let text = block_on(async {
        let target = resolve(host, &fence).await?;
        // A subtree that a person names may lie outside of the list; what is denied stays denied.
        let asks = if also.is_empty() { Asks::Listed } else { Asks::AllButDenied };
        let client = open_client(PACKETS_PER_SECOND, asks)?;
        let candidates: Vec<usize> = (0..credentials.len()).collect();
        let options = SearchOptions {
            lockout: Arc::<Lockout>::default(),
            ..search_options(target.port(), credentials, snmp, None)
        };
        let found = read_with(&client, target, &candidates, &options, None).await;
        let reading = found.reading.map_err(Failure::failed)?;
        let credentials = options.credentials.get(found.credentials_index).cloned();
        let credentials = credentials.ok_or_else(|| Failure::failed("no credentials fit"))?;
        let session = client.session(target, credentials, snmp.timing());
        let recording = walk_all(&session, &also).await?;
        Ok(finish(&recording, &reading, &target.ip().to_string()))
    })?;
    print(&text)
}

/// A subtree that is to be recorded besides: of one maker, and not everything of it unless it is said.
fn subtree(text: &str) -> Result<Oid, Failure> {
    let oid: Oid = text.parse().map_err(|e| Failure::usage(format!("--also {text}: {e}")))?;
    if oid.starts_with(&oid!(1, 3, 6, 1, 4, 1)) && oid.arcs().len() > 6 {
        return Ok(oid);
    }
    Err(Failure::usage(format!("--also {text}: it names a maker's subtree, 1.3.6.1.4.1.NUMBER or below")))
}

async fn walk_all(session: &Session, also: &[Oid]) -> Result<Recording, Failure> {
    let printer_mib = oid!(1, 3, 6, 1, 2, 1, 43);
    let subtrees = allowed_subtrees().into_iter().filter(|subtree| *subtree != printer_mib);
    let tables = PRINTER_MIB_TABLES.map(|table| printer_mib.with(&[table]));
    let mut recording = Recording::default();
    for subtree in subtrees.chain(tables).chain(also.iter().cloned()) {
        match session.walk(&subtree, WalkLimits { rows: ROWS_MAX, ..WalkLimits::default() }).await {
            Ok(walk) => {
                if !matches!(walk.end, WalkEnd::EndOfSubtree | WalkEnd::EndOfMibView) {
                    tracing::warn!(%subtree, end = ?walk.end, "the subtree is not whole");
                }
                walk.varbinds.into_iter().for_each(|vb| recording.set(vb.oid, vb.value));
            }
            Err(error) => tracing::warn!(%subtree, %error, "the subtree is left out"),
        }
    }
    if recording.is_empty() {
        return Err(Failure::failed("the device has none of the objects that are recorded"));
    }
    Ok(recording)
}

/// Masks what was recorded and says so at its head.
fn finish(recording: &Recording, reading: &Reading, address: &str) -> String {
    let supplies = reading.supplies.iter().filter_map(|supply| supply.serial.as_deref());
    let own = [&reading.serial, &reading.name, &reading.location].into_iter().filter_map(|it| it.as_deref());
    let masked = Secrets::new(own.chain(supplies).chain([address])).mask(recording);
    format!(
        "# Recorded by platen {}. Names, places, addresses and serial numbers are masked as far as they are known:\n\
         # look through it before you give it away. Read it with: platen replay FILE --explain\n{}",
        env!("CARGO_PKG_VERSION"),
        masked.to_text().trim_end()
    )
}
