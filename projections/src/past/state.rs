//! How it stood with a member: everything that one screen says of her.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::access::{Decision, Reason, Source, decide_plan};
use domain::account::{self, Account, AccountEvent, Lock, Role};
use domain::catalog::{Catalog, Policy};
use domain::customer::{self, Customer, CustomerEvent, LinkedThrough};
use domain::events::Event;
use domain::ids::{CustomerId, InvoiceId, MemberId, PlanId, RemarkId, SubscriptionId};
use domain::member::{self, Member, MemberEvent, Wish};
use domain::membership::{self, Membership};
use domain::metadata::Actor;
use domain::money;
use domain::ports::{Position, Recorded};
use domain::subscription::{Standing, SubscriptionEvent};

use super::explain::ExplainedSource;
use super::known::{Bought, Held, Known, Of, by_plan, next_change};
use super::words::{day, plan_name, status};
use super::{AsOf, Chronicle, Stream, stamp};

/// How it stood with a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    /// Who.
    pub member: MemberId,
    /// When.
    pub as_of: AsOf,
    /// When she was registered.
    pub registered_at: DateTime<Utc>,
    /// The best plan that was open to her.
    pub plan: Option<PlanId>,
    /// What it is called.
    pub plan_name: Option<String>,
    /// Why it was open, or why nothing was.
    pub reason: Reason,
    /// Until when it is open, if an end is known.
    pub until: Option<DateTime<Utc>>,
    /// How it stood, in one sentence.
    pub sentence: String,
    /// What each plan opened for her, best plan first.
    pub access: Vec<PlanAccess>,
    /// Everything that might have opened something, in the order of its ids.
    pub sources: Vec<ExplainedSource>,
    /// The next moment that changes anything, by what is known.
    pub next: Option<NextChange>,
    /// What she has paid, by currency.
    pub paid: Vec<Paid>,
    /// The latest attempt to pay.
    pub last_payment: Option<LastPayment>,
    /// Her payers at the provider.
    pub customers: Vec<CustomerState>,
    /// Subscriptions that are paid for beside each other: nobody wants two.
    pub duplicates: Vec<SubscriptionId>,
    /// What she asked for and has no answer to, or has not finished.
    pub requests: Vec<OpenRequest>,
    /// What the log tells of her account.
    pub account: AccountState,
    /// What staff noted, oldest first, as far as it holds.
    pub notes: Vec<Note>,
    /// When she was erased.
    pub erased_at: Option<DateTime<Utc>>,
}

/// A note of staff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The event of noting it.
    pub position: Position,
    /// The id of its words.
    pub remark: RemarkId,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// The words.
    pub text: String,
}

/// What a plan opened for a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanAccess {
    /// The plan.
    pub plan: PlanId,
    /// What it is called.
    pub name: String,
    /// Whether what it opens was open to her.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// Until when, if an end is known.
    pub until: Option<DateTime<Utc>>,
    /// The source that decides, by its place among the state's.
    pub source: Option<usize>,
    /// The same in words.
    pub sentence: String,
}

/// A moment to come that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextChange {
    /// When.
    pub at: DateTime<Utc>,
    /// What happens then, in words.
    pub sentence: String,
}

/// What was paid in one currency, in its smallest unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// ISO 4217, lower case.
    pub currency: String,
    /// All that was received.
    pub received: i64,
    /// What of that was given back.
    pub given_back: i64,
    /// What is left, in words.
    pub sentence: String,
}

/// An attempt to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPayment {
    /// The event that tells of it.
    pub position: Position,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether the money came.
    pub succeeded: bool,
    /// Whether it waits for the payer to confirm it.
    pub action_required: bool,
    /// The invoice.
    pub invoice: InvoiceId,
    /// How much, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: Option<String>,
    /// How many times the provider had tried.
    pub count: Option<u32>,
    /// When it will try again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The same in words.
    pub sentence: String,
}

/// A payer of a member's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerState {
    /// The payer.
    pub customer: CustomerId,
    /// When that was recorded.
    pub linked_at: DateTime<Utc>,
    /// How it was found out.
    pub through: LinkedThrough,
    /// The event that says so.
    pub position: Position,
    /// When the provider deleted it.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Something she asked for that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// The event of asking.
    pub position: Position,
    /// When.
    pub at: DateTime<Utc>,
    /// What, and what is missing.
    pub sentence: String,
}

