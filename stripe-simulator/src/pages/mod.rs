//! The pages that a buyer sees: checkout, her bank, and the customer portal. Plain forms that work without scripts.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;

use crate::engine::Paying;
use crate::engine::cards::Card;
use crate::engine::clock::Seconds;
use crate::engine::error::ApiError;
use crate::engine::model::{
    CheckoutSession, Customer, InvoiceStatus, PaymentMethod, PortalSession, Price, Status, Subscription,
};
use crate::http::api::Call;
use crate::http::params::Params;
use crate::simulator::Simulator;

const STYLE: &str = include_str!("../../templates/simulator.css");
/// No scripts, no foreign content; forms may lead back to the shop, wherever that is.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a browser gets.
pub(crate) enum Page {
    Html(u16, String),
    Style,
    Redirect(String),
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        match self {
            Self::Html(status, html) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let fields = [
                    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                    (header::CONTENT_SECURITY_POLICY, POLICY),
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                    (header::REFERRER_POLICY, "no-referrer"),
                    (header::CACHE_CONTROL, "no-store"),
                ];
                (status, fields, html).into_response()
            }
            Self::Style => ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response(),
            Self::Redirect(to) => match to.parse::<axum::http::HeaderValue>() {
                Ok(to) => (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response(),
                Err(_) => {
                    (StatusCode::BAD_REQUEST, "the address to go back to cannot be used").into_response()
                }
            },
        }
    }
}

#[derive(Template)]
#[template(path = "pay.html")]
struct PayPage<'a> {
    session: &'a CheckoutSession,
    lines: Vec<(String, String)>,
    total: String,
    renews: String,
    email: String,
    mistake: Option<&'a str>,
    typed: &'a Typed,
}

/// What somebody had typed when it could not be used.
#[derive(Default)]
struct Typed {
    email: Option<String>,
    number: String,
    iban: String,
    debit: bool,
}

#[derive(Template)]
#[template(path = "authenticate.html")]
struct BankPage<'a> {
    action: String,
    amount: &'a str,
    what: &'a str,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
    back: Option<&'a str>,
}

struct PlanView {
    id: String,
    name: String,
    status: String,
    period_end: String,
    ends: Option<String>,
    next: Option<String>,
    trial_end: Option<String>,
    changeable: bool,
    others: Vec<(String, String)>,
}

struct InvoiceView {
    id: String,
    number: String,
    date: String,
    total: String,
    status: &'static str,
    payable: bool,
    waits_for_bank: bool,
}

#[derive(Template)]
#[template(path = "portal.html")]
struct PortalPage<'a> {
    portal: &'a PortalSession,
    email: String,
    card: Option<String>,
    plans: Vec<PlanView>,
    invoices: Vec<InvoiceView>,
    mistake: Option<&'a str>,
    done: Option<&'static str>,
}

fn html(status: u16, template: &impl Template) -> Page {
    match template.render() {
        Ok(html) => Page::Html(status, html),
        Err(error) => Page::Html(500, format!("<!doctype html><title>Error</title><p>{error}</p>")),
    }
}

fn message(status: u16, title: &str, text: &str, back: Option<&str>) -> Page {
    html(status, &MessagePage { title, text, back })
}

pub(crate) fn money(amount: i64, currency: &str) -> String {
    let sign = if amount < 0 { "−" } else { "" };
    let (whole, cents) = (amount.unsigned_abs() / 100, amount.unsigned_abs() % 100);
    match currency {
        "usd" => format!("{sign}${whole}.{cents:02}"),
        "eur" => format!("{sign}€{whole}.{cents:02}"),
        "gbp" => format!("{sign}£{whole}.{cents:02}"),
        "jpy" | "krw" => format!("{sign}{} {}", amount.unsigned_abs(), currency.to_uppercase()),
        _ => format!("{sign}{whole}.{cents:02} {}", currency.to_uppercase()),
    }
}

fn day(moment: Seconds) -> String {
    DateTime::from_timestamp(moment, 0).map(|day| day.format("%-d %B %Y").to_string()).unwrap_or_default()
}

