//! The rules of access once more, written from the contract alone: the newest known look at a subscription wins, a debt
//! has grace from the first failed attempt, the best of all subscriptions and grants answers.

use super::world::{DAY, Event, Given, MYSTERY, Object, PRICES, SUBSCRIPTIONS, Tells, World};

pub(super) const VIDEOS: [&str; 3] = ["hello", "loops", "projections"];

/// What the model expects of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    /// There is no such member.
    Nobody,
    /// This, with one of these reasons; the end of a yes, where there is one.
    Answer { allowed: bool, reasons: Vec<&'static str>, until: Option<i64> },
    /// An older look is still on its way, and the answer hangs on it.
    Unsure,
}

/// What one subscription says about a moment.
struct Verdict {
    plans: Vec<&'static str>,
    reason: Result<&'static str, &'static str>,
    until: Option<i64>,
}

impl World {
    fn grace(&self) -> i64 {
        if self.revision == 1 { 3 * DAY } else { 14 * DAY }
    }

    /// What a price stands for under a catalogue.
    fn plan(price: &str, revision: usize) -> Option<&'static str> {
        match (price, revision) {
            (price, _) if price == MYSTERY => None,
            (price, 3) if price == PRICES[0] => Some("pro"),
            (price, _) if price == PRICES[0] => Some("basic"),
            _ => Some("pro"),
        }
    }

    fn opens(&self, plans: &[&str], video: &str) -> bool {
        plans.contains(&"pro") || plans.contains(&"basic") && (video == "loops" || self.revision == 2)
    }

    /// May this member watch this video now, by what is known?
    pub(super) fn expected(&self, member: usize, video: &str) -> Expected {
        if !self.registered[member] {
            return Expected::Nobody;
        }
        let answer = |allowed, reasons, until| Expected::Answer { allowed, reasons, until };
        if video == "hello" {
            return answer(true, vec!["free"], None);
        }
        let hers = (0..SUBSCRIPTIONS)
            .filter(|subscription| self.owner[Self::customer_of(*subscription)] == Some(member));
        let mut verdicts = Vec::new();
        for subscription in hers {
            match self.verdict(subscription) {
                Some(Ok(verdict)) => verdicts.push(verdict),
                Some(Err(())) => return Expected::Unsure,
                None => {}
            }
        }
        let counts = |given: &&Given| given.member == member && (given.revoked || given.from <= self.now);
        let given = self.grants.iter().filter(counts);
        verdicts.extend(given.map(|given| {
            let over = given.revoked || given.until.is_some_and(|until| until <= self.now);
            let reason = if over { Err("ended") } else { Ok("grant") };
            Verdict { plans: vec![given.plan], reason, until: given.until }
        }));
        if verdicts.is_empty() {
            return answer(false, vec!["no_membership"], None);
        }
        let opens = |verdict: &&Verdict| verdict.reason.is_ok() && self.opens(&verdict.plans, video);
        let longest = verdicts.iter().filter(opens).map(|verdict| verdict.until.unwrap_or(i64::MAX)).max();
        if let Some(longest) = longest {
            let until = Some(longest).filter(|until| *until != i64::MAX);
            let best = verdicts.iter().filter(opens).filter(|verdict| verdict.until == until);
            let mut reasons: Vec<_> = best.filter_map(|verdict| verdict.reason.ok()).collect();
            // What is paid for answers before what was given for as long.
            if reasons.iter().any(|reason| *reason != "grant") {
                reasons.retain(|reason| *reason != "grant");
            }
            return answer(true, reasons, until);
        }
        let no = |verdict: &Verdict| verdict.reason.err().unwrap_or("plan_too_low");
        answer(false, verdicts.iter().map(no).collect(), None)
    }

    /// What the newest known look at a subscription says now. An error where what it says hangs on one that is missing.
    fn verdict(&self, subscription: usize) -> Option<Result<Verdict, ()>> {
        let told = || self.events.iter().filter(move |event| event.subscription == subscription);
        let looks: Vec<(&Event, &Object)> =
            told().filter(|event| self.knows(event)).filter_map(look).collect();
        let &(_, newest) = looks.last()?;
        let older =
            told().take_while(|event| look(event).is_none_or(|(_, object)| !std::ptr::eq(object, newest)));
        let has_gap = older.into_iter().any(|event| !self.knows(event));

        let mapped = looks.iter().rev().find(|(_, object)| object.price != MYSTERY);
        let plan = match Self::plan(newest.price, self.revision) {
            Some(plan) => Some(plan),
            None => mapped.and_then(|(event, object)| Self::plan(object.price, event.learned_under?)),
        };
        let no = |reason| {
            Some(Ok(Verdict { plans: plan.into_iter().collect(), reason: Err(reason), until: None }))
        };

        let known = || told().filter(|event| self.knows(event));
        let is_paid = |owed: Option<usize>| {
            known().any(|event| {
                matches!(event.tells, Tells::Paid { invoice, amount, .. } if amount > 0 && owed.is_none_or(|owed| owed == invoice))
            })
        };
        let (reason, until) = match newest.status {
            "active" => ("subscription", None),
            "trialing" => ("trial", newest.trial_end),
            // Paid for, though the status does not say so yet.
            "incomplete" if is_paid(None) => ("subscription", None),
            "incomplete" => return no("payment_pending"),
            "past_due" if has_gap => return Some(Err(())),
            "past_due" if is_paid(newest.owes) => ("subscription", None),
            "past_due" => {
                let failed = |event: &&Event| matches!(event.tells, Tells::Failed { invoice, .. } if Some(invoice) == newest.owes);
                let first_failed = known().filter(failed).map(|event| event.at).min();
                let Some(first_failed) = first_failed else { return Some(Err(())) };
                let until = first_failed + self.grace();
                if self.now >= until {
                    return no("past_due");
                }
                ("grace", Some(until))
            }
            "unpaid" => return no("unpaid"),
            "paused" => return no("paused"),
            _ => return no("ended"),
        };
        let ends = newest.cancel_at.or(newest.at_period_end.then_some(newest.period_end));
        if ends.is_some_and(|ends| ends <= self.now) {
            return no("ended");
        }
        let mut ends_of_yes = vec![until, ends];
        if newest.collection_paused && self.revision == 1 {
            return no("paused");
        }
        if newest.collection_paused && self.revision == 2 {
            if has_gap {
                return Some(Err(()));
            }
            let since =
                looks.iter().rposition(|(_, object)| !object.collection_paused).map_or(0, |place| place + 1);
            let paid_until = looks[since].1.period_end;
            if paid_until <= self.now {
                return no("paused");
            }
            ends_of_yes.push(Some(paid_until));
        }
        let until = ends_of_yes.into_iter().flatten().filter(|end| *end > self.now).min();
        let reason = if ends.is_some() && reason != "grace" { "cancels_later" } else { reason };
        Some(Ok(Verdict { plans: plan.into_iter().collect(), reason: Ok(reason), until }))
    }
}

fn look(event: &Event) -> Option<(&Event, &Object)> {
    if let Tells::Look { object, .. } = &event.tells { Some((event, object)) } else { None }
}
