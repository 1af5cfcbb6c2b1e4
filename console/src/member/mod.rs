//! One member: how she stands, now or then, and everything that happened to her.

pub(crate) mod diff;
pub(crate) mod event;
pub(crate) mod explain;
mod lanes;
pub(crate) mod print;
mod story;
pub(crate) mod view;

use api::ApiState;
use api::error::ApiError;
use api::extract::Ids;
use api::support::{deliveries_seen, payers_of};
use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SubsecRound, TimeDelta, Utc};
use domain::clock::can_be_written;
use domain::ids::{CustomerId, MemberId};
use domain::ports::{PersonRecord, Position};
use projections::past::{AsOf, Chronicle, ExplainedSource, MemberState};

use crate::acts::offered;
use crate::deliveries::PATH as DELIVERIES;
use crate::desk::{Desk, Frame};
use crate::form::Fields;
use crate::page::Page;
use crate::time::Moment;
use crate::who::{Staff, Who};
use lanes::Lanes;
use story::{Asked, Told};

/// Where a member's page is.
pub(crate) fn path(member: &MemberId) -> String {
    format!("/console/members/{member}")
}

/// A member as a path names her.
pub(crate) fn member(id: &str) -> Result<MemberId, ApiError> {
    MemberId::parse(id).map_err(|_| ApiError::UnknownMember(id.chars().take(80).collect()))
}

/// A moment as a box or an address has it; without a zone it is UTC.
pub(crate) fn moment(name: &'static str, text: &str) -> Result<DateTime<Utc>, ApiError> {
    let with_zone = DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc());
    let bare = || {
        let of = |format| NaiveDateTime::parse_from_str(text, format).ok();
        let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        of("%Y-%m-%dT%H:%M:%S%.f")
            .or_else(|| of("%Y-%m-%dT%H:%M"))
            .or_else(day)
            .map(|moment| moment.and_utc())
    };
    with_zone.or_else(bare).filter(can_be_written).ok_or(ApiError::BadTime(name))
}

/// Which moment an address asks about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct When {
    /// What was true then; now when nothing is said.
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) known_at: Option<DateTime<Utc>>,
    pub(crate) position: Option<Position>,
    pub(crate) now: DateTime<Utc>,
}

impl When {
    pub(crate) fn of(query: &Fields, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let said = |name| query.filled(name).map(|text| moment(name, text)).transpose();
        let position =
            query.filled("position").map(|text| Position::parse(text).ok_or(ApiError::BadPosition));
        Ok(Self { at: said("at")?, known_at: said("known_at")?, position: position.transpose()?, now })
    }

    pub(crate) fn as_of(&self) -> AsOf {
        AsOf { at: self.at.unwrap_or(self.now), known_at: self.known_at, position: self.position }
    }

    /// Whether it is about another moment than now.
    pub(crate) fn is_past(&self) -> bool {
        self.at.is_some() || self.known_at.is_some() || self.position.is_some()
    }

    /// As an address says it, for others to go on with; begins with `&` unless it is empty.
    pub(crate) fn query(&self) -> String {
        let pairs = [
            ("at", self.at.map(|at| Moment(at).query())),
            ("known_at", self.known_at.map(|at| Moment(at).query())),
            ("position", self.position.map(|position| position.to_string())),
        ];
        let given = pairs.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", value?)));
        given.collect()
    }

    /// The moment that is asked about.
    pub(crate) fn then(&self) -> Moment {
        Moment(self.as_of().at)
    }

    /// Until when what had been learned counts.
    pub(crate) fn known(&self) -> Option<Moment> {
        self.known_at.map(Moment)
    }

    pub(crate) fn at_box(&self) -> String {
        self.at.map(boxed).unwrap_or_default()
    }

    pub(crate) fn known_at_box(&self) -> String {
        self.known_at.map(boxed).unwrap_or_default()
    }
}

/// A moment as a box of type `datetime-local` takes it.
pub(crate) fn boxed(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()
}

/// A moment without more digits than a box has, and not before the moment itself.
fn in_whole_millis(moment: DateTime<Utc>) -> DateTime<Utc> {
    let cut = moment.trunc_subsecs(3);
    if cut < moment { cut + TimeDelta::milliseconds(1) } else { cut }
}

