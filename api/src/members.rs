//! Who is a member, and which payer is hers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::customer::{CustomerCommand, CustomerError, LinkedThrough};
use domain::ids::{CustomerId, MemberId};
use domain::member::{Member, MemberCommand};
use domain::metadata::Context;
use domain::ports::{PersonRecord, PersonStored, Position};
use fail::fail_point;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Allowed, Caller, MembersWrite};
use crate::error::{ApiError, Problem, not_done};
use crate::extract::{Body, Ids, List, Params, cursor, limit, member};
use crate::idempotency::IdSource;
use crate::learner::refusal::Refusal;
use crate::position::AnsweredAt;
use crate::shell::Asked;
use crate::state::ApiState;

const LONGEST_EMAIL: usize = 254;
const LONGEST_EXTERNAL_ID: usize = 200;
const LONGEST_CUSTOMER: usize = 255;

/// A member to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// Her e-mail address; no two members share one.
    #[schema(max_length = 254, pattern = r"^[^@\s]+@[^@\s]+$", example = "ada@example.com")]
    email: Option<String>,
    /// Her id at the site that asks. Asking again with the same one answers with the same member.
    #[schema(min_length = 1, max_length = 200)]
    external_id: Option<String>,
    /// The id she shall have; made when left out.
    #[schema(example = "mem_ada", pattern = "^mem_[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub struct MemberBody {
    /// Always `member`.
    #[schema(example = "member")]
    object: &'static str,
    /// Her id.
    #[schema(value_type = String, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
    id: MemberId,
    /// Her e-mail address.
    #[schema(required = true)]
    email: Option<String>,
    /// Her id at the site that asked for her.
    #[schema(required = true)]
    external_id: Option<String>,
    /// When she was made.
    created_at: DateTime<Utc>,
}

impl From<PersonRecord> for MemberBody {
    fn from(record: PersonRecord) -> Self {
        let PersonRecord { member, email, external_id, created_at } = record;
        Self { object: "member", id: member, email, external_id, created_at }
    }
}

