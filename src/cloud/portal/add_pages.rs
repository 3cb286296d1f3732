//! The pages by which a box is added.

use maud::{Markup, html};

use super::words::duration_words;
use crate::cloud::enrolment::{Enrolment, State, Window, WindowState};
use crate::enroll::words;

fn token_field(token: &str) -> Markup {
    html! { input type="hidden" name="token" value=(token); }
}

/// What was typed into the three forms already, so that nobody types it twice after an error. A label's secret is not sent back.
#[derive(Default)]
pub(super) struct Typed<'a> {
    pub(super) code: &'a str,
    pub(super) window: About<'a>,
    pub(super) registration: About<'a>,
}

/// What a form says of a box.
#[derive(Default, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) serial: &'a str,
    pub(super) name: &'a str,
    pub(super) site: &'a str,
}

/// A field of a form.
struct Field<'a> {
    label: &'a str,
    name: &'a str,
    placeholder: &'a str,
    max: u32,
    is_required: bool,
}

fn text(label: &str, name: &str, placeholder: &str, max: u32, typed: &str) -> Markup {
    field(&Field { label, name, placeholder, max, is_required: false }, typed)
}

fn required(label: &str, name: &str, placeholder: &str, max: u32, typed: &str) -> Markup {
    field(&Field { label, name, placeholder, max, is_required: true }, typed)
}

fn field(it: &Field<'_>, typed: &str) -> Markup {
    let typed = Some(typed).filter(|typed| !typed.is_empty());
    html! {
        label { (it.label)
            input type="text" name=(it.name) placeholder=(it.placeholder) maxlength=(it.max) required[it.is_required] value=[typed] autocomplete="off" spellcheck="false";
        }
    }
}

fn site_and_name(typed: About<'_>) -> Markup {
    html! {
        (required("What you call it", "name", "Reception, ground floor", 64, typed.name))
        (text("Site, if other boxes read the same printers (may be empty)", "site", "Bonn", 64, typed.site))
    }
}

fn error_line(error: Option<&str>) -> Markup {
    html! { @if let Some(error) = error { p.error role="alert" { strong { "That did not work. " } (error) } } }
}

/// The three ways side by side.
pub(super) fn ways(token: &str, error: Option<&str>, typed: &Typed<'_>) -> Markup {
    html! {
        h1 { "Add a box" }
        (error_line(error))
        p.muted.intro { "Three ways; take the one that suits where you are. The box must have power and a network cable." }
        div.ways {
            article {
                h2 { "The box shows a code" }
                p { "You are at its console and typed " code { "claim" } ". It shows eight letters." }
                form.stack method="post" action="/add/code" {
                    (token_field(token))
                    (required("The code", "code", "WDJB-MJHT", 12, typed.code))
                    button type="submit" { "Look at this box" }
                }
            }
            article {
                h2 { "With its button" }
                p { "You have the box in your hands and no cable for its console. Type what stands on its label, open the window, then hold the button for 3 to 6 seconds." }
                form.stack method="post" action="/add/windows" {
                    (token_field(token))
                    (text("Text of the label's QR code …", "label", "PLATEN:PL26-1:0123-4567-89AB-CDEF", 80, ""))
                    (text("… or its serial number", "serial", "PL26-1", 32, typed.window.serial))
                    (text("and its secret", "secret", "0123-4567-89AB-CDEF", 24, ""))
                    (site_and_name(typed.window))
                    button type="submit" { "Open the window" }
                }
            }
            article {
                h2 { "With a one-off code" }
                p { "Somebody else will be at the console, without this portal. Make a code and give it to them; it is typed there after " code { "register" } "." }
                form.stack method="post" action="/add/registration" {
                    (token_field(token))
                    (text("What you call it (may be empty)", "name", "Reception, ground floor", 64, typed.registration.name))
                    (text("Site", "site", "Bonn", 64, typed.registration.site))
                    (text("Only for the box with this serial number (may be empty)", "serial", "PL26-1", 32, typed.registration.serial))
                    button type="submit" { "Make a code" }
                }
            }
        }
    }
}

