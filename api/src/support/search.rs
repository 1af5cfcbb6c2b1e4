//! Whom or what does somebody mean who typed a word into the one box?

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::{CustomerId, MemberId, VideoId};
use domain::ports::PayerRecord;
use projections::search::{Found, FoundBy, FoundMember, Meaning, ToldOf, understand, videos};
use projections::view_store::IdKind;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Allowed, SupportRead};
use crate::error::{ApiError, Problem};
use crate::extract::{Params, limit};
use crate::state::{ApiState, DeliveryOutcome, DeliveryRecord, ToldKey};

/// As much may be typed: the longest address is longer than any id.
const LONGEST: usize = 254;
/// How many videos are found beside members.
const VIDEOS: usize = 5;

/// What is looked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The beginning of an e-mail address, also of the one that bills go to; of words of a name, in any order and however they
    /// are accented; of an external id; of an id: `mem_`, `cus_`, `sub_`, `cs_`, `grt_`, `in_`, `pi_`, `ch_`, `evt_`; or of a
    /// video's id, name or id at Vimeo.
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
    /// The address that bills go to.
    BillingEmail,
    /// Her name, as the billing provider has it.
    Name,
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
        /// Her name, where the billing provider said one.
        #[schema(required = true)]
        name: Option<String>,
    },
    /// A payer who is nobody's.
    #[serde(rename = "payer_match")]
    Payer {
        /// The payer.
        #[schema(value_type = String, example = "cus_NffrFeUfNV2Hib")]
        customer: CustomerId,
        /// The address that bills go to.
        #[schema(required = true)]
        email: Option<String>,
        /// Her name.
        #[schema(required = true)]
        name: Option<String>,
    },
    /// An event of the billing provider that names no payer of a member's, as disputes do not.
    #[serde(rename = "delivery_match")]
    Delivery {
        /// Its id.
        #[schema(example = "evt_1MqqbKLt4dXK03v5qaIbiNCC")]
        delivery: String,
        /// Its type.
        #[serde(rename = "type")]
        #[schema(example = "charge.dispute.created")]
        event_type: String,
        /// When it first arrived.
        received_at: DateTime<Utc>,
        /// What became of it.
        outcome: DeliveryOutcome,
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
    /// Members first, by what the word says they were meant by, then events and payers that are nobody's, then videos.
    data: Vec<Match>,
    /// Whether there may be more; type more of it to find them.
    has_more: bool,
}

/// Looks for members and videos.
///
/// Finds by e-mail address, name or id, by how these begin. Nothing in `q` is a wildcard. Somebody of the staff sees shortened
/// names and addresses, but for what was typed whole: what she reads of a member she opens, and that is recorded.
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
    Allowed { caller, .. }: Allowed<SupportRead>,
    Params(SearchQuery { q, limit: most }): Params<SearchQuery>,
) -> Result<Json<Matches>, ApiError> {
    let (mut data, has_more) = find(&state, &q, limit(most.as_deref())?).await?;
    if caller.is_staff() {
        data = data.into_iter().map(|found| found.shortened(&q)).collect();
    }
    Ok(Json(Matches { object: "list", data, has_more }))
}

/// The first `limit` members and videos that may be meant by what somebody typed, and whether there may be more.
pub async fn find(state: &ApiState, q: &str, limit: usize) -> Result<(Vec<Match>, bool), ApiError> {
    if q.is_empty() || q.chars().count() > LONGEST {
        let why = format!("it has to have 1 to {LONGEST} characters").into();
        return Err(ApiError::Invalid { field: "q", why });
    }
    state.history()?;
    let Some(typed) = understand(q) else { return Ok((Vec::new(), false)) };
    let key = match typed.meaning {
        Meaning::Delivery => Some(ToldKey::Event),
        Meaning::Payment | Meaning::Id(IdKind::Checkout) => Some(ToldKey::Subject),
        Meaning::Id(_) | Meaning::Words => None,
    };
    let told = match key {
        Some(key) => state.deliveries.find(key, &typed.word, limit + 1).await?,
        None => Vec::new(),
    };
    let told_of: Vec<ToldOf> = told
        .iter()
        .map(|(id, held)| ToldOf { id: id.clone(), payer: held.customer.as_deref().map(Into::into) })
        .collect();
    let Found { members, unclaimed, payers, mut more } = state.search.find(&typed, &told_of, limit).await?;
    let unclaimed = told.into_iter().filter(|(id, _)| unclaimed.contains(id)).map(|(_, held)| held);
    let mut data: Vec<Match> = members.into_iter().map(Match::from).collect();
    data.extend(unclaimed.map(Match::from));
    data.extend(payers.into_iter().map(Match::from));
    // However many members there are, videos have a part of the list, unless it is too short to be shared.
    let room = limit.saturating_sub(data.len()).max(limit / 4).min(VIDEOS);
    let catalog = state.index.catalog();
    let mut meant = videos(&catalog, &typed, room + 1);
    more |= meant.len() > room;
    meant.truncate(room);
    more |= data.len() > limit - meant.len();
    data.truncate(limit - meant.len());
    let meant =
        meant.into_iter().map(|video| Match::Video { video: video.id.clone(), name: video.name.clone() });
    data.extend(meant);
    Ok((data, more))
}

