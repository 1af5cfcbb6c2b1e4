//! What Stripe really sent, in old and new shapes.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::app::{Home, Told};
use tests::stripe::{ADVANCED, BASIC, CATALOG, event};
use tests::{corpus, on_every_store};

const PRICE: &str = "price_1IDQm5JDPojXS6LNM31hxKzp";
const CUSTOMER: &str = "cus_IhGfebO16cMIGN";

/// A place whose catalogue sells `price` as Basic and `product` as Pro.
async fn selling(store: Store, prices: &[&str], products: &[&str]) -> Home {
    let basic = format!("stripe_prices = {}", json!([&["price_demo_basic_month"], prices].concat()));
    let pro = format!("id = \"pro\"\nstripe_products = {}", json!([&["prod_demo_pro"], products].concat()));
    let text = CATALOG.replacen("stripe_prices = [\"price_demo_basic_month\"]", &basic, 1);
    let home = Home::new(store).await.with_catalog(&text.replacen("id = \"pro\"", &pro, 1));
    home.done(&["catalog", "apply", "catalog.toml"]);
    home
}

use tests::app::Store;

fn lines(told: &Told) -> Vec<Value> {
    told.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the corpus is at a plain path")
}

fn at(seconds: &Value) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds.as_i64().expect("a time in seconds"), 0).expect("a time")
}

/// Who explains with what: the reason, the plan, and whether the explanation in words names the event.
fn assert_explained(
    home: &Home,
    member: &str,
    video: &str,
    moment: DateTime<Utc>,
    expected: (&str, Value, &str),
) {
    let (reason, plan, cause) = expected;
    let explained = home.explain_at(member, video, moment);
    let decision = &explained["decision"];
    assert_eq!((&decision["reason"], &decision["plan"]), (&json!(reason), &plan), "{explained:#}");
    let causes: Vec<_> = decision["deciding_events"].as_array().into_iter().flatten().collect();
    assert!(causes.iter().any(|event| event["cause"] == cause), "{cause} is not named in {explained:#}");
    assert!(explained["text"].as_str().is_some_and(|text| text.contains(cause)), "{explained:#}");
}

