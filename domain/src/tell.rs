//! Events in plain words for the member whom they are about. What is only bookkeeping for staff is left out.

use chrono::{DateTime, Utc};

use crate::account::{AccountEvent, Lock, RevokedBecause};
use crate::billing::When;
use crate::catalog::Catalog;
use crate::customer::CustomerEvent;
use crate::events::Event;
use crate::grant::GrantEvent;
use crate::ids::PlanId;
use crate::member::{CheckoutOutcome, MemberEvent};
use crate::money;
use crate::subscription::{Attempt, Notice, Now, SubscriptionEvent};

impl Event {
    /// What happened, in a sentence to the member; nothing where it does not concern her.
    pub fn tell(&self, catalog: &Catalog) -> Option<String> {
        match self {
            Self::Subscription(_, event) => subscription(event, catalog),
            Self::Member(_, event) => member(event, catalog),
            Self::Grant(_, event) => Some(grant(event, catalog)),
            Self::Customer(_, CustomerEvent::CustomerDeleted { .. }) => {
                Some("Your payment details were deleted.".to_owned())
            }
            Self::Account(_, event) => Some(account(event)),
            _ => None,
        }
    }
}

fn account(event: &AccountEvent) -> String {
    match event {
        AccountEvent::AccountRegistered => "Your account was opened.",
        AccountEvent::EmailVerified => "You confirmed your e-mail address.",
        AccountEvent::SignedIn { new_device, provider: Some(provider), .. } => {
            let device = if *new_device { " from a new device" } else { "" };
            return format!("You signed in with {provider}{device}.");
        }
        AccountEvent::SignedIn { new_device: true, .. } => "You signed in from a new device.",
        AccountEvent::SignedIn { .. } => "You signed in.",
        AccountEvent::IdentityLinked { provider, .. } => {
            return format!("You linked {provider}: you can sign in with it.");
        }
        AccountEvent::IdentityUnlinked { provider, .. } => {
            return format!("You unlinked {provider}: it does not sign you in any more.");
        }
        AccountEvent::SignInRefused { .. } => "Sign-ins were refused for a while: too many wrong ones.",
        AccountEvent::SessionRevoked { why: RevokedBecause::SignedOut, .. } => "You signed out.",
        AccountEvent::SessionRevoked { .. } => "You were signed out on a device.",
        AccountEvent::PasswordChanged { .. } => "Your password was changed.",
        AccountEvent::EmailChanged => "Your e-mail address was changed.",
        AccountEvent::SecondFactorEnabled => "You set up a second factor.",
        AccountEvent::SecondFactorDisabled => "Your second factor was removed.",
        AccountEvent::BackupCodeUsed => "You used a backup code.",
        AccountEvent::RoleChanged { role, .. } => return format!("Your role is {role} from now on."),
        AccountEvent::AccountLocked { until, .. } => {
            let until = Lock { until: *until }.words();
            return format!(
                "Your account was locked {until}: you cannot sign in. Your membership stays as it is."
            );
        }
        AccountEvent::AccountUnlocked { .. } => "Your account was unlocked: you can sign in again.",
        AccountEvent::AccountDeleted => "Your account was deleted.",
        AccountEvent::StaffRead { .. } => "Support looked at what is known of you.",
        AccountEvent::StaffSentLetter { .. } => "Support had a letter sent to you.",
        AccountEvent::StaffEndedSessions { .. } => "Support signed you out.",
    }
    .to_owned()
}

