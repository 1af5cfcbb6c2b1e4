//! A member's whole history, to be kept or handed on.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::MemberId;
use projections::past::AsOf;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::state::StateBody;
use super::timeline::TimelineEntryBody;
use super::{PayerBody, payers_of};
use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Ids, Params, member};
use crate::position::AnsweredAt;
use crate::state::ApiState;

/// How a history is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// JSON, with everything.
    #[default]
    Json,
    /// Comma-separated values, one line for each thing that happened.
    Csv,
}

/// In which format.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// How it is written; JSON when left out.
    #[param(inline)]
    pub(crate) format: Option<ExportFormat>,
}

/// A member's whole history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemberExport)]
pub struct ExportBody<'e> {
    /// Always `member_export`.
    #[schema(example = "member_export")]
    object: &'static str,
    /// The member.
    #[schema(example = "mem_ada")]
    member: &'e str,
    /// Her e-mail address.
    #[schema(required = true)]
    email: Option<String>,
    /// Her id at the site that asked for her.
    #[schema(required = true)]
    external_id: Option<String>,
    /// Who her payers are, as the billing provider has it.
    payers: Vec<PayerBody>,
    /// When this was written.
    exported_at: DateTime<Utc>,
    /// How it stands with her.
    state: StateBody<'e>,
    /// Everything that happened, in the order it was true.
    events: Vec<ExportedEvent<'e>>,
}

/// An event as it is exported.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedEvent<'e> {
    /// What happened.
    #[serde(flatten)]
    entry: TimelineEntryBody,
    /// What the event says, as stored.
    payload: &'e Value,
}

/// Export a member's history.
///
/// Everything the log holds of her, for an auditor or for her: with the names of staff.
#[utoipa::path(
    get, path = "/v1/support/members/{member}/export", operation_id = "exportMember", tag = "Support",
    params(("member" = String, Path, description = "The member's id"), ExportQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "The history, oldest first", content((ExportBody = "application/json"), (String = "text/csv"))),
        (status = 404, description = "`unknown_member`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn export(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Ids(id): Ids<String>,
    Params(ExportQuery { format }): Params<ExportQuery>,
) -> Result<Response, ApiError> {
    let chronicle = state.history()?.chronicle(&member(&id)?).await?;
    let answered_at = AnsweredAt(chronicle.position);
    let entries = chronicle.entries();
    if format == Some(ExportFormat::Csv) {
        const COLUMNS: [&str; 10] = [
            "occurred_at",
            "recorded_at",
            "position",
            "stream",
            "event_type",
            "kind",
            "actor",
            "cause",
            "sentence",
            "remark",
        ];
        let rows = entries.into_iter().map(|entry| {
            [
                entry.occurred_at.to_rfc3339(),
                entry.recorded_at.to_rfc3339(),
                entry.position.to_string(),
                entry.stream,
                entry.event_type,
                entry.kind.as_str().to_owned(),
                entry.actor.to_string(),
                entry.cause,
                entry.sentence,
                entry.remark.unwrap_or_default(),
            ]
        });
        return Ok((answered_at, csv(&chronicle.member, COLUMNS, rows)).into_response());
    }
    let person = state.people.get(&chronicle.member).await?;
    let (email, external_id) = person.map(|person| (person.email, person.external_id)).unwrap_or_default();
    let now = state.now();
    let held = chronicle.state(AsOf::at(now));
    let payloads = chronicle.payloads();
    let events = entries.iter().filter_map(|entry| {
        let payload = payloads.get(&entry.position)?;
        Some(ExportedEvent { entry: TimelineEntryBody::from(entry), payload })
    });
    let body = ExportBody {
        object: "member_export",
        member: chronicle.member.as_str(),
        email,
        external_id,
        payers: payers_of(&state, &held).await?,
        exported_at: now,
        state: StateBody::from(&held),
        events: events.collect(),
    };
    let headers = attachment(&chronicle.member, "json");
    Ok((answered_at, headers, Json(body)).into_response())
}

/// The headers that have a browser save an answer where somebody wants it, and nowhere else.
pub(crate) fn attachment(member: &MemberId, ending: &str) -> [(HeaderName, String); 2] {
    let name = format!("attachment; filename=\"{member}.{ending}\"");
    [(CONTENT_DISPOSITION, name), (CACHE_CONTROL, "no-store".to_owned())]
}

/// Rows of text as a file that a spreadsheet may open.
pub(crate) fn csv<const N: usize>(
    member: &MemberId,
    columns: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Response {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let written = writer.write_record(columns).and_then(|()| {
        rows.into_iter().try_for_each(|row| writer.write_record(row.iter().map(|cell| harmless(cell))))
    });
    let written = written.map_err(|error| error.to_string());
    match written.and_then(|()| writer.into_inner().map_err(|error| error.to_string())) {
        Ok(bytes) => {
            let kind = [(CONTENT_TYPE, "text/csv; charset=utf-8")];
            (kind, attachment(member, "csv"), bytes).into_response()
        }
        // Writing to memory does not fail.
        Err(error) => ApiError::from(domain::ports::StoreError::Corrupt(error)).into_response(),
    }
}

/// A cell that no spreadsheet takes for a formula, whatever somebody wrote into it.
fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for dangerous in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert!(harmless(dangerous).starts_with('\''), "{dangerous:?}");
        }
        assert_eq!(harmless("Paid = 17.00 USD"), "Paid = 17.00 USD");
    }
}
