//! A box whose button is held, and somebody in the portal who waits for it with the label in his hand. Both must agree on how often
//! the LED blinks: so neither a stranger at the button nor a second box that is held at the same time is taken in by mistake.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::rows::{self, Enrolment, State};
use super::{EnrolError, TENANT, WINDOW_LIFE_MS, Why, approve, check, limits, refused, take_in};
use crate::cloud::authority::Authority;
use crate::cloud::db::{Database, Tx};
use crate::enroll::LabelSecret;
use crate::proto::signed;
use crate::sys::{random_bytes, random_hex};

/// How often the LED may blink: from, and how many numbers there are.
const NUMBER_FIRST: u32 = 2;
const NUMBERS: u32 = 5;

/// How far a window has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cloud) enum WindowState {
    /// It waits for a box.
    Open,
    /// A box is there: how often does its LED blink?
    Number,
    /// It is taken in.
    Enrolled,
    /// Over; the message says why.
    Closed,
}

/// A window.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Window {
    pub id: String,
    pub serial: String,
    secret: String,
    tenant: String,
    site: String,
    pub name: String,
    pub expires_ms: i64,
    pub state: WindowState,
    pub message: String,
    claim: Option<Vec<u8>>,
}

fn read(row: &SqliteRow, now_ms: i64) -> Result<Window, sqlx::Error> {
    let expires_ms: i64 = row.try_get("expires_ms")?;
    let (state, message): (String, String) = (row.try_get("state")?, row.try_get("message")?);
    let (state, message) = match state.as_str() {
        "done" => (WindowState::Enrolled, message),
        "open" if expires_ms > now_ms => (WindowState::Open, message),
        "open" => {
            (WindowState::Closed, "No box was held in time. Open the window again, then hold the button.".to_owned())
        }
        _ => (WindowState::Closed, message),
    };
    Ok(Window {
        id: row.try_get("id")?,
        serial: row.try_get("serial")?,
        secret: row.try_get("secret")?,
        tenant: row.try_get("tenant")?,
        site: row.try_get("site")?,
        name: row.try_get("name")?,
        expires_ms,
        state,
        message,
        claim: row.try_get("claim")?,
    })
}

