//! What a member saw in her catalogue at a moment.

use api::ApiState;
use api::error::ApiError;
use api::extract::Ids;
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use domain::ids::PlanId;

use super::{When, called, read};
use crate::desk::{Desk, Frame};
use crate::form::Fields;
use crate::page::Page;
use crate::time::Moment;

#[derive(Template)]
#[template(path = "view.html")]
struct ViewPage {
    frame: Frame,
    member: String,
    name: String,
    at: Moment,
    sentence: String,
    roadmaps: Vec<Roadmap>,
}

struct Roadmap {
    name: String,
    courses: Vec<Course>,
}

struct Course {
    name: String,
    videos: Vec<Video>,
}

struct Video {
    id: String,
    name: String,
    free: bool,
    open: bool,
}

/// Her catalogue as it was for her.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    Ids(id): Ids<String>,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let when = When::of(&query, state.now())?;
    let (chronicle, person) = read(&state, &id).await?;
    let held = chronicle.state(when.as_of());
    let catalog = state.history()?.catalog(when.as_of()).await?;
    // A video is open where any plan that opens it is.
    let open: Vec<PlanId> =
        held.access.iter().filter(|plan| plan.allowed).map(|plan| plan.plan.clone()).collect();
    let open = catalog.set_of(&open);
    let seen = |video: &domain::catalog::Video| {
        let (free, gate) = catalog.gate_of(video);
        Video { id: video.id.to_string(), name: video.name.clone(), free, open: free || open.meets(gate) }
    };
    let courses = |roadmap: &domain::catalog::Roadmap| {
        let courses = catalog.courses_of(&roadmap.id).into_iter().map(|course| Course {
            name: course.name.clone(),
            videos: catalog.videos_of(&course.id).into_iter().map(seen).collect(),
        });
        courses.collect()
    };
    let roadmaps = catalog.roadmaps();
    let roadmaps =
        roadmaps.into_iter().map(|roadmap| Roadmap { name: roadmap.name.clone(), courses: courses(roadmap) });
    Ok(Page(ViewPage {
        frame: desk.at(""),
        name: called(&chronicle.member, person.as_ref()),
        member: chronicle.member.to_string(),
        at: Moment(when.as_of().at),
        sentence: held.sentence,
        roadmaps: roadmaps.collect(),
    }))
}
