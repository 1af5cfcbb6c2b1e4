//! Random commands and deliveries against a small model of a membership, written from the contract and not from our code.
//!
//! [`world`] makes up what happens and what arrives, [`rules`] says what the answers have to be, [`system`] is what is
//! compared: [`memory`] the rules alone, [`service`] the service on a store.

mod memory;
mod rules;
mod service;
mod system;
mod world;

use chrono::{DateTime, Utc};
use domain::grant::GrantCommand;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine;
use tests::stripe::CATALOG;
use tokio::runtime::Builder;

use memory::Rules;
use rules::{Expected, VIDEOS};
use service::Service;
use system::{Answer, System};
use world::{MEMBERS, Model, REVISIONS, Step, World};

use crate::store::Place;

/// So many cases of the service cost some seconds.
const SERVICE_CASES: u32 = 8;

/// How often the model and the system were compared, and how often the model could not say.
#[derive(Debug, Default)]
struct Figures {
    cases: u64,
    steps: u64,
    events: u64,
    answers: u64,
    allowed: u64,
    unsure: u64,
    past: u64,
}

/// The catalogue files, by revision.
fn catalogs() -> [String; REVISIONS] {
    let base =
        CATALOG.replace("price_demo_basic_month", "price_basic").replace("price_demo_pro_month", "price_pro");
    [
        base.clone(),
        base.replace("past_due_grace = \"14d\"", "past_due_grace = \"3d\"\ncollection_paused = \"deny\""),
        base.replace(
            "past_due_grace = \"14d\"",
            "past_due_grace = \"14d\"\ncollection_paused = \"end_of_period\"",
        )
        .replace("plans = [\"pro\"]", "plans = [\"basic\", \"pro\"]"),
        base.replace("stripe_prices = [\"price_basic\"]", "stripe_prices = []")
            .replace("stripe_prices = [\"price_pro\"", "stripe_prices = [\"price_basic\", \"price_pro\""),
    ]
}

/// One case: a world, what happens in it, and the system that has to keep up.
struct Case<'c, S> {
    system: &'c mut S,
    name: String,
    /// What the clock of this case is ahead of the model's.
    offset: i64,
    world: World,
    /// What was answered after each step, with the moment.
    given: Vec<(DateTime<Utc>, Vec<Option<Answer>>)>,
    figures: &'c mut Figures,
}

