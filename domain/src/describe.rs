//! Events in plain words, for people who support members.

use chrono::{DateTime, Utc};

use crate::account::{AccountEvent, Lock, PasswordChange, RevokedBecause, SecondFactor};
use crate::billing::When;
use crate::catalog::CatalogEvent;
use crate::customer::{CustomerEvent, Deletion, LinkedThrough};
use crate::events::Event;
use crate::grant::GrantEvent;
use crate::ids::{PlanId, SourceEventId};
use crate::member::{CheckoutOutcome, MemberEvent};
use crate::money;
use crate::payment::PaymentEvent;
use crate::subscription::{
    Attempt, Dispute, Drift, DriftCause, InvoiceNote, Item, Noted, Notice, Observation, Refund, RefundTold,
    Reversal, ReversedPayment, SubscriptionEvent,
};

impl Event {
    /// What happened, in one sentence.
    pub fn describe(&self) -> String {
        match self {
            Self::Subscription(_, event) => subscription(event),
            Self::Customer(id, event) => customer(id.as_str(), event),
            Self::Payment(id, event) => payment(id.as_str(), event),
            Self::Grant(id, event) => grant(id.as_str(), event),
            Self::Member(_, event) => member(event),
            Self::Account(_, event) => account(event),
            Self::Catalog(event) => catalog(event),
        }
    }
}

fn subscription(event: &SubscriptionEvent) -> String {
    match event {
        SubscriptionEvent::SubscriptionStarted { now } => {
            format!(
                "Subscription first seen: {}, {}",
                now.standing.terms.status,
                plans(&now.standing.anchors.plans)
            )
        }
        SubscriptionEvent::TrialStarted { until, .. } => format!("Trial started, until {}", day(*until)),
        SubscriptionEvent::TrialEndMoved { until, .. } => format!("Trial end moved to {}", day(*until)),
        SubscriptionEvent::SubscriptionActivated { from, now } => match from {
            Some(from) => format!("Active with {} (was {from})", plans(&now.standing.anchors.plans)),
            None => format!("Active with {}", plans(&now.standing.anchors.plans)),
        },
        SubscriptionEvent::FirstPaymentAwaited { .. } => "Waiting for the first payment".to_owned(),
        SubscriptionEvent::PaymentFellDue { .. } => "A renewal is owed: past due".to_owned(),
        SubscriptionEvent::CollectionGivenUp { .. } => "Collecting was given up: unpaid".to_owned(),
        SubscriptionEvent::Paused { now } => {
            let reason = now.standing.terms.pause_reason.as_deref();
            format!("Suspended: paused{}", reason.map(|reason| format!(" ({reason})")).unwrap_or_default())
        }
        SubscriptionEvent::Resumed { to, .. } => format!("No longer paused: {to}"),
        SubscriptionEvent::StatusUnknown { status, .. } => {
            format!("The provider used an unknown status, {:?}; it opens nothing", status.as_str())
        }
        SubscriptionEvent::PlanChanged { from, to, .. } => {
            format!("Plan changed from {} to {}", plans(from), plans(to))
        }
        SubscriptionEvent::PriceChanged { now, .. } => {
            format!("Another price of {}", plans(&now.standing.anchors.plans))
        }
        SubscriptionEvent::PriceUnmapped { items, now } => unmapped(items, &now.standing.anchors.plans),
        SubscriptionEvent::PeriodRenewed { until, .. } => format!("New period, until {}", day(Some(*until))),
        SubscriptionEvent::CancellationScheduled { ends_at, .. } => {
            format!("Cancellation scheduled for {}", day(Some(*ends_at)))
        }
        SubscriptionEvent::CancellationReverted { .. } => "Cancellation taken back".to_owned(),
        SubscriptionEvent::CollectionPaused { pause, .. } => {
            format!("Payment collection paused ({})", pause.behavior)
        }
        SubscriptionEvent::CollectionResumed { .. } => "Payment collection goes on".to_owned(),
        SubscriptionEvent::SubscriptionEnded { ended_at, reason, .. } => {
            let reason = reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("Ended on {}{reason}", day(Some(*ended_at)))
        }
        SubscriptionEvent::TermsConfirmed { seen, standing } => {
            announced(seen).unwrap_or_else(|| format!("Seen again, unchanged: {}", standing.terms.status))
        }
        SubscriptionEvent::EarlierTermsLearned { seen, .. } => {
            format!("Arrived late, the present stays: it had been {}", seen.terms.status)
        }
        SubscriptionEvent::PaymentFailed { attempt, late, .. } => {
            let late = if *late { "; it had been paid by the time this arrived" } else { "" };
            format!("Payment failed{}{late}", attempted(attempt))
        }
        SubscriptionEvent::PaymentActionRequired { attempt, late, .. } => {
            let late = if *late { "; it had been paid by the time this arrived" } else { "" };
            format!("Payment waits for the payer to confirm it{}{late}", attempted(attempt))
        }
        SubscriptionEvent::PaymentRefunded { reversed, .. } => {
            reversal("All of the payment was given back", reversed)
        }
        SubscriptionEvent::PaymentPartlyRefunded { reversed, .. } => {
            reversal("A part of the payment was given back", reversed)
        }
        SubscriptionEvent::RefundFailed { reversed, .. } => {
            reversal("Giving the payment back failed", reversed)
        }
        SubscriptionEvent::PaymentQuestioned { reversed, .. } => {
            reversal("The payer's bank asks about a payment", reversed)
        }
        SubscriptionEvent::DisputeOpened { reversed, .. } => reversal("A payment is disputed", reversed),
        SubscriptionEvent::DisputeClosed { reversed, .. } => reversal("The dispute is over", reversed),
        SubscriptionEvent::InvoiceNoted { noted } => invoice_note(noted),
        SubscriptionEvent::PlanChangeScheduled { schedule } => schedule.next.as_ref().map_or_else(
            || "A change of plan is scheduled".to_owned(),
            |next| format!("Will change to {} on {}", plans(&next.plans), day(Some(next.from))),
        ),
        SubscriptionEvent::GraceExtended { extension, .. } => {
            format!("Staff gave time to settle what is owed until {}", day(Some(extension.until)))
        }
        SubscriptionEvent::PlanChangeUnscheduled { .. } => {
            "No change of plan is scheduled any more".to_owned()
        }
        SubscriptionEvent::PaymentRecovered { attempt, .. } => {
            format!("The failed payment was made{}", attempted(attempt))
        }
        SubscriptionEvent::PaymentReceived { attempt, .. } => {
            format!("Payment received{}", attempted(attempt))
        }
        SubscriptionEvent::EndedWithCustomer { deletion, standing } => {
            deleted(deletion, standing.as_ref().and_then(|standing| standing.terms.ended_at))
        }
        SubscriptionEvent::OrderAmbiguous { sources, .. } => order_unknown(sources),
        SubscriptionEvent::DriftFound { drift } => drifted(drift),
        SubscriptionEvent::TransitionRefused { from, to, .. } => {
            format!("The provider told of {to} after {from}, which is final; not believed")
        }
    }
}

