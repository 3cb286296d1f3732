//! What each phase makes of an event.

use super::REFUSALS_MAX;
use super::state::{Challenge, Disabled, Effect, Event, Kept, Now, Phase, Stage, State, Validity, Way};

/// How long a code on the console holds, where the cloud says nothing shorter.
pub(super) const CODE_WINDOW_MS: u64 = 15 * 60_000;
/// How long the window of the button is open.
pub(super) const BUTTON_WINDOW_MS: u64 = 120_000;
/// From the certificate to the first contact with it; later than that the enrolment counts as failed.
pub(super) const FIRST_CONTACT_MS: u64 = 60_000;
/// Windows of the button in an hour.
const WINDOWS_AN_HOUR: usize = 3;
/// Tries that the button allows a disabled box, in an hour and in a day.
const RETRIES_AN_HOUR: usize = 1;
const RETRIES_A_DAY: usize = 3;
/// How long a challenge at the console holds, how many wrong answers are taken, and the wait after them.
const CHALLENGE_MS: u64 = 15 * 60_000;
const ANSWERS_MAX: u32 = 5;
const ANSWERS_WAIT_MS: u64 = DAY_MS;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// In the last days of a certificate its renewal is tried every hour, before that every day.
const LAST_DAYS_MS: u64 = 7 * DAY_MS;

/// How many of these times lie within `span_ms` before now. A time that lies ahead counts: the clock has fallen back.
fn within(times: &[u64], span_ms: u64, now: Now) -> usize {
    times.iter().filter(|at| at.saturating_add(span_ms) > now.unix_ms).count()
}

/// Adds now, and forgets what is older than a day. What the clock has fallen back behind counts as now, or it would count for ever.
fn note(times: &mut Vec<u64>, now: Now) {
    times.retain(|at| at.saturating_add(DAY_MS) > now.unix_ms);
    for at in times.iter_mut() {
        *at = (*at).min(now.unix_ms);
    }
    times.push(now.unix_ms);
    while times.len() > WINDOWS_AN_HOUR + RETRIES_A_DAY {
        times.remove(0);
    }
}

pub(super) fn not_now(event: &Event) -> Vec<Effect> {
    match event {
        Event::Ask(_) | Event::Unlock(_) | Event::Answer(_) | Event::HeldTen => {
            vec![Effect::Refuse("the box is just starting or being reset: try again in a minute")]
        }
        _ => Vec::new(),
    }
}

pub(super) fn unclaimed(next: &mut State, event: &Event, now: Now) -> Vec<Effect> {
    match event {
        Event::Ask(way) => {
            if *way == Way::Button && within(&next.kept.windows_unix_ms, HOUR_MS, now) >= WINDOWS_AN_HOUR {
                return vec![Effect::Refuse(
                    "the button has opened three windows within an hour: wait, or use the console",
                )];
            }
            if *way == Way::Button {
                note(&mut next.kept.windows_unix_ms, now);
            }
            let window = if *way == Way::Button { BUTTON_WINDOW_MS } else { CODE_WINDOW_MS };
            next.phase = Phase::Pairing { way: *way, stage: Stage::Asking, until_up_ms: now.up_ms + window };
            next.last_error = None;
            vec![Effect::Begin(*way), Effect::Agree]
        }
        Event::Cancel | Event::Tap => vec![Effect::Refuse("nothing is under way; begin with `claim`")],
        Event::HeldTen | Event::Unlock(_) | Event::Answer(_) => {
            vec![Effect::Refuse("the box is not disabled: it belongs to nobody yet; begin with `claim`")]
        }
        // A certificate that nobody waits for any more.
        Event::NextKept => vec![Effect::DiscardNext],
        _ => Vec::new(),
    }
}