/// The page for a request that is no call to the API.
pub(crate) fn page(simulator: &mut Simulator, call: &Call) -> Page {
    let segments: Vec<&str> = call.path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["assets", "simulator.css"]) => Page::Style,
        ("GET", []) => message(
            200,
            "Stripe simulator",
            "It speaks Stripe's API under /v1 and is steered under /_sim. Test cards: 4242 4242 4242 4242 is paid, 4000 0000 0000 0002 is declined.",
            None,
        ),
        ("GET", ["pay", id]) => match simulator.engine.find::<CheckoutSession>(id) {
            Ok(session) => pay_page(simulator, &session.clone(), None, &Typed::default()),
            Err(_) => missing("checkout session"),
        },
        ("POST", ["pay", id]) => pay(simulator, id, &call.form),
        ("GET", ["pay", id, "bank"]) => match simulator.engine.open_session(id) {
            Ok(session) => bank_page(&format!("/pay/{id}/bank"), &money(session.amount, &session.currency)),
            Err(error) => closed(&error, None),
        },
        ("POST", ["pay", id, "bank"]) => pay_at_bank(simulator, id, &call.form),
        ("GET", ["portal", id]) => match simulator.engine.find::<PortalSession>(id) {
            Ok(portal) => portal_page(simulator, &portal.clone(), None, done(&call.query)),
            Err(_) => missing("portal session"),
        },
        ("GET", ["portal", id, "bank", invoice]) => {
            let owed = simulator.engine.find::<crate::engine::model::Invoice>(invoice);
            match owed {
                Ok(owed) => {
                    bank_page(&format!("/portal/{id}/bank/{invoice}"), &money(owed.due(), &owed.currency))
                }
                Err(_) => missing("invoice"),
            }
        }
        ("POST", ["portal", id, action @ ..]) => portal_action(simulator, id, action, &call.form),
        _ => message(404, "Not here", "There is no such page in this simulator.", None),
    }
}

fn missing(what: &str) -> Page {
    let text =
        format!("There is no such {what}. Sessions are gone when the simulator is restarted without --data.");
    message(404, "Not found", &text, None)
}

fn closed(error: &ApiError, back: Option<&str>) -> Page {
    message(error.status, "That is no longer possible", &error.message, back)
}

fn bank_page(action: &str, amount: &str) -> Page {
    html(200, &BankPage { action: action.to_owned(), amount, what: "your membership" })
}

fn per(simulator: &Simulator, price: &Price) -> String {
    let interval = price.recurring.map(|interval| (interval.count, interval.unit.name()));
    let product = simulator.engine.store.products.find(&price.product).map_or("", |product| &product.name);
    let amount = money(price.amount, &price.currency);
    match interval {
        Some((1, unit)) => format!("{product}, {amount} per {unit}"),
        Some((count, unit)) => format!("{product}, {amount} every {count} {unit}s"),
        None => format!("{product}, {amount}"),
    }
}

fn pay_page(
    simulator: &Simulator,
    session: &CheckoutSession,
    mistake: Option<&ApiError>,
    typed: &Typed,
) -> Page {
    let back = session.cancel_url.as_deref();
    match session.status.as_str() {
        "complete" => return message(200, "All done", "This checkout is complete.", Some(&after(session))),
        "expired" => {
            return message(410, "Too late", "This checkout has expired. Begin again at the shop.", back);
        }
        _ => {}
    }
    let store = &simulator.engine.store;
    let line = |(id, quantity): &(String, i64)| {
        let price = store.prices.find(id)?;
        Some((
            format!("{quantity} × {}", per(simulator, price)),
            money(price.amount.saturating_mul(*quantity), &price.currency),
        ))
    };
    let starts = match (session.trial_days, session.trial_end) {
        (Some(days), _) => Some(format!("Free for {days} days, then it renews until you cancel.")),
        (None, Some(end)) => Some(format!("Free until {}, then it renews until you cancel.", day(end))),
        (None, None) => None,
    };
    let customer = session.customer.as_deref().and_then(|id| store.customers.find(id));
    let email = customer.and_then(|customer| customer.email.clone()).or(typed.email.clone());
    let email = email.or(session.email.clone());
    let page = PayPage {
        session,
        lines: session.items.iter().filter_map(line).collect(),
        total: money(session.amount, &session.currency),
        renews: starts.unwrap_or_else(|| "It renews until you cancel.".to_owned()),
        email: email.unwrap_or_default(),
        mistake: mistake.map(|error| &*error.message),
        typed,
    };
    html(mistake.map_or(200, |error| error.status), &page)
}

/// Where a buyer goes when she has paid.
fn after(session: &CheckoutSession) -> String {
    session.success_url.replace("{CHECKOUT_SESSION_ID}", &session.id)
}