fn unmapped(items: &[Item], kept: &[PlanId]) -> String {
    let prices: Vec<_> =
        items.iter().filter_map(|item| item.price.as_ref().map(ToString::to_string)).collect();
    format!("Price {} is not in the catalogue; kept {}", prices.join(", "), plans(kept))
}

fn order_unknown(sources: &[SourceEventId]) -> String {
    let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
    format!("The order of {} within one second cannot be told", sources.join(", "))
}

/// An end with the payer's, unless it had ended before.
fn deleted(deletion: &Deletion, ended_at: Option<DateTime<Utc>>) -> String {
    match ended_at.filter(|ended_at| *ended_at < deletion.at) {
        Some(_) => format!("The customer was deleted; it had ended on {}", day(ended_at)),
        None => format!("Ended on {}, since the customer was deleted", day(Some(deletion.at))),
    }
}

/// What a comparison with the provider showed.
fn drifted(drift: &Drift) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let differences: Vec<_> = drift
        .differences
        .iter()
        .map(|difference| {
            format!("{} was {}, not {}", difference.what, shown(&difference.found), shown(&difference.known))
        })
        .collect();
    let cause = match &drift.cause {
        DriftCause::NotTold => "no delivery told of it".to_owned(),
        DriftCause::NotUsed { delivery, outcome } => format!("{delivery} may have told of it: {outcome}"),
        DriftCause::OrderUnknown => "the order of two changes could not be told".to_owned(),
        DriftCause::NotThere => "the provider does not have it".to_owned(),
    };
    let repair = if drift.repaired {
        "put right"
    } else {
        "not put right: compare both with the provider's dashboard"
    };
    format!("Compared with the provider: {}; likely cause: {cause}; {repair}", differences.join("; "))
}