pub(super) fn pairing(next: &mut State, event: Event, now: Now) -> Vec<Effect> {
    let tenant = next.kept.tenant.clone();
    let Phase::Pairing { way, stage, until_up_ms } = &mut next.phase else { return Vec::new() };
    let over = |next: &mut State, why: Option<String>| {
        next.phase = Phase::Unclaimed;
        next.last_error = why;
    };
    match event {
        Event::Began(window_ms) if *stage == Stage::Asking => {
            *stage = Stage::Waiting;
            let most = if *way == Way::Button { BUTTON_WINDOW_MS } else { CODE_WINDOW_MS };
            *until_up_ms = (*until_up_ms).min(now.up_ms.saturating_add(window_ms.min(most)));
            Vec::new()
        }
        Event::SaidPress if *way == Way::Code && *stage == Stage::Waiting => {
            *stage = Stage::Press(false);
            Vec::new()
        }
        Event::SaidNumber(number) if *way == Way::Button && (2..=6).contains(&number) => {
            *stage = Stage::Number(number);
            Vec::new()
        }
        Event::Tap if *stage == Stage::Press(false) => {
            *stage = Stage::Press(true);
            vec![Effect::Confirm, Effect::Agree]
        }
        Event::Tap => vec![Effect::Refuse("nobody in the portal waits for the button yet")],
        Event::SaidEnrolled(_) if *stage == Stage::Asking => Vec::new(),
        Event::SaidEnrolled(whose) if tenant.as_ref().is_some_and(|tenant| *tenant != whose) => {
            let tenant = tenant.unwrap_or_default();
            over(
                next,
                Some(format!(
                    "this box belongs to \"{tenant}\" and was not released by it: release it in that portal first"
                )),
            );
            Vec::new()
        }
        // A box whose key says that nobody stands before it takes nobody's word that somebody does.
        Event::SaidEnrolled(_) if *way == Way::Code && *stage != Stage::Press(true) => Vec::new(),
        Event::SaidEnrolled(_) if *way == Way::Button && !matches!(stage, Stage::Number(_)) => Vec::new(),
        Event::SaidEnrolled(whose) => {
            next.phase = Phase::Enrolling { tenant: whose, until_up_ms: now.up_ms + FIRST_CONTACT_MS };
            vec![Effect::KeepNext]
        }
        Event::SaidNo(why) => {
            over(next, Some(why));
            Vec::new()
        }
        Event::Cancel => {
            over(next, Some("cancelled".to_owned()));
            vec![Effect::Agree]
        }
        Event::Tick if now.up_ms >= *until_up_ms => {
            over(next, Some("nobody has taken the box in time: begin again".to_owned()));
            Vec::new()
        }
        Event::Ask(_) => vec![Effect::Refuse("a pairing is under way already: `cancel` ends it")],
        Event::HeldTen | Event::Unlock(_) | Event::Answer(_) => {
            vec![Effect::Refuse("a pairing is under way: `cancel` ends it")]
        }
        _ => Vec::new(),
    }
}

pub(super) fn enrolling(next: &mut State, event: Event, now: Now) -> Vec<Effect> {
    let Phase::Enrolling { tenant, until_up_ms } = next.phase.clone() else { return Vec::new() };
    let failed = |next: &mut State, why: String| {
        (next.phase, next.has_next, next.last_error) = (Phase::Unclaimed, false, Some(why));
        next.kept.is_first_welcome = false;
        vec![Effect::DiscardNext]
    };
    match event {
        Event::NextKept => {
            next.has_next = true;
            vec![Effect::FirstContact]
        }
        Event::NextNotKept(why) => failed(next, why),
        Event::Welcome if next.has_next => {
            // A number of a contact is used once, and a window counts for an hour, whatever else begins anew.
            let (contacts_reserved, windows_unix_ms) =
                (next.kept.contacts_reserved, std::mem::take(&mut next.kept.windows_unix_ms));
            next.kept = Kept {
                tenant: Some(tenant),
                is_first_welcome: true,
                contacts_reserved,
                windows_unix_ms,
                ..Kept::default()
            };
            vec![Effect::Promote]
        }
        Event::Promoted(validity, generation) => {
            (next.phase, next.has_next, next.kept.generation) = (Phase::Active(validity), false, generation);
            next.kept.is_first_welcome = false;
            vec![Effect::Restart]
        }
        Event::Refused(_, detail) => {
            failed(next, format!("the cloud has taken the box in and then refused it: {detail}"))
        }
        // Written down: the cloud has welcomed it, and there is no way back but a reset.
        Event::Cancel if next.kept.is_first_welcome => {
            vec![Effect::Refuse("the cloud has taken the box in already: wait a minute, or reset it")]
        }
        Event::Cancel => {
            let mut effects = failed(next, "cancelled".to_owned());
            effects.push(Effect::Agree);
            effects
        }
        Event::Tick if now.up_ms >= until_up_ms && !next.kept.is_first_welcome => {
            failed(next, "the cloud has not answered the new box within a minute: begin again".to_owned())
        }
        Event::Ask(_) | Event::HeldTen | Event::Unlock(_) | Event::Answer(_) | Event::Tap => {
            vec![Effect::Refuse("the box is just being enrolled: wait a minute")]
        }
        _ => Vec::new(),
    }
}

