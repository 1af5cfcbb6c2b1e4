//! How a simulated year is lived, hour by hour.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;
use stripe_simulator::{Driven, DunningEnd, Faults, Seconds, SignedDelivery, Simulator};
use tests::stripe::{Dice, SECRETS};
use webhook_ingest::stripe::signature::sign;

use super::decisions::Decisions;
use super::figures::Figures;
use super::gifts::Gifts;
use super::lives::Lives;
use super::service::{Service, moment};
use super::truth::PRODUCTS;
use super::{BEGIN, DAY, HOUR, Plan, VERSIONS, VIDEOS};

/// A year that is being lived.
pub(super) struct Year {
    pub(super) plan: Plan,
    pub(super) stripe: Driven,
    pub(super) service: Service,
    pub(super) lives: Lives,
    pub(super) dice: Dice,
    pub(super) now: Seconds,
    pub(super) end: Seconds,
    pub(super) figures: Figures,
    /// The events before the year, which are delivered to nobody.
    before: usize,
    reached: BTreeSet<String>,
    /// What the live index answered, and when.
    pub(super) answered: Vec<(String, &'static str, Seconds, (bool, &'static str))>,
    pub(super) decisions: Decisions,
    pub(super) gifts: Gifts,
}

impl Year {
    /// Lives it, and finds out what was known of it.
    pub(super) async fn lived(plan: Plan) -> Self {
        let begun = Instant::now();
        let mut year = Self::begin(plan).await;
        year.live().await;
        year.ask_the_rest().await;
        year.end().await;
        year.judge().await;
        if plan.asks && plan.silent_days == 0 {
            year.figures.drift = Some(year.drift().await);
        }
        year.figures.seconds = begun.elapsed().as_secs_f64();
        year
    }

    async fn begin(plan: Plan) -> Self {
        let end = BEGIN + plan.days * DAY;
        let mut stripe = Simulator::empty(BEGIN, plan.seed, SECRETS[0]);
        stripe.sell(PRODUCTS).unwrap();
        stripe.set_faults(faults(&plan, None));
        // Without webhooks, events older than a month tell nobody whose a checkout was.
        let named_by_checkout_alone = plan.silent_days < 30 && plan.seed.is_multiple_of(2);
        let mut lives = Lives::new(plan.seed, plan.members, BEGIN, end, named_by_checkout_alone);
        lives.settings(&mut stripe, DunningEnd::Cancel);
        let before = stripe.events().len();
        let stripe = Driven::open(stripe).await.unwrap();
        let catalog = plan.policy().catalog();
        let service = Service::new(plan.store, &catalog, stripe.address(), SECRETS[0], BEGIN).await;
        Self {
            plan,
            stripe,
            service,
            lives,
            dice: Dice::new(plan.seed ^ 0x9e37),
            now: BEGIN,
            end,
            figures: Figures::default(),
            before,
            reached: BTreeSet::new(),
            answered: Vec::new(),
            decisions: Decisions::new(&plan),
            gifts: Gifts::new(&plan),
        }
    }

