//! Where a subscription stands at a moment, with the moments earlier observations fix for it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::command::Extension;
use super::history::Observation;
use super::reversal::Told;
use super::terms::{Status, Terms};
use super::{Invoice, Subscription};
use crate::customer::Deletion;
use crate::ids::{PlanId, RemarkId, SourceEventId};

/// What the current terms alone do not tell, because it was fixed by something earlier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchors {
    /// The plans of the latest observation whose items were in the catalogue, best first.
    pub plans: Vec<PlanId>,
    /// Past due only: the first failed attempt of the invoice that is owed, from which grace counts.
    pub grace_from: Option<DateTime<Utc>>,
    /// Past due only: until when staff gave time to settle it, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_until: Option<DateTime<Utc>>,
    /// Past due or incomplete only: what was owed has been paid, the provider's status has not caught up yet.
    pub recovered_at: Option<DateTime<Utc>>,
    /// Collection paused only: the end of the paid period that ran when it was paused.
    pub paid_until: Option<DateTime<Utc>>,
    /// The latest payment was given back, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded_at: Option<DateTime<Utc>>,
    /// A payment is disputed, since this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disputed_since: Option<DateTime<Utc>>,
    /// A dispute was lost, and nothing has been paid since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispute_lost_at: Option<DateTime<Utc>>,
}

/// A subscription at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The terms that held.
    pub terms: Terms,
    /// What was fixed earlier.
    pub anchors: Anchors,
}

/// The provider events that made a standing what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Those that decided, oldest first.
    pub deciding: Vec<SourceEventId>,
    /// The time to settle that staff gave last, where that counts, by what was written about it.
    pub extended: Option<RemarkId>,
    /// The latest that told the same again, if any.
    pub confirmed_by: Option<SourceEventId>,
}

impl Subscription {
    /// Where the subscription stood at `at`, or stands now; nothing before it was first seen.
    pub fn standing(&self, at: Option<DateTime<Utc>>) -> Option<Standing> {
        let index = self.history.index_at(at)?;
        let observations = self.history.observations();
        let mut terms = observations[index].terms.clone();
        if terms.status.is_final() {
            let later = &observations[index + 1..];
            terms.ended_at = terms.ended_at.or_else(|| later.iter().find_map(|held| held.terms.ended_at));
            terms.end_reason =
                terms.end_reason.or_else(|| later.iter().find_map(|held| held.terms.end_reason.clone()));
        } else if let Some(deletion) = self.deletion_by(at) {
            terms.status = Status::Canceled;
            terms.ended_at = Some(deletion.at);
            terms.end_reason = Some("customer_deleted".to_owned());
        }
        Some(Standing { anchors: self.anchors(index, &terms, at), terms })
    }

    /// What made [`Subscription::standing`] at the same moment what it is.
    pub fn evidence(&self, at: Option<DateTime<Utc>>) -> Evidence {
        let Some(index) = self.history.index_at(at) else { return Evidence::default() };
        let observations = self.history.observations();
        let current = &observations[index];
        if let Some(deletion) = self.deletion_by(at).filter(|_| !current.is_final()) {
            return Evidence { deciding: vec![deletion.source.clone()], ..Evidence::default() };
        }
        let first = run_start(&observations[..=index], |held| held.terms == current.terms);
        let mut deciding = vec![observations[first].source.clone()];
        let says_so_again =
            |held: &&Observation| held.terms == current.terms && at.is_none_or(|at| held.at <= at);
        let again = observations[first + 1..].iter().rfind(says_so_again);
        let owed = self.owed(index, at);
        deciding.extend(owed.failed.map(|(_, source)| source.clone()));
        deciding.extend(owed.settled.map(|(_, source)| source.clone()));
        let reversals = [self.refunded(at), self.disputed(at), self.dispute_lost(at)];
        deciding.extend(reversals.into_iter().flatten().map(|(_, source)| source.clone()));
        if current.terms.plans.is_empty()
            && let Some(known) = self.history.mark(index).mapped
        {
            deciding.insert(0, observations[known].source.clone());
        }
        let extended = (current.terms.status == Status::PastDue && owed.settled.is_none())
            .then(|| self.extension(owed.grace_from(), at))
            .flatten()
            .map(|extension| extension.remark.clone());
        Evidence { deciding, extended, confirmed_by: again.map(|held| held.source.clone()) }
    }

    fn deletion_by(&self, at: Option<DateTime<Utc>>) -> Option<&Deletion> {
        self.deletion.as_ref().filter(|deletion| at.is_none_or(|at| deletion.at <= at))
    }

    fn anchors(&self, index: usize, terms: &Terms, at: Option<DateTime<Utc>>) -> Anchors {
        let (observations, mark) = (self.history.observations(), self.history.mark(index));
        let plans = mark.mapped.map(|mapped| observations[mapped].terms.plans.clone()).unwrap_or_default();
        let mut anchors = Anchors { plans, ..Anchors::default() };
        if !terms.status.is_final() {
            let owed = self.owed(index, at);
            anchors.recovered_at = owed.settled.map(|(settled_at, _)| settled_at);
            if terms.status == Status::PastDue {
                anchors.grace_from = Some(owed.grace_from());
            }
            if terms.status == Status::PastDue && owed.settled.is_none() {
                let extension = self.extension(owed.grace_from(), at);
                anchors.grace_until = extension.map(|extension| extension.until);
            }
        }
        if terms.collection_paused.is_some() {
            anchors.paid_until = observations[mark.paused_from].terms.period_end;
        }
        let moment = |told: Option<Told<'_>>| told.map(|(at, _)| at);
        anchors.refunded_at = moment(self.refunded(at));
        anchors.disputed_since = moment(self.disputed(at));
        anchors.dispute_lost_at = moment(self.dispute_lost(at));
        anchors
    }