fn pay(simulator: &mut Simulator, id: &str, form: &str) -> Page {
    let Ok(session) = simulator.engine.find::<CheckoutSession>(id).cloned() else {
        return missing("checkout session");
    };
    if session.status != "open" {
        return pay_page(simulator, &session, None, &Typed::default());
    }
    let mut typed = Typed::default();
    let paid = Params::read(form).and_then(|mut fields| {
        typed.email = fields.filled("email")?;
        typed.debit = fields.filled("method")?.as_deref() == Some("debit");
        typed.number = fields.filled("number")?.unwrap_or_default();
        typed.iban = fields.filled("iban")?.unwrap_or_default();
        let number = if typed.debit { &typed.iban } else { &typed.number };
        let card = if number.is_empty() { None } else { Some(Card::read(number)?) };
        simulator.engine.pay_session(id, card, typed.email.as_deref())
    });
    match paid {
        Ok(Paying::Complete) => Page::Redirect(after(&session)),
        Ok(Paying::Authenticate) => Page::Redirect(format!("/pay/{id}/bank")),
        Err(error) => pay_page(simulator, &session, Some(&error), &typed),
    }
}

fn passed(form: &str) -> Result<bool, ApiError> {
    Ok(Params::read(form)?.word("answer", &["complete", "fail"])?.as_deref() == Some("complete"))
}

fn pay_at_bank(simulator: &mut Simulator, id: &str, form: &str) -> Page {
    let Ok(session) = simulator.engine.open_session(id) else {
        return match simulator.engine.find::<CheckoutSession>(id) {
            Ok(session) => pay_page(simulator, &session.clone(), None, &Typed::default()),
            Err(_) => missing("checkout session"),
        };
    };
    match passed(form).and_then(|passed| simulator.engine.authenticate_session(id, passed)) {
        Ok(()) => Page::Redirect(after(&session)),
        Err(error) => pay_page(simulator, &session, Some(&error), &Typed::default()),
    }
}

/// What the page says after something was done.
fn done(query: &str) -> Option<&'static str> {
    Some(match query.strip_prefix("done=")? {
        "plan" => "Your plan has been changed.",
        "later" => "Your plan changes at the end of the period.",
        "cancel" => "Your membership ends with the period that is paid.",
        "keep" => "Your membership goes on.",
        "card" => "Your new card will be used from now on.",
        "pay" => "Thank you, the invoice is paid.",
        _ => return None,
    })
}

fn portal_page(
    simulator: &Simulator,
    portal: &PortalSession,
    mistake: Option<&ApiError>,
    done: Option<&'static str>,
) -> Page {
    let store = &simulator.engine.store;
    let theirs = store.subscriptions.iter().filter(|kept| kept.customer == portal.customer);
    let plans =
        theirs.rev().filter(|kept| !kept.status.is_over()).map(|kept| plan_view(simulator, kept)).collect();
    let invoices = store.invoices.iter().rev().filter(|kept| kept.customer == portal.customer);
    let invoices = invoices.filter(|kept| kept.status != InvoiceStatus::Draft).take(24).map(|kept| {
        let intent = kept.payment_intent.as_deref().and_then(|id| store.payment_intents.find(id));
        InvoiceView {
            id: kept.id.clone(),
            number: kept.number.clone().unwrap_or_default(),
            date: day(kept.created),
            total: money(kept.total(), &kept.currency),
            status: kept.status.name(),
            payable: kept.status == InvoiceStatus::Open
                && intent.is_none_or(|intent| intent.settles_at.is_none()),
            waits_for_bank: intent.is_some_and(|intent| intent.status == "requires_action"),
        }
    });
    let customer = store.customers.find(&portal.customer);
    let page = PortalPage {
        portal,
        email: customer.and_then(|customer| customer.email.clone()).unwrap_or_default(),
        card: customer.and_then(|customer| card_of(simulator, customer)),
        plans,
        invoices: invoices.collect(),
        mistake: mistake.map(|error| &*error.message),
        done,
    };
    html(mistake.map_or(200, |error| error.status), &page)
}

fn card_of(simulator: &Simulator, customer: &Customer) -> Option<String> {
    let store = &simulator.engine.store;
    let own = store.subscriptions.iter().rev().filter(|kept| kept.customer == customer.id);
    let own = own.filter(|kept| !kept.status.is_over()).find_map(|kept| kept.payment_method.as_ref());
    let method: &PaymentMethod = store.payment_methods.find(own.or(customer.payment_method.as_ref())?)?;
    Some(format!("{} •••• {}", method.card.brand.replace('_', " ").to_uppercase(), method.card.last4))
}

