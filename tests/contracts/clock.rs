//! Clocks: ours and Stripe's run apart, ours is set back, and the calendar has its corners. Everything here reads the one
//! clock that is injected.

use std::sync::Arc;

use api::{Rates, ServiceTokens, TrustedProxies};
use chrono::{DateTime, Days, Months, NaiveDate, TimeDelta, Utc};
use domain::clock::MovableClock;
use domain::metadata::Actor;
use reqwest::Client;
use serde_json::{Value, json};
use server::app::App;
use server::catalog_file;
use server::config::{Config, Role};
use server::keeper::Schedule;
use server::limits::Limits;
use server::serve::{listen, routes, serve};
use tests::stripe::{
    ADVANCED, BASIC, CATALOG, Price, SECRETS, Story, bought, changed, event, events, rfc3339,
};
use webhook_ingest::stripe::signature::{Secrets, sign};

use crate::store::Place;

const TOKEN: &str = "a-token-for-clocks";
const MEMBER: &str = "mem_clock";
const DAY: TimeDelta = TimeDelta::days(1);
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// The service with its real routes under a clock that the test moves.
struct Service {
    app: App,
    clock: Arc<MovableClock>,
    url: String,
    client: Client,
    _place: Place,
}

impl Service {
    async fn at(now: DateTime<Utc>) -> Self {
        Self::on(Place::sqlite(), now).await
    }

    async fn on(place: Place, now: DateTime<Utc>) -> Self {
        let clock = Arc::new(MovableClock::standing_at(now));
        let storage = storage::open(&place.url(), storage::Access::Write, clock.clone()).await.unwrap();
        let app = App::start(storage, clock.clone(), Some(false));
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            database_url: place.url(),
            webhook_secrets: Some(Secrets::parse(&SECRETS.join(",")).unwrap()),
            livemode: Some(false),
            catalog: None,
            service_tokens: ServiceTokens::parse(&format!(
                "clock:access.read+support.read+members.write:{TOKEN}"
            ))
            .unwrap(),
            trusted_proxies: TrustedProxies::default(),
            limits: Limits { rates: Rates::OFF, ..Limits::default() },
            index_snapshot: None,
            billing: None,
            schedule: Schedule::default(),
            sign_in: None,
        };
        let listener = listen(config.listen).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(
            listener,
            routes(&app, &config, Role::All),
            config.limits,
            std::future::pending(),
        ));
        let client = Client::builder().no_proxy().build().unwrap();
        let service = Self { app, clock, url, client, _place: place };
        service.apply(CATALOG).await;
        let body = json!({ "id": MEMBER });
        let made = service.client.post(format!("{}/v1/members", service.url)).bearer_auth(TOKEN).json(&body);
        assert_eq!(made.send().await.unwrap().status(), 201);
        service
    }

    async fn apply(&self, file: &str) {
        let content = catalog_file::parse(file).unwrap_or_else(|_| panic!("{file}"));
        self.app.apply_catalog(content, Actor::system(), &uuid()).await.unwrap();
        self.app.caught_up().await.unwrap();
    }

    /// Posts a body that was signed at a moment.
    async fn post(&self, body: &[u8], signed_at: DateTime<Utc>) -> (u16, Value) {
        let request = self.client.post(format!("{}/webhooks/stripe", self.url)).body(body.to_vec());
        let request = request.header("stripe-signature", sign(SECRETS[1], body, signed_at));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Delivers events that were signed just now.
    async fn deliver<'e>(&self, events: impl IntoIterator<Item = &'e Value>) {
        for event in events {
            let (status, body) = self.post(event.to_string().as_bytes(), self.now()).await;
            assert_eq!(status, 200, "{event}: {body}");
        }
        self.app.worker.drain().await.unwrap();
        self.app.caught_up().await.unwrap();
    }

    fn now(&self) -> DateTime<Utc> {
        domain::clock::Clock::now(self.clock.as_ref())
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(TOKEN);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn check(&self, video: &str) -> Value {
        self.get(&format!("/v1/members/{MEMBER}/access/videos/{video}")).await
    }

    async fn check_at(&self, video: &str, at: &str) -> Value {
        self.get(&format!("/v1/members/{MEMBER}/access/videos/{video}?at={}", at.replace('+', "%2B"))).await
    }

    async fn explain(&self, video: &str, rest: &str) -> Value {
        self.get(&format!("/v1/support/members/{MEMBER}/explain?video={video}{rest}")).await["decision"]
            .clone()
    }

    async fn assert_now(&self, reason: &str) {
        for decision in [self.check(BASIC).await, self.explain(BASIC, "").await] {
            assert_eq!(decision["reason"], reason, "{decision}");
        }
        let verified = projections::verify::verify(
            self.app.storage.feed.as_ref(),
            self.app.storage.views.as_ref(),
            |_| {},
        );
        assert!(verified.await.unwrap().is_equal());
    }
}

