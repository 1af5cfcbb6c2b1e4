//! Compares subscriptions at Stripe with what the log says, and puts right what differs: Stripe may fail to make an event at
//! all, so that reading events, however often, is not enough.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use domain::billing::BillingError;
use domain::events::Event;
use domain::ids::{CustomerId, SourceEventId, SubscriptionId};
use domain::metadata::Context;
use domain::ports::StoreError;
use domain::subscription::{
    self, Difference, Drift, DriftCause, Kind, Look, Observation, Subscription, SubscriptionCommand,
    SubscriptionEvent,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::backfill::PAUSE;
use crate::handling::{Owner, PROVIDER};
use crate::inbox::Outcome;
use crate::notebook::Unused;
use crate::provider::{Found, Listed, Provider};
use crate::stripe::translate::{payer_seen, seen};
use crate::worker::{Trouble, Worker};

/// Where the notebook has how far an unfinished comparison is.
const NOTE: &str = "reconcile";
/// A comparison that was left off longer ago than this is begun again.
const STALE: TimeDelta = TimeDelta::hours(12);
/// Notes under this name are subscriptions or payers to be looked at soon.
const LOOK: &str = "look:";
/// How many are taken at once.
const BATCH: usize = 500;

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Subscriptions of members, compared.
    pub compared: u64,
    /// Those that differed.
    pub differing: u64,
    /// Those of them that do not differ any more.
    pub repaired: u64,
    /// Those that still do.
    pub left: u64,
    /// Subscriptions that sell nothing of the catalogue.
    pub foreign: u64,
    /// What differed.
    pub findings: Vec<Finding>,
    /// Subscriptions that nobody is known to have.
    pub unlinked: Vec<Unlinked>,
}

/// A subscription that differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// What differed.
    pub differences: Vec<Difference>,
    /// Why, as far as one can tell.
    pub cause: DriftCause,
    /// Whether it was put right.
    pub repaired: bool,
}

/// A subscription that nobody is known to have. It is named, so that people can link its payer; it is never guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlinked {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its payer.
    pub customer: CustomerId,
    /// Why its member is not known.
    pub why: String,
}

/// Why a comparison stopped. The next one goes on where it was.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// No key to ask Stripe with, or Stripe could not be asked.
    #[error(transparent)]
    Billing(#[from] BillingError),
    /// The log could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else was in the way.
    #[error("{0}")]
    Other(String),
}

impl From<Trouble> for ReconcileError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Store(error) => Self::Store(error),
            Trouble::Contended(_) | Trouble::Panicked(_) => Self::Other(trouble.to_string()),
            Trouble::Billing(error) => Self::Billing(error),
        }
    }
}

/// Why Stripe is looked at.
#[derive(Debug, Clone)]
pub(crate) enum Purpose<'r> {
    /// To find out whether something was not told, and perhaps why.
    Comparing {
        /// Why something differs, where that is known.
        cause: Option<DriftCause>,
        /// The request that asked for it: what it appends follows from that.
        request: Option<&'r str>,
    },
    /// To see at once what came of this request instead of waiting to be told.
    Following(&'r str),
}

/// What one look showed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Compared {
    /// What was known.
    Same,
    /// Something else.
    Differed(Vec<SubscriptionEvent>, Drift),
    /// It sells nothing of the catalogue.
    Foreign(String),
    /// Nobody is known to have it.
    Unlinked(CustomerId, String),
    /// It has no id, payer or status.
    Unreadable,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Run {
    began: DateTime<Utc>,
    after: Option<String>,
    report: Reconciled,
}

impl Worker {
    fn provider(&self) -> Result<&dyn Provider, BillingError> {
        self.provider.as_deref().ok_or(BillingError::NotConfigured)
    }

