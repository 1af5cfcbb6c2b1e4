//! What an act would do: the same rules that carry it out, asked about a member as she stands. Pure.

use std::cmp::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use domain::access::grace_end;
use domain::account::{AccountCommand, Lock, Role};
use domain::catalog::Video;
use domain::customer::{CustomerCommand, LinkedThrough};
use domain::events::Event;
use domain::grant::GrantCommand;
use domain::ids::{CustomerId, GrantId, PlanId, RemarkId, SubscriptionId};
use domain::member::MemberCommand;
use domain::subscription::{Extension, SubscriptionCommand};
use domain::{account, customer, grant, member, subscription};
use projections::case::Case;

use super::refusal::ActRefusal;
use super::{Act, Until};
use crate::error::ApiError;
use crate::learner::refusal::Refusal;

/// Two grants that end so close to each other may be one that was given twice.
const CLOSE: TimeDelta = TimeDelta::hours(2);

/// What something new would be known by, and when it would begin.
#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) at: DateTime<Utc>,
    pub(super) grant: GrantId,
    pub(super) remark: RemarkId,
}

/// What would happen.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is told to whom.
    pub(super) commands: Vec<Command>,
    /// The events that would follow.
    pub(super) events: Vec<Event>,
    /// What it comes to, in words.
    pub(super) sentence: String,
    /// The moments at which a decision may come out otherwise.
    pub(super) moments: Vec<DateTime<Utc>>,
    /// What whoever does it should know before.
    pub(super) warnings: Vec<(&'static str, String)>,
    /// Why it is not carried out, where it can be shown all the same.
    pub(super) refusal: Option<ActRefusal>,
}

/// A command for one aggregate.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Member(MemberCommand),
    Customer(CustomerId, CustomerCommand),
    Subscription(SubscriptionId, SubscriptionCommand),
    Grant(GrantId, GrantCommand),
    /// Through the accounts, which have tables of their own beside the log.
    Account(AccountCommand),
}

