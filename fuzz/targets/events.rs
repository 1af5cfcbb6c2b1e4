//! Bodies of events, one or several: read, translated, told to aggregates, put into the index, asked about.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use domain::access::Source;
use domain::catalog::{self, Catalog, CatalogCommand, PlanSet};
use domain::customer::{self, Customer, CustomerCommand, LinkedThrough};
use domain::ids::SubscriptionId;
use domain::member::{self, Member, MemberCommand};
use domain::ports::Position;
use domain::subscription::{self, ReversedPayment, Subscription, SubscriptionCommand, SubscriptionEvent};
use fuzz::{catalog_file, parts};
use libfuzzer_sys::fuzz_target;
use projections::access_index::AccessIndex;
use projections::view_store::DirectoryRow;
use serde::Serialize;
use serde::de::DeserializeOwned;
use webhook_ingest::inbox::Origin;
use webhook_ingest::routes::delivery;
use webhook_ingest::stripe::Envelope;
use webhook_ingest::stripe::translate::{InvoiceTold, Translation, translate};

/// More would be slow and find nothing else.
const MOST: usize = 6;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let content = catalog_file::parse(include_str!("../seeds/catalogue/small.toml")).expect("it is right");
    let mut catalog = Catalog::default();
    for event in
        catalog::decide(&catalog, CatalogCommand::Apply(Box::new(content))).expect("it can be applied")
    {
        catalog::evolve(&mut catalog, &event);
    }
    catalog
});

fuzz_target!(|input: &[u8]| {
    let (mut told, mut commands) = (BTreeSet::new(), Vec::new());
    for body in parts(input).into_iter().take(MOST) {
        let kept = delivery(body.to_vec(), now(), Origin::Webhook);
        assert!(is_storable(&kept.id) && is_storable(&kept.event_type), "{kept:?}");
        assert!(kept.customer.as_deref().is_none_or(is_storable), "{kept:?}");
        assert!(kept.concerns.as_deref().is_none_or(is_storable), "{kept:?}");
        let Ok(event) = Envelope::read(body) else { continue };
        assert_eq!(kept.id, event.id);
        // Of two bodies with one id, the inbox keeps the first.
        if told.insert(event.id.clone()) {
            commands.extend(command(translate(&event)));
        }
    }
    let forward = tell_all(commands.iter().cloned());
    let backward = tell_all(commands.iter().rev().cloned());
    for (id, subscription) in &forward {
        // The histories may differ in what was merely noted; what holds may not.
        assert_eq!(subscription.standing(None), backward[id].standing(None), "the order matters to {id}");
    }
    ask(&forward);
});

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("a moment")
}

/// What every database stores alike.
fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// What a translation tells a subscription; the other aggregates are told here.
fn command(translation: Translation) -> Option<(SubscriptionId, SubscriptionCommand)> {
    match translation {
        Translation::Observation { subscription, mut observation, named_member } => {
            link(named_member);
            CATALOG.fill_in(&mut observation.terms);
            if let Some(replaced) = &mut observation.replaced {
                CATALOG.fill_in(replaced);
            }
            Some((subscription, SubscriptionCommand::Observe(observation)))
        }
        Translation::Invoice { of, told } => {
            let command = match told {
                InvoiceTold::Paid(attempt, _) => SubscriptionCommand::RecordPayment(attempt),
                InvoiceTold::Failed(attempt) => SubscriptionCommand::RecordPaymentFailure(attempt),
                InvoiceTold::ActionRequired(attempt) => SubscriptionCommand::RecordActionRequired(attempt),
                InvoiceTold::Noted(noted) => SubscriptionCommand::NoteInvoice(noted),
            };
            Some((of.subscription, command))
        }
        // What it paid for, only the log knows; here every payment paid one invoice.
        Translation::Reversal { payment, reversal } => {
            let reversed = ReversedPayment { invoice: "in_1".into(), payment, reversal };
            Some((SubscriptionId::from("sub_1"), SubscriptionCommand::RecordReversal(reversed)))
        }
        Translation::Schedule { subscription, mut schedule } => {
            if let Some(next) = &mut schedule.next {
                next.plans = CATALOG.plans_of(&next.items);
            }
            Some((subscription, SubscriptionCommand::RecordSchedule(schedule)))
        }
        Translation::CheckoutEnd { end, named_member, .. } => {
            link(named_member);
            let mut member = Member::default();
            let command = MemberCommand::RecordCheckoutEnd(end);
            for event in member::decide(&member, command.clone()) {
                survives(&event);
                member::evolve(&mut member, &event);
            }
            assert!(member::decide(&member, command).is_empty(), "an end told twice");
            None
        }
        Translation::InvoicePayment { .. } => None,
        Translation::Checkout { checkout, named_members } => {
            named_members.into_iter().for_each(|named| link(Some(named)));
            let mut member = Member::default();
            let command = MemberCommand::RecordCheckout(checkout);
            for event in member::decide(&member, command.clone()) {
                survives(&event);
                member::evolve(&mut member, &event);
            }
            assert!(member::decide(&member, command).is_empty(), "a checkout told twice");
            None
        }
        Translation::CustomerDeleted { deletion, .. } => {
            let mut customer = Customer::default();
            let command = CustomerCommand::Delete(deletion.clone());
            for event in customer::decide(&customer, command.clone()).expect("a deletion is news") {
                survives(&event);
                customer::evolve(&mut customer, &event);
            }
            assert!(
                customer::decide(&customer, command).is_ok_and(|events| events.is_empty()),
                "deleted twice"
            );
            // Whose she is, only the log knows; here she is everybody's.
            Some((SubscriptionId::from("sub_1"), SubscriptionCommand::EndWithCustomer(deletion)))
        }
        Translation::Customer { named_member, .. } => {
            link(named_member);
            None
        }
        Translation::Park(why) | Translation::Ignore(why) => {
            assert!(!why.code.is_empty() && !why.detail.is_empty() && is_storable(&why.detail), "{why:?}");
            None
        }
    }
}

