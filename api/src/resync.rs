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
use crate::extract::{Ids, MaybeBody, Params, member};
use crate::idempotency::IdSource;
use crate::position::AnsweredAt;
use crate::shell::Asked;
use crate::state::{ApiState, ResyncFinding, ResyncReport};
use crate::support::acts::By;
use crate::support::acts::compare::{ComparisonPreview, perform, preview};
use crate::support::acts::routes::{Because, PreviewQuery};

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
    /// What it came to, as her history says it.
    #[schema(example = "Compared 2 subscriptions with the provider: nothing differed")]
    sentence: String,
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

/// What a comparison came to, or would look at.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ComparisonBody {
    /// What it would look at.
    Preview(ComparisonPreview),
    /// What it came to.
    Done(ResyncBody),
}

/// Compare a member's subscriptions with the billing provider.
///
/// Asks the provider about all her subscriptions now, and changes nothing there. What differs is put right here where that is
/// possible. Her history says who asked and why, what differed with its likely cause, and what it came to, also where nothing
/// did. Without a body it says that nobody said why.
#[utoipa::path(
    post, path = "/v1/support/members/{member}/resync", operation_id = "resyncMember", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), PreviewQuery),
    request_body = Option<Because>,
    security(("bearer" = ["support.write"])),
    responses(
        (status = 200, description = "What was compared and what came of it, or what would be", body = ComparisonBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid` or `wrong_shape`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`billing_refused`: the provider says no", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`billing_not_configured`: this service has no key for the provider", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`billing_unavailable`: the provider cannot be asked", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn resync(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<SupportWrite>,
    asked: Asked,
    ids: IdSource,
    Ids(id): Ids<String>,
    Params(query): Params<PreviewQuery>,
    MaybeBody(body): MaybeBody<Because>,
) -> Result<Response, ApiError> {
    let member = member(&id)?;
    if query.preview {
        return Ok(Json(ComparisonBody::Preview(preview(&state, &member).await?)).into_response());
    }
    let (by, words) = (By::new(&caller, &asked, ids), body.and_then(|body| body.reason));
    let (report, comparison, position) = perform(&state, &by, &member, words.as_deref()).await?;
    let ResyncReport { compared, differing, repaired, left, findings } = report;
    let body = ResyncBody {
        object: "resync",
        member,
        sentence: comparison.to_string(),
        compared,
        differing,
        repaired,
        left,
        findings: findings.into_iter().map(FindingBody::from).collect(),
    };
    Ok((AnsweredAt(position), Json(ComparisonBody::Done(body))).into_response())
}