impl Plan {
    fn new(sentence: String) -> Self {
        let (commands, events, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Self { commands, events, sentence, moments: Vec::new(), warnings, refusal: None }
    }

    /// With a command, and what the rules make of it.
    fn telling(mut self, case: &Case, command: Command) -> Result<Self, ApiError> {
        self.events.extend(follow(case, &command)?);
        self.commands.push(command);
        Ok(self)
    }

    fn at(mut self, moments: impl IntoIterator<Item = Option<DateTime<Utc>>>) -> Self {
        self.moments.extend(moments.into_iter().flatten());
        self
    }

    fn warning(mut self, code: &'static str, text: Option<String>) -> Self {
        self.warnings.extend(text.map(|text| (code, text)));
        self
    }
}

/// The events that the rules make of a command.
fn follow(case: &Case, command: &Command) -> Result<Vec<Event>, ApiError> {
    Ok(match command.clone() {
        Command::Member(command) => {
            let events = member::decide(&case.member, command).map_err(Refusal::from)?;
            events.into_iter().map(|event| Event::Member(case.id.clone(), event)).collect()
        }
        Command::Customer(id, command) => {
            let refused = |why| ActRefusal::Customer { customer: id.clone(), why };
            let events = customer::decide(&case.customer(&id), command).map_err(refused)?;
            events.into_iter().map(|event| Event::Customer(id.clone(), event)).collect()
        }
        Command::Subscription(id, command) => {
            let held = case.subscriptions.iter().find(|(held, _)| *held == id);
            let events = held.map(|(_, held)| subscription::decide(held, command)).unwrap_or_default();
            events.into_iter().map(|event| Event::Subscription(id.clone(), event)).collect()
        }
        Command::Grant(id, command) => {
            let held = case.grant(&id).cloned().unwrap_or_default();
            let events = grant::decide(&held, command).map_err(ActRefusal::Grant)?;
            events.into_iter().map(|event| Event::Grant(id.clone(), event)).collect()
        }
        Command::Account(command) => {
            let events = account::decide(&case.account, command);
            events.into_iter().map(|event| Event::Account(case.id.clone(), event)).collect()
        }
    })
}

/// What `act` would do.
pub(super) fn plan(case: &Case, act: &Act, new: &New, now: DateTime<Utc>) -> Result<Plan, ApiError> {
    if case.member.is_erased() && !matches!(act, Act::Erase(_)) {
        return Err(Refusal::Erased.into());
    }
    match act {
        Act::Grant { plan, until } => give(case, plan, *until, new, now),
        Act::MoveGrant { grant, until } => move_grant(case, grant, *until, new, now),
        Act::RevokeGrant { grant } => revoke(case, grant, new, now),
        Act::ExtendGrace { subscription, until } => extend(case, subscription.as_ref(), *until, new, now),
        Act::AddNote => {
            let command = MemberCommand::AddNote { remark: new.remark.clone() };
            Plan::new("A note is added to her history.".to_owned()).telling(case, Command::Member(command))
        }
        Act::WithdrawNote { note } => {
            let command = MemberCommand::WithdrawNote { note: note.clone(), remark: new.remark.clone() };
            let sentence = format!("The note {note} holds no more; her history says that it did.");
            Plan::new(sentence).telling(case, Command::Member(command))
        }
        Act::Link { customer } => link(case, customer, new, now),
        Act::Unlink { customer } => unlink(case, customer, new, now),
        Act::SendLetter(letter) => {
            let (letter, remark) = (*letter, new.remark.clone());
            let sentence = format!("She is sent {} again, to her own address.", letter.words());
            let command = AccountCommand::RecordLetter { letter, remark };
            Plan::new(sentence).telling(case, Command::Account(command))
        }
        Act::EndSessions { session } => {
            let (session, remark) = (session.clone(), new.remark.clone());
            let command = AccountCommand::RecordSessionsEnded { session, remark };
            Plan::new(String::new()).telling(case, Command::Account(command))
        }
        Act::Lock { until } => lock(case, *until, new, now),
        Act::Unlock => {
            let sentence = "She can sign in again; sessions that ended stay ended.".to_owned();
            let command = AccountCommand::Unlock { remark: new.remark.clone() };
            Plan::new(sentence).telling(case, Command::Account(command))
        }
        Act::ChangeRole(role) => {
            let before = case.account.role();
            let sentence = match role.cmp(&before) {
                Ordering::Less => format!("Her role {before} → {role}. Her sessions end at once."),
                Ordering::Equal => format!("Her role is {role}."),
                Ordering::Greater => format!("Her role {before} → {role}, within ten minutes."),
            };
            let command = AccountCommand::GiveRole { role: *role, remark: new.remark.clone() };
            Plan::new(sentence).telling(case, Command::Account(command))
        }
        Act::Erase(because) => {
            let mut plan = Plan::new(
                "Everything that is known of her beside the log is deleted, for good: address, account, sessions, what staff \
                 wrote, and the bodies of what Stripe delivered about her. What happened stays, without her."
                    .to_owned(),
            );
            for (id, held) in &case.grants {
                if held.given().is_some() && !held.is_revoked() {
                    let command = GrantCommand::Revoke { remark: new.remark.clone() };
                    plan = plan.telling(case, Command::Grant(id.clone(), command))?;
                }
            }
            plan.refusal = unerasable(case);
            let said = plan.refusal.as_ref().map(|refusal| (refusal.kind().1, refusal.to_string()));
            plan.warnings.extend(said);
            let erase = Command::Member(MemberCommand::Erase(*because));
            plan.at([Some(now)]).telling(case, erase)
        }
    }
}

fn give(case: &Case, plan: &PlanId, until: Until, new: &New, now: DateTime<Utc>) -> Result<Plan, ApiError> {
    if case.catalog.plan(plan).is_none() {
        return Err(Refusal::UnknownPlan(plan.to_string()).into());
    }
    let end = until.in_the_future(now)?;
    let command = GrantCommand::Give {
        member: case.id.clone(),
        plan: plan.clone(),
        from: new.at,
        until: end,
        remark: new.remark.clone(),
    };
    let sentence = format!("Access to {} without a payment, {}.", name(case, plan), said(end));
    let planned = Plan::new(sentence).telling(case, Command::Grant(new.grant.clone(), command))?;
    let pays = case.sources().iter().any(domain::access::Source::is_paying);
    let adds = {
        let mut after = case.clone();
        planned.events.iter().for_each(|event| after.take_in(event));
        after.open_at(now) != case.open_at(now)
    };
    let pays_already = (pays && !adds).then(|| {
        "She pays already for what this would open; the grant changes nothing until that ends.".to_owned()
    });
    let twin = case.grants.iter().find_map(|(id, held)| {
        let given = held.given().filter(|_| !held.is_revoked() && *id != new.grant)?;
        let close = match (given.until, end) {
            (None, None) => true,
            (Some(one), Some(other)) => (one - other).abs() <= CLOSE,
            _ => false,
        };
        (close && given.plan == *plan).then(|| {
            format!("The grant {id} of the same plan ends within 2 hours of this one: is it given twice?")
        })
    });
    Ok(planned.at([Some(now)]).warning("pays_already", pays_already).warning("duplicate_grant", twin))
}

fn move_grant(
    case: &Case,
    id: &GrantId,
    until: Until,
    new: &New,
    now: DateTime<Utc>,
) -> Result<Plan, ApiError> {
    let held = case.grant(id).ok_or_else(|| ActRefusal::UnknownGrant(id.clone()))?;
    let given = held.given().ok_or_else(|| ActRefusal::UnknownGrant(id.clone()))?;
    let end = until.in_the_future(now)?;
    let sentence = format!("Access to {} {} → {}.", name(case, &given.plan), said(given.until), said(end));
    let command = GrantCommand::Move { until: end, remark: new.remark.clone() };
    let planned = Plan::new(sentence).telling(case, Command::Grant(id.clone(), command))?;
    Ok(planned.at([Some(now), given.until, end]))
}

fn revoke(case: &Case, id: &GrantId, new: &New, now: DateTime<Utc>) -> Result<Plan, ApiError> {
    let held = case.grant(id).ok_or_else(|| ActRefusal::UnknownGrant(id.clone()))?;
    let given = held.given().ok_or_else(|| ActRefusal::UnknownGrant(id.clone()))?;
    let sentence = format!("Access to {} {} → it ends now.", name(case, &given.plan), said(given.until));
    let command = GrantCommand::Revoke { remark: new.remark.clone() };
    Ok(Plan::new(sentence).telling(case, Command::Grant(id.clone(), command))?.at([Some(now)]))
}

fn extend(
    case: &Case,
    asked: Option<&SubscriptionId>,
    until: DateTime<Utc>,
    new: &New,
    now: DateTime<Utc>,
) -> Result<Plan, ApiError> {
    let membership = case.membership();
    let owing = membership.held.iter().filter(|held| {
        let anchors = &held.standing.anchors;
        anchors.grace_from.is_some() && anchors.recovered_at.is_none()
    });
    let owing: Vec<_> = owing.collect();
    let held = match (asked, owing.as_slice()) {
        (Some(asked), all) => all.iter().find(|held| held.id == *asked).ok_or_else(|| {
            if all.is_empty() { ActRefusal::NothingOwed } else { ActRefusal::NotOwing(asked.clone()) }
        })?,
        (None, []) => return Err(ActRefusal::NothingOwed.into()),
        (None, [one]) => one,
        (None, several) => {
            return Err(ActRefusal::SeveralOwe(several.iter().map(|held| held.id.clone()).collect()).into());
        }
    };
    let (policy, anchors) = (case.catalog.policy(), &held.standing.anchors);
    let since = anchors.grace_from.unwrap_or(now);
    let by_policy = grace_end(&policy, since, None);
    let before = grace_end(&policy, since, anchors.grace_until);
    Until::At(until).in_the_future(now)?;
    if until < by_policy {
        return Err(ActRefusal::BeforePolicy(by_policy).into());
    }
    let extension = Extension { at: new.at, remark: new.remark.clone(), until };
    let sentence = format!("Time to settle what is owed {} → {}.", said(Some(before)), said(Some(until)));
    let command = Command::Subscription(held.id.clone(), SubscriptionCommand::ExtendGrace(extension));
    Ok(Plan::new(sentence).telling(case, command)?.at([Some(now), Some(before), Some(until)]))
}

fn lock(case: &Case, until: Until, new: &New, now: DateTime<Utc>) -> Result<Plan, ApiError> {
    let until = until.in_the_future(now)?;
    let sentence = format!(
        "She cannot sign in, {}, and her sessions end at once. Her membership stays as it is.",
        Lock { until }.words()
    );
    let pays = case.sources().iter().any(domain::access::Source::is_paying);
    let goes_on = pays.then(|| {
        "She pays for her membership, and Stripe goes on charging her: cancel it there, if that is not meant.".to_owned()
    });
    let command = AccountCommand::Lock { until, remark: new.remark.clone() };
    Ok(Plan::new(sentence).telling(case, Command::Account(command))?.warning("still_charged", goes_on))
}

fn link(case: &Case, id: &CustomerId, new: &New, now: DateTime<Utc>) -> Result<Plan, ApiError> {
    let command = CustomerCommand::Link { member: case.id.clone(), through: LinkedThrough::Request };
    let sentence = format!("The customer {id} is hers, and was all along: what it paid for counts for her.");
    let planned = Plan::new(sentence).telling(case, Command::Customer(id.clone(), command))?;
    let note = Command::Member(MemberCommand::AddNote { remark: new.remark.clone() });
    Ok(planned.telling(case, note)?.at([Some(now)]))
}

fn unlink(case: &Case, id: &CustomerId, new: &New, now: DateTime<Utc>) -> Result<Plan, ApiError> {
    let sentence =
        format!("The customer {id} is not hers and never was: what it paid for counts for nobody.");
    let planned = Plan::new(sentence).at([Some(now)]);
    let held = case.customer(id);
    if held.member().is_none() && held.is_unlinked_from(case.id.as_str()) {
        return Ok(planned);
    }
    let command = CustomerCommand::Unlink { member: case.id.clone(), remark: new.remark.clone() };
    planned.telling(case, Command::Customer(id.clone(), command))
}

/// Why she cannot be erased yet, if so: she is of the staff, or something may be collected from her again.
fn unerasable(case: &Case) -> Option<ActRefusal> {
    if case.account.role() != Role::Member {
        return Some(ActRefusal::Staff);
    }
    let membership = case.membership();
    let collected = membership
        .held
        .iter()
        .filter(|held| !held.status().is_final() && held.standing.terms.cancels_at.is_none());
    let collected: Vec<SubscriptionId> = collected.map(|held| held.id.clone()).collect();
    (!collected.is_empty()).then_some(ActRefusal::StillPaying(collected))
}

/// The first of the plan's moments from `now` on at which a decision comes out otherwise, and which videos open and close.
pub(super) fn flips(case: &Case, plan: &Plan, now: DateTime<Utc>) -> (DateTime<Utc>, Vec<Video>, Vec<Video>) {
    let mut after = case.clone();
    plan.events.iter().for_each(|event| after.take_in(event));
    let mut moments: Vec<_> = plan.moments.iter().copied().filter(|moment| *moment >= now).collect();
    moments.sort_unstable();
    for moment in moments {
        let (was, is) = (case.open_at(moment), after.open_at(moment));
        let only = |one: &[&Video], other: &[&Video]| -> Vec<Video> {
            one.iter().filter(|video| !other.contains(video)).map(|video| (*video).clone()).collect()
        };
        let (opens, closes) = (only(&is, &was), only(&was, &is));
        if !opens.is_empty() || !closes.is_empty() {
            return (moment, opens, closes);
        }
    }
    (now, Vec::new(), Vec::new())
}

fn name(case: &Case, plan: &PlanId) -> String {
    case.catalog.plan(plan).map_or_else(|| plan.to_string(), |plan| plan.name.clone())
}

fn said(until: Option<DateTime<Utc>>) -> String {
    until
        .map_or_else(|| "for good".to_owned(), |until| until.format("until %-d %B %Y, %H:%M UTC").to_string())
}
