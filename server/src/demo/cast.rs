//! The demo's members: one per thing that can happen to a membership, and what each of them does at Stripe.

use chrono::{DateTime, Datelike, Days, Months, TimeDelta, Utc};
use stripe_simulator::Faults;

/// Basic, by the month.
const BASIC: &str = "price_demo_basic_month";
/// Pro, by the month.
pub(super) const PRO: &str = "price_demo_pro_month";
/// Pro, by the year.
const PRO_YEAR: &str = "price_demo_pro_year";
/// Something that is sold beside memberships.
const MUGS: &str = "price_mug_club";

/// What Stripe sells in the demo.
pub(super) const PRODUCTS: &str = r#"[
    { "id": "prod_demo_basic", "name": "Basic", "prices": [{ "id": "price_demo_basic_month", "amount": 1700 }] },
    { "id": "prod_demo_pro", "name": "Pro", "prices": [
        { "id": "price_demo_pro_month", "amount": 2500 },
        { "id": "price_demo_pro_year", "amount": 25000, "interval": "year" }
    ] },
    { "id": "prod_mug_club", "name": "Mug of the month", "prices": [{ "id": "price_mug_club", "amount": 900 }] }
]"#;

/// Is paid.
pub(super) const GOOD: &str = "4242424242424242";
/// Is declined.
const DECLINED: &str = "4000000000000002";
/// Is paid at checkout and declined at every renewal.
const DECLINED_LATER: &str = "4000000000000341";

