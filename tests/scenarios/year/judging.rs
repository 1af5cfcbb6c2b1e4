//! Comparing a simulated year with what was true at the simulator.

use std::collections::BTreeMap;
use std::fmt::Write;

use domain::subscription::Terms;
use serde_json::Value;
use stripe_simulator::Seconds;
use tests::stripe::BASIC;

use super::living::Year;
use super::service::moment;
use super::truth::{self, Policy, answer, edges};
use super::{BEGIN, DAY, HOUR, VIDEOS};

impl Year {
    /// Compares every subscription and asks everything that is to be asked.
    pub(super) async fn judge(&mut self) {
        self.compare().await;
        let policy = self.plan.policy();
        for place in 0..self.lives.members.len() {
            for video in VIDEOS {
                let (member, now) = (&self.lives.members[place], self.now);
                let given = self.service.answers(&member.id, video, now).await;
                let subscriptions = &member.subscriptions;
                let right =
                    self.stripe.with(|stripe| answer(stripe, subscriptions, policy, video, now)).await;
                if given.0 != right.allowed || !right.reasons.contains(&given.1) {
                    let wrong = self.report(place, video, now, &format!("{given:?}"), &right).await;
                    self.figures.wrong_now.push(wrong);
                }
            }
        }
        self.figures.wrong = self.wrong_by(policy).await;
        self.figures.probes = self.plan.probes;
        for (member, video, at, (allowed, reason)) in std::mem::take(&mut self.answered) {
            let known = self.service.explain(&member, video, at, Some(at)).await.decision;
            if (known.allowed, known.reason.as_str()) != (allowed, reason) {
                let told = format!("{member} {video} {at}: {reason} was answered, {known:?} is told");
                self.figures.unexplained.push(told);
            }
        }
    }

    /// Asks about members, videos and moments by chance: the answers that are wrong where `policy` is the rule.
    pub(super) async fn wrong_by(&mut self, policy: Policy) -> Vec<String> {
        let mut wrong = Vec::new();
        for _ in 0..self.plan.probes {
            let (place, video) = (self.dice.below(self.lives.members.len()), VIDEOS[self.probed()]);
            let at = self.some_moment(place, policy).await;
            wrong.extend(self.probe(place, video, at, policy).await);
        }
        wrong
    }

    /// Free videos are seldom asked about.
    fn probed(&mut self) -> usize {
        if self.dice.below(30) == 0 { 0 } else { 1 + self.dice.below(2) }
    }

    /// A moment for a question, mostly near one at which the answer may change.
    async fn some_moment(&mut self, place: usize, policy: Policy) -> Seconds {
        let subscriptions = &self.lives.members[place].subscriptions;
        let edges = self.stripe.with(|stripe| edges(stripe, subscriptions, policy)).await;
        let anywhere =
            BEGIN + Seconds::try_from(self.dice.below(usize::try_from(self.end - BEGIN).unwrap())).unwrap();
        if edges.is_empty() || self.dice.below(4) == 0 {
            return anywhere;
        }
        let edge = edges[self.dice.below(edges.len())];
        let beside = [-1, 0, 0, 1, 60, -HOUR, HOUR, DAY][self.dice.below(8)];
        (edge + beside).clamp(BEGIN, self.end)
    }

    async fn probe(&self, place: usize, video: &'static str, at: Seconds, policy: Policy) -> Option<String> {
        let member = &self.lives.members[place];
        let explained = self.service.explain(&member.id, video, at, None).await;
        let subscriptions = &member.subscriptions;
        let right = self.stripe.with(|stripe| answer(stripe, subscriptions, policy, video, at)).await;
        let given = &explained.decision;
        let plan = given.plan.as_ref().map(domain::ids::PlanId::as_str).unwrap_or_default();
        let same_plan = !given.allowed || right.plans.is_empty() || right.plans.contains(&plan);
        if given.allowed != right.allowed || !right.reasons.contains(&given.reason.as_str()) || !same_plan {
            return Some(self.report(place, video, at, &explained.text(), &right).await);
        }
        None
    }