fn plan_view(simulator: &Simulator, kept: &Subscription) -> PlanView {
    let store = &simulator.engine.store;
    let held: Vec<_> = kept.items.iter().map(|item| item.price.as_str()).collect();
    let names: Vec<_> = kept
        .items
        .iter()
        .filter_map(|item| store.prices.find(&item.price))
        .map(|price| per(simulator, price))
        .collect();
    let others = store.prices.iter().filter(|price| {
        price.active
            && price.recurring.is_some()
            && price.currency == kept.currency
            && !held.contains(&price.id.as_str())
    });
    let schedule = kept.schedule.as_deref().and_then(|id| store.schedules.find(id));
    let next = schedule.and_then(|schedule| schedule.phases.get(schedule.current + 1)).and_then(|phase| {
        let price = store.prices.find(&phase.items.first()?.0)?;
        Some(format!("{} from {}", per(simulator, price), day(phase.start)))
    });
    PlanView {
        id: kept.id.clone(),
        name: names.join(" and "),
        status: kept.status.name().replace('_', " "),
        period_end: day(kept.period.end),
        ends: kept.cancel_at.map(day),
        next,
        trial_end: kept.trial_end().filter(|_| kept.status == Status::Trialing).map(day),
        changeable: matches!(kept.status, Status::Active | Status::Trialing | Status::PastDue),
        others: others.map(|price| (price.id.clone(), per(simulator, price))).collect(),
    }
}

fn portal_action(simulator: &mut Simulator, id: &str, action: &[&str], form: &str) -> Page {
    let Ok(portal) = simulator.engine.find::<PortalSession>(id).cloned() else {
        return missing("portal session");
    };
    match act(simulator, &portal, action, form) {
        Ok(done) => Page::Redirect(format!("/portal/{id}{done}")),
        Err(error) => portal_page(simulator, &portal, Some(&error), None),
    }
}

/// Does one thing and says where to go next.
fn act(
    simulator: &mut Simulator,
    portal: &PortalSession,
    action: &[&str],
    form: &str,
) -> Result<String, ApiError> {
    let mut fields = Params::read(form)?;
    // Nobody acts on what is somebody else's.
    let own = |simulator: &Simulator, subscription: &str| {
        let kept = simulator.engine.find::<Subscription>(subscription)?;
        if kept.customer == portal.customer {
            Ok(())
        } else {
            Err(ApiError::missing("subscription", subscription))
        }
    };
    match *action {
        ["card"] => {
            let card = Card::read(&fields.filled("number")?.unwrap_or_default())?;
            simulator.engine.set_card(&portal.customer, card)?;
            Ok("?done=card".to_owned())
        }
        ["pay" | "bank", invoice] => {
            if !simulator.engine.owed(&portal.customer).iter().any(|owed| owed == invoice) {
                return Err(ApiError::missing("invoice", invoice));
            }
            if action[0] == "bank" {
                simulator.engine.authenticate(invoice, passed(form)?)?;
                return Ok("?done=pay".to_owned());
            }
            match simulator.engine.pay_invoice(invoice, None, false, true) {
                Err(error) if error.code.as_deref() == Some("authentication_required") => {
                    Ok(format!("/bank/{invoice}"))
                }
                paid => paid.map(|()| "?done=pay".to_owned()),
            }
        }
        [subscription, "plan"] => {
            own(simulator, subscription)?;
            let price = fields.required("price")?;
            if fields.word("when", &["now", "later"])?.as_deref() == Some("later") {
                simulator.change_plan_at_period_end(subscription, &price)?;
                return Ok("?done=later".to_owned());
            }
            simulator.change_plan(subscription, &price)?;
            Ok("?done=plan".to_owned())
        }
        [subscription, "cancel"] => {
            own(simulator, subscription)?;
            simulator.cancel_in_portal(subscription)?;
            Ok("?done=cancel".to_owned())
        }
        [subscription, "keep"] => {
            own(simulator, subscription)?;
            simulator.cancel_at_period_end(subscription, false)?;
            Ok("?done=keep".to_owned())
        }
        _ => Err(ApiError::new(404, "invalid_request_error", "There is no such action.")),
    }
}