/// What the log tells of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Whether there is one.
    pub open: bool,
    /// When it was opened.
    pub opened_at: Option<DateTime<Utc>>,
    /// When the address was last shown to be hers.
    pub verified_at: Option<DateTime<Utc>>,
    /// When the address was last changed.
    pub email_changed_at: Option<DateTime<Utc>>,
    /// When the password was last changed.
    pub password_changed_at: Option<DateTime<Utc>>,
    /// When she last signed in.
    pub signed_in_at: Option<DateTime<Utc>>,
    /// Whether that was from a device that had not been used before.
    pub new_device: bool,
    /// When sign-ins were last refused.
    pub refused_at: Option<DateTime<Utc>>,
    /// Whether a code is asked for.
    pub second_factor: bool,
    /// Her rights.
    pub role: Role,
    /// The lock under which she cannot sign in at that moment.
    pub lock: Option<Lock>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
}

impl Chronicle {
    /// How it stood with her.
    pub fn state(&self, as_of: AsOf) -> MemberState {
        let known = self.known(as_of);
        let (_, catalog) = self.revisions.in_force(as_of);
        let policy = catalog.policy();
        let held = known.held(&catalog, as_of);
        let sources: Vec<Source> = held.iter().map(|held| held.source).collect();
        let plans = by_plan(&sources, &catalog, &policy, as_of.at);
        let (plan, decision) = best(&plans);
        MemberState {
            member: self.member.clone(),
            as_of,
            registered_at: self.registered_at,
            plan_name: plan.as_ref().map(|plan| plan_name(plan, &catalog)),
            sentence: standing_in_words(plan.as_ref(), &decision, &catalog),
            plan,
            reason: decision.reason,
            until: decision.until,
            access: plans.iter().map(|(plan, decision)| PlanAccess::new(plan, decision, &catalog)).collect(),
            next: Upcoming { catalog: &catalog, policy: &policy, as_of }.next(&held, &sources),
            sources: self.explained_all(&held, &catalog, &policy, as_of),
            paid: paid(&known, as_of),
            last_payment: self.last_payment(as_of),
            customers: self.customers(as_of),
            duplicates: duplicates(&held),
            requests: open_requests(&self.own, as_of),
            account: AccountState::of(&self.account, as_of),
            notes: self.notes(as_of),
            erased_at: self.erased_at(as_of),
        }
    }

