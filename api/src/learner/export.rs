//! Everything about oneself, to take along.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::MemberId;
use projections::past::{AsOf, MemberState};
use serde::Serialize;
use utoipa::ToSchema;

use super::account::HistoryEntry;
use crate::error::ApiError;
use crate::extract::Params;
use crate::position::AnsweredAt;
use crate::state::ApiState;
use crate::support::export::{ExportFormat, ExportQuery, attachment, csv};
use crate::support::state::{AccountStateBody, PaidBody};
use crate::support::{PayerBody, payers_of};
use crate::viewer::Viewer;

/// Everything that is known of a member, in words for herself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MyExport)]
pub struct MyExportBody<'e> {
    /// Always `my_export`.
    #[schema(example = "my_export")]
    object: &'static str,
    /// Her id.
    #[schema(value_type = String, example = "mem_ada")]
    member: &'e MemberId,
    /// Her e-mail address.
    #[schema(required = true)]
    email: Option<String>,
    /// Her id at the site that asked for her.
    #[schema(required = true)]
    external_id: Option<String>,
    /// When this was written.
    exported_at: DateTime<Utc>,
    /// When she was registered.
    registered_at: DateTime<Utc>,
    /// The best plan that is open to her.
    #[schema(required = true)]
    plan: Option<&'e str>,
    /// Until when, if an end is known.
    #[schema(required = true)]
    until: Option<DateTime<Utc>>,
    /// What she has paid, by currency.
    paid: Vec<PaidBody<'e>>,
    /// Her ids at the payment provider.
    #[schema(value_type = Vec<String>)]
    customers: Vec<&'e str>,
    /// Who pays, as the payment provider has it.
    payers: Vec<PayerBody>,
    /// Her account.
    account: AccountStateBody,
    /// What happened, oldest first.
    history: Vec<HistoryEntry>,
}

/// Take along everything about me.
///
/// Facts and history in plain words, oldest first; who of the staff did something is not named.
#[utoipa::path(
    get, path = "/v1/me/export", operation_id = "exportMyself", tag = "Learner",
    params(ExportQuery),
    security(("session" = [])),
    responses((
        status = 200, description = "Everything about her",
        content((MyExportBody = "application/json"), (String = "text/csv")),
    )),
)]
pub async fn export(
    State(state): State<ApiState>,
    viewer: Viewer,
    Params(ExportQuery { format }): Params<ExportQuery>,
) -> Result<Response, ApiError> {
    let chronicle = state.history()?.chronicle(&viewer.member).await?;
    let person = state.people.get(&viewer.member).await?;
    let (email, external_id) = person.map(|person| (person.email, person.external_id)).unwrap_or_default();
    let now = state.now();
    let held = chronicle.state(AsOf::at(now));
    let payers = payers_of(&state, &held).await?;
    let history = chronicle.told(&state.index.catalog()).into_iter().map(HistoryEntry::from);
    let answered_at = AnsweredAt(chronicle.position);
    if format == Some(ExportFormat::Csv) {
        let facts = facts(&held, email, external_id, &payers).into_iter();
        let facts = facts.map(|fact| [String::new(), String::new(), "Fact".to_owned(), fact]);
        let rows = facts.chain(history.map(HistoryEntry::into_row));
        return Ok((answered_at, csv(&viewer.member, ["at", "by", "kind", "sentence"], rows)).into_response());
    }
    let body = MyExportBody {
        object: "my_export",
        member: &viewer.member,
        email,
        external_id,
        exported_at: now,
        registered_at: held.registered_at,
        plan: held.plan_name.as_deref(),
        until: held.until,
        paid: held.paid.iter().map(PaidBody::from).collect(),
        customers: held.customers.iter().map(|held| held.customer.as_str()).collect(),
        account: AccountStateBody::from(&held.account),
        payers,
        history: history.collect(),
    };
    let headers = attachment(&viewer.member, "json");
    Ok((answered_at, headers, Json(body)).into_response())
}

fn facts(
    state: &MemberState,
    email: Option<String>,
    external_id: Option<String>,
    payers: &[PayerBody],
) -> Vec<String> {
    let mut facts = vec![format!("Your id is {}", state.member)];
    facts.extend(email.map(|email| format!("Your e-mail address is {email}")));
    facts.extend(external_id.map(|id| format!("Your id at the site that registered you is {id}")));
    facts.extend(
        state.customers.iter().map(|held| format!("Your id at the payment provider is {}", held.customer)),
    );
    for PayerBody { name, email, .. } in payers {
        facts.extend(name.iter().map(|name| format!("Your name at the payment provider is {name}")));
        facts.extend(
            email.iter().map(|email| format!("Your e-mail address at the payment provider is {email}")),
        );
    }
    facts.extend(state.paid.iter().map(|paid| paid.sentence.clone()));
    facts.push(state.sentence.clone());
    facts
}