fn subscription(event: &SubscriptionEvent, catalog: &Catalog) -> Option<String> {
    use SubscriptionEvent as S;
    let plan = |now: &Now| named(&now.standing.anchors.plans, catalog);
    Some(match event {
        S::TrialStarted { until, .. } => match until {
            Some(until) => format!("Your free trial began. It lasts until {}.", day(*until)),
            None => "Your free trial began.".to_owned(),
        },
        S::TrialEndMoved { until: Some(until), .. } => format!("Your trial now lasts until {}.", day(*until)),
        S::SubscriptionActivated { now, .. } => format!("Your {}membership is active.", plan(now)),
        S::FirstPaymentAwaited { now } => {
            format!("Your {}membership waits for its first payment.", plan(now))
        }
        S::PaymentFellDue { .. } => "A payment for your membership is due.".to_owned(),
        S::CollectionGivenUp { .. } => "Your membership has not been paid.".to_owned(),
        S::Paused { .. } => "Your membership was paused.".to_owned(),
        S::Resumed { .. } => "Your membership goes on.".to_owned(),
        S::PlanChanged { to, .. } => format!("Your plan is {}now.", named(to, catalog)),
        S::PriceChanged { now, .. } => format!("The price of your {}membership changed.", plan(now)),
        S::PeriodRenewed { until, .. } => format!("Your membership was renewed until {}.", day(*until)),
        S::CancellationScheduled { ends_at, .. } => {
            format!("Your membership will end on {}.", day(*ends_at))
        }
        S::CancellationReverted { .. } => "Your membership will not end after all.".to_owned(),
        S::CollectionPaused { .. } => "Payments for your membership are paused.".to_owned(),
        S::CollectionResumed { .. } => "Payments for your membership go on.".to_owned(),
        S::SubscriptionEnded { ended_at, .. } => format!("Your membership ended on {}.", day(*ended_at)),
        S::EndedWithCustomer { deletion, .. } => format!("Your membership ended on {}.", day(deletion.at)),
        S::PaymentFailed { attempt, late: false, .. } => format!("A payment{} failed.", of_amount(attempt)),
        S::PaymentActionRequired { late: false, .. } => {
            "A payment waits for you to confirm it with your bank.".to_owned()
        }
        S::PaymentRecovered { attempt, .. } => {
            format!("The payment{} that had failed was made.", of_amount(attempt))
        }
        S::PaymentReceived { attempt, .. } if attempt.amount > 0 => {
            format!("Your payment{} was received.", of_amount(attempt))
        }
        S::PaymentRefunded { .. } => "A payment was given back to you.".to_owned(),
        S::PaymentPartlyRefunded { .. } => "A part of a payment was given back to you.".to_owned(),
        S::RefundFailed { .. } => "Giving a payment back to you failed.".to_owned(),
        S::DisputeOpened { .. } => "A payment is disputed.".to_owned(),
        S::DisputeClosed { .. } => "The dispute about a payment is over.".to_owned(),
        S::GraceExtended { extension, .. } => {
            format!("You were given time until {} to settle what is due.", day(extension.until))
        }
        S::PlanChangeScheduled { schedule } => {
            let next = schedule.next.as_ref()?;
            format!("Your plan will be {}from {} on.", named(&next.plans, catalog), day(next.from))
        }
        S::PlanChangeUnscheduled { .. } => "No change of your plan is planned any more.".to_owned(),
        S::TermsConfirmed { seen, .. } => match seen.notice? {
            Notice::TrialEnding => format!("Your trial ends on {}.", day(seen.terms.trial_end?)),
            Notice::PendingUpdateApplied => "Your change took effect, now that it is paid.".to_owned(),
            Notice::PendingUpdateExpired => {
                "Your change was not paid for, so everything stays as it was.".to_owned()
            }
        },
        // What follows says the same better, or it is only about how this service came to know.
        _ => return None,
    })
}

