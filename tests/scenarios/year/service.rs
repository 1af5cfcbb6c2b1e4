//! The service of a simulated year: all of it but the listener, in this process, under a clock that the year moves.

use std::net::SocketAddr;
use std::sync::Arc;

use api::{ServiceTokens, TrustedProxies};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use billing::{Gateway, Limits};
use chrono::{DateTime, Utc};
use domain::clock::{Clock, MovableClock};
use domain::grant::GrantCommand;
use domain::ids::{GrantId, MemberId};
use domain::member::MemberCommand;
use domain::metadata::{Actor, Context};
use projections::past::{AsOf, Explanation};
use serde_json::{Value, json};
use server::app::App;
use server::config::{Config, Role};
use server::keeper::Schedule;
use server::{catalog_file, limits, serve};
use storage::Access;
use stripe_simulator::Seconds;
use tests::app::{Home, Store, TOKEN};
use tower::ServiceExt;
use webhook_ingest::backfill::Backfilled;
use webhook_ingest::reconcile::Reconciled;
use webhook_ingest::routes;
use webhook_ingest::stripe::signature::Secrets;

/// A moment of Stripe's.
pub(super) fn moment(at: Seconds) -> DateTime<Utc> {
    DateTime::from_timestamp(at, 0).unwrap()
}

pub(super) struct Service {
    pub(super) app: App,
    clock: Arc<MovableClock>,
    webhook: Router,
    api: Router,
    home: Home,
}

impl Service {
    /// A service that sells by `catalog` and asks the Stripe at `address`.
    pub(super) async fn new(
        store: Store,
        catalog: &str,
        address: SocketAddr,
        secrets: &str,
        now: Seconds,
    ) -> Self {
        let home = Home::new(store).await;
        let clock = Arc::new(MovableClock::standing_at(moment(now)));
        let storage =
            storage::open(home.setting("DATABASE_URL"), Access::Write, clock.clone()).await.unwrap();
        let settings = billing::Settings {
            key: "sk_test_year".to_owned(),
            base: Some(format!("http://{address}")),
            limits: Limits::default(),
        };
        let gateway = Arc::new(Gateway::new(&settings, clock.clone()).unwrap());
        let app = App::start_asking(storage, clock.clone(), Some(false), Some(gateway));
        let content = catalog_file::parse(catalog).unwrap();
        app.apply_catalog(content, Actor::system(), "the-catalogue").await.unwrap();
        let webhook = routes::router(app.intake(Secrets::parse(secrets).unwrap()));
        let api = serve::routes(&app, &config(home.setting("DATABASE_URL")), Role::Api);
        // What is in the log is what another process starts from.
        Self { app, clock, webhook, api, home: home.with("CATALOG", "") }
    }

    /// Ends it; where the program can be started again.
    pub(super) async fn close(self) -> Home {
        self.app.shutdown().await;
        self.home
    }

    /// Another catalogue from now on.
    pub(super) async fn apply_catalog(&self, catalog: &str, why: &str) {
        let content = catalog_file::parse(catalog).unwrap();
        self.app.apply_catalog(content, Actor::system(), why).await.unwrap();
    }

    /// The secrets it trusts from now on, as after a restart with other settings.
    pub(super) fn trust(&mut self, secrets: &str) {
        self.webhook = routes::router(self.app.intake(Secrets::parse(secrets).unwrap()));
    }

    pub(super) fn set_clock(&self, now: Seconds) {
        self.set_moment(moment(now));
    }

    pub(super) fn set_moment(&self, now: DateTime<Utc>) {
        self.clock.set(now);
    }

    /// Registers a member, and has another look at what waited for her, as the API does.
    pub(super) async fn register(&self, member: &str, now: Seconds) {
        let context = Context::asked_by(Actor::system(), &format!("registers-{member}"), moment(now));
        self.app.storage.members.execute(member, MemberCommand::Register, context).await.unwrap();
        self.app.worker.redrive_set_aside(&["unknown_member"]).await.unwrap();
    }

