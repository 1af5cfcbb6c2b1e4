//! What happened to a member, told, explained, compared and exported by the real program.

use reqwest::Method;
use serde_json::{Value, json};
use tests::app::TestApp;
use tests::on_every_store;
use tests::stripe::{ADVANCED, Price, Story, bought, days_ago, event, events, rfc3339};

const ADA: &str = "/v1/support/members/mem_ada";

/// Ada bought Pro; the end of it, ten days ago, is heard of only after two live decisions.
struct Told {
    app: TestApp,
    /// What the live API decided before the end was heard of, and after.
    before: Value,
    after: Value,
    /// The delivery that came late.
    end: String,
    /// The delivery that came twice.
    twice: String,
}

async fn told(store: tests::app::Store) -> Told {
    let app = TestApp::on(store).await;
    app.register("mem_ada").await;
    app.register("mem_bob").await;
    let mut story = Story::new("ada");
    bought(&mut story, "mem_ada", Price::ProMonth, days_ago(20));
    story.end(days_ago(10));
    let mut events = events(story);
    let end = events.pop().expect("an end");
    app.deliver_all(&events).await;
    app.deliver_all([&events[1]]).await;
    let customer = json!({ "object": "discount", "id": "di_1", "customer": "cus_demo_ada" });
    app.deliver_all([&event("evt_coupon", "customer.discount.created", days_ago(15), &customer)]).await;
    let before = app.check("mem_ada", ADVANCED).await;
    app.deliver_all([&end]).await;
    let after = app.check("mem_ada", ADVANCED).await;
    let id = |event: &Value| event["id"].as_str().expect("an id").to_owned();
    Told { before, after, end: id(&end), twice: id(&events[1]), app }
}

