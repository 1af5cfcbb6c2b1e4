//! The index is kept in a file between starts. It is only ever a shorter way to the same answers.

use std::fs;

use serde_json::Value;
use tests::app::{Home, Store, TestApp};
use tests::on_every_store;
use tests::stripe::{ADVANCED, Price, Story, days_ago, events};

const FROM_FILE: &str = "access index read from its file";
const FROM_LOG: &str = "reading the whole log instead";

async fn buy(app: &TestApp, name: &str) -> Story {
    let (member, mut story) = (format!("mem_{name}"), Story::new(name));
    app.register(&member).await;
    app.link(&member, story.customer_id()).await;
    story.create(Price::ProMonth, "active", days_ago(9));
    app.deliver_all(&events(story.clone())).await;
    assert_eq!(reason(app, name).await, "subscription");
    story
}

async fn end(app: &TestApp, mut story: Story) {
    story.end(days_ago(2));
    app.deliver_all(&events(story)).await;
}

async fn reason(app: &TestApp, name: &str) -> Value {
    app.check(&format!("mem_{name}"), ADVANCED).await["reason"].clone()
}

async fn home(store: Store) -> Home {
    let home = Home::new(store).await;
    let file = home.path("index").display().to_string();
    home.with("INDEX_SNAPSHOT", &file)
}

/// How the service came to its index: the lines of its log that tell.
fn told(app: &TestApp, words: &str) -> usize {
    app.log().matches(words).count()
}

on_every_store! {
    async fn a_start_from_the_file_and_the_rest_of_the_log_answers_as_one_from_the_whole_log(store: Store) {
        let home = home(store).await;
        let mut app = home.serve().await;
        assert_eq!((told(&app, FROM_FILE), told(&app, FROM_LOG)), (0, 0), "there is none yet, which is nothing to warn of");
        let ada = buy(&app, "ada").await;
        // A payer who is nobody's yet has to be in the file, too.
        let mut eve = Story::new("eve");
        eve.create(Price::ProMonth, "active", days_ago(9));
        app.deliver_all(&events(eve.clone())).await;
        assert_eq!(app.stop("TERM"), Some(0));
        assert!(home.path("index").exists() && !home.path("index.new").exists());

        // What happens without the service is in the rest of the log.
        home.done(&["member", "create", "--id", "mem_eve"]);
        home.done(&["member", "link", "mem_eve", "--customer", eve.customer_id()]);
        let mut app = home.serve().await;
        assert_eq!((told(&app, FROM_FILE), told(&app, FROM_LOG)), (1, 0), "{}", app.log());
        app.settled().await;
        assert_eq!((reason(&app, "ada").await, reason(&app, "eve").await), ("subscription".into(), "subscription".into()));
        end(&app, ada).await;
        assert_eq!(reason(&app, "ada").await, "ended");

        // Killed, it starts from the older file; stopped, from the newest.
        for signal in ["KILL", "TERM"] {
            app.stop(signal);
            app = home.serve().await;
            assert_eq!((told(&app, FROM_FILE), told(&app, FROM_LOG)), (1, 0), "{signal}: {}", app.log());
            assert_eq!((reason(&app, "ada").await, reason(&app, "eve").await), ("ended".into(), "subscription".into()));
        }
        home.done(&["replay", "--verify"]);
    }

    async fn a_file_of_another_log_is_not_used(store: Store) {
        let (mine, theirs) = (home(store).await, home(store).await);
        let (mut one, mut other) = (mine.serve().await, theirs.serve().await);
        buy(&one, "ada").await;
        let ada = buy(&other, "ada").await;
        end(&other, ada).await;
        one.stop("TERM");
        other.stop("TERM");
        fs::copy(theirs.path("index"), mine.path("index")).expect("the file can be copied");
        let one = mine.serve().await;
        assert_eq!((told(&one, FROM_FILE), told(&one, FROM_LOG)), (0, 1), "{}", one.log());
        assert_eq!(reason(&one, "ada").await, "subscription", "theirs has ended, mine has not");
    }
}

#[tokio::test]
async fn a_file_that_knows_more_than_the_log_is_not_used() {
    let home = home(Store::Sqlite).await;
    let mut app = home.serve().await;
    let ada = buy(&app, "ada").await;
    app.stop("TERM");
    fs::copy(home.path("membership.db"), home.path("backup.db")).expect("the file can be copied");
    let mut app = home.serve().await;
    end(&app, ada).await;
    assert_eq!(reason(&app, "ada").await, "ended");
    app.stop("TERM");
    fs::copy(home.path("backup.db"), home.path("membership.db")).expect("the file can be put back");
    // Another past begins where the backup ends, as long as the one that is gone.
    let mut app = home.clone().with("INDEX_SNAPSHOT", "off").serve().await;
    buy(&app, "ben").await;
    buy(&app, "eve").await;
    app.stop("TERM");
    let app = home.serve().await;
    assert_eq!((told(&app, FROM_FILE), told(&app, FROM_LOG)), (0, 1), "{}", app.log());
    assert_eq!(reason(&app, "ada").await, "subscription");
    assert_eq!(reason(&app, "eve").await, "subscription");
}

#[tokio::test]
async fn a_damaged_file_means_a_longer_start_and_nothing_else() {
    let home = Home::new(Store::Sqlite).await;
    let file = home.path("membership.db.index");
    let mut app = home.serve().await;
    buy(&app, "ada").await;
    app.stop("TERM");
    let whole = fs::read(&file).expect("it is beside the database unless told otherwise");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let mut newer = whole.clone();
    newer[8] += 1;
    let cut = whole[..whole.len() - 1].to_vec();
    for damaged in [flipped, newer, cut, Vec::new(), b"not a snapshot".to_vec()] {
        fs::write(&file, &damaged).expect("the file can be written");
        let mut app = home.serve().await;
        assert_eq!((told(&app, FROM_FILE), told(&app, FROM_LOG)), (0, 1), "{}", app.log());
        assert_eq!(reason(&app, "ada").await, "subscription");
        app.stop("TERM");
        assert!(fs::read(&file).expect("it is written anew") != damaged);
    }
    let app = home.serve().await;
    assert_eq!((told(&app, FROM_FILE), told(&app, FROM_LOG)), (1, 0), "{}", app.log());
}
