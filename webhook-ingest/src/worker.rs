//! Carries deliveries out: translates each, finds whose it is, tells the aggregates, and writes down what became of it.
//!
//! The mark is set only after the events are durable. A crash between the two runs the delivery again, which then
//! changes nothing, since every aggregate knows what it has been told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::billing::BillingError;
use domain::catalog::Catalog;
use domain::clock::Clock;
use domain::customer::Customer;
use domain::ids::{CustomerId, SubscriptionId};
use domain::member::Member;
use domain::metadata::Actor;
use domain::payment::Payment;
use domain::ports::{CommandBus, CommandError, EventFeed, Payers, StoreError};
use domain::subscription::Subscription;
use fail::fail_point;
use metrics::{counter, histogram};
use thiserror::Error;
use tokio::sync::Notify;
use tracing::{Instrument, info_span};

use crate::handling::Settled;
use crate::inbox::{Asked, Delivery, ERASED_MEMBER, Inbox, MOST_POSTPONED, Outcome, Redrive, Selection, Why};
use crate::notebook::Notebook;
use crate::provider::Provider;
use crate::stripe::translate::{SUBSCRIBED, why};

/// How many deliveries are taken at once.
const BATCH: usize = 16;
/// How long a taken delivery is ours: far longer than carrying out a batch takes, and as long as a buyer may wait when
/// the process that took it dies. Carrying one out twice is harmless.
const LEASE: Duration = Duration::from_secs(10);
/// How long to wait for a hint before looking anyway.
const IDLE: Duration = Duration::from_millis(500);
/// Reasons for setting a delivery aside that end when a catalogue, a member, a link, a subscription, a setting or another
/// version comes.
const CURABLE: [&str; 13] = [
    "unreadable",
    "incomplete_object",
    "no_time",
    "no_catalog",
    "unmapped_product",
    "unknown_member",
    UNKNOWN_CUSTOMER,
    UNLINKED,
    "other_mode",
    "thin_event",
    "provider_unavailable",
    "provider_refuses",
    UNKNOWN_PAYMENT,
];
/// Reasons that end when a payer is linked.
const UNKNOWN_CUSTOMER: &str = "unknown_customer";
const UNLINKED: &str = "unlinked";
const CONTRADICTION: &str = "contradiction";
/// Where the notebook has the version that last went through what versions before it passed over.
const VERSION: &str = "redriven_for_version";
/// Reasons that end when what a payment or an invoice paid for is told.
const UNKNOWN_PAYMENT: &str = "unknown_payment";
const UNKNOWN_INVOICE: &str = "unknown_invoice";
/// The reason that ends when a subscription is seen.
const UNKNOWN_SUBSCRIPTION: &str = "unknown_subscription";
/// All reasons, as they are counted.
const CODES: [&str; 27] = [
    "applied",
    "no_change",
    "stale",
    "error",
    "unreadable",
    "other_mode",
    "other_account",
    "no_catalog",
    "unmapped_product",
    UNKNOWN_CUSTOMER,
    UNLINKED,
    "unknown_member",
    ERASED_MEMBER,
    UNKNOWN_SUBSCRIPTION,
    UNKNOWN_PAYMENT,
    UNKNOWN_INVOICE,
    CONTRADICTION,
    "no_member_named",
    "thin_event",
    "no_time",
    "no_subscription",
    "no_invoice",
    "unhandled_type",
    "advisory",
    "incomplete_object",
    "provider_unavailable",
    "provider_refuses",
];
/// After so many attempts a delivery is left for people.
const MOST_ATTEMPTS: u32 = 20;

/// What the worker needs to know from read models.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The catalogue as this process knows it now, perhaps some milliseconds behind the log.
    fn catalog(&self) -> Arc<Catalog>;

    /// The catalogue as of the end of the log.
    async fn latest_catalog(&self) -> Result<Arc<Catalog>, StoreError>;

    /// The subscriptions a payer has or had, as of the end of the log.
    async fn subscriptions_of(&self, customer: &CustomerId) -> Result<Vec<SubscriptionId>, StoreError>;
}

