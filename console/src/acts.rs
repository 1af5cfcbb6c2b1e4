//! What staff does for a member: a page that asks and shows what would come of it, then a form that does it, once.

use api::ApiState;
use api::auth::Caller;
use api::error::ApiError;
use api::extract::Ids;
use api::idempotency::IdSource;
use api::shell::Asked;
use api::support::accounts::role;
use api::support::acts::compare::{self, ComparisonPreview};
use api::support::acts::{Act, ActBody, By, Until, perform, preview};
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use domain::account::{Role, StaffLetter};
use domain::ids::MemberId;
use domain::member::ErasedBecause;
use domain::ports::Position;
use projections::past::{AsOf, Chronicle};

use crate::desk::{ActingDesk, Desk, Frame};
use crate::form::Fields;
use crate::member::{called, moment, path, read};
use crate::page::{Page, refused};
use crate::time::Moment;

/// The acts that are offered for a member: each with its name in the address and what it is called.
const OFFERED: [(&str, &str); 12] = [
    ("grant", "Give access without a payment"),
    ("extend_grace", "Give more time to pay"),
    ("add_note", "Write a note"),
    ("link", "Link a Stripe customer"),
    ("unlink", "Unlink a Stripe customer"),
    ("resync", "Compare with Stripe now"),
    ("send_letter", "Send a letter again"),
    ("end_sessions", "End her sessions"),
    ("lock", "Lock her account"),
    ("unlock", "Unlock her account"),
    ("change_role", "Give her another role"),
    ("erase", "Erase her"),
];
/// Those that begin at what they are about.
const OTHERS: [(&str, &str); 3] = [
    ("move_grant", "Let a grant end at another moment"),
    ("revoke_grant", "Take a grant back"),
    ("withdraw_note", "Withdraw a note"),
];

/// What a member's page offers. Nothing is done for somebody who was erased, but what Stripe has of her can still be compared.
pub(crate) fn offered(erased: bool, by_owner: bool, locked: bool) -> Vec<(&'static str, &'static str)> {
    let fits = |(act, _): &(&str, &str)| match *act {
        "resync" => true,
        _ if erased => false,
        "unlock" => locked,
        "change_role" => by_owner,
        _ => true,
    };
    OFFERED.into_iter().filter(fits).collect()
}

/// A box of a form.
struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    control: Control,
}

enum Control {
    Select(Vec<(String, String, bool)>),
    Moment(String),
    Text(String),
    Tick(bool),
}

/// What words an act takes along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    None,
    Reason,
    Note,
}

/// What would come of it.
struct Preview {
    sentence: String,
    at: Moment,
    opens: usize,
    opening: String,
    closes: usize,
    closing: String,
    /// What it looks at, where it only looks.
    compares: Vec<String>,
    warnings: Vec<String>,
    nothing: bool,
}

impl From<ActBody> for Preview {
    fn from(body: ActBody) -> Self {
        let decisions = body.decisions;
        let names = |videos: Vec<api::support::acts::NamedVideo>| {
            videos.into_iter().map(|video| video.name).collect::<Vec<_>>().join(", ")
        };
        Self {
            sentence: body.sentence,
            at: Moment(decisions.at),
            opens: decisions.opens,
            opening: names(decisions.opening),
            closes: decisions.closes,
            closing: names(decisions.closing),
            compares: Vec::new(),
            warnings: body.warnings.into_iter().map(|warning| warning.text).collect(),
            nothing: body.events.is_empty(),
        }
    }
}

impl Preview {
    fn comparing(body: ComparisonPreview, now: DateTime<Utc>) -> Self {
        Self {
            sentence: body.sentence,
            at: Moment(now),
            opens: 0,
            opening: String::new(),
            closes: 0,
            closing: String::new(),
            compares: body.compares.into_iter().map(|compares| compares.sentence).collect(),
            warnings: body.warnings.into_iter().map(|warning| warning.text).collect(),
            nothing: false,
        }
    }
}