/// The chronicle of a member, and what is known of her beside the log.
pub(crate) async fn read(state: &ApiState, id: &str) -> Result<(Chronicle, Option<PersonRecord>), ApiError> {
    let member = member(id)?;
    let chronicle = state.history()?.chronicle(&member).await?;
    let person = state.people.get(&member).await?;
    Ok((chronicle, person))
}

/// What a member is called on top of her pages.
pub(crate) fn called(member: &MemberId, person: Option<&PersonRecord>) -> String {
    person.and_then(|person| person.email.clone()).unwrap_or_else(|| member.to_string())
}

/// How she stood, as it is shown.
struct Standing {
    open: bool,
    sentence: String,
    until: Option<Moment>,
    next: Option<(Moment, String)>,
    sources: Vec<Source>,
    plans: Vec<(bool, String)>,
    paid: Vec<String>,
    last_payment: Option<(Moment, String, String)>,
    customers: Vec<(String, Option<Moment>)>,
    duplicates: Vec<String>,
    requests: Vec<(Moment, String, String)>,
    account: Vec<(&'static str, String)>,
}

/// Something that opens videos, or does no longer.
pub(crate) struct Source {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) customer: Option<String>,
    pub(crate) status: String,
    pub(crate) tone: &'static str,
    pub(crate) plans: String,
    pub(crate) from: Option<Moment>,
    pub(crate) until: Option<Moment>,
    pub(crate) giver: Option<Who>,
    /// Why it was given.
    pub(crate) remark: Option<String>,
    pub(crate) decides: bool,
    pub(crate) allowed: bool,
    pub(crate) sentence: String,
}

impl Source {
    pub(crate) fn of(source: &ExplainedSource, staff: &Staff) -> Self {
        let plans: Vec<&str> = source.plans.iter().map(domain::ids::PlanId::as_str).collect();
        Self {
            kind: source.kind.as_str(),
            id: source.id.clone(),
            customer: source.customer.as_ref().map(ToString::to_string),
            status: source.status.replace('_', " "),
            tone: if source.decision.allowed { "good" } else { "" },
            plans: plans.join(", "),
            from: source.from.map(Moment),
            until: source.until.map(Moment),
            giver: source.giver.as_ref().map(|giver| staff.name(giver)),
            remark: source.remark.clone(),
            decides: source.decides,
            allowed: source.decision.allowed,
            sentence: source.sentence.clone(),
        }
    }
}

impl Standing {
    fn of(state: &MemberState, staff: &Staff) -> Self {
        let account = &state.account;
        let said = |name, at: Option<DateTime<Utc>>| at.map(|at| (name, Moment(at).text()));
        let mut about = Vec::new();
        about.extend(said("Opened", account.opened_at));
        about.extend(said("E-mail confirmed", account.verified_at));
        about.extend(said("E-mail changed", account.email_changed_at));
        about.extend(said("Password changed", account.password_changed_at));
        about.extend(said("Last sign-in", account.signed_in_at));
        about.extend(said("Sign-ins refused", account.refused_at));
        about.extend(said("Deleted", account.deleted_at));
        about.extend(account.lock.map(|lock| ("Locked", lock.words())));
        if account.open {
            about.push(("Role", account.role.to_string()));
            about.push(("Second factor", if account.second_factor { "on" } else { "off" }.to_owned()));
        } else if account.deleted_at.is_none() {
            about.push(("Account", "none: nobody signs in as her".to_owned()));
        }
        Self {
            open: state.plan.is_some(),
            sentence: state.sentence.clone(),
            until: state.until.map(Moment),
            next: state.next.as_ref().map(|next| (Moment(next.at), next.sentence.clone())),
            sources: state.sources.iter().map(|source| Source::of(source, staff)).collect(),
            plans: state.access.iter().map(|plan| (plan.allowed, plan.sentence.clone())).collect(),
            paid: state.paid.iter().map(|paid| paid.sentence.clone()).collect(),
            last_payment: state
                .last_payment
                .as_ref()
                .map(|payment| (Moment(payment.at), payment.sentence.clone(), payment.position.to_string())),
            customers: state
                .customers
                .iter()
                .map(|payer| (payer.customer.to_string(), payer.deleted_at.map(Moment)))
                .collect(),
            duplicates: state.duplicates.iter().map(ToString::to_string).collect(),
            requests: state
                .requests
                .iter()
                .map(|asked| (Moment(asked.at), asked.sentence.clone(), asked.position.to_string()))
                .collect(),
            account: about,
        }
    }
}