/// Make a member.
///
/// Asking again with the same `external_id` or `id` answers 200 with the member that is there, unchanged, and finishes
/// what an interruption left undone.
#[utoipa::path(
    post, path = "/v1/members", operation_id = "createMember", tag = "Members",
    security(("bearer" = ["members.write"])),
    request_body = NewMember,
    responses(
        (status = 201, description = "She is new", body = MemberBody),
        (status = 200, description = "She was there", body = MemberBody),
        (status = 409, description = "`email_taken`, `external_id_taken` or `id_taken`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn create(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<MembersWrite>,
    asked: Asked,
    ids: IdSource,
    Body(new): Body<NewMember>,
) -> Result<Response, ApiError> {
    let wanted = new.record(ids)?;
    if new.id.is_some() {
        not_erased(&state, &wanted.member).await?;
    }
    // The record first: if we are stopped between the two, asking again finds it and registers.
    match state.people.create(wanted.clone()).await? {
        PersonStored::Created => {
            fail_point!("members::recorded");
            let position = register(&state, &wanted.member, &caller, &asked).await?;
            Ok((StatusCode::CREATED, AnsweredAt(position), Json(MemberBody::from(wanted))).into_response())
        }
        PersonStored::Existing(held) => {
            let position = register(&state, &held.member, &caller, &asked).await?;
            new.agrees_with(&held)?;
            Ok((AnsweredAt(position), Json(MemberBody::from(held))).into_response())
        }
        PersonStored::Erased => Err(Refusal::Erased.into()),
        PersonStored::EmailTaken(holder) => {
            // Without an external id this is how an interrupted request finds its member again.
            register(&state, &holder, &caller, &asked).await?;
            Err(ApiError::EmailTaken(holder))
        }
    }
}

impl NewMember {
    fn record(&self, ids: IdSource) -> Result<PersonRecord, ApiError> {
        let invalid = |field, why: &'static str| ApiError::Invalid { field, why: why.into() };
        if self.email.as_deref().is_some_and(|email| !is_email(email)) {
            return Err(invalid(
                "email",
                "it is not an address such as ada@example.com of at most 254 bytes",
            ));
        }
        let fits = |id: &str| {
            (1..=LONGEST_EXTERNAL_ID).contains(&id.chars().count()) && !id.chars().any(char::is_control)
        };
        if self.external_id.as_deref().is_some_and(|id| !fits(id)) {
            return Err(invalid(
                "external_id",
                "it has to have 1 to 200 characters, none of them a control character",
            ));
        }
        let created_at = ids.at;
        let member = match &self.id {
            Some(id) => MemberId::parse(id)
                .map_err(|error| ApiError::Invalid { field: "id", why: error.to_string().into() })?,
            None => MemberId::generate(created_at, ids.bits),
        };
        let (email, external_id) = (self.email.clone(), self.external_id.clone());
        Ok(PersonRecord { member, email, external_id, created_at })
    }

    /// Whether the member that was found is one this could have asked for.
    fn agrees_with(&self, held: &PersonRecord) -> Result<(), ApiError> {
        let same_id = self.id.as_deref().is_none_or(|id| id == held.member.as_str());
        let same_external = self.external_id.is_none() || self.external_id == held.external_id;
        let same_email = self.email.is_none() || same_email(self.email.as_deref(), held.email.as_deref());
        if same_id && same_external && same_email {
            return Ok(());
        }
        let found_by_external_id = self.external_id.is_some() && same_external;
        let taken = if found_by_external_id { ApiError::ExternalIdTaken } else { ApiError::IdTaken };
        Err(taken(held.member.clone()))
    }
}

async fn register(
    state: &ApiState,
    member: &MemberId,
    caller: &Caller,
    asked: &Asked,
) -> Result<Position, ApiError> {
    let executed = state
        .members
        .execute(member.as_str(), MemberCommand::Register, context(state, caller, asked))
        .await
        .map_err(|error| not_done(error, |refused| Refusal::from(refused).into()))?;
    fail_point!("members::registered");
    state.deliveries.member_registered(member).await?;
    Ok(executed.position)
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many, 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

/// List members.
///
/// By id, which for ids made here is the order in which they were made.
#[utoipa::path(
    get, path = "/v1/members", operation_id = "listMembers", tag = "Members",
    params(PageQuery),
    security(("bearer" = ["members.write"])),
    responses((status = 200, description = "A page of members", body = List<MemberBody>)),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: Allowed<MembersWrite>,
    Params(page): Params<PageQuery>,
) -> Result<Json<List<MemberBody>>, ApiError> {
    let limit = limit(page.limit.as_deref())?;
    let after = cursor(page.cursor.as_deref())?;
    let after = after.map(|id| MemberId::parse(&id).map_err(|_| ApiError::BadCursor)).transpose()?;
    let records = state.people.list(after.as_ref(), limit + 1).await?;
    Ok(Json(List::page(records, limit, |record| record.member.to_string(), MemberBody::from)))
}

/// Show a member.
#[utoipa::path(
    get, path = "/v1/members/{member}", operation_id = "showMember", tag = "Members",
    params(("member" = String, Path, description = "The member's id")),
    security(("bearer" = ["members.write"])),
    responses(
        (status = 200, description = "The member", body = MemberBody),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn show(
    State(state): State<ApiState>,
    _: Allowed<MembersWrite>,
    Ids(id): Ids<String>,
) -> Result<Json<MemberBody>, ApiError> {
    Ok(Json(find(&state, &member(&id)?).await?.into()))
}

/// A payer for a member.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCustomerLink {
    /// The payer's id at the billing provider.
    #[schema(example = "cus_NffrFeUfNV2Hib", pattern = "^cus_[A-Za-z0-9_]+$", max_length = 255)]
    customer: String,
}

/// Whose payer this is.
#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerLink {
    /// Always `customer_link`.
    #[schema(example = "customer_link")]
    object: &'static str,
    /// The member.
    #[schema(value_type = String)]
    member: MemberId,
    /// The payer's id at the billing provider.
    #[schema(value_type = String)]
    customer: CustomerId,
}

