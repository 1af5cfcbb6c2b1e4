//! Where our copy differed from Stripe's: findings of comparisons, from the end of the log back.

use api::ApiState;
use api::error::ApiError;
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use domain::events::{Event, upcasters};
use domain::ports::Position;
use domain::subscription::SubscriptionEvent;

use crate::desk::{Desk, Frame};
use crate::form::Fields;
use crate::page::Page;
use crate::time::Moment;

pub(crate) const PATH: &str = "/console/drift";
/// How much of the log one page looks through.
const LOOKED_THROUGH: u64 = 5_000;
/// How much of it is read at once.
const AT_ONCE: usize = 1_000;

/// A comparison that showed a difference.
pub(crate) struct Finding {
    pub(crate) position: String,
    pub(crate) subscription: String,
    pub(crate) found: Moment,
    pub(crate) repaired: bool,
    pub(crate) sentence: String,
}

/// What a part of the log has of them.
pub(crate) struct Findings {
    /// Latest first.
    pub(crate) found: Vec<Finding>,
    /// Where the part begins.
    pub(crate) after: Position,
}

impl Findings {
    /// Of the last part of the log before `before`, or of its end.
    pub(crate) async fn of(state: &ApiState, before: Option<Position>) -> Result<Self, ApiError> {
        let end = match before {
            Some(before) => before.get().saturating_sub(1),
            None => state.feed.head().await?.get(),
        };
        let after = Position::new(end.saturating_sub(LOOKED_THROUGH));
        let (mut found, mut at, upcasters) = (Vec::new(), after, upcasters());
        while at.get() < end {
            let page = state.feed.read(at, AT_ONCE).await?;
            if page.next == at {
                break;
            }
            at = page.next;
            for recorded in page.events.iter().filter(|recorded| recorded.event_type == "DriftFound") {
                let Ok(event) = Event::read(recorded, &upcasters) else { continue };
                if let (Event::Subscription(id, SubscriptionEvent::DriftFound { drift }), true) =
                    (&event, recorded.position.get() <= end)
                {
                    found.push(Finding {
                        position: recorded.position.to_string(),
                        subscription: id.to_string(),
                        found: Moment(recorded.metadata.recorded_at),
                        repaired: drift.repaired,
                        sentence: event.describe(),
                    });
                }
            }
        }
        found.reverse();
        Ok(Self { found, after })
    }
}

#[derive(Template)]
#[template(path = "drift.html")]
struct DriftPage {
    frame: Frame,
    findings: Findings,
    looked_through: u64,
    older: Option<String>,
}

/// A page of findings.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let before =
        query.filled("before").map(|text| Position::parse(text).ok_or(ApiError::BadPosition)).transpose()?;
    let findings = Findings::of(&state, before).await?;
    let older = (findings.after > Position::START).then(|| format!("{PATH}?before={}", findings.after));
    Ok(Page(DriftPage { frame: desk.at(PATH), findings, looked_through: LOOKED_THROUGH, older }))
}
