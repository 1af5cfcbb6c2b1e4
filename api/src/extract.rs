//! Reading bodies, queries and paths, with errors that say what to send instead; and writing lists.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use domain::clock::can_be_written;
use domain::ids::MemberId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::cursor;
use crate::error::ApiError;
use crate::origins::by_token;
use crate::state::ApiState;

const USUAL_LIMIT: usize = 20;
const HIGHEST_LIMIT: usize = 100;

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        if !says_json(&request) {
            return Err(ApiError::NotJson);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        json(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
pub struct MaybeBody<T>(pub Option<T>);

impl<T: DeserializeOwned> FromRequest<ApiState> for MaybeBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let is_json = says_json(&request);
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(Self(None)),
            (false, true) => json(&bytes).map(|body| Self(Some(body))),
            (false, false) => Err(ApiError::NotJson),
        }
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    match Json::from_bytes(bytes) {
        Ok(Json(body)) => Ok(body),
        Err(JsonRejection::JsonDataError(error)) => Err(ApiError::WrongShape(inner(&error.body_text()))),
        Err(error) => Err(ApiError::MalformedJson(inner(&error.body_text()))),
    }
}

/// The query of an address.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(ApiError::BadQuery(inner(&error.body_text()))),
        }
    }
}

/// The variable parts of a path.
pub struct Ids<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for Ids<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(error) => Err(ApiError::BadQuery(inner(&error.body_text()))),
        }
    }
}

/// A list, or one page of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// The things.
    data: Vec<T>,
    /// Whether there are more after these.
    has_more: bool,
    /// Where the next page starts, if there is one: send it as `cursor`.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

impl<T> List<T> {
    /// The page of the first `limit` of `things`, of which there is one more if more are to come. `id` names the thing
    /// that the next page starts after.
    pub(crate) fn page<R>(
        mut things: Vec<R>,
        limit: usize,
        id: impl Fn(&R) -> String,
        show: impl Fn(R) -> T,
    ) -> Self {
        let has_more = things.len() > limit;
        things.truncate(limit);
        let next_cursor = things.last().filter(|_| has_more).map(|last| cursor::after(&id(last)));
        Self { object: "list", data: things.into_iter().map(show).collect(), has_more, next_cursor }
    }
}

/// The id that a query's cursor holds.
pub(crate) fn cursor(text: Option<&str>) -> Result<Option<String>, ApiError> {
    text.map(|text| cursor::id(text).ok_or(ApiError::BadCursor)).transpose()
}

/// How many things a page has.
pub(crate) fn limit(asked: Option<&str>) -> Result<usize, ApiError> {
    let Some(asked) = asked else { return Ok(USUAL_LIMIT) };
    asked
        .parse()
        .ok()
        .filter(|limit| (1..=HIGHEST_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::BadQuery(format!("limit has to be a number from 1 to {HIGHEST_LIMIT}")))
}

/// A member as a path names her. What could not be an id is nobody's id.
pub(crate) fn member(text: &str) -> Result<MemberId, ApiError> {
    MemberId::parse(text).map_err(|_| ApiError::UnknownMember(text.chars().take(80).collect()))
}

/// A moment as a query names it. In UTC an offset may lead out of the years that an answer can write.
pub(crate) fn moment(name: &'static str, text: &str) -> Result<DateTime<Utc>, ApiError> {
    let moment = DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc());
    moment.filter(can_be_written).ok_or(ApiError::BadTime(name))
}

/// A path of this service and of no other: browsers read `//` and `/\` as the beginning of a host.
pub fn is_path(to: &str) -> bool {
    let plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    plain && to.starts_with('/') && !to.starts_with("//")
}

fn says_json(request: &Request) -> bool {
    // A page of another origin may send what has no type without being asked first; a program with a token is none.
    let Some(value) = request.headers().get(CONTENT_TYPE) else { return by_token(request.headers()) };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// Why a body could not be read.
pub(crate) fn unread(error: &BytesRejection) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge,
        status => ApiError::Other(status),
    }
}

/// What a rejection says after axum's own introduction.
fn inner(text: &str) -> String {
    text.split_once(": ").map_or(text, |(_, inner)| inner).to_owned()
}