/// Link a Stripe customer to a member.
///
/// The customer was hers all along: what she paid before counts too, and deliveries that waited for the link are looked
/// at again. A member may have several customers, a customer belongs to one member for good.
#[utoipa::path(
    put, path = "/v1/members/{member}/stripe-customer", operation_id = "linkStripeCustomer", tag = "Members",
    params(("member" = String, Path, description = "The member's id")),
    security(("bearer" = ["members.write"])),
    request_body = NewCustomerLink,
    responses(
        (status = 200, description = "Linked, now or before", body = CustomerLink),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`linked_elsewhere` or `erased`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn link_customer(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<MembersWrite>,
    asked: Asked,
    Ids(id): Ids<String>,
    Body(NewCustomerLink { customer }): Body<NewCustomerLink>,
) -> Result<Response, ApiError> {
    if !could_be_a_customer(&customer) {
        let why = "it is not a Stripe customer id, such as cus_NffrFeUfNV2Hib".into();
        return Err(ApiError::Invalid { field: "customer", why });
    }
    let customer = CustomerId::from(customer);
    let member = find(&state, &member(&id)?).await?.member;
    not_erased(&state, &member).await?;
    let command = CustomerCommand::Link { member: member.clone(), through: LinkedThrough::Request };
    let executed = state
        .customers
        .execute(customer.as_str(), command, context(&state, &caller, &asked).for_member(&member))
        .await
        .map_err(|error| {
            not_done(error, |refusal: CustomerError| ApiError::LinkedElsewhere {
                customer: customer.clone(),
                why: refusal.to_string(),
            })
        })?;
    state.deliveries.customer_linked(&customer).await?;
    let link = CustomerLink { object: "customer_link", member, customer };
    Ok((AnsweredAt(executed.position), Json(link)).into_response())
}

/// What is known of a member. The log is asked too, since members can outlive what is kept beside it.
async fn find(state: &ApiState, member: &MemberId) -> Result<PersonRecord, ApiError> {
    if let Some(record) = state.people.get(member).await? {
        return Ok(record);
    }
    let stream = state.feed.read_stream(Member::TYPE, member.as_str()).await?;
    let first = stream.first().ok_or_else(|| ApiError::UnknownMember(member.to_string()))?;
    let created_at = first.metadata.occurred_at;
    Ok(PersonRecord { member: member.clone(), email: None, external_id: None, created_at })
}

/// Under the id of somebody who was erased nothing is kept again.
async fn not_erased(state: &ApiState, member: &MemberId) -> Result<(), ApiError> {
    let stream = state.feed.read_stream(Member::TYPE, member.as_str()).await?;
    let erased = stream.iter().any(|recorded| recorded.event_type == "MemberErased");
    if erased { Err(Refusal::Erased.into()) } else { Ok(()) }
}

fn context(state: &ApiState, caller: &Caller, asked: &Asked) -> Context {
    Context::asked_by(caller.actor(), asked.request_id(), state.now())
}

/// Whether this could be an e-mail address: only writing to it would tell for sure.
pub fn is_email(email: &str) -> bool {
    let plain = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    let halves = email.split_once('@');
    let one_at =
        halves.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    email.len() <= LONGEST_EMAIL && plain && one_at
}

/// Whether two addresses are the same: letters count alike in both sizes.
pub fn same_email(one: Option<&str>, other: Option<&str>) -> bool {
    one.map(str::to_lowercase) == other.map(str::to_lowercase)
}

pub(crate) fn could_be_a_customer(id: &str) -> bool {
    let tail = id.strip_prefix("cus_").unwrap_or_default();
    id.len() <= LONGEST_CUSTOMER
        && !tail.is_empty()
        && tail.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