/// What an observation announces beside its terms.
fn announced(seen: &Observation) -> Option<String> {
    Some(match seen.notice? {
        Notice::TrialEnding => format!("Announced: the trial ends on {}", day(seen.terms.trial_end)),
        Notice::PendingUpdateApplied => "The change that waited for its payment took effect".to_owned(),
        Notice::PendingUpdateExpired => {
            "The change that waited for its payment was given up; everything stays as it was".to_owned()
        }
    })
}

fn reversal(happened: &str, reversed: &ReversedPayment) -> String {
    let what = match &reversed.reversal {
        Reversal::Refund(refund) => format!(": {}", refunded(refund)),
        Reversal::Dispute(Dispute { dispute, status, reason, .. }) => {
            let reason = reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
            format!(": {dispute}, {}{reason}", status.as_str())
        }
    };
    format!("{happened}{what}, invoice {}", reversed.invoice)
}

fn refunded(refund: &Refund) -> String {
    let written = |amount| money::amount(amount, refund.currency.as_deref());
    match &refund.told {
        RefundTold::Payment { given_back, paid } => format!("{} of {}", written(*given_back), written(*paid)),
        RefundTold::One { refund, amount, .. } => format!("{refund}, {}", written(*amount)),
    }
}

fn invoice_note(Noted { invoice, note, .. }: &Noted) -> String {
    match note {
        InvoiceNote::MarkedUncollectible => format!("Invoice {invoice} is not expected to be paid any more"),
        InvoiceNote::Voided => format!("Invoice {invoice} was voided: it is owed no more"),
        InvoiceNote::Overdue => format!("The due date of invoice {invoice} has passed"),
        InvoiceNote::FinalizationFailed => {
            format!("Invoice {invoice} could not be finished by the provider, so nothing is collected")
        }
    }
}

fn payment(id: &str, event: &PaymentEvent) -> String {
    let PaymentEvent::PaymentAttributed { purpose } = event;
    format!("{id} paid invoice {} of {}", purpose.invoice, purpose.subscription)
}

fn customer(id: &str, event: &CustomerEvent) -> String {
    match event {
        CustomerEvent::MemberLinked { through, .. } => {
            let through = match through {
                LinkedThrough::Request => "on request",
                LinkedThrough::Creation => "when it was made for her",
                LinkedThrough::Checkout => "through a checkout",
                LinkedThrough::SubscriptionMetadata => "through the subscription's metadata",
                LinkedThrough::CustomerMetadata => "through the customer's metadata",
            };
            format!("Customer {id} linked {through}")
        }
        CustomerEvent::MemberUnlinked { member, .. } => {
            format!("Customer {id} unlinked from {member}: it was never hers")
        }
        CustomerEvent::ErasedMemberNamed { member } => {
            format!("Customer {id} names {member}, who was erased: linked to nobody")
        }
        CustomerEvent::CustomerDeleted { .. } => format!("Customer {id} deleted at the provider"),
    }
}

fn grant(id: &str, event: &GrantEvent) -> String {
    let until = |until: Option<DateTime<Utc>>| {
        until.map_or_else(|| "for good".to_owned(), |until| format!("until {}", day(Some(until))))
    };
    match event {
        GrantEvent::AccessGranted { plan, from, until: end, .. } => {
            format!("Access to {plan} given from {} {} ({id})", day(Some(*from)), until(*end))
        }
        GrantEvent::GrantExtended { plan, was_until, until: end, .. } => {
            format!("Given access to {plan} is {} instead of {} ({id})", until(*end), until(*was_until))
        }
        GrantEvent::GrantRevoked { plan, .. } => format!("Given access to {plan} taken back ({id})"),
    }
}

