//! What Stripe delivered, and what became of it.

use api::auth::record_read;
use api::deliveries::{A_LINE, ReplayPreview, find, look_again, preview_replay, sentence, word};
use api::error::ApiError;
use api::extract::Ids;
use api::support::search::{self, Match};
use api::viewer::Viewer;
use api::{
    ApiState, DeliveryFilter, DeliveryOrigin, DeliveryOutcome, DeliveryRecord, DeliverySelection,
    DeliveryStep,
};
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Redirect;
use chrono::TimeDelta;

use crate::desk::{ActingDesk, Desk, Frame};
use crate::form::Fields;
use crate::member::event::laid_out;
use crate::page::Page;
use crate::time::{Moment, length};
use crate::who::{Staff, Who};

pub(crate) const PATH: &str = "/console/deliveries";
/// How many are on a page.
const SHOWN: usize = 50;
/// A delivery that came later than this after its event is called late.
const LATE: TimeDelta = TimeDelta::minutes(1);

/// All outcomes, with what each is called here.
pub(crate) const OUTCOMES: [(DeliveryOutcome, &str); 7] = [
    (DeliveryOutcome::Parked, "parked"),
    (DeliveryOutcome::Failed, "failed"),
    (DeliveryOutcome::Pending, "pending"),
    (DeliveryOutcome::Applied, "applied"),
    (DeliveryOutcome::NoChange, "no_change"),
    (DeliveryOutcome::Stale, "stale"),
    (DeliveryOutcome::Ignored, "ignored"),
];

/// An outcome in words, and how serious it is.
pub(crate) fn outcome(outcome: DeliveryOutcome) -> (&'static str, &'static str) {
    match outcome {
        DeliveryOutcome::Pending => ("waiting", "warn"),
        DeliveryOutcome::Applied => ("applied", "good"),
        DeliveryOutcome::NoChange => ("told what was known", ""),
        DeliveryOutcome::Stale => ("older than what was known", ""),
        DeliveryOutcome::Parked => ("parked", "warn"),
        DeliveryOutcome::Ignored => ("not about memberships", ""),
        DeliveryOutcome::Failed => ("failed", "bad"),
    }
}

/// A delivery as it is shown.
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) customer: Option<String>,
    pub(crate) received: Moment,
    pub(crate) created: Option<Moment>,
    pub(crate) late: Option<String>,
    pub(crate) origin: &'static str,
    pub(crate) times: u32,
    pub(crate) outcome: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) settled: Option<Moment>,
}

impl From<DeliveryRecord> for Shown {
    fn from(record: DeliveryRecord) -> Self {
        let (words, tone) = outcome(record.outcome);
        let late = record.created.map(|created| record.received_at - created).filter(|late| *late >= LATE);
        Self {
            id: record.id,
            event_type: record.event_type,
            customer: record.customer,
            received: Moment(record.received_at),
            created: record.created.map(Moment),
            late: late.map(length),
            origin: match record.origin {
                DeliveryOrigin::Webhook => "delivered by Stripe",
                DeliveryOrigin::Backfill => "never came; found in Stripe's list of events",
                DeliveryOrigin::File => "from a file",
            },
            times: record.times_received,
            outcome: words,
            tone,
            reason: record.reason,
            detail: record.detail,
            attempts: record.attempts,
            settled: record.settled_at.map(Moment),
        }
    }
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct ListPage {
    frame: Frame,
    asked: Asked,
    outcomes: Vec<(&'static str, &'static str, bool)>,
    deliveries: Vec<Shown>,
    older: Option<String>,
}

/// What a query says of deliveries.
struct Asked {
    reason: String,
    kind: String,
    customer: String,
}

/// A page of deliveries, latest arrival first.
pub(crate) async fn list(
    State(state): State<ApiState>,
    desk: Desk,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let wanted = match query.filled("outcome") {
        None => None,
        Some(name) => {
            let known = OUTCOMES.iter().find(|(_, known)| *known == name);
            let known = known.ok_or_else(|| ApiError::BadQuery(format!("no outcome is called {name:?}")))?;
            Some(known.0)
        }
    };
    let given = |name| word(name, query.filled(name));
    let of = DeliverySelection {
        outcome: wanted,
        reason: given("reason")?,
        event_type: given("type")?,
        customer: given("customer")?,
        ..DeliverySelection::default()
    };
    let filter = DeliveryFilter { of: of.clone(), before: given("before")?, limit: SHOWN + 1 };
    let mut records = state.deliveries.list(filter).await?;
    let more = records.len() > SHOWN;
    records.truncate(SHOWN);
    let older = records.last().filter(|_| more).map(|last| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let name = OUTCOMES.iter().find(|(known, _)| Some(*known) == wanted).map(|(_, name)| *name);
        let pairs = [
            ("outcome", name),
            ("reason", of.reason.as_deref()),
            ("type", of.event_type.as_deref()),
            ("customer", of.customer.as_deref()),
            ("before", Some(last.id.as_str())),
        ];
        query.extend_pairs(pairs.iter().filter_map(|(name, value)| Some((name, (*value)?))));
        format!("{PATH}?{}", query.finish())
    });
    let asked = Asked {
        reason: of.reason.unwrap_or_default(),
        kind: of.event_type.unwrap_or_default(),
        customer: of.customer.unwrap_or_default(),
    };
    let outcomes = OUTCOMES.iter().map(|(known, name)| (*name, outcome(*known).0, Some(*known) == wanted));
    Ok(Page(ListPage {
        frame: desk.at(PATH),
        asked,
        outcomes: outcomes.collect(),
        deliveries: records.into_iter().map(Shown::from).collect(),
        older,
    }))
}