    /// Each source with what it alone would open: the best of its own plans.
    fn explained_all(
        &self,
        held: &[Held<'_>],
        catalog: &Catalog,
        policy: &Policy,
        as_of: AsOf,
    ) -> Vec<ExplainedSource> {
        let alone = held.iter().map(|held| {
            let best = catalog.best_of(held.source.plans).unwrap_or_else(|| PlanId::from(""));
            let decision = decide_plan(&best, &std::iter::once(held.source), catalog, policy, as_of.at);
            let plan = decision.plan.as_ref().map(|plan| plan_name(plan, catalog));
            let name = plan.unwrap_or_else(|| "No known plan".to_owned());
            let sentence = format!("{name}: {}.", status(&decision));
            ExplainedSource { sentence, ..self.explained(held, catalog, decision, as_of) }
        });
        alone.collect()
    }

    fn notes(&self, as_of: AsOf) -> Vec<Note> {
        let mut notes: Vec<Note> = Vec::new();
        for (recorded, event) in self.own.happened(as_of) {
            match event {
                Event::Member(_, MemberEvent::NoteAdded { remark }) => notes.push(Note {
                    position: recorded.position,
                    remark: remark.clone(),
                    at: recorded.metadata.occurred_at,
                    actor: recorded.metadata.actor.clone(),
                    text: self.words(remark),
                }),
                Event::Member(_, MemberEvent::NoteWithdrawn { note, .. }) => {
                    notes.retain(|held| held.remark != *note);
                }
                _ => {}
            }
        }
        notes
    }

    fn erased_at(&self, as_of: AsOf) -> Option<DateTime<Utc>> {
        let erased = |(_, event): &&(Recorded, Event)| {
            matches!(event, Event::Member(_, MemberEvent::MemberErased { .. }))
        };
        self.own.happened(as_of).find(erased).map(|(recorded, _)| recorded.metadata.occurred_at)
    }

    /// The latest attempt to pay that was known and had been made.
    fn last_payment(&self, as_of: AsOf) -> Option<LastPayment> {
        let events = self.subscriptions.iter().flat_map(|(_, stream)| stream.happened(as_of));
        let attempts = events.filter_map(|(recorded, event)| LastPayment::of(recorded, event));
        attempts.max_by_key(|payment| (payment.at, payment.position))
    }

    pub(super) fn customers(&self, as_of: AsOf) -> Vec<CustomerState> {
        let payers = self.customers.iter().filter_map(|(id, stream)| {
            let mut state = Customer::default();
            let mut link = None;
            // A link is about identity, so it counts from the moment it was known, whatever moment is asked about.
            for (recorded, event) in stream.events.iter().filter(|(recorded, _)| as_of.knows(recorded)) {
                let Event::Customer(_, event) = event else { continue };
                customer::evolve(&mut state, event);
                if let CustomerEvent::MemberLinked { through, .. } = event {
                    link = Some((recorded, *through));
                }
            }
            let (recorded, through) = link.filter(|_| state.member() == Some(&self.member))?;
            let deleted = state.deletion().filter(|deletion| as_of.has_reached(deletion.at));
            Some(CustomerState {
                customer: id.clone(),
                linked_at: recorded.metadata.recorded_at,
                through,
                position: recorded.position,
                deleted_at: deleted.map(|deletion| deletion.at),
            })
        });
        payers.collect()
    }
}

impl Stream {
    /// The events that were known and had happened.
    pub(super) fn happened(&self, as_of: AsOf) -> impl Iterator<Item = &(Recorded, Event)> {
        self.events.iter().filter(move |(recorded, _)| {
            as_of.knows(recorded) && as_of.has_reached(recorded.metadata.occurred_at)
        })
    }
}

/// The best plan that is open and why; where none is, why the one she comes nearest to is not.
pub(super) fn best(plans: &[(PlanId, Decision)]) -> (Option<PlanId>, Decision) {
    if let Some((plan, decision)) = plans.iter().find(|(_, decision)| decision.allowed) {
        return (Some(plan.clone()), decision.clone());
    }
    let near = |(_, decision): &&(PlanId, Decision)| {
        !matches!(decision.reason, Reason::PlanTooLow | Reason::NoMembership) && decision.source.is_some()
    };
    let hers = |(plan, decision): &&(PlanId, Decision)| decision.plan.as_ref() == Some(plan);
    let found = plans.iter().filter(near).find(hers).or_else(|| plans.iter().find(near));
    let none = Decision {
        allowed: false,
        reason: Reason::NoMembership,
        plan: None,
        until: None,
        fix: None,
        source: None,
    };
    (None, found.map_or(none, |(_, decision)| decision.clone()))
}

/// How it stands, in one sentence.
pub(super) fn standing_in_words(plan: Option<&PlanId>, decision: &Decision, catalog: &Catalog) -> String {
    match (plan, &decision.plan) {
        (Some(plan), _) => format!("{}: {}.", plan_name(plan, catalog), status(decision)),
        (None, Some(had)) => format!("Nothing is open. {}: {}.", plan_name(had, catalog), status(decision)),
        (None, None) => format!("Nothing is open: {}.", status(decision)),
    }
}

impl PlanAccess {
    fn new(plan: &PlanId, decision: &Decision, catalog: &Catalog) -> Self {
        let name = plan_name(plan, catalog);
        let open = if decision.allowed { "open" } else { "closed" };
        Self {
            plan: plan.clone(),
            sentence: format!("{name} is {open}: {}.", status(decision)),
            name,
            allowed: decision.allowed,
            reason: decision.reason,
            until: decision.until,
            source: decision.source,
        }
    }
}

/// What is to come.
struct Upcoming<'u> {
    catalog: &'u Catalog,
    policy: &'u Policy,
    as_of: AsOf,
}