#[derive(Template)]
#[template(path = "act.html")]
struct ActPage {
    frame: Frame,
    member: String,
    name: String,
    act: String,
    title: &'static str,
    asks: Vec<Field>,
    hidden: Vec<(String, String)>,
    preview: Option<Preview>,
    words: Words,
    typed: String,
    mistake: Option<String>,
    grave: bool,
    key: String,
}

fn title(act: &str) -> Option<&'static str> {
    OFFERED.iter().chain(&OTHERS).find(|(name, _)| *name == act).map(|(_, title)| *title)
}

/// What the form asks for; nothing while something is missing.
fn asked_for(act: &str, fields: &Fields) -> Result<Option<Act>, ApiError> {
    let until = || -> Result<Option<Until>, ApiError> {
        if fields.filled("forever").is_some() {
            return Ok(Some(Until::Forever));
        }
        fields.filled("until").map(|text| moment("until", text).map(Until::At)).transpose()
    };
    let known = |name: &'static str, why: &'static str| ApiError::Invalid { field: name, why: why.into() };
    Ok(match act {
        "grant" => match (fields.filled("plan"), until()?) {
            (Some(plan), Some(until)) => Some(Act::Grant { plan: plan.into(), until }),
            _ => None,
        },
        "move_grant" => match (fields.filled("grant"), until()?) {
            (Some(grant), Some(until)) => Some(Act::MoveGrant { grant: grant.into(), until }),
            _ => None,
        },
        "revoke_grant" => fields.filled("grant").map(|grant| Act::RevokeGrant { grant: grant.into() }),
        "extend_grace" => {
            let until = fields.filled("until").map(|text| moment("until", text)).transpose()?;
            let subscription = fields.filled("subscription").map(Into::into);
            until.map(|until| Act::ExtendGrace { subscription, until })
        }
        "add_note" => Some(Act::AddNote),
        "withdraw_note" => fields.filled("note").map(|note| Act::WithdrawNote { note: note.into() }),
        "link" => fields.filled("customer").map(|customer| Act::Link { customer: customer.into() }),
        "unlink" => fields.filled("customer").map(|customer| Act::Unlink { customer: customer.into() }),
        "send_letter" => match fields.filled("letter") {
            None => None,
            Some(letter) => {
                let found = StaffLetter::ALL.into_iter().find(|known| known.as_str() == letter);
                Some(Act::SendLetter(found.ok_or_else(|| known("letter", "no letter is called that"))?))
            }
        },
        "end_sessions" => match fields.filled("session") {
            None => None,
            Some("all") => Some(Act::EndSessions { session: None }),
            Some(session) => Some(Act::EndSessions { session: Some(session.into()) }),
        },
        "lock" => until()?.map(|until| Act::Lock { until }),
        "unlock" => Some(Act::Unlock),
        "change_role" => fields.filled("role").map(role).transpose()?.map(Act::ChangeRole),
        "erase" => match fields.filled("because") {
            None => None,
            Some(because) => {
                let found = ErasedBecause::ALL.into_iter().find(|known| known.as_str() == because);
                Some(Act::Erase(found.ok_or_else(|| known("because", "it is none of the reasons"))?))
            }
        },
        _ => None,
    })
}