/// What the worker works with.
pub struct Worker {
    /// The deliveries.
    pub inbox: Arc<dyn Inbox>,
    /// The log, for reading single streams.
    pub feed: Arc<dyn EventFeed>,
    /// Tells subscriptions.
    pub subscriptions: Arc<dyn CommandBus<Subscription>>,
    /// Tells payers.
    pub customers: Arc<dyn CommandBus<Customer>>,
    /// Tells payments.
    pub payments: Arc<dyn CommandBus<Payment>>,
    /// Tells members.
    pub members: Arc<dyn CommandBus<Member>>,
    /// Who payers are.
    pub payers: Arc<dyn Payers>,
    /// What is remembered between one step and the next.
    pub notebook: Arc<dyn Notebook>,
    /// Stripe, where there is a key to ask it with.
    pub provider: Option<Arc<dyn Provider>>,
    /// Told when something waits for a look at Stripe.
    pub looks: Arc<Notify>,
    /// Knows the catalogue and who has which subscriptions.
    pub registry: Arc<dyn Registry>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Which of Stripe's modes is ours; either, when not set.
    pub livemode: Option<bool>,
    /// Told when a delivery may be waiting.
    pub wake: Arc<Notify>,
    /// Whether it is to stop.
    pub stopping: AtomicBool,
    /// Whether it only finds out what would happen: then nothing that waits is touched.
    pub rehearsing: bool,
}

/// Why a delivery was not carried out this time.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others kept changing the same aggregate.
    #[error("{0} is being changed by others")]
    Contended(String),
    /// Nobody foresaw this.
    #[error("the worker stopped while carrying this out: {0}")]
    Panicked(String),
    /// Stripe could not be asked.
    #[error(transparent)]
    Billing(#[from] BillingError),
}

impl<E: std::error::Error> From<CommandError<E>> for Trouble {
    fn from(error: CommandError<E>) -> Self {
        match error {
            CommandError::Store(error) => Self::Store(error),
            CommandError::Contended(id) => Self::Contended(id),
            CommandError::Erased(member) => Self::Contended(format!("{member}, who was erased,")),
            // Refusals are handled where they can occur; this one would be a rule nobody expected.
            CommandError::Refused(error) => Self::Panicked(error.to_string()),
        }
    }
}

