//! Simulated printers: meters that count what was printed, and readings of them as the reader would make them.

use platen::printer::{Meter, MeterKey, Reading, Status, Supply};

/// The printers of one box.
#[derive(Debug)]
pub struct Printers {
    random: fastrand::Rng,
    totals: Vec<u64>,
    box_id: String,
}

impl Printers {
    pub fn new(box_id: &str, count: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let totals = (0..count).map(|_| random.u64(1_000..900_000)).collect();
        Self { random, totals, box_id: box_id.to_owned() }
    }

    pub fn count(&self) -> usize {
        self.totals.len()
    }

    /// Something is printed, and the printer is read.
    pub fn read(&mut self, index: usize) -> Reading {
        let pages = if self.random.u8(0..3) == 0 { 0 } else { self.random.u64(0..20) };
        let total = self.totals[index] + pages;
        self.totals[index] = total;
        let meter = |name: &str, key, value| Meter {
            name: name.to_owned(),
            key,
            value,
            unit: "impressions".to_owned(),
            oid: format!("1.3.6.1.2.1.43.10.2.1.4.1.{}", name.len()),
            source: "RFC 3805 prtMarkerLifeCount".to_owned(),
            ..Meter::default()
        };
        let level = i64::try_from(100 - (total / 100) % 100).unwrap_or(0);
        let supply = Supply {
            index: "1.1".to_owned(),
            description: Some("Black toner".to_owned()),
            r#type: "toner".to_owned(),
            class: "consumed".to_owned(),
            unit: "percent".to_owned(),
            max_capacity: Some(100),
            level: Some(level),
            percent: u32::try_from(level).ok(),
            state: "ok".to_owned(),
            ..Supply::default()
        };
        let uptime = Some(self.random.u64(..1 << 31));
        Reading {
            is_printer: true,
            vendor: Some("Acme".to_owned()),
            model: Some("Duplexer 3000".to_owned()),
            serial: Some(format!("{}-{index:04}", self.box_id)),
            address: Some(format!("10.0.0.{}", index + 10)),
            status: Status { printer: Some("idle".to_owned()), uptime_centiseconds: uptime, ..Status::default() },
            meters: vec![meter("total", MeterKey::TOTAL, total)],
            supplies: vec![supply],
            ..Reading::default()
        }
    }
}