    /// Compares every subscription, from where an interrupted comparison left off, and says now and then how far it is.
    pub async fn reconcile(
        &self,
        mut progress: impl FnMut(&Reconciled) + Send,
    ) -> Result<Reconciled, ReconcileError> {
        let provider = self.provider()?;
        let now = self.clock.now();
        let left_off = self.notebook.note(NOTE).await?.and_then(|note| serde_json::from_str(&note).ok());
        let mut run = left_off.filter(|run: &Run| now - run.began < STALE).unwrap_or_else(|| Run {
            began: now,
            after: None,
            report: Reconciled::default(),
        });
        // Of what was compared before it was left off, only the numbers are known.
        let is_whole = run.after.is_none();
        let mut listed = HashSet::new();
        loop {
            let page = match provider.subscriptions(None, run.after.as_deref()).await {
                // The one it was left off at may be gone.
                Err(BillingError::Refused { .. }) if run.after.is_some() => {
                    run = Run { began: now, after: None, report: Reconciled::default() };
                    continue;
                }
                page => page?,
            };
            let last = self.compare_page(&page, &mut run.report, &mut listed, None).await?;
            progress(&run.report);
            let goes_on = page.has_more && last.is_some() && last != run.after;
            run.after = last;
            if !goes_on {
                break;
            }
            let text =
                serde_json::to_string(&run).map_err(|error| ReconcileError::Other(error.to_string()))?;
            self.notebook.write_note(NOTE, &text).await?;
            tokio::time::sleep(PAUSE).await;
        }
        let mut after = None;
        loop {
            let held = self.notebook.subscriptions_after(after.as_ref(), BATCH).await?;
            for id in held.iter().filter(|id| !listed.contains(*id)) {
                self.compare_held(id, &mut run.report, is_whole, None).await?;
                progress(&run.report);
            }
            let Some(last) = held.last() else { break };
            after = Some(last.clone());
        }
        if let Some(note) = self.notebook.note(NOTE).await? {
            self.notebook.remove_note(NOTE, &note).await?;
        }
        Ok(run.report)
    }

    /// Compares the subscriptions of some payers. What differs follows from the `request`, where there is one.
    pub async fn resync(
        &self,
        customers: &[CustomerId],
        request: Option<&str>,
    ) -> Result<Reconciled, ReconcileError> {
        let provider = self.provider()?;
        let (mut report, mut listed) = (Reconciled::default(), HashSet::new());
        for customer in customers {
            let mut after: Option<String> = None;
            loop {
                let page = match provider.subscriptions(Some(customer), after.as_deref()).await {
                    // A payer that Stripe does not know has no subscriptions there.
                    Err(BillingError::Refused { code, .. }) if code == "resource_missing" => break,
                    page => page?,
                };
                let last = self.compare_page(&page, &mut report, &mut listed, request).await?;
                let goes_on = page.has_more && last.is_some() && last != after;
                after = last;
                if !goes_on {
                    break;
                }
            }
            for id in self.registry.subscriptions_of(customer).await? {
                if !listed.contains(&id) {
                    self.compare_held(&id, &mut report, true, request).await?;
                }
            }
        }
        Ok(report)
    }

    /// Compares the subscriptions of a page, and says which was the last.
    async fn compare_page(
        &self,
        page: &Listed,
        report: &mut Reconciled,
        listed: &mut HashSet<SubscriptionId>,
        request: Option<&str>,
    ) -> Result<Option<String>, ReconcileError> {
        let mut last = None;
        for raw in &page.objects {
            let object = serde_json::from_str(raw.get())
                .map_err(|error| BillingError::Unavailable(format!("its answer cannot be read: {error}")))?;
            let found = Found { object, asked: page.asked };
            let id = found.object.get("id").and_then(Value::as_str).map(str::to_owned);
            if let Some(id) = &id {
                let compared = self.compare(&found, None, request).await?;
                report.add(&id.as_str().into(), compared);
                listed.insert(id.as_str().into());
            }
            last = id;
        }
        Ok(last)
    }

