//! What one delivery does: whose it is, what it tells which aggregate, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::billing::BillingError;
use domain::catalog::Catalog;
use domain::customer::{self, Customer, CustomerCommand, CustomerError, Deletion, LinkedThrough};
use domain::events::{Event, upcasters};
use domain::ids::{CustomerId, InvoiceId, MemberId, PaymentId, SourceEventId, SubscriptionId};
use domain::member::{self, Checkout, CheckoutEnd, CheckoutOutcome, Member, MemberCommand};
use domain::metadata::Context;
use domain::payment::{self, Payment, PaymentCommand, Purpose};
use domain::ports::{CommandError, StoreError};
use domain::subscription::{
    Item, Observation, Reversal, ReversedPayment, Schedule, Subscription, SubscriptionCommand,
    SubscriptionEvent,
};
use fail::fail_point;

use crate::inbox::{Delivery, ERASED_MEMBER, Outcome, Why};
use crate::provider::Provider;
use crate::reconcile::Compared;
use crate::stripe::Envelope;
use crate::stripe::translate::{
    InvoiceOf, InvoiceTold, Translation, invoice_seen, is_handled, member_named, payer_told, translate, why,
};
use crate::worker::{Trouble, Worker};

/// Who tells us these things.
pub(crate) const PROVIDER: &str = "stripe";
/// How long a delivery waits for an answer of Stripe's; its lease is longer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What became of a delivery, and why.
pub(crate) type Settled = (Outcome, Why);

fn applied(names: &[&str]) -> Settled {
    (Outcome::Applied, why("applied", names.join(", ")))
}

fn no_change(detail: &str) -> Settled {
    (Outcome::NoChange, why("no_change", detail))
}

fn parked(code: &str, detail: impl Into<String>) -> Settled {
    (Outcome::Parked, why(code, detail))
}

fn ignored(code: &str, detail: impl Into<String>) -> Settled {
    (Outcome::Ignored, why(code, detail))
}

/// Whose a payer is.
pub(crate) enum Owner {
    Member(MemberId),
    Nobody(Settled),
    /// Nobody's, as somebody who was erased is named for her. What she pays is told all the same, without a member.
    Erased(Settled),
}

impl Worker {
    pub(crate) async fn understand(&self, delivery: &Delivery) -> Result<Settled, Trouble> {
        let event = match Envelope::read(&delivery.body) {
            Ok(event) => event,
            Err(unreadable) => return Ok(parked("unreadable", unreadable.to_string())),
        };
        if let (Some(ours), Some(theirs)) = (self.livemode, event.livemode)
            && ours != theirs
        {
            let mode = if theirs { "live" } else { "test" };
            return Ok(parked("other_mode", format!("a {mode}-mode event; STRIPE_LIVEMODE is {ours}")));
        }
        if let Some(account) = &event.account {
            return Ok(parked("other_account", format!("about the connected account {account}")));
        }
        // The attempt before may have linked the payer or started a subscription, and stopped before looking at what
        // waited for that.
        if delivery.attempts > 1
            && let Some(customer) = event.customer()
        {
            self.linked(&customer).await?;
            self.redrive_unmapped_of(&customer).await?;
        }
        let source = SourceEventId::from(event.id.as_str());
        let mut event = event;
        if let (None, Some(related), Some(provider)) = (&event.object, &event.related, &self.provider)
            && is_handled(event.plain_type())
        {
            if related.starts_with("sub_") {
                return self.look_for(provider.as_ref(), &related.as_str().into()).await;
            }
            match answered(provider.object(related)).await {
                Ok(object) => event.object = object,
                Err(settled) => return Ok(settled),
            }
        }
        let mut context = Context::told_by(PROVIDER, &source, event.created.unwrap_or(delivery.received_at));
        // What a member asked for through us and what follows from it belong together.
        if let Some(request) = event.idempotency_key.as_deref().and_then(request_in) {
            request.clone_into(&mut context.correlation_id);
        }
        let settled = self.carry_out_event(&event, delivery.attempts > 1, context).await?;
        if !self.rehearsing {
            self.tell_payer(&event, &settled).await?;
        }
        Ok(settled)
    }

