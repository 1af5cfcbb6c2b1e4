//! Eighteen months in a second: what the cast does at a simulated Stripe, and every webhook of it at its moment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use accounts::policy::Doer;
use api::ApiState;
use api::idempotency::IdSource;
use api::support::acts::{Act, By, Until, perform as perform_act};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::Role as Rights;
use domain::catalog::KeepOrDeny;
use domain::clock::MovableClock;
use domain::ids::MemberId;
use domain::member::{ErasedBecause, MemberCommand};
use domain::metadata::{Actor, Context};
use domain::ports::PersonRecord;
use serde_json::Value;
use storage::Access;
use stripe_simulator::{ApiError, Seconds, SignedDelivery, Simulator};
use tempfile::TempDir;
use tower::ServiceExt;

use super::cast::{self, GOOD, Part, Step};
use super::{CATALOG, PLAYED, moment, sign_in};
use crate::app::{App, random};
use crate::commands::{Failure, command_id};
use crate::config::{Config, Role};
use crate::{catalog_file, serve};

/// How long a webhook takes.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(1);

/// Makes `database` with the whole history in it, up to `now`: a draft first, so that there is all of it or none.
pub(super) async fn write(
    database: &Path,
    stripe: &mut Simulator,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let folder = TempDir::with_prefix_in("draft-", database.parent().unwrap_or(Path::new(".")))?;
    let draft = folder.path().join("draft.db");
    let clock = Arc::new(MovableClock::standing_at(moment(stripe.now())));
    let storage =
        storage::open(&format!("sqlite://{}", draft.display()), Access::Draft, clock.clone()).await?;
    let mut app = App::start(storage, clock.clone(), config.livemode);
    let support = sign_in::begin_support(&app.let_people_in(None, true)?).await?;
    let router = serve::routes(&app, config, Role::All);
    let staff = Staff { api: app.api_state(config), actor: Actor::staff(&support) };
    let mut stage = Stage { app: &app, router: &router, clock: &clock, stripe };
    stage.play(cast::everybody(now), &staff, now).await?;
    app.caught_up().await?;
    app.storage.notebook.write_note(PLAYED, &now.to_rfc3339()).await?;
    drop((router, staff));
    app.shutdown().await;
    // From here on it is kept like any other.
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, database)?;
    Ok(())
}

/// What the history happens to.
pub(super) struct Stage<'a> {
    pub(super) app: &'a App,
    pub(super) router: &'a Router,
    pub(super) clock: &'a MovableClock,
    pub(super) stripe: &'a mut Simulator,
}

/// Who of the staff acts in the history, through what the API and the console act through.
struct Staff {
    api: ApiState,
    actor: Actor,
}

impl Staff {
    /// Does what a step says, where that is the staff's to do.
    async fn perform(&self, app: &App, member: &MemberId, step: &Step) -> Result<bool, Failure> {
        let (act, words) = match step {
            Step::IsGiven { plan, until, why } => {
                let until = until.map_or(Until::Forever, Until::At);
                (Act::Grant { plan: (*plan).into(), until }, *why)
            }
            Step::IsNoted(words) => (Act::AddNote, *words),
            Step::IsErased => (Act::Erase(ErasedBecause::AskedFor), ""),
            _ => return Ok(false),
        };
        // What an act changes is read from the read models first.
        app.caught_up().await?;
        let ids = IdSource { at: app.clock.now(), bits: random() };
        let (actor, doer) = (self.actor.clone(), Doer::Staff(Rights::Support));
        let by = By { actor, doer, request_id: command_id(), ids };
        let done = perform_act(&self.api, &by, member, &act, words).await;
        done.map(|_| true).map_err(|error| Failure::Failed(format!("the demo's staff and {member}: {error}")))
    }
}

/// What somebody has at Stripe.
#[derive(Default)]
struct Account {
    customer: String,
    subscriptions: Vec<String>,
}

impl Stage<'_> {
    async fn play(&mut self, parts: Vec<Part>, staff: &Staff, now: DateTime<Utc>) -> Result<(), Failure> {
        let catalog = catalog_file::parse(CATALOG).map_err(|error| Failure::Failed(error.to_string()))?;
        let mut at_first = catalog.clone();
        at_first.policy.refund_full = KeepOrDeny::Keep;
        self.app.apply_catalog(at_first, Actor::system(), &command_id()).await?;
        for part in &parts {
            self.register(part).await?;
        }
        let mut accounts: BTreeMap<&str, Account> = BTreeMap::new();
        let mut steps = Vec::new();
        for part in parts {
            let who = (part.member, part.email, part.name);
            steps.extend(part.steps.into_iter().map(|(at, step)| (at, who, step)));
        }
        steps.sort_by_key(|(at, ..)| *at);
        for (at, (member, email, name), step) in steps {
            self.until(at).await?;
            if let Step::RefundsEndAccess = step {
                self.clock.set(at);
                self.app.apply_catalog(catalog.clone(), Actor::system(), &command_id()).await?;
                continue;
            }
            if let Some(member) = member.map(MemberId::from) {
                self.clock.set(self.app.clock.now().max(at));
                if staff.perform(self.app, &member, &step).await? {
                    continue;
                }
            }
            let account = accounts.entry(email).or_default();
            let done = perform(self.stripe, account, member, (email, name), step);
            done.map_err(|error| Failure::Failed(format!("the demo's {email}: {error}")))?;
        }
        self.until(now).await
    }

    async fn register(&self, part: &Part) -> Result<(), Failure> {
        let Some(member) = part.member.map(MemberId::from) else { return Ok(()) };
        let now = self.app.clock.now();
        let email = Some(part.email.to_owned());
        let record = PersonRecord { member: member.clone(), email, external_id: None, created_at: now };
        self.app.storage.people.create(record).await?;
        let context = Context::asked_by(Actor::system(), &command_id(), now);
        self.app.storage.members.execute(member.as_str(), MemberCommand::Register, context).await?;
        Ok(())
    }

    /// Lets time go by: everything that is due happens, and is delivered at its moment.
    pub(super) async fn until(&mut self, until: DateTime<Utc>) -> Result<(), Failure> {
        let until = until.timestamp();
        self.stripe.advance_to(until);
        while let Some(due) = self.stripe.outbox.next_due().filter(|due| *due <= until) {
            self.clock.set(moment(due) + ON_ITS_WAY);
            // What comes in one second is carried out together, which takes half as long.
            while let Some(delivery) = self.stripe.outbox.next(due, due) {
                self.deliver(delivery, due).await?;
            }
            self.app.worker.drain().await?;
        }
        Ok(())
    }

    async fn deliver(&mut self, delivery: SignedDelivery, now: Seconds) -> Result<(), Failure> {
        let request = Request::post("/webhooks/stripe")
            .header("stripe-signature", delivery.signature)
            .body(Body::from(delivery.body))
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure::Failed(format!(
                "the demo's webhook answered {status} to {}",
                delivery.event
            )));
        }
        self.stripe.outbox.settle(delivery.number, now, Ok(status.as_u16()));
        Ok(())
    }
}