    /// Compares a subscription that the log tells of and the list did not have; `counts` where it cannot have been counted
    /// before.
    async fn compare_held(
        &self,
        id: &SubscriptionId,
        report: &mut Reconciled,
        counts: bool,
        request: Option<&str>,
    ) -> Result<(), ReconcileError> {
        let (state, _) = self.held(id, None).await?;
        if state.standing(None).is_none_or(|standing| standing.terms.status.is_final()) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        if let Some(found) = self.provider()?.subscription(id).await? {
            let compared = self.compare(&found, None, request).await?;
            if counts || compared != Compared::Same {
                report.add(id, compared);
            }
            return Ok(());
        }
        let now = self.clock.now();
        let source = look_id(id, now);
        let Some(drift) = state.drift_from_nothing(source.clone(), now) else { return Ok(()) };
        let command = SubscriptionCommand::RecordDrift(Box::new(drift.clone()));
        let context = because_of(request, Context::told_by(PROVIDER, &source, now));
        self.subscriptions.execute(id.as_str(), command, context).await.map_err(Trouble::from)?;
        report.add(id, Compared::Differed(Vec::new(), drift));
        Ok(())
    }

    /// Compares a look with what is known, and takes it in where it differs.
    pub(crate) async fn compare(
        &self,
        found: &Found,
        cause: Option<DriftCause>,
        request: Option<&str>,
    ) -> Result<Compared, Trouble> {
        self.take_in(found, Purpose::Comparing { cause, request }).await
    }

    /// Takes in what Stripe says of a subscription where it differs from what is known.
    pub(crate) async fn take_in(&self, found: &Found, purpose: Purpose<'_>) -> Result<Compared, Trouble> {
        let Some((id, mut terms, named)) = seen(&found.object) else { return Ok(Compared::Unreadable) };
        let catalog = self.catalog_for(&terms.items).await?;
        catalog.fill_in(&mut terms);
        if let Some((_, why)) = self.foreign(&catalog, &id, &terms.items).await? {
            return Ok(Compared::Foreign(why.detail));
        }
        let (state, newest) = self.held(&id, Some(found.asked.began)).await?;
        // What had been recorded when Stripe was asked, Stripe knew too, whatever the clocks say.
        let at = newest.as_ref().map_or(found.asked.as_of, |(_, newest)| {
            found.asked.as_of.max(*newest + TimeDelta::milliseconds(1))
        });
        let after = newest.map(|(source, _)| source);
        let source = look_id(&id, at);
        let mut context = Context::told_by(PROVIDER, &source, at);
        match purpose {
            Purpose::Following(request) => request.clone_into(&mut context.correlation_id),
            Purpose::Comparing { request, .. } => context = because_of(request, context),
        }
        let customer = terms.customer.clone();
        if let Owner::Nobody((_, why)) | Owner::Erased((_, why)) =
            self.owner_asked(&customer, named, &context).await?
        {
            return Ok(Compared::Unlinked(customer, why.detail));
        }
        if !self.rehearsing
            && let Some(mut told) = payer_seen(&found.object, found.asked.as_of)
        {
            // Whose she is, was found out just now.
            told.names.clear();
            self.payers.tell(told).await?;
        }
        let observation = Observation { after, ..Observation::new(source, at, Kind::Looked, terms) };
        let mut look = Look { observation, cause: DriftCause::NotTold };
        if state.drift(&look).is_none() {
            return Ok(Compared::Same);
        }
        let command = match purpose {
            // That it is news is what was expected, and no finding.
            Purpose::Following(_) => SubscriptionCommand::Observe(Box::new(look.observation.clone())),
            Purpose::Comparing { cause, .. } => {
                look.cause = match cause {
                    Some(cause) => cause,
                    None => self.likely_cause(&customer).await?,
                };
                SubscriptionCommand::Compare(Box::new(look.clone()))
            }
        };
        let events = self.subscriptions.execute(id.as_str(), command, context.clone()).await?.events;
        self.after_observing(&id, &customer, &events, context).await?;
        let found = events.iter().find_map(|event| match event {
            SubscriptionEvent::DriftFound { drift } => Some(drift.as_ref().clone()),
            _ => None,
        });
        // A difference that was found before and cannot be repaired is not recorded again, and is there all the same.
        Ok(match found.or_else(|| state.drift(&look).filter(|drift| !drift.repaired)) {
            Some(drift) => Compared::Differed(events, drift),
            None => Compared::Same,
        })
    }

