//! How members' wishes ended whose asking was cut off: they are on record before Stripe is asked, and the process that asked may
//! have ended before it heard the answer.
//!
//! Stripe's own state decides: what was wished for is so, or it is not. Nothing is asked for again, however it ended: hours later
//! nobody knows whether she still wants it, and Stripe forgets after a day that it was asked before.

use chrono::{DateTime, TimeDelta, Utc};
use domain::billing::BillingError;
use domain::ids::{MemberId, PriceId, SubscriptionId};
use domain::member::{Answer, MemberCommand, Wish};
use domain::membership::Held;
use domain::metadata::Context;
use domain::ports::StoreError;
use serde_json::Value;

use crate::handling::PROVIDER;
use crate::reconcile::ReconcileError;
use crate::worker::{Trouble, Worker};

/// Notes under this name are wishes whose end is not known, each with since when and whose.
const WISH: &str = "wish:";
/// Nobody is at a wish any more that was begun longer ago: no answers of Stripe's, with all repetitions, are waited for that long.
const CUT_OFF: TimeDelta = TimeDelta::minutes(10);
/// How many are looked at in one go.
const BATCH: usize = 100;

impl Worker {
    /// Remembers that a wish is being asked for.
    pub async fn wish_begun(&self, member: &MemberId, key: &str) -> Result<(), StoreError> {
        let text = format!("{} {member}", self.clock.now().to_rfc3339());
        self.notebook.write_note(&format!("{WISH}{key}"), &text).await
    }

    /// How a wish ended is on record.
    pub async fn wish_ended(&self, key: &str) -> Result<(), StoreError> {
        let name = format!("{WISH}{key}");
        let Some(text) = self.notebook.note(&name).await? else { return Ok(()) };
        self.notebook.remove_note(&name, &text).await
    }

    /// Finds out how wishes ended that were cut off. What goes wrong with one is no reason to leave the others.
    pub async fn settle_wishes(&self) -> Result<(), ReconcileError> {
        let mut done = Ok(());
        for (name, text) in self.notebook.notes(WISH, BATCH).await? {
            let begun = text.split_once(' ').and_then(|(at, member)| {
                Some((at.parse::<DateTime<Utc>>().ok()?, MemberId::parse(member).ok()?))
            });
            let is_cut_off = |at: DateTime<Utc>| self.clock.now() - at >= CUT_OFF;
            let settled = match begun {
                Some((at, _)) if !is_cut_off(at) => continue,
                Some((_, member)) => self.settle_wish(&member, name.trim_start_matches(WISH)).await,
                None => {
                    tracing::error!(name, "a note of a wish cannot be read");
                    Ok(())
                }
            };
            if settled.is_ok() {
                // A wish that was made again meanwhile has another note.
                self.notebook.remove_note(&name, &text).await?;
            }
            done = done.and(settled);
        }
        done
    }

    async fn settle_wish(&self, member: &MemberId, key: &str) -> Result<(), ReconcileError> {
        let state = self.member(member).await?;
        let Some(request) = state.request(key).filter(|request| !request.over) else { return Ok(()) };
        let Some(subscription) = request.wish.subscription() else { return Ok(()) };
        let answer = if state.is_followed(key) {
            // What Stripe says now may have come of what followed.
            Answer::Unanswered
        } else if self.is_fulfilled(subscription, &request.wish, key).await? {
            Answer::Confirmed
        } else {
            Answer::NotCarriedOut
        };
        tracing::info!(request = key, ?answer, "it was found out how a wish ended");
        let now = self.clock.now();
        let source = format!("api:{subscription}@{}", now.to_rfc3339());
        let context = Context::told_by(PROVIDER, &source.as_str().into(), now);
        let context = Context { correlation_id: key.to_owned(), ..context };
        let command = MemberCommand::RecordAnswer { key: key.to_owned(), answer };
        self.members.execute(member.as_str(), command, context).await.map_err(Trouble::from)?;
        Ok(())
    }

    /// Whether what was wished for is so at Stripe, of which the log then knows.
    async fn is_fulfilled(
        &self,
        subscription: &SubscriptionId,
        wish: &Wish,
        key: &str,
    ) -> Result<bool, ReconcileError> {
        let provider = self.provider.as_deref().ok_or(BillingError::NotConfigured)?;
        let Some(found) = provider.subscription(subscription).await? else { return Ok(false) };
        self.follow(subscription, key).await?;
        // Done as asked, and waiting for its payment.
        if let Wish::PlanChange(asked) = wish
            && waits_to_sell(&found.object, &asked.price)
        {
            return Ok(true);
        }
        let (state, _) = self.held(subscription, None).await?;
        Ok(Held::of(subscription, &state).is_some_and(|held| held.fulfils(wish)))
    }
}

fn waits_to_sell(subscription: &Value, price: &PriceId) -> bool {
    let items = subscription.pointer("/pending_update/subscription_items").and_then(Value::as_array);
    let price_of = |item: &Value| {
        let price = item.get("price")?;
        price.as_str().or_else(|| price.get("id")?.as_str()).map(str::to_owned)
    };
    items.into_iter().flatten().any(|item| price_of(item).as_deref() == Some(price.as_str()))
}