async fn put(tx: &mut Tx, window: &Window) -> Result<(), EnrolError> {
    let state = match window.state {
        WindowState::Open | WindowState::Number => "open",
        WindowState::Enrolled => "done",
        WindowState::Closed => "closed",
    };
    sqlx::query("UPDATE windows SET secret = $2, state = $3, message = $4, claim = $5, expires_ms = $6 WHERE id = $1")
        .bind(&window.id)
        // A window that is closed needs no secret any more.
        .bind(if state == "open" { window.secret.as_str() } else { "" })
        .bind(state)
        .bind(&window.message)
        .bind(&window.claim)
        .bind(window.expires_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Waits for a box with this serial number, whose label has this secret. A window for it that was open is closed.
///
/// # Errors
/// In words, where what was typed cannot be, or the box is another tenant's.
pub(in crate::cloud) async fn open_window(
    database: &Database,
    serial: &str,
    secret: &str,
    name: &str,
    site: &str,
    now_ms: i64,
) -> Result<String, EnrolError> {
    let serial = serial.trim();
    if !check::is_serial(serial) {
        return Err(refused(Why::Invalid, "The serial number is 1 to 32 letters, digits and dashes, as on the label."));
    }
    let Some(secret) = LabelSecret::parse(secret) else {
        let words = "The label's secret is 16 letters and digits in four groups: compare it with the label.";
        return Err(refused(Why::Invalid, words));
    };
    approve::check_names(name, site)?;
    let mut tx = database.transaction().await?;
    limits::purge(&mut tx, now_ms).await?;
    if take_in::is_locked(&mut tx, TENANT, serial).await? {
        return Err(refused(Why::Forbidden, take_in::LOCKED));
    }
    if let Some(mut before) = of_serial(&mut tx, serial, now_ms).await? {
        close(&mut tx, &mut before, "Another window was opened for this box.", now_ms).await?;
    }
    let id = random_hex(16);
    sqlx::query(
        "INSERT INTO windows (id, serial, secret, tenant, site, name, opened_ms, expires_ms, state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open')",
    )
    .bind(&id)
    .bind(serial)
    .bind(secret.text().as_str())
    .bind(TENANT)
    .bind(site.trim())
    .bind(name.trim())
    .bind(now_ms)
    .bind(now_ms.saturating_add(WINDOW_LIFE_MS))
    .execute(&mut *tx)
    .await?;
    meet(&mut tx, serial, now_ms).await?;
    tx.commit().await?;
    Ok(id)
}

async fn of_serial(tx: &mut Tx, serial: &str, now_ms: i64) -> Result<Option<Window>, EnrolError> {
    let row = sqlx::query("SELECT * FROM windows WHERE serial = $1 AND state = 'open' AND expires_ms > $2")
        .bind(serial)
        .bind(now_ms)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.map(|row| read(&row, now_ms)).transpose()?)
}

/// Closes a window, and ends what claims it.
async fn close(tx: &mut Tx, window: &mut Window, message: &str, now_ms: i64) -> Result<(), EnrolError> {
    for mut claim in claims(tx, window, now_ms).await? {
        claim.refuse(message);
        rows::put(tx, &claim).await?;
    }
    window.state = WindowState::Closed;
    message.clone_into(&mut window.message);
    put(tx, window).await
}

/// Boxes that are held now and prove the secret of the window's label.
async fn claims(tx: &mut Tx, window: &Window, now_ms: i64) -> Result<Vec<Enrolment>, EnrolError> {
    let Some(secret) = LabelSecret::parse(&window.secret) else { return Ok(Vec::new()) };
    let mut held = rows::held(tx, &window.serial, now_ms).await?;
    held.retain(|it| secret.has_proven(&signed::label(&it.nonce, &it.csr, &it.bound_key), &it.label_proof));
    Ok(held)
}

/// Brings a held button and an open window together, where both are there.
pub(super) async fn meet(tx: &mut Tx, serial: &str, now_ms: i64) -> Result<(), EnrolError> {
    let Some(mut window) = of_serial(tx, serial, now_ms).await? else { return Ok(()) };
    let mut claims = claims(tx, &window, now_ms).await?;
    if claims.len() > 1 {
        let message = "Two boxes asked with the secret of this label at the same time: somebody tampers. Nothing was taken in. Look who has access to the box and its label, then try again.";
        take_in::note(tx, now_ms, "", "enrolment_tampered", &format!("two boxes claimed serial {serial}")).await?;
        return close(tx, &mut window, message, now_ms).await;
    }
    let Some(claim) = claims.first_mut().filter(|it| it.state == State::Waiting) else { return Ok(()) };
    claim.state = State::Number;
    claim.number = NUMBER_FIRST + u32::from_be_bytes(random_bytes()) % NUMBERS;
    claim.tenant.clone_from(&window.tenant);
    claim.site.clone_from(&window.site);
    claim.name.clone_from(&window.name);
    rows::put(tx, claim).await?;
    window.claim = Some(claim.id.clone());
    put(tx, &window).await
}

async fn by_id(tx: &mut Tx, id: &str, now_ms: i64) -> Result<Option<(Window, Option<Enrolment>)>, EnrolError> {
    let row = sqlx::query("SELECT * FROM windows WHERE id = $1").bind(id).fetch_optional(&mut **tx).await?;
    let Some(mut window) = row.map(|row| read(&row, now_ms)).transpose()? else { return Ok(None) };
    let claim = match &window.claim {
        Some(claim) => rows::by_id(tx, claim, now_ms).await?,
        None => None,
    };
    if window.state == WindowState::Open && claim.as_ref().is_some_and(|claim| claim.state == State::Number) {
        window.state = WindowState::Number;
    }
    Ok(Some((window, claim)))
}

/// A window as it is now.
///
/// # Errors
/// Where the database fails.
pub(in crate::cloud) async fn window(
    database: &Database,
    id: &str,
    now_ms: i64,
) -> Result<Option<(Window, Option<Enrolment>)>, EnrolError> {
    let mut tx = database.transaction().await?;
    by_id(&mut tx, id, now_ms).await
}

/// Somebody says how often the LED blinks. Whether that is right: then the box is taken in; else the window is closed.
///
/// # Errors
/// In words, where no box blinks for this window.
pub(in crate::cloud) async fn pick_number(
    database: &Database,
    authority: &Authority,
    id: &str,
    number: u32,
    now_ms: i64,
) -> Result<bool, EnrolError> {
    let mut tx = database.transaction().await?;
    let found = by_id(&mut tx, id, now_ms).await?;
    let Some((mut window, Some(mut claim))) = found.filter(|(window, _)| window.state == WindowState::Number) else {
        let words = "No box blinks for this window: it is closed, or the box has given up. Open a new one and hold the button again.";
        return Err(refused(Why::Unknown, words));
    };
    if claim.number != number {
        let message = "The LED blinks another number of times than was said: this may be another box. Nothing was taken in. Open a new window and hold the button of the box that is meant.";
        take_in::note(&mut tx, now_ms, "", "enrolment_refused", &format!("wrong number for serial {}", claim.serial))
            .await?;
        close(&mut tx, &mut window, message, now_ms).await?;
        tx.commit().await?;
        return Ok(false);
    }
    take_in::take_in(&mut tx, authority, &mut claim, now_ms).await?;
    rows::put(&mut tx, &claim).await?;
    window.state = if claim.state == State::Enrolled { WindowState::Enrolled } else { WindowState::Closed };
    window.message.clone_from(&claim.message);
    put(&mut tx, &window).await?;
    tx.commit().await?;
    Ok(window.state == WindowState::Enrolled)
}