    /// A subscription as the log has it, and the newest observation that was recorded before `moment`, with the latest moment of
    /// any.
    pub(crate) async fn held(
        &self,
        id: &SubscriptionId,
        moment: Option<DateTime<Utc>>,
    ) -> Result<(Subscription, Option<(SourceEventId, DateTime<Utc>)>), StoreError> {
        let (mut state, mut newest) = (Subscription::default(), None);
        for (recorded_at, event) in self.stream_recorded(Subscription::TYPE, id.as_str()).await? {
            let Event::Subscription(_, event) = event else { continue };
            if newest.is_none() && moment.is_some_and(|moment| recorded_at > moment) {
                newest = Some(state.newest());
            }
            subscription::evolve(&mut state, &event);
        }
        let newest = newest.unwrap_or_else(|| state.newest());
        Ok((state, newest))
    }

    /// Whether a delivery that was not used may be why something differs.
    async fn likely_cause(&self, customer: &CustomerId) -> Result<DriftCause, StoreError> {
        let unused = self.notebook.unused_of(customer).await?;
        let tells = |unused: &&Unused| {
            let event_type = unused.event_type.trim_start_matches("v1.");
            event_type.starts_with("customer.subscription.") || event_type.is_empty()
        };
        Ok(unused.iter().find(tells).map_or(DriftCause::NotTold, |unused| {
            let outcome = match (&unused.outcome, &unused.code) {
                (Outcome::Pending, _) => "it still waits".to_owned(),
                (outcome, Some(code)) => format!("{outcome}, {code}"),
                (outcome, None) => outcome.to_string(),
            };
            DriftCause::NotUsed { delivery: unused.id.as_str().into(), outcome }
        }))
    }

    /// Has a subscription or a payer looked at soon.
    pub async fn ask_for_a_look(&self, id: &str, why: &str) -> Result<(), StoreError> {
        if self.rehearsing {
            return Ok(());
        }
        self.notebook.write_note(&format!("{LOOK}{id}"), why).await?;
        self.looks.notify_one();
        Ok(())
    }

    /// Looks at what waits for a look, and tries again what Stripe could not be asked about. Says how many looks there were.
    pub async fn look_at_what_waits(&self) -> Result<u64, ReconcileError> {
        let provider = self.provider()?;
        let mut looks = 0;
        for (name, why) in self.notebook.notes(LOOK, BATCH).await? {
            let id = name.trim_start_matches(LOOK);
            if id.starts_with("cus_") {
                self.resync(&[id.into()], None).await?;
            } else if let Some(found) = provider.subscription(&id.into()).await? {
                let compared = self.compare(&found, Some(DriftCause::OrderUnknown), None).await?;
                tracing::info!(subscription = id, ?compared, "looked at the provider");
            }
            self.notebook.remove_note(&name, &why).await?;
            looks += 1;
        }
        self.redrive_set_aside(&["provider_unavailable"]).await?;
        Ok(looks)
    }
}

impl Reconciled {
    fn add(&mut self, subscription: &SubscriptionId, compared: Compared) {
        let subscription = subscription.clone();
        match compared {
            Compared::Same => self.compared += 1,
            Compared::Foreign(_) => self.foreign += 1,
            Compared::Unlinked(customer, why) => {
                self.unlinked.push(Unlinked { subscription, customer, why });
            }
            Compared::Unreadable => {
                tracing::error!(%subscription, "the provider lists a subscription without a customer or a status");
                self.compared += 1;
                self.differing += 1;
                self.left += 1;
            }
            Compared::Differed(_, Drift { differences, cause, repaired, .. }) => {
                self.compared += 1;
                self.differing += 1;
                *(if repaired { &mut self.repaired } else { &mut self.left }) += 1;
                self.findings.push(Finding { subscription, differences, cause, repaired });
            }
        }
    }
}

/// What was told is told because of a request, where there was one.
fn because_of(request: Option<&str>, context: Context) -> Context {
    match request {
        Some(request) => Context { cause: request.to_owned(), correlation_id: request.to_owned(), ..context },
        None => context,
    }
}

/// The id of a look, as observations name what they came with.
fn look_id(subscription: &SubscriptionId, at: DateTime<Utc>) -> SourceEventId {
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    format!("api:{subscription}@{at}").into()
}