fn who(it: &Enrolment) -> Markup {
    html! {
        dl {
            dt { "Serial number" } dd { (it.serial) }
            dt { "Model" } dd { (it.model) }
            dt { "Firmware" } dd { (it.firmware) }
            dt { "Asks from" } dd { (it.address) }
            dt { "Words of its key" } dd { strong { (words(&it.bound_key)) } }
        }
    }
}

fn enrolled(is_used: bool) -> Markup {
    html! {
        p.step.done role="status" { @if is_used { "It is added, and has reported with its own certificate." } @else { "It is added. It fetches its certificate now and reports within a few minutes." } }
        p { a.button href="/" { "To the fleet" } }
    }
}

fn over(message: &str) -> Markup {
    html! {
        p.error role="alert" { strong { "It was not added. " } (message) }
        p { a.button href="/add" { "Begin again" } }
    }
}

/// The box that showed a code.
pub(super) fn found(it: &Enrolment, former: Option<&str>, token: &str, error: Option<&str>) -> Markup {
    html! {
        h1 { "Add a box" }
        (error_line(error))
        article.narrow {
            (who(it))
            @match it.state {
                State::Waiting => {
                    p { "The console shows the same four words? Then this is the box before you." }
                    @if let Some(former) = former {
                        p.notice { "This serial number is your box “" (former) "” already. If it was reset, go on: it stays the same box, with all that it has delivered. If it was not, somebody else says that he has it: do not go on." }
                    }
                    form.stack method="post" action={ "/add/boxes/" (it.reference) "/approve" } {
                        (token_field(token))
                        (site_and_name(About::default()))
                        button type="submit" { "Yes, add this box" }
                    }
                }
                State::Press | State::Number => { p.step role="status" { "Now press the button of the box briefly. Its LED asks for it." } }
                State::Enrolled => (enrolled(false)),
                State::Done => (enrolled(true)),
                State::Refused => (over(&it.message)),
                State::Expired => (over("Its code has run out before somebody pressed the button. Ask the box for a new one.")),
            }
        }
    }
}

/// A window that waits for a box whose button is held.
pub(super) fn window(window: &Window, claim: Option<&Enrolment>, token: &str, now_ms: i64) -> Markup {
    html! {
        h1 { "Add a box" }
        article.narrow {
            p { "Serial number " strong { (window.serial) } ", to be called " strong { (window.name) } "." }
            @match window.state {
                WindowState::Open => {
                    p.step role="status" { "Now hold the button of the box for 3 to 6 seconds, until its LED shows that it asks." }
                    p.muted { "The window closes in " (duration_words((window.expires_ms - now_ms) / 10_000 * 10_000)) "." }
                }
                WindowState::Number => {
                    p.step { "How often does the LED blink between two pauses?" }
                    form.numbers method="post" action={ "/add/windows/" (window.id) "/number" } {
                        (token_field(token))
                        @for number in 2..=6 { button type="submit" name="number" value=(number) { (number) } }
                    }
                    p.muted { "Look carefully: after a wrong number the window is closed." }
                }
                WindowState::Enrolled => (enrolled(claim.is_some_and(|claim| claim.state == State::Done))),
                WindowState::Closed => (over(&window.message)),
            }
        }
    }
}

/// A one-off code, which is shown once.
pub(super) fn code(code: &str, site: &str, serial: &str) -> Markup {
    html! {
        h1 { "Add a box" }
        article.narrow {
            p { "The code, for one box within 24 hours"
                @if !site.trim().is_empty() { ", at " strong { (site.trim()) } }
                @if !serial.trim().is_empty() { ", with the serial number " strong { (serial.trim()) } }
                ":" }
            p.code { (code) }
            p { "At the console of the box: " code { "register " (code) } }
            p.muted { "It is not shown again. Whoever has it can add one box of his to your fleet: give it only to people you trust." }
            p { a.button href="/" { "To the fleet" } a href="/add" { "Add another" } }
        }
    }
}
