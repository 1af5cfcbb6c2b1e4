//! What staff does for a member: previewed by the rules that carry it out, told as an event with who and why, undone only by
//! another event. The routes and the console call the same two functions, [`preview`] and [`perform`].
//!
//! The words come first: a reason or a note is kept beside the log before the event that carries its id is appended.

pub mod compare;
mod erase;
mod plan;
pub mod refusal;
pub mod routes;

use accounts::AccountError;
use accounts::policy::{Deed, Doer, Target, may};
use chrono::{DateTime, Utc};
use domain::account::{Lock, Role, StaffLetter};
use domain::catalog::Video;
use domain::customer::CustomerError;
use domain::ids::{CustomerId, GrantId, MemberId, PlanId, RemarkId, SessionId, SubscriptionId};
use domain::member::ErasedBecause;
use domain::metadata::{Actor, Context};
use domain::ports::{Position, Remark};
use fail::fail_point;
use projections::case::Case;
use serde::Serialize;
use utoipa::ToSchema;

use self::plan::{Command, New, Plan, flips, plan};
use self::refusal::ActRefusal;
use crate::auth::Caller;
use crate::cursor::could_be_an_id;
use crate::deliveries::{A_LINE, sentence};
use crate::error::{ApiError, not_done};
use crate::extract::moment;
use crate::idempotency::IdSource;
use crate::learner::refusal::Refusal;
use crate::members::could_be_a_customer;
use crate::position::maybe;
use crate::shell::Asked;
use crate::state::ApiState;

/// So many of the videos that open or close are named.
const NAMED: usize = 5;
const LONGEST_NOTE: usize = 500;
/// What a note has to be.
const A_NOTE: &str = "it has to have 1 to 500 characters, none of them a control character but ends of lines";

/// Something that staff can do for a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Open what a plan opens, without a payment.
    Grant {
        /// Which plan.
        plan: PlanId,
        /// Until when.
        until: Until,
    },
    /// Let a grant end at another moment, later or earlier.
    MoveGrant {
        /// Which.
        grant: GrantId,
        /// Until when.
        until: Until,
    },
    /// Take a grant back.
    RevokeGrant {
        /// Which.
        grant: GrantId,
    },
    /// Give more time to settle what is owed, or take some of it back.
    ExtendGrace {
        /// For which subscription; the one that owes, when not given.
        subscription: Option<SubscriptionId>,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// Note something; the words are the note.
    AddNote,
    /// Say that a note does not hold any more.
    WithdrawNote {
        /// Which.
        note: RemarkId,
    },
    /// A payer is hers, and was all along.
    Link {
        /// Which.
        customer: CustomerId,
    },
    /// A payer is not hers and never was.
    Unlink {
        /// Which.
        customer: CustomerId,
    },
    /// Send a letter again, to her own address.
    SendLetter(StaffLetter),
    /// End a session, or all of hers.
    EndSessions {
        /// Which; all, when not given.
        session: Option<SessionId>,
    },
    /// Keep her from signing in.
    Lock {
        /// Until when.
        until: Until,
    },
    /// Let her sign in again.
    Unlock,
    /// Give her other rights.
    ChangeRole(Role),
    /// Forget her.
    Erase(ErasedBecause),
}

impl Act {
    /// Its name in answers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Grant { .. } => "grant",
            Self::MoveGrant { .. } => "move_grant",
            Self::RevokeGrant { .. } => "revoke_grant",
            Self::ExtendGrace { .. } => "extend_grace",
            Self::AddNote => "add_note",
            Self::WithdrawNote { .. } => "withdraw_note",
            Self::Link { .. } => "link",
            Self::Unlink { .. } => "unlink",
            Self::SendLetter(_) => "send_letter",
            Self::EndSessions { .. } => "end_sessions",
            Self::Lock { .. } => "lock",
            Self::Unlock => "unlock",
            Self::ChangeRole(_) => "change_role",
            Self::Erase(_) => "erase",
        }
    }

    /// What the rules about staff know it as.
    fn deed(&self) -> Deed {
        match self {
            Self::Grant { .. } | Self::MoveGrant { .. } | Self::ExtendGrace { .. } | Self::Link { .. } => {
                Deed::GiveAccess
            }
            Self::RevokeGrant { .. } | Self::AddNote | Self::WithdrawNote { .. } | Self::Unlink { .. } => {
                Deed::Help
            }
            Self::SendLetter(_) | Self::EndSessions { .. } | Self::Lock { .. } | Self::Unlock => {
                Deed::HandleAccount
            }
            Self::ChangeRole(_) => Deed::ChangeRole,
            Self::Erase(_) => Deed::Erase,
        }
    }

    /// The payer it is about, who need not be hers.
    fn customer(&self) -> Option<&CustomerId> {
        if let Self::Link { customer } | Self::Unlink { customer } = self { Some(customer) } else { None }
    }
}

