//! What is asked for each record or batch must not take longer the more records there are: the database's own word on how it
//! finds them.

use sqlx::{AssertSqlSafe, Row};

use super::Database;
use super::rows::{OPEN, UNFIT};

#[tokio::test]
async fn what_is_asked_for_each_record_is_found_by_an_index_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).await.unwrap();
    for (statement, index) in [(UNFIT, "readings_unfit"), (OPEN, "readings_open")] {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let steps = sqlx::query(explain).bind("box").bind(1).bind(1).fetch_all(&database.pool).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
        assert!(steps.len() == 1 && steps[0].contains(index), "{statement}\n{steps:?}");
    }
}