/// The slider: one stop for each moment at which something happened, and now.
struct Slider {
    stops: usize,
    stop: usize,
    label: String,
}

#[derive(Template)]
#[template(path = "member.html")]
struct MemberPage {
    frame: Frame,
    member: String,
    name: String,
    external_id: Option<String>,
    names: Vec<String>,
    billing: Vec<String>,
    earlier: Vec<Earlier>,
    erased: bool,
    since: Moment,
    now: Standing,
    then: Standing,
    when: When,
    slider: Slider,
    later: Option<Later>,
    lanes: Lanes,
    told: Told,
    asked: Asked,
    videos: Vec<(String, String)>,
    done: Option<(String, String)>,
    erased_at: Option<Moment>,
    acts: Vec<(&'static str, &'static str)>,
    notes: Vec<Note>,
    sessions: Vec<String>,
}

/// What came before the deliveries that the story tells of.
struct Earlier {
    customer: String,
    link: String,
}

/// What a colleague noted.
struct Note {
    id: String,
    at: Moment,
    actor: Who,
    text: String,
}

/// What is otherwise now than at the moment that is shown.
struct Later {
    sentence: String,
    arrived: Vec<(String, String)>,
    corrections: Vec<diff::Change>,
    changes: Vec<diff::Change>,
}

/// The page of a member.
pub(crate) async fn show(
    State(state): State<ApiState>,
    desk: Desk,
    Ids(id): Ids<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let query = Fields::read(uri.query().unwrap_or_default().as_bytes());
    let (chronicle, person) = read(&state, &id).await?;
    let entries = chronicle.entries();
    let mut stops: Vec<DateTime<Utc>> =
        entries.iter().map(|entry| in_whole_millis(entry.occurred_at)).collect();
    stops.sort_unstable();
    stops.dedup();
    if let Some(stop) = query.filled("stop") {
        return Ok(to_stop(
            &chronicle.member,
            &query,
            stops.get(stop.parse::<usize>().unwrap_or(usize::MAX)),
        ));
    }
    let when = When::of(&query, state.now())?;
    let asked = Asked::of(&query)?;
    let now = chronicle.state(AsOf::at(when.now));
    let then = if when.is_past() { chronicle.state(when.as_of()) } else { now.clone() };
    let deliveries = deliveries_seen(state.deliveries.as_ref(), &chronicle).await?;
    let earlier = deliveries.earlier.into_iter().map(|(customer, before)| Earlier::of(&customer, &before));
    let earlier = earlier.collect();
    let whole = chronicle.whole_story(deliveries.seen, when.now);
    let lanes = Lanes::of(&chronicle.member, &entries, &whole.groups, &then, &when);
    let part = whole.part(&asked.filter);
    let actors = part.groups.iter().map(|group| &group.actor);
    let actors = actors.chain(now.notes.iter().map(|note| &note.actor));
    let actors = actors.chain(then.sources.iter().filter_map(|source| source.giver.as_ref()));
    let staff = Staff::of(&state, actors.map(ToString::to_string).collect()).await?;
    let told = Told::of(&part, &when, &asked, &staff);
    let later = when.is_past().then(|| Later::of(&chronicle, &when));
    let done = query.filled("done").and_then(Position::parse);
    let done = done.and_then(|done| entries.iter().find(|entry| entry.position == done));
    let stop = when.at.map_or(stops.len(), |at| stops.partition_point(|stop| *stop <= at).saturating_sub(1));
    let label = match stops.get(stop).filter(|_| when.at.is_some()) {
        Some(at) => {
            let of_stop =
                |entry: &&projections::timeline::TimelineEntry| in_whole_millis(entry.occurred_at) == *at;
            let names: Vec<&str> =
                entries.iter().filter(of_stop).map(|entry| entry.event_type.as_str()).collect();
            format!("{}: {}", Moment(*at).text(), names.join(", "))
        }
        None => "now".to_owned(),
    };
    let catalog = state.history()?.catalog(when.as_of()).await?;
    let notes = now.notes.iter().map(|note| Note {
        id: note.remark.to_string(),
        at: Moment(note.at),
        actor: staff.name(&note.actor),
        text: note.text.clone(),
    });
    let (names, billing) = said_by_stripe(&state, &now, person.as_ref()).await?;
    let mut sessions = Vec::new();
    if let Some(accounts) = &state.accounts {
        for session in accounts.sessions(&chronicle.member).await? {
            let device = session.device.unwrap_or_else(|| "unknown device".to_owned());
            sessions.push(format!("{device}, last used {}", Moment(session.last_used_at).text()));
        }
    }
    Ok(Page(MemberPage {
        acts: offered(
            now.erased_at.is_some(),
            desk.caller.keeps_accounts().is_ok(),
            now.account.lock.is_some(),
        ),
        frame: desk.at(""),
        member: chronicle.member.to_string(),
        name: called(&chronicle.member, person.as_ref()),
        external_id: person.as_ref().and_then(|person| person.external_id.clone()),
        names,
        billing,
        earlier,
        erased: person.is_none(),
        since: Moment(chronicle.registered_at),
        now: Standing::of(&now, &staff),
        then: Standing::of(&then, &staff),
        slider: Slider { stops: stops.len(), stop, label },
        when,
        later,
        lanes,
        told,
        asked,
        videos: catalog.videos().map(|video| (video.id.to_string(), video.name.clone())).collect(),
        done: done.map(|entry| (entry.position.to_string(), entry.sentence.clone())),
        erased_at: now.erased_at.map(Moment),
        notes: notes.collect(),
        sessions,
    })
    .into_response())
}

