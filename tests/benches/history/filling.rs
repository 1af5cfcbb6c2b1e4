//! What questions about the past cost in a log of a million events.
//!
//! `make bench` runs this: it fills a store through the same commands that webhooks end in, has the member directory read it,
//! and asks. Nothing here decides whether tests pass. The file is some 2 GB large, in `TMPDIR`; `HISTORY=file` keeps it there
//! and asks it again the next time, which saves most of the minutes that this takes. `EVENTS=20000` is a smaller one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use cqrs_es::Aggregate;
use domain::catalog::{CATALOG_ID, CatalogCommand, Content, Course, Plan, Policy, Roadmap, Video};
use domain::clock::{Clock, MovableClock};
use domain::customer::{CustomerCommand, LinkedThrough};
use domain::ids::{CustomerId, MemberId, SourceEventId, SubscriptionId};
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use domain::ports::{CommandBus, PersonRecord};
use domain::subscription::{Item, Kind, Observation, PaymentAttempt, Status, SubscriptionCommand, Terms};
use projections::directory::Directory;
use projections::past::{AsOf, DeliverySeen, Filter, MemberState, Past, Story, USUALLY_TOLD};
use projections::runner::{follow, progress};
use projections::search::{Found, Search, understand};
use storage::{Access, Storage};
use tempfile::TempDir;
use tokio::task::JoinSet;
use webhook_ingest::inbox::{Delivery, DeliveryFilter, NewDelivery, Origin, Outcome, Selection};

const EVENTS: u64 = 1_000_000;
/// How long the one before whom nobody was a member has been one, which is 200 events.
const MONTHS: u32 = 98;
/// Commands that wait for the store at once.
const AT_ONCE: usize = 128;
const VIDEO: &str = "projections";
const BASIC: &str = "price_basic_month";
const PRO: &str = "price_pro_month";
/// Of so many members, the deliveries of one are kept; she is asked about.
const DELIVERIES_OF: u64 = 4;
/// As large as a webhook is as a rule.
const BODY: usize = 2_048;

/// Members with the same number of events.
struct Group {
    name: &'static str,
    /// The first member's number.
    from: u64,
    count: u64,
    /// Paid months.
    months: u32,
    /// How often one of them is asked about.
    asked: u64,
}

/// Everybody. Two events a month, one of them the renewal and one the payment, and three more to begin with.
fn groups(events: u64) -> [Group; 3] {
    let usual = events / 19;
    [
        Group { name: "19 events", from: 0, count: usual - 250, months: 8, asked: 1_000 },
        Group { name: "31 events", from: usual - 250, count: 200, months: 14, asked: 1_000 },
        Group { name: "199 events", from: usual - 50, count: 50, months: MONTHS, asked: 200 },
    ]
}

/// Whether her deliveries are kept as well: one in four of everybody, which makes the inbox large enough.
fn has_deliveries(number: u64) -> bool {
    number.is_multiple_of(DELIVERIES_OF)
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default()
}

fn member(number: u64) -> MemberId {
    let mut bits = [0; 10];
    bits[..8].copy_from_slice(&number.to_be_bytes());
    MemberId::generate(now(), bits)
}

fn customer(number: u64) -> CustomerId {
    format!("cus_{number:014}").into()
}

/// The store that is filled.
struct Filling {
    storage: Storage,
    clock: Arc<MovableClock>,
    told: AtomicU64,
}

impl Filling {
    async fn execute<A>(&self, bus: &Arc<dyn CommandBus<A>>, id: &str, command: A::Command, context: Context)
    where
        A: Aggregate,
    {
        let done = bus.execute(id, command, context).await;
        assert!(done.is_ok(), "{id} was not told");
    }

    fn asked(&self, what: &str, number: u64) -> Context {
        Context::asked_by(Actor::system(), &format!("{what}-{number}"), self.clock.now())
    }

    async fn catalog(&self) {
        let named = |id: &str, name: &str, rank, price: &str| Plan {
            id: id.into(),
            name: name.to_owned(),
            rank,
            prices: vec![price.into()],
            products: Vec::new(),
            trial_days: None,
        };
        let content = Content {
            policy: Policy::default(),
            plans: vec![named("basic", "Basic", 1, BASIC), named("pro", "Pro", 2, PRO)],
            roadmaps: vec![Roadmap {
                id: "advanced".into(),
                name: "Advanced".to_owned(),
                plans: vec!["pro".into()],
                place: 0,
            }],
            courses: vec![Course {
                id: "event-sourcing".into(),
                name: "Event sourcing".to_owned(),
                free: false,
                roadmap: "advanced".into(),
                place: 0,
            }],
            videos: (0..20)
                .map(|place| Video {
                    id: if place == 0 { VIDEO.into() } else { format!("video-{place}").into() },
                    name: format!("Video {place}"),
                    free: false,
                    course: "event-sourcing".into(),
                    place,
                    playback: None,
                })
                .collect(),
        };
        let command = CatalogCommand::Apply(Box::new(content));
        self.execute(&self.storage.catalog, CATALOG_ID, command, self.asked("catalog", 0)).await;
    }