fn member(event: &MemberEvent) -> String {
    match event {
        MemberEvent::MemberRegistered => "Member registered".to_owned(),
        MemberEvent::CheckoutCompleted { checkout } => {
            let paid = checkout.payment_status.as_deref().unwrap_or("payment status unknown");
            format!("Checkout {} finished ({paid})", checkout.session)
        }
        MemberEvent::CheckoutEnded { end } => match end.outcome {
            CheckoutOutcome::PaymentSucceeded => format!("The payment of checkout {} came", end.session),
            CheckoutOutcome::PaymentFailed => format!("The payment of checkout {} failed", end.session),
            CheckoutOutcome::Expired => format!("Checkout {} was not finished in time", end.session),
        },
        MemberEvent::CheckoutWithdrawn { session } => {
            format!("Checkout {session} was closed, since another took its place")
        }
        MemberEvent::CheckoutOpened { session, .. } => format!("Checkout {session} can be paid"),
        MemberEvent::CheckoutRequested { order, .. } => {
            let trial = order.trial_days.map(|days| format!(", {days} days free")).unwrap_or_default();
            format!("Asked to buy {} ({}{trial})", order.plan, order.price)
        }
        MemberEvent::PortalRequested { customer, .. } => {
            format!("Asked for the provider's pages about the payments of {customer}")
        }
        MemberEvent::PlanChangeRequested { change, .. } => {
            let from = change.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            let (to, price, subscription) = (&change.to, &change.price, &change.subscription);
            format!("Asked to change {subscription}{from} to {to} ({price}) {}", when(change.when))
        }
        MemberEvent::CancellationRequested { cancellation, .. } => {
            let reason =
                cancellation.reason.map(|reason| format!(": {}", reason.words())).unwrap_or_default();
            format!("Asked to end {} {}{reason}", cancellation.subscription, when(cancellation.when))
        }
        MemberEvent::ResumptionRequested { subscription, .. } => {
            format!("Asked to go on with {subscription}")
        }
        MemberEvent::RequestConfirmed { .. } => "The provider did what was asked for".to_owned(),
        MemberEvent::RequestRefused { code, .. } => {
            format!("The provider refused what was asked for ({code})")
        }
        MemberEvent::RequestUnanswered { .. } => {
            "The provider gave no answer: it may have been done or not".to_owned()
        }
        MemberEvent::RequestNotCarriedOut { .. } => {
            "The provider was asked later how it ended: it was not done, and is not tried again".to_owned()
        }
        MemberEvent::NoteAdded { .. } => "Note of staff".to_owned(),
        MemberEvent::NoteWithdrawn { .. } => "A note of staff was withdrawn".to_owned(),
        MemberEvent::ComparisonRequested { remark } => {
            let without = if remark.is_none() { ", without saying why" } else { "" };
            format!("Staff had her subscriptions compared with the provider{without}")
        }
        MemberEvent::ComparisonDone { comparison } => comparison.to_string(),
        MemberEvent::ComparisonFailed { code } => {
            format!("The comparison with the provider was not finished ({code})")
        }
        MemberEvent::MemberErased { because } => {
            format!("Erased: nothing is known of her but what happened, since {}", because.words())
        }
    }
}

fn when(when: When) -> &'static str {
    match when {
        When::Now => "at once",
        When::PeriodEnd => "with the end of the period",
    }
}

fn account(event: &AccountEvent) -> String {
    match event {
        AccountEvent::AccountRegistered => "Account opened".to_owned(),
        AccountEvent::EmailVerified => "E-mail address confirmed".to_owned(),
        AccountEvent::SignedIn { new_device, second_factor, provider, .. } => {
            let device = if *new_device { " from a new device" } else { "" };
            let factor = match second_factor {
                Some(SecondFactor::Totp) => ", with a code",
                Some(SecondFactor::BackupCode) => ", with a backup code",
                None => "",
            };
            let through = provider.as_ref().map(|name| format!(" with {name}")).unwrap_or_default();
            format!("Signed in{through}{device}{factor}")
        }
        AccountEvent::IdentityLinked { provider, .. } => format!("Sign-in with {provider} linked"),
        AccountEvent::IdentityUnlinked { provider, .. } => format!("Sign-in with {provider} unlinked"),
        AccountEvent::SignInRefused { .. } => "Sign-ins refused for a while: too many wrong ones".to_owned(),
        AccountEvent::SessionRevoked { why, .. } => match why {
            RevokedBecause::SignedOut => "Signed out",
            RevokedBecause::Revoked => "Session ended from another device",
            RevokedBecause::PasswordChanged => "Session ended, since the password was changed",
            RevokedBecause::ReuseDetected => {
                "Session ended: its refresh token was used twice, so it may be stolen"
            }
            RevokedBecause::AccountDeleted => "Session ended with the account",
            RevokedBecause::ByStaff => "Session ended by staff",
            RevokedBecause::RoleChanged => "Session ended, since the role was changed",
            RevokedBecause::Locked => "Session ended, since the account was locked",
        }
        .to_owned(),
        AccountEvent::PasswordChanged { how } => match how {
            PasswordChange::Changed => "Password changed",
            PasswordChange::Reset => "Password chosen anew through a letter",
            PasswordChange::Set => "Password set on the command line",
        }
        .to_owned(),
        AccountEvent::EmailChanged => "E-mail address changed".to_owned(),
        AccountEvent::SecondFactorEnabled => "Second factor set up".to_owned(),
        AccountEvent::SecondFactorDisabled => "Second factor removed".to_owned(),
        AccountEvent::BackupCodeUsed => "A backup code was used".to_owned(),
        AccountEvent::RoleChanged { role, .. } => format!("Role is {role} from now on"),
        AccountEvent::AccountLocked { until, .. } => {
            format!("Account locked {}", Lock { until: *until }.words())
        }
        AccountEvent::AccountUnlocked { .. } => "Account unlocked".to_owned(),
        AccountEvent::AccountDeleted => "Account deleted".to_owned(),
        AccountEvent::StaffRead { what, .. } => format!("Staff looked at {}", read_by_staff(what)),
        AccountEvent::StaffSentLetter { letter, .. } => format!("Staff had {} sent", letter.words()),
        AccountEvent::StaffEndedSessions { session: None, .. } => "Staff ended her sessions".to_owned(),
        AccountEvent::StaffEndedSessions { session: Some(_), .. } => "Staff ended a session".to_owned(),
    }
}

