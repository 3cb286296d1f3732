//! Enrolments in the database.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::EnrolError;
use crate::cloud::db::Tx;

/// How far an enrolment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cloud) enum State {
    /// Nobody has decided.
    Waiting,
    /// The box's button is to be pressed.
    Press,
    /// The LED blinks a number.
    Number,
    /// The box is taken in, and has not used its certificate yet.
    Enrolled,
    /// It has.
    Done,
    /// No.
    Refused,
    /// Too late.
    Expired,
}

impl State {
    /// As it is stored and told to programs.
    pub(in crate::cloud) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Press => "press",
            Self::Number => "number",
            Self::Enrolled => "enrolled",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }

    fn of(word: &str) -> Self {
        let all = [Self::Waiting, Self::Press, Self::Number, Self::Enrolled, Self::Done];
        all.into_iter().find(|state| state.word() == word).unwrap_or(Self::Refused)
    }

    /// Whether it may still become something.
    pub(in crate::cloud) fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Press | Self::Number)
    }
}

/// An enrolment.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Enrolment {
    /// Its name for the box.
    pub id: Vec<u8>,
    /// Its name for the portal.
    pub reference: String,
    pub nonce: Vec<u8>,
    pub bound_key: Vec<u8>,
    pub serial: String,
    pub model: String,
    pub firmware: String,
    pub csr: Vec<u8>,
    /// Where the request came from.
    pub address: String,
    /// The number of the way in the contract.
    pub way: i64,
    pub label_proof: Vec<u8>,
    pub user_code: Option<String>,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub polled_ms: i64,
    pub count: u64,
    pub poll_s: u32,
    pub state: State,
    /// 2 to 6, in the state of that name.
    pub number: u32,
    /// Why not, for a person.
    pub message: String,
    pub tenant: String,
    pub site: String,
    pub name: String,
    pub box_id: Option<String>,
    /// The serialised `platen.v1.Enrolled`.
    pub enrolled: Option<Vec<u8>>,
}

impl Enrolment {
    /// Ends it.
    pub(super) fn refuse(&mut self, message: &str) {
        self.state = State::Refused;
        message.clone_into(&mut self.message);
    }
}

fn enrolment(row: &SqliteRow, now_ms: i64) -> Result<Enrolment, sqlx::Error> {
    let number = |column| Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
    let expires_ms: i64 = row.try_get("expires_ms")?;
    let stored = State::of(row.try_get("state")?);
    let is_late = expires_ms <= now_ms && (stored.is_open() || stored == State::Enrolled);
    Ok(Enrolment {
        id: row.try_get("id")?,
        reference: row.try_get("reference")?,
        nonce: row.try_get("nonce")?,
        bound_key: row.try_get("bound_key")?,
        serial: row.try_get("serial")?,
        model: row.try_get("model")?,
        firmware: row.try_get("firmware")?,
        csr: row.try_get("csr")?,
        address: row.try_get("address")?,
        way: row.try_get("way")?,
        label_proof: row.try_get("label_proof")?,
        user_code: row.try_get("user_code")?,
        created_ms: row.try_get("created_ms")?,
        expires_ms,
        polled_ms: row.try_get("polled_ms")?,
        count: u64::try_from(row.try_get::<i64, _>("count")?).unwrap_or(0),
        poll_s: number("poll_s")?,
        state: if is_late { State::Expired } else { stored },
        number: number("number")?,
        message: row.try_get("message")?,
        tenant: row.try_get("tenant")?,
        site: row.try_get("site")?,
        name: row.try_get("name")?,
        box_id: row.try_get("box_id")?,
        enrolled: row.try_get("enrolled")?,
    })
}

