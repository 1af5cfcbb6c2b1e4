//! Forgetting a member. Every step finds out by itself what is left to do, so that an erasure that was interrupted is finished
//! by asking for it again; that it is done is told last.

use chrono::{DateTime, Utc};
use domain::ports::{Erasure, Position};
use fail::fail_point;
use projections::case::Case;

use super::plan::Command;
use super::{By, tell};
use crate::error::ApiError;
use crate::state::ApiState;

/// Erases what is known of a member beside the log, then has the log told.
pub(super) async fn carry_out(
    state: &ApiState,
    by: &By,
    case: &Case,
    commands: Vec<Command>,
    now: DateTime<Utc>,
) -> Result<Position, ApiError> {
    fail_point!("erase::begun");
    // First, as her address is what registrations of hers that wait are found by, and is deleted with her record.
    let mut position = Position::START;
    if let Some(accounts) = &state.accounts {
        position = accounts.erase(&case.id, by.actor.clone(), &by.request_id).await?;
    }
    fail_point!("erase::signed_out");
    let customers = case.customers.iter().map(|(id, _)| id.to_string());
    let subscriptions = case.subscriptions.iter().flat_map(|(id, held)| {
        std::iter::once(id.to_string()).chain(held.invoices().map(ToString::to_string))
    });
    let erasure = Erasure {
        member: case.id.clone(),
        ids: customers.chain(subscriptions).collect(),
        deliveries: case.causes.iter().cloned().collect(),
        at: now,
    };
    let erased = state.erasures.erase(erasure).await?;
    tracing::info!(deliveries = erased.deliveries, remarks = erased.remarks, "a member was erased");
    fail_point!("erase::forgotten");
    Ok(position.max(tell(state, by, case, commands, now).await?))
}