/// A command id that no other call has.
fn uuid() -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    format!("apply-{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn moment(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn noon() -> DateTime<Utc> {
    moment("2026-03-10T12:00:00Z")
}

#[tokio::test]
async fn a_signature_counts_for_five_minutes_by_our_clock() {
    let service = Service::at(noon()).await;
    let body =
        |name: &str| event(name, "customer.created", noon(), &json!({ "object": "customer", "id": "cus_1" }));
    let mut status = Vec::new();
    for (name, age) in [("a", 299), ("b", 300), ("c", 301), ("d", 86_400)] {
        let body = body(&format!("evt_{name}")).to_string();
        let (answered, told) = service.post(body.as_bytes(), noon() - TimeDelta::seconds(age)).await;
        assert_eq!(answered == 200, told["code"].is_null(), "{told}");
        status.push((age, answered, told["code"].as_str().unwrap_or_default().to_owned()));
    }
    let bad = || "bad_signature".to_owned();
    let good = String::new;
    assert_eq!(status, [(299, 200, good()), (300, 200, good()), (301, 400, bad()), (86_400, 400, bad())]);
    let kept = service.get("/v1/support/deliveries").await["data"].as_array().unwrap().len();
    assert_eq!(kept, 2, "what was refused is not kept");

    // Our clock is behind: who signed is beyond doubt, and refusing would lose what he says.
    for (name, ahead) in [("e", 299), ("f", 301), ("g", 86_400)] {
        let body = body(&format!("evt_{name}")).to_string();
        let (answered, told) = service.post(body.as_bytes(), noon() + TimeDelta::seconds(ahead)).await;
        assert_eq!(answered, 200, "{ahead}: {told}");
    }
}

#[tokio::test]
async fn a_purchase_that_comes_from_tomorrow_counts_at_once_and_once() {
    let service = Service::at(noon()).await;
    let mut story = Story::new("tomorrow");
    bought(&mut story, MEMBER, Price::BasicMonth, noon() + DAY);
    let told = events(story.clone());
    service.deliver(&told).await;
    service.assert_now("subscription").await;
    service.deliver(&told).await;
    service.assert_now("subscription").await;
    assert_eq!(service.explain(ADVANCED, "").await["reason"], "plan_too_low");
    let sources = service.get(&format!("/v1/support/members/{MEMBER}/explain?video={BASIC}")).await;
    assert_eq!(sources["sources"].as_array().unwrap().len(), 1, "{sources}");

    // The history names both times, since they are far apart.
    let timeline = service.get(&format!("/v1/support/members/{MEMBER}/timeline")).await;
    let entries = timeline["data"].as_array().unwrap();
    let started = entries.iter().find(|entry| entry["event_type"] == "SubscriptionStarted").unwrap();
    assert_eq!(started["occurred_at"], "2026-03-11T12:00:00Z");
    assert_eq!(started["recorded_at"], "2026-03-10T12:00:00Z");
    assert!(started["text"].as_str().unwrap().contains("[learned 2026-03-10T12:00:00Z]"), "{started}");

    // What comes later by her clock comes later, whatever ours says meanwhile.
    let sent = told.len();
    story.change_plan(Price::ProMonth, noon() + DAY + SECOND);
    service.clock.set(noon() + SECOND);
    service.deliver(&events(story.clone())[sent..]).await;
    assert_eq!(service.check(ADVANCED).await["reason"], "subscription");
    story.end(noon() + DAY * 2);
    service.clock.set(noon() + DAY);
    service.deliver(events(story).last()).await;
    service.assert_now("ended").await;
    service.clock.set(noon() + DAY * 5);
    service.assert_now("ended").await;
}

