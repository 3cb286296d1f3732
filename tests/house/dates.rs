//! The dates of a trial: when the cloud says that something was taken, and whether that holds the true time. A trial knows when
//! it started each box, by the clock of this machine, which is the cloud's too.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::books::query;

/// Columns of the cloud's tables that end in `_ms` and tell no date: times of clocks that never jump, widths, the bare words of
/// boxes (`wall_ms`). `seen_ms` is not used any more.
const NO_DATES: [&str; 7] =
    ["mono_ms", "last_mono_ms", "low_mono_ms", "high_mono_ms", "radius_ms", "wall_ms", "seen_ms"];
/// Lower bounds: as early as the making of the firmware, or 0 where there is none; a box's own may be anything. That readings'
/// bounds hold the truth is judged one by one.
const BOUNDS: [(&str, &str); 3] = [("readings", "taken_low_ms"), ("leases", "since_ms"), ("boots", "low_unix_ms")];
/// Dates are written in the past of whoever reads them, give or take this: a box's clock is known to some milliseconds only.
const SLACK_MS: i64 = 2_000;

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// One life of a box, from its start to its end. Its clock that never jumps began between the first two moments.
#[derive(Debug, Clone)]
pub struct Life {
    pub boot_id: String,
    pub spawned_ms: i64,
    pub seen_ms: i64,
}

/// A record with a date, as the cloud has it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Dated {
    pub seq: i64,
    pub kind: String,
    pub boot_id: String,
    pub mono_ms: i64,
    pub quality: i64,
    pub taken_low_ms: i64,
    pub taken_high_ms: i64,
    pub is_open: bool,
}

/// All records of a box that have a date.
pub fn dated(cloud_folder: &Path, box_id: &str) -> Vec<Dated> {
    let sql = "SELECT seq, kind, boot_id, mono_ms, quality, taken_low_ms, taken_high_ms, is_open FROM readings
               WHERE box_id = $1 AND boot_id IS NOT NULL ORDER BY epoch, seq";
    query(cloud_folder, async |pool| sqlx::query_as(sql).bind(box_id.to_owned()).fetch_all(&pool).await.unwrap())
}

/// Every record's interval holds the time at which it was truly taken.
pub fn assert_true(rows: &[Dated], lives: &[Life]) {
    assert!(!rows.is_empty(), "nothing is dated");
    for row in rows {
        let life = lives.iter().find(|life| life.boot_id == row.boot_id);
        let life = life.unwrap_or_else(|| panic!("nobody started this box: {row:?}"));
        let (earliest, latest) = (life.spawned_ms + row.mono_ms, life.seen_ms + row.mono_ms);
        assert!(
            row.taken_low_ms <= latest && row.taken_high_ms >= earliest,
            "it was taken between {earliest} and {latest}: {row:?}"
        );
    }
}

/// Every date in the cloud's tables lies within the trial.
pub fn assert_no_invented_time(cloud_folder: &Path, began_ms: i64) {
    let columns = "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
                   WHERE m.type = 'table' AND c.name LIKE '%\\_ms' ESCAPE '\\'";
    let columns: Vec<(String, String)> =
        query(cloud_folder, async |pool| sqlx::query_as(columns).fetch_all(&pool).await.unwrap());
    assert!(columns.len() > 20, "where are the dates? {columns:?}");
    let tells_dates = |(table, column): &&(String, String)| {
        !NO_DATES.contains(&column.as_str()) && !BOUNDS.contains(&(table.as_str(), column.as_str()))
    };
    for (table, column) in columns.iter().filter(tells_dates) {
        let sql = sqlx::AssertSqlSafe(format!("SELECT MIN({column}), MAX({column}) FROM {table}"));
        let (least, most): (Option<i64>, Option<i64>) =
            query(cloud_folder, async |pool| sqlx::query_as(sql).fetch_one(&pool).await.unwrap());
        for date in [least, most].into_iter().flatten() {
            // A task is given some time into the future, and a certificate.
            let is_due = ["expires_ms", "not_after_ms"].contains(&column.as_str())
                || (began_ms - SLACK_MS..=now_ms() + SLACK_MS).contains(&date);
            assert!(is_due, "{table}.{column} tells {date}; the trial began at {began_ms}, and now is {}", now_ms());
        }
    }
}

/// Every date in an answer of the portal lies within the trial.
pub fn assert_no_invented_time_in(answer: &Value, began_ms: i64) {
    match answer {
        Value::Array(all) => all.iter().for_each(|one| assert_no_invented_time_in(one, began_ms)),
        Value::Object(fields) => {
            for (name, value) in fields {
                // A certificate ends in the future.
                let is_judged =
                    name.ends_with("unix_ms") && !name.starts_with("not_before") && name != "certificate_ends_unix_ms";
                if let Some(date) = value.as_i64().filter(|_| is_judged) {
                    // What is known to be inexact reaches into the trial.
                    let radius_ms = fields.get("radius_ms").and_then(Value::as_i64).unwrap_or(0);
                    let is_due = (began_ms - SLACK_MS - radius_ms..=now_ms() + SLACK_MS).contains(&date);
                    assert!(is_due, "{name} tells {date}, the trial began at {began_ms}: {answer:#}");
                }
                assert_no_invented_time_in(value, began_ms);
            }
        }
        _ => {}
    }
}
