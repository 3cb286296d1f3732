//! What an older cloud stored is there after an update, with its dates and meters.

use prost::Message;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::*;
use crate::cloud::intake::{Interval, Outcome};
use crate::proto::v1::record::What;

fn record(key: &str, total: u64, wall_ms: u64) -> Vec<u8> {
    let taken = v1::Taken { boot_id: "boot".to_owned(), wall_clock_unix_ms: wall_ms, ..v1::Taken::default() };
    let meter = v1::Meter { name: "total".to_owned(), value: total, ..v1::Meter::default() };
    let reading =
        v1::Reading { device_key: key.to_owned(), taken: Some(taken), meters: vec![meter], ..v1::Reading::default() };
    v1::Record { what: Some(What::Reading(reading)) }.encode_to_vec()
}

/// A database as the cloud before sites and dates made it: a printer that has got a better key since.
async fn older(folder: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(folder.join("cloud.sqlite")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    sqlx::migrate!("src/cloud/migrations").run_to(2, &pool).await?;
    sqlx::query("INSERT INTO boxes (id, name, fingerprint, created_ms) VALUES ('b', 'Box', 'f', 1)")
        .execute(&pool)
        .await?;
    sqlx::query("INSERT INTO devices (id, box_id, device_key, first_seen_ms, taken_ms, latest) VALUES (7, 'b', 'new', 1000, 2000, x'')")
        .execute(&pool)
        .await?;
    sqlx::query("INSERT INTO watermarks (box_id, epoch, contiguous_seq) VALUES ('b', 9, 2)").execute(&pool).await?;
    for (seq, payload) in [(1_i64, record("old", 100, 1_000)), (2, record("new", 200, 2_000))] {
        sqlx::query("INSERT INTO readings (box_id, epoch, seq, sha256, received_ms, device_id, payload) VALUES ('b', 9, $1, $2, 5000, 7, $3)")
            .bind(seq)
            .bind(ring::digest::digest(&ring::digest::SHA256, &payload).as_ref().to_vec())
            .bind(payload)
            .execute(&pool)
            .await?;
    }
    pool.close().await;
    Ok(())
}

#[tokio::test]
async fn a_box_of_an_older_cloud_keeps_its_certificate_after_an_update() {
    let folder = tempfile::tempdir().unwrap();
    older(folder.path()).await.unwrap();
    let database = Database::open(folder.path()).await.unwrap();
    let credential = database.credential("f").await.unwrap().expect("its certificate holds");
    assert_eq!((credential.box_id.as_str(), credential.generation), ("b", 1));
    let boxes = database.boxes(9_000).await.unwrap();
    assert_eq!((boxes[0].serial.as_deref(), boxes[0].ends_ms), (None, Some(1 + 90 * 86_400_000)));
    assert!(database.revoke("b").await.unwrap() && database.credential("f").await.unwrap().is_none());
    assert!(database.enable("b").await.unwrap() && database.credential("f").await.unwrap().is_some());
    database.close().await;
}

#[tokio::test]
async fn what_an_older_cloud_stored_has_its_dates_and_meters_after_an_update() {
    let folder = tempfile::tempdir().unwrap();
    older(folder.path()).await.unwrap();
    let database = Database::open(folder.path()).await.unwrap();
    let devices = database.devices(&[], 9_000).await.unwrap();
    let [device] = devices.as_slice() else { panic!("{devices:?}") };
    assert_eq!((device.id, device.site.as_str(), device.box_name.as_str()), (7, "b", "Box"));
    assert_eq!(device.taken, Some(Interval { low_ms: 2_000, high_ms: 5_000 }));
    assert_eq!(device.reading.meters[0].value, 200);
    let history = database.history(7, "total").await.unwrap();
    assert_eq!(history.iter().map(|point| point.value).collect::<Vec<_>>(), [100, 200]);
    database.close().await;
    // What was acknowledged goes on where it was.
    let database = Database::open(folder.path()).await.unwrap();
    let record = record("new", 300, 3_000);
    let content_sha256 = ring::digest::digest(&ring::digest::SHA256, &record).as_ref().to_vec();
    let stored = v1::StoredReading { seq: 3, content_sha256, record, thinned: false };
    let batch = v1::ReadingBatch { epoch: 9, readings: vec![stored], ..v1::ReadingBatch::default() };
    assert_eq!(intake::accept(&database, "b", &batch, 5_000).await.unwrap(), Outcome::UpTo(3));
    assert_eq!(database.devices(&[], 9_000).await.unwrap()[0].reading.meters[0].value, 300);
    database.close().await;
}