    /// She signs up and buys.
    async fn begin(&self, number: u64) {
        let member = member(number);
        let email = Some(format!("member{number}@example.com"));
        let record =
            PersonRecord { member: member.clone(), email, external_id: None, created_at: self.clock.now() };
        assert!(self.storage.people.create(record).await.is_ok(), "{member} has no record");
        let asked = self.asked("register", number);
        self.execute(&self.storage.members, member.as_str(), MemberCommand::Register, asked).await;
        let link = CustomerCommand::Link { member, through: LinkedThrough::Creation };
        let asked = self.asked("link", number);
        self.execute(&self.storage.customers, customer(number).as_str(), link, asked).await;
        self.renew(number, 0).await;
    }

    /// A month begins, and is paid.
    async fn renew(&self, number: u64, month: u32) {
        let at = self.clock.now() - TimeDelta::seconds(2);
        let price = if number.is_multiple_of(3) { PRO } else { BASIC };
        let until = at + Months::new(1);
        let terms = Terms {
            items: vec![Item { price: Some(price.into()), product: None, period_end: Some(until) }],
            plans: vec![if price == PRO { "pro" } else { "basic" }.into()],
            started_at: Some(at - Months::new(month)),
            period_end: Some(until),
            ..Terms::new(customer(number), Status::Active)
        };
        let kind = if month == 0 { Kind::Created } else { Kind::Changed };
        let renewed = self.delivery(number, month, "customer.subscription.updated").await;
        let seen = Observation { source: renewed, at, kind, notice: None, terms, replaced: None };
        self.tell(number, SubscriptionCommand::Observe(Box::new(seen)), at).await;
        let paid = self.delivery(number, month, "invoice.paid").await;
        let attempt = PaymentAttempt {
            invoice: format!("in_{number:012}{month:04}").into(),
            source: paid,
            at,
            amount: 1_700,
            currency: Some("eur".to_owned()),
            count: Some(1),
            next_attempt_at: None,
        };
        self.tell(number, SubscriptionCommand::RecordPayment(attempt), at).await;
    }

    async fn tell(&self, number: u64, command: SubscriptionCommand, at: DateTime<Utc>) {
        let source = match &command {
            SubscriptionCommand::Observe(seen) => seen.source.clone(),
            SubscriptionCommand::RecordPayment(attempt) => attempt.source.clone(),
            _ => return,
        };
        let id = SubscriptionId::from(format!("sub_{number:024}"));
        let context = Context::told_by("stripe", &source, at);
        self.execute(&self.storage.subscriptions, id.as_str(), command, context).await;
    }

    /// A webhook that was carried out.
    async fn delivery(&self, number: u64, month: u32, event_type: &str) -> SourceEventId {
        let now = self.clock.now();
        let id = format!("evt_{number:012}{month:06}{:06}", event_type.len());
        if !has_deliveries(number) {
            return id.into();
        }
        self.told.fetch_add(1, Ordering::Relaxed);
        let body = format!("{{\"id\":\"{id}\",\"month\":{month},\"filled\":\"{}\"}}", "x".repeat(BODY));
        let stored = self.storage.inbox.store(NewDelivery {
            id: id.clone(),
            event_type: event_type.to_owned(),
            created: Some(now - TimeDelta::seconds(2)),
            customer: Some(customer(number).to_string()),
            concerns: None,
            body: body.into_bytes(),
            received_at: now,
            origin: Origin::Webhook,
        });
        assert!(stored.await.is_ok(), "{id} was not stored");
        let settled = self.storage.inbox.settle(&id, Outcome::Applied, None, now).await;
        assert!(settled.is_ok(), "{id} was not settled");
        id.into()
    }
}

/// Month after month, everybody who is a member then, many at once. Says how many members there are.
async fn fill(filling: &Arc<Filling>, groups: &[Group]) {
    filling.catalog().await;
    let begin = now() - Months::new(MONTHS);
    for month in 0..MONTHS {
        let mut at_work = JoinSet::new();
        for group in groups {
            let Some(lived) = (month + group.months).checked_sub(MONTHS) else { continue };
            for number in group.from..group.from + group.count {
                if number % 512 == 0 || at_work.is_empty() {
                    // All of a month within a few days, as the clock goes.
                    let days = Days::new((number * 20 / (group.from + group.count)).min(20));
                    filling.clock.set(begin + Months::new(month) + days);
                }
                while at_work.len() >= AT_ONCE {
                    at_work.join_next().await;
                }
                let filling = filling.clone();
                at_work.spawn(async move {
                    if lived == 0 { filling.begin(number).await } else { filling.renew(number, lived).await }
                });
            }
        }
        while let Some(done) = at_work.join_next().await {
            assert!(done.is_ok(), "a month of a member was not written");
        }
    }
    filling.clock.set(now());
}