impl Worker {
    /// Carries deliveries out until it is told to stop.
    pub async fn run(self: Arc<Self>) {
        let mut failing = false;
        while !self.is_stopping() {
            match self.drain().await {
                Ok(_) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "deliveries wait: the inbox cannot be reached");
                    }
                    failing = true;
                }
            }
            // A hint that comes while we work is kept for us; polling is the truth.
            let _ = tokio::time::timeout(IDLE, self.wake.notified()).await;
        }
    }

    /// Has it stop after the delivery that it is carrying out. Others that it has taken are given back, so that another
    /// process need not wait for the end of their lease.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Carries out everything that is due, and says how many deliveries that was.
    pub async fn drain(self: &Arc<Self>) -> Result<u64, StoreError> {
        let mut carried_out = 0;
        while !self.is_stopping() {
            let batch = self.inbox.claim(self.clock.now(), LEASE, BATCH).await?;
            if batch.is_empty() {
                break;
            }
            fail_point!("worker::claimed");
            let mut batch = batch.into_iter();
            while let Some(delivery) = batch.next() {
                self.carry_out(delivery).await?;
                carried_out += 1;
                if self.is_stopping() {
                    let rest: Vec<String> = batch.by_ref().map(|delivery| delivery.id).collect();
                    self.inbox.release(&rest).await?;
                }
            }
        }
        Ok(carried_out)
    }

    async fn carry_out(self: &Arc<Self>, delivery: Delivery) -> Result<(), StoreError> {
        // The events that follow carry the delivery's id as their correlation id.
        let id = delivery.id.as_str();
        let span = info_span!("delivery", delivery = id, correlation_id = id, attempt = delivery.attempts);
        let begun = Instant::now();
        let done = self.carry_out_in_span(delivery).instrument(span).await;
        histogram!("membership_delivery_duration_seconds").record(begun.elapsed());
        done
    }

    async fn carry_out_in_span(self: &Arc<Self>, delivery: Delivery) -> Result<(), StoreError> {
        let delivery = Arc::new(delivery);
        let (id, attempts) = (delivery.id.as_str(), delivery.attempts);
        let trouble = match self.try_once(&delivery).await {
            Ok((outcome, why)) => {
                tracing::info!(delivery = id, %outcome, reason = why.code, "delivery carried out");
                let waits = is_curable(&why.code).then(|| why.code.clone());
                fail_point!("worker::settling");
                self.settle(id, outcome, why).await?;
                fail_point!("worker::settled");
                return self.look_again(&delivery, waits).await;
            }
            Err(trouble) => trouble,
        };
        let why = why("error", trouble.to_string());
        let hopeless = matches!(trouble, Trouble::Store(StoreError::Corrupt(_)) | Trouble::Panicked(_));
        if hopeless || attempts >= MOST_ATTEMPTS {
            tracing::error!(delivery = id, error = why.detail, attempts, "delivery failed");
            return self.settle(id, Outcome::Failed, why).await;
        }
        tracing::warn!(delivery = id, error = why.detail, attempts, "delivery postponed");
        counter!("membership_deliveries_postponed_total").increment(1);
        let now = self.clock.now();
        self.inbox.postpone(id, why, now + backoff(attempts), now).await
    }

    async fn settle(&self, id: &str, outcome: Outcome, why: Why) -> Result<(), StoreError> {
        let reason = label(&why.code);
        self.inbox.settle(id, outcome, Some(why), self.clock.now()).await?;
        counter!("membership_deliveries_settled_total", "outcome" => outcome.as_str(), "reason" => reason)
            .increment(1);
        Ok(())
    }

    async fn try_once(self: &Arc<Self>, delivery: &Arc<Delivery>) -> Result<Settled, Trouble> {
        let (worker, delivery) = (self.clone(), delivery.clone());
        // In a task of its own, so that a body nobody foresaw cannot take the worker with it.
        let work = async move { worker.understand(&delivery).await }.in_current_span();
        let done = tokio::spawn(work).await;
        done.unwrap_or_else(|panic| Err(Trouble::Panicked(panic.to_string())))
    }

    /// What a delivery waits for may have come after it was looked for and before the delivery was set aside, when it was
    /// not yet among those to be looked at again. So it is looked for once more, now that it is, until nothing new comes.
    async fn look_again(
        self: &Arc<Self>,
        delivery: &Arc<Delivery>,
        mut waits: Option<String>,
    ) -> Result<(), StoreError> {
        while let Some(code) = waits.take() {
            match self.try_once(delivery).await {
                Ok((_, why)) if why.code == code => {}
                Ok((outcome, why)) => {
                    waits = is_curable(&why.code).then(|| why.code.clone());
                    self.settle(&delivery.id, outcome, why).await?;
                }
                Err(trouble) => {
                    let now = self.clock.now();
                    let asked = self.asked("what it waits for may have come meanwhile");
                    self.inbox.redrive(Redrive::Id(delivery.id.clone()), asked).await?;
                    let (why, due) = (why("error", trouble.to_string()), now + backoff(delivery.attempts));
                    self.inbox.postpone(&delivery.id, why, due, now).await?;
                }
            }
        }
        Ok(())
    }

    /// What follows where a payer was linked: what is delivered about her is kept, and what waited for it looked at again.
    pub async fn linked(&self, customer: &CustomerId) -> Result<u64, StoreError> {
        if !self.rehearsing
            && let Some(member) = self.customer(customer).await?.member()
        {
            self.inbox.keep_payer(customer, member, self.clock.now()).await?;
        }
        self.redrive_of(customer).await
    }

    /// Has another look at what was parked because it was not clear whose a payer is, now that she is linked.
    pub async fn redrive_of(&self, customer: &CustomerId) -> Result<u64, StoreError> {
        let mut count = 0;
        for code in [UNKNOWN_CUSTOMER, UNLINKED, CONTRADICTION] {
            let which = Redrive::SetAside { code: code.to_owned(), of: Some(customer.to_string()) };
            count += self.redrive(which, "its payer is linked").await?;
        }
        Ok(count)
    }

    /// Has another look at what was passed over because nothing a subscription sells was known, now that the subscription
    /// is.
    pub(crate) async fn redrive_unmapped_of(&self, customer: &CustomerId) -> Result<u64, StoreError> {
        let code = "unmapped_product".to_owned();
        let which = Redrive::SetAside { code, of: Some(customer.to_string()) };
        self.redrive(which, "a subscription of its payer became known").await
    }

    /// Has another look at what waited for this payment, invoice or subscription, now that it is known.
    pub(crate) async fn redrive_concerning(&self, id: &str) -> Result<(), StoreError> {
        for code in [UNKNOWN_PAYMENT, UNKNOWN_INVOICE, UNKNOWN_SUBSCRIPTION] {
            let which = Redrive::SetAside { code: code.to_owned(), of: Some(id.to_owned()) };
            self.redrive(which, &format!("{id} became known")).await?;
        }
        Ok(())
    }

    /// Has another look at everything that was set aside for these reasons, of which one has gone.
    pub async fn redrive_set_aside(&self, codes: &[&str]) -> Result<u64, StoreError> {
        let mut count = 0;
        for code in codes {
            count += self.redrive(set_aside(code), cured(code)).await?;
        }
        Ok(count)
    }

    /// Has another look at everything that a new start, perhaps of a newer version or with other settings, may cure.
    pub async fn redrive_curable(&self) -> Result<u64, StoreError> {
        let mut count = self.redrive_handled_now().await?;
        for which in CURABLE.map(set_aside).into_iter().chain([Redrive::Failed]) {
            count += self.redrive(which, "the service was started").await?;
        }
        Ok(count)
    }

    /// An earlier version may have passed over types that this one knows. There may be very many of others, so they are
    /// gone through only when the version is another.
    async fn redrive_handled_now(&self) -> Result<u64, StoreError> {
        let version = env!("CARGO_PKG_VERSION");
        if self.notebook.note(VERSION).await?.as_deref() == Some(version) {
            return Ok(0);
        }
        let of = Selection {
            outcome: Some(Outcome::Ignored),
            reason: Some("unhandled_type".to_owned()),
            event_types: SUBSCRIBED.map(str::to_owned).into(),
            ..Selection::default()
        };
        let (mut count, mut after) = (0, None);
        loop {
            let asked = self.asked(&format!("version {version} knows its type"));
            let redriven = self.inbox.redrive_some(of.clone(), after, usize::MAX, asked).await?;
            count += redriven.count;
            after = redriven.last;
            if after.is_none() {
                break;
            }
        }
        self.notebook.write_note(VERSION, version).await?;
        Ok(count)
    }

    /// Makes deliveries pending again and wakes whoever carries them out.
    async fn redrive(&self, which: Redrive, why: &str) -> Result<u64, StoreError> {
        if self.rehearsing {
            return Ok(0);
        }
        let count = self.inbox.redrive(which, self.asked(why)).await?;
        self.wake.notify_one();
        Ok(count)
    }

    fn asked(&self, why: &str) -> Asked {
        Asked { at: self.clock.now(), actor: Actor::system(), why: why.to_owned() }
    }
}