/// When something that was given ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never, said explicitly.
    Forever,
    /// At this moment.
    At(DateTime<Utc>),
}

impl Until {
    /// Reads a moment in RFC 3339, or `forever`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text == "forever" { Ok(Self::Forever) } else { moment("until", text).map(Self::At) }
    }

    fn in_the_future(self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, ApiError> {
        match self {
            Self::Forever => Ok(None),
            Self::At(until) if until > now => Ok(Some(until)),
            Self::At(until) => {
                let why = format!("{} has passed; choose a later moment", until.to_rfc3339());
                Err(ApiError::Invalid { field: "until", why: why.into() })
            }
        }
    }
}

/// Who does something, and through which request.
#[derive(Debug, Clone)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// What the rules about staff know her as.
    pub doer: Doer,
    /// Names the request, in events and logs.
    pub request_id: String,
    /// What new ids are made of: the same when the same is asked for again.
    pub ids: IdSource,
}

impl By {
    /// Whoever sent this request.
    pub fn new(caller: &Caller, asked: &Asked, ids: IdSource) -> Self {
        let (actor, doer) = (caller.actor(), caller.doer());
        Self { actor, doer, request_id: asked.request_id().to_owned(), ids }
    }

    fn context(&self, now: DateTime<Utc>) -> Context {
        Context::asked_by(self.actor.clone(), &self.request_id, now)
    }
}

/// What an act does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Act)]
pub struct ActBody {
    /// `act_preview` for what would be done, `act` for what was.
    #[schema(example = "act_preview")]
    pub object: &'static str,
    /// Which act.
    #[schema(example = "grant")]
    pub act: &'static str,
    /// For whom.
    #[schema(value_type = String, example = "mem_ada")]
    pub member: MemberId,
    /// What it comes to.
    #[schema(example = "Access to Pro until 3 May 2026, 10:00 UTC → until 3 June 2026, 10:00 UTC.")]
    pub sentence: String,
    /// The decisions that come out otherwise by it.
    pub decisions: DecisionChanges,
    /// What whoever does it should know before.
    pub warnings: Vec<ActWarning>,
    /// The events it appends, by their stored names; none when it is so already.
    #[schema(example = json!(["AccessGranted"]))]
    pub events: Vec<String>,
    /// The grant or the note that was made, once it is.
    #[schema(required = true, example = "grt_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    pub id: Option<String>,
    /// From here on it can be seen, once it is done: send it as `Membership-Position`.
    #[serde(serialize_with = "maybe")]
    #[schema(required = true, value_type = Option<String>, example = "p-1f")]
    pub position: Option<Position>,
}

/// Decisions that come out otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DecisionChanges {
    /// The first moment at which they do.
    pub at: DateTime<Utc>,
    /// How many videos open.
    pub opens: usize,
    /// How many videos close.
    pub closes: usize,
    /// The first few that open.
    pub opening: Vec<NamedVideo>,
    /// The first few that close.
    pub closing: Vec<NamedVideo>,
}

/// A video of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NamedVideo {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Something to know before an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ActWarning {
    /// A stable code.
    #[schema(example = "duplicate_grant")]
    pub code: &'static str,
    /// A sentence.
    pub text: String,
}

/// What `act` would do. Changes nothing.
pub async fn preview(
    state: &ApiState,
    caller: &Caller,
    member: &MemberId,
    act: &Act,
) -> Result<ActBody, ApiError> {
    allowed(state, &caller.actor(), caller.doer(), member, act).await?;
    let now = state.now();
    let new = New::of(&IdSource { at: now, bits: (state.random)() });
    let (case, planned) = planned(state, member, act, &new, now).await?;
    Ok(shown(&case, act, &planned, now))
}

