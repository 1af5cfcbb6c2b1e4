//! The gateway against a stand-in for Stripe that answers as it is told and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::{Billing, BillingError, NewCheckout, PlanChange, When};
use domain::clock::{Clock, MovableClock};
use serde_json::{Value, json};
use webhook_ingest::provider::Provider;

use crate::{BadSettings, Gateway, Limits, Settings};

/// A request as it came in.
#[derive(Debug, Clone)]
struct Got {
    method: Method,
    /// Path and query, decoded.
    path: String,
    /// The form, decoded and in parts.
    form: Vec<String>,
    headers: HeaderMap,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn has(&self, part: &str) -> bool {
        self.form.iter().any(|held| held == part)
    }
}

#[derive(Debug, Clone)]
enum Told {
    Json(u16, Value),
    With(u16, &'static str, &'static str, Value),
    Text(u16, &'static str),
    Silence,
}

/// Answers in the order told, and the last one for good.
#[derive(Clone, Default)]
struct Fake {
    answers: Arc<Mutex<VecDeque<Told>>>,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Fake {
    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn answer(&self, answers: impl IntoIterator<Item = Told>) {
        *self.answers.lock().unwrap() = answers.into_iter().collect();
    }
}

async fn answer(
    State(fake): State<Fake>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = String::from_utf8(body.to_vec()).unwrap();
    let form = form.split('&').filter(|part| !part.is_empty()).map(decoded).collect();
    fake.got.lock().unwrap().push(Got { method, path: decoded(&uri.to_string()), form, headers });
    let told = {
        let mut answers = fake.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    };
    match told.unwrap_or(Told::Json(200, json!({ "id": "obj_1", "url": "https://pay.example/1" }))) {
        Told::Json(status, body) => (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response(),
        Told::With(status, name, value, body) => {
            (StatusCode::from_u16(status).unwrap(), [(name, value)], body.to_string()).into_response()
        }
        Told::Text(status, text) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Told::Silence => std::future::pending().await,
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

const QUICK: Limits = Limits {
    timeout: Duration::from_secs(20),
    attempts: 3,
    pause: Duration::from_millis(1),
    failures: 100,
    rest: Duration::from_mins(10),
};

async fn stripe(limits: Limits) -> (Gateway, Fake) {
    let fake = Fake::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(fake.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let clock: Arc<dyn Clock> = Arc::new(MovableClock::standing_at(noon()));
    let settings = Settings { key: "sk_test_1".to_owned(), base: Some(base), limits };
    (Gateway::new(&settings, clock).unwrap(), fake)
}

fn error(status: u16, code: &str) -> Told {
    Told::Json(status, json!({ "error": { "type": "api_error", "code": code, "message": "No." } }))
}

fn subscription(id: &str) -> Value {
    json!({ "id": id, "object": "subscription", "status": "active", "customer": "cus_1", "items": { "data": [
        { "id": "si_1", "price": { "id": "price_basic" }, "quantity": 1 } ] } })
}

fn change() -> PlanChange {
    PlanChange { subscription: "sub_1".into(), from: vec!["price_basic".into()], to: "price_pro".into() }
}

#[tokio::test]
async fn every_request_carries_the_key_and_the_pinned_version() {
    let (gateway, fake) = stripe(QUICK).await;
    fake.answer([Told::Json(200, subscription("sub_1"))]);
    let found = gateway.subscription(&"sub_1".into()).await.unwrap().unwrap();
    assert_eq!(found.object, subscription("sub_1"), "the answer is Stripe's own words");
    let got = &fake.got()[0];
    assert_eq!(got.line(), "GET /v1/subscriptions/sub_1");
    assert_eq!(got.header("authorization"), "Bearer sk_test_1");
    assert_eq!(got.header("stripe-version"), "2026-09-30.endive");
    assert_eq!(got.header("idempotency-key"), "", "reading needs none");
}

#[tokio::test]
async fn an_answer_is_dated_by_stripes_clock() {
    let (gateway, fake) = stripe(QUICK).await;
    let dated = Told::With(200, "date", "Mon, 23 Nov 2026 09:30:00 GMT", subscription("sub_1"));
    fake.answer([dated]);
    let asked = gateway.subscription(&"sub_1".into()).await.unwrap().unwrap().asked;
    assert_eq!(asked.began, noon());
    let stripes: DateTime<Utc> = "2026-11-23T09:30:00Z".parse().unwrap();
    assert!(asked.as_of <= stripes && asked.as_of > stripes - TimeDelta::minutes(1), "{asked:?}");
}

#[tokio::test]
async fn what_is_not_there_is_nothing_and_no_error() {
    let (gateway, fake) = stripe(QUICK).await;
    fake.answer([error(404, "resource_missing")]);
    assert_eq!(gateway.subscription(&"sub_1".into()).await, Ok(None));
    assert_eq!(gateway.object("cus_1").await, Ok(None));
    assert_eq!(fake.got().len(), 2, "asking again would not help");
    assert_eq!(gateway.object("sku_1").await, Ok(None));
    assert_eq!(fake.got().len(), 2, "nothing is asked about kinds we do not use");
}

#[tokio::test]
async fn what_passes_is_tried_again_with_the_same_key() {
    let (gateway, fake) = stripe(QUICK).await;
    for passing in [
        error(500, "x"),
        error(503, "x"),
        error(409, "lock_timeout"),
        error(429, "rate_limit"),
        Told::Text(502, "<html>"),
    ] {
        fake.got.lock().unwrap().clear();
        fake.answer([passing, Told::Json(200, json!({ "id": "cus_1" }))]);
        let made = gateway.create_customer(&"mem_ada".into(), Some("ada@example.com"), "mem_ada-0").await;
        assert_eq!(made, Ok("cus_1".into()));
        let keys: Vec<_> = fake.got().iter().map(|got| got.header("idempotency-key").to_owned()).collect();
        assert_eq!(keys, ["membership-customer-mem_ada-0"; 2]);
    }
}

#[tokio::test]
async fn tries_are_few_and_the_last_word_is_told() {
    let (gateway, fake) = stripe(QUICK).await;
    fake.answer([error(500, "x")]);
    let told = gateway.subscription(&"sub_1".into()).await.unwrap_err();
    assert_eq!(told, BillingError::Unavailable("No.".to_owned()));
    assert_eq!(fake.got().len(), QUICK.attempts);
    fake.answer([error(429, "rate_limit")]);
    let told = gateway.subscription(&"sub_1".into()).await.unwrap_err();
    assert_eq!(told, BillingError::RateLimited { retry_after: None });
}

#[tokio::test]
async fn a_refusal_is_told_with_stripes_words_and_not_repeated() {
    let (gateway, fake) = stripe(QUICK).await;
    for (status, code) in [(400, "parameter_invalid_empty"), (401, "api_key_expired"), (402, "card_declined")]
    {
        fake.got.lock().unwrap().clear();
        fake.answer([error(status, code)]);
        let told = gateway.change_plan(&change(), When::Now, None, "req_1").await.unwrap_err();
        assert_eq!(told, BillingError::Refused { code: code.to_owned(), message: "No.".to_owned() });
        assert_eq!(fake.got().len(), 1);
    }
    fake.answer([Told::With(500, "stripe-should-retry", "false", json!({}))]);
    fake.got.lock().unwrap().clear();
    assert!(gateway.subscription(&"sub_1".into()).await.is_err());
    assert_eq!(fake.got().len(), 1, "Stripe says whether trying again makes sense");
}

#[tokio::test]
async fn the_pause_that_stripe_asks_for_is_kept_and_a_long_one_handed_on() {
    let (gateway, fake) = stripe(QUICK).await;
    let wait = |after| Told::With(429, "retry-after", after, json!({}));
    fake.answer([wait("1"), Told::Json(200, subscription("sub_1"))]);
    let begun = tokio::time::Instant::now();
    assert!(gateway.subscription(&"sub_1".into()).await.is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    fake.answer([wait("600")]);
    let told = gateway.subscription(&"sub_1".into()).await.unwrap_err();
    assert_eq!(told, BillingError::RateLimited { retry_after: Some(Duration::from_mins(10)) });
    assert_eq!(fake.got().len(), 3);
}

#[tokio::test]
async fn silence_ends_in_time() {
    let limits = Limits { timeout: Duration::from_millis(200), attempts: 2, ..QUICK };
    let (gateway, fake) = stripe(limits).await;
    fake.answer([Told::Silence]);
    let told = gateway.subscription(&"sub_1".into()).await.unwrap_err();
    assert_eq!(told, BillingError::Unavailable("it does not answer in time".to_owned()));
    assert_eq!(fake.got().len(), 2);
}

#[tokio::test]
async fn nobody_there_is_told_and_after_some_failures_not_asked_any_more() {
    let limits = Limits { attempts: 1, failures: 3, rest: Duration::from_millis(1_500), ..QUICK };
    let (gateway, fake) = stripe(limits).await;
    fake.answer([error(500, "x")]);
    for _ in 0..3 {
        gateway.subscription(&"sub_1".into()).await.unwrap_err();
    }
    fake.answer([Told::Json(200, subscription("sub_1"))]);
    let told = gateway.subscription(&"sub_1".into()).await.unwrap_err().to_string();
    assert!(told.contains("left alone"), "{told}");
    assert_eq!(fake.got().len(), 3, "nothing is sent while the breaker is open");
    tokio::time::sleep(limits.rest).await;
    assert!(gateway.subscription(&"sub_1".into()).await.is_ok());
    assert!(gateway.subscription(&"sub_1".into()).await.is_ok());
}

#[tokio::test]
async fn refusals_do_not_open_the_breaker() {
    let (gateway, fake) = stripe(Limits { failures: 1, ..QUICK }).await;
    fake.answer([error(400, "x")]);
    for _ in 0..3 {
        gateway.subscription(&"sub_1".into()).await.unwrap_err();
    }
    assert_eq!(fake.got().len(), 3);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_taken_for_nothing() {
    let (gateway, fake) = stripe(QUICK).await;
    fake.answer([Told::Text(200, "<html>")]);
    let told = gateway.events(noon(), None).await.unwrap_err().to_string();
    assert!(told.contains("cannot be read"), "{told}");
}

#[tokio::test]
async fn ids_cannot_lead_elsewhere() {
    let (gateway, fake) = stripe(QUICK).await;
    for id in ["sub_1/../../../x", "sub_1?expand=x", "sub_1#", "sub_%2e"] {
        let told = gateway.subscription(&id.into()).await.unwrap_err();
        assert!(
            matches!(&told, BillingError::Refused { code, .. } if code == "bad_id") || !fake.got().is_empty(),
            "{told}"
        );
    }
    assert!(fake.got().iter().all(|got| got.path.starts_with("/v1/subscriptions/")));
}

#[tokio::test]
async fn lists_are_asked_for_page_by_page_and_kept_as_they_are() {
    let (gateway, fake) = stripe(QUICK).await;
    let text = r#"{"object":"list","data":[{"id":"evt_2",  "created":1},{"id":"evt_1"}],"has_more":true}"#;
    fake.answer([Told::Text(200, text)]);
    let page = gateway.events(noon(), Some("evt_3")).await.unwrap();
    assert!(page.has_more);
    assert_eq!(page.objects[0].get(), r#"{"id":"evt_2",  "created":1}"#, "byte for byte");
    gateway.subscriptions(None, None).await.unwrap();
    gateway.subscriptions(Some(&"cus_1".into()), Some("sub_9")).await.unwrap();
    let got = fake.got();
    let seconds = noon().timestamp();
    for part in ["limit=100", "starting_after=evt_3", &format!("created[gte]={seconds}")] {
        assert!(got[0].path.starts_with("/v1/events?") && got[0].path.contains(part), "{}", got[0].path);
    }
    assert!(got[1].path.contains("status=all") && !got[1].path.contains("customer="), "{}", got[1].path);
    assert!(got[1].path.contains("expand[0]=data.customer"), "with their payers: {}", got[1].path);
    for part in ["status=all", "customer=cus_1", "starting_after=sub_9"] {
        assert!(got[2].path.contains(part), "{}", got[2].path);
    }
}

#[tokio::test]
async fn the_invoice_of_a_payment_is_found_in_new_and_old_ways() {
    let (gateway, fake) = stripe(QUICK).await;
    let list = json!({ "data": [{ "id": "inpay_1", "invoice": "in_1" }], "has_more": false });
    fake.answer([Told::Json(200, list), Told::Json(200, json!({ "id": "in_1" }))]);
    assert_eq!(gateway.invoice_paid_by(&"pi_1".into()).await, Ok(Some(json!({ "id": "in_1" }))));
    let got = fake.got();
    for part in ["/v1/invoice_payments?", "payment[type]=payment_intent", "payment[payment_intent]=pi_1"] {
        assert!(got[0].path.contains(part), "{}", got[0].path);
    }
    assert_eq!(got[1].path, "/v1/invoices/in_1");
    let charge = json!({ "id": "ch_1", "payment_intent": null, "invoice": "in_2" });
    fake.answer([Told::Json(200, charge), Told::Json(200, json!({ "id": "in_2" }))]);
    assert_eq!(gateway.invoice_paid_by(&"ch_1".into()).await, Ok(Some(json!({ "id": "in_2" }))));
    fake.answer([Told::Json(200, json!({ "data": [], "has_more": false }))]);
    assert_eq!(gateway.invoice_paid_by(&"pi_2".into()).await, Ok(None));
}

#[tokio::test]
async fn a_checkout_names_the_member_in_all_three_places() {
    let (gateway, fake) = stripe(QUICK).await;
    let checkout = NewCheckout {
        member: "mem_ada".into(),
        customer: "cus_1".into(),
        price: "price_pro".into(),
        trial_days: Some(14),
        success_url: "https://learn.example/welcome?session={CHECKOUT_SESSION_ID}".to_owned(),
        cancel_url: "https://learn.example/plans".to_owned(),
    };
    let page = gateway.begin_checkout(&checkout, "req_1").await.unwrap();
    assert_eq!((page.session.as_str(), page.url.as_str()), ("obj_1", "https://pay.example/1"));
    let got = &fake.got()[0];
    assert_eq!(
        (got.line().as_str(), got.header("idempotency-key")),
        ("POST /v1/checkout/sessions", "membership-checkout-req_1")
    );
    for part in [
        "mode=subscription",
        "customer=cus_1",
        "client_reference_id=mem_ada",
        "metadata[member_id]=mem_ada",
        "subscription_data[metadata][member_id]=mem_ada",
        "subscription_data[trial_period_days]=14",
        "line_items[0][price]=price_pro",
        "line_items[0][quantity]=1",
        "success_url=https://learn.example/welcome?session={CHECKOUT_SESSION_ID}",
        "cancel_url=https://learn.example/plans",
    ] {
        assert!(got.has(part), "{part} in {:?}", got.form);
    }
}

#[tokio::test]
async fn a_customer_is_bound_to_her_member_from_the_start() {
    let (gateway, fake) = stripe(QUICK).await;
    gateway.create_customer(&"mem_ada".into(), None, "mem_ada-0").await.unwrap();
    gateway.open_portal(&"cus_1".into(), "https://learn.example", "req_2").await.unwrap();
    let got = fake.got();
    assert!(got[0].line() == "POST /v1/customers" && got[0].has("metadata[member_id]=mem_ada"), "{got:?}");
    assert!(!got[0].form.iter().any(|part| part.starts_with("email")), "{:?}", got[0].form);
    assert_eq!(got[1].line(), "POST /v1/billing_portal/sessions");
    assert!(got[1].has("customer=cus_1") && got[1].has("return_url=https://learn.example"));
    assert_eq!(got[1].header("idempotency-key"), "membership-portal-req_2");
}

#[tokio::test]
async fn a_change_at_once_is_previewed_and_made_for_the_same_moment() {
    let (gateway, fake) = stripe(QUICK).await;
    let preview = json!({ "amount_due": 1_234, "currency": "usd",
        "parent": { "subscription_details": { "subscription_proration_date": 1_790_000_000 } } });
    fake.answer([Told::Json(200, subscription("sub_1")), Told::Json(200, preview)]);
    let shown = gateway.preview_change(&change(), None).await.unwrap();
    assert_eq!((shown.due_now, shown.currency.as_str()), (1_234, "usd"));
    fake.answer([Told::Json(200, subscription("sub_1"))]);
    gateway.change_plan(&change(), When::Now, shown.reckoned_at, "req_3").await.unwrap();
    let got = fake.got();
    assert_eq!(got[1].line(), "POST /v1/invoices/create_preview");
    for part in [
        "subscription=sub_1",
        "subscription_details[items][0][id]=si_1",
        "subscription_details[items][0][price]=price_pro",
    ] {
        assert!(got[1].has(part), "{part} in {:?}", got[1].form);
    }
    assert_eq!(got[3].line(), "POST /v1/subscriptions/sub_1");
    for part in [
        "items[0][id]=si_1",
        "items[0][price]=price_pro",
        "payment_behavior=pending_if_incomplete",
        "proration_behavior=always_invoice",
        "proration_date=1790000000",
    ] {
        assert!(got[3].has(part), "{part} in {:?}", got[3].form);
    }
    assert_eq!(got[3].header("idempotency-key"), "membership-change-req_3");
}

#[tokio::test]
async fn of_several_items_the_plan_that_goes_is_replaced_and_nothing_is_guessed() {
    let (gateway, fake) = stripe(QUICK).await;
    let mut several = subscription("sub_1");
    several["items"]["data"] = json!([
        { "id": "si_mug", "price": { "id": "price_mug" } }, { "id": "si_plan", "price": { "id": "price_basic" } },
    ]);
    fake.answer([Told::Json(200, several)]);
    gateway.change_plan(&change(), When::Now, None, "req_4").await.unwrap();
    assert!(fake.got()[1].has("items[0][id]=si_plan"), "{:?}", fake.got()[1].form);
    let stranger = PlanChange { from: vec!["price_other".into()], ..change() };
    let told = gateway.change_plan(&stranger, When::Now, None, "req_5").await.unwrap_err();
    assert!(matches!(&told, BillingError::Refused { code, .. } if code == "no_such_item"), "{told}");
}

#[tokio::test]
async fn a_change_with_the_period_is_a_schedule_of_two_phases() {
    let (gateway, fake) = stripe(QUICK).await;
    let schedule = json!({ "id": "sub_sched_1", "status": "active", "phases": [{
        "start_date": 100, "end_date": 200, "trial_end": 200,
        "discounts": [{ "coupon": "half", "discount": "di_1", "promotion_code": null }],
    }] });
    fake.answer([Told::Json(200, subscription("sub_1")), Told::Json(200, schedule)]);
    gateway.change_plan(&change(), When::PeriodEnd, None, "req_6").await.unwrap();
    let got = fake.got();
    assert!(got[1].line() == "POST /v1/subscription_schedules" && got[1].has("from_subscription=sub_1"));
    assert_eq!(got[1].header("idempotency-key"), "membership-schedule-req_6");
    assert_eq!(got[3].line(), "POST /v1/subscription_schedules/sub_sched_1");
    for part in [
        "end_behavior=release",
        "metadata[request_id]=req_6",
        "phases[0][items][0][price]=price_basic",
        "phases[0][start_date]=100",
        "phases[0][end_date]=200",
        "phases[0][trial_end]=200",
        "phases[0][discounts][0][discount]=di_1",
        "phases[1][items][0][price]=price_pro",
        "phases[1][start_date]=200",
        "phases[1][discounts][0][discount]=di_1",
    ] {
        assert!(got[3].has(part), "{part} in {:?}", got[3].form);
    }
    assert!(!got[3].form.iter().any(|part| part.contains("coupon")), "a discount is not begun anew");
    assert_eq!(got[3].header("idempotency-key"), "membership-phases-req_6-sub_sched_1");
}

/// A subscription in a schedule with this name whose next phase sells this.
fn scheduled(made_for: &str, next: &str) -> [Told; 2] {
    let mut held = subscription("sub_1");
    held["schedule"] = json!("sub_sched_1");
    let phase = |price: &str, start: i64| json!({ "start_date": start, "end_date": start + 100, "items": [{ "price": price, "quantity": 1 }] });
    let schedule = json!({ "id": "sub_sched_1", "status": "active", "metadata": { "request_id": made_for },
        "current_phase": { "start_date": 100, "end_date": 200 },
        "phases": [phase("price_older", 0), phase("price_basic", 100), phase(next, 200)] });
    [Told::Json(200, held), Told::Json(200, schedule)]
}

#[tokio::test]
async fn a_change_that_an_attempt_before_has_scheduled_is_left_as_it_is() {
    let (gateway, fake) = stripe(QUICK).await;
    for (made_for, next) in [("req_6", "price_of_an_older_catalogue"), ("req_5", "price_pro")] {
        fake.got.lock().unwrap().clear();
        fake.answer(scheduled(made_for, next));
        gateway.change_plan(&change(), When::PeriodEnd, None, "req_6").await.unwrap();
        let got: Vec<_> = fake.got().iter().map(Got::line).collect();
        assert_eq!(got, ["GET /v1/subscriptions/sub_1", "GET /v1/subscription_schedules/sub_sched_1"]);
    }
}

#[tokio::test]
async fn a_schedule_for_something_else_is_changed_and_not_taken_away_first() {
    let (gateway, fake) = stripe(QUICK).await;
    fake.answer(scheduled("req_5", "price_gold"));
    gateway.change_plan(&change(), When::PeriodEnd, None, "req_6").await.unwrap();
    let got = fake.got();
    assert_eq!((got.len(), got[2].line().as_str()), (3, "POST /v1/subscription_schedules/sub_sched_1"));
    for part in
        ["phases[0][start_date]=100", "phases[1][start_date]=200", "phases[1][items][0][price]=price_pro"]
    {
        assert!(got[2].has(part), "{part} in {:?}", got[2].form);
    }
}

#[tokio::test]
async fn a_schedule_that_stripe_tells_of_from_memory_is_not_taken_for_one_that_is_there() {
    let (gateway, fake) = stripe(QUICK).await;
    let phases = json!([{ "start_date": 100, "end_date": 200 }]);
    let schedule = |status: &str| json!({ "id": "sub_sched_1", "status": status, "phases": phases });
    fake.answer([
        Told::Json(200, subscription("sub_1")),
        Told::Json(200, schedule("active")),
        Told::Json(200, schedule("released")),
    ]);
    let told = gateway.change_plan(&change(), When::PeriodEnd, None, "req_6").await.unwrap_err();
    assert!(matches!(&told, BillingError::Refused { code, .. } if code == "taken_back"), "{told}");
    assert_eq!(fake.got().len(), 3);
}

#[tokio::test]
async fn what_ends_is_not_scheduled_to_go_on_with_another_plan() {
    let (gateway, fake) = stripe(QUICK).await;
    for end in [("cancel_at_period_end", json!(true)), ("cancel_at", json!(500))] {
        fake.got.lock().unwrap().clear();
        let mut held = subscription("sub_1");
        held[end.0] = end.1;
        fake.answer([Told::Json(200, held)]);
        let told = gateway.change_plan(&change(), When::PeriodEnd, None, "req_6").await.unwrap_err();
        assert!(matches!(&told, BillingError::Refused { code, .. } if code == "end_scheduled"), "{told}");
        assert_eq!(fake.got().len(), 1, "nothing is changed");
    }
}

#[tokio::test]
async fn an_end_at_once_whose_answer_was_lost_is_no_refusal_when_it_is_tried_again() {
    let (gateway, fake) = stripe(QUICK).await;
    let held = |status: &str| {
        let mut held = subscription("sub_1");
        held["status"] = json!(status);
        Told::Json(200, held)
    };
    let missing =
        || Told::Json(404, json!({ "error": { "code": "resource_missing", "message": "No such" } }));
    fake.answer([held("active"), missing(), held("canceled")]);
    gateway.cancel(&"sub_1".into(), When::Now, "req_1").await.unwrap();
    let lines: Vec<String> = fake.got().iter().map(Got::line).collect();
    let (look, end) = ("GET /v1/subscriptions/sub_1", "DELETE /v1/subscriptions/sub_1");
    assert_eq!(lines, [look, end, look]);
    fake.answer([held("active"), missing(), held("active")]);
    let told = gateway.cancel(&"sub_1".into(), When::Now, "req_2").await.unwrap_err();
    assert!(matches!(&told, BillingError::Refused { code, .. } if code == "resource_missing"), "{told}");
}

#[tokio::test]
async fn an_end_is_scheduled_made_at_once_and_taken_back_in_the_way_it_was_set() {
    let (gateway, fake) = stripe(QUICK).await;
    let held = |fields: &Value| {
        let mut held = subscription("sub_1");
        held.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Told::Json(200, held)
    };
    let last = || {
        let got = fake.got();
        (got.len(), got.last().unwrap().line(), got.last().unwrap().form.clone())
    };
    fake.answer([held(&json!({ "schedule": "sub_sched_1" }))]);
    gateway.cancel(&"sub_1".into(), When::PeriodEnd, "req_7").await.unwrap();
    assert_eq!(fake.got()[1].line(), "POST /v1/subscription_schedules/sub_sched_1/release");
    assert_eq!(
        last(),
        (3, "POST /v1/subscriptions/sub_1".to_owned(), vec!["cancel_at_period_end=true".to_owned()])
    );
    gateway.cancel(&"sub_1".into(), When::Now, "req_8").await.unwrap();
    assert_eq!((last().0, last().1), (5, "DELETE /v1/subscriptions/sub_1".to_owned()));
    fake.answer([held(&json!({ "status": "canceled" }))]);
    gateway.cancel(&"sub_1".into(), When::Now, "req_8").await.unwrap();
    assert_eq!(last().0, 6, "what has ended is not ended again");
    fake.answer([held(&json!({ "cancel_at_period_end": true, "cancel_at": 5 }))]);
    gateway.resume(&"sub_1".into(), "req_9").await.unwrap();
    assert_eq!(last().2, ["cancel_at_period_end=false"]);
    fake.answer([held(&json!({ "cancel_at_period_end": false, "cancel_at": 5 }))]);
    gateway.resume(&"sub_1".into(), "req_10").await.unwrap();
    assert_eq!(
        (last().1, last().2),
        ("POST /v1/subscriptions/sub_1".to_owned(), vec!["cancel_at=".to_owned()])
    );
    fake.answer([held(&json!({ "status": "paused" }))]);
    gateway.resume(&"sub_1".into(), "req_11").await.unwrap();
    assert_eq!(last().1, "POST /v1/subscriptions/sub_1/resume");
    let before = last().0;
    fake.answer([held(&json!({ "cancel_at": null }))]);
    gateway.resume(&"sub_1".into(), "req_12").await.unwrap();
    assert_eq!(last().0, before + 1, "nothing was scheduled");
}

#[test]
fn bad_settings_are_told_and_never_shown() {
    let clock: Arc<dyn Clock> = Arc::new(MovableClock::standing_at(noon()));
    let settings = |key: &str, base: &str| Settings {
        key: key.to_owned(),
        base: Some(base.to_owned()),
        limits: Limits::default(),
    };
    let new = |settings: &Settings| Gateway::new(settings, clock.clone()).err();
    assert!(matches!(new(&settings("sk_test_1", "api.stripe.com")), Some(BadSettings::Base(_))));
    assert!(matches!(new(&settings("sk_test_1", "ftp://x")), Some(BadSettings::Base(_))));
    assert!(matches!(new(&settings("sk_test_\n", "http://x")), Some(BadSettings::Key)));
    assert!(new(&settings("sk_test_1", "https://api.stripe.com")).is_none());
    assert!(!format!("{:?}", settings("sk_test_secret", "http://x")).contains("secret"));
}
