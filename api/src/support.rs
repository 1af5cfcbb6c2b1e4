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

use domain::ports::{Position, StoreError};
use projections::past::{AsOf, Chronicle, DeliverySeen};

use crate::error::ApiError;
use crate::extract::moment;
use crate::state::{ApiState, Deliveries, DeliveryFilter, DeliveryRecord, DeliverySelection};

/// So many deliveries of one payer are looked at, the latest.
const MOST_DELIVERIES: usize = 1_000;

/// What the provider delivered about a member's payers: the latest of each.
pub async fn deliveries_seen(
    deliveries: &dyn Deliveries,
    chronicle: &Chronicle,
) -> Result<Vec<DeliverySeen>, StoreError> {
    let mut seen = Vec::new();
    for payer in chronicle.payers() {
        let of = DeliverySelection { customer: Some(payer.to_string()), ..DeliverySelection::default() };
        let filter = DeliveryFilter { of, before: None, limit: MOST_DELIVERIES };
        seen.extend(deliveries.list(filter).await?.into_iter().map(delivery_seen));
    }
    Ok(seen)
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
