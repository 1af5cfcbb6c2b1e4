//! Comparing a member with the billing provider: asked for with who and why, and ended with what it came to, also where nothing
//! differed. Nothing at the provider is changed.

use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId, RemarkId, SubscriptionId};
use domain::member::{Comparison, MemberCommand};
use domain::ports::{Position, Remark};
use projections::case::Case;
use serde::Serialize;
use tracing::Instrument;
use utoipa::ToSchema;

use super::{ActWarning, By};
use crate::deliveries::{A_LINE, sentence};
use crate::error::{ApiError, not_done};
use crate::learner::refusal::Refusal;
use crate::state::{ApiState, ResyncReport, ResyncScope};

/// What a comparison would look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ComparisonPreview {
    /// Always `act_preview`.
    #[schema(example = "act_preview")]
    pub object: &'static str,
    /// Always `resync`.
    #[schema(example = "resync")]
    pub act: &'static str,
    /// Whose subscriptions.
    #[schema(value_type = String, example = "mem_ada")]
    pub member: MemberId,
    /// What it comes to.
    pub sentence: String,
    /// What the provider is asked about.
    pub compares: Vec<Compares>,
    /// When all of this was last compared, for her alone or with everybody.
    #[schema(required = true)]
    pub compared_at: Option<DateTime<Utc>>,
    /// What whoever does it should know before.
    pub warnings: Vec<ActWarning>,
    /// The events it appends beside what is found, by their stored names.
    #[schema(example = json!(["ComparisonRequested", "ComparisonDone"]))]
    pub events: Vec<String>,
}

/// A payer, or a subscription of hers, that the provider is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Compares {
    /// The payer.
    #[schema(value_type = String, example = "cus_NffrFeUfNV2Hib")]
    pub customer: CustomerId,
    /// The subscription; null where none of this payer is known here.
    #[schema(required = true, value_type = Option<String>, example = "sub_1")]
    pub subscription: Option<SubscriptionId>,
    /// How it stands here, in the provider's word.
    #[schema(required = true, example = "active")]
    pub status: Option<String>,
    /// When something was last recorded of it.
    #[schema(required = true)]
    pub heard_at: Option<DateTime<Utc>>,
    /// The same in words.
    #[schema(example = "sub_1 of cus_NffrFeUfNV2Hib: active, last heard of on 3 May 2026, 10:00 UTC")]
    pub sentence: String,
}

/// What it would look at. Asks the provider nothing, and changes nothing.
pub async fn preview(state: &ApiState, member: &MemberId) -> Result<ComparisonPreview, ApiError> {
    let ResyncScope { customers, all_compared_at } = scope(state, member).await?;
    let case = state.history()?.case(member, None, state.index.catalog()).await?;
    let compares: Vec<_> = customers.iter().flat_map(|customer| subscriptions_of(&case, customer)).collect();
    let compared_at = all_compared_at.max(case.compared_at);
    let known = compares.iter().filter(|compares| compares.subscription.is_some()).count();
    let sentence = format!(
        "Stripe is asked about {} and {} of hers, {}. Nothing at Stripe is changed; what differs here is put right where that is \
         possible, and becomes part of her history.",
        counted(customers.len(), "customer"),
        counted(known, "subscription"),
        compared_at.map_or_else(
            || "not known to have been compared before".to_owned(),
            |at| format!("last compared on {}", said(at))
        ),
    );
    let mut warnings = Vec::new();
    if customers.is_empty() {
        let text = "She has no customer at Stripe, so there is nothing to compare.".to_owned();
        warnings.push(ActWarning { code: "nothing_to_compare", text });
    }
    if case.member.is_erased() {
        let text = "She was erased: a reason is not kept, only who asked.".to_owned();
        warnings.push(ActWarning { code: "erased", text });
    }
    let events = ["ComparisonRequested", "ComparisonDone"].map(str::to_owned).into();
    let member = member.clone();
    Ok(ComparisonPreview {
        object: "act_preview",
        act: "resync",
        member,
        sentence,
        compares,
        compared_at,
        warnings,
        events,
    })
}

fn subscriptions_of(case: &Case, customer: &CustomerId) -> Vec<Compares> {
    let held = case.subscriptions.iter().filter_map(|(id, held)| {
        let standing = held.standing(None).filter(|standing| standing.terms.customer == *customer)?;
        let (status, heard_at) = (standing.terms.status.to_string(), case.heard.get(id).copied());
        let heard = heard_at.map(|at| format!(", last heard of on {}", said(at))).unwrap_or_default();
        let sentence = format!("{id} of {customer}: {status}{heard}");
        let (customer, subscription) = (customer.clone(), Some(id.clone()));
        Some(Compares { customer, subscription, status: Some(status), heard_at, sentence })
    });
    let mut compares: Vec<_> = held.collect();
    if compares.is_empty() {
        let sentence = format!("{customer}: no subscription is known here");
        let customer = customer.clone();
        compares.push(Compares { customer, subscription: None, status: None, heard_at: None, sentence });
    }
    compares
}

/// Compares. Without `words` it is told that nobody said why; of somebody who was erased no words are kept. Says what was found,
/// and from where on it can be seen. Goes on to its end also when nobody waits for it any more.
pub async fn perform(
    state: &ApiState,
    by: &By,
    member: &MemberId,
    words: Option<&str>,
) -> Result<(ResyncReport, Comparison, Position), ApiError> {
    let bad = || ApiError::Invalid { field: "reason", why: A_LINE.into() };
    let text = words.map(|words| sentence(words).ok_or_else(bad)).transpose()?;
    let ResyncScope { customers, .. } = scope(state, member).await?;
    let (state, by, member) = (state.clone(), by.clone(), member.clone());
    let work = async move {
        let remark = match text {
            Some(text) => kept(&state, &by, &member, text).await?,
            None => None,
        };
        tell(&state, &by, &member, MemberCommand::RequestComparison { remark }).await?;
        let found = state.resync.resync(&customers, &by.request_id).await.map_err(ApiError::from);
        let comparison = match &found {
            Ok(ResyncReport { compared, differing, repaired, .. }) => {
                Ok(Comparison { compared: *compared, differing: *differing, repaired: *repaired })
            }
            Err(error) => Err(error.code().to_owned()),
        };
        let told = MemberCommand::RecordComparison(comparison.clone());
        let position = tell(&state, &by, &member, told).await?;
        Ok((found?, comparison.unwrap_or_default(), position))
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(panic) => Err(ApiError::Panicked(panic.to_string())),
    }
}

/// Keeps the words, unless she was erased: then there are none to speak of.
async fn kept(
    state: &ApiState,
    by: &By,
    member: &MemberId,
    text: String,
) -> Result<Option<RemarkId>, ApiError> {
    let id = RemarkId::generate(by.ids.at, by.ids.bits);
    state.remarks.put(Remark { id: id.clone(), member: member.clone(), text, at: by.ids.at }).await?;
    let is_kept = !state.remarks.get(std::slice::from_ref(&id)).await?.is_empty();
    Ok(is_kept.then_some(id))
}

async fn tell(
    state: &ApiState,
    by: &By,
    member: &MemberId,
    command: MemberCommand,
) -> Result<Position, ApiError> {
    let done = state.members.execute(member.as_str(), command, by.context(state.now())).await;
    Ok(done.map_err(|error| not_done(error, |why| Refusal::from(why).into()))?.position)
}

async fn scope(state: &ApiState, member: &MemberId) -> Result<ResyncScope, ApiError> {
    state.resync.scope(member).await?.ok_or_else(|| ApiError::UnknownMember(member.to_string()))
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

fn said(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y, %H:%M UTC").to_string()
}