impl Upcoming<'_> {
    /// The next of everything that has a date.
    fn next(&self, held: &[Held<'_>], sources: &[Source]) -> Option<NextChange> {
        let named = held.iter().flat_map(|held| self.of_source(held));
        let by_time = next_change(sources, self.policy, self.as_of.at).map(|at| {
            let then = by_plan(sources, self.catalog, self.policy, at);
            let (plan, decision) = best(&then);
            (at, standing_in_words(plan.as_ref(), &decision, self.catalog))
        });
        let ahead = named.filter(|(at, _)| *at > self.as_of.at);
        let (at, _) = ahead.clone().chain(by_time.clone()).min_by_key(|(at, _)| *at)?;
        let mut sentences: Vec<String> =
            ahead.chain(by_time).filter(|(when, _)| *when == at).map(|(_, sentence)| sentence).collect();
        sentences.dedup();
        Some(NextChange { at, sentence: sentences.join(" ") })
    }

    fn of_source(&self, held: &Held<'_>) -> Vec<(DateTime<Utc>, String)> {
        match &held.of {
            Of::Bought(bought, standing) => self.of_subscription(bought, standing),
            Of::Granted(granted, state) => {
                let Some(given) = state.given().filter(|_| !state.is_revoked()) else { return Vec::new() };
                let (name, id) = (plan_name(&given.plan, self.catalog), granted.id);
                let begins = (given.from, format!("The access to {name} that was given begins ({id})."));
                let ends = given
                    .until
                    .map(|until| (until, format!("The access to {name} that was given ends ({id}).")));
                std::iter::once(begins).chain(ends).collect()
            }
        }
    }

    /// The dates that a subscription names.
    fn of_subscription(&self, bought: &Bought<'_>, standing: &Standing) -> Vec<(DateTime<Utc>, String)> {
        use domain::subscription::Status;
        let terms = &standing.terms;
        if terms.status.is_final() {
            return Vec::new();
        }
        let id = bought.id;
        let mut dates = Vec::new();
        let mut add = |at: Option<DateTime<Utc>>, sentence: String| dates.extend(at.map(|at| (at, sentence)));
        if terms.status == Status::Trialing && terms.cancels_at.is_none() {
            add(terms.trial_end, format!("The trial of {id} ends and the first payment is due."));
        } else if terms.cancels_at.is_none() && terms.status != Status::Trialing {
            add(terms.period_end, format!("{id} renews."));
        }
        add(terms.cancels_at, format!("{id} ends."));
        let pause = terms.collection_paused.as_ref();
        add(pause.and_then(|pause| pause.resumes_at), format!("Collecting for {id} starts again."));
        let attempt = bought.stream.happened(self.as_of).filter_map(|(_, event)| match event {
            Event::Subscription(_, event) => event.attempt(),
            _ => None,
        });
        let latest = attempt.max_by_key(|attempt| attempt.at);
        add(
            latest.and_then(|attempt| attempt.next_attempt_at),
            format!("The provider tries again to collect for {id}."),
        );
        let schedule = bought.state.schedule().filter(|schedule| self.as_of.has_reached(schedule.at));
        if let Some(next) = schedule.and_then(|schedule| schedule.next.as_ref()) {
            let plans: Vec<String> = next.plans.iter().map(|plan| plan_name(plan, self.catalog)).collect();
            add(Some(next.from), format!("{id} changes to {}.", plans.join(" and ")));
        }
        dates
    }
}

