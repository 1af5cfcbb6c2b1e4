//! Whom or what does somebody mean who typed a word into the one box?

use axum::Json;
use axum::extract::State;
use domain::ids::{MemberId, VideoId};
use projections::search::{FoundBy, FoundMember, Meaning, understand, videos};
use projections::view_store::IdKind;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Params, limit};
use crate::state::ApiState;

/// As much may be typed: the longest address is longer than any id.
const LONGEST: usize = 254;
/// How many videos are found beside members.
const VIDEOS: usize = 5;

/// What is looked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The beginning of an e-mail address, of an external id, or of an id: `mem_`, `cus_`, `sub_`, `cs_`, `grt_`; a whole id of
    /// a payment or an event: `in_`, `pi_`, `ch_`, `evt_`; or the beginning of a video's id, name or id at Vimeo.
    #[param(min_length = 1, max_length = 254, example = "ada@")]
    q: String,
    /// How many, 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 20)]
    limit: Option<String>,
}

/// What a member was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchedKind {
    /// Her own id.
    Member,
    /// A payer of hers.
    Customer,
    /// A subscription of hers.
    Subscription,
    /// Access that was given to her.
    Grant,
    /// A checkout of hers.
    Checkout,
    /// A payment, or an invoice, for a subscription of hers.
    Payment,
    /// An event of the billing provider about a payer of hers.
    Delivery,
    /// Her e-mail address.
    Email,
    /// Her id at the site that asked for her.
    ExternalId,
}

/// Something that was meant, perhaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "object", rename_all = "snake_case")]
#[schema(as = SearchMatch)]
pub enum Match {
    /// A member.
    #[serde(rename = "member_match")]
    Member {
        /// The member.
        #[schema(value_type = String, example = "mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e")]
        member: MemberId,
        /// What she was found by.
        matched: MatchedKind,
        /// That, whole.
        value: String,
        /// Her e-mail address, where one is known.
        #[schema(required = true)]
        email: Option<String>,
    },
    /// A video.
    #[serde(rename = "video_match")]
    Video {
        /// The video.
        #[schema(value_type = String, example = "projections")]
        video: VideoId,
        /// Its name.
        name: String,
    },
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Matches {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// Members first, by what the word says they were meant by, then videos.
    data: Vec<Match>,
    /// Whether there are more; type more of it to find them.
    has_more: bool,
}

/// Looks for members and videos.
///
/// Finds by e-mail address or id, by how these begin; no name of a person is kept. Nothing in `q` is a wildcard.
#[utoipa::path(
    get, path = "/v1/support/members", operation_id = "searchMembers", tag = "Support",
    params(SearchQuery),
    security(("bearer" = ["support.read"])),
    responses(
        (status = 200, description = "Who and what may be meant", body = Matches),
        (status = 422, description = "`invalid`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn search(
    State(state): State<ApiState>,
    _: Allowed<SupportRead>,
    Params(SearchQuery { q, limit: most }): Params<SearchQuery>,
) -> Result<Json<Matches>, ApiError> {
    let most = limit(most.as_deref())?;
    let mut data = find(&state, &q, most + 1).await?;
    let has_more = data.len() > most;
    data.truncate(most);
    Ok(Json(Matches { object: "list", data, has_more }))
}

/// The first `limit` members and videos that may be meant by what somebody typed.
pub async fn find(state: &ApiState, q: &str, limit: usize) -> Result<Vec<Match>, ApiError> {
    if q.is_empty() || q.chars().count() > LONGEST {
        let why = format!("it has to have 1 to {LONGEST} characters").into();
        return Err(ApiError::Invalid { field: "q", why });
    }
    state.history()?;
    let Some(typed) = understand(q) else { return Ok(Vec::new()) };
    let payer = match typed.meaning {
        Meaning::Delivery => state.deliveries.get(&typed.word).await?.and_then(|(held, _)| held.customer),
        _ => None,
    };
    let catalog = state.index.catalog();
    let mut members = state.search.members(&typed, payer.as_deref(), limit).await?;
    // However many members there are, videos have a part of the list, unless it is too short to be shared.
    let room = limit.saturating_sub(members.len()).max(limit / 4).min(VIDEOS);
    let meant = videos(&catalog, &typed, room);
    members.truncate(limit - meant.len());
    let meant =
        meant.into_iter().map(|video| Match::Video { video: video.id.clone(), name: video.name.clone() });
    Ok(members.into_iter().map(Match::from).chain(meant).collect())
}

impl From<FoundMember> for Match {
    fn from(FoundMember { member, by, value, email }: FoundMember) -> Self {
        let matched = match by {
            FoundBy::Id(IdKind::Member) => MatchedKind::Member,
            FoundBy::Id(IdKind::Customer) => MatchedKind::Customer,
            FoundBy::Id(IdKind::Subscription) => MatchedKind::Subscription,
            FoundBy::Id(IdKind::Grant) => MatchedKind::Grant,
            FoundBy::Id(IdKind::Checkout) => MatchedKind::Checkout,
            FoundBy::Payment => MatchedKind::Payment,
            FoundBy::Delivery => MatchedKind::Delivery,
            FoundBy::Email => MatchedKind::Email,
            FoundBy::ExternalId => MatchedKind::ExternalId,
        };
        Self::Member { member, matched, value, email }
    }
}