on_every_store! {
    async fn every_real_event_is_taken_in_and_told_in_a_line(store: Store) {
        for name in ["2020-sync-engine", "2020-ruby-mock"] {
            let Some(folder) = corpus::folder(name) else { return };
            let home = selling(store, &[PRICE], &[]).await;
            home.done(&["member", "create", "--id", "mem_real"]);
            home.done(&["member", "link", "mem_real", "--customer", CUSTOMER]);
            let files = corpus::files(&folder);

            let told = home.done(&["ingest", path(&folder), "--unsigned", "--json"]);
            let lines = lines(&told);
            assert_eq!(lines.len(), files.len(), "{name}");
            let mut outcomes = BTreeMap::new();
            for (line, file) in lines.iter().zip(&files) {
                let event = corpus::read(file);
                // A file without an event's id and type is kept by its hash.
                if event["id"].is_string() && event["type"].is_string() {
                    assert_eq!((&line["id"], &line["type"]), (&event["id"], &event["type"]), "{}", file.display());
                }
                assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
                *outcomes.entry(line["outcome"].as_str().unwrap_or_default()).or_insert(0) += 1;
            }
            assert!(!outcomes.contains_key("failed") && !outcomes.contains_key("pending"), "{outcomes:?}");
            assert!(!told.err.contains("panicked"), "{}", told.err);

            // Told again, all of it is known, and the lines are for people.
            let again = home.done(&["ingest", path(&folder), "--unsigned", "--created-order"]);
            assert_eq!(again.out.lines().count(), files.len());
            for line in again.out.lines() {
                assert!(line.contains("no_change"), "{line}");
            }
            home.done(&["replay", "--verify"]);
        }
    }

    async fn a_real_subscription_of_2021_is_followed_from_its_start_to_its_end(store: Store) {
        let Some(folder) = corpus::folder("2020-sync-engine") else { return };
        let home = selling(store, &[PRICE], &[]).await;
        home.done(&["member", "create", "--id", "mem_sync"]);
        home.done(&["member", "link", "mem_sync", "--customer", CUSTOMER]);
        let file = |name: &str| folder.join(format!("subscription_{name}.json"));
        let ingest = |name: &str| {
            let told = lines(&home.done(&["ingest", path(&file(name)), "--unsigned", "--json"]));
            assert_eq!(told[0]["outcome"], "applied", "{told:?}");
            let event = corpus::read(&file(name));
            (event["id"].as_str().unwrap_or_default().to_owned(), at(&event["created"]))
        };
        let second = TimeDelta::seconds(1);

        let (created, started) = ingest("created");
        assert_explained(&home, "mem_sync", BASIC, started + second, ("subscription", json!("basic"), &created));
        assert_explained(&home, "mem_sync", ADVANCED, started + second, ("plan_too_low", json!("basic"), &created));
        assert_eq!(home.explain_at("mem_sync", BASIC, started - second)["decision"]["reason"], "no_membership");

        let (deleted, ended) = ingest("deleted");
        assert_explained(&home, "mem_sync", BASIC, ended, ("ended", json!("basic"), &deleted));
        assert_explained(&home, "mem_sync", BASIC, ended - second, ("subscription", json!("basic"), &created));

        // Another subscription of the same customer, first seen by an update from before.
        let (updated, changed) = ingest("updated");
        assert_explained(&home, "mem_sync", BASIC, changed + second, ("subscription", json!("basic"), &updated));
        assert_explained(&home, "mem_sync", BASIC, ended + second, ("subscription", json!("basic"), &updated));
        let sources = home.explain_at("mem_sync", BASIC, ended + second)["sources"].clone();
        let told: Vec<_> = sources.as_array().into_iter().flatten().map(|source| &source["status"]).collect();
        assert_eq!(told.len(), 2, "{sources}");
        assert!(told.contains(&&json!("active")) && told.contains(&&json!("canceled")), "{sources}");

        let words = home.cli(&["explain", "mem_sync", "--video", BASIC]);
        assert_eq!(words.code, 0);
        assert!(words.out.contains(&updated), "{}", words.out);
    }

    async fn real_subscriptions_of_2025_are_followed_through_created_updated_and_deleted(store: Store) {
        let Some(folder) = corpus::folder("2025-clover-objects") else { return };
        let files = corpus::files(&folder);
        let objects: Vec<Value> = files.iter().map(|file| corpus::read(file)).collect();
        let subscriptions: Vec<&Value> =
            objects.iter().filter(|object| object["object"] == "subscription").collect();
        assert_eq!(subscriptions.len(), 6);
        let text = |object: &Value, pointer: &str| -> String {
            object.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned()
        };
        // Half of them are found by their price, as Basic, the others by their product, as Pro.
        let (by_price, by_product) = subscriptions.split_at(3);
        let prices: Vec<String> = by_price.iter().map(|object| text(object, "/items/data/0/price/id")).collect();
        let products: Vec<String> =
            by_product.iter().map(|object| text(object, "/items/data/0/price/product")).collect();
        let home = selling(
            store,
            &prices.iter().map(String::as_str).collect::<Vec<_>>(),
            &products.iter().map(String::as_str).collect::<Vec<_>>(),
        )
        .await;

        for (number, object) in subscriptions.iter().enumerate() {
            let member = format!("mem_clover_{number}");
            let plan = if number < 3 { "basic" } else { "pro" };
            home.done(&["member", "create", "--id", &member]);
            home.done(&["member", "link", &member, "--customer", &text(object, "/customer")]);
            let began = at(&object["start_date"]);
            let live = json!({ "status": "active", "ended_at": null, "canceled_at": null });
            let created = tests::stripe::changed(
                event(&format!("evt_{number}_created"), "customer.subscription.created", began, object),
                &live,
            );
            let changed_at = began + TimeDelta::seconds(2);
            let mut updated = tests::stripe::changed(
                event(&format!("evt_{number}_updated"), "customer.subscription.updated", changed_at, object),
                &live,
            );
            updated["data"]["object"]["cancel_at"] = object["items"]["data"][0]["current_period_end"].clone();
            updated["data"]["previous_attributes"] = json!({ "cancel_at": null });
            let ended_at = if object["ended_at"].is_null() { began + TimeDelta::days(3) } else { at(&object["ended_at"]) };
            let gone = json!({ "status": "canceled", "ended_at": ended_at.timestamp() });
            let deleted = tests::stripe::changed(
                event(&format!("evt_{number}_deleted"), "customer.subscription.deleted", ended_at, object),
                &gone,
            );
            let moments = [
                (created, began, "subscription", "created"),
                (updated, changed_at, "cancels_later", "updated"),
                (deleted, ended_at, "ended", "deleted"),
            ];
            for (event, moment, reason, step) in moments {
                let file = home.write(&format!("{number}-{step}.json"), &event.to_string());
                let told = lines(&home.done(&["ingest", path(&file), "--unsigned", "--json"]));
                assert_eq!(told[0]["outcome"], "applied", "{told:?}");
                let cause = format!("evt_{number}_{step}");
                assert_explained(&home, &member, BASIC, moment, (reason, json!(plan), &cause));
            }
        }

        for (number, object) in objects.iter().filter(|object| object["object"] == "invoice").enumerate() {
            let paid = event(&format!("evt_invoice_{number}"), "invoice.paid", at(&object["created"]), object);
            let file = home.write(&format!("invoice-{number}.json"), &paid.to_string());
            let told = lines(&home.done(&["ingest", path(&file), "--unsigned", "--json"]));
            assert!(!["failed", "pending"].contains(&told[0]["outcome"].as_str().unwrap_or_default()), "{told:?}");
        }
    }
}