fn member(event: &MemberEvent, catalog: &Catalog) -> Option<String> {
    let when = |when: When| match when {
        When::Now => "at once",
        When::PeriodEnd => "with the end of what is paid for",
    };
    Some(match event {
        MemberEvent::MemberRegistered => "You joined.".to_owned(),
        MemberEvent::CheckoutCompleted { .. } => "You finished your checkout.".to_owned(),
        MemberEvent::CheckoutEnded { end } => match end.outcome {
            CheckoutOutcome::PaymentSucceeded => "Your payment arrived.".to_owned(),
            CheckoutOutcome::PaymentFailed => "Your payment did not arrive.".to_owned(),
            CheckoutOutcome::Expired => "Your checkout was not finished in time.".to_owned(),
        },
        MemberEvent::CheckoutRequested { order, .. } => {
            format!("You asked to buy {}.", name(&order.plan, catalog))
        }
        MemberEvent::PlanChangeRequested { change, .. } => {
            format!("You asked to change to {} {}.", name(&change.to, catalog), when(change.when))
        }
        MemberEvent::CancellationRequested { cancellation, .. } => {
            format!("You asked to end your membership {}.", when(cancellation.when))
        }
        MemberEvent::ResumptionRequested { .. } => "You asked to go on with your membership.".to_owned(),
        MemberEvent::RequestRefused { .. } => "What you asked for could not be done.".to_owned(),
        MemberEvent::RequestNotCarriedOut { .. } => {
            "What you asked for was not done; ask again if you still want it.".to_owned()
        }
        MemberEvent::RequestUnanswered { .. } => {
            "The payment provider did not answer; what you asked for may or may not have been done."
                .to_owned()
        }
        MemberEvent::CheckoutOpened { .. }
        | MemberEvent::CheckoutWithdrawn { .. }
        | MemberEvent::PortalRequested { .. }
        | MemberEvent::RequestConfirmed { .. }
        | MemberEvent::NoteAdded { .. }
        | MemberEvent::NoteWithdrawn { .. }
        | MemberEvent::ComparisonRequested { .. }
        | MemberEvent::ComparisonDone { .. }
        | MemberEvent::ComparisonFailed { .. }
        | MemberEvent::MemberErased { .. } => return None,
    })
}

fn grant(event: &GrantEvent, catalog: &Catalog) -> String {
    let given = event.given();
    let plan = name(&given.plan, catalog);
    let until = given.until.map_or_else(String::new, |until| format!(" until {}", day(until)));
    match event {
        GrantEvent::AccessGranted { .. } => format!("You were given access to {plan}{until}."),
        GrantEvent::GrantExtended { .. } if given.until.is_none() => {
            format!("The access to {plan} that you were given has no end any more.")
        }
        GrantEvent::GrantExtended { .. } => format!("The access to {plan} that you were given lasts{until}."),
        GrantEvent::GrantRevoked { .. } => format!("The access to {plan} that you were given has ended."),
    }
}

fn named(plans: &[PlanId], catalog: &Catalog) -> String {
    plans.first().map(|plan| format!("{} ", name(plan, catalog))).unwrap_or_default()
}

fn name(plan: &PlanId, catalog: &Catalog) -> String {
    catalog.plan(plan).map_or_else(|| plan.to_string(), |plan| plan.name.clone())
}

fn day(moment: DateTime<Utc>) -> String {
    moment.format("%-d %B %Y").to_string()
}

fn of_amount(attempt: &Attempt) -> String {
    let Some(currency) = attempt.currency.as_deref() else { return String::new() };
    format!(" of {}", money::amount(attempt.amount, Some(currency)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(amount: i64, currency: &str) -> Option<String> {
        let attempt = Attempt {
            invoice: "in_1".into(),
            source: "evt_1".into(),
            at: DateTime::UNIX_EPOCH,
            amount,
            currency: Some(currency.to_owned()),
            count: None,
            next_attempt_at: None,
        };
        let event = SubscriptionEvent::PaymentReceived { attempt, standing: None };
        Event::Subscription("sub_1".into(), event).tell(&Catalog::default())
    }

    #[test]
    fn amounts_are_written_as_people_write_them() {
        assert_eq!(paid(1_705, "usd").as_deref(), Some("Your payment of 17.05 USD was received."));
        assert_eq!(paid(1_700, "jpy").as_deref(), Some("Your payment of 1700 JPY was received."));
        assert_eq!(paid(0, "usd"), None, "a trial's invoice of nothing is no payment");
    }

    #[test]
    fn what_staff_look_into_is_not_told_to_the_member() {
        let told = |event| Event::Subscription("sub_1".into(), event).tell(&Catalog::default());
        let sources = vec!["evt_1".into()];
        assert_eq!(told(SubscriptionEvent::OrderAmbiguous { sources, at: DateTime::UNIX_EPOCH }), None);
    }
}