pub(super) fn at_work(next: &mut State, event: Event, now: Now) -> Vec<Effect> {
    let (Phase::Active(validity) | Phase::Renewing(validity) | Phase::Expired(validity)) = next.phase else {
        return Vec::new();
    };
    match event {
        Event::Welcome => {
            (next.kept.consecutive, next.kept.disabled, next.kept.may_try_now) = (0, None, false);
            if next.has_next { vec![Effect::Promote] } else { Vec::new() }
        }
        Event::Promoted(validity, generation) => {
            (next.phase, next.has_next, next.kept.renewal_tried_unix_ms) = (Phase::Active(validity), false, 0);
            next.kept.generation = generation;
            Vec::new()
        }
        // The new certificate is no good; the old one may be.
        Event::Refused(..) if next.has_next => {
            next.has_next = false;
            vec![Effect::DiscardNext, Effect::Restart]
        }
        Event::Refused(cause, detail) => {
            next.kept.consecutive = next.kept.consecutive.saturating_add(1);
            next.kept.may_try_now = false;
            if next.kept.consecutive < REFUSALS_MAX {
                return Vec::new();
            }
            next.kept.disabled = Some(Disabled { cause, detail, at_unix_ms: now.unix_ms });
            next.phase = Phase::Disabled;
            vec![Effect::Restart]
        }
        Event::Tick => certificate_at(next, validity, now),
        Event::SaidEnrolled(whose) if next.kept.tenant.as_ref().is_none_or(|tenant| *tenant == whose) => {
            if matches!(next.phase, Phase::Active(_)) { Vec::new() } else { vec![Effect::KeepNext] }
        }
        Event::NextKept => {
            next.has_next = true;
            vec![Effect::Restart]
        }
        Event::NotRenewed(why) | Event::NextNotKept(why) => {
            next.last_error = Some(why);
            Vec::new()
        }
        Event::Ask(_) => vec![Effect::Refuse(
            "this box belongs to somebody: release it in the portal, or reset it (it stays its owner's), before it is claimed",
        )],
        Event::HeldTen | Event::Unlock(_) | Event::Answer(_) => vec![Effect::Refuse("the box is not disabled")],
        Event::Tap | Event::Cancel => vec![Effect::Refuse("nothing is under way")],
        _ => Vec::new(),
    }
}