/// An address of which no more is told than tells it from others in a short list.
pub fn short_address(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    if domain.is_empty() { format!("{first}…") } else { format!("{first}…@{domain}") }
}

/// A name of which no more is told: its first word, and how the others begin.
pub fn short_name(name: &str) -> String {
    let mut words = name.split_whitespace();
    let mut short = words.next().unwrap_or_default().to_owned();
    for word in words {
        short.push(' ');
        short.extend(word.chars().take(1));
        short.push('.');
    }
    short
}

impl Match {
    /// The same for somebody whose reads are recorded when she opens what she found: what she typed is no secret to her.
    #[must_use]
    pub fn shortened(mut self, typed: &str) -> Self {
        let known = |text: &str| text.to_lowercase() == typed.trim().to_lowercase();
        let short = |text: &mut String, shorten: &dyn Fn(&str) -> String| {
            if !known(text) {
                *text = shorten(text);
            }
        };
        let begun =
            |text: &str| format!("{}…", text.chars().take(typed.trim().chars().count()).collect::<String>());
        let named = match &mut self {
            Self::Member { matched, value, email, name, .. } => {
                match matched {
                    MatchedKind::Email | MatchedKind::BillingEmail => short(value, &short_address),
                    MatchedKind::Name => short(value, &short_name),
                    MatchedKind::ExternalId => short(value, &begun),
                    _ => {}
                }
                Some((email, name))
            }
            Self::Payer { email, name, .. } => Some((email, name)),
            Self::Delivery { .. } | Self::Video { .. } => None,
        };
        if let Some((email, name)) = named {
            if let Some(email) = email {
                short(email, &short_address);
            }
            if let Some(name) = name {
                short(name, &short_name);
            }
        }
        self
    }
}

impl From<PayerRecord> for Match {
    fn from(PayerRecord { customer, name, email }: PayerRecord) -> Self {
        Self::Payer { customer, email, name }
    }
}

impl From<DeliveryRecord> for Match {
    fn from(held: DeliveryRecord) -> Self {
        let DeliveryRecord { id: delivery, event_type, received_at, outcome, .. } = held;
        Self::Delivery { delivery, event_type, received_at, outcome }
    }
}

impl From<FoundMember> for Match {
    fn from(FoundMember { member, by, value, email, name }: FoundMember) -> Self {
        let matched = match by {
            FoundBy::Id(IdKind::Member) => MatchedKind::Member,
            FoundBy::Id(IdKind::Customer) => MatchedKind::Customer,
            FoundBy::Id(IdKind::Subscription) => MatchedKind::Subscription,
            FoundBy::Id(IdKind::Grant) => MatchedKind::Grant,
            FoundBy::Id(IdKind::Checkout) => MatchedKind::Checkout,
            FoundBy::Payment => MatchedKind::Payment,
            FoundBy::Delivery => MatchedKind::Delivery,
            FoundBy::Email => MatchedKind::Email,
            FoundBy::BillingEmail => MatchedKind::BillingEmail,
            FoundBy::Name => MatchedKind::Name,
            FoundBy::ExternalId => MatchedKind::ExternalId,
        };
        Self::Member { member, matched, value, email, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_staff_sees_of_somebody_found_is_short_but_for_what_she_typed() {
        let found = |matched, value: &str| Match::Member {
            member: "mem_ada".into(),
            matched,
            value: value.to_owned(),
            email: Some("ada.l@example.com".to_owned()),
            name: Some("Ada  King Lovelace".to_owned()),
        };
        let short = |value: &str, email: &str, name: &str, matched| Match::Member {
            member: "mem_ada".into(),
            matched,
            value: value.to_owned(),
            email: Some(email.to_owned()),
            name: Some(name.to_owned()),
        };
        let (email, name, id) = (MatchedKind::Email, MatchedKind::Name, MatchedKind::ExternalId);
        for (found, typed, shown) in [
            (
                found(email, "ada.l@example.com"),
                "ada.",
                short("a…@example.com", "a…@example.com", "Ada K. L.", email),
            ),
            (
                found(email, "ada.l@example.com"),
                " ADA.L@example.com",
                short("ada.l@example.com", "ada.l@example.com", "Ada K. L.", email),
            ),
            (
                found(name, "Ada  King Lovelace"),
                "love",
                short("Ada K. L.", "a…@example.com", "Ada K. L.", name),
            ),
            (found(id, "ada-lovelace"), "ada", short("ada…", "a…@example.com", "Ada K. L.", id)),
            (
                found(MatchedKind::Customer, "cus_1"),
                "cus_",
                short("cus_1", "a…@example.com", "Ada K. L.", MatchedKind::Customer),
            ),
        ] {
            assert_eq!(found.shortened(typed), shown, "{typed}");
        }
    }
}
