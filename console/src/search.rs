//! Whom somebody means who typed a word into the box. The word is sent in a body, and what was found has an address of ids, so
//! that no address of a page holds an e-mail address. Names and addresses are shortened: what is read of a member is on her
//! page, which is recorded.

use api::ApiState;
use api::error::ApiError;
use api::support::search::{Match, find};
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Redirect;
use domain::ids::{CustomerId, MemberId};

use crate::deliveries::{PATH as DELIVERIES, outcome};
use crate::desk::{Desk, Frame};
use crate::form::Fields;
use crate::member::path;
use crate::page::Page;
use crate::time::Moment;

/// How many are found at most.
const MOST: usize = 20;

/// Somebody who was found.
struct Found {
    id: String,
    name: Option<String>,
    email: Option<String>,
}

/// Something that Stripe sent and that names no payer of a member's.
struct Delivery {
    id: String,
    event_type: String,
    received: Moment,
    outcome: &'static str,
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    members: Vec<Found>,
    deliveries: Vec<Delivery>,
    payers: Vec<Found>,
    videos: Vec<(String, String)>,
    more: bool,
}

impl SearchPage {
    fn is_empty(&self) -> bool {
        let Self { members, deliveries, payers, videos, .. } = self;
        members.is_empty() && deliveries.is_empty() && payers.is_empty() && videos.is_empty()
    }
}

/// Looks, and goes on to what was found.
pub(crate) async fn look(
    State(state): State<ApiState>,
    _: Desk,
    fields: Fields,
) -> Result<Redirect, ApiError> {
    let word = fields.filled("q").unwrap_or_default();
    let (found, more) = find(&state, word, MOST).await?;
    match found.as_slice() {
        [Match::Member { member, .. }] => return Ok(Redirect::to(&path(member))),
        [Match::Delivery { delivery, .. }] => {
            return Ok(Redirect::to(&format!("{DELIVERIES}/{}", plain(delivery))));
        }
        _ => {}
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for one in &found {
        match one {
            Match::Member { member, .. } => query.append_pair("member", member.as_str()),
            Match::Delivery { delivery, .. } => query.append_pair("delivery", delivery),
            Match::Payer { customer, .. } => query.append_pair("customer", customer.as_str()),
            Match::Video { video, .. } => query.append_pair("video", video.as_str()),
        };
    }
    if more {
        query.append_pair("more", "yes");
    }
    Ok(Redirect::to(&format!("/console/search?{}", query.finish())))
}

/// An id as a path has it.
fn plain(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

/// What was found.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let (mut members, mut customers) = (Vec::new(), Vec::new());
    let catalog = state.index.catalog();
    let mut page = SearchPage {
        frame: desk.at(""),
        members: Vec::new(),
        deliveries: Vec::new(),
        payers: Vec::new(),
        videos: Vec::new(),
        more: false,
    };
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    for (name, value) in pairs.take(MOST + 1) {
        match &*name {
            "member" => members.extend(MemberId::parse(&value)),
            "customer" => customers.push(CustomerId::from(&*value)),
            "delivery" => {
                if let Ok((held, _)) = api::deliveries::find(&state, &value).await {
                    let (outcome, tone) = outcome(held.outcome);
                    let (id, event_type, received) = (held.id, held.event_type, Moment(held.received_at));
                    page.deliveries.push(Delivery { id, event_type, received, outcome, tone });
                }
            }
            "video" => {
                let video = catalog.video(&value);
                page.videos.extend(video.map(|video| (video.id.to_string(), video.name.clone())));
            }
            "more" => page.more = true,
            _ => {}
        }
    }
    let listed = state.search.listed(members).await?.into_iter().map(Match::from);
    let payers = state.payers.get(&customers).await?.into_iter().map(Match::from);
    for found in listed.chain(payers) {
        match found.shortened("") {
            Match::Member { member, email, name, .. } => {
                page.members.push(Found { id: member.to_string(), name, email });
            }
            Match::Payer { customer, email, name } => {
                page.payers.push(Found { id: customer.to_string(), name, email });
            }
            Match::Delivery { .. } | Match::Video { .. } => {}
        }
    }
    Ok(Page(page))
}
