//! Whom somebody means who typed a word into the box. The word is sent in a body, and what was found has an address of ids, so
//! that no address of a page holds an e-mail address.

use api::ApiState;
use api::cursor::could_be_an_id;
use api::error::ApiError;
use api::support::search::{Match, find};
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Redirect;
use domain::ids::MemberId;

use crate::desk::{Desk, Frame};
use crate::form::Fields;
use crate::member::path;
use crate::page::Page;

/// How many are found at most.
const MOST: usize = 20;

/// Somebody who was found.
struct Found {
    member: String,
    email: Option<String>,
    external_id: Option<String>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    found: Vec<Found>,
    videos: Vec<(String, String)>,
    more: bool,
}

/// Looks, and goes on to what was found.
pub(crate) async fn look(
    State(state): State<ApiState>,
    _: Desk,
    fields: Fields,
) -> Result<Redirect, ApiError> {
    let word = fields.filled("q").unwrap_or_default();
    let found = find(&state, word, MOST + 1).await?;
    if let [Match::Member { member, .. }] = found.as_slice() {
        return Ok(Redirect::to(&path(member)));
    }
    if found.is_empty()
        && word.starts_with("evt_")
        && could_be_an_id(word)
        && state.deliveries.get(word).await?.is_some()
    {
        return Ok(Redirect::to(&format!("/console/deliveries/{word}")));
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for one in found.iter().take(MOST) {
        match one {
            Match::Member { member, .. } => query.append_pair("member", member.as_str()),
            Match::Video { video, .. } => query.append_pair("video", video.as_str()),
        };
    }
    if found.len() > MOST {
        query.append_pair("more", "yes");
    }
    Ok(Redirect::to(&format!("/console/search?{}", query.finish())))
}

/// What was found.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let (mut found, mut videos, mut more) = (Vec::new(), Vec::new(), false);
    let catalog = state.index.catalog();
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    for (name, value) in pairs.take(MOST + 1) {
        match &*name {
            "member" => {
                let Ok(member) = MemberId::parse(&value) else { continue };
                let person = state.people.get(&member).await?;
                let (email, external_id) =
                    person.map_or((None, None), |person| (person.email, person.external_id));
                found.push(Found { member: member.to_string(), email, external_id });
            }
            "video" => {
                videos.extend(catalog.video(&value).map(|video| (video.id.to_string(), video.name.clone())));
            }
            "more" => more = true,
            _ => {}
        }
    }
    Ok(Page(SearchPage { frame: desk.at(""), found, videos, more }))
}