impl Told {
    async fn ada(&self, path: &str) -> Value {
        let reply = self.app.get(&format!("{ADA}{path}")).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value:#}"))
}

on_every_store! {
    async fn a_live_decision_is_explained_as_it_was_also_after_something_came_late(store: Store) {
        let told = told(store).await;
        assert_eq!((&told.before["reason"], &told.after["reason"]), (&json!("subscription"), &json!("ended")));
        for decision in [&told.before, &told.after] {
            let (at, position) = (text(decision, "at"), text(decision, "position"));
            let again = told.ada(&format!("/explain?video={ADVANCED}&at={at}&position={position}")).await;
            for field in ["allowed", "reason", "plan", "until", "message", "fix"] {
                assert_eq!(again["decision"][field], decision[field], "{field}");
            }
            assert_eq!(again["up_to"], decision["position"]);
        }
        // The control: by what is known now the first decision would have been another.
        let at = text(&told.before, "at");
        assert_eq!(told.ada(&format!("/explain?video={ADVANCED}&at={at}")).await["decision"]["reason"], "ended");
        let known = told.ada(&format!("/explain?video={ADVANCED}&at={at}&known_at={at}")).await;
        assert_eq!(known["decision"]["reason"], "subscription", "that was known then");
        let reply = told.app.get(&format!("{ADA}/explain?video={ADVANCED}&position=soon")).await;
        assert_eq!((reply.status.as_u16(), &reply.body["code"]), (400, &json!("bad_query")));
        let home = &told.app.home;
        let position = text(&told.before, "position");
        let line = ["explain", "mem_ada", "--video", ADVANCED, "--at", at, "--position", position];
        assert_eq!(home.cli(&line).code, 0, "the command line says so too");
        assert_eq!(home.cli(&line[..6]).code, 1);
    }

    async fn one_verdict_is_said_in_one_sentence_everywhere(store: Store) {
        let told = told(store).await;
        let words = text(&told.after, "message");
        let explained = told.ada(&format!("/explain?video={ADVANCED}")).await;
        assert_eq!(explained["decision"]["message"], words);
        assert_eq!(explained["before"]["to"]["message"], words);
        let deciding = explained["sources"].as_array().expect("sources").iter().find(|source| source["decides"] == true);
        assert_eq!(deciding.expect("one decides")["message"], words);
        for lines in [text(&explained, "text").to_owned(), told.app.home.cli(&["explain", "mem_ada", "--video", ADVANCED]).out] {
            assert_eq!(lines.lines().nth(1).map(str::trim), Some(words), "{lines}");
        }
    }

    async fn a_turn_names_the_one_event_that_made_it(store: Store) {
        let told = told(store).await;
        let flips = told.ada(&format!("/flips?video={ADVANCED}")).await;
        let flips = flips["data"].as_array().expect("flips");
        assert_eq!(flips.len(), 2, "{flips:#?}");
        assert_eq!((&flips[0]["to"]["allowed"], &flips[1]["to"]["allowed"]), (&json!(true), &json!(false)));
        assert_eq!(flips[1]["event"]["cause"], told.end);
        assert_eq!(flips[1]["by_time"], false);
        let lines = told.app.home.done(&["flips", "mem_ada", "--video", ADVANCED]).out;
        assert_eq!(lines.lines().count(), 2, "{lines}");
        let position = text(&flips[1]["event"], "position");
        let event = told.ada(&format!("/events/{position}")).await;
        assert!(text(&event, "before").starts_with("Pro: "), "{event:#}");
        assert!(text(&event, "after").starts_with("Nothing is open."), "{event:#}");
        assert!(text(&event, "delivery_body").contains(&told.end), "the body is kept");
        let reply = told.app.get(&format!("/v1/support/members/mem_bob/events/{position}")).await;
        assert_eq!((reply.status.as_u16(), &reply.body["code"]), (404, &json!("unknown_event")), "it is not his");
    }

    async fn a_difference_says_what_arrived_too_late_to_be_known(store: Store) {
        let told = told(store).await;
        let (from, to) = (text(&told.before, "at"), text(&told.after, "at"));
        let diff = told.ada(&format!("/diff?from={from}&known_from={from}&to={to}")).await;
        assert_eq!(diff["from"]["plan"], "pro");
        assert_eq!(diff["to"]["plan"], json!(null));
        assert!(text(&diff, "sentence").ends_with("arrived later that changed this."), "{}", diff["sentence"]);
        let late = diff["learned_later"].as_array().expect("events");
        assert!(!late.is_empty() && late.iter().all(|entry| entry["cause"] == told.end), "{late:#?}");
        let changes = diff["changes"].as_array().expect("changes");
        assert!(changes.iter().any(|change| change["what"] == "access"), "{changes:#?}");
        let state = told.ada(&format!("/state?at={from}&known_at={from}")).await;
        assert_eq!(state["sentence"], diff["from"]["sentence"]);
        let words = told.app.home.done(&["diff", "mem_ada", "--from", from, "--to", to]).out;
        assert!(words.contains("arrived later"), "{words}");
        assert_eq!(told.app.home.done(&["state", "mem_ada", "--json"]).json()["plan"], json!(null));
    }

    async fn a_story_has_what_arrived_twice_and_what_changed_nothing_with_the_reason(store: Store) {
        let told = told(store).await;
        let page = told.ada("/timeline?group=cause").await;
        let groups = page["data"].as_array().expect("groups");
        let group = |cause: &str| groups.iter().find(|group| group["cause"] == cause).unwrap_or_else(|| panic!("no {cause}"));
        assert_eq!(group(&told.twice)["delivery"]["times_received"], 2);
        assert!(text(group(&told.twice), "sentence").ends_with("(arrived 2 times, counted once)"));
        let coupon = group("evt_coupon");
        assert_eq!((&coupon["entries"], &coupon["delivery"]["outcome"]), (&json!([]), &json!("ignored")));
        assert!(coupon["delivery"]["reason"].is_string(), "{coupon:#}");
        assert_eq!(group(&told.end)["access"]["sentence"], "closes everything");
        let only = told.ada("/timeline?group=cause&kind=deliveries").await;
        assert!(only["data"].as_array().expect("groups").iter().all(|group| group["entries"] == json!([])));
        let flat = told.ada("/timeline?type=Ended").await;
        assert_eq!(flat["data"].as_array().expect("entries").len(), 1, "{flat:#}");
        let words = told.app.home.done(&["timeline", "mem_ada", "--group", "--kind", "access"]).out;
        assert!(words.contains("closes everything"), "{words}");
    }

    async fn a_history_is_exported_whole_and_can_be_read_again(store: Store) {
        let told = told(store).await;
        let entries = told.ada("/timeline").await["data"].as_array().expect("entries").len();
        let json = told.ada("/export").await;
        assert_eq!(json["events"].as_array().expect("events").len(), entries);
        assert!(json["events"].as_array().expect("events").iter().all(|event| event["payload"].is_object()));
        let (status, csv) = told.app.raw(told.app.request(Method::GET, &format!("{ADA}/export?format=csv"))).await;
        assert_eq!(status, 200);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        assert_eq!(reader.headers().expect("columns").len(), 10);
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("every row can be read");
        assert_eq!(rows.len(), entries);
        assert!(rows.iter().any(|row| row[7] == *told.end), "{csv}");
    }

    async fn nobody_is_told_about_who_is_not_a_member(store: Store) {
        let told = told(store).await;
        let from = rfc3339(days_ago(1));
        for path in [
            String::new(),
            "/timeline".to_owned(),
            "/state".to_owned(),
            format!("/explain?video={ADVANCED}"),
            format!("/diff?from={from}"),
            format!("/flips?video={ADVANCED}"),
            "/events/p-1".to_owned(),
            "/export".to_owned(),
        ] {
            let reply = told.app.get(&format!("/v1/support/members/mem_nobody{path}")).await;
            assert_eq!((reply.status.as_u16(), &reply.body["code"]), (404, &json!("unknown_member")), "{path}");
            let (status, _) = told.app.raw(told.app.strange(Method::GET, &format!("{ADA}{path}"))).await;
            assert_eq!(status, 401, "{path}: strangers are told nothing");
            if path != "/events/p-1" {
                told.ada(&path).await;
            }
        }
    }
}