    /// Keeps what an event says of who its payer is, unless she is a payer of something else.
    async fn tell_payer(&self, event: &Envelope, (_, why): &Settled) -> Result<(), StoreError> {
        if !is_handled(event.plain_type()) {
            return Ok(());
        }
        let is_foreign = matches!(why.code.as_str(), "unmapped_product" | "no_subscription");
        // Of a member's payer what is known stays until she is erased.
        let stays = event.plain_type() == "customer.deleted" && why.code != "unknown_customer";
        match payer_told(event) {
            Some(mut told) if !is_foreign && !stays => {
                // Whose she is, is known: whoever else is named for her does not count.
                if self.customer(&told.customer).await?.member().is_some() {
                    told.names.clear();
                }
                self.payers.tell(told).await
            }
            _ => Ok(()),
        }
    }

    async fn carry_out_event(
        &self,
        event: &Envelope,
        again: bool,
        context: Context,
    ) -> Result<Settled, Trouble> {
        match translate(event) {
            Translation::Observation { subscription, observation, named_member } => {
                self.observe(subscription, *observation, named_member, again, context).await
            }
            Translation::Invoice { of, told } => self.record_invoice(of, told, context).await,
            Translation::InvoicePayment { payment, invoice, at } => {
                self.record_invoice_payment(payment, invoice, at, context).await
            }
            Translation::Reversal { payment, reversal } => {
                self.record_reversal(payment, reversal, context).await
            }
            Translation::Schedule { subscription, schedule } => {
                self.record_schedule(subscription, schedule, context).await
            }
            Translation::CheckoutEnd { end, customer, named_member } => {
                self.record_checkout_end(end, customer, named_member, context).await
            }
            Translation::Checkout { checkout, named_members } => {
                self.record_checkout(checkout, named_members, context).await
            }
            Translation::Customer { customer, named_member: Some(named) } => {
                self.link_named(&customer, &named, LinkedThrough::CustomerMetadata, &context).await
            }
            Translation::Customer { customer, named_member: None } => {
                Ok(ignored("no_member_named", format!("{customer} names no member in its metadata")))
            }
            Translation::CustomerDeleted { customer, deletion } => {
                self.delete_customer(customer, deletion, context).await
            }
            Translation::Park(why) => Ok((Outcome::Parked, why)),
            Translation::Ignore(why) => Ok((Outcome::Ignored, why)),
        }
    }

    async fn observe(
        &self,
        subscription: SubscriptionId,
        mut observation: Observation,
        named_member: Option<String>,
        again: bool,
        context: Context,
    ) -> Result<Settled, Trouble> {
        let catalog = self.catalog_for(&observation.terms.items).await?;
        catalog.fill_in(&mut observation.terms);
        if let Some(replaced) = &mut observation.replaced {
            catalog.fill_in(replaced);
        }
        let items = &observation.terms.items;
        if let Some(foreign) = self.foreign(&catalog, &subscription, items).await? {
            return Ok(foreign);
        }
        let customer = observation.terms.customer.clone();
        let through = LinkedThrough::SubscriptionMetadata;
        let owner = self.owner(&customer, named_member.as_deref(), through, &context).await?;
        match owner {
            Owner::Nobody(settled) => Ok(settled),
            Owner::Member(_) | Owner::Erased(_) => {
                let source = observation.source.clone();
                let command = SubscriptionCommand::Observe(Box::new(observation));
                let done =
                    self.subscriptions.execute(subscription.as_str(), command, context.clone()).await?;
                self.after_observing(&subscription, &customer, &done.events, context).await?;
                let ambiguous =
                    |event: &SubscriptionEvent| matches!(event, SubscriptionEvent::OrderAmbiguous { .. });
                // The attempt before may have stopped before it asked for a look.
                if self.provider.is_some()
                    && (again || done.events.iter().any(ambiguous))
                    && self.held(&subscription, None).await?.0.is_order_unknown(&source)
                {
                    self.ask_for_a_look(subscription.as_str(), source.as_str()).await?;
                }
                Ok(owner.settled(outcome_of(&done.events)))
            }
        }
    }

