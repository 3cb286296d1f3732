//! "Add a box": the three ways side by side, and what becomes of each; the same as JSON for programs.

use std::time::Duration;

use axum::Json;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::add_pages::{About, Typed};
use super::{Failure, Portal, add_pages, page};
use crate::cloud::enrolment::{self, EnrolError, Enrolment, Found, Why, Window, WindowState};
use crate::enroll::words;

/// Who types, where nobody has logged in.
const ACCOUNT: &str = "portal";
/// An answer about a code takes so long, whatever it is.
const ANSWER_AFTER: Duration = Duration::from_millis(150);

/// What a person reads of an error, or the portal's own words where the cloud failed.
fn told(error: EnrolError) -> Result<(StatusCode, String), Failure> {
    match error {
        EnrolError::Database(error) => Err(Failure(error)),
        EnrolError::Authority(error) => {
            tracing::error!(%error, "the authority failed");
            Ok((StatusCode::INTERNAL_SERVER_ERROR, "The cloud cannot sign at the moment; the log says why.".to_owned()))
        }
        EnrolError::Refused(why, words) => {
            let status = match why {
                Why::Invalid => StatusCode::BAD_REQUEST,
                Why::Unknown => StatusCode::NOT_FOUND,
                Why::Forbidden => StatusCode::FORBIDDEN,
                Why::Again => StatusCode::CONFLICT,
                Why::TooMany => StatusCode::TOO_MANY_REQUESTS,
            };
            Ok((status, words.into_owned()))
        }
    }
}

/// An error on the page itself, with what was typed.
fn on_page(portal: &Portal, error: EnrolError, typed: &Typed<'_>) -> Result<Response, Failure> {
    let (status, words) = told(error)?;
    // It does not renew itself: the words would be gone before they are read.
    let mut response = page("Add a box", "", add_pages::ways(&portal.token, Some(&words), typed));
    *response.status_mut() = status;
    Ok(response)
}

#[derive(Deserialize)]
pub(super) struct CodeForm {
    token: String,
    code: String,
}

#[derive(Deserialize)]
pub(super) struct NameForm {
    token: String,
    name: String,
    #[serde(default)]
    site: String,
}

#[derive(Deserialize)]
pub(super) struct WindowForm {
    token: String,
    /// The text of the label's QR code, in the place of the two after it.
    #[serde(default)]
    label: String,
    #[serde(default)]
    serial: String,
    #[serde(default)]
    secret: String,
    name: String,
    #[serde(default)]
    site: String,
}

#[derive(Deserialize)]
pub(super) struct NumberForm {
    token: String,
    number: u32,
}

#[derive(Deserialize)]
pub(super) struct RegistrationForm {
    token: String,
    #[serde(default)]
    site: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    serial: String,
}

impl WindowForm {
    fn label(&self) -> (&str, &str) {
        let scanned = self.label.trim().strip_prefix("PLATEN:").and_then(|rest| rest.split_once(':'));
        scanned.unwrap_or((&self.serial, &self.secret))
    }

    fn about(&self) -> About<'_> {
        About { serial: self.label().0, name: &self.name, site: &self.site }
    }
}

impl RegistrationForm {
    fn about(&self) -> About<'_> {
        About { serial: &self.serial, name: &self.name, site: &self.site }
    }
}

/// Finds the box of a code, no faster where there is none.
async fn find(portal: &Portal, code: &str) -> Result<Found, EnrolError> {
    let answer_at = Instant::now() + ANSWER_AFTER;
    let shared = &portal.shared;
    let found = enrolment::find(&shared.database, ACCOUNT, code, shared.now_ms()).await;
    tokio::time::sleep_until(answer_at).await;
    found
}

async fn open(portal: &Portal, form: &WindowForm) -> Result<String, EnrolError> {
    let shared = &portal.shared;
    let (serial, secret) = form.label();
    enrolment::open_window(&shared.database, serial, secret, &form.name, &form.site, shared.now_ms()).await
}

async fn make_code(portal: &Portal, form: &RegistrationForm) -> Result<String, EnrolError> {
    let shared = &portal.shared;
    let serial = Some(form.serial.as_str());
    enrolment::make_code(&shared.database, &form.site, &form.name, serial, shared.now_ms()).await
}

/// The three ways.
pub(super) async fn ways(State(portal): State<Portal>) -> Response {
    page("Add a box", "/add/fragment", add_pages::ways(&portal.token, None, &Typed::default()))
}

pub(super) async fn ways_fragment(State(portal): State<Portal>) -> Response {
    Html(add_pages::ways(&portal.token, None, &Typed::default()).into_string()).into_response()
}