    /// The time that staff gave last to settle a debt that began at `since`. What was given before that was for another one.
    fn extension(&self, since: DateTime<Utc>, at: Option<DateTime<Utc>>) -> Option<&Extension> {
        let given = |extension: &&Extension| extension.at >= since && at.is_none_or(|at| extension.at <= at);
        self.extensions.iter().rfind(given)
    }

    /// What is owed under the observation at `index`: a first payment, or a renewal that is past due.
    fn owed(&self, index: usize, at: Option<DateTime<Utc>>) -> Owed<'_> {
        let current = &self.history.observations()[index];
        match current.terms.status {
            Status::Incomplete => self.first_payment(current, at),
            Status::PastDue => self.renewal(index, at),
            _ => Owed { since: current.at, failed: None, settled: None },
        }
    }

    /// Until it is active, a subscription has one invoice to owe.
    fn first_payment(&self, current: &Observation, at: Option<DateTime<Utc>>) -> Owed<'_> {
        let settled = self.invoices.first_settled(at).map(|settled| (settled.at, &settled.source));
        Owed { since: current.at, failed: None, settled }
    }

    /// A renewal that is owed since the run of debt began that the observation at `index` is in.
    fn renewal(&self, index: usize, at: Option<DateTime<Utc>>) -> Owed<'_> {
        let (known, mark) = (&self.history.observations()[..=index], self.history.mark(index));
        let start = mark.owing_from;
        let fell_due = known[mark.fell_due.unwrap_or(start)].at;
        let paid_up = start.checked_sub(1).map(|before| known[before].at);
        let mut owed = Owed { since: fell_due, failed: None, settled: None };
        let mut failed_later = None;
        for invoice in self.invoices.failed_between(paid_up, at) {
            let attempts = invoice.attempts_by(at);
            let Some((source, first)) = attempts.min_by_key(|(source, made_at)| (*made_at, *source)) else {
                continue;
            };
            // An invoice that failed later than this did not make it fall due, so paying it settles something else.
            let is_cause = first <= fell_due + MOMENTS;
            match invoice.settled_by(at) {
                Some(_) if !is_cause => {}
                None if !is_cause => {
                    let later = failed_later.get_or_insert((first, source));
                    *later = (*later).min((first, source));
                }
                Some(settled) if owed.settled.is_none_or(|(latest, _)| latest < settled.at) => {
                    owed.settled = Some((settled.at, &settled.source));
                }
                None if owed.failed.is_none_or(|(held, _)| first < held) => {
                    owed.failed = Some((first, source));
                }
                _ => {}
            }
        }
        // What made it fall due is paid, and what failed meanwhile is owed still.
        if owed.settled.is_some() && owed.failed.is_none() {
            owed.failed = failed_later;
        }
        // A look that is newer than the payment tells of another debt: it counts from the first such look.
        let look = &known[known.len() - 1];
        if let Some((settled_at, _)) = owed.settled.filter(|(settled_at, _)| *settled_at < look.at) {
            let newer = self.history.first_after(start, settled_at).filter(|newer| *newer <= index);
            owed.since = newer.map_or(look.at, |newer| known[newer].at);
            owed.settled = None;
        }
        if owed.failed.is_some() {
            owed.settled = None;
        }
        owed
    }

    /// Since when the latest payment has been given back. A refund of an earlier one is between the payer and the owner.
    fn refunded(&self, at: Option<DateTime<Utc>>) -> Option<Told<'_>> {
        let refunded = self.invoices.reversed().filter_map(|(id, invoice)| {
            let paid = invoice.settled_by(at);
            let told = invoice.reversals.refunded(paid.map(|paid| paid.amount), at)?;
            let paid_at = paid.map_or(told.0, |paid| paid.at);
            (!self.invoices.is_paid_after(id, paid_at, at)).then_some(told)
        });
        refunded.max()
    }

    fn disputed(&self, at: Option<DateTime<Utc>>) -> Option<Told<'_>> {
        self.invoices.reversed().filter_map(|(_, invoice)| invoice.reversals.disputed(at)).min()
    }

    fn dispute_lost(&self, at: Option<DateTime<Utc>>) -> Option<Told<'_>> {
        let lost = self.invoices.reversed().filter_map(|(id, invoice)| {
            let told = invoice.reversals.lost(at)?;
            (!self.invoices.is_paid_after(id, told.0, at)).then_some(told)
        });
        lost.max()
    }

    pub(super) fn invoice(&self, id: &crate::ids::InvoiceId) -> Option<&Invoice> {
        self.invoices.get(id)
    }
}

/// How far apart the provider may date a failed attempt and the status that follows from it.
const MOMENTS: TimeDelta = TimeDelta::hours(1);

/// What is known of a payment that is owed. At most one of `failed` and `settled` is set.
struct Owed<'a> {
    since: DateTime<Utc>,
    failed: Option<(DateTime<Utc>, &'a SourceEventId)>,
    settled: Option<(DateTime<Utc>, &'a SourceEventId)>,
}

impl Owed<'_> {
    /// Grace counts from the first failed attempt, or from when it fell due where none is known.
    fn grace_from(&self) -> DateTime<Utc> {
        self.failed.map_or(self.since, |(failed_at, _)| failed_at)
    }
}

/// Where the unbroken run that ends with the last of `known` and satisfies `holds` began.
fn run_start(known: &[Observation], holds: impl Fn(&Observation) -> bool) -> usize {
    known.iter().rposition(|held| !holds(held)).map_or(0, |broken| broken + 1).min(known.len() - 1)
}
