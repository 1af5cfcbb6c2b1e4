//! What came of something a member asked for, looked up instead of waited for: a buyer who comes back from her checkout is
//! faster than the webhook that tells of it, and that may be late or lost.

use domain::billing::BillingError;
use domain::customer::{Customer, Deletion};
use domain::ids::{CustomerId, MemberId, SourceEventId, SubscriptionId};
use domain::metadata::Context;
use domain::subscription::Schedule;
use serde_json::Value;

use crate::handling::PROVIDER;
use crate::inbox::Outcome;
use crate::provider::Found;
use crate::reconcile::{Purpose, ReconcileError};
use crate::stripe::translate::{checkout_seen, named_by, schedule_seen};
use crate::worker::{Trouble, Worker};

/// How a checkout stands at Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purchase {
    /// There is none with this id, or it is somebody else's.
    NotHers,
    /// It has not been paid.
    Open,
    /// It cannot be paid any more.
    Expired,
    /// It is finished, and what it started is in the log.
    Complete {
        /// What it started.
        subscription: SubscriptionId,
        /// Whether the money has come, or none is needed.
        paid: bool,
    },
}

impl Worker {
    /// Takes in a checkout that a member says she came back from, and what it started.
    pub async fn take_in_checkout(
        &self,
        member: &MemberId,
        session: &str,
    ) -> Result<Purchase, ReconcileError> {
        let provider = self.provider.as_deref().ok_or(BillingError::NotConfigured)?;
        let Some(object) = provider.object(session).await? else { return Ok(Purchase::NotHers) };
        if !self.is_hers(member, &object).await? {
            return Ok(Purchase::NotHers);
        }
        match object.get("status").and_then(Value::as_str) {
            Some("open") => return Ok(Purchase::Open),
            Some("expired") => return Ok(Purchase::Expired),
            _ => {}
        }
        let now = self.clock.now();
        let Some((checkout, named)) = checkout_seen(&object, now) else { return Ok(Purchase::NotHers) };
        let Some(subscription) = checkout.subscription.clone() else { return Ok(Purchase::NotHers) };
        let paid = checkout.payment_status.as_deref() != Some("unpaid");
        let mut context = Context::told_by(PROVIDER, &format!("api:{session}").into(), now);
        session.clone_into(&mut context.correlation_id);
        let (outcome, why) = self.record_checkout(checkout, named, context).await?;
        if outcome == Outcome::Parked {
            return Err(ReconcileError::Other(why.detail));
        }
        self.follow(&subscription, session).await?;
        Ok(Purchase::Complete { subscription, paid })
    }

    /// Takes in a subscription that has just been changed on request, with the change of plans that is to come.
    pub async fn follow(&self, subscription: &SubscriptionId, request: &str) -> Result<(), ReconcileError> {
        let provider = self.provider.as_deref().ok_or(BillingError::NotConfigured)?;
        let Some(found) = provider.subscription(subscription).await? else { return Ok(()) };
        self.take_in(&found, Purpose::Following(request)).await?;
        let scheduled = match found.object.get("schedule").and_then(Value::as_str) {
            Some(schedule) => provider.object(schedule).await?,
            None => None,
        };
        let next = scheduled.as_ref().and_then(schedule_seen).and_then(|(_, next)| next);
        let (state, _) = self.held(subscription, None).await?;
        let known = state.schedule().and_then(|held| held.next.as_ref());
        let same = match (known, &next) {
            (Some(known), Some(next)) => (known.from, &known.items) == (next.from, &next.items),
            (known, next) => known.is_none() && next.is_none(),
        };
        if same {
            return Ok(());
        }
        let source = format!("api:{subscription}:schedule@{}", found.asked.as_of.timestamp_micros());
        let context = Context {
            correlation_id: request.to_owned(),
            ..Context::told_by(PROVIDER, &source.as_str().into(), found.asked.as_of)
        };
        let schedule = Schedule { at: found.asked.as_of, source: source.into(), next };
        self.record_schedule(subscription.clone(), schedule, context).await?;
        Ok(())
    }

    /// Takes in all that Stripe has of a payer, since what was bought a moment ago may not have been told yet.
    pub async fn follow_payer(&self, payer: &CustomerId, request: &str) -> Result<(), ReconcileError> {
        let provider = self.provider.as_deref().ok_or(BillingError::NotConfigured)?;
        let mut after: Option<String> = None;
        loop {
            let page = match provider.subscriptions(Some(payer), after.as_deref()).await {
                Err(BillingError::Refused { code, .. }) if code == "resource_missing" => {
                    return self.payer_is_gone(payer, request).await;
                }
                page => page?,
            };
            // An empty list may be that of a payer that was deleted.
            if after.is_none() && page.objects.is_empty() && payer.as_str().starts_with("cus_") {
                let payer_there = provider.object(payer.as_str()).await?;
                let is_gone = |payer: &Value| payer.get("deleted").and_then(Value::as_bool) == Some(true);
                return if payer_there.as_ref().is_none_or(is_gone) {
                    self.payer_is_gone(payer, request).await
                } else {
                    Ok(())
                };
            }
            let mut last = None;
            for raw in &page.objects {
                let object: Value = serde_json::from_str(raw.get()).map_err(|error| {
                    BillingError::Unavailable(format!("its answer cannot be read: {error}"))
                })?;
                last = object.get("id").and_then(Value::as_str).map(str::to_owned);
                self.take_in(&Found { object, asked: page.asked }, Purpose::Following(request)).await?;
            }
            if !page.has_more || last.is_none() || last == after {
                return Ok(());
            }
            after = last;
        }
    }

    /// Writes down that Stripe does not know a payer any more, so that she pays for nothing again. While something of hers runs
    /// that is left to people and to comparing: a key of another account would end it all otherwise.
    async fn payer_is_gone(&self, payer: &CustomerId, request: &str) -> Result<(), ReconcileError> {
        for id in self.registry.subscriptions_of(payer).await? {
            let (state, _) = self.held(&id, None).await?;
            if state.standing(None).is_some_and(|standing| !standing.terms.status.is_final()) {
                tracing::warn!(%payer, subscription = %id, "the provider does not know the payer of what runs");
                return Ok(());
            }
        }
        let now = self.clock.now();
        let source: SourceEventId = format!("api:{payer}@{}", now.timestamp_micros()).into();
        let mut context = Context::told_by(PROVIDER, &source, now);
        request.clone_into(&mut context.correlation_id);
        let (outcome, why) =
            self.delete_customer(payer.clone(), Deletion { source, at: now }, context).await?;
        tracing::info!(%payer, ?outcome, why = why.detail, "the provider does not know a payer any more");
        Ok(())
    }

    /// By the link that is held, else by the member that the checkout names.
    async fn is_hers(&self, member: &MemberId, checkout: &Value) -> Result<bool, Trouble> {
        let named = named_by(checkout);
        if named.iter().any(|named| named != member.as_str()) {
            return Ok(false);
        }
        let payer = checkout.get("customer").and_then(|customer| customer.as_str());
        let payer = match payer {
            Some(payer) => self.customer(&payer.into()).await?,
            None => Customer::default(),
        };
        let by_name = !named.is_empty() && !payer.is_unlinked_from(member.as_str());
        Ok(payer.member().map_or(by_name, |held| held == member))
    }
}