    /// A wrong answer with all that there is to find out why.
    async fn report(
        &self,
        place: usize,
        video: &str,
        at: Seconds,
        given: &str,
        right: &truth::Answer,
    ) -> String {
        let member = &self.lives.members[place];
        let mut text = format!(
            "YEAR_SEED={} {} {video} at {} ({at}): {right:?} is right, given was {given}",
            self.plan.seed,
            member.id,
            moment(at)
        );
        for subscription in &member.subscriptions {
            let truths = self.stripe.with(|stripe| stripe.truths(subscription).to_vec()).await;
            let near = truths.iter().filter(|truth| (truth.from - at).abs() < 40 * DAY);
            for truth in near {
                let _ = write!(text, "\n    {subscription} {} {truth:?}", moment(truth.from));
            }
        }
        for entry in self.service.timeline(&member.id).await {
            if (entry.0.timestamp() - at).abs() < 40 * DAY {
                let _ = write!(text, "\n    {} {}", entry.0, entry.1);
            }
        }
        text
    }

    /// Every subscription at Stripe against the log's.
    pub(super) async fn compare(&mut self) {
        self.figures.subscriptions = 0;
        for place in 0..self.lives.members.len() {
            let member = &self.lives.members[place];
            let explained = self.service.explain(&member.id, BASIC, self.now, None).await;
            let mut known: BTreeMap<String, Terms> = explained
                .sources
                .into_iter()
                .filter_map(|source| Some((source.id, source.standing?.terms)))
                .collect();
            for id in &member.subscriptions {
                let path = format!("/v1/subscriptions/{id}");
                let held = self.stripe.with(|stripe| stripe.call("GET", &path, "")).await.unwrap();
                if held["items"]["data"][0]["price"]["id"] == truth::MUG {
                    continue;
                }
                self.figures.subscriptions += 1;
                let known = known.remove(id);
                let (theirs, ours) = (terms_at_stripe(&held), known.as_ref().map(terms_known));
                if ours.as_ref() != Some(&theirs) {
                    self.figures
                        .differences
                        .push(format!("{} {id}: {theirs:?} at Stripe, {ours:?} known", member.id));
                }
            }
            for id in known.keys() {
                self.figures.differences.push(format!("{} {id}: not at Stripe", member.id));
            }
        }
    }
}

/// What is compared: status, price, end of the period, scheduled end, end, end of the trial, pause of collection.
type Compared =
    (String, String, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<(String, Option<i64>)>);

fn terms_at_stripe(held: &Value) -> Compared {
    let item = &held["items"]["data"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pause = &held["pause_collection"];
    let is_over = !held["ended_at"].is_null();
    let unless_over = |value: Option<i64>| value.filter(|_| !is_over);
    (
        text(&held["status"]),
        text(&item["price"]["id"]),
        unless_over(item["current_period_end"].as_i64()),
        unless_over(held["cancel_at"].as_i64()),
        held["ended_at"].as_i64(),
        unless_over(held["trial_end"].as_i64()),
        (!pause.is_null() && !is_over).then(|| (text(&pause["behavior"]), pause["resumes_at"].as_i64())),
    )
}

fn terms_known(terms: &Terms) -> Compared {
    let seconds = |moment: Option<chrono::DateTime<chrono::Utc>>| moment.map(|moment| moment.timestamp());
    let is_over = terms.status.is_final();
    let unless_over = |value: Option<i64>| value.filter(|_| !is_over);
    let price = terms.items.first().and_then(|item| item.price.as_ref());
    let pause = terms.collection_paused.as_ref().filter(|_| !is_over);
    (
        terms.status.to_string(),
        price.map(ToString::to_string).unwrap_or_default(),
        unless_over(seconds(terms.period_end)),
        unless_over(seconds(terms.cancels_at)),
        if is_over { seconds(terms.ended_at) } else { None },
        unless_over(seconds(terms.trial_end)),
        pause.map(|pause| (pause.behavior.clone(), seconds(pause.resumes_at))),
    )
}