/// What has to be known before.
async fn asks(
    state: &ApiState,
    chronicle: &Chronicle,
    act: &str,
    fields: &Fields,
) -> Result<Vec<Field>, ApiError> {
    let held = chronicle.state(AsOf::at(state.now()));
    let select = |name: &'static str, label, options: Vec<(String, String)>| {
        let chosen = fields.filled(name);
        let options = options.into_iter().map(|(value, words)| {
            let is_chosen = chosen == Some(&value);
            (value, words, is_chosen)
        });
        Field { name, label, hint: "", control: Control::Select(options.collect()) }
    };
    let until = |hint| Field {
        name: "until",
        label: "Until",
        hint,
        control: Control::Moment(fields.text("until").to_owned()),
    };
    let forever = Field {
        name: "forever",
        label: "For good",
        hint: "without an end, until it is taken back",
        control: Control::Tick(fields.filled("forever").is_some()),
    };
    let grants = || {
        let grants = held.sources.iter().filter(|source| source.kind.as_str() == "grant");
        grants.map(|grant| (grant.id.clone(), format!("{}: {}", grant.id, grant.sentence))).collect()
    };
    Ok(match act {
        "grant" => {
            let catalog = state.index.catalog();
            let mut plans: Vec<_> = catalog.plans().collect();
            plans.sort_by_key(|plan| plan.rank);
            let plans = plans.into_iter().map(|plan| (plan.id.to_string(), plan.name.clone())).collect();
            vec![select("plan", "Plan", plans), until("UTC"), forever]
        }
        "move_grant" => vec![select("grant", "Grant", grants()), until("UTC"), forever],
        "revoke_grant" => vec![select("grant", "Grant", grants())],
        "extend_grace" => {
            let mut owed = vec![(String::new(), "The one that is past due".to_owned())];
            let bought = held.sources.iter().filter(|source| source.kind.as_str() == "subscription");
            owed.extend(
                bought.map(|source| (source.id.clone(), format!("{}: {}", source.id, source.status))),
            );
            vec![select("subscription", "Subscription", owed), until("UTC")]
        }
        "withdraw_note" => {
            let notes = held.notes.iter().map(|note| (note.remark.to_string(), note.text.clone())).collect();
            vec![select("note", "Note", notes)]
        }
        "link" => vec![Field {
            name: "customer",
            label: "Customer",
            hint: "Stripe's id, cus_…",
            control: Control::Text(fields.text("customer").to_owned()),
        }],
        "unlink" => {
            let payers = held.customers.iter().map(|payer| payer.customer.to_string());
            vec![select("customer", "Customer", payers.map(|id| (id.clone(), id)).collect())]
        }
        "send_letter" => {
            let letters =
                StaffLetter::ALL.map(|letter| (letter.as_str().to_owned(), letter.words().to_owned()));
            vec![select("letter", "Letter", letters.to_vec())]
        }
        "end_sessions" => {
            let mut sessions = vec![("all".to_owned(), "All of hers".to_owned())];
            if let Some(accounts) = &state.accounts {
                for session in accounts.sessions(&chronicle.member).await? {
                    let device = session.device.unwrap_or_else(|| "unknown device".to_owned());
                    let used = Moment(session.last_used_at).text();
                    sessions.push((session.id.to_string(), format!("{device}, last used {used}")));
                }
            }
            vec![select("session", "Session", sessions)]
        }
        "lock" => {
            vec![until("UTC"), Field { hint: "until it is taken off", ..forever }]
        }
        "change_role" => {
            let role = match &state.accounts {
                Some(accounts) => accounts.account(&chronicle.member).await?.map(|account| account.role),
                None => None,
            };
            let chosen = fields.filled("role").map_or(role.unwrap_or_default().as_str(), |role| role);
            let option = |role: Role| (role.to_string(), role.to_string(), role.as_str() == chosen);
            let control = Control::Select(Role::ALL.map(option).to_vec());
            vec![Field { name: "role", label: "Role", hint: "", control }]
        }
        "erase" => {
            let reasons =
                ErasedBecause::ALL.map(|because| (because.as_str().to_owned(), because.words().to_owned()));
            vec![select("because", "Because", reasons.to_vec())]
        }
        _ => Vec::new(),
    })
}

fn words_of(act: &str) -> Words {
    match act {
        "erase" => Words::None,
        "add_note" => Words::Note,
        _ => Words::Reason,
    }
}