/// Whether the certificate is to be renewed, or has ended.
fn certificate_at(next: &mut State, validity: Validity, now: Now) -> Vec<Effect> {
    if next.has_next {
        return Vec::new();
    }
    let (phase, effect, every) = if now.unix_ms >= validity.until_unix_ms {
        (Phase::Expired(validity), Effect::Recover, DAY_MS)
    } else if now.unix_ms >= validity.renew_from() {
        let every = if now.unix_ms + LAST_DAYS_MS >= validity.until_unix_ms { HOUR_MS } else { DAY_MS };
        (Phase::Renewing(validity), Effect::Renew, every)
    } else {
        // Also where the clock was ahead and stands right now.
        next.phase = Phase::Active(validity);
        return Vec::new();
    };
    next.phase = phase;
    let tried = next.kept.renewal_tried_unix_ms;
    // A try from before the end was another question. A start is no news: a box that starts again and again must not ask each time.
    let has_ended = tried < validity.until_unix_ms && validity.until_unix_ms <= now.unix_ms;
    let is_due = has_ended || tried > now.unix_ms || tried.saturating_add(every) <= now.unix_ms;
    if !is_due {
        return Vec::new();
    }
    next.kept.renewal_tried_unix_ms = now.unix_ms;
    vec![effect]
}

/// One try, now.
fn one_try(next: &mut State) -> Vec<Effect> {
    next.kept.consecutive = REFUSALS_MAX - 1;
    (next.kept.disabled, next.kept.may_try_now, next.kept.challenge) = (None, true, None);
    vec![Effect::Agree, Effect::Restart]
}

pub(super) fn disabled(next: &mut State, event: Event, now: Now) -> Vec<Effect> {
    match event {
        Event::Ticket => one_try(next),
        Event::HeldTen => {
            if within(&next.kept.retries_unix_ms, HOUR_MS, now) >= RETRIES_AN_HOUR {
                return vec![Effect::Refuse(
                    "the button allows one try an hour: wait, or enable the box in the portal",
                )];
            }
            if within(&next.kept.retries_unix_ms, DAY_MS, now) >= RETRIES_A_DAY {
                return vec![Effect::Refuse("the button allows three tries a day: enable the box in the portal")];
            }
            note(&mut next.kept.retries_unix_ms, now);
            one_try(next)
        }
        Event::Unlock(letters) => {
            if let Some(closed) = next.kept.answers_closed_unix_ms {
                if closed <= now.unix_ms && closed.saturating_add(ANSWERS_WAIT_MS) > now.unix_ms {
                    return vec![Effect::Refuse("five wrong answers: wait a day, or enable the box in the portal")];
                }
                if closed > now.unix_ms {
                    // The clock has fallen back: the day begins anew.
                    next.kept.answers_closed_unix_ms = Some(now.unix_ms);
                    return vec![Effect::Refuse("five wrong answers: wait a day, or enable the box in the portal")];
                }
                (next.kept.answers_closed_unix_ms, next.kept.wrong_answers) = (None, 0);
            }
            next.kept.challenge = Some(Challenge { letters, at_unix_ms: now.unix_ms });
            vec![Effect::Agree]
        }
        Event::Answer(is_right) => {
            let Some(challenge) = next.kept.challenge.clone() else {
                return vec![Effect::Refuse("nothing was asked: begin with `unlock`")];
            };
            let age = now.unix_ms.checked_sub(challenge.at_unix_ms);
            if age.is_none_or(|age| age >= CHALLENGE_MS) {
                next.kept.challenge = None;
                return vec![Effect::Refuse("the challenge is older than 15 minutes: begin anew with `unlock`")];
            }
            if is_right {
                next.kept.wrong_answers = 0;
                return one_try(next);
            }
            next.kept.wrong_answers = next.kept.wrong_answers.saturating_add(1);
            if next.kept.wrong_answers >= ANSWERS_MAX {
                (next.kept.challenge, next.kept.answers_closed_unix_ms) = (None, Some(now.unix_ms));
                return vec![Effect::Refuse("wrong, for the fifth time: wait a day, or enable the box in the portal")];
            }
            vec![Effect::Refuse("wrong: read the challenge again to whoever sits at the portal")]
        }
        Event::Ask(_) => {
            vec![Effect::Refuse("the box is disabled: enable it in the portal, or `unlock` it, or reset it")]
        }
        Event::Tap | Event::Cancel => vec![Effect::Refuse("nothing is under way")],
        _ => Vec::new(),
    }
}
