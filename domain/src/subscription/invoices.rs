//! What is known of the payments of one subscription, invoice by invoice and in the order of time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::reversal::{Reversal, Reversals};
use crate::ids::{InvoiceId, PaymentId, SourceEventId};

/// What is known of one invoice's payment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    pub(super) attempts: BTreeMap<SourceEventId, DateTime<Utc>>,
    pub(super) settled: Option<Settled>,
    pub(super) reversals: Reversals,
    pub(super) notes: BTreeSet<SourceEventId>,
}

/// Ordered by when it was: of two tellings the earlier one holds, whichever arrives first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Settled {
    pub(super) at: DateTime<Utc>,
    pub(super) source: SourceEventId,
    /// In the currency's smallest unit.
    pub(super) amount: i64,
}

impl Invoice {
    pub(super) fn has_failed(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// The failed attempts made by `at`, or all.
    pub(super) fn attempts_by(
        &self,
        at: Option<DateTime<Utc>>,
    ) -> impl Iterator<Item = (&SourceEventId, DateTime<Utc>)> {
        let attempts = self.attempts.iter().map(|(source, made_at)| (source, *made_at));
        attempts.filter(move |(_, made_at)| at.is_none_or(|at| *made_at <= at))
    }

    pub(super) fn settled_by(&self, at: Option<DateTime<Utc>>) -> Option<&Settled> {
        self.settled.as_ref().filter(|settled| at.is_none_or(|at| settled.at <= at))
    }
}

/// All invoices of one subscription. What is asked about a moment is kept by moments too, so that of thousands of invoices
/// only those are looked at that matter then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invoices {
    by_id: BTreeMap<InvoiceId, Invoice>,
    /// The failed attempts.
    failed: BTreeSet<(DateTime<Utc>, InvoiceId, SourceEventId)>,
    settled: BTreeSet<(Settled, InvoiceId)>,
    /// Those of which something became after they were paid.
    reversed: BTreeSet<InvoiceId>,
}

impl Invoices {
    pub(super) fn get(&self, id: &InvoiceId) -> Option<&Invoice> {
        self.by_id.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&InvoiceId, &Invoice)> {
        self.by_id.iter()
    }

    /// An attempt to pay it failed.
    pub(super) fn fail(&mut self, id: &InvoiceId, source: &SourceEventId, at: DateTime<Utc>) {
        let invoice = self.by_id.entry(id.clone()).or_default();
        if let Some(held) = invoice.attempts.insert(source.clone(), at) {
            self.failed.remove(&(held, id.clone(), source.clone()));
        }
        self.failed.insert((at, id.clone(), source.clone()));
    }

    /// It was paid.
    pub(super) fn settle(&mut self, id: &InvoiceId, settled: Settled) {
        let invoice = self.by_id.entry(id.clone()).or_default();
        let first = match invoice.settled.take() {
            Some(held) => {
                let of_this = (held, id.clone());
                self.settled.remove(&of_this);
                of_this.0.min(settled)
            }
            None => settled,
        };
        self.settled.insert((first.clone(), id.clone()));
        invoice.settled = Some(first);
    }

    /// Something became of a payment of it.
    pub(super) fn reverse(&mut self, id: &InvoiceId, payment: PaymentId, reversal: Reversal) {
        self.by_id.entry(id.clone()).or_default().reversals.insert(payment, reversal);
        self.reversed.insert(id.clone());
    }

    /// Something happened to it that is no payment.
    pub(super) fn note(&mut self, id: &InvoiceId, source: &SourceEventId) {
        self.by_id.entry(id.clone()).or_default().notes.insert(source.clone());
    }

    /// The first that was paid, by `at`.
    pub(super) fn first_settled(&self, at: Option<DateTime<Utc>>) -> Option<&Settled> {
        self.settled
            .first()
            .map(|(settled, _)| settled)
            .filter(|settled| at.is_none_or(|at| settled.at <= at))
    }

    /// Those with an attempt that failed between two moments, both included, in the order of their ids.
    pub(super) fn failed_between(
        &self,
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> impl Iterator<Item = &Invoice> {
        let first = (from.unwrap_or(DateTime::<Utc>::MIN_UTC), InvoiceId::from(""), SourceEventId::from(""));
        let failed = self.failed.range(first..).take_while(|(at, ..)| until.is_none_or(|until| *at <= until));
        let ids: BTreeSet<&InvoiceId> = failed.map(|(_, id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.by_id.get(id))
    }

    pub(super) fn reversed(&self) -> impl Iterator<Item = (&InvoiceId, &Invoice)> {
        self.reversed.iter().filter_map(|id| self.by_id.get_key_value(id))
    }

    /// Whether another invoice was paid after `moment` and by `at`, and not by a credit.
    pub(super) fn is_paid_after(
        &self,
        but: &InvoiceId,
        moment: DateTime<Utc>,
        at: Option<DateTime<Utc>>,
    ) -> bool {
        let first = Settled { at: moment, source: SourceEventId::from(""), amount: i64::MIN };
        let paid = self.settled.range((first, InvoiceId::from(""))..);
        let mut by_then = paid.take_while(|(paid, _)| at.is_none_or(|at| paid.at <= at));
        by_then.any(|(paid, id)| paid.at > moment && paid.amount > 0 && id != but)
    }
}
