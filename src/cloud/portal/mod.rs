//! The portal: pages of the fleet for people, the same as JSON for programs. It serves this machine only: a request whose
//! Host is another name is refused (a web page elsewhere could have its name point here), and so is a change without the
//! token that only our own pages know.

mod add;
mod add_pages;
mod alarms;
mod boxes;
mod json;
mod pages;
mod printer;
mod schedule;
mod words;

use axum::Router;
use axum::extract::{Form, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::db::{BoxRow, DeviceRow};
use super::enrolment::{self, EnrolError};
use super::{Shared, intake, now_ms};
use crate::discovery::Ranges;
use crate::sys::random_hex;

/// Longest list of ranges that is taken from a form, in bytes.
const RANGES_MAX_BYTES: usize = 8 * 1024;

#[derive(Debug, Clone)]
struct Portal {
    shared: Shared,
    /// Proves that a change comes from one of our pages.
    token: String,
}

/// Serves people until `stop`.
pub(super) async fn serve(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    let portal = Portal { shared, token: random_hex(16) };
    let routes = Router::new()
        .route("/", get(fleet))
        .route("/fragment", get(fragment))
        .route("/printers/{id}", get(printer_page))
        .route("/printers/{id}/fragment", get(printer_fragment))
        .route("/boxes/{id}/scan", post(scan))
        .route("/boxes/{id}/ping", post(ping))
        .route("/boxes/{id}/ranges", post(ranges))
        .route("/boxes/{id}/schedule", post(schedule::set))
        .route("/boxes/{id}/release", post(release))
        .route("/boxes/{id}/revoke", post(revoke))
        .route("/boxes/{id}/enable", post(enable))
        .route("/boxes/{id}/leave", post(let_go))
        .route("/boxes/{id}/recovery", post(allow_recovery))
        .route("/boxes/{id}/unlock", post(unlock))
        .route("/add", get(add::ways))
        .route("/add/fragment", get(add::ways_fragment))
        .route("/add/code", post(add::type_code))
        .route("/add/boxes/{id}", get(add::box_page))
        .route("/add/boxes/{id}/fragment", get(add::box_fragment))
        .route("/add/boxes/{id}/approve", post(add::approve))
        .route("/add/windows", post(add::open_window))
        .route("/add/windows/{id}", get(add::window_page))
        .route("/add/windows/{id}/fragment", get(add::window_fragment))
        .route("/add/windows/{id}/number", post(add::pick))
        .route("/add/registration", post(add::registration))
        .route("/api/v1/enrolments/find", post(add::api_find))
        .route("/api/v1/enrolments/windows", post(add::api_open))
        .route("/api/v1/enrolments/windows/{id}", get(add::api_window).post(add::api_pick))
        .route("/api/v1/enrolments/registration-codes", post(add::api_code))
        .route("/api/v1/enrolments/{id}", get(add::api_enrolment).post(add::api_approve))
        .route("/api/v1/fleet", get(json::fleet))
        .route("/api/v1/printers/{id}", get(json::printer))
        .route("/healthz", get(async || "ok\n"))
        .layer(from_fn(guard))
        .with_state(portal);
    let server = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = server.await {
        tracing::error!(%error, "the portal ended");
    }
}

/// Refuses other names for this machine, and tells browsers what pages may do.
async fn guard(request: Request, next: Next) -> Response {
    if !is_local(request.headers()) {
        return (StatusCode::MISDIRECTED_REQUEST, "This portal is only reached as localhost.\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'"));
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// What went wrong, for a person; the cause is in the log.
struct Failure(sqlx::Error);

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "the database failed");
        (StatusCode::INTERNAL_SERVER_ERROR, "The database failed; the log says why.\n").into_response()
    }
}