/// A code was typed: goes on to the box that shows it.
pub(super) async fn type_code(State(portal): State<Portal>, Form(form): Form<CodeForm>) -> Result<Response, Failure> {
    if let Some(refusal) = portal.check(&form.token) {
        return Ok(refusal);
    }
    match find(&portal, &form.code).await {
        Ok(found) => Ok(Redirect::to(&format!("/add/boxes/{}", found.enrolment.reference)).into_response()),
        Err(error) => on_page(&portal, error, &Typed { code: &form.code, ..Typed::default() }),
    }
}

async fn box_view(portal: &Portal, reference: &str, error: Option<&str>) -> Result<Option<maud::Markup>, EnrolError> {
    let shared = &portal.shared;
    let Some(enrolment) = Enrolment::of(&shared.database, reference, shared.now_ms()).await? else { return Ok(None) };
    let former = enrolment::former_name(&shared.database, &enrolment.serial).await?;
    Ok(Some(add_pages::found(&enrolment, former.as_deref(), &portal.token, error)))
}

fn gone(portal: &Portal) -> Response {
    let words = "This is long over. Begin at the box again.";
    let mut response = page("Add a box", "", add_pages::ways(&portal.token, Some(words), &Typed::default()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The box that showed a code, and how far it is.
pub(super) async fn box_page(State(portal): State<Portal>, Path(id): Path<String>) -> Result<Response, Failure> {
    match box_view(&portal, &id, None).await {
        Ok(Some(view)) => Ok(page("Add a box", &format!("/add/boxes/{id}/fragment"), view)),
        Ok(None) => Ok(gone(&portal)),
        Err(error) => on_page(&portal, error, &Typed::default()),
    }
}

pub(super) async fn box_fragment(State(portal): State<Portal>, Path(id): Path<String>) -> Result<Response, Failure> {
    match box_view(&portal, &id, None).await {
        Ok(Some(view)) => Ok(Html(view.into_string()).into_response()),
        Ok(None) => Ok(StatusCode::NOT_FOUND.into_response()),
        Err(error) => on_page(&portal, error, &Typed::default()),
    }
}

/// Somebody wants the box.
pub(super) async fn approve(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<NameForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.check(&form.token) {
        return Ok(refusal);
    }
    let shared = &portal.shared;
    match enrolment::approve(&shared.database, &id, &form.name, &form.site, shared.now_ms()).await {
        Ok(()) => Ok(Redirect::to(&format!("/add/boxes/{id}")).into_response()),
        Err(error) => {
            let (status, words) = told(error)?;
            let Ok(Some(view)) = box_view(&portal, &id, Some(&words)).await else { return Ok(gone(&portal)) };
            let mut response = page("Add a box", "", view);
            *response.status_mut() = status;
            Ok(response)
        }
    }
}

/// Somebody has the label of a box in his hand.
pub(super) async fn open_window(
    State(portal): State<Portal>,
    Form(form): Form<WindowForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.check(&form.token) {
        return Ok(refusal);
    }
    match open(&portal, &form).await {
        Ok(id) => Ok(Redirect::to(&format!("/add/windows/{id}")).into_response()),
        Err(error) => on_page(&portal, error, &Typed { window: form.about(), ..Typed::default() }),
    }
}

async fn window_view(portal: &Portal, id: &str) -> Result<Option<maud::Markup>, EnrolError> {
    let now_ms = portal.shared.now_ms();
    let found = enrolment::window(&portal.shared.database, id, now_ms).await?;
    Ok(found.map(|(window, claim)| add_pages::window(&window, claim.as_ref(), &portal.token, now_ms)))
}

/// A window, and how far it is.
pub(super) async fn window_page(State(portal): State<Portal>, Path(id): Path<String>) -> Result<Response, Failure> {
    match window_view(&portal, &id).await {
        Ok(Some(view)) => Ok(page("Add a box", &format!("/add/windows/{id}/fragment"), view)),
        Ok(None) => Ok(gone(&portal)),
        Err(error) => on_page(&portal, error, &Typed::default()),
    }
}

pub(super) async fn window_fragment(State(portal): State<Portal>, Path(id): Path<String>) -> Result<Response, Failure> {
    match window_view(&portal, &id).await {
        Ok(Some(view)) => Ok(Html(view.into_string()).into_response()),
        Ok(None) => Ok(StatusCode::NOT_FOUND.into_response()),
        Err(error) => on_page(&portal, error, &Typed::default()),
    }
}

/// Somebody has counted how often the LED blinks.
pub(super) async fn pick(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<NumberForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.check(&form.token) {
        return Ok(refusal);
    }
    let shared = &portal.shared;
    match enrolment::pick_number(&shared.database, &shared.authority, &id, form.number, shared.now_ms()).await {
        Ok(_) => Ok(Redirect::to(&format!("/add/windows/{id}")).into_response()),
        Err(error) => on_page(&portal, error, &Typed::default()),
    }
}

/// A one-off code, shown once.
pub(super) async fn registration(
    State(portal): State<Portal>,
    Form(form): Form<RegistrationForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.check(&form.token) {
        return Ok(refusal);
    }
    match make_code(&portal, &form).await {
        // It does not renew itself: nobody could show the code again.
        Ok(code) => Ok(page("Add a box", "", add_pages::code(&code, &form.site, &form.serial))),
        Err(error) => on_page(&portal, error, &Typed { registration: form.about(), ..Typed::default() }),
    }
}

type JsonAnswer = Result<(StatusCode, Json<Value>), Failure>;

fn json_of(portal: &Portal, token: &str, answer: Result<Value, EnrolError>) -> JsonAnswer {
    if portal.check(token).is_some() {
        let words = "This request does not have the token of this portal's page, or the portal was restarted.";
        return Ok((StatusCode::FORBIDDEN, Json(json!({ "error": words }))));
    }
    match answer {
        Ok(value) => Ok((StatusCode::OK, Json(value))),
        Err(error) => {
            let (status, words) = told(error)?;
            Ok((status, Json(json!({ "error": words }))))
        }
    }
}

fn enrolment_json(it: &Enrolment) -> Value {
    json!({
        "id": it.reference,
        "state": it.state.word(),
        "serial": it.serial,
        "model": it.model,
        "firmware_version": it.firmware,
        "address": it.address,
        "words": words(&it.bound_key),
        "name": it.name,
        "site": it.site,
        "box": it.box_id,
        "message": it.message,
        "expires_unix_ms": it.expires_ms,
    })
}

fn window_json(window: &Window) -> Value {
    let state = match window.state {
        WindowState::Open => "open",
        WindowState::Number => "number",
        WindowState::Enrolled => "enrolled",
        WindowState::Closed => "closed",
    };
    json!({ "id": window.id, "serial": window.serial, "state": state, "message": window.message })
}

/// What box shows this code.
pub(super) async fn api_find(State(portal): State<Portal>, Form(form): Form<CodeForm>) -> JsonAnswer {
    if portal.check(&form.token).is_some() {
        return json_of(&portal, &form.token, Ok(Value::Null));
    }
    let found = find(&portal, &form.code).await.map(|found| {
        let mut value = enrolment_json(&found.enrolment);
        value["former"] = json!(found.former.map(|(name, site)| json!({ "name": name, "site": site })));
        value
    });
    json_of(&portal, &form.token, found)
}

/// How far an enrolment is.
pub(super) async fn api_enrolment(State(portal): State<Portal>, Path(id): Path<String>) -> JsonAnswer {
    let found = Enrolment::of(&portal.shared.database, &id, portal.shared.now_ms()).await;
    let unknown = || EnrolError::Refused(Why::Unknown, "There is no such enrolment.".into());
    let found = found.and_then(|found| found.ok_or_else(unknown)).map(|it| enrolment_json(&it));
    json_of(&portal, &portal.token, found)
}

pub(super) async fn api_approve(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<NameForm>,
) -> JsonAnswer {
    if portal.check(&form.token).is_some() {
        return json_of(&portal, &form.token, Ok(Value::Null));
    }
    let shared = &portal.shared;
    let done = enrolment::approve(&shared.database, &id, &form.name, &form.site, shared.now_ms()).await;
    json_of(&portal, &form.token, done.map(|()| json!({ "id": id, "state": "press" })))
}

pub(super) async fn api_open(State(portal): State<Portal>, Form(form): Form<WindowForm>) -> JsonAnswer {
    if portal.check(&form.token).is_some() {
        return json_of(&portal, &form.token, Ok(Value::Null));
    }
    let opened = open(&portal, &form).await;
    json_of(&portal, &form.token, opened.map(|id| json!({ "id": id, "state": "open" })))
}

/// How far a window is.
pub(super) async fn api_window(State(portal): State<Portal>, Path(id): Path<String>) -> JsonAnswer {
    let found = enrolment::window(&portal.shared.database, &id, portal.shared.now_ms()).await;
    let unknown = || EnrolError::Refused(Why::Unknown, "There is no such window.".into());
    let found = found.and_then(|found| found.ok_or_else(unknown)).map(|(window, _)| window_json(&window));
    json_of(&portal, &portal.token, found)
}

pub(super) async fn api_pick(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<NumberForm>,
) -> JsonAnswer {
    if portal.check(&form.token).is_some() {
        return json_of(&portal, &form.token, Ok(Value::Null));
    }
    let shared = &portal.shared;
    let picked = enrolment::pick_number(&shared.database, &shared.authority, &id, form.number, shared.now_ms()).await;
    json_of(&portal, &form.token, picked.map(|is_right| json!({ "right": is_right })))
}

pub(super) async fn api_code(State(portal): State<Portal>, Form(form): Form<RegistrationForm>) -> JsonAnswer {
    if portal.check(&form.token).is_some() {
        return json_of(&portal, &form.token, Ok(Value::Null));
    }
    let made = make_code(&portal, &form).await;
    json_of(&portal, &form.token, made.map(|code| json!({ "code": code })))
}