/// What was received and given back, by currency.
fn paid(known: &Known<'_>, as_of: AsOf) -> Vec<Paid> {
    let mut by_currency: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for bought in known.subscriptions() {
        let attempts = bought.stream.events.iter().filter_map(|(_, event)| match event {
            Event::Subscription(_, event) => event.attempt(),
            _ => None,
        });
        let currencies: BTreeMap<&InvoiceId, &str> =
            attempts.filter_map(|attempt| Some((&attempt.invoice, attempt.currency.as_deref()?))).collect();
        for (invoice, received, given_back) in bought.state.payments(bought.moment(as_of)) {
            let currency = currencies.get(invoice).copied().unwrap_or_default();
            let sum = by_currency.entry(currency.to_owned()).or_default();
            (sum.0, sum.1) = (sum.0.saturating_add(received), sum.1.saturating_add(given_back));
        }
    }
    let paid =
        by_currency.into_iter().filter(|(_, (received, given_back))| *received != 0 || *given_back != 0);
    paid.map(|(currency, (received, given_back))| {
        let written = |amount| money::amount(amount, Some(&currency));
        let left = written(received.saturating_sub(given_back));
        let sentence = match given_back {
            0 => format!("{left} paid"),
            _ => format!("{left} paid: {} less {}", written(received), written(given_back)),
        };
        Paid { currency, received, given_back, sentence }
    })
    .collect()
}

impl LastPayment {
    fn of(recorded: &Recorded, event: &Event) -> Option<Self> {
        let Event::Subscription(_, event) = event else { return None };
        let attempt = event.attempt()?;
        let late = matches!(
            event,
            SubscriptionEvent::PaymentFailed { late: true, .. }
                | SubscriptionEvent::PaymentActionRequired { late: true, .. }
        );
        let succeeded = matches!(
            event,
            SubscriptionEvent::PaymentReceived { .. } | SubscriptionEvent::PaymentRecovered { .. }
        );
        let action_required = matches!(event, SubscriptionEvent::PaymentActionRequired { .. });
        let amount = money::amount(attempt.amount, attempt.currency.as_deref());
        let result = match (succeeded, action_required) {
            (true, _) => "paid",
            (false, true) => "waits for the payer to confirm it",
            (false, false) => "failed",
        };
        let count = attempt.count.map(|count| format!(", attempt {count}")).unwrap_or_default();
        let again = attempt.next_attempt_at.filter(|_| !succeeded && !late);
        let again = again.map(|at| format!("; next try on {}", day(at))).unwrap_or_default();
        Some(Self {
            position: recorded.position,
            at: attempt.at,
            succeeded,
            action_required,
            invoice: attempt.invoice.clone(),
            amount: attempt.amount,
            currency: attempt.currency.clone(),
            count: attempt.count,
            next_attempt_at: attempt.next_attempt_at,
            sentence: format!("{amount} {result} on {}{count}{again}", day(attempt.at)),
        })
    }
}