fn link(named: Option<String>) {
    let Some(member) = named.and_then(|named| domain::ids::MemberId::parse(&named).ok()) else { return };
    let mut customer = Customer::default();
    let command = CustomerCommand::Link { member, through: LinkedThrough::Checkout };
    for event in customer::decide(&customer, command.clone()).expect("she is nobody's yet") {
        survives(&event);
        customer::evolve(&mut customer, &event);
    }
    assert!(customer::decide(&customer, command).is_ok_and(|events| events.is_empty()), "linked twice");
}

type Subscriptions = BTreeMap<SubscriptionId, Subscription>;

/// Tells commands, each twice, and at the end all of them once more.
fn tell_all(commands: impl Iterator<Item = (SubscriptionId, SubscriptionCommand)> + Clone) -> Subscriptions {
    let mut all = Subscriptions::new();
    for (id, command) in commands.clone() {
        let subscription = all.entry(id).or_default();
        for event in subscription::decide(subscription, command.clone()) {
            survives(&event);
            subscription::evolve(subscription, &event);
            remembers(subscription, &event);
        }
        assert_eq!(subscription::decide(subscription, command), [], "told twice");
    }
    for (id, command) in commands {
        assert_eq!(subscription::decide(&all[&id], command), [], "told again");
    }
    all
}

/// A row is made of the event alone, so it has to say what the whole stream says.
fn remembers(subscription: &Subscription, event: &SubscriptionEvent) {
    if let Some(standing) = event.standing()
        && let Some(held) = subscription.standing(None)
    {
        assert_eq!(standing.terms.customer, held.terms.customer, "{event:?}");
    }
}

/// What is stored can be read, and is the same.
fn survives<E: DomainEvent + Serialize + DeserializeOwned>(event: &E) {
    let text = serde_json::to_string(event).expect("an event can be written");
    assert!(!text.contains("\\u0000"), "{text} is stored by no PostgreSQL");
    assert_eq!(serde_json::from_str::<E>(&text).ok().as_ref(), Some(event), "{text}");
}

/// Every answer about what was told can be given, at every moment.
fn ask(subscriptions: &Subscriptions) {
    let (index, member) = (AccessIndex::default(), domain::ids::MemberId::from("mem_1"));
    index.set_catalog(CATALOG.clone());
    index.put(&DirectoryRow::Member {
        member: member.clone(),
        registered_at: now(),
        position: Position::new(1),
    });
    for (id, subscription) in subscriptions {
        let Some(standing) = subscription.standing(None) else { continue };
        let text = serde_json::to_string(&standing).expect("a standing can be written");
        assert_eq!(serde_json::from_str(&text).ok().as_ref(), Some(&standing), "{text}");
        Source::new(&standing, PlanSet::default());
        let position = Position::new(2);
        let customer = standing.terms.customer.clone();
        index.put(&DirectoryRow::Customer { customer, member: member.clone(), linked: true, position });
        let standing = Box::new(standing);
        index.put(&DirectoryRow::Subscription { subscription: id.clone(), standing, position });
    }
    for video in CATALOG.videos() {
        for at in [now(), DateTime::UNIX_EPOCH, DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let checked = index.check(&member, video.id.as_str(), at).expect("both are there");
            assert!(!checked.message.is_empty());
        }
    }
}
