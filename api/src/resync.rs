//! A member's subscriptions, compared with the billing provider on demand.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::ids::{MemberId, SubscriptionId};
use domain::subscription::{Difference, DriftCause};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Allowed, SupportWrite};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, member};
use crate::position::AnsweredAt;
use crate::state::{ApiState, ResyncFinding, ResyncReport};

/// What a comparison with the billing provider showed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Resync)]
pub struct ResyncBody {
    /// Always `resync`.
    #[schema(example = "resync")]
    object: &'static str,
    /// The member.
    #[schema(value_type = String, example = "mem_ada")]
    member: MemberId,
    /// How many subscriptions were compared.
    compared: u64,
    /// How many differed.
    differing: u64,
    /// How many of those do not differ any more.
    repaired: u64,
    /// How many still do.
    left: u64,
    /// What differed; the member's history says the same.
    findings: Vec<FindingBody>,
}

/// A subscription that differed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResyncFinding)]
pub struct FindingBody {
    /// The subscription.
    #[schema(value_type = String, example = "sub_1")]
    subscription: SubscriptionId,
    /// What differed.
    differences: Vec<DifferenceBody>,
    /// Why, as far as one can tell.
    cause: DriftReason,
    /// The delivery that may have told of it and was not used.
    #[schema(required = true)]
    delivery: Option<String>,
    /// Whether it was put right.
    repaired: bool,
}

/// One thing that differed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResyncDifference)]
pub struct DifferenceBody {
    /// What.
    #[schema(example = "status")]
    what: String,
    /// As it was known here; null when it was not.
    #[schema(required = true)]
    known: Option<String>,
    /// As the provider has it; null when it has not.
    #[schema(required = true)]
    found: Option<String>,
}

/// Why something differed.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftReason {
    /// No delivery told of it.
    NotTold,
    /// A delivery that may have told of it has not been used.
    NotUsed,
    /// The order of two changes could not be told.
    OrderUnknown,
    /// The provider does not have it.
    NotThere,
}

impl From<ResyncFinding> for FindingBody {
    fn from(finding: ResyncFinding) -> Self {
        let (cause, delivery) = match finding.cause {
            DriftCause::NotTold => (DriftReason::NotTold, None),
            DriftCause::NotUsed { delivery, .. } => (DriftReason::NotUsed, Some(delivery.to_string())),
            DriftCause::OrderUnknown => (DriftReason::OrderUnknown, None),
            DriftCause::NotThere => (DriftReason::NotThere, None),
        };
        let difference =
            |Difference { what, known, found }: Difference| DifferenceBody { what, known, found };
        Self {
            subscription: finding.subscription,
            differences: finding.differences.into_iter().map(difference).collect(),
            cause,
            delivery,
            repaired: finding.repaired,
        }
    }
}

/// Compare a member's subscriptions with the billing provider.
///
/// Asks the provider about all her subscriptions now. What differs is put right where that is possible, and becomes part of
/// her history with its likely cause.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/resync", operation_id = "resyncMember", tag = "Support",
    params(("member" = String, Path, description = "The member's id")),
    security(("bearer" = ["support.write"])),
    responses(
        (status = 200, description = "What was compared and what came of it", body = ResyncBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`: the provider says no", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`billing_not_configured`: this service has no key for the provider", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`: the provider cannot be asked", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn resync(
    State(state): State<ApiState>,
    _: Allowed<SupportWrite>,
    Ids(id): Ids<String>,
) -> Result<Response, ApiError> {
    let member = member(&id)?;
    let ResyncReport { compared, differing, repaired, left, findings } =
        state.resync.resync(&member).await?.ok_or(ApiError::UnknownMember(id))?;
    let findings = findings.into_iter().map(FindingBody::from).collect();
    let body = ResyncBody { object: "resync", member, compared, differing, repaired, left, findings };
    let answered_at = AnsweredAt(state.feed.head().await?);
    Ok((answered_at, Json(body)).into_response())
}