    /// What follows from an observation elsewhere.
    pub(crate) async fn after_observing(
        &self,
        subscription: &SubscriptionId,
        customer: &CustomerId,
        events: &[SubscriptionEvent],
        context: Context,
    ) -> Result<(), Trouble> {
        if events.iter().any(|event| matches!(event, SubscriptionEvent::SubscriptionStarted { .. })) {
            self.redrive_unmapped_of(customer).await?;
            self.redrive_concerning(subscription.as_str()).await?;
        }
        // Whatever was heard of first: a deleted payer has no subscription that goes on.
        if let Some(deletion) = self.customer(customer).await?.deletion() {
            let command = SubscriptionCommand::EndWithCustomer(deletion.clone());
            self.subscriptions.execute(subscription.as_str(), command, context).await?;
        }
        Ok(())
    }

    /// What a thin event about a subscription does: it says where to look and nothing else.
    async fn look_for(
        &self,
        provider: &dyn Provider,
        subscription: &SubscriptionId,
    ) -> Result<Settled, Trouble> {
        let found = match answered(provider.subscription(subscription)).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                return Ok(parked("thin_event", format!("Stripe has no subscription {subscription}")));
            }
            Err(settled) => return Ok(settled),
        };
        Ok(match self.compare(&found, None, None).await? {
            Compared::Same => no_change("the subscription was looked at, and this was known"),
            Compared::Differed(events, _) => {
                applied(&events.iter().map(SubscriptionEvent::name).collect::<Vec<_>>())
            }
            Compared::Foreign(detail) => ignored("unmapped_product", detail),
            Compared::Unlinked(_, detail) => parked("unknown_customer", detail),
            Compared::Unreadable => {
                parked("incomplete_object", format!("{subscription} lacks a customer or a status"))
            }
        })
    }

    async fn record_invoice(
        &self,
        of: InvoiceOf,
        told: InvoiceTold,
        context: Context,
    ) -> Result<Settled, Trouble> {
        let InvoiceOf { subscription, customer, items, named_member } = of;
        if !items.is_empty() {
            let catalog = self.catalog_for(&items).await?;
            if let Some(foreign) = self.foreign(&catalog, &subscription, &items).await? {
                return Ok(foreign);
            }
        }
        let through = LinkedThrough::SubscriptionMetadata;
        let owner = self.owner(&customer, named_member.as_deref(), through, &context).await?;
        if let Owner::Nobody(settled) = owner {
            return Ok(settled);
        }
        let mut paid = None;
        let command = match told {
            InvoiceTold::Paid(attempt, payment) => {
                let invoice = attempt.invoice.clone();
                let purpose = Purpose {
                    invoice,
                    subscription: subscription.clone(),
                    at: attempt.at,
                    source: attempt.source.clone(),
                };
                paid = (attempt.amount > 0).then_some((purpose, payment));
                SubscriptionCommand::RecordPayment(attempt)
            }
            InvoiceTold::Failed(attempt) => SubscriptionCommand::RecordPaymentFailure(attempt),
            InvoiceTold::ActionRequired(attempt) => SubscriptionCommand::RecordActionRequired(attempt),
            InvoiceTold::Noted(noted) => SubscriptionCommand::NoteInvoice(noted),
        };
        let settled = self.tell(&subscription, &customer, command, context.clone()).await?;
        if let Some((purpose, payment)) = paid {
            let invoice = purpose.invoice.to_string();
            self.attribute(&invoice, purpose.clone(), &context).await?;
            if let Some(payment) = payment {
                self.attribute(payment.as_str(), purpose, &context).await?;
            }
        }
        Ok(owner.settled(settled))
    }

    /// Newer invoices do not say what paid them; this tells it.
    async fn record_invoice_payment(
        &self,
        payment: PaymentId,
        invoice: InvoiceId,
        at: DateTime<Utc>,
        context: Context,
    ) -> Result<Settled, Trouble> {
        let Some(purpose) = self.purpose(invoice.as_str()).await? else {
            let detail = format!("{invoice} is not known to be an invoice of a membership");
            return Ok(ignored("unknown_invoice", detail));
        };
        let purpose = Purpose { at, source: context.cause.as_str().into(), ..purpose };
        let is_new = self.attribute(payment.as_str(), purpose, &context).await?;
        Ok(if is_new { applied(&["PaymentAttributed"]) } else { no_change("this was known") })
    }

    async fn record_reversal(
        &self,
        payment: PaymentId,
        reversal: Reversal,
        context: Context,
    ) -> Result<Settled, Trouble> {
        let purpose = match (self.purpose(payment.as_str()).await?, &self.provider) {
            (None, Some(provider)) => {
                match self.purpose_asked(provider.as_ref(), &payment, &context).await? {
                    Ok(purpose) => purpose,
                    Err(settled) => return Ok(settled),
                }
            }
            (purpose, _) => purpose,
        };
        let Some(Purpose { invoice, subscription, .. }) = purpose else {
            let detail =
                format!("what {payment} paid for has not been told; it is looked at again once it is");
            return Ok(parked("unknown_payment", detail));
        };
        let command = SubscriptionCommand::RecordReversal(ReversedPayment { invoice, payment, reversal });
        let done = self.subscriptions.execute(subscription.as_str(), command, context).await?;
        Ok(outcome_of(&done.events))
    }

    /// What a payment paid for, by Stripe's own account. Only a subscription that is ours already makes it ours.
    async fn purpose_asked(
        &self,
        provider: &dyn Provider,
        payment: &PaymentId,
        context: &Context,
    ) -> Result<Result<Option<Purpose>, Settled>, Trouble> {
        let invoice = match answered(provider.invoice_paid_by(payment)).await {
            Ok(Some(invoice)) => invoice,
            Ok(None) => {
                return Ok(Err(ignored("no_invoice", format!("{payment} paid no invoice, says Stripe"))));
            }
            Err(settled) => return Ok(Err(settled)),
        };
        let Some((invoice, Some(subscription))) = invoice_seen(&invoice) else {
            let detail = format!("the invoice that {payment} paid is not for a subscription");
            return Ok(Err(ignored("no_subscription", detail)));
        };
        if !self.is_known(&subscription).await? {
            return Ok(Ok(None));
        }
        let source = context.cause.as_str().into();
        let purpose = Purpose { invoice, subscription, at: context.occurred_at, source };
        self.attribute(payment.as_str(), purpose.clone(), context).await?;
        Ok(Ok(Some(purpose)))
    }

    /// A schedule names neither payer nor member, so it says something only about a subscription that is ours.
    pub(crate) async fn record_schedule(
        &self,
        subscription: SubscriptionId,
        mut schedule: Schedule,
        context: Context,
    ) -> Result<Settled, Trouble> {
        if !self.is_known(&subscription).await? {
            let detail = format!("{subscription} is not known to be a membership");
            return Ok(ignored("unknown_subscription", detail));
        }
        if let Some(next) = &mut schedule.next {
            next.plans = self.catalog_for(&next.items).await?.plans_of(&next.items);
        }
        let command = SubscriptionCommand::RecordSchedule(schedule);
        let done = self.subscriptions.execute(subscription.as_str(), command, context).await?;
        Ok(outcome_of(&done.events))
    }

    /// Keeps what a payment, or an invoice, paid for, and has another look at what waited for that.
    async fn attribute(&self, id: &str, purpose: Purpose, context: &Context) -> Result<bool, Trouble> {
        let command = PaymentCommand::Attribute(purpose);
        let is_new = !self.payments.execute(id, command, context.clone()).await?.events.is_empty();
        // Also when it was known: an attempt before this one may have stopped here.
        self.redrive_concerning(id).await?;
        Ok(is_new)
    }

    async fn purpose(&self, id: &str) -> Result<Option<Purpose>, StoreError> {
        let mut state = Payment::default();
        for event in self.stream(Payment::TYPE, id).await? {
            if let Event::Payment(_, event) = event {
                payment::evolve(&mut state, &event);
            }
        }
        Ok(state.purpose().cloned())
    }

    pub(crate) async fn record_checkout(
        &self,
        checkout: Checkout,
        named_members: Vec<String>,
        context: Context,
    ) -> Result<Settled, Trouble> {
        if let [first, second, ..] = named_members.as_slice() {
            let detail = format!("the checkout names both {first} and {second}");
            return Ok(parked("contradiction", detail));
        }
        let first = named_members.first().map(String::as_str);
        match self.owner(&checkout.customer, first, LinkedThrough::Checkout, &context).await? {
            Owner::Nobody(settled) | Owner::Erased(settled) => Ok(settled),
            Owner::Member(member) => {
                let command = MemberCommand::RecordCheckout(checkout);
                let done = self.members.execute(member.as_str(), command, context).await?;
                let names: Vec<_> = done.events.iter().map(member::MemberEvent::name).collect();
                Ok(if names.is_empty() { no_change("the checkout was known") } else { applied(&names) })
            }
        }
    }

    /// An unfinished checkout proves nothing about who pays, so it links nobody; one whose money came does.
    async fn record_checkout_end(
        &self,
        end: CheckoutEnd,
        customer: Option<CustomerId>,
        named_member: Option<String>,
        context: Context,
    ) -> Result<Settled, Trouble> {
        let paid = end.outcome == CheckoutOutcome::PaymentSucceeded;
        let member = if let Some(customer) = customer.as_ref().filter(|_| paid) {
            let through = LinkedThrough::Checkout;
            match self.owner(customer, named_member.as_deref(), through, &context).await? {
                Owner::Nobody(settled) | Owner::Erased(settled) => return Ok(settled),
                Owner::Member(member) => member,
            }
        } else {
            let payer = match &customer {
                Some(customer) => self.customer(customer).await?,
                None => Customer::default(),
            };
            let named = named_member.filter(|named| !payer.is_unlinked_from(named));
            let named = named.and_then(|named| MemberId::parse(&named).ok());
            let held = payer.member().cloned();
            match (held.clone().or(named), held.is_some()) {
                (Some(member), false) if self.member(&member).await?.is_erased() => {
                    return Ok(of_erased("the checkout", &member));
                }
                (Some(member), _) if self.member(&member).await?.is_registered() => member,
                _ => return Ok(ignored("no_member_named", "the checkout belongs to nobody known here")),
            }
        };
        let command = MemberCommand::RecordCheckoutEnd(end);
        let done = self.members.execute(member.as_str(), command, context).await?;
        let names: Vec<_> = done.events.iter().map(member::MemberEvent::name).collect();
        Ok(if names.is_empty() { no_change("this was known") } else { applied(&names) })
    }

    pub(crate) async fn delete_customer(
        &self,
        customer: CustomerId,
        deletion: Deletion,
        context: Context,
    ) -> Result<Settled, Trouble> {
        let payer = self.customer(&customer).await?;
        if !payer.was_ever_linked() && payer.names_erased().is_none() {
            return Ok(ignored("unknown_customer", format!("{customer} belongs to no member")));
        }
        // First the payer, so that a subscription heard of meanwhile finds her deleted.
        let command = CustomerCommand::Delete(deletion.clone());
        let done = self.customers.execute(customer.as_str(), command, context.clone()).await?;
        let mut names: Vec<_> = done.events.iter().map(customer::CustomerEvent::name).collect();
        for subscription in self.registry.subscriptions_of(&customer).await? {
            fail_point!("handling::deleting");
            let command = SubscriptionCommand::EndWithCustomer(deletion.clone());
            let done = self.subscriptions.execute(subscription.as_str(), command, context.clone()).await?;
            names.extend(done.events.iter().map(SubscriptionEvent::name));
        }
        Ok(if names.is_empty() { no_change("the customer was deleted before") } else { applied(&names) })
    }

    async fn tell(
        &self,
        subscription: &SubscriptionId,
        customer: &CustomerId,
        command: SubscriptionCommand,
        context: Context,
    ) -> Result<Settled, Trouble> {
        let done = self.subscriptions.execute(subscription.as_str(), command, context).await?;
        if done.events.iter().any(|event| matches!(event, SubscriptionEvent::SubscriptionStarted { .. })) {
            self.redrive_unmapped_of(customer).await?;
        }
        Ok(outcome_of(&done.events))
    }

    /// A catalogue that knows some items, or the latest if none does: waiting for the read models costs milliseconds, so
    /// it is done only where the answer could differ.
    pub(crate) async fn catalog_for(&self, items: &[Item]) -> Result<Arc<Catalog>, StoreError> {
        let catalog = self.registry.catalog();
        if catalog.plans_of(items).is_empty() { self.registry.latest_catalog().await } else { Ok(catalog) }
    }

    /// Whether a subscription is somebody else's business: nothing it sells is in the catalogue, and we never had it.
    pub(crate) async fn foreign(
        &self,
        catalog: &Catalog,
        subscription: &SubscriptionId,
        items: &[Item],
    ) -> Result<Option<Settled>, Trouble> {
        if !catalog.plans_of(items).is_empty() {
            return Ok(None);
        }
        if catalog.is_empty() {
            return Ok(Some(parked("no_catalog", "no catalogue has been applied, so nothing is for sale")));
        }
        if !catalog.policy().ignore_unmapped_products || self.is_known(subscription).await? {
            return Ok(None);
        }
        let sold: Vec<_> = items
            .iter()
            .flat_map(|item| {
                let price = item.price.as_ref().map(ToString::to_string);
                price.into_iter().chain(item.product.as_ref().map(ToString::to_string))
            })
            .collect();
        let detail = format!("none of {} is in the catalogue", sold.join(", "));
        Ok(Some(ignored("unmapped_product", detail)))
    }

    /// Finds whose a payer is: by the link that is held, else by the member that is named. Never by guessing. Where staff
    /// said that she is not the member who is named, the link that is held contradicts nothing.
    async fn owner(
        &self,
        customer: &CustomerId,
        named: Option<&str>,
        through: LinkedThrough,
        context: &Context,
    ) -> Result<Owner, Trouble> {
        let payer = self.customer(customer).await?;
        let held = payer.member().cloned();
        let named = named.filter(|named| held.is_none() || !payer.is_unlinked_from(named));
        let Some(named) = named else {
            return Ok(match (held, payer.names_erased()) {
                (Some(held), _) => Owner::Member(held),
                (None, Some(erased)) => Owner::Erased(of_erased(customer.as_str(), erased)),
                (None, None) => {
                    let detail = format!("{customer} is not linked to a member and names none");
                    Owner::Nobody(parked("unknown_customer", detail))
                }
            });
        };
        if held.as_ref().is_some_and(|held| held.as_str() == named) {
            return Ok(Owner::Member(MemberId::from(named)));
        }
        let settled = self.link_named(customer, named, through, context).await?;
        Ok(match settled.0 {
            Outcome::Parked if settled.1.code == ERASED_MEMBER => Owner::Erased(settled),
            Outcome::Parked => Owner::Nobody(settled),
            _ => Owner::Member(named.into()),
        })
    }

    /// The same for a subscription that Stripe was asked for: where it names nobody, its payer may.
    pub(crate) async fn owner_asked(
        &self,
        customer: &CustomerId,
        named: Option<String>,
        context: &Context,
    ) -> Result<Owner, Trouble> {
        let through = LinkedThrough::SubscriptionMetadata;
        let owner = self.owner(customer, named.as_deref(), through, context).await?;
        let (Owner::Nobody(_), None, Some(provider)) = (&owner, named, &self.provider) else {
            return Ok(owner);
        };
        let named = provider.object(customer.as_str()).await?.as_ref().and_then(member_named);
        if named.is_none() {
            return Ok(owner);
        }
        self.owner(customer, named.as_deref(), LinkedThrough::CustomerMetadata, context).await
    }

    /// Links a payer to the member that a Stripe object names, if that is possible.
    async fn link_named(
        &self,
        customer: &CustomerId,
        named: &str,
        through: LinkedThrough,
        context: &Context,
    ) -> Result<Settled, Trouble> {
        let shown = || named.chars().take(80).collect::<String>();
        let unknown =
            || parked("unknown_member", format!("names the member {:?}, who is not registered", shown()));
        let Ok(member) = MemberId::parse(named) else { return Ok(unknown()) };
        let state = self.member(&member).await?;
        if state.is_erased() {
            return self.name_erased(customer, &member, context).await;
        }
        if !state.is_registered() {
            return Ok(unknown());
        }
        let command = CustomerCommand::Link { member: member.clone(), through };
        let context = context.clone().for_member(&member);
        match self.customers.execute(customer.as_str(), command, context.clone()).await {
            Err(CommandError::Erased(member)) => self.name_erased(customer, &member, &context).await,
            Ok(done) if done.events.is_empty() => Ok(no_change("the customer was linked before")),
            Ok(_) => {
                fail_point!("handling::linked");
                self.linked(customer).await?;
                Ok(applied(&["MemberLinked"]))
            }
            Err(CommandError::Refused(CustomerError::LinkedElsewhere(held))) => {
                let detail = format!("names {named}, but {customer} belongs to {held}");
                Ok(parked("contradiction", detail))
            }
            Err(CommandError::Refused(CustomerError::Unlinked(_))) => {
                let detail = format!("names {named}, from whom {customer} was unlinked; link it to somebody");
                Ok(parked("unlinked", detail))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn customer(&self, id: &CustomerId) -> Result<Customer, StoreError> {
        let mut state = Customer::default();
        for event in self.stream(Customer::TYPE, id.as_str()).await? {
            if let Event::Customer(_, event) = event {
                customer::evolve(&mut state, &event);
            }
        }
        Ok(state)
    }

    /// A payer for whom somebody is named who was erased: from now on nothing is kept of what is delivered about her but the facts.
    async fn name_erased(
        &self,
        customer: &CustomerId,
        member: &MemberId,
        context: &Context,
    ) -> Result<Settled, Trouble> {
        let payer = self.customer(customer).await?;
        if let Some(held) = payer.member() {
            if held == member || payer.is_unlinked_from(member.as_str()) {
                return Ok(no_change("the customer was linked before"));
            }
            let detail = format!("names {member}, who was erased, but {customer} belongs to {held}");
            return Ok(parked("contradiction", detail));
        }
        let command = CustomerCommand::NameErased { member: member.clone() };
        let context = Context { about: None, ..context.clone() };
        let is_new = !self.customers.execute(customer.as_str(), command, context).await?.events.is_empty();
        if !self.rehearsing {
            self.inbox.forget_payer(customer, member, self.clock.now()).await?;
        }
        if is_new {
            self.redrive_of(customer).await?;
        }
        Ok(of_erased(customer.as_str(), member))
    }

    pub(crate) async fn member(&self, member: &MemberId) -> Result<Member, StoreError> {
        let mut state = Member::default();
        for event in self.stream(Member::TYPE, member.as_str()).await? {
            if let Event::Member(_, event) = event {
                member::evolve(&mut state, &event);
            }
        }
        Ok(state)
    }

    /// Whether a subscription was ever seen to be ours; a payment alone does not tell.
    async fn is_known(&self, id: &SubscriptionId) -> Result<bool, StoreError> {
        let seen = |event: &Event| matches!(event, Event::Subscription(_, event) if event.seen().is_some());
        Ok(self.stream(Subscription::TYPE, id.as_str()).await?.iter().any(seen))
    }

    async fn stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Event>, StoreError> {
        let recorded = self.stream_recorded(aggregate_type, id).await?;
        Ok(recorded.into_iter().map(|(_, event)| event).collect())
    }

    /// The events of an aggregate, each with when it was recorded.
    pub(crate) async fn stream_recorded(
        &self,
        aggregate_type: &str,
        id: &str,
    ) -> Result<Vec<(DateTime<Utc>, Event)>, StoreError> {
        let upcasters = upcasters();
        let recorded = self.feed.read_stream(aggregate_type, id).await?;
        let read =
            |recorded| Event::read(recorded, &upcasters).map(|event| (recorded.metadata.recorded_at, event));
        recorded
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}

/// The request that a call of ours to Stripe followed from: keys are `membership-`, what was asked for, and the request.
fn request_in(key: &str) -> Option<&str> {
    key.strip_prefix("membership-")?.split_once('-').map(|(_, request)| request)
}

/// An answer of Stripe's, or what becomes of the delivery that needs it: set aside until Stripe can be asked again.
async fn answered<T>(asked: impl Future<Output = Result<T, BillingError>>) -> Result<T, Settled> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(BillingError::Refused { code, message })) => {
            Err(parked("provider_refuses", format!("Stripe refuses to tell ({code}): {message}")))
        }
        Ok(Err(error)) => Err(parked("provider_unavailable", error.to_string())),
        Err(_) => Err(parked("provider_unavailable", "Stripe does not answer in time")),
    }
}