    /// Lives it to its end.
    async fn live(&mut self) {
        let (mut next_backfill, mut next_reconcile) = (BEGIN + 2 * DAY, BEGIN + 7 * DAY);
        let (mut next_version, mut version) = (BEGIN + 30 * DAY, 0);
        let mut turning =
            vec![(self.end - 180 * DAY, Turn::Roll), (self.end - 180 * DAY + 12 * HOUR, Turn::Trust)];
        turning.push((self.end - 60 * DAY, Turn::Rename));
        while self.now < self.end {
            let step = self.now + 12 * HOUR;
            let to = self.lives.next().map_or(step, |next| next.min(step)).clamp(self.now, self.end);
            if to > self.now {
                self.sample().await;
                self.ask_until(to).await;
            }
            self.now = to;
            self.service.set_clock(to);
            let lives = &mut self.lives;
            self.stripe
                .with(|stripe| {
                    stripe.advance_to(to);
                    lives.go_on(stripe);
                })
                .await;
            for member in std::mem::take(&mut self.lives.registering) {
                self.service.register(&member, to).await;
            }
            self.deliver().await;
            self.give_or_take().await;
            let asks = self.plan.asks && !self.is_silent();
            if asks && to >= next_backfill {
                next_backfill = to + 2 * DAY;
                self.figures.backfilled += self.service.backfill().await.stored;
            }
            if asks && to >= next_reconcile {
                next_reconcile = to + 7 * DAY;
                self.figures.differed_on_the_way += self.service.reconcile().await.differing;
            }
            if to >= next_version {
                (next_version, version) = (to + 30 * DAY, (version + 1) % VERSIONS.len());
                let faults = faults(&self.plan, VERSIONS[version]);
                self.stripe.with(|stripe| stripe.set_faults(faults)).await;
            }
            while turning.first().is_some_and(|(at, _)| *at <= to) {
                match turning.remove(0).1 {
                    Turn::Roll => {
                        self.stripe.with(|stripe| stripe.outbox.roll_secret(SECRETS[1], to, DAY)).await;
                    }
                    Turn::Trust => self.service.trust(SECRETS[1]),
                    Turn::Rename => {
                        let renamed = self.plan.policy().catalog().replace("\"Basic\"", "\"Foundations\"");
                        self.service.apply_catalog(&renamed, "the-other-name").await;
                    }
                }
            }
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.now >= self.end - self.plan.silent_days * DAY && self.plan.silent_days > 0
    }

    /// Posts what is due to the webhook, and has it carried out.
    pub(super) async fn deliver(&mut self) {
        let now = self.now;
        let due = self.stripe.with(|stripe| stripe.take_deliveries(now)).await;
        if self.plan.lost.is_none() || self.is_silent() {
            return;
        }
        for delivery in due {
            let SignedDelivery { event, body, signature, .. } = self.as_planned(delivery);
            let told = serde_json::from_str(&body).unwrap();
            assert_eq!(self.service.receive(body, &signature).await, 200, "{event}");
            self.ask_amid(&told).await;
            self.figures.deliveries += 1;
            if !self.reached.insert(event) {
                self.figures.doubled += 1;
            }
        }
        self.service.carry_out().await;
    }

    fn as_planned(&self, mut delivery: SignedDelivery) -> SignedDelivery {
        if self.plan.dated_by_arrival {
            let mut body: Value = serde_json::from_str(&delivery.body).unwrap();
            body["created"] = self.now.into();
            delivery.body = body.to_string();
            let secrets = SECRETS.map(|secret| sign(secret, delivery.body.as_bytes(), moment(self.now)));
            delivery.signature = format!("{},{}", secrets[0], secrets[1].split_once(',').unwrap().1);
        }
        delivery
    }

    /// Asks the live index, to be compared with what the log says was known then.
    async fn sample(&mut self) {
        let bought: Vec<_> =
            self.lives.members.iter().filter(|member| !member.subscriptions.is_empty()).collect();
        if bought.is_empty() || self.dice.below(12) > 0 {
            return;
        }
        let member = bought[self.dice.below(bought.len())].id.clone();
        let video = VIDEOS[1 + self.dice.below(2)];
        if self.service.knows(&member) {
            let answer = self.service.answers(&member, video, self.now).await;
            self.answered.push((member, video, self.now, answer));
        }
    }

    /// What is still on its way arrives, and Stripe is asked once more.
    async fn end(&mut self) {
        let now = self.now;
        self.stripe.with(|stripe| stripe.outbox.flush(now)).await;
        self.deliver().await;
        if self.plan.asks {
            // Looks come before the events that they make superfluous, which is the harder order.
            let found = self.service.reconcile().await;
            self.figures.differed_at_the_end = found.differing;
            self.figures.backfilled += self.service.backfill().await.stored;
            self.figures.left = self.service.reconcile().await.differing;
        }
        self.figures.events = self.stripe.with(|stripe| stripe.events().len()).await - self.before;
        self.figures.dropped =
            if self.plan.lost.is_some() { self.figures.events - self.reached.len() } else { 0 };
        self.figures.done = std::mem::take(&mut self.lives.done);
    }
}

/// What is done to the service in the middle of the year.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Stripe signs with another, and for a day with both.
    Roll,
    /// The service gets to know it, and trusts the old one no longer.
    Trust,
    /// A plan gets another name, which decisions tell.
    Rename,
}

fn faults(plan: &Plan, version: Option<&str>) -> Faults {
    let Some(drop) = plan.lost else { return Faults::default() };
    let api_version = version.map(str::to_owned);
    Faults { drop, duplicate: 0.2, shuffle: true, delay: Some(3 * DAY), api_version, ..Faults::default() }
}
