//! A small stand-in for Stripe's API: lists, pages and single objects, as the service asks for them. It runs on a thread of its
//! own, since a test that runs a command to its end waits for it.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::app::Home;

/// Stripe, as far as it is asked.
#[derive(Debug, Clone)]
pub struct FakeStripe {
    /// Its address.
    pub url: String,
    world: Arc<Mutex<World>>,
}

#[derive(Debug, Default)]
struct World {
    /// Oldest first.
    events: Vec<Value>,
    subscriptions: BTreeMap<String, Value>,
    objects: BTreeMap<String, Value>,
    asked: Vec<String>,
    page: usize,
    down: bool,
    /// Down after so many answers.
    answers_left: Option<usize>,
}

impl FakeStripe {
    /// Starts one in which nothing has happened.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let fake = Self { url, world: Arc::new(Mutex::new(World { page: 100, ..World::default() })) };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                listener.set_nonblocking(true)?;
                axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
            })
        });
        fake
    }

    /// The same place, with a key for this Stripe and nothing that is asked by itself.
    pub fn known_to(&self, home: &Home) -> Home {
        home.clone()
            .with("STRIPE_SECRET_KEY", "sk_test_scenarios")
            .with("STRIPE_API_BASE", &self.url)
            .with("BACKFILL_EVERY", "off")
            .with("RECONCILE_EVERY", "off")
    }

    /// These events have happened: it lists them, and has the subscriptions they tell of as the latest of them says.
    pub fn happened<'e>(&self, events: impl IntoIterator<Item = &'e Value>) {
        let mut world = self.world();
        for event in events {
            let object = &event["data"]["object"];
            if object["object"] == "subscription" {
                let id = object["id"].as_str().expect("subscriptions have ids").to_owned();
                world.subscriptions.insert(id, object.clone());
            }
            world.events.push(event.clone());
        }
        world.events.sort_by_key(|event| event["created"].as_i64());
    }

    /// Changes a subscription without an event.
    pub fn change(&self, subscription: &str, change: impl FnOnce(&mut Value)) {
        change(self.world().subscriptions.get_mut(subscription).expect("it has the subscription"));
    }

    /// Has another subscription without an event.
    pub fn add(&self, subscription: &Value) {
        let id = subscription["id"].as_str().expect("subscriptions have ids").to_owned();
        self.world().subscriptions.insert(id, subscription.clone());
    }

    /// Loses a subscription, as when test data are deleted.
    pub fn forget(&self, subscription: &str) {
        self.world().subscriptions.remove(subscription);
    }

    /// Has any other object.
    pub fn keep(&self, object: &Value) {
        let id = object["id"].as_str().expect("objects have ids").to_owned();
        self.world().objects.insert(id, object.clone());
    }

    /// Answers with this many at most in a page.
    pub fn pages_of(&self, page: usize) {
        self.world().page = page;
    }

    /// Answers 500 from now on, or no longer.
    pub fn is_down(&self, down: bool) {
        let mut world = self.world();
        (world.down, world.answers_left) = (down, None);
    }

    /// Is down after so many more answers.
    pub fn goes_down_after(&self, answers: usize) {
        self.world().answers_left = Some(answers);
    }

    /// The paths and queries it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.world().asked.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("nobody panicked with it")
    }
}

async fn answer(
    State(fake): State<FakeStripe>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let mut world = fake.world();
    world.asked.push(uri.to_string());
    if let Some(left) = world.answers_left {
        world.down = left == 0;
        world.answers_left = Some(left.saturating_sub(1));
    }
    if world.down {
        // Whoever asks need not wait for the end of an outage that does not end.
        let error = json!({ "error": { "type": "api_error", "message": "down" } });
        let never = [("stripe-should-retry", "false")];
        return (StatusCode::INTERNAL_SERVER_ERROR, never, Json(error)).into_response();
    }
    match uri.path().trim_start_matches("/v1/").split('/').collect::<Vec<_>>()[..] {
        ["events"] => {
            let since = query.get("created[gte]").and_then(|since| since.parse().ok()).unwrap_or(i64::MIN);
            let new = |event: &&Value| event["created"].as_i64().is_some_and(|created| created >= since);
            world.list(world.events.iter().rev().filter(new), &query)
        }
        ["subscriptions"] => {
            let of =
                |held: &&Value| query.get("customer").is_none_or(|customer| held["customer"] == **customer);
            world.list(world.subscriptions.values().filter(of), &query)
        }
        ["invoice_payments"] => {
            let intent = query.get("payment[payment_intent]").cloned().unwrap_or_default();
            let pays = |held: &&Value| held["payment"]["payment_intent"] == intent;
            world.list(world.objects.values().filter(pays), &query)
        }
        ["subscriptions", id] => found(world.subscriptions.get(id)),
        [_, id] => found(world.objects.get(id)),
        _ => found(None),
    }
}

impl World {
    fn list<'o>(
        &self,
        objects: impl Iterator<Item = &'o Value>,
        query: &HashMap<String, String>,
    ) -> Response {
        let objects: Vec<&Value> = objects.collect();
        let mut rest = objects.as_slice();
        if let Some(after) = query.get("starting_after") {
            let Some(place) = rest.iter().position(|object| object["id"] == **after) else {
                return missing(StatusCode::BAD_REQUEST);
            };
            rest = &rest[place + 1..];
        }
        let asked = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
        let page = &rest[..rest.len().min(self.page.min(asked))];
        let with_payers = query.values().any(|value| value == "data.customer");
        let shown = |object: &&Value| {
            let mut shown = (*object).clone();
            let payer = object["customer"].as_str().and_then(|payer| self.objects.get(payer));
            if let Some(payer) = payer.filter(|_| with_payers) {
                shown["customer"] = payer.clone();
            }
            shown
        };
        let data: Vec<Value> = page.iter().map(shown).collect();
        Json(json!({ "object": "list", "data": data, "has_more": page.len() < rest.len() })).into_response()
    }
}

fn found(object: Option<&Value>) -> Response {
    object.map_or_else(|| missing(StatusCode::NOT_FOUND), |object| Json(object.clone()).into_response())
}

fn missing(status: StatusCode) -> Response {
    let error =
        json!({ "type": "invalid_request_error", "code": "resource_missing", "message": "No such object" });
    (status, Json(json!({ "error": error }))).into_response()
}