/// Something that is done at Stripe.
pub(super) enum Step {
    /// She buys at the checkout.
    Buys { price: &'static str, card: &'static str, trial_days: u32 },
    /// She begins a trial that asks for no card and pauses if there is none when it ends.
    TriesWithoutCard { price: &'static str, trial_days: u32 },
    /// Somebody subscribes her in Stripe's dashboard.
    IsSubscribed(&'static str),
    /// She pays with this card from now on.
    Card(&'static str),
    /// She pays what she owes.
    PaysWhatSheOwes,
    /// Another price from now on.
    ChangesPlan(&'static str),
    /// She cancels in the portal, which sets a date and leaves the flag alone.
    CancelsInPortal,
    /// The end of the period becomes the end of her subscription.
    CancelsAtPeriodEnd,
    /// The first of her subscriptions ends now.
    EndsTheFirst,
    /// The collection of payments is paused.
    CollectionPauses,
    /// All of her latest payment is given back.
    IsRefunded,
    /// She has her bank take her latest payment back.
    Disputes,
    /// What goes wrong with webhooks from now on, whoever they are about.
    Webhooks(Faults),
    /// The owner decides that a full refund ends access.
    RefundsEndAccess,
    /// Staff opens a plan for her, until then or for good, and says why.
    IsGiven { plan: &'static str, until: Option<DateTime<Utc>>, why: &'static str },
    /// Staff writes something down.
    IsNoted(&'static str),
    /// Staff forgets her, as she asked.
    IsErased,
}

/// The question about somebody that tells the most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    /// The video.
    pub video: &'static str,
    /// What was true at this moment.
    pub at: DateTime<Utc>,
    /// As this service knew it at this moment; with all that is known when there is none.
    pub known_at: Option<DateTime<Utc>>,
}

/// May somebody watch what only Pro opens?
fn asked(at: DateTime<Utc>) -> Telling {
    Telling { video: "projections", at, known_at: None }
}

/// What everybody is called at Stripe, by address.
const NAMES: [(&str, &str); 24] = [
    ("ada@", "Ada Bergström"),
    ("ben@", "Ben Okafor"),
    ("cleo@", "Cléo Martin"),
    ("dora@", "Dóra Kovács"),
    ("emil@", "Emil Berg"),
    ("fay@", "Fay O'Connor"),
    ("gus@", "Gus Lindqvist"),
    ("hana@", "Hana Nováková"),
    ("ivo@", "Ivo Marković"),
    ("june@", "June Delacroix"),
    ("kit@", "Kit Nakamura"),
    ("lou@", "Lou van Dijk"),
    ("max@", "Max Weber"),
    ("nils@", "Nils Østergård"),
    ("olga@", "Olga Łukasik"),
    ("pete@", "Pete Adeyemi"),
    ("rosa@", "Rosa Klein"),
    ("sam@", "Sam Rivera"),
    ("tess@", "Tess de Vries"),
    ("ulf@", "Ulf Groß"),
    ("vera@", "Vera Antonova"),
    ("wim@", "Wim Peeters"),
    ("nobody@", "Nora Berger"),
    ("mugs@", "Mo Khan"),
];

fn named(email: &str) -> &'static str {
    NAMES.into_iter().find(|(begins, _)| email.starts_with(begins)).map_or("", |(_, name)| name)
}

/// Who it is about.
pub(super) struct Part {
    /// Her id; none for whoever is no member.
    pub member: Option<&'static str>,
    /// Her e-mail address, until she is erased.
    pub email: &'static str,
    /// Her name at Stripe.
    pub name: &'static str,
    /// What happened to her, in a line.
    pub line: String,
    /// What is best asked about her.
    pub telling: Telling,
    /// What she does, and when.
    pub steps: Vec<(DateTime<Utc>, Step)>,
}

impl Part {
    /// Whether nothing is known of her any more but what the log tells.
    pub(super) fn is_erased(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::IsErased))
    }
}

/// When the history begins.
pub(super) fn beginning(now: DateTime<Utc>) -> DateTime<Utc> {
    now - Months::new(18)
}

/// The latest moment up to `moment` on a day that every month has, so that months count back from it and forth again.
fn in_every_month(moment: DateTime<Utc>) -> DateTime<Utc> {
    moment - Days::new(u64::from(moment.day().saturating_sub(28)))
}

fn days(from: DateTime<Utc>, until: DateTime<Utc>) -> i64 {
    (until - from).num_days()
}

fn buys(price: &'static str) -> Step {
    Step::Buys { price, card: GOOD, trial_days: 0 }
}

/// The cast as of `now`.
#[expect(clippy::too_many_lines, reason = "a list of people, each with a few lines")]
pub(super) fn cast(now: DateTime<Utc>) -> Vec<Part> {
    let ago = |days: u64| now - Days::new(days);
    let hours = TimeDelta::hours;
    let mut parts = Vec::new();
    let mut part = |member, email, line: &str, telling, steps: Vec<(DateTime<Utc>, Step)>| {
        parts.push(Part { member, email, name: named(email), line: line.to_owned(), telling, steps });
    };

    part(
        Some("mem_ada"),
        "ada@example.com",
        "pays for Basic, month after month",
        asked(now),
        vec![(ago(400), buys(BASIC))],
    );
    part(
        Some("mem_ben"),
        "ben@example.com",
        "tried Pro, then paid for a year",
        asked(ago(195)),
        vec![(ago(200), Step::Buys { price: PRO_YEAR, card: GOOD, trial_days: 14 })],
    );
    part(
        Some("mem_cleo"),
        "cleo@example.com",
        "is in her Pro trial",
        asked(now),
        vec![(ago(5), Step::Buys { price: PRO, card: GOOD, trial_days: 14 })],
    );

    let due = in_every_month(ago(4));
    part(
        Some("mem_dora"),
        "dora@example.com",
        &format!("her card failed {} days ago: past due, in grace", days(due, now)),
        asked(now),
        vec![(due - Months::new(3), buys(PRO)), (due - hours(9), Step::Card(DECLINED_LATER))],
    );

    let due = in_every_month(ago(20));
    part(
        Some("mem_emil"),
        "emil@example.com",
        &format!(
            "his card failed {} days ago: grace ran out {} days ago",
            days(due, now),
            days(due, now) - 14
        ),
        asked(now),
        vec![(due - Months::new(3), buys(PRO)), (due - hours(9), Step::Card(DECLINED_LATER))],
    );

    part(
        Some("mem_fay"),
        "fay@example.com",
        "went from Basic to Pro 3 days ago, in the middle of a month",
        asked(ago(4)),
        vec![(ago(70), buys(BASIC)), (ago(3), Step::ChangesPlan(PRO))],
    );
    part(
        Some("mem_gus"),
        "gus@example.com",
        "canceled in the portal; keeps access to the end of the period",
        asked(now),
        vec![(ago(10), buys(PRO)), (ago(2), Step::CancelsInPortal)],
    );

    let end = in_every_month(ago(9));
    part(
        Some("mem_hana"),
        "hana@example.com",
        &format!("her Basic membership ended {} days ago", days(end, now)),
        Telling { video: "loops", ..asked(now) },
        vec![(end - Months::new(3), buys(BASIC)), (end - Days::new(11), Step::CancelsAtPeriodEnd)],
    );
    part(
        Some("mem_ivo"),
        "ivo@example.com",
        "has not completed his first payment",
        Telling { video: "loops", ..asked(now) },
        vec![(now - hours(5), Step::Buys { price: BASIC, card: DECLINED, trial_days: 0 })],
    );

    // Half a day away from everybody else, whose webhooks are in order.
    let begins = ago(60) - hours(12);
    let renewal = begins + Months::new(1);
    let disorder =
        Faults { delay: Some(5 * 3_600), shuffle: true, duplicate: 1.0, seed: Some(7), ..Faults::default() };
    let late = Faults { delay: Some(3 * 86_400), ..Faults::default() };
    part(
        Some("mem_june"),
        "june@example.com",
        "her webhooks came late, twice and out of order",
        Telling { video: "loops", ..asked(renewal + Days::new(1)) },
        vec![
            (begins, Step::Webhooks(disorder)),
            (begins, Step::Buys { price: BASIC, card: DECLINED_LATER, trial_days: 0 }),
            (begins, Step::Webhooks(Faults::default())),
            (renewal - hours(1), Step::Webhooks(late)),
            (renewal + hours(2), Step::Webhooks(Faults::default())),
            (renewal + Days::new(2), Step::Card(GOOD)),
            (renewal + Days::new(2), Step::PaysWhatSheOwes),
        ],
    );

    part(
        Some("mem_kit"),
        "kit@example.com",
        "bought twice by mistake and ended one; the other stays",
        asked(now),
        vec![(ago(50), buys(BASIC)), (ago(49), buys(PRO)), (ago(48), Step::EndsTheFirst)],
    );
    part(
        Some("mem_lou"),
        "lou@example.com",
        "payment collection is paused",
        asked(now),
        vec![(ago(25), buys(PRO)), (ago(15), Step::CollectionPauses)],
    );
    part(Some("mem_max"), "max@example.com", "never had a membership", asked(now), Vec::new());
    part(
        Some("mem_nils"),
        "nils@example.com",
        "got all his money back 40 days ago; since a change of policy 12 days ago that ends access",
        asked(now),
        vec![(ago(100), buys(PRO_YEAR)), (ago(40), Step::IsRefunded), (ago(12), Step::RefundsEndAccess)],
    );
    part(
        Some("mem_olga"),
        "olga@example.com",
        "disputes a payment with her bank: denied while that is open",
        asked(now),
        vec![(ago(45), buys(PRO)), (ago(6), Step::Disputes)],
    );
    part(
        Some("mem_pete"),
        "pete@example.com",
        "tried Pro without a card: paused when the trial ended 6 days ago",
        asked(now),
        vec![(ago(20), Step::TriesWithoutCard { price: PRO, trial_days: 14 })],
    );
    // Grace ends while what she paid is still on its way to us.
    let due = in_every_month(ago(18));
    let pays = due + Days::new(13) + hours(15);
    let late = Faults { delay: Some(2 * 86_400), ..Faults::default() };
    part(
        Some("mem_rosa"),
        "rosa@example.com",
        "paid in time, but her webhooks came two days late: locked out for a day",
        Telling { known_at: Some(due + Days::new(15)), ..asked(due + Days::new(15)) },
        vec![
            (due - Months::new(3), buys(PRO)),
            (due - hours(9), Step::Card(DECLINED_LATER)),
            (pays, Step::Webhooks(late)),
            (pays, Step::Card(GOOD)),
            (pays, Step::PaysWhatSheOwes),
            (pays, Step::Webhooks(Faults::default())),
        ],
    );
    part(
        Some("mem_sam"),
        "sam@example.com",
        "pays for Basic; was given Pro for a month, which is over, and the payment goes on",
        asked(ago(20)),
        vec![
            (ago(90), buys(BASIC)),
            (
                ago(40),
                Step::IsGiven {
                    plan: "pro",
                    until: Some(ago(10)),
                    why: "Spoke at our meetup; a month of Pro as thanks.",
                },
            ),
        ],
    );
    let end = in_every_month(ago(12));
    part(
        Some("mem_tess"),
        "tess@example.com",
        &format!("her payment ended {} days ago; the Pro that she was given goes on", days(end, now)),
        asked(now),
        vec![
            (end - Months::new(3), buys(BASIC)),
            (
                end - Days::new(20),
                Step::IsGiven { plan: "pro", until: None, why: "Translates our subtitles; Pro for good." },
            ),
            (end - Days::new(9), Step::CancelsAtPeriodEnd),
            (end - Days::new(8), Step::IsNoted("Wrote that she cancels, since she has Pro now anyway.")),
        ],
    );
    let twice = Faults { duplicate: 1.0, ..Faults::default() };
    let begins = ago(35) + hours(7);
    part(
        Some("mem_ulf"),
        "ulf@example.com",
        "every webhook of his purchase came twice, and counted once",
        asked(begins + hours(1)),
        vec![
            (begins, Step::Webhooks(twice)),
            (begins, buys(PRO)),
            (begins, Step::Webhooks(Faults::default())),
        ],
    );
    let end = in_every_month(ago(16));
    part(
        Some("mem_vera"),
        "vera@example.com",
        "left and asked to be forgotten; what she had is still told, who she was is not",
        asked(end - Days::new(5)),
        vec![
            (end - Months::new(2), buys(PRO)),
            (end - Days::new(11), Step::CancelsAtPeriodEnd),
            (ago(7), Step::IsErased),
        ],
    );
    let (up, down) = (ago(21) + hours(4), ago(21) + hours(5));
    let held_up = Faults { delay: Some(3 * 3_600), ..Faults::default() };
    part(
        Some("mem_wim"),
        "wim@example.com",
        "went to Pro and back within an hour; that was told the other way round",
        asked(up + hours(4)),
        vec![
            (ago(75), buys(BASIC)),
            (up, Step::Webhooks(held_up)),
            (up, Step::ChangesPlan(PRO)),
            (up, Step::Webhooks(Faults::default())),
            (down, Step::ChangesPlan(BASIC)),
        ],
    );
    parts
}

/// The cast, and whoever else is at Stripe.
pub(super) fn everybody(now: DateTime<Utc>) -> Vec<Part> {
    cast(now).into_iter().chain(strangers(now)).collect()
}

/// Whose deliveries belong to no member: they are parked or ignored, with a reason.
fn strangers(now: DateTime<Utc>) -> Vec<Part> {
    let stranger = |email, price| Part {
        member: None,
        email,
        name: named(email),
        line: String::new(),
        telling: asked(now),
        steps: vec![(now - Days::new(6), Step::IsSubscribed(price))],
    };
    vec![stranger("nobody@example.com", PRO), stranger("mugs@example.com", MUGS)]
}