    /// Somebody of the staff gives, moves or takes back.
    pub(super) async fn grant(&self, id: &GrantId, command: GrantCommand) {
        let context = Context::asked_by(Actor::staff(&"mem_staff".into()), "a-gift", self.clock.now());
        self.app.storage.grants.execute(id.as_str(), command, context).await.unwrap();
        self.app.caught_up().await.unwrap();
    }

    /// Posts what Stripe sends to the webhook, and says with what status it was answered.
    pub(super) async fn receive(&self, body: String, signature: &str) -> u16 {
        let request = Request::post("/webhooks/stripe").header("stripe-signature", signature);
        let request = request.body(Body::from(body)).unwrap();
        self.webhook.clone().oneshot(request).await.unwrap().status().as_u16()
    }

    /// The decision that the API gives now, asked for alone or among others.
    pub(super) async fn decision(&self, member: &str, video: &str, alone: bool) -> Value {
        // A decision knows what the index has read, and `known_at` what was recorded, which on a busy machine is a moment earlier.
        self.app.caught_up().await.unwrap();
        let request = if alone {
            Request::get(format!("/v1/members/{member}/access/videos/{video}")).body(Body::empty())
        } else {
            let body = json!({ "checks": [{ "member": member, "video": video }] }).to_string();
            Request::post("/v1/access/check").header(CONTENT_TYPE, "application/json").body(Body::from(body))
        };
        let mut request = request.unwrap();
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
        let answer = self.api.clone().oneshot(request).await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        if alone { answer } else { answer["decisions"][0].take() }
    }

    /// Carries out what has come, and looks at Stripe where that was not clear.
    pub(super) async fn carry_out(&self) {
        while self.app.worker.drain().await.unwrap() > 0 {
            self.app.worker.look_at_what_waits().await.unwrap();
        }
    }

    pub(super) async fn backfill(&self) -> Backfilled {
        let done = self.app.backfill().unwrap().run(None, |_| {}).await.unwrap();
        self.carry_out().await;
        done
    }

    pub(super) async fn reconcile(&self) -> Reconciled {
        let done = self.app.worker.reconcile(|_| {}).await.unwrap();
        self.carry_out().await;
        done
    }

    /// May she have watched it then, as is known now, or as was known at a moment?
    pub(super) async fn explain(
        &self,
        member: &str,
        video: &str,
        at: Seconds,
        known_at: Option<Seconds>,
    ) -> Explanation {
        let as_of = AsOf { at: moment(at), known_at: known_at.map(moment), position: None };
        self.app.past.explain(&MemberId::from(member), video, as_of).await.unwrap()
    }

    /// Whether the live index knows a member.
    pub(super) fn knows(&self, member: &str) -> bool {
        self.app.index.check(&MemberId::from(member), tests::stripe::FREE, self.clock.now()).is_ok()
    }

    /// Everything that is told of a member: when it was true, and in words.
    pub(super) async fn timeline(&self, member: &str) -> Vec<(DateTime<Utc>, String)> {
        let entries = self.app.past.timeline(&MemberId::from(member)).await.unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.occurred_at, format!("{} {}", entry.event_type, entry.sentence)))
            .collect()
    }

    /// What the live index answers now.
    pub(super) async fn answers(&self, member: &str, video: &str, now: Seconds) -> (bool, &'static str) {
        self.app.caught_up().await.unwrap();
        let decision = self.app.index.check(&MemberId::from(member), video, moment(now)).unwrap().decision;
        (decision.allowed, decision.reason.as_str())
    }
}

fn config(database_url: &str) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        database_url: database_url.to_owned(),
        webhook_secrets: None,
        livemode: Some(false),
        catalog: None,
        service_tokens: ServiceTokens::parse(&format!("year:access.read:{TOKEN}")).unwrap(),
        trusted_proxies: TrustedProxies::default(),
        limits: limits::Limits::default(),
        index_snapshot: None,
        billing: None,
        schedule: Schedule::default(),
        sign_in: None,
    }
}