/// What a route's own words for what it shows mean; an unknown one speaks for itself.
fn read_by_staff(what: &str) -> &str {
    match what {
        "member" => "her page",
        "view" => "her catalogue as she sees it",
        "print" => "her printable history",
        "export" => "her history, and took it along",
        "timeline" => "her history",
        "state" => "how it stood with her",
        "explain" => "why a video was open or closed to her",
        "flips" => "when a video opened and closed to her",
        "diff" => "what changed between two moments",
        "events/{position}" => "one event of hers",
        "acts/{act}" => "what could be done for her",
        "delivery" => "what the provider sent about her",
        "account" => "her account",
        "accounts" => "a list of accounts with hers",
        other => other,
    }
}

fn catalog(event: &CatalogEvent) -> String {
    match event {
        CatalogEvent::PolicySet { .. } => "The rules of access were set".to_owned(),
        CatalogEvent::PlanDefined { plan } => format!("Plan {} defined", plan.id),
        CatalogEvent::PlanRemoved { id } => format!("Plan {id} removed"),
        CatalogEvent::RoadmapDefined { roadmap } => format!("Roadmap {} defined", roadmap.id),
        CatalogEvent::RoadmapRemoved { id } => format!("Roadmap {id} removed"),
        CatalogEvent::CourseDefined { course } => format!("Course {} defined", course.id),
        CatalogEvent::CourseRemoved { id } => format!("Course {id} removed"),
        CatalogEvent::VideoDefined { video } => format!("Video {} defined", video.id),
        CatalogEvent::VideoRemoved { id } => format!("Video {id} removed"),
    }
}

fn plans(plans: &[PlanId]) -> String {
    if plans.is_empty() {
        return "no known plan".to_owned();
    }
    plans.iter().map(PlanId::as_str).collect::<Vec<_>>().join(" and ")
}

fn day(moment: Option<DateTime<Utc>>) -> String {
    moment.map_or_else(
        || "a date not known yet".to_owned(),
        |moment| moment.format("%-d %B %Y, %H:%M UTC").to_string(),
    )
}

fn attempted(attempt: &Attempt) -> String {
    let amount = money::amount(attempt.amount, attempt.currency.as_deref());
    let count = attempt.count.map(|count| format!(", attempt {count}")).unwrap_or_default();
    format!(" of {amount}, invoice {}{count}", attempt.invoice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_back(told: RefundTold, currency: Option<&str>) -> String {
        let currency = currency.map(str::to_owned);
        refunded(&Refund { at: DateTime::UNIX_EPOCH, source: "evt_1".into(), told, currency })
    }

    fn tried(currency: Option<&str>) -> String {
        attempted(&Attempt {
            invoice: "in_1".into(),
            source: "evt_1".into(),
            at: DateTime::UNIX_EPOCH,
            amount: 2_500,
            currency: currency.map(str::to_owned),
            count: Some(1),
            next_attempt_at: None,
        })
    }

    #[test]
    fn staff_read_amounts_as_people_write_them() {
        let part = || RefundTold::Payment { given_back: 500, paid: 1_700 };
        let one = RefundTold::One { refund: "re_1".into(), amount: 500, failed: false };
        assert_eq!(tried(Some("usd")), " of 25.00 USD, invoice in_1, attempt 1");
        assert_eq!(tried(None), " of 2500 (smallest unit), invoice in_1, attempt 1");
        assert_eq!(given_back(part(), Some("usd")), "5.00 USD of 17.00 USD");
        assert_eq!(given_back(part(), Some("jpy")), "500 JPY of 1700 JPY");
        assert_eq!(given_back(one, None), "re_1, 500 (smallest unit)");
    }
}