impl Owner {
    /// What became of a delivery that told this.
    fn settled(self, told: Settled) -> Settled {
        if let Self::Erased(settled) = self { settled } else { told }
    }
}

/// What becomes of a delivery that names somebody who was erased, for somebody who is nobody's.
fn of_erased(who: &str, member: &MemberId) -> Settled {
    let detail = format!(
        "{who} names {member}, who was erased, and is linked to nobody; what it pays is kept, its body is not. End it in Stripe, \
         or link its customer to whoever pays"
    );
    parked("erased_member", detail)
}

/// What became of a delivery, by the events it made.
fn outcome_of(events: &[SubscriptionEvent]) -> Settled {
    let bookkeeping = |event: &&SubscriptionEvent| {
        matches!(
            event,
            SubscriptionEvent::TermsConfirmed { .. }
                | SubscriptionEvent::EarlierTermsLearned { .. }
                | SubscriptionEvent::OrderAmbiguous { .. }
                | SubscriptionEvent::TransitionRefused { .. }
                | SubscriptionEvent::DriftFound { .. }
                | SubscriptionEvent::PaymentFailed { late: true, .. }
                | SubscriptionEvent::PaymentActionRequired { late: true, .. }
        )
    };
    let facts: Vec<_> =
        events.iter().filter(|event| !bookkeeping(event)).map(SubscriptionEvent::name).collect();
    if !facts.is_empty() {
        return applied(&facts);
    }
    match events.first() {
        None => no_change("this was known"),
        Some(SubscriptionEvent::TermsConfirmed { seen, .. }) if seen.notice.is_some() => {
            applied(&["TermsConfirmed"])
        }
        Some(SubscriptionEvent::TermsConfirmed { .. }) => {
            no_change("seen again, nothing we keep had changed")
        }
        Some(event) => {
            (Outcome::Stale, why("stale", format!("older than what is known; kept as {}", event.name())))
        }
    }
}
