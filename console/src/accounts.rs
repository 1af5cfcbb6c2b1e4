//! Who has an account, with which rights, for owners; and inviting somebody. An address is only ever sent in a body.

use api::ApiState;
use api::error::ApiError;
use api::idempotency::IdSource;
use api::shell::Asked;
use api::support::accounts::{OverviewBody, perform, preview, read, role};
use api::support::acts::By;
use api::viewer::Viewer;
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use domain::account::Role;
use domain::ids::MemberId;

use crate::acts::is_a_mistake;
use crate::desk::{ActingDesk, Desk, Frame};
use crate::form::Fields;
use crate::member::path;
use crate::page::{Page, refused};
use crate::time::Moment;

pub(crate) const PATH: &str = "/console/accounts";
pub(crate) const INVITE: &str = "/console/accounts/invite";
/// So many on a page: that each was looked at is recorded.
const PAGE: usize = 25;

/// An account on the page.
struct Row {
    member: String,
    name: String,
    role: Role,
    /// What is out of the ordinary, and whether it is bad.
    tags: Vec<(String, bool)>,
    created: Moment,
    signed_in: Option<Moment>,
}

impl From<OverviewBody> for Row {
    fn from(body: OverviewBody) -> Self {
        let tag = |is_so: bool, words: &str, bad: bool| is_so.then(|| (words.to_owned(), bad));
        let locked = body.lock.map(|lock| match lock.until {
            Some(until) => (format!("locked until {}", Moment(until).text()), true),
            None => ("locked for good".to_owned(), true),
        });
        let tags = [
            locked,
            tag(!body.verified, "invited, address not confirmed", false),
            tag(body.second_factor, "second factor", false),
            tag(body.role > Role::Member && !body.second_factor, "no second factor", true),
        ];
        Self {
            name: body.email.unwrap_or_else(|| body.member.to_string()),
            member: body.member.to_string(),
            role: body.role,
            tags: tags.into_iter().flatten().collect(),
            created: Moment(body.created_at),
            signed_in: body.signed_in_at.map(Moment),
        }
    }
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    frame: Frame,
    roles: Vec<(Role, bool)>,
    rows: Vec<Row>,
    more: Option<String>,
}

/// A page of accounts, by the ids of their members.
pub(crate) async fn list(
    State(state): State<ApiState>,
    desk: Desk,
    viewer: Viewer,
    asked: Asked,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    desk.caller.keeps_accounts()?;
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let wanted = query.filled("role").map(role).transpose()?;
    let after = query.filled("after").map(MemberId::parse).transpose().map_err(|_| ApiError::BadCursor)?;
    let mut accounts = read(&state, &viewer, &asked, wanted, after.as_ref(), PAGE).await?;
    let more = accounts.len() > PAGE;
    accounts.truncate(PAGE);
    let more = accounts.last().filter(|_| more).map(|last| {
        let mut next = form_urlencoded::Serializer::new(String::new());
        next.append_pair("after", last.member.as_str());
        if let Some(role) = wanted {
            next.append_pair("role", role.as_str());
        }
        format!("{PATH}?{}", next.finish())
    });
    let roles = Role::ALL.map(|role| (role, wanted == Some(role))).to_vec();
    let rows = accounts.into_iter().map(Row::from).collect();
    Ok(Page(AccountsPage { frame: desk.at(PATH), roles, rows, more }))
}

#[derive(Template)]
#[template(path = "invite.html")]
struct InvitePage {
    frame: Frame,
    email: String,
    roles: Vec<(Role, bool)>,
    role: Role,
    typed: String,
    /// What would come of it.
    sentence: Option<String>,
    mistake: Option<String>,
    key: String,
}

impl InvitePage {
    fn of(state: &ApiState, desk: Desk, fields: &Fields, role: Role) -> Self {
        Self {
            frame: desk.at(PATH),
            email: fields.text("email").to_owned(),
            roles: Role::ALL.map(|one| (one, one == role)).to_vec(),
            role,
            typed: fields.text("words").to_owned(),
            sentence: None,
            mistake: None,
            key: hex::encode((state.random)()),
        }
    }
}

/// Asks whom to invite.
pub(crate) async fn form(
    State(state): State<ApiState>,
    ActingDesk(desk): ActingDesk,
) -> Result<Page<impl Template>, ApiError> {
    desk.caller.keeps_accounts()?;
    Ok(Page(InvitePage::of(&state, desk, &Fields::default(), Role::Support)))
}

/// Shows what would come of an invitation, and carries it out where that has been seen: then the form has a key.
pub(crate) async fn invite(
    State(state): State<ApiState>,
    ActingDesk(desk): ActingDesk,
    asked: Asked,
    ids: IdSource,
    fields: Fields,
) -> Result<Response, ApiError> {
    desk.caller.keeps_accounts()?;
    let role = role(fields.filled("role").unwrap_or_default())?;
    let email = fields.filled("email").unwrap_or_default();
    let done = if fields.filled("key").is_some() {
        let by = By::new(&desk.caller, &asked, ids);
        perform(&state, &by, email, role, fields.text("words")).await
    } else {
        preview(&state, email, role).await
    };
    let mut page = InvitePage::of(&state, desk, &fields, role);
    match done {
        Ok(body) => {
            if let (Some(member), Some(position)) = (body.member, body.position) {
                return Ok(Redirect::to(&format!("{}?done={position}", path(&member))).into_response());
            }
            page.sentence = Some(body.sentence);
            Ok(Page(page).into_response())
        }
        Err(error) if is_a_mistake(&error) => {
            page.mistake = Some(error.to_string());
            Ok(refused(error, Page(page)))
        }
        Err(error) => Err(error),
    }
}
