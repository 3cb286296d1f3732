//! A cloud of a test's own, for boxes that speak the contract.
#![allow(dead_code)] // each test uses its part

use platen::cloud::{self, CloudConfig, RunningCloud, Trial};
use platen::enroll::LabelSecret;

use super::fake_box::{Cloud, FakeBox};

/// A cloud, and what it was told to pin.
pub struct World {
    pub running: RunningCloud,
    pub cloud: Cloud,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = CloudConfig {
            data_dir: folder.path().to_owned(),
            device_addr: ([127, 0, 0, 1], 0).into(),
            portal_addr: ([127, 0, 0, 1], 0).into(),
            server_names: vec!["localhost".to_owned()],
            poll_interval_s: 300,
        };
        let running = cloud::start_for_trial(config, Trial::default()).await.unwrap();
        let cloud = Cloud { address: running.device_addr(), pinned_pem: running.pinned_pem().to_owned() };
        Self { running, cloud, _folder: folder }
    }

    pub fn a_box(&self, serial: &str) -> FakeBox {
        FakeBox::new(&self.cloud, serial)
    }

    pub async fn boxes(&self) -> i64 {
        self.running.summary().await.unwrap().boxes
    }

    pub async fn kinds(&self, box_id: &str) -> Vec<String> {
        self.running.box_events(box_id).await.unwrap().into_iter().map(|(kind, _)| kind).collect()
    }

    pub async fn window(&self, serial: &str) -> String {
        self.running.open_window(serial, &label().text(), "Button box", "Bonn").await.unwrap()
    }
}

/// The secret of each box's label.
pub fn label() -> LabelSecret {
    LabelSecret::from_bytes([7; 10])
}