impl<S: System> Case<'_, S> {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.world.now + self.offset, 0).unwrap()
    }

    fn member(&self, number: usize) -> String {
        format!("mem_{}_{number}", self.name)
    }

    /// Brings the system to where the world begins.
    async fn begin(&mut self) {
        let now = self.now();
        self.system.apply(&catalogs()[0], now).await;
        for number in (0..MEMBERS).filter(|number| self.world.registered[*number]) {
            self.system.register(&self.member(number), now).await;
        }
        for (customer, owner) in self.world.owner.into_iter().enumerate() {
            if let Some(member) = owner {
                let id = format!("cus_{}_{customer}", self.name);
                assert!(self.system.link(&id, &self.member(member), now).await);
            }
        }
    }

    async fn take(&mut self, step: Step) {
        let (is_done, next) = (self.world.is_done(step), self.world.grants.len());
        let arrivals = self.world.arrivals(step);
        self.world = Model::apply(self.world.clone(), &step);
        let now = self.now();
        match step {
            Step::Wait(_) | Step::Act { .. } => {}
            Step::Register(member) => self.system.register(&self.member(member), now).await,
            Step::Link { customer, member } => {
                let id = format!("cus_{}_{customer}", self.name);
                let linked = self.system.link(&id, &self.member(member), now).await;
                assert_eq!(linked, is_done, "{step:?}");
            }
            Step::Unlink { customer, member } => {
                let id = format!("cus_{}_{customer}", self.name);
                let unlinked = self.system.unlink(&id, &self.member(member), now).await;
                assert_eq!(unlinked, is_done, "{step:?}");
            }
            Step::Give { member, plan, starts_in, ends_in } => {
                let (plan, remark) = (plan.into(), "rmk_1".into());
                let (from, until) = (self.ahead(starts_in), ends_in.map(|ends_in| self.ahead(ends_in)));
                let member = self.member(member).into();
                let command = GrantCommand::Give { member, plan, from, until, remark };
                assert_eq!(self.grant(next, command).await, is_done, "{step:?}");
            }
            Step::MoveGrant { grant, ends_in } => {
                let until = ends_in.map(|ends_in| self.ahead(ends_in));
                let command = GrantCommand::Move { until, remark: "rmk_2".into() };
                assert_eq!(self.grant(grant, command).await, is_done, "{step:?}");
            }
            Step::Revoke(grant) => {
                let command = GrantCommand::Revoke { remark: "rmk_3".into() };
                assert_eq!(self.grant(grant, command).await, is_done, "{step:?}");
            }
            Step::Apply(revision) => self.system.apply(&catalogs()[revision], now).await,
            Step::Deliver(_) | Step::Again(_) | Step::DeliverAll => {
                let mut events = Vec::new();
                for index in arrivals {
                    let mut event = self.world.events[index].json(index, &self.name);
                    shift(&mut event, self.offset);
                    events.push(event);
                }
                self.figures.events += events.len() as u64;
                self.system.deliver(&events, now).await;
            }
        }
        self.figures.steps += 1;
        self.compare(step);
    }

    fn ahead(&self, seconds: i64) -> DateTime<Utc> {
        self.now() + chrono::TimeDelta::seconds(seconds)
    }

    async fn grant(&mut self, number: usize, command: GrantCommand) -> bool {
        let (id, now) = (format!("grt_{}_{number}", self.name), self.now());
        self.system.grant(&id, command, now).await
    }

    /// Every answer is the model's.
    fn compare(&mut self, step: Step) {
        let now = self.now();
        let mut given = Vec::new();
        for (number, video) in questions() {
            let told = self.system.ask(&self.member(number), video, now);
            let expected = self.world.expected(number, video);
            let agrees = match (&expected, told) {
                (Expected::Unsure, _) => true,
                (Expected::Nobody, told) => told.is_none(),
                (Expected::Answer { .. }, None) => false,
                (Expected::Answer { allowed, reasons, until }, Some((told, reason, told_until))) => {
                    let until = until.map(|until| until + self.offset);
                    told == *allowed && reasons.contains(&reason) && told_until == until
                }
            };
            assert!(agrees, "after {step:?}, member {number}, {video}: {told:?}, not {expected:?}");
            self.figures.answers += 1;
            self.figures.unsure += u64::from(expected == Expected::Unsure);
            self.figures.allowed += u64::from(told.is_some_and(|(allowed, ..)| allowed));
            given.push(told);
        }
        self.given.push((now, given));
    }

    /// At the end everything arrives, the read models can be made again, and every answer that was given is still the one
    /// for its moment.
    async fn finish(&mut self) {
        while !self.world.arrivals(Step::DeliverAll).is_empty() {
            self.take(Step::DeliverAll).await;
        }
        let members: Vec<_> = (0..MEMBERS).map(|number| self.member(number)).collect();
        self.system.verify(&members, &VIDEOS, self.now()).await;
        for (moment, given) in &self.given {
            for ((number, video), told) in questions().zip(given) {
                let then = self.system.ask_then(&self.member(number), video, *moment).await;
                // Who is not registered yet is nobody, and then somebody who had nothing.
                if told.is_some() {
                    assert_eq!(then, *told, "member {number}, {video}, at {moment}");
                    self.figures.past += 1;
                }
            }
        }
        self.figures.cases += 1;
    }
}

fn questions() -> impl Iterator<Item = (usize, &'static str)> {
    (0..MEMBERS).flat_map(|member| VIDEOS.map(|video| (member, video)))
}

/// Moves every moment of an event.
fn shift(event: &mut serde_json::Value, offset: i64) {
    const MOMENTS: [&str; 7] =
        ["created", "current_period_end", "trial_end", "cancel_at", "ended_at", "paid_at", "resumes_at"];
    match event {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                match value.as_i64() {
                    Some(moment) if MOMENTS.contains(&key.as_str()) => *value = (moment + offset).into(),
                    _ => shift(value, offset),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| shift(item, offset)),
        _ => {}
    }
}