fn set_aside(code: &str) -> Redrive {
    Redrive::SetAside { code: code.to_owned(), of: None }
}

/// What has happened when everything that was set aside for a reason is looked at again.
fn cured(code: &str) -> &'static str {
    match code {
        "no_catalog" | "unmapped_product" => "a catalogue was applied",
        "unknown_member" => "a member was registered",
        "provider_unavailable" => "Stripe can be asked again",
        _ => "what it waited for may have come",
    }
}

/// A reason's code as a label: one of a fixed set, whatever a later version or another process writes.
fn label(code: &str) -> &'static str {
    CODES.into_iter().find(|known| *known == code).unwrap_or("other")
}

/// Whether what a delivery waits for may have come just now.
fn is_curable(code: &str) -> bool {
    (CURABLE.contains(&code) && !code.starts_with("provider_"))
        || [UNKNOWN_INVOICE, UNKNOWN_SUBSCRIPTION].contains(&code)
}

/// Doubling from half a second to the longest time.
fn backoff(attempts: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << attempts.min(11)).min(MOST_POSTPONED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_that_is_written_in_these_sources_is_counted_by_its_name() {
        let sources = [include_str!("handling.rs"), include_str!("stripe/translate.rs")];
        let mut found = 0;
        for call in ["why(", "parked(", "ignored("] {
            let uses = sources.iter().flat_map(|source| source.split(call).skip(1));
            for code in uses.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()) {
                assert_eq!(label(code), code);
                found += 1;
            }
        }
        assert!(found >= CODES.len() - 1, "only {found}: {CODES:?}");
        assert_eq!(label("made_up"), "other");
    }
}
