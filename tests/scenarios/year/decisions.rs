//! Decisions that the program gave while a year was lived, and what it says of them afterwards: when everything that came
//! late is known, its read models were built anew, and another process has started from the log.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use domain::ports::Position;
use reqwest::StatusCode;
use serde_json::Value;
use stripe_simulator::Seconds;
use tests::app::TestApp;
use tests::stripe::{Dice, FREE};

use super::living::Year;
use super::service::moment;
use super::{BEGIN, Plan, VIDEOS};

/// Of so many deliveries, one has a decision asked for before what comes in the same instant is carried out.
const AMID: usize = 12;

/// What is asked while a year is lived.
pub(super) struct Decisions {
    dice: Dice,
    /// When one is asked for, latest first.
    moments: Vec<DateTime<Utc>>,
    /// The decisions as the program wrote them.
    given: Vec<Value>,
    amid: usize,
    wanted: usize,
}

impl Decisions {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut dice = Dice::new(plan.seed ^ 0xdec1);
        let millis = usize::try_from(plan.days * super::DAY * 1_000).unwrap();
        // The rest is asked for amid deliveries, or at last.
        let mut moments: Vec<_> = (0..plan.decisions * 9 / 10)
            .map(|_| moment(BEGIN) + TimeDelta::milliseconds(i64::try_from(dice.below(millis)).unwrap()))
            .collect();
        moments.sort_unstable_by(|one, other| other.cmp(one));
        Self { dice, moments, given: Vec::new(), amid: 0, wanted: plan.decisions }
    }

    /// The decisions that were given, in the order they were asked for.
    pub(super) fn given(&self) -> &[Value] {
        &self.given
    }
}

impl Year {
    /// Asks what is to be asked before `to`, each at its moment. Moments before anybody is known come as soon as somebody is.
    pub(super) async fn ask_until(&mut self, to: Seconds) {
        let known: Vec<_> = self.lives.members.iter().map(|member| member.id.clone()).collect();
        let known: Vec<_> = known.into_iter().filter(|member| self.service.knows(member)).collect();
        while !known.is_empty() && self.decisions.moments.last().is_some_and(|at| *at < moment(to)) {
            let at = self.decisions.moments.pop().unwrap_or_default().max(moment(self.now));
            self.service.set_moment(at);
            let member = known[self.decisions.dice.below(known.len())].clone();
            self.ask(&member).await;
        }
    }

    /// Now and then, asks about whoever a delivery is about while the rest of what comes in its instant is on its way.
    pub(super) async fn ask_amid(&mut self, delivery: &Value) {
        let left = self.decisions.wanted.saturating_sub(self.decisions.given.len());
        if left <= self.decisions.moments.len() || self.decisions.dice.below(AMID) > 0 {
            return;
        }
        let object = &delivery["data"]["object"];
        let customer = object["customer"].as_str().unwrap_or_default();
        let Some(member) = self.lives.payer(customer).map(|member| member.id.clone()) else { return };
        self.service.carry_out().await;
        if self.service.knows(&member) {
            self.decisions.amid += 1;
            self.ask(&member).await;
        }
    }

    /// Asks what has not been asked yet, now that the year is over.
    pub(super) async fn ask_the_rest(&mut self) {
        let members: Vec<_> = self.lives.members.iter().map(|member| member.id.clone()).collect();
        while self.decisions.given.len() < self.decisions.wanted {
            let member = members[self.decisions.dice.below(members.len())].clone();
            if self.service.knows(&member) {
                self.ask(&member).await;
            }
        }
    }

    async fn ask(&mut self, member: &str) {
        let Decisions { dice, given, .. } = &mut self.decisions;
        let video = if dice.below(30) == 0 { FREE } else { VIDEOS[1 + dice.below(2)] };
        let alone = dice.below(4) > 0;
        given.push(self.service.decision(member, video, alone).await);
    }

    /// Ends the service, has its read models built anew and starts the program from the log. Then every decision has to be
    /// explained as it was given.
    pub(super) async fn given_again(self) -> GivenAgain {
        let Self { plan, service, decisions, .. } = self;
        let home = service.close().await;
        home.done(&["rebuild"]);
        let app = home.serve().await;
        let mut again = GivenAgain { seed: plan.seed, amid: decisions.amid, ..GivenAgain::default() };
        for given in &decisions.given {
            again.judge(&app, given).await;
        }
        again
    }
}

