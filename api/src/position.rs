//! Reading one's own writes: a request that carries a position is answered from at least that position.

use std::time::Duration;

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::{IntoResponseParts, Response, ResponseParts};
use domain::ports::Position;
use projections::runner::Progress;
use serde::Serializer;

use crate::admission::Admission;
use crate::auth::is_known;
use crate::error::ApiError;
use crate::state::ApiState;

/// The header that carries a position, both ways.
pub const HEADER: HeaderName = HeaderName::from_static("membership-position");

/// How long a request waits for its position.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The position that an answer speaks of, where it is later than what the request found.
pub(crate) struct AnsweredAt(pub(crate) Position);

impl IntoResponseParts for AnsweredAt {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.headers_mut().insert(HEADER, value(self.0));
        Ok(parts)
    }
}

/// Waits for the position that a request carries, if it carries one.
pub(crate) async fn wait(state: &ApiState, admission: &Admission, request: &Parts) -> Result<(), ApiError> {
    if !request.headers.contains_key(HEADER) {
        return Ok(());
    }
    // Health is told at once, and strangers, whom the routes refuse, do not get to hold requests open.
    if matches!(request.uri.path(), "/healthz" | "/readyz" | "/metrics") || !is_known(request, state) {
        return Ok(());
    }
    if has_come(state, request)? {
        return Ok(());
    }
    let _place = admission.wait()?;
    reach(state, request).await
}

/// Whether what a request asks for is applied already.
fn has_come(state: &ApiState, request: &Parts) -> Result<bool, ApiError> {
    let Some(wanted) = wanted(&request.headers)? else { return Ok(true) };
    let applied = |progress: &Progress| progress.applied().is_some_and(|applied| applied >= wanted);
    let both = reads_the_directory(&request.uri);
    Ok(applied(&state.index_progress) && (!both || applied(&state.directory_progress)))
}

/// The position that a request carries.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Option<Position>, ApiError> {
    let Some(header) = headers.get(HEADER) else { return Ok(None) };
    header.to_str().ok().and_then(Position::parse).map(Some).ok_or(ApiError::BadPosition)
}

/// Waits for the position of a request, whoever asks.
pub(crate) async fn reach(state: &ApiState, request: &Parts) -> Result<(), ApiError> {
    let Some(wanted) = wanted(&request.headers)? else { return Ok(()) };
    let both = reads_the_directory(&request.uri);
    let reached = |progress: &Progress| {
        let progress = progress.clone();
        async move { progress.wait_for(wanted, PATIENCE).await }
    };
    let reached = if both {
        let (index, directory) =
            tokio::join!(reached(&state.index_progress), reached(&state.directory_progress));
        index && directory
    } else {
        reached(&state.index_progress).await
    };
    if reached { Ok(()) } else { Err(ApiError::Behind) }
}

/// Puts the position on an answer: what was applied before it was made, or what it says itself when that is later.
pub(crate) fn stamp(response: &mut Response, applied: Position) {
    let own = of(response.headers()).filter(|own| *own > applied);
    if own.is_none() {
        response.headers_mut().insert(HEADER, value(applied));
    }
}

/// Writes a position as its token.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
pub(crate) fn token<S: Serializer>(position: &Position, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(position)
}

/// A position that may be missing, as answers have it.
#[expect(clippy::ref_option, reason = "serde hands fields over by reference")]
pub(crate) fn maybe<S: Serializer>(position: &Option<Position>, serializer: S) -> Result<S::Ok, S::Error> {
    match position {
        Some(position) => serializer.collect_str(position),
        None => serializer.serialize_none(),
    }
}

fn of(headers: &HeaderMap) -> Option<Position> {
    Position::parse(headers.get(HEADER)?.to_str().ok()?)
}

fn value(position: Position) -> HeaderValue {
    HeaderValue::try_from(position.to_string()).unwrap_or_else(|_| HeaderValue::from_static("p-0"))
}

fn reads_the_directory(uri: &Uri) -> bool {
    uri.path().starts_with("/v1/support/") || asks_about_a_moment(uri)
}

/// Whether the answer is about a moment that the request names.
pub(crate) fn asks_about_a_moment(uri: &Uri) -> bool {
    names(uri, "at")
}

/// Whether the request waits for a purchase that it names.
pub(crate) fn comes_from_a_checkout(uri: &Uri) -> bool {
    names(uri, "session_id")
}

/// Whether a query has such a field, read as the routes read it: names may be escaped. One that cannot be read is taken to
/// have any.
fn names(uri: &Uri, what: &str) -> bool {
    uri.query().is_some_and(|_| {
        Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_or(true, |Query(fields)| fields.iter().any(|(name, _)| name == what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_however_its_name_is_written() {
        for path in [
            "/?session_id=cs_1",
            "/?a=b&session_id=",
            "/?%73ession_id=cs_1",
            "/?session%5Fid=cs_1",
            "/?session_id",
        ] {
            assert!(comes_from_a_checkout(&path.parse().unwrap()), "{path}");
        }
        for path in ["/?at=now", "/?%61t=now", "/?a%74=now"] {
            assert!(asks_about_a_moment(&path.parse().unwrap()), "{path}");
        }
        for path in ["/", "/?", "/?session_ids=1", "/?what=at=now", "/session_id=cs_1"] {
            let uri = path.parse().unwrap();
            assert!(!comes_from_a_checkout(&uri) && !asks_about_a_moment(&uri), "{path}");
        }
    }
}