/// Lays a page out: what is asked, and what would come of what was said.
async fn page(
    state: &ApiState,
    desk: Desk,
    id: &str,
    act: &str,
    fields: &Fields,
    mistake: Option<String>,
) -> Result<ActPage, ApiError> {
    let title =
        title(act).ok_or_else(|| ApiError::NoSuchPath(format!("/console/members/{id}/acts/{act}")))?;
    let (chronicle, person) = read(state, id).await?;
    let (member, caller): (_, &Caller) = (&chronicle.member, &desk.caller);
    let asks = asks(state, &chronicle, act, fields).await?;
    let (mut said, mut shown) = (mistake, None);
    let planned = if act == "resync" {
        let looked = compare::preview(state, member).await;
        looked.map(|body| Some(Preview::comparing(body, state.now())))
    } else {
        match asked_for(act, fields) {
            Ok(Some(wanted)) => {
                preview(state, caller, member, &wanted).await.map(|body| Some(Preview::from(body)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    };
    match planned {
        Ok(planned) => shown = planned,
        Err(error) if is_a_mistake(&error) => said = said.or_else(|| Some(error.to_string())),
        Err(error) => return Err(error),
    }
    let names = asks.iter().map(|field| field.name);
    let hidden = names.filter_map(|name| Some((name.to_owned(), fields.filled(name)?.to_owned()))).collect();
    Ok(ActPage {
        frame: desk.at(""),
        name: called(member, person.as_ref()),
        member: member.to_string(),
        act: act.to_owned(),
        title,
        asks,
        hidden,
        preview: shown,
        words: words_of(act),
        typed: fields.text("words").to_owned(),
        mistake: said,
        grave: matches!(act, "erase" | "revoke_grant" | "unlink" | "end_sessions" | "lock" | "change_role"),
        key: hex::encode((state.random)()),
    })
}

/// Whether somebody at the console can do it otherwise, and nothing is the matter with the service.
pub(crate) fn is_a_mistake(error: &ApiError) -> bool {
    error.status().is_client_error() && !matches!(error, ApiError::UnknownMember(_))
}

/// Asks, and shows what would come of it. Changes nothing.
pub(crate) async fn show(
    State(state): State<ApiState>,
    ActingDesk(desk): ActingDesk,
    Ids((id, act)): Ids<(String, String)>,
    uri: Uri,
) -> Result<Page<impl Template>, ApiError> {
    let fields = Fields::read(uri.query().unwrap_or_default().as_bytes());
    page(&state, desk, &id, &act, &fields, None).await.map(Page)
}

/// Does it, and goes on to her page, which shows it.
pub(crate) async fn carry_out(
    State(state): State<ApiState>,
    ActingDesk(desk): ActingDesk,
    asked: Asked,
    ids: IdSource,
    Ids((id, act)): Ids<(String, String)>,
    fields: Fields,
) -> Result<Response, ApiError> {
    let member = crate::member::member(&id)?;
    let by = By::new(&desk.caller, &asked, ids);
    match done(&state, &by, &member, &act, &fields).await {
        Ok(position) => {
            let position = position.map(|position| position.to_string()).unwrap_or_default();
            Ok(Redirect::to(&format!("{}?done={position}", path(&member))).into_response())
        }
        Err(error) if is_a_mistake(&error) => {
            let page = page(&state, desk, &id, &act, &fields, Some(error.to_string())).await?;
            Ok(refused(error, Page(page)))
        }
        Err(error) => Err(error),
    }
}

async fn done(
    state: &ApiState,
    by: &By,
    member: &MemberId,
    act: &str,
    fields: &Fields,
) -> Result<Option<Position>, ApiError> {
    if act == "resync" {
        let (_, _, position) = compare::perform(state, by, member, Some(fields.text("words"))).await?;
        return Ok(Some(position));
    }
    let missing = || ApiError::Invalid { field: "form", why: "something was left out".into() };
    let act = asked_for(act, fields)?.ok_or_else(missing)?;
    Ok(perform(state, by, member, &act, fields.text("words")).await?.position)
}