/// What became of the decisions of a year.
#[derive(Debug, Default)]
pub(super) struct GivenAgain {
    seed: u64,
    pub(super) decisions: usize,
    /// Decisions given while more came in the same instant.
    amid: usize,
    /// Decisions that are explained otherwise, asked with their moment and their position.
    pub(super) otherwise: Vec<String>,
    /// The same, asked with what was known at their moment: all that was learned in that very instant counts then, also
    /// what came after the decision. Of these there was such a thing.
    pub(super) of_one_instant: usize,
    /// Of these there was not.
    pub(super) otherwise_known: Vec<String>,
    /// Decisions that are otherwise with all that is known now.
    pub(super) otherwise_now: usize,
    reasons: BTreeMap<String, usize>,
}

impl GivenAgain {
    pub(super) fn is_clean(&self) -> bool {
        self.otherwise.is_empty() && self.otherwise_known.is_empty()
    }

    pub(super) async fn judge(&mut self, app: &TestApp, given: &Value) {
        self.decisions += 1;
        *self.reasons.entry(text(given, "reason")).or_default() += 1;
        let (at, position) = (text(given, "at"), text(given, "position"));
        let told = explained(app, given, &format!("&at={at}&position={position}")).await;
        if told != *given {
            self.otherwise.push(format!("YEAR_SEED={} given {given}\n    told  {told}", self.seed));
        }
        let known = explained(app, given, &format!("&at={at}&known_at={at}")).await;
        if !is_same_answer(&known, given) {
            if learned_more_in_that_instant(app, given).await {
                self.of_one_instant += 1;
            } else {
                self.otherwise_known
                    .push(format!("YEAR_SEED={} given {given}\n    known {known}", self.seed));
            }
        }
        if !is_same_answer(&explained(app, given, &format!("&at={at}")).await, given) {
            self.otherwise_now += 1;
        }
    }
}

impl fmt::Display for GivenAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "YEAR_SEED={} {} decisions, {} of them amid deliveries, asked again after a rebuild and a restart: {} otherwise by \
             their position, {} otherwise by what was known then, but for {} with more learned in the same instant; {} are \
             otherwise with all that is known now; {:?}",
            self.seed,
            self.decisions,
            self.amid,
            self.otherwise.len(),
            self.otherwise_known.len(),
            self.of_one_instant,
            self.otherwise_now,
            self.reasons
        )?;
        let mut found = self.otherwise.iter().chain(&self.otherwise_known).take(20);
        found.try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// What the program says of a question now: the decision without what only an explanation has.
async fn explained(app: &TestApp, given: &Value, bounds: &str) -> Value {
    let (member, video) = (text(given, "member"), text(given, "video"));
    let path = format!("/v1/support/members/{member}/explain?video={video}{bounds}");
    let mut reply = app.get(&path).await;
    assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
    let mut decision = reply.body["decision"].take();
    decision.as_object_mut().expect("a decision").remove("deciding_events");
    decision
}

/// Whether two decisions say the same, whatever of the log they know.
fn is_same_answer(one: &Value, other: &Value) -> bool {
    let without_position = |decision: &Value| {
        let mut decision = decision.clone();
        decision["position"].take();
        decision
    };
    without_position(one) == without_position(other)
}

/// Whether something of hers was recorded in the instant of a decision, after it.
async fn learned_more_in_that_instant(app: &TestApp, given: &Value) -> bool {
    let position = |value: &Value| Position::parse(&text(value, "position")).expect("a position");
    let at = |value: &Value, field| text(value, field).parse::<DateTime<Utc>>().expect("a moment");
    let reply = app.get(&format!("/v1/support/members/{}/timeline", text(given, "member"))).await;
    let entries = reply.body["data"].as_array().expect("a history");
    entries
        .iter()
        .any(|entry| position(entry) > position(given) && at(entry, "recorded_at") == at(given, "at"))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