/// Does at Stripe what a step says.
fn perform(
    stripe: &mut Simulator,
    account: &mut Account,
    member: Option<&str>,
    (email, name): (&str, &str),
    step: Step,
) -> Result<(), ApiError> {
    if account.customer.is_empty() && !matches!(step, Step::Webhooks(_)) {
        let named = member.map(|member| format!("&metadata[member_id]={member}")).unwrap_or_default();
        let form = format!("email={email}&name={}{named}", name.replace(' ', "+"));
        let made = stripe.call("POST", "/v1/customers", &form)?;
        account.customer = text(&made, "id");
    }
    let (customer, latest) = (account.customer.clone(), account.subscriptions.last().cloned());
    let latest = latest.unwrap_or_default();
    match step {
        Step::Buys { price, card, trial_days } => {
            let trial = if trial_days > 0 { trial(trial_days) } else { String::new() };
            let session = checkout(stripe, &customer, member, price, &trial)?;
            // A card that is declined leaves a subscription that waits for its first payment.
            let declined = stripe.pay(&session, card).err().filter(|error| error.kind != "card_error");
            let held = stripe.call("GET", &format!("/v1/checkout/sessions/{session}"), "")?;
            account.subscriptions.extend(held["subscription"].as_str().map(str::to_owned));
            declined.map_or(Ok(()), Err)
        }
        Step::TriesWithoutCard { price, trial_days } => {
            let pauses = "&subscription_data[trial_settings][end_behavior][missing_payment_method]=pause\
                          &payment_method_collection=if_required";
            let session =
                checkout(stripe, &customer, member, price, &format!("{}{pauses}", trial(trial_days)))?;
            stripe.begin_trial(&session)
        }
        Step::IsSubscribed(price) => {
            account.subscriptions.push(stripe.subscribe(&customer, price, GOOD, 0)?);
            Ok(())
        }
        Step::Card(card) => stripe.set_card(&customer, card),
        Step::PaysWhatSheOwes => {
            let owed = stripe.call("GET", "/v1/invoices", &format!("customer={customer}&status=open"))?;
            for invoice in owed["data"].as_array().into_iter().flatten() {
                stripe.call("POST", &format!("/v1/invoices/{}/pay", text(invoice, "id")), "")?;
            }
            Ok(())
        }
        Step::ChangesPlan(price) => stripe.change_plan(&latest, price),
        Step::CancelsInPortal => stripe.cancel_in_portal(&latest),
        Step::CancelsAtPeriodEnd => stripe.cancel_at_period_end(&latest, true),
        Step::EndsTheFirst => stripe.cancel(&account.subscriptions.first().cloned().unwrap_or_default()),
        Step::CollectionPauses => stripe.pause_collection(&latest, Some(("keep_as_draft", None))),
        Step::IsRefunded => stripe.refund(&latest, None).map(drop),
        Step::Disputes => stripe.dispute(&latest, false).map(drop),
        Step::Webhooks(faults) => {
            stripe.set_faults(faults);
            Ok(())
        }
        Step::RefundsEndAccess | Step::IsGiven { .. } | Step::IsNoted(_) | Step::IsErased => Ok(()),
    }
}

fn trial(days: u32) -> String {
    format!("&subscription_data[trial_period_days]={days}")
}

/// A checkout as the service itself begins one.
fn checkout(
    stripe: &mut Simulator,
    customer: &str,
    member: Option<&str>,
    price: &str,
    more: &str,
) -> Result<String, ApiError> {
    let named = member.map(|member| {
        format!(
            "&client_reference_id={member}&metadata[member_id]={member}&subscription_data[metadata][member_id]={member}"
        )
    });
    let form = format!(
        "mode=subscription&customer={customer}&line_items[0][price]={price}&success_url=http://127.0.0.1:8080/{}{more}",
        named.unwrap_or_default()
    );
    stripe.call("POST", "/v1/checkout/sessions", &form).map(|session| text(&session, "id"))
}

fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().to_owned()
}
