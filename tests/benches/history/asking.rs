//! Asks about many members, and prints how long it took.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use projections::past::{AsOf, DeliverySeen, Filter, MemberState, Past, Story, USUALLY_TOLD};
use projections::runner::Progress;
use projections::search::{Found, Search, understand};
use reqwest::Method;
use storage::Storage;
use tests::app::{Home, TestApp};
use tests::browser::{Browser, PASSWORD};
use tests::stripe::rfc3339;
use webhook_ingest::inbox::{Delivery, DeliveryFilter, Selection};

use crate::filling::{DELIVERIES_OF, Group, VIDEO, member, now};

const STAFF: &str = "staff@example.com";
/// How long the program may take to read a log of a million events.
const READING: Duration = Duration::from_mins(10);

/// Asks the projections of a store.
pub(crate) struct Questions<'s> {
    storage: &'s Storage,
    past: Past,
    search: Search,
}

impl<'s> Questions<'s> {
    pub(crate) fn to(storage: &'s Storage, directory: Progress) -> Self {
        let (feed, views) = (storage.feed.clone(), storage.views.clone());
        let (people, payers) = (storage.people.clone(), storage.payers.clone());
        let search = Search::new(feed.clone(), views.clone(), people, payers);
        Self { storage, past: Past::new(feed, views, storage.remarks.clone(), directory), search }
    }

    pub(crate) async fn ask(&self, groups: &[Group], busy: &[Group]) {
        for group in groups {
            measure("search by e-mail", "", group, async |number| self.find(number).await).await;
        }
        for group in groups.iter().chain(busy) {
            let explain = async |number| {
                let at = AsOf::at(some_day(number));
                assert!(self.past.explain(&member(number), VIDEO, at).await.is_ok(), "not explained");
            };
            measure("explain", "goal 10", group, explain).await;
            let page = async |number| assert!(self.page(number).await.is_some(), "no page");
            measure("what a member's page shows", "goal 50", group, page).await;
        }
        for group in busy {
            let Ok(chronicle) = self.past.chronicle(&member(group.from)).await else {
                panic!("no chronicle")
            };
            let explain =
                async |_| assert!(chronicle.explain(VIDEO, AsOf::at(now())).is_ok(), "not explained");
            measure("explain, once read", "", group, explain).await;
            let story = async |_| {
                let filter = Filter { newest_first: true, ..Filter::default() };
                assert!(!chronicle.story(Vec::new(), &filter, now()).groups.is_empty(), "no story");
            };
            measure("story, once read", "", group, story).await;
            let flips = async |_| assert!(chronicle.flips(VIDEO, AsOf::at(now())).is_ok(), "no flips");
            measure("all turns, once read", "", group, flips).await;
        }
    }

    async fn find(&self, number: u64) {
        // Some of her address, which is the beginning of others', too.
        let typed = understand(&format!("member{}", number / 10));
        let found = match &typed {
            Some(typed) => self.search.find(typed, &[], 20).await.unwrap_or_default(),
            None => Found::default(),
        };
        assert!(!found.members.is_empty(), "nobody was found");
    }

    /// All that a member's page is made of, but for its HTML: who she is, how she stands, and her history with what arrived.
    async fn page(&self, number: u64) -> Option<(MemberState, Story)> {
        self.storage.people.get(&member(number)).await.ok()??;
        let chronicle = self.past.chronicle(&member(number)).await.ok()?;
        let mut seen = Vec::new();
        for payer in chronicle.payers() {
            let of = Selection { customer: Some(payer.to_string()), ..Selection::default() };
            let filter = DeliveryFilter { of, before: None, limit: USUALLY_TOLD };
            seen.extend(self.storage.inbox.list(filter).await.ok()?.into_iter().map(seen_of));
        }
        let filter = Filter { newest_first: true, ..Filter::default() };
        Some((chronicle.state(AsOf::at(now())), chronicle.story(seen, &filter, now())))
    }
}