/// A new enrolment.
pub(super) async fn insert(tx: &mut Tx, it: &Enrolment) -> Result<(), EnrolError> {
    sqlx::query(
        "INSERT INTO enrolments (id, reference, nonce, bound_key, serial, model, firmware, csr, address, way, label_proof,
         user_code, created_ms, expires_ms, poll_s, state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(&it.id)
    .bind(&it.reference)
    .bind(&it.nonce)
    .bind(&it.bound_key)
    .bind(&it.serial)
    .bind(&it.model)
    .bind(&it.firmware)
    .bind(&it.csr)
    .bind(&it.address)
    .bind(it.way)
    .bind(&it.label_proof)
    .bind(&it.user_code)
    .bind(it.created_ms)
    .bind(it.expires_ms)
    .bind(i64::from(it.poll_s))
    .bind(it.state.word())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Keeps what may have changed.
pub(super) async fn put(tx: &mut Tx, it: &Enrolment) -> Result<(), EnrolError> {
    sqlx::query(
        "UPDATE enrolments SET expires_ms = $2, polled_ms = $3, count = $4, poll_s = $5, state = $6, number = $7,
         message = $8, tenant = $9, site = $10, name = $11, box_id = $12, enrolled = $13 WHERE id = $1",
    )
    .bind(&it.id)
    .bind(it.expires_ms)
    .bind(it.polled_ms)
    .bind(i64::try_from(it.count).unwrap_or(i64::MAX))
    .bind(i64::from(it.poll_s))
    .bind(it.state.word())
    .bind(i64::from(it.number))
    .bind(&it.message)
    .bind(&it.tenant)
    .bind(&it.site)
    .bind(&it.name)
    .bind(&it.box_id)
    .bind(&it.enrolled)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The enrolment of which the box knows the name.
pub(super) async fn by_id(tx: &mut Tx, id: &[u8], now_ms: i64) -> Result<Option<Enrolment>, EnrolError> {
    let row = sqlx::query("SELECT * FROM enrolments WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?;
    Ok(row.map(|row| enrolment(&row, now_ms)).transpose()?)
}

/// The enrolment of which the portal knows the name.
pub(super) async fn by_reference(tx: &mut Tx, reference: &str, now_ms: i64) -> Result<Option<Enrolment>, EnrolError> {
    let row =
        sqlx::query("SELECT * FROM enrolments WHERE reference = $1").bind(reference).fetch_optional(&mut **tx).await?;
    Ok(row.map(|row| enrolment(&row, now_ms)).transpose()?)
}

/// The enrolment whose code somebody typed.
pub(super) async fn by_code(tx: &mut Tx, code: &str, now_ms: i64) -> Result<Option<Enrolment>, EnrolError> {
    let row = sqlx::query("SELECT * FROM enrolments WHERE user_code = $1").bind(code).fetch_optional(&mut **tx).await?;
    Ok(row.map(|row| enrolment(&row, now_ms)).transpose()?)
}

/// Enrolments of a serial number whose button is held, and that are not decided.
pub(super) async fn held(tx: &mut Tx, serial: &str, now_ms: i64) -> Result<Vec<Enrolment>, EnrolError> {
    let rows = sqlx::query(
        "SELECT * FROM enrolments WHERE serial = $1 AND state IN ('waiting', 'number') AND way = 11 AND expires_ms > $2
         ORDER BY created_ms LIMIT 64",
    )
    .bind(serial)
    .bind(now_ms)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.iter().map(|row| enrolment(row, now_ms)).collect::<Result<_, _>>()?)
}

/// Ends what the same box began before: it has begun anew.
pub(super) async fn supersede(tx: &mut Tx, bound_key: &[u8]) -> Result<(), EnrolError> {
    let open = "bound_key = $1 AND state IN ('waiting', 'press', 'number')";
    let claims = format!("UPDATE windows SET claim = NULL WHERE claim IN (SELECT id FROM enrolments WHERE {open})");
    sqlx::query(sqlx::AssertSqlSafe(claims)).bind(bound_key).execute(&mut **tx).await?;
    let ends = format!(
        "UPDATE enrolments SET state = 'refused', message = 'The box has begun anew.', user_code = NULL WHERE {open}"
    );
    sqlx::query(sqlx::AssertSqlSafe(ends)).bind(bound_key).execute(&mut **tx).await?;
    Ok(())
}
