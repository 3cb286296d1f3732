//! Somebody in the portal types the code that a box shows, sees what box it is, and wants it.

use super::rows::{self, Enrolment, State};
use super::start::USER_CODE_LETTERS;
use super::{EnrolError, TENANT, Why, check, limits, refused, take_in};
use crate::cloud::db::Database;
use crate::enroll::letters;

/// A box that waits for a person.
#[derive(Debug, Clone)]
pub(in crate::cloud) struct Found {
    pub enrolment: Enrolment,
    /// The box of this tenant that had this serial number before: its name and site.
    pub former: Option<(String, String)>,
}

/// Finds the box that shows this code. `account` is who types.
///
/// # Errors
/// In words, where there is none, or too many wrong codes were typed.
pub(in crate::cloud) async fn find(
    database: &Database,
    account: &str,
    typed: &str,
    now_ms: i64,
) -> Result<Found, EnrolError> {
    let who = format!("account:{account}");
    let mut tx = database.transaction().await?;
    limits::purge(&mut tx, now_ms).await?;
    let is_guessing = limits::is_guessing(&mut tx, &[&who], now_ms).await?;
    // What cannot be a code is looked up as well: the answer takes the same time.
    let code = letters::parse(typed, USER_CODE_LETTERS).unwrap_or_default();
    let enrolment = rows::by_code(&mut tx, &code, now_ms).await?;
    if is_guessing {
        let words = "Too many wrong codes were typed. Wait a quarter of an hour, then type the code that the box shows by then.";
        return Err(refused(Why::TooMany, words));
    }
    let open = |it: &Enrolment| matches!(it.state, State::Waiting | State::Press | State::Enrolled | State::Done);
    let Some(enrolment) = enrolment.filter(open) else {
        limits::add_wrong(&mut tx, &[&who], now_ms).await?;
        tx.commit().await?;
        let words = "No box shows this code, or not any more: a code holds for 15 minutes. Compare it letter by letter; a box that has a new code shows it.";
        return Err(refused(Why::Unknown, words));
    };
    let former = take_in::former(&mut tx, TENANT, &enrolment.serial).await?;
    if take_in::is_locked(&mut tx, TENANT, &enrolment.serial).await? {
        return Err(refused(Why::Forbidden, take_in::LOCKED));
    }
    tx.commit().await?;
    Ok(Found { enrolment, former: former.map(|former| (former.name, former.site)) })
}

/// Somebody wants the box: whoever stands before it shall press its button. `site` may be empty: the box is alone then, or stays
/// where it was.
///
/// # Errors
/// In words, where the box does not wait any more, or name or site cannot be used.
pub(in crate::cloud) async fn approve(
    database: &Database,
    reference: &str,
    name: &str,
    site: &str,
    now_ms: i64,
) -> Result<(), EnrolError> {
    check_names(name, site)?;
    let mut tx = database.transaction().await?;
    let enrolment = rows::by_reference(&mut tx, reference, now_ms).await?;
    let Some(mut enrolment) = enrolment.filter(|it| it.way == 10 && it.state == State::Waiting) else {
        let words =
            "This box does not wait any more: its code has run out, or somebody has decided. Begin at the box again.";
        return Err(refused(Why::Unknown, words));
    };
    if take_in::is_locked(&mut tx, TENANT, &enrolment.serial).await? {
        return Err(refused(Why::Forbidden, take_in::LOCKED));
    }
    enrolment.state = State::Press;
    TENANT.clone_into(&mut enrolment.tenant);
    site.trim().clone_into(&mut enrolment.site);
    name.trim().clone_into(&mut enrolment.name);
    rows::put(&mut tx, &enrolment).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether name and site can be used; a site may be empty.
pub(super) fn check_names(name: &str, site: &str) -> Result<(), EnrolError> {
    if !check::is_name(name) || !(site.trim().is_empty() || check::is_name(site)) {
        return Err(refused(Why::Invalid, "A box needs a name of 1 to 64 characters; a site has at most 64."));
    }
    Ok(())
}

impl Enrolment {
    /// The enrolment that the portal calls so.
    pub(in crate::cloud) async fn of(
        database: &Database,
        reference: &str,
        now_ms: i64,
    ) -> Result<Option<Self>, EnrolError> {
        let mut tx = database.transaction().await?;
        rows::by_reference(&mut tx, reference, now_ms).await
    }
}