/// A whole page around a view. It may load itself only; its one script and style are let in by a nonce.
fn page(title: &str, fragment: &str, view: maud::Markup) -> Response {
    let nonce = random_hex(16);
    let body = pages::whole(title, fragment, view, &nonce).into_string();
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = Html(body).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Boxes, printers and what is wrong, at one time.
async fn look(portal: &Portal, now_ms: i64) -> Result<(Vec<BoxRow>, Vec<DeviceRow>, Vec<alarms::Alarm>), Failure> {
    let database = &portal.shared.database;
    let boxes = database.boxes(now_ms).await?;
    let devices = database.devices(&boxes, now_ms).await?;
    let alarms = alarms::alarms(&boxes, &devices, &database.gaps().await?, now_ms);
    Ok((boxes, devices, alarms))
}

async fn fleet_view(portal: &Portal) -> Result<maud::Markup, Failure> {
    let now = now_ms();
    let (boxes, devices, alarms) = look(portal, now).await?;
    let listening: Vec<bool> = boxes.iter().map(|b| portal.shared.broker.is_listening(&b.state.id)).collect();
    Ok(pages::fleet(&alarms, &boxes, &listening, &devices, &portal.token, now))
}

async fn fleet(State(portal): State<Portal>) -> Result<Response, Failure> {
    Ok(page("Fleet", "/fragment", fleet_view(&portal).await?))
}

async fn fragment(State(portal): State<Portal>) -> Result<Response, Failure> {
    Ok(Html(fleet_view(&portal).await?.into_string()).into_response())
}

async fn printer_view(portal: &Portal, id: i64) -> Result<Option<maud::Markup>, Failure> {
    let now = now_ms();
    let Some(device) = portal.shared.database.device(id, now).await? else { return Ok(None) };
    let history = portal.shared.database.history(id, "total").await?;
    let events = portal.shared.database.device_events(id).await?;
    Ok(Some(printer::printer(&device, &history, &events, now)))
}

fn no_such_printer() -> Response {
    (StatusCode::NOT_FOUND, "There is no such printer.\n").into_response()
}

async fn printer_page(State(portal): State<Portal>, Path(id): Path<i64>) -> Result<Response, Failure> {
    Ok(match printer_view(&portal, id).await? {
        Some(view) => page("Printer", &format!("/printers/{id}/fragment"), view),
        None => no_such_printer(),
    })
}

async fn printer_fragment(State(portal): State<Portal>, Path(id): Path<i64>) -> Result<Response, Failure> {
    Ok(match printer_view(&portal, id).await? {
        Some(view) => Html(view.into_string()).into_response(),
        None => no_such_printer(),
    })
}

#[derive(Deserialize)]
struct ScanForm {
    token: String,
}

#[derive(Deserialize)]
struct PingForm {
    token: String,
    address: String,
}

#[derive(Deserialize)]
struct RangesForm {
    token: String,
    ranges: String,
}

impl Portal {
    fn check(&self, token: &str) -> Option<Response> {
        let is_ours = ring_equal(token.as_bytes(), self.token.as_bytes());
        let refusal = "This form is not from this portal's page, or the portal was restarted: reload the page.\n";
        (!is_ours).then(|| (StatusCode::FORBIDDEN, refusal).into_response())
    }

    /// Why a form about a box is not taken: it is not from our page, or there is no such box.
    async fn refusal(&self, token: &str, box_id: &str) -> Result<Option<Response>, Failure> {
        if let Some(refusal) = self.check(token) {
            return Ok(Some(refusal));
        }
        let is_known = self.knows(box_id).await?;
        Ok((!is_known).then(|| (StatusCode::NOT_FOUND, "There is no such box.\n").into_response()))
    }

    /// Does what a person has decided of a box, where the form is one of ours; `otherwise` is said where there was nothing to do.
    async fn decide(
        &self,
        token: &str,
        act: impl AsyncFnOnce(&Shared) -> Result<bool, sqlx::Error>,
        otherwise: &'static str,
    ) -> Result<Response, Failure> {
        if let Some(refusal) = self.check(token) {
            return Ok(refusal);
        }
        let is_done = act(&self.shared).await?;
        Ok(if is_done { Redirect::to("/").into_response() } else { (StatusCode::NOT_FOUND, otherwise).into_response() })
    }

    async fn knows(&self, box_id: &str) -> Result<bool, Failure> {
        Ok(self.shared.database.is_welcome(box_id).await?)
    }
}

/// Compares without telling by its time where the difference is.
fn ring_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

async fn scan(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<ScanForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.refusal(&form.token, &id).await? {
        return Ok(refusal);
    }
    portal.shared.scan_now(&id).await?;
    Ok(Redirect::to("/").into_response())
}

/// Somebody has looked at a box that was stopped.
async fn release(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<ScanForm>,
) -> Result<Response, Failure> {
    let released = async |shared: &Shared| intake::release(&shared.database, &id, now_ms()).await;
    portal.decide(&form.token, released, "There is no such box, or it is not stopped.\n").await
}

/// A box is not to connect any more.
async fn revoke(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<ScanForm>,
) -> Result<Response, Failure> {
    let revoked = async |shared: &Shared| shared.revoke(&id).await;
    portal.decide(&form.token, revoked, "There is no such box, or it is turned away already.\n").await
}

/// A box that was turned away may connect again.
async fn enable(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<ScanForm>,
) -> Result<Response, Failure> {
    let enabled = async |shared: &Shared| shared.database.enable(&id).await;
    portal.decide(&form.token, enabled, "There is no such box, or it is not turned away.\n").await
}

/// A box is to be nobody's: it is told so until it has left.
async fn let_go(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<ScanForm>,
) -> Result<Response, Failure> {
    decided(
        &portal,
        &form.token,
        async |shared| shared.release_box(&id).await,
        "There is no such box, or it has left.\n",
    )
    .await
}

/// A box whose certificate has ended may come back once more.
async fn allow_recovery(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<ScanForm>,
) -> Result<Response, Failure> {
    let allow = async |shared: &Shared| enrolment::allow_recovery(&shared.database, &id, shared.now_ms()).await;
    decided(&portal, &form.token, allow, "There is no such box, or it was taken in by files.\n").await
}

async fn decided(
    portal: &Portal,
    token: &str,
    act: impl AsyncFnOnce(&Shared) -> Result<bool, EnrolError>,
    otherwise: &'static str,
) -> Result<Response, Failure> {
    let act = async |shared: &Shared| match act(shared).await {
        Ok(is_done) => Ok(is_done),
        Err(EnrolError::Database(error)) => Err(error),
        Err(_) => Ok(false),
    };
    portal.decide(token, act, otherwise).await
}

#[derive(Deserialize)]
struct UnlockForm {
    token: String,
    challenge: String,
}

/// Somebody stands at the console of a disabled box.
async fn unlock(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<UnlockForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.check(&form.token) {
        return Ok(refusal);
    }
    let shared = &portal.shared;
    let answer = match enrolment::unlock_answer(&shared.database, &id, &form.challenge, shared.now_ms()).await {
        Ok(answer) => Ok(answer),
        Err(EnrolError::Refused(_, words)) => Err(words.into_owned()),
        Err(EnrolError::Database(error)) => return Err(Failure(error)),
        Err(EnrolError::Authority(_)) => Err("The cloud cannot answer at the moment.".to_owned()),
    };
    Ok(page("Unlock", "", boxes::unlock_answer(&form.challenge, &answer)))
}

async fn ping(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<PingForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.refusal(&form.token, &id).await? {
        return Ok(refusal);
    }
    let Ok(address) = form.address.trim().parse() else {
        return Ok((StatusCode::BAD_REQUEST, "This is not an IP address, as 10.0.0.7 or fd00::7.\n").into_response());
    };
    portal.shared.ping_now(&id, address).await?;
    Ok(Redirect::to("/").into_response())
}

async fn ranges(
    State(portal): State<Portal>,
    Path(id): Path<String>,
    Form(form): Form<RangesForm>,
) -> Result<Response, Failure> {
    if let Some(refusal) = portal.check(&form.token) {
        return Ok(refusal);
    }
    if form.ranges.len() > RANGES_MAX_BYTES || !portal.knows(&id).await? {
        return Ok((StatusCode::BAD_REQUEST, "There is no such box, or the list is too long.\n").into_response());
    }
    let items: Vec<&str> = form.ranges.split(['\n', ',', ' ']).map(str::trim).filter(|item| !item.is_empty()).collect();
    if let Err(error) = Ranges::parse(&items) {
        return Ok((StatusCode::BAD_REQUEST, format!("{error}\n")).into_response());
    }
    portal.shared.database.set_ranges(&id, &items.join("\n")).await?;
    portal.shared.broker.wake(&id);
    Ok(Redirect::to("/").into_response())
}
