//! What was true of a subscription, moment by moment: what access has to be decided by, whatever was told of it.

use super::Engine;
use super::clock::{Due, Seconds};
use super::model::{Dispute, Invoice, InvoiceStatus, Reversed, Status, Subscription, Truth};

impl Engine {
    /// What was true of a subscription at a moment.
    pub(crate) fn truth(&self, subscription: &str, at: Seconds) -> Option<&Truth> {
        self.truths(subscription).iter().rfind(|truth| truth.from <= at)
    }

    /// All that was ever true of a subscription, oldest first.
    pub(crate) fn truths(&self, subscription: &str) -> &[Truth] {
        self.store.subscriptions.find(subscription).map_or(&[], |kept| &kept.history)
    }

    /// Writes down what is true of a subscription from now on, and when it has to be looked at again.
    pub(super) fn note(&mut self, id: &str) {
        let now = self.now;
        self.touch::<Subscription>(id, |kept| {
            let owes = matches!(kept.status, Status::PastDue | Status::Unpaid | Status::Paused);
            kept.owing_since = owes.then(|| kept.owing_since.unwrap_or(now));
        });
        let Some(kept) = self.subscription(id) else { return };
        let truth = Truth {
            from: now,
            status: kept.status.name().to_owned(),
            price: kept.items.first().map(|item| item.price.clone()).unwrap_or_default(),
            paid_until: kept.paid_until,
            ended_at: kept.ended_at,
            cancels_at: kept.cancel_at.filter(|_| !kept.status.is_over()),
            paused_until: kept.pause_collection.as_ref().map(|_| paused_until(kept)),
            owed_since: self.owed_since(kept),
            reversed: self.reversed(id),
        };
        self.touch::<Subscription>(id, |kept| {
            let same = |last: &Truth| Truth { from: now, ..last.clone() } == truth;
            if kept.history.last().is_some_and(same) {
                return;
            }
            kept.history.retain(|earlier| earlier.from < now);
            kept.history.push(truth);
        });
        self.plan(Due::Subscription(id.to_owned()));
    }

    /// Grace counts from the first failed attempt of an invoice that is owed. One that has not failed since the subscription
    /// was last in order is not what makes it past due. Once what failed is paid nothing is owed, though the status waits for
    /// the next invoice.
    fn owed_since(&self, kept: &Subscription) -> Option<Seconds> {
        let since = kept.owing_since.filter(|_| kept.status == Status::PastDue)?;
        let failed = |invoice: &&Invoice| {
            invoice.status != InvoiceStatus::Paid && invoice.failures.iter().any(|failed| *failed >= since)
        };
        let first = self.invoices_of(&kept.id).filter(failed).filter_map(|invoice| invoice.failures.first());
        first.min().copied()
    }

    fn reversed(&self, id: &str) -> Reversed {
        let paid = || self.invoices_of(id).filter(|invoice| invoice.paid() > 0);
        let latest = paid().max_by_key(|invoice| invoice.paid_at);
        let given_back = |invoice: &Invoice| -> i64 {
            let charges = self.store.charges.iter().filter(|charge| charge.invoice == invoice.id);
            charges.map(|charge| charge.refunded).sum()
        };
        let disputes: Vec<_> = self.disputes_of(id).collect();
        let paid_since = |lost: &(&Dispute, &str)| {
            paid().any(|invoice| invoice.id != lost.1 && invoice.paid_at > lost.0.lost_at)
        };
        let is_open =
            |dispute: &Dispute| matches!(dispute.status.as_str(), "needs_response" | "under_review");
        Reversed {
            refunded: latest.is_some_and(|invoice| given_back(invoice) >= invoice.paid()),
            disputed: disputes.iter().any(|(dispute, _)| is_open(dispute)),
            lost: disputes.iter().any(|lost| lost.0.lost_at.is_some() && !paid_since(lost)),
        }
    }

    fn invoices_of(&self, id: &str) -> impl Iterator<Item = &Invoice> {
        self.store.invoices.iter().filter(move |invoice| invoice.subscription == id)
    }

    /// The disputes of a subscription's payments, each with the invoice that was paid.
    fn disputes_of(&self, id: &str) -> impl Iterator<Item = (&Dispute, &str)> {
        self.store.disputes.iter().filter_map(move |dispute| {
            let charge = self.store.charges.find(&dispute.charge)?;
            let invoice = self.invoice(&charge.invoice).filter(|invoice| invoice.subscription == id)?;
            Some((dispute, invoice.id.as_str()))
        })
    }

    /// The same for the subscription that a charge was made for.
    pub(super) fn note_of_charge(&mut self, charge: &str) {
        let paid = self.store.charges.find(charge).and_then(|charge| self.invoice(&charge.invoice));
        if let Some(subscription) = paid.map(|invoice| invoice.subscription.clone()) {
            self.note(&subscription);
        }
    }
}

/// The end of the period that ran when the pause that is on began.
fn paused_until(kept: &Subscription) -> Seconds {
    kept.history.last().and_then(|truth| truth.paused_until).unwrap_or(kept.period.end)
}
