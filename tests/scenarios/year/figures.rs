//! What a simulated year came to.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Plan;
use super::drift::Drifted;

/// What a year came to.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) events: usize,
    pub(super) deliveries: usize,
    pub(super) dropped: usize,
    pub(super) doubled: usize,
    pub(super) backfilled: u64,
    /// Subscriptions that differed in the comparisons made during the year, while deliveries were still on their way.
    pub(super) differed_on_the_way: u64,
    /// Those that the comparison after the year found, and those that differed still in the next.
    pub(super) differed_at_the_end: u64,
    pub(super) left: u64,
    /// Subscriptions whose terms are not those at Stripe, after the last comparison.
    pub(super) differences: Vec<String>,
    pub(super) subscriptions: usize,
    pub(super) probes: usize,
    pub(super) wrong: Vec<String>,
    /// Wrong answers about the moment that is now.
    pub(super) wrong_now: Vec<String>,
    /// Answers given on the way that the log no longer explains as it was known then.
    pub(super) unexplained: Vec<String>,
    pub(super) drift: Option<Drifted>,
    /// What happened, and how often.
    pub(super) done: BTreeMap<String, u32>,
    pub(super) seconds: f64,
}

impl Figures {
    /// Every subscription is known as it is at Stripe.
    pub(super) fn agrees_with_stripe(&self) -> bool {
        self.differences.is_empty() && self.left == 0
    }

    pub(super) fn is_clean(&self) -> bool {
        self.agrees_with_stripe()
            && self.wrong.is_empty()
            && self.wrong_now.is_empty()
            && self.unexplained.is_empty()
            && self.drift.as_ref().is_none_or(Drifted::is_clean)
    }

    pub(super) fn told(&self, plan: &Plan) -> String {
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let share = |part: usize| 100.0 * number(part) / number(self.events.max(1));
        let mut text = format!(
            "YEAR_SEED={} {:?} {} members {} days: {} events, {} deliveries, {} dropped ({:.1} %), {} doubled ({:.1} %), \
             {} backfilled, {} differed on the way, {} at the end, {} subscriptions with {} differences, \
             {} probes with {} wrong, {} wrong now, {} unexplained, {:.0} s",
            plan.seed,
            plan.store,
            plan.members,
            plan.days,
            self.events,
            self.deliveries,
            self.dropped,
            share(self.dropped),
            self.doubled,
            share(self.doubled),
            self.backfilled,
            self.differed_on_the_way,
            self.differed_at_the_end,
            self.subscriptions,
            self.differences.len(),
            self.probes,
            self.wrong.len(),
            self.wrong_now.len(),
            self.unexplained.len(),
            self.seconds,
        );
        if let Some(drift) = &self.drift {
            let _ = write!(text, "\n  {drift}");
        }
        for found in [&self.differences, &self.wrong_now, &self.wrong, &self.unexplained] {
            for (place, report) in found.iter().take(40).enumerate() {
                // The first few with all there is to find out why.
                let shown = if place < 3 { report } else { report.lines().next().unwrap_or_default() };
                let _ = write!(text, "\n  {shown}");
            }
        }
        text
    }
}
