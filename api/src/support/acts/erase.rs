//! Forgetting a member. Every step finds out by itself what is left to do, so that an erasure that was interrupted is finished
//! by asking for it again; that it is done is told last.

use domain::ids::MemberId;
use domain::ports::{Erasure, Position};
use fail::fail_point;
use projections::case::Case;

use super::plan::{New, plan};
use super::{Act, By, tell};
use crate::error::ApiError;
use crate::state::ApiState;

/// Erases what is known of a member beside the log, then has the log told.
pub(super) async fn carry_out(
    state: &ApiState,
    by: &By,
    case: &Case,
    act: &Act,
    new: &New,
) -> Result<Position, ApiError> {
    fail_point!("erase::begun");
    // First, as her address is what registrations of hers that wait are found by, and is deleted with her record.
    let mut position = Position::START;
    if let Some(accounts) = &state.accounts {
        position = accounts.erase(&case.id, by.actor.clone(), &by.request_id).await?;
    }
    fail_point!("erase::signed_out");
    forget(state, case).await?;
    // She is marked now, so that nothing more is told for her. What came in while she was being marked is found here.
    let late = state.history()?.case(&case.id, None, case.catalog.clone()).await?;
    if of_hers(&late) != of_hers(case) || late.causes != case.causes {
        forget(state, &late).await?;
    }
    fail_point!("erase::forgotten");
    let now = state.now();
    let commands = plan(&late, act, new, now)?.commands;
    Ok(position.max(tell(state, &by.context(now), &late, commands).await?))
}

async fn forget(state: &ApiState, case: &Case) -> Result<(), ApiError> {
    let member: MemberId = case.id.clone();
    let deliveries = case.causes.iter().cloned().collect();
    let erasure = Erasure { member, ids: of_hers(case), deliveries, at: state.now() };
    let erased = state.erasures.erase(erasure).await?;
    tracing::info!(deliveries = erased.deliveries, remarks = erased.remarks, "a member was erased");
    Ok(())
}

/// What of the provider's is hers.
fn of_hers(case: &Case) -> Vec<String> {
    let customers = case.customers.iter().map(|(id, _)| id.to_string());
    let subscriptions = case.subscriptions.iter().flat_map(|(id, held)| {
        std::iter::once(id.to_string()).chain(held.invoices().map(ToString::to_string))
    });
    customers.chain(subscriptions).collect()
}