fn seen_of(delivery: Delivery) -> DeliverySeen {
    let (reason, detail) = delivery.why.map(|why| (why.code, why.detail)).unzip();
    DeliverySeen {
        id: delivery.id,
        event_type: delivery.event_type,
        created: delivery.created,
        received_at: delivery.received_at,
        times_received: delivery.times_received,
        outcome: delivery.outcome.as_str().to_owned(),
        reason,
        detail,
        settled_at: delivery.settled_at,
    }
}

/// One of the last 200 days.
fn some_day(number: u64) -> chrono::DateTime<chrono::Utc> {
    now() - TimeDelta::days(i64::try_from(number % 200).unwrap_or_default())
}

/// Makes an account for somebody of the staff: while the store is empty, since a command waits for read models only so long.
pub(crate) fn employ(home: &Home) {
    let mut made =
        home.command(&["account", "create", "--email", STAFF, "--role", "support", "--password-stdin"]);
    let made = made.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let Ok(mut made) = made else { panic!("the program cannot be run") };
    let told = made.stdin.take().map(|mut stdin| writeln!(stdin, "{PASSWORD}"));
    assert!(matches!(told, Some(Ok(()))) && made.wait().is_ok_and(|status| status.success()), "no staff");
}

/// Starts the real program over the filled store, signs somebody of the staff in, and asks for pages and for JSON. A page is read
/// to its end; that staff looked is recorded with the first look at each member.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) async fn over_http(home: &Home, groups: &[Group], busy: &[Group]) {
    let begun = Instant::now();
    let app = home.begin_to_serve().await;
    while !app.get("/readyz").await.status.is_success() {
        assert!(begun.elapsed() < READING, "the program does not get ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("\nthe program was ready after {:.1} s; over HTTP:", begun.elapsed().as_secs_f64());
    let mut staff = Browser::of(&app);
    staff.login(STAFF, PASSWORD).await;
    staff.second_factor().await;
    for group in groups.iter().chain(busy) {
        // An access token is for minutes.
        staff.get("/v1/auth/account").await;
        let page = async |number| read(&app, &staff, &format!("/console/members/{}", member(number))).await;
        measure("GET member's page, HTML", "goal 50", group, page).await;
        let explain = async |number| {
            let (member, at) = (member(number), rfc3339(some_day(number)));
            read(&app, &staff, &format!("/console/members/{member}/explain?video={VIDEO}&at={at}")).await;
        };
        measure("GET explain, HTML", "goal 10", group, explain).await;
        let explain = async |number| {
            let (member, at) = (member(number), rfc3339(some_day(number)));
            let path = format!("/v1/support/members/{member}/explain?video={VIDEO}&at={at}");
            let reply = app.get(&path).await;
            assert!(reply.status.is_success(), "{path}: {reply:?}");
        };
        measure("GET explain, JSON", "goal 10", group, explain).await;
    }
}

async fn read(app: &TestApp, staff: &Browser, path: &str) {
    let (status, page) = app.raw(staff.request(Method::GET, path)).await;
    assert!(status.is_success() && page.trim_end().ends_with("</html>"), "{path}: {status} {page}");
}

/// How long something took, many times over.
struct Taken(Vec<Duration>);

impl Taken {
    fn at(&self, per_mille: usize) -> f64 {
        let index = (self.0.len() * per_mille / 1_000).min(self.0.len().saturating_sub(1));
        self.0.get(index).map_or(f64::NAN, |taken| taken.as_secs_f64() * 1_000.0)
    }
}

/// Asks `question` about members of a group, one after the other, and prints what it took.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn measure(what: &str, goal: &str, group: &Group, question: impl AsyncFn(u64)) {
    let mut taken = Vec::new();
    let (first, of) = (group.from.next_multiple_of(DELIVERIES_OF), (group.count / DELIVERIES_OF).max(1));
    for turn in 0..group.asked {
        // All over the log.
        let number = first + turn * 7_919 % of * DELIVERIES_OF;
        let begun = Instant::now();
        question(number).await;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    let taken = Taken(taken);
    println!("{what:<34} {:<12} {:>9.2} {:>9.2}   {goal}", group.name, taken.at(500), taken.at(990));
}