/// Her names at Stripe, and the addresses that bills go to where they are others than the one she signs in with.
async fn said_by_stripe(
    state: &ApiState,
    held: &MemberState,
    person: Option<&PersonRecord>,
) -> Result<(Vec<String>, Vec<String>), ApiError> {
    let own = person.and_then(|person| person.email.as_deref()).unwrap_or_default().to_lowercase();
    let (mut names, mut billing) = (Vec::new(), Vec::new());
    for payer in payers_of(state, held).await? {
        names.extend(payer.name.filter(|name| !names.contains(name)));
        billing.extend(payer.email.filter(|email| email.to_lowercase() != own && !billing.contains(email)));
    }
    Ok((names, billing))
}

impl Earlier {
    fn of(customer: &CustomerId, before: &str) -> Self {
        let pairs = [("customer", customer.as_str()), ("before", before)];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Self { customer: customer.to_string(), link: format!("{DELIVERIES}?{query}") }
    }
}

/// A stop of the slider has an address of its own, which stays what it is when more happens.
fn to_stop(member: &MemberId, query: &Fields, at: Option<&DateTime<Utc>>) -> Response {
    let mut next = form_urlencoded::Serializer::new(String::new());
    if let Some(at) = at {
        next.append_pair("at", &Moment(*at).query());
    }
    for name in ["known_at", "kind", "type", "from", "until", "order"] {
        if let Some(value) = query.filled(name) {
            next.append_pair(name, value);
        }
    }
    let (path, query) = (path(member), next.finish());
    Redirect::to(&if query.is_empty() { path } else { format!("{path}?{query}") }).into_response()
}

impl Later {
    fn of(chronicle: &Chronicle, when: &When) -> Self {
        let diff = chronicle.diff(when.as_of(), AsOf::at(when.now));
        let arrived = diff.learned_later.iter();
        Self {
            arrived: arrived.map(|entry| (entry.position.to_string(), entry.with_remark())).collect(),
            corrections: diff.corrections.into_iter().map(diff::Change::from).collect(),
            changes: diff.changes.into_iter().map(diff::Change::from).collect(),
            sentence: diff.sentence,
        }
    }
}