/// Does it. `words` are the reason, or the note itself; erasing has its reason in the act and takes no words.
pub async fn perform(
    state: &ApiState,
    by: &By,
    member: &MemberId,
    act: &Act,
    words: &str,
) -> Result<ActBody, ApiError> {
    allowed(state, &by.actor, by.doer, member, act).await?;
    let text = written(act, words)?;
    let (now, new) = (state.now(), New::of(&by.ids));
    let (case, mut planned) = planned(state, member, act, &new, now).await?;
    if let Some(refusal) = planned.refusal.take() {
        return Err(refusal.into());
    }
    let mut body = shown(&case, act, &planned, now);
    // Before anything is kept: what is refused leaves nothing.
    let letter = match act {
        Act::SendLetter(letter) => Some(state.sign_in()?.accounts.ready_letter(member, *letter).await?),
        _ => None,
    };
    if let Some(text) = text {
        let (id, member) = (new.remark.clone(), member.clone());
        state.remarks.put(Remark { id, member, text, at: by.ids.at }).await?;
    }
    fail_point!("acts::written");
    let position = match act {
        Act::Erase(_) => erase::carry_out(state, by, &case, act, &new).await?,
        Act::EndSessions { session } => {
            let (session, remark) = (session.as_ref(), new.remark.clone());
            let accounts = &state.sign_in()?.accounts;
            accounts.end_sessions(member, session, remark, by.actor.clone(), &by.request_id).await?.1
        }
        Act::Lock { until } => {
            let (lock, remark) = (Lock { until: until.in_the_future(now)? }, new.remark.clone());
            let accounts = &state.sign_in()?.accounts;
            accounts.lock(member, lock, remark, by.actor.clone(), &by.request_id).await?
        }
        Act::Unlock => {
            let (accounts, remark) = (&state.sign_in()?.accounts, new.remark.clone());
            accounts.unlock(member, remark, by.actor.clone(), &by.request_id).await?.max(case.position)
        }
        Act::ChangeRole(role) => {
            let (accounts, remark) = (&state.sign_in()?.accounts, new.remark.clone());
            accounts.give_role(member, *role, remark, by.actor.clone(), &by.request_id).await?
        }
        _ => match letter {
            Some(letter) => {
                let accounts = &state.sign_in()?.accounts;
                accounts.send_letter(letter, new.remark.clone(), by.actor.clone(), &by.request_id).await?
            }
            None => tell(state, &by.context(now).for_member(member), &case, planned.commands).await?,
        },
    };
    if let Act::Link { customer } = act {
        state.deliveries.customer_linked(customer).await?;
    }
    body.object = "act";
    body.position = Some(position);
    body.id = match act {
        Act::Grant { .. } => Some(new.grant.to_string()),
        Act::AddNote => Some(new.remark.to_string()),
        _ => None,
    };
    Ok(body)
}

/// Whether the rules about staff let her do it.
async fn allowed(
    state: &ApiState,
    actor: &Actor,
    doer: Doer,
    member: &MemberId,
    act: &Act,
) -> Result<(), ApiError> {
    let account = match &state.accounts {
        Some(accounts) => accounts.account(member).await?,
        None => None,
    };
    let role = account.map(|account| account.role).unwrap_or_default();
    let is_herself = *actor == Actor::staff(member);
    Ok(may(doer, act.deed(), Target { role, is_herself })?)
}

impl New {
    fn of(ids: &IdSource) -> Self {
        Self {
            at: ids.at,
            grant: GrantId::generate(ids.at, ids.bits),
            remark: RemarkId::generate(ids.at, ids.bits),
        }
    }
}

/// The words of an act, if they can be kept.
fn written(act: &Act, words: &str) -> Result<Option<String>, ApiError> {
    let fits = |note: &str| {
        (1..=LONGEST_NOTE).contains(&note.chars().count())
            && !note.chars().any(|one| one.is_control() && one != '\n')
    };
    match act {
        Act::Erase(_) => Ok(None),
        Act::AddNote => {
            let note = words.trim().replace("\r\n", "\n");
            let bad = || ApiError::Invalid { field: "text", why: A_NOTE.into() };
            fits(&note).then_some(Some(note)).ok_or_else(bad)
        }
        _ => {
            let bad = || ApiError::Invalid { field: "reason", why: A_LINE.into() };
            sentence(words).map(Some).ok_or_else(bad)
        }
    }
}

/// What an act is about gets into the log, which keeps it for good: it has to be an id, whatever was typed.
fn nameable(act: &Act) -> Result<(), ApiError> {
    match act {
        Act::Link { customer } if !could_be_a_customer(customer.as_str()) => {
            let why = "it is not a Stripe customer id, such as cus_NffrFeUfNV2Hib".into();
            Err(ApiError::Invalid { field: "customer", why })
        }
        Act::Unlink { customer } if !could_be_an_id(customer.as_str()) => {
            let (customer, why) = (customer.clone(), CustomerError::NotLinked);
            Err(ActRefusal::Customer { customer, why }.into())
        }
        Act::EndSessions { session: Some(session) } if session.uuid().is_none() => {
            Err(AccountError::NoSession.into())
        }
        _ => Ok(()),
    }
}

