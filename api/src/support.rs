//! What happened to a member, how did it stand with her, and why was an answer what it was?

pub mod accounts;
pub mod acts;
pub mod diff;
pub mod event;
pub mod explain;
pub mod export;
pub mod flips;
pub mod profile;
pub mod search;
pub mod state;
pub mod timeline;

use domain::ids::CustomerId;
use domain::ports::{PayerRecord, Position, StoreError};
use projections::past::{AsOf, Chronicle, DeliverySeen, MemberState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::extract::moment;
use crate::state::{ApiState, Deliveries, DeliveryFilter, DeliveryRecord, DeliverySelection};

/// So many deliveries of one payer are looked at, the latest.
const MOST_DELIVERIES: usize = 1_000;

/// What the provider delivered about a member's payers.
#[derive(Debug, Default)]
pub struct DeliveriesSeen {
    /// The latest of each.
    pub seen: Vec<DeliverySeen>,
    /// The payers about whom more was delivered, each with the earliest of its deliveries that is seen: the others came before.
    pub earlier: Vec<(CustomerId, String)>,
}

/// What the provider delivered about a member's payers.
pub async fn deliveries_seen(
    deliveries: &dyn Deliveries,
    chronicle: &Chronicle,
) -> Result<DeliveriesSeen, StoreError> {
    let mut all = DeliveriesSeen::default();
    for payer in chronicle.payers() {
        let of = DeliverySelection { customer: Some(payer.to_string()), ..DeliverySelection::default() };
        let filter = DeliveryFilter { of, before: None, limit: MOST_DELIVERIES + 1 };
        let mut held = deliveries.list(filter).await?;
        if held.len() > MOST_DELIVERIES {
            held.truncate(MOST_DELIVERIES);
            all.earlier.extend(held.last().map(|last| (payer, last.id.clone())));
        }
        all.seen.extend(held.into_iter().map(delivery_seen));
    }
    Ok(all)
}

/// Who a payer of a member's is, as the billing provider has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payer)]
pub struct PayerBody {
    /// The payer.
    #[schema(value_type = String, example = "cus_NffrFeUfNV2Hib")]
    pub customer: CustomerId,
    /// Her name.
    #[schema(required = true)]
    pub name: Option<String>,
    /// The address that bills go to.
    #[schema(required = true)]
    pub email: Option<String>,
}

/// Who the payers are that are a member's.
pub async fn payers_of(state: &ApiState, held: &MemberState) -> Result<Vec<PayerBody>, StoreError> {
    let customers: Vec<CustomerId> = held.customers.iter().map(|held| held.customer.clone()).collect();
    let payers = state.payers.get(&customers).await?.into_iter();
    Ok(payers.map(|PayerRecord { customer, name, email }| PayerBody { customer, name, email }).collect())
}

fn delivery_seen(record: DeliveryRecord) -> DeliverySeen {
    DeliverySeen {
        id: record.id,
        event_type: record.event_type,
        created: record.created,
        received_at: record.received_at,
        times_received: record.times_received,
        outcome: record.outcome.as_str().to_owned(),
        reason: record.reason,
        detail: record.detail,
        settled_at: record.settled_at,
    }
}

/// Which moment a question is about; now, with all that is known, where it does not say.
pub(crate) fn as_of(
    state: &ApiState,
    at: Option<&str>,
    known_at: Option<&str>,
    position: Option<&str>,
) -> Result<AsOf, ApiError> {
    let at = at.map(|at| moment("at", at)).transpose()?.unwrap_or_else(|| state.now());
    let known_at = known_at.map(|known_at| moment("known_at", known_at)).transpose()?;
    let bad =
        || ApiError::BadQuery("position is not one; send one back as it was given, such as p-1f".to_owned());
    let parse = |token: &str| Position::parse(token).ok_or_else(bad);
    Ok(AsOf { at, known_at, position: position.map(parse).transpose()? })
}