/// Something that was done with a delivery.
struct Step {
    at: Moment,
    what: String,
    actor: Option<Who>,
    reason: Option<String>,
    detail: Option<String>,
}

impl Step {
    fn of(DeliveryStep { at, step, actor, reason, detail }: DeliveryStep, staff: &Staff) -> Self {
        let what = match step.as_str() {
            "redriven" => "looked at again".to_owned(),
            "read" => "what it says was read".to_owned(),
            "postponed" => "put off: it could not be carried out now".to_owned(),
            "no_change" => "told what was known".to_owned(),
            "stale" => "older than what was known".to_owned(),
            _ => step,
        };
        Self { at: Moment(at), what, actor: actor.map(|actor| staff.name(&actor)), reason, detail }
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct DeliveryPage {
    frame: Frame,
    delivery: Shown,
    steps: Vec<Step>,
    raw: Option<String>,
    /// What looking at it again would do, or why that cannot be said; nothing when its body is not kept.
    preview: Option<Result<ReplayPreview, String>>,
    key: String,
}

/// One delivery, and every step on its way.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    viewer: Option<Viewer>,
    asked: api::shell::Asked,
    Ids(event): Ids<String>,
) -> Result<Page<impl Template>, ApiError> {
    let (record, _) = find(&state, &event).await?;
    let body = state.deliveries.read_body(&record.id, &desk.caller.actor()).await?;
    if let (Some(viewer), Some(_), Some(customer)) = (viewer, &body, &record.customer) {
        // What Stripe sent speaks of whoever pays.
        let (found, _) = search::find(&state, customer, 1).await?;
        if let [Match::Member { member, value, .. }] = found.as_slice()
            && value == customer
        {
            record_read(&state, &viewer, member, "delivery", asked.request_id()).await?;
        }
    }
    // With what has just been kept of this read.
    let (record, steps) = find(&state, &event).await?;
    let raw = body.map(|body| laid_out(&body));
    let staff = Staff::of(&state, steps.iter().filter_map(|step| step.actor.clone()).collect()).await?;
    let steps = steps.into_iter().map(|step| Step::of(step, &staff)).collect();
    let preview = match raw {
        // A delivery that stumbles is looked at because it does.
        Some(_) => {
            let rehearsed = preview_replay(&state, &record.id).await;
            let failed = |error: &ApiError| tracing::warn!(%error, "a delivery could not be rehearsed");
            Some(rehearsed.inspect_err(failed).map_err(|error| error.to_string()))
        }
        None => None,
    };
    let key = hex::encode((state.random)());
    Ok(Page(DeliveryPage { frame: desk.at(PATH), delivery: record.into(), steps, raw, preview, key }))
}

/// Has a delivery looked at again.
pub(crate) async fn redrive(
    State(state): State<ApiState>,
    ActingDesk(desk): ActingDesk,
    Ids(event): Ids<String>,
    fields: Fields,
) -> Result<Redirect, ApiError> {
    let why = sentence(fields.text("why")).ok_or(ApiError::Invalid { field: "why", why: A_LINE.into() })?;
    look_again(&state, &event, desk.caller.actor(), &why).await?;
    let mut path = form_urlencoded::byte_serialize(event.as_bytes()).collect::<String>();
    path.insert_str(0, "/console/deliveries/");
    Ok(Redirect::to(&path))
}
