//! Stored events are a contract: one golden file per shape in `docs/events/`, which must never change once shipped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use domain::account::{AccountEvent, PasswordChange, RevokedBecause, Role, SecondFactor, StaffLetter};
use domain::billing::When;
use domain::catalog::{CatalogEvent, Course, Plan, Playback, Policy, Roadmap, Video};
use domain::customer::{CustomerEvent, Deletion, LinkedThrough};
use domain::grant::GrantEvent;
use domain::member::{
    CancelReason, Cancellation, Checkout, CheckoutEnd, CheckoutOutcome, Comparison, ErasedBecause,
    MemberEvent, NewPlan, Order,
};
use domain::payment::{PaymentEvent, Purpose};
use domain::subscription::{
    Anchors, Attempt, CollectionPause, Difference, Dispute, Drift, DriftCause, Extension, InvoiceNote, Item,
    Kind, NextPlans, Noted, Notice, Now, Observation, Refund, RefundTold, Reversal, ReversedPayment,
    Schedule, Standing, Status, SubscriptionEvent as S, Terms,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn terms() -> Terms {
    Terms {
        customer: "cus_1".into(),
        status: Status::PastDue,
        items: vec![item()],
        plans: vec!["basic".into()],
        started_at: Some(at(0)),
        trial_end: Some(at(1)),
        period_end: Some(at(2)),
        cancels_at_period_end: true,
        cancels_at: Some(at(3)),
        ended_at: Some(at(4)),
        end_reason: Some("cancellation_requested".to_owned()),
        collection_paused: Some(pause()),
        pause_reason: None,
    }
}

fn item() -> Item {
    Item { price: Some("price_1".into()), product: Some("prod_1".into()), period_end: Some(at(2)) }
}

fn pause() -> CollectionPause {
    CollectionPause { behavior: "void".to_owned(), resumes_at: Some(at(5)) }
}

fn anchors() -> Anchors {
    Anchors {
        plans: vec!["basic".into()],
        grace_from: Some(at(6)),
        recovered_at: Some(at(7)),
        paid_until: Some(at(8)),
        ..Anchors::default()
    }
}

/// A standing with what is written only where there is something to say.
fn rare() -> Box<Standing> {
    Box::new(Standing {
        terms: Terms { pause_reason: Some("final_payment_failure".to_owned()), ..terms() },
        anchors: Anchors {
            refunded_at: Some(at(12)),
            disputed_since: Some(at(13)),
            dispute_lost_at: Some(at(14)),
            ..anchors()
        },
    })
}

fn reversed(reversal: Reversal) -> ReversedPayment {
    ReversedPayment { invoice: "in_1".into(), payment: "pi_1".into(), reversal }
}

fn refund(told: RefundTold) -> ReversedPayment {
    let currency = Some("usd".to_owned());
    reversed(Reversal::Refund(Refund { at: at(12), source: "evt_1".into(), told, currency }))
}

fn dispute(status: &str) -> ReversedPayment {
    reversed(Reversal::Dispute(Dispute {
        at: at(13),
        source: "evt_1".into(),
        dispute: "dp_1".into(),
        status: status.to_owned().into(),
        reason: Some("fraudulent".to_owned()),
    }))
}

fn seen() -> Observation {
    let replaced = Some(Box::new(terms()));
    Observation { replaced, ..Observation::new("evt_1".into(), at(9), Kind::Changed, terms()) }
}

fn attempt() -> Attempt {
    Attempt {
        invoice: "in_1".into(),
        source: "evt_1".into(),
        at: at(10),
        amount: 1_700,
        currency: Some("usd".to_owned()),
        count: Some(1),
        next_attempt_at: Some(at(11)),
    }
}

fn subscription_events() -> Vec<S> {
    let standing = || Box::new(Standing { terms: terms(), anchors: anchors() });
    let now = || Box::new(Now { seen: seen(), standing: *standing() });
    let plans = || vec!["basic".into()];
    vec![
        S::SubscriptionStarted { now: now() },
        S::TrialStarted { until: Some(at(1)), now: now() },
        S::TrialEndMoved { until: Some(at(1)), now: now() },
        S::SubscriptionActivated { from: Some(Status::Trialing), now: now() },
        S::FirstPaymentAwaited { now: now() },
        S::PaymentFellDue { now: now() },
        S::CollectionGivenUp { now: now() },
        S::Paused { now: now() },
        S::Resumed { to: Status::Active, now: now() },
        S::StatusUnknown { status: Status::Unknown("hibernating".to_owned()), now: now() },
        S::PlanChanged { from: plans(), to: plans(), now: now() },
        S::PriceChanged { from: vec![item()], now: now() },
        S::PriceUnmapped { items: vec![item()], now: now() },
        S::PeriodRenewed { until: at(2), now: now() },
        S::CancellationScheduled { ends_at: at(3), now: now() },
        S::CancellationReverted { now: now() },
        S::CollectionPaused { pause: pause(), now: now() },
        S::CollectionResumed { now: now() },
        S::SubscriptionEnded { ended_at: at(4), reason: Some("payment_failed".to_owned()), now: now() },
        S::TermsConfirmed { seen: Box::new(seen()), standing: standing() },
        S::EarlierTermsLearned { seen: Box::new(seen()), standing: standing() },
        S::PaymentFailed { attempt: attempt(), late: false, standing: Some(standing()) },
        S::PaymentRecovered { attempt: attempt(), standing: Some(standing()) },
        S::PaymentReceived { attempt: attempt(), standing: Some(standing()) },
        S::PaymentActionRequired { attempt: attempt(), late: false, standing: Some(standing()) },
        S::PaymentRefunded {
            reversed: refund(RefundTold::Payment { given_back: 1_700, paid: 1_700 }),
            standing: Some(rare()),
        },
        S::PaymentPartlyRefunded {
            reversed: refund(RefundTold::One { refund: "re_1".into(), amount: 700, failed: false }),
            standing: Some(rare()),
        },
        S::RefundFailed {
            reversed: refund(RefundTold::One { refund: "re_1".into(), amount: 700, failed: true }),
            standing: Some(rare()),
        },
        S::PaymentQuestioned { reversed: dispute("warning_needs_response"), standing: Some(rare()) },
        S::DisputeOpened { reversed: dispute("needs_response"), standing: Some(rare()) },
        S::DisputeClosed { reversed: dispute("lost"), standing: Some(rare()) },
        S::InvoiceNoted {
            noted: Noted {
                invoice: "in_1".into(),
                note: InvoiceNote::Voided,
                at: at(12),
                source: "evt_1".into(),
            },
        },
        S::PlanChangeScheduled {
            schedule: Schedule {
                at: at(12),
                source: "evt_1".into(),
                next: Some(NextPlans { from: at(20), items: vec![item()], plans: plans() }),
            },
        },
        S::PlanChangeUnscheduled { schedule: Schedule { at: at(12), source: "evt_1".into(), next: None } },
        S::EndedWithCustomer {
            deletion: Deletion { source: "evt_1".into(), at: at(0) },
            standing: Some(standing()),
        },
        S::DriftFound {
            drift: Box::new(Drift {
                source: "api:sub_1@2026-11-22T10:00:00.000000Z".into(),
                at: at(15),
                differences: vec![Difference {
                    what: "status".to_owned(),
                    known: Some("active".to_owned()),
                    found: Some("past_due".to_owned()),
                }],
                cause: DriftCause::NotUsed { delivery: "evt_1".into(), outcome: "failed, error".to_owned() },
                repaired: true,
            }),
        },
        grace_extended(),
        S::OrderAmbiguous { sources: vec!["evt_1".into(), "evt_2".into()], at: at(9) },
        S::TransitionRefused {
            from: Status::Canceled,
            to: Status::Active,
            source: "evt_1".into(),
            at: at(9),
        },
    ]
}

fn grace_extended() -> S {
    let anchors = Anchors { grace_until: Some(at(17)), ..anchors() };
    S::GraceExtended {
        extension: Extension { at: at(16), remark: "rmk_1".into(), until: at(17) },
        standing: Some(Box::new(Standing { terms: terms(), anchors })),
    }
}

fn customer_events() -> Vec<CustomerEvent> {
    let through = LinkedThrough::Checkout;
    vec![
        CustomerEvent::MemberLinked { member: "mem_1".into(), through },
        CustomerEvent::MemberUnlinked { member: "mem_1".into(), remark: "rmk_1".into() },
        CustomerEvent::ErasedMemberNamed { member: "mem_1".into() },
        CustomerEvent::CustomerDeleted { deletion: Deletion { source: "evt_1".into(), at: at(0) } },
    ]
}

fn member_events() -> Vec<MemberEvent> {
    let checkout = Checkout {
        session: "cs_1".to_owned(),
        customer: "cus_1".into(),
        subscription: Some("sub_1".into()),
        payment_status: Some("paid".to_owned()),
        at: at(0),
    };
    let end = CheckoutEnd {
        session: "cs_1".to_owned(),
        outcome: CheckoutOutcome::PaymentSucceeded,
        at: at(0),
        source: "evt_1".into(),
    };
    vec![
        MemberEvent::MemberRegistered,
        MemberEvent::CheckoutCompleted { checkout },
        MemberEvent::CheckoutEnded { end },
    ]
    .into_iter()
    .chain(request_events())
    .chain(staff_events())
    .collect()
}

fn request_events() -> Vec<MemberEvent> {
    let (key, session, subscription) = (|| "mem_1-req_1".to_owned(), || "cs_1".to_owned(), || "sub_1".into());
    let (customer, price) = (|| "cus_1".into(), || "price_1".into());
    let order = Order { plan: "basic".into(), price: price(), customer: customer(), trial_days: Some(7) };
    let change = NewPlan {
        subscription: subscription(),
        from: Some("basic".into()),
        to: "pro".into(),
        price: price(),
        when: When::Now,
        reckoned_at: Some(at(0)),
    };
    let reason = Some(CancelReason::TooExpensive);
    let cancellation = Cancellation { subscription: subscription(), when: When::PeriodEnd, reason };
    vec![
        MemberEvent::CheckoutRequested { key: key(), order },
        MemberEvent::CheckoutOpened { key: key(), session: session() },
        MemberEvent::CheckoutWithdrawn { session: session() },
        MemberEvent::PortalRequested { key: key(), customer: customer() },
        MemberEvent::PlanChangeRequested { key: key(), change },
        MemberEvent::CancellationRequested { key: key(), cancellation },
        MemberEvent::ResumptionRequested { key: key(), subscription: subscription() },
        MemberEvent::RequestConfirmed { key: key() },
        MemberEvent::RequestRefused { key: key(), code: "card_declined".to_owned() },
        MemberEvent::RequestUnanswered { key: key() },
        MemberEvent::RequestNotCarriedOut { key: key() },
    ]
}

fn staff_events() -> [MemberEvent; 6] {
    let comparison = Comparison { compared: 2, differing: 1, repaired: 1 };
    [
        MemberEvent::NoteAdded { remark: "rmk_1".into() },
        MemberEvent::NoteWithdrawn { note: "rmk_1".into(), remark: "rmk_2".into() },
        MemberEvent::ComparisonRequested { remark: Some("rmk_1".into()) },
        MemberEvent::ComparisonDone { comparison },
        MemberEvent::ComparisonFailed { code: "billing_unavailable".to_owned() },
        MemberEvent::MemberErased { because: ErasedBecause::AskedFor },
    ]
}

fn account_events() -> Vec<AccountEvent> {
    let session = || "ses_1".into();
    vec![
        AccountEvent::AccountRegistered,
        AccountEvent::EmailVerified,
        AccountEvent::SignedIn {
            session: session(),
            new_device: true,
            second_factor: Some(SecondFactor::BackupCode),
            provider: None,
        },
        AccountEvent::IdentityLinked { identity: "idn_1".into(), provider: "google".to_owned() },
        AccountEvent::IdentityUnlinked { identity: "idn_1".into(), provider: "google".to_owned() },
        AccountEvent::SignInRefused { at: at(0) },
        AccountEvent::SessionRevoked { session: session(), why: RevokedBecause::ReuseDetected },
        AccountEvent::PasswordChanged { how: PasswordChange::Reset },
        AccountEvent::EmailChanged,
        AccountEvent::SecondFactorEnabled,
        AccountEvent::SecondFactorDisabled,
        AccountEvent::BackupCodeUsed,
        AccountEvent::RoleChanged { role: Role::Support, remark: None },
        AccountEvent::AccountLocked { until: Some(at(0)), remark: "rmk_1".into() },
        AccountEvent::AccountUnlocked { remark: "rmk_1".into() },
        AccountEvent::AccountDeleted,
        AccountEvent::StaffRead { session: session(), what: "timeline".to_owned(), at: at(0) },
        AccountEvent::StaffSentLetter { letter: StaffLetter::PasswordReset, remark: "rmk_1".into() },
        AccountEvent::StaffEndedSessions { session: Some(session()), remark: "rmk_1".into() },
    ]
}

fn payment_events() -> Vec<PaymentEvent> {
    let purpose =
        Purpose { invoice: "in_1".into(), subscription: "sub_1".into(), at: at(0), source: "evt_1".into() };
    vec![PaymentEvent::PaymentAttributed { purpose }]
}

fn grant_events() -> Vec<GrantEvent> {
    let (member, plan, remark) = (|| "mem_1".into(), || "basic".into(), || "rmk_1".into());
    let (from, until) = (at(0), Some(at(1)));
    vec![
        GrantEvent::AccessGranted { member: member(), plan: plan(), from, until: None, remark: remark() },
        GrantEvent::GrantExtended {
            member: member(),
            plan: plan(),
            from,
            was_until: None,
            until,
            remark: remark(),
        },
        GrantEvent::GrantRevoked { member: member(), plan: plan(), from, until, remark: remark() },
    ]
}

fn catalog_events() -> Vec<CatalogEvent> {
    let name = || "Name".to_owned();
    vec![
        CatalogEvent::PolicySet { policy: Policy::default() },
        CatalogEvent::PlanDefined {
            plan: Plan {
                id: "basic".into(),
                name: name(),
                rank: 1,
                prices: vec!["price_1".into()],
                products: vec!["prod_1".into()],
                trial_days: None,
            },
        },
        CatalogEvent::PlanRemoved { id: "basic".into() },
        CatalogEvent::RoadmapDefined {
            roadmap: Roadmap { id: "start".into(), name: name(), plans: vec!["basic".into()], place: 0 },
        },
        CatalogEvent::RoadmapRemoved { id: "start".into() },
        CatalogEvent::CourseDefined {
            course: Course {
                id: "rust".into(),
                name: name(),
                free: false,
                roadmap: "start".into(),
                place: 0,
            },
        },
        CatalogEvent::CourseRemoved { id: "rust".into() },
        CatalogEvent::VideoDefined {
            video: Video {
                id: "hello".into(),
                name: name(),
                free: false,
                course: "rust".into(),
                place: 0,
                playback: Some(Playback::Vimeo { id: "76979871".to_owned() }),
            },
        },
        CatalogEvent::VideoRemoved { id: "hello".into() },
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events")
}

/// Compares each event with its file, or writes the files when asked to; returns the names of the files.
fn compare<E>(aggregate: &str, events: Vec<E>) -> Vec<String>
where
    E: DomainEvent + Serialize + DeserializeOwned,
{
    let mut names = Vec::new();
    for event in events {
        let name = format!("{aggregate}.{}.v{}.json", event.event_type(), event.event_version());
        let payload = serde_json::to_value(&event).unwrap();
        assert_eq!(payload["type"], json!(event.event_type()), "the name in the payload is the stored name");
        let path = folder().join(&name);
        #[expect(clippy::disallowed_methods, reason = "tells this test to write instead of compare")]
        if env::var("UPDATE_SNAPSHOTS").is_ok() && !path.exists() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, serde_json::to_string_pretty(&payload).unwrap() + "\n").unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_else(|_| {
            panic!("{name} is missing: for a new event run `UPDATE_SNAPSHOTS=1 cargo nextest run -p tests event_shapes`")
        });
        let golden: Value = serde_json::from_str(&golden).unwrap();
        assert_eq!(payload, golden, "{name}: a stored shape never changes; add a version and an upcaster");
        let read: E = serde_json::from_value(golden).unwrap();
        assert_eq!(read, event, "{name} reads back");
        names.push(name);
    }
    names
}

#[test]
fn every_stored_event_has_the_shape_of_its_golden_file() {
    let mut names = compare("subscription", subscription_events());
    names.extend(compare("customer", customer_events()));
    names.extend(compare("payment", payment_events()));
    names.extend(compare("grant", grant_events()));
    names.extend(compare("member", member_events()));
    names.extend(compare("account", account_events()));
    names.extend(compare("catalog", catalog_events()));
    let known: BTreeSet<String> = names.into_iter().collect();
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let unknown: Vec<_> = files.filter(|name| !known.contains(name)).collect();
    assert!(
        unknown.is_empty(),
        "no event has the shape of {unknown:?}: old shapes need an upcaster and a test"
    );
}

/// Every variant has a sample above: the names in the source and the names of the samples are the same set.
#[test]
fn no_event_is_without_a_golden_file() {
    let source =
        |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    let files = [
        "domain/src/subscription/event.rs",
        "domain/src/customer.rs",
        "domain/src/payment.rs",
        "domain/src/grant.rs",
        "domain/src/member/mod.rs",
        "domain/src/account.rs",
        "domain/src/catalog/mod.rs",
    ];
    let renamed = files.iter().flat_map(|path| {
        let text = source(path);
        let names: Vec<String> = text
            .split("#[serde(rename = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next().map(str::to_owned))
            .collect();
        names
    });
    let renamed: BTreeSet<String> = renamed.collect();
    let sampled: BTreeSet<String> = subscription_events()
        .iter()
        .map(DomainEvent::event_type)
        .chain(customer_events().iter().map(DomainEvent::event_type))
        .chain(payment_events().iter().map(DomainEvent::event_type))
        .chain(grant_events().iter().map(DomainEvent::event_type))
        .chain(member_events().iter().map(DomainEvent::event_type))
        .chain(account_events().iter().map(DomainEvent::event_type))
        .chain(catalog_events().iter().map(DomainEvent::event_type))
        .collect();
    assert_eq!(renamed, sampled);
}

/// The reason is new: rights that were given on the command line have none, and are written as they always were.
#[test]
fn rights_that_staff_gave_keep_their_reason() {
    let given = AccountEvent::RoleChanged { role: Role::Owner, remark: Some("rmk_1".into()) };
    let written = serde_json::to_value(&given).unwrap();
    assert_eq!(written, json!({ "type": "RoleChanged", "role": "owner", "remark": "rmk_1" }));
    assert_eq!(serde_json::from_value::<AccountEvent>(written).unwrap(), given);
}

/// What is written only where there is something to say is read back from where it is written.
#[test]
fn an_observation_keeps_what_was_announced_with_it_and_what_was_known_before_it() {
    let announced = Observation { notice: Some(Notice::TrialEnding), ..seen() };
    let written = serde_json::to_value(&announced).unwrap();
    assert_eq!(written["notice"], "trial_ending");
    assert_eq!(serde_json::from_value::<Observation>(written).unwrap(), announced);
    let looked = Observation { kind: Kind::Looked, after: Some("evt_0".into()), ..seen() };
    let written = serde_json::to_value(&looked).unwrap();
    assert_eq!(written["after"], "evt_0");
    assert_eq!(serde_json::from_value::<Observation>(written).unwrap(), looked);
}