fn duplicates(held: &[Held<'_>]) -> Vec<SubscriptionId> {
    let held = held.iter().filter_map(Held::bought).map(|(bought, standing)| membership::Held {
        id: bought.id.clone(),
        standing: standing.clone(),
        next: None,
        had_trial: false,
    });
    Membership::new(held.collect()).duplicates().into_iter().map(|held| held.id.clone()).collect()
}

/// What she asked for that has no answer, and pages of the provider that wait for her.
fn open_requests(own: &Stream, as_of: AsOf) -> Vec<OpenRequest> {
    let mut state = Member::default();
    let mut asked: BTreeMap<String, (&Recorded, String)> = BTreeMap::new();
    for (recorded, event) in own.happened(as_of) {
        let Event::Member(_, member_event) = event else { continue };
        member::evolve(&mut state, member_event);
        if let Some(request) = state.requests().last() {
            asked.entry(request.key.clone()).or_insert_with(|| (recorded, event.describe()));
        }
    }
    let payable: Vec<&str> = state.open_checkouts().map(|(_, session)| session).collect();
    let waits = state.requests().iter().filter_map(|request| {
        let missing = match &request.session {
            Some(session) if payable.contains(&session.as_str()) => format!("{session} has not been paid"),
            None if !request.answered && !matches!(request.wish, Wish::Portal { .. }) => {
                "no answer yet".to_owned()
            }
            _ => return None,
        };
        let (recorded, said) = asked.get(&request.key)?;
        Some(OpenRequest {
            position: recorded.position,
            at: recorded.metadata.occurred_at,
            sentence: format!("{said}: {missing}."),
        })
    });
    waits.collect()
}

impl AccountState {
    fn of(stream: &Stream, as_of: AsOf) -> Self {
        let mut state = Account::default();
        let mut told = Self::default();
        for (recorded, event) in stream.happened(as_of) {
            let Event::Account(_, event) = event else { continue };
            account::evolve(&mut state, event);
            let at = Some(recorded.metadata.occurred_at);
            match event {
                AccountEvent::AccountRegistered => told.opened_at = at,
                AccountEvent::EmailVerified => told.verified_at = at,
                AccountEvent::EmailChanged => told.email_changed_at = at,
                AccountEvent::PasswordChanged { .. } => told.password_changed_at = at,
                AccountEvent::SignedIn { new_device, .. } => {
                    (told.signed_in_at, told.new_device) = (at, *new_device);
                }
                AccountEvent::SignInRefused { .. } => told.refused_at = at,
                AccountEvent::SecondFactorEnabled => told.second_factor = true,
                AccountEvent::SecondFactorDisabled => told.second_factor = false,
                AccountEvent::AccountDeleted => told.deleted_at = at,
                AccountEvent::SessionRevoked { .. }
                | AccountEvent::BackupCodeUsed
                | AccountEvent::IdentityLinked { .. }
                | AccountEvent::IdentityUnlinked { .. }
                | AccountEvent::RoleChanged { .. }
                | AccountEvent::AccountLocked { .. }
                | AccountEvent::AccountUnlocked { .. }
                | AccountEvent::StaffSentLetter { .. }
                | AccountEvent::StaffEndedSessions { .. }
                | AccountEvent::StaffRead { .. } => {}
            }
        }
        (told.open, told.role) = (state.is_open(), state.role());
        told.lock = state.lock().filter(|lock| lock.holds(as_of.at));
        told
    }
}

impl MemberState {
    /// The state as support reads it.
    pub fn text(&self) -> String {
        let AsOf { at, known_at, .. } = self.as_of;
        let mut lines = vec![format!("{} · at {}", self.member, stamp(at)), self.sentence.clone()];
        lines.extend(known_at.map(|known_at| format!("as known at {}", stamp(known_at))));
        lines.push(format!("registered on {}", day(self.registered_at)));
        lines.extend(self.sources.iter().map(|source| {
            let until = source.until.map(|until| format!(", end {}", stamp(until))).unwrap_or_default();
            let from = source.from.map(|from| format!(", since {}", stamp(from))).unwrap_or_default();
            format!(
                "{} {}: {}{from}{until}. {}",
                source.kind.as_str(),
                source.id,
                source.status,
                source.sentence
            )
        }));
        lines.extend(self.next.as_ref().map(|next| format!("next {}: {}", stamp(next.at), next.sentence)));
        lines.extend(self.paid.iter().map(|paid| paid.sentence.clone()));
        lines.extend(self.last_payment.as_ref().map(|payment| format!("last payment: {}", payment.sentence)));
        lines.extend(self.customers.iter().map(|held| match held.deleted_at {
            Some(at) => format!("customer {}, deleted on {}", held.customer, day(at)),
            None => format!("customer {}", held.customer),
        }));
        if !self.duplicates.is_empty() {
            let ids: Vec<String> = self.duplicates.iter().map(ToString::to_string).collect();
            lines.push(format!("paid for beside each other: {}", ids.join(", ")));
        }
        lines.extend(self.requests.iter().map(|request| format!("open: {}", request.sentence)));
        lines.extend(self.account.text());
        lines.extend(self.notes.iter().map(|note| format!("note of {}: {}", note.actor, note.text)));
        lines.extend(self.erased_at.map(|at| format!("erased on {}", day(at))));
        lines.join("\n  ") + "\n"
    }
}

impl AccountState {
    fn text(&self) -> Option<String> {
        let opened = self.opened_at?;
        let mut facts = vec![format!("account opened on {}", day(opened))];
        facts.extend(self.verified_at.map(|at| format!("address confirmed on {}", day(at))));
        facts.extend(self.signed_in_at.map(|at| format!("last sign-in on {}", day(at))));
        facts.extend(self.second_factor.then(|| "second factor on".to_owned()));
        facts.extend(self.lock.map(|lock| format!("locked {}", lock.words())));
        facts.extend(self.deleted_at.map(|at| format!("deleted on {}", day(at))));
        Some(facts.join(", "))
    }
}