/// All that a member's page is made of, but for its HTML: who she is, how she stands, and her history with what arrived.
async fn member_page(storage: &Storage, past: &Past, number: u64) -> Option<(MemberState, Story)> {
    storage.people.get(&member(number)).await.ok()??;
    let chronicle = past.chronicle(&member(number)).await.ok()?;
    let mut seen = Vec::new();
    for payer in chronicle.payers() {
        let of = Selection { customer: Some(payer.to_string()), ..Selection::default() };
        let filter = DeliveryFilter { of, before: None, limit: USUALLY_TOLD };
        seen.extend(storage.inbox.list(filter).await.ok()?.into_iter().map(seen_of));
    }
    let filter = Filter { newest_first: true, ..Filter::default() };
    Some((chronicle.state(AsOf::at(now())), chronicle.story(seen, &filter, now())))
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
    let (first, of) = (group.from.next_multiple_of(DELIVERIES_OF), group.count / DELIVERIES_OF);
    for turn in 0..group.asked {
        // All over the log.
        let number = first + turn * 7_919 % of * DELIVERIES_OF;
        let begun = Instant::now();
        question(number).await;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    let taken = Taken(taken);
    println!("{what:<28} {:<12} {:>9.2} {:>9.2}   {goal}", group.name, taken.at(500), taken.at(990));
}

/// What the environment says.
#[expect(clippy::disallowed_methods, reason = "benchmarks are told by the environment how to run")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn main() {
    let told = |name| setting(name).unwrap_or_default();
    let groups = groups(told("EVENTS").parse().unwrap_or(EVENTS).max(10_000));
    let Ok(folder) = TempDir::with_prefix("membership-history-") else { panic!("no temporary folder") };
    let kept = Some(told("HISTORY")).filter(|path| !path.is_empty());
    let path = kept.map_or_else(|| folder.path().join("history.db"), PathBuf::from);
    let is_filled = path.exists();
    let url = format!("sqlite://{}", path.display());
    let clock = Arc::new(MovableClock::standing_at(now()));
    let opened = storage::open(&url, Access::Draft, clock.clone()).await;
    let Ok(storage) = opened else { panic!("{url} cannot be made: {opened:?}") };

    let begun = Instant::now();
    let filling = Arc::new(Filling { storage, clock, told: AtomicU64::new(0) });
    if !is_filled {
        fill(&filling, &groups).await;
    }
    let Ok(head) = filling.storage.feed.head().await else { panic!("the log has no end") };
    println!(
        "{} events of {} members and {} deliveries written in {:.0} s",
        head.get(),
        groups.iter().map(|group| group.count).sum::<u64>(),
        filling.told.load(Ordering::Relaxed),
        begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    let (report, directory) = progress();
    let (feed, views) = (filling.storage.feed.clone(), filling.storage.views.clone());
    let following = tokio::spawn(follow(feed.clone(), Directory::new(views.clone()), report));
    assert!(directory.wait_for(head, Duration::from_hours(1)).await, "the directory does not catch up");
    println!("read by the member directory in {:.0} s", begun.elapsed().as_secs_f64());

    println!("\n{:<28} {:<12} {:>9} {:>9}", "milliseconds", "member with", "median", "p99");
    let (people, payers) = (filling.storage.people.clone(), filling.storage.payers.clone());
    let search = Search::new(feed.clone(), views.clone(), people, payers);
    let past = Past::new(feed, views, filling.storage.remarks.clone(), directory);
    for group in &groups {
        let find = async |number| {
            // Some of her address, which is the beginning of others', too.
            let typed = understand(&format!("member{}", number / 10));
            let found = match &typed {
                Some(typed) => search.find(typed, &[], 20).await.unwrap_or_default(),
                None => Found::default(),
            };
            assert!(!found.members.is_empty(), "nobody was found");
        };
        measure("search by e-mail", "", group, find).await;
        let explain = async |number| {
            let at = now() - TimeDelta::days(i64::try_from(number % 200).unwrap_or_default());
            assert!(past.explain(&member(number), VIDEO, AsOf::at(at)).await.is_ok(), "not explained");
        };
        measure("explain", "goal 10", group, explain).await;
        let timeline = async |number| {
            assert!(past.timeline(&member(number)).await.is_ok(), "no timeline");
        };
        measure("timeline", "", group, timeline).await;
        let page =
            async |number| assert!(member_page(&filling.storage, &past, number).await.is_some(), "no page");
        measure("what a member's page shows", "goal 50", group, page).await;
    }
    following.abort();
    filling.storage.shutdown().await;
}