/// Runs cases until one diverges.
fn run(
    cases: u32,
    steps: usize,
    shrink: bool,
    mut test: impl FnMut(World, Vec<Step>, &mut Figures),
) -> Result<Figures, String> {
    let config = Config {
        cases,
        failure_persistence: None,
        max_local_rejects: u32::MAX,
        max_shrink_iters: if shrink { 2_000 } else { 0 },
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let figures = std::cell::RefCell::new(Figures::default());
    let test = std::cell::RefCell::new(&mut test);
    let done = runner.run(&Model::sequential_strategy(steps / 2..=steps), |(world, steps, _)| {
        (test.borrow_mut())(world, steps, &mut figures.borrow_mut());
        Ok(())
    });
    match done {
        Ok(()) => Ok(figures.into_inner()),
        Err(TestError::Fail(why, (world, steps, _))) => Err(format!("{why}\nfrom {}: {steps:#?}", world.now)),
        Err(TestError::Abort(why)) => Err(why.to_string()),
    }
}

/// Cases of the rules alone, each with a log of its own.
fn run_rules(cases: u32, steps: usize, trusts_arrival: bool) -> Result<Figures, String> {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    run(cases, steps, !trusts_arrival, |world, steps, figures| {
        runtime.block_on(async {
            let mut system = Rules::that_trust_arrival(trusts_arrival);
            play(&mut system, "m".to_owned(), 0, world, steps, figures).await;
        });
    })
}

/// Plays one case.
async fn play<S: System>(
    system: &mut S,
    name: String,
    offset: i64,
    world: World,
    steps: Vec<Step>,
    figures: &mut Figures,
) {
    let mut case = Case { system, name, offset, world, given: Vec::new(), figures };
    case.begin().await;
    for step in steps {
        case.take(step).await;
    }
    case.finish().await;
}

/// Cases of the service, one after the other on one store, each with members of its own.
fn run_service(place: &Place, cases: u32, steps: usize) -> Result<Figures, String> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut service = runtime.block_on(Service::on(&place.url()));
    let (mut number, mut ended_at) = (0, None);
    let figures = run(cases, steps, true, |world, steps, figures| {
        number += 1;
        // A case that failed is played again while it is shrunk, and no clock goes back for that.
        let offset = ended_at.map_or(0, |ended_at| ended_at + world::DAY - world.now);
        ended_at = Some(steps.iter().fold(world.clone(), Model::apply).now + offset);
        runtime.block_on(play(&mut service, format!("m{number}"), offset, world, steps, figures));
    });
    runtime.block_on(service.app.shutdown());
    figures
}

fn assert_agrees(figures: Result<Figures, String>) {
    let figures = figures.unwrap_or_else(|why| panic!("{why}"));
    eprintln!("{figures:?}");
    assert!(figures.allowed * 10 > figures.answers, "the cases hardly ever give access: {figures:?}");
    assert!(figures.unsure * 5 < figures.answers, "the model hardly ever knows: {figures:?}");
}

#[test]
fn every_answer_of_the_rules_is_the_models() {
    assert_agrees(run_rules(256, 50, false));
}

#[test]
fn rules_that_believe_whoever_comes_last_are_caught() {
    let diverged = run_rules(256, 50, true).unwrap_err();
    assert!(diverged.contains("not Answer"), "{diverged}");
}

#[test]
fn every_answer_of_the_service_on_sqlite_is_the_models() {
    assert_agrees(run_service(&Place::sqlite(), SERVICE_CASES, 50));
}

#[test]
fn every_answer_of_the_service_on_postgres_is_the_models() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    assert_agrees(run_service(&runtime.block_on(Place::postgres()), SERVICE_CASES, 50));
}

mod long {
    use super::*;

    #[test]
    #[ignore = "long: make soak"]
    fn every_answer_of_the_rules_is_the_models_ten_thousand_times() {
        assert_agrees(run_rules(10_000, 50, false));
    }

    #[test]
    #[ignore = "long: make soak"]
    fn every_answer_of_the_service_on_sqlite_is_the_models_many_times() {
        assert_agrees(run_service(&Place::sqlite(), 300, 50));
    }

    #[test]
    #[ignore = "long: make soak"]
    fn every_answer_of_the_service_on_postgres_is_the_models_many_times() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        assert_agrees(run_service(&runtime.block_on(Place::postgres()), 300, 50));
    }
}
