//! The demo's members: one per thing that can happen to a membership.

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use serde_json::json;

use super::story::{Price, Scheduled, Story};

/// A member of the cast.
pub(super) struct Role {
    /// Her id.
    pub member: &'static str,
    /// Her e-mail address.
    pub email: &'static str,
    /// What happened to her, in a line.
    pub line: &'static str,
    /// What Stripe will deliver about her.
    pub deliveries: Vec<Scheduled>,
}

/// When the history begins.
pub(super) fn beginning(now: DateTime<Utc>) -> DateTime<Utc> {
    now - Months::new(18)
}

/// A checkout that is paid at once, as most are: the events come in one second, in the order Stripe makes them.
fn buys(story: &mut Story, member: &str, price: Price, at: DateTime<Utc>) {
    story.create(price, "incomplete", at).paid(at).status("active", at).checkout(member, at);
}

/// Renewals for as long as they are due before `until`.
fn renews(story: &mut Story, first: DateTime<Utc>, every: u32, until: DateTime<Utc>) {
    let due = (1..).map(|period| first + Months::new(period * every));
    for at in due.take_while(|at| *at < until) {
        story.renew(at);
    }
}

/// The cast as of `now`.
pub(super) fn cast(now: DateTime<Utc>) -> Vec<Role> {
    let ago = |days: u64| now - Days::new(days);
    let hours = TimeDelta::hours;
    let mut roles = Vec::new();
    let mut role = |member, email, line, story: Story| {
        roles.push(Role { member, email, line, deliveries: story.deliveries() });
    };

    let mut ada = Story::new("ada");
    let start = ago(400);
    buys(&mut ada, "mem_ada", Price::BasicMonth, start);
    renews(&mut ada, start, 1, now);
    role("mem_ada", "ada@example.com", "pays for Basic, month after month", ada);

    let mut ben = Story::new("ben");
    ben.create(Price::ProYear, "trialing", ago(200)).checkout("mem_ben", ago(200));
    ben.renew(ago(186));
    role("mem_ben", "ben@example.com", "tried Pro, then paid for a year", ben);

    let mut cleo = Story::new("cleo");
    cleo.create(Price::ProMonth, "trialing", ago(5)).checkout("mem_cleo", ago(5));
    role("mem_cleo", "cleo@example.com", "is in her Pro trial", cleo);

    let mut dora = Story::new("dora");
    let start = ago(4) - Months::new(3);
    buys(&mut dora, "mem_dora", Price::ProMonth, start);
    renews(&mut dora, start, 1, ago(5));
    dora.renewal_fails(ago(4)).payment_fails(2, ago(1));
    role("mem_dora", "dora@example.com", "her card failed 4 days ago: past due, in grace", dora);

    let mut emil = Story::new("emil");
    let start = ago(20) - Months::new(3);
    buys(&mut emil, "mem_emil", Price::ProMonth, start);
    renews(&mut emil, start, 1, ago(21));
    emil.renewal_fails(ago(20)).payment_fails(2, ago(17)).payment_fails(3, ago(12));
    role("mem_emil", "emil@example.com", "his card failed 20 days ago: grace ran out 6 days ago", emil);

    let mut fay = Story::new("fay");
    buys(&mut fay, "mem_fay", Price::BasicMonth, ago(70));
    renews(&mut fay, ago(70), 1, ago(30));
    fay.change_plan(Price::ProMonth, ago(3));
    role("mem_fay", "fay@example.com", "went from Basic to Pro 3 days ago", fay);

    let mut gus = Story::new("gus");
    buys(&mut gus, "mem_gus", Price::ProMonth, ago(10));
    gus.cancel_in_portal(ago(2));
    role("mem_gus", "gus@example.com", "canceled in the portal; keeps access to the end of the period", gus);

    let mut hana = Story::new("hana");
    let start = ago(9) - Months::new(3);
    buys(&mut hana, "mem_hana", Price::BasicMonth, start);
    renews(&mut hana, start, 1, ago(10));
    hana.cancel_at_period_end(ago(20)).end(ago(9));
    role("mem_hana", "hana@example.com", "her Basic membership ended 9 days ago", hana);

    let mut ivo = Story::new("ivo");
    ivo.create(Price::BasicMonth, "incomplete", ago(1)).checkout("mem_ivo", ago(1));
    role("mem_ivo", "ivo@example.com", "has not completed his first payment", ivo);

    let mut june = Story::new("june");
    june.create(Price::BasicMonth, "incomplete", ago(60)).late(ago(60) + hours(3));
    june.status("active", ago(60)).again(ago(60) + hours(5)).checkout("mem_june", ago(60));
    june.renewal_fails(ago(30)).late(ago(27)).paid(ago(28)).status("active", ago(28));
    role("mem_june", "june@example.com", "her webhooks came late, twice and out of order", june);

    let mut kit = Story::new("kit");
    buys(&mut kit, "mem_kit", Price::BasicMonth, ago(50));
    let mut kit_pro = kit.another("kit_pro");
    kit_pro.create(Price::ProMonth, "active", ago(49)).paid(ago(49));
    kit.end(ago(48));
    renews(&mut kit_pro, ago(49), 1, now);
    let mut both = kit.deliveries();
    both.extend(kit_pro.deliveries());
    roles.push(Role {
        member: "mem_kit",
        email: "kit@example.com",
        line: "bought twice by mistake and ended one; the other stays",
        deliveries: both,
    });

    let mut lou = Story::new("lou");
    buys(&mut lou, "mem_lou", Price::ProMonth, ago(25));
    lou.pause_collection("keep_as_draft", ago(15));
    roles.push(Role {
        member: "mem_lou",
        email: "lou@example.com",
        line: "payment collection is paused",
        deliveries: lou.deliveries(),
    });
    roles.push(Role {
        member: "mem_max",
        email: "max@example.com",
        line: "never had a membership",
        deliveries: Vec::new(),
    });
    roles
}

/// Deliveries that belong to nobody: they are parked or ignored, with a reason.
pub(super) fn strays(now: DateTime<Utc>) -> Vec<Scheduled> {
    let at = now - Days::new(6);
    let mut nobody = Story::new("nobody");
    nobody.create(Price::ProMonth, "active", at);
    let mut mug = Story::new("mug");
    mug.create(Price::Mug, "active", at);
    let thin = json!({
        "id": "evt_demo_thin", "object": "v2.core.event", "type": "v1.customer.subscription.updated",
        "created": at.to_rfc3339(), "livemode": false,
        "related_object": { "id": "sub_demo_ada", "type": "subscription", "url": "/v1/subscriptions/sub_demo_ada" },
    });
    let mut strays = nobody.deliveries();
    strays.extend(mug.deliveries());
    strays.push(Scheduled { arrives_at: at, event: thin });
    strays
}