#[tokio::test]
async fn a_purchase_that_comes_from_yesterday_counts_from_yesterday() {
    let service = Service::at(noon()).await;
    let mut story = Story::new("yesterday");
    bought(&mut story, MEMBER, Price::BasicMonth, noon() - DAY);
    service.deliver(&events(story)).await;
    service.assert_now("subscription").await;
    assert_eq!(service.check_at(BASIC, "2026-03-09T12:00:00Z").await["reason"], "subscription");
    assert_eq!(service.check_at(BASIC, "2026-03-09T11:59:59Z").await["reason"], "no_membership");
    let then = service.explain(BASIC, "&at=2026-03-09T12:00:00Z&known_at=2026-03-10T11:59:59Z").await;
    assert_eq!(then["reason"], "no_membership", "nobody knew yet");
}

#[tokio::test]
async fn grace_of_an_attempt_that_comes_from_tomorrow_is_counted_from_the_attempt() {
    let service = Service::at(noon()).await;
    let mut story = Story::new("owes");
    let renewal = noon() + DAY;
    bought(&mut story, MEMBER, Price::BasicMonth, renewal - Months::new(1));
    story.renewal_fails(renewal);
    service.deliver(&events(story)).await;
    service.assert_now("grace").await;
    let until = renewal + TimeDelta::hours(1) + TimeDelta::days(14);
    assert_eq!(service.check(BASIC).await["until"], rfc3339(until));
    service.clock.set(until - TimeDelta::microseconds(1));
    service.assert_now("grace").await;
    service.clock.set(until);
    service.assert_now("past_due").await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_a_day_loses_nothing() {
    let service = Service::at(noon()).await;
    let mut story = Story::new("back");
    bought(&mut story, MEMBER, Price::BasicMonth, noon());
    let sent = events(story.clone()).len();
    service.deliver(&events(story.clone())).await;
    service.apply(&CATALOG.replace("Advanced", "Higher")).await;

    // Our clock is set back; Stripe's goes on.
    service.clock.set(noon() - DAY);
    assert_eq!(service.check(BASIC).await["reason"], "subscription");
    story.change_plan(Price::ProMonth, noon() + SECOND);
    service.deliver(&events(story)[sent..]).await;
    assert_eq!(service.check(ADVANCED).await["reason"], "subscription");
    assert_eq!(service.check(BASIC).await["reason"], "subscription");

    // And catches up: the order of the log is the order that counts.
    service.clock.set(noon() + DAY);
    service.assert_now("subscription").await;
    assert_eq!(service.explain(ADVANCED, "").await["plan"], "pro");
}

#[tokio::test]
async fn a_catalogue_is_whole_though_the_clock_was_set_back_between_its_revisions() {
    let service = Service::at(noon()).await;
    let mut story = Story::new("shop");
    bought(&mut story, MEMBER, Price::BasicMonth, noon() - DAY * 30);
    service.deliver(&events(story)).await;
    // The second revision opens everything to everybody, the third, by an earlier clock, only renames.
    service.clock.set(noon() + SECOND);
    let second = CATALOG.replace("plans = [\"pro\"]", "plans = [\"basic\", \"pro\"]");
    service.apply(&second).await;
    service.clock.set(noon() - DAY);
    service.apply(&second.replace("name = \"Loops\"", "name = \"Hoops\"")).await;
    service.clock.set(noon() - DAY + SECOND);
    assert_eq!(service.check(ADVANCED).await["reason"], "subscription");
    assert_eq!(service.explain(ADVANCED, "").await["reason"], "subscription");
    let then = service.check_at(ADVANCED, "2026-03-09T11:00:00Z").await;
    assert_eq!(then["reason"], "plan_too_low", "before all but the first: {then}");
}

/// The worker's lease and its postponements are moments, and no delivery may wait for a clock that has been set back.
async fn deliveries_are_carried_out_though_the_clock_was_set_back(place: Place) {
    let service = Service::on(place, noon()).await;
    let mut story = Story::new("worker");
    bought(&mut story, MEMBER, Price::BasicMonth, noon() - DAY);
    let told = events(story);
    for event in &told {
        service.post(event.to_string().as_bytes(), noon()).await;
    }
    // A worker takes one and dies; another one's store is away while it tries the next.
    let inbox = &service.app.storage.inbox;
    let lease = std::time::Duration::from_secs(10);
    let taken = inbox.claim(noon(), lease, 2).await.unwrap();
    let why =
        webhook_ingest::inbox::Why { code: "error".to_owned(), detail: "The store was away.".to_owned() };
    inbox.postpone(&taken[1].id, why, noon() + TimeDelta::minutes(10), noon()).await.unwrap();
    service.clock.set(noon() - DAY);
    service.deliver([]).await;
    assert_eq!(inbox.pending().await.unwrap(), 0);
    assert_eq!(service.check(BASIC).await["reason"], "subscription");
}

#[tokio::test]
async fn deliveries_on_sqlite_are_carried_out_though_the_clock_was_set_back() {
    deliveries_are_carried_out_though_the_clock_was_set_back(Place::sqlite()).await;
}

#[tokio::test]
async fn deliveries_on_postgres_are_carried_out_though_the_clock_was_set_back() {
    deliveries_are_carried_out_though_the_clock_was_set_back(Place::postgres().await).await;
}

/// Where Stripe ends the `number`th period of something bought on the anchor: on its day, or the month's last.
fn anchored(anchor: DateTime<Utc>, months: u32) -> DateTime<Utc> {
    anchor + Months::new(months)
}

/// She cancels in the period before `ends_at` and can watch until that very second.
async fn assert_ends(service: &Service, name: &str, begins: DateTime<Utc>, ends_at: DateTime<Utc>) {
    service.clock.set(begins + TimeDelta::minutes(1));
    let mut story = Story::new(name);
    story.create(Price::BasicMonth, "active", begins).checkout(MEMBER, begins);
    story.cancel_at_period_end(begins + SECOND);
    let mut told = events(story);
    for event in told.iter_mut().filter(|event| event["data"]["object"]["object"] == "subscription") {
        event["data"]["object"]["items"]["data"][0]["current_period_end"] = json!(ends_at.timestamp());
        let cancels = event["data"]["object"]["cancel_at_period_end"] == true;
        *event = changed(event.clone(), &json!({ "cancel_at": cancels.then(|| ends_at.timestamp()) }));
    }
    service.deliver(&told).await;
    let decision = service.check(BASIC).await;
    assert_eq!(
        (&decision["reason"], &decision["until"]),
        (&json!("cancels_later"), &json!(rfc3339(ends_at)))
    );
    service.clock.set(ends_at - TimeDelta::microseconds(1));
    service.assert_now("cancels_later").await;
    service.clock.set(ends_at);
    service.assert_now("ended").await;
}

#[tokio::test]
async fn a_period_ends_in_its_second_on_leap_days_and_at_the_ends_of_months() {
    let anchor = moment("2024-01-31T10:30:00Z");
    let service = Service::at(anchor).await;
    let ends: Vec<_> = (0..=3).map(|months| anchored(anchor, months)).collect();
    let days: Vec<_> = ends.iter().map(DateTime::date_naive).collect();
    let day = |month, day| NaiveDate::from_ymd_opt(2024, month, day).unwrap();
    assert_eq!(days, [day(1, 31), day(2, 29), day(3, 31), day(4, 30)], "anchored, not one after the other");
    for (number, period) in ends.windows(2).enumerate() {
        assert_ends(&service, &format!("month{number}"), period[0], period[1]).await;
    }
    // Bought for a year on a leap day: the next is four years away, so it ends on the last day of February.
    let leap = moment("2028-02-29T23:59:59Z");
    assert_eq!(anchored(leap, 12), moment("2029-02-28T23:59:59Z"));
    assert_ends(&service, "year", leap, anchored(leap, 12)).await;
    assert_ends(&service, "leap", anchored(leap, 12), moment("2032-02-29T00:00:00Z")).await;
}

#[tokio::test]
async fn a_moment_with_an_offset_is_the_same_moment() {
    let service = Service::at(noon()).await;
    let begins = moment("2026-03-29T01:00:00Z");
    let mut story = Story::new("summer");
    bought(&mut story, MEMBER, Price::BasicMonth, begins);
    service.clock.set(begins + DAY);
    service.deliver(&events(story)).await;
    // In Vienna the clock goes from 2 to 3 in this very second; in New York it is still the evening before.
    for (at, reason) in [
        ("2026-03-29T03:00:00+02:00", "subscription"),
        ("2026-03-29T01:59:59+01:00", "no_membership"),
        ("2026-03-29T02:00:00+01:00", "subscription"),
        ("2026-03-28T20:59:59-04:00", "no_membership"),
        ("2026-03-28T21:00:00-04:00", "subscription"),
        ("2026-03-29T00:59:59.999999Z", "no_membership"),
        ("2026-03-29T00:59:60Z", "no_membership"),
    ] {
        let decision = service.check_at(BASIC, at).await;
        assert_eq!(decision["reason"], reason, "{at}: {decision}");
        let told = DateTime::parse_from_rfc3339(decision["at"].as_str().unwrap()).unwrap();
        assert_eq!(told, DateTime::parse_from_rfc3339(at).unwrap(), "{at}");
    }
    for out_of_years in ["9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59", "10000-01-01T00:00:00Z"] {
        let refused = service.check_at(BASIC, out_of_years).await;
        assert_eq!(refused["code"], "bad_time", "{out_of_years}: {refused}");
    }
    for (at, reason) in [("9999-12-31T23:59:59Z", "subscription"), ("0000-01-01T00:00:00Z", "no_membership")]
    {
        assert_eq!(service.check_at(BASIC, at).await["reason"], reason, "{at}");
    }
}

#[tokio::test]
async fn moments_that_nobody_meant_break_nothing() {
    let service = Service::at(noon()).await;
    let seconds = [
        (i64::MIN, "subscription"),
        (i64::MAX, "subscription"),
        (-62_167_219_201, "subscription"),
        (253_402_300_800, "subscription"),
        (8_210_266_876_799, "subscription"),
        (253_402_300_799, "cancels_later"),
        (-62_167_219_200, "ended"),
        (-1, "ended"),
        (0, "ended"),
    ];
    for (number, (second, reason)) in seconds.into_iter().enumerate() {
        let mut story = Story::new(&format!("odd{number}"));
        bought(&mut story, MEMBER, Price::BasicMonth, noon() - DAY);
        let mut told = events(story);
        for event in told.iter_mut().filter(|event| event["data"]["object"]["object"] == "subscription") {
            let odd = json!({ "cancel_at": second, "trial_end": second, "start_date": second });
            *event = changed(event.clone(), &odd);
            event["data"]["object"]["items"]["data"][0]["current_period_end"] = json!(second);
            event["data"]["previous_attributes"]["cancel_at"] = json!(second);
        }
        service.deliver(&told).await;
        service.assert_now(reason).await;
        assert_every_moment_can_be_read(&service.check(BASIC).await);
        let timeline = service.get(&format!("/v1/support/members/{MEMBER}/timeline")).await;
        assert_every_moment_can_be_read(&timeline);
        let over = event(
            &format!("evt_over_{number}"),
            "customer.subscription.deleted",
            noon(),
            &told[0]["data"]["object"],
        );
        service.deliver([&changed(over, &json!({ "cancel_at": null, "ended_at": second }))]).await;
        service.assert_now("ended").await;
        // An event made at such a moment is kept, whatever it tells.
        let mut created = told[0].clone();
        created["id"] = json!(format!("evt_made_{number}"));
        created["created"] = json!(second);
        service.deliver([&created]).await;
        service.assert_now("ended").await;
    }
}

fn assert_every_moment_can_be_read(answer: &Value) {
    match answer {
        Value::Object(members) => {
            for (name, value) in members {
                if let (true, Some(text)) =
                    (name.ends_with("_at") || name == "at" || name == "until", value.as_str())
                {
                    assert!(DateTime::parse_from_rfc3339(text).is_ok(), "{name}: {text}");
                }
                assert_every_moment_can_be_read(value);
            }
        }
        Value::Array(items) => items.iter().for_each(assert_every_moment_can_be_read),
        _ => {}
    }
}

#[tokio::test]
async fn a_trial_whose_end_has_passed_goes_on_until_the_provider_ends_it() {
    let service = Service::at(noon()).await;
    let mut story = Story::new("trial");
    let begins = noon() - Days::new(14);
    story.create(Price::BasicMonth, "trialing", begins).checkout(MEMBER, begins);
    service.deliver(&events(story)).await;
    for (now, until) in [
        (noon() - TimeDelta::microseconds(1), json!(rfc3339(noon()))),
        (noon(), Value::Null),
        (noon() + DAY, Value::Null),
    ] {
        service.clock.set(now);
        service.assert_now("trial").await;
        assert_eq!(service.check(BASIC).await["until"], until, "{now}");
    }
}