/// A member as she stands, and what an act would do.
async fn planned(
    state: &ApiState,
    member: &MemberId,
    act: &Act,
    new: &New,
    now: DateTime<Utc>,
) -> Result<(Case, Plan), ApiError> {
    nameable(act)?;
    let case = state.history()?.case(member, act.customer(), state.index.catalog()).await?;
    let mut planned = plan(&case, act, new, now)?;
    match act {
        Act::SendLetter(letter) => {
            let sign_in = state.sign_in()?;
            if !sign_in.letters {
                return Err(ApiError::MailNotConfigured);
            }
            sign_in.accounts.may_send_letter(member, *letter).await?;
        }
        Act::EndSessions { session } => {
            let held = state.sign_in()?.accounts.sessions(member).await?;
            let ending = held.iter().filter(|held| session.as_ref().is_none_or(|one| held.id == *one));
            planned.sentence = match (ending.count(), session) {
                (0, _) => "No session of hers is alive, so none ends.".to_owned(),
                (_, Some(session)) => format!("The session {session} ends at once."),
                (1, None) => "Her session ends at once.".to_owned(),
                (count, None) => format!("Her {count} sessions end at once."),
            };
        }
        Act::Lock { .. } | Act::Unlock | Act::ChangeRole(_) => {
            let accounts = &state.sign_in()?.accounts;
            accounts.account(member).await?.ok_or(AccountError::NoAccount)?;
            let takes_rights = matches!(act, Act::Lock { .. })
                || matches!(act, Act::ChangeRole(role) if *role != Role::Owner);
            if takes_rights && accounts.is_last_owner(member).await? {
                return Err(AccountError::LastOwner.into());
            }
        }
        _ => {}
    }
    Ok((case, planned))
}

fn shown(case: &Case, act: &Act, planned: &Plan, now: DateTime<Utc>) -> ActBody {
    let (at, opens, closes) = flips(case, planned, now);
    let named = |videos: &[Video]| -> Vec<NamedVideo> {
        let named = |video: &Video| NamedVideo { id: video.id.to_string(), name: video.name.clone() };
        videos.iter().take(NAMED).map(named).collect()
    };
    let decisions = DecisionChanges {
        at,
        opens: opens.len(),
        closes: closes.len(),
        opening: named(&opens),
        closing: named(&closes),
    };
    let warning = |(code, text): &(&'static str, String)| ActWarning { code, text: text.clone() };
    ActBody {
        object: "act_preview",
        act: act.name(),
        member: case.id.clone(),
        sentence: planned.sentence.clone(),
        decisions,
        warnings: planned.warnings.iter().map(warning).collect(),
        events: planned.events.iter().map(|event| event.name().to_owned()).collect(),
        id: None,
        position: None,
    }
}

/// Tells the aggregates, one after the other, and says from where on it can be seen.
async fn tell(
    state: &ApiState,
    context: &Context,
    case: &Case,
    commands: Vec<Command>,
) -> Result<Position, ApiError> {
    let mut position = case.position;
    for command in commands {
        let context = context.clone();
        let told = match command {
            Command::Member(command) => {
                let done = state.members.execute(case.id.as_str(), command, context).await;
                done.map_err(|error| not_done(error, |why| Refusal::from(why).into()))?.position
            }
            Command::Customer(id, command) => {
                let done = state.customers.execute(id.as_str(), command, context).await;
                let refused = |why: CustomerError| ActRefusal::Customer { customer: id.clone(), why }.into();
                done.map_err(|error| not_done(error, refused))?.position
            }
            Command::Subscription(id, command) => {
                let done = state.subscriptions.execute(id.as_str(), command, context).await;
                done.map_err(|error| not_done(error, |never| match never {}))?.position
            }
            Command::Grant(id, command) => {
                let done = state.grants.execute(id.as_str(), command, context).await;
                done.map_err(|error| not_done(error, |why| ActRefusal::Grant(why).into()))?.position
            }
            // Accounts tell their own streams.
            Command::Account(_) => continue,
        };
        position = position.max(told);
    }
    Ok(position)
}
