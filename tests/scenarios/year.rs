//! A year of simulated members beside a simulated Stripe whose deliveries are lost, doubled, late and out of order: in the
//! end the log agrees with Stripe, and every answer about any moment is what was true at Stripe then.

mod decisions;
mod drift;
mod figures;
mod gifts;
mod judging;
mod kept;
mod lives;
mod living;
mod service;
mod truth;

use stripe_simulator::Seconds;
use tests::app::Store;
use tests::stripe::{ADVANCED, BASIC, FREE};

use decisions::GivenAgain;
use living::Year;
use truth::{POLICIES, Paused, Policy};

const HOUR: Seconds = 3_600;
const DAY: Seconds = 86_400;
/// 1 January 2026, so that no test depends on when it runs.
const BEGIN: Seconds = 1_767_225_600;
/// What is asked about.
const VIDEOS: [&str; 3] = [FREE, BASIC, ADVANCED];
/// Versions of the API in which deliveries come, one after the other.
const VERSIONS: [Option<&str>; 5] =
    [None, Some("2025-03-31.basil"), Some("2024-06-20"), Some("2020-08-27"), Some("2025-11-17.clover")];

/// How a year is lived.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    store: Store,
    members: usize,
    days: Seconds,
    probes: usize,
    /// So many decisions are asked of the program while it is lived.
    decisions: usize,
    /// The share of deliveries that is lost; none comes where webhooks are switched off.
    lost: Option<f64>,
    /// The service asks Stripe of its own accord, all along and once more at the end.
    asks: bool,
    /// For so many days at the end nothing is delivered and nobody asks, but for that once more.
    silent_days: Seconds,
    /// The service is told that everything happened when it arrived, so that the order of arrival is all it has.
    dated_by_arrival: bool,
}

impl Plan {
    fn short(seed: u64, members: usize) -> Self {
        Self {
            seed,
            store: Store::Sqlite,
            members,
            days: 365,
            probes: 200,
            decisions: 0,
            lost: Some(0.05),
            asks: true,
            silent_days: 0,
            dated_by_arrival: false,
        }
    }

    fn policy(&self) -> Policy {
        POLICIES[usize::try_from(self.seed).unwrap() % POLICIES.len()]
    }
}

/// Lives a year in which everything has to be known as it was.
async fn is_known_as_it_was(plan: Plan) -> Year {
    let year = Year::lived(plan).await;
    let told = year.figures.told(&plan);
    println!("{told}");
    assert!(year.figures.is_clean(), "{told}");
    year
}

#[tokio::test]
async fn a_year_is_known_as_it_was_whatever_becomes_of_the_deliveries() {
    let mut year = is_known_as_it_was(Plan { decisions: 300, ..Plan::short(1, 12) }).await;
    // Were one of the catalogue's rules another, the probes would tell.
    let rule = year.plan.policy();
    let others = [
        Policy { grace_days: 0, ..rule },
        Policy { deny_refunded: !rule.deny_refunded, ..rule },
        Policy { deny_disputed: !rule.deny_disputed, ..rule },
        Policy { paused: if rule.paused == Paused::Keep { Paused::Deny } else { Paused::Keep }, ..rule },
    ];
    for other in others {
        assert!(!year.wrong_by(other).await.is_empty(), "{other:?} for {rule:?}");
    }
    every_decision_is_given_again(year).await;
}

/// Asks the program again what it was asked during the year. Without the position it gives some decisions otherwise, since
/// much came late: the comparison can tell.
async fn every_decision_is_given_again(year: Year) -> GivenAgain {
    let again = year.given_again().await;
    println!("{again}");
    assert!(again.is_clean() && again.otherwise_now > 0, "{again}");
    again
}

#[tokio::test]
async fn a_year_in_postgres_is_known_as_it_was() {
    let plan = Plan { store: Store::Postgres, days: 200, probes: 100, decisions: 100, ..Plan::short(4, 4) };
    every_decision_is_given_again(is_known_as_it_was(plan).await).await;
}

#[tokio::test]
async fn with_webhooks_switched_off_a_year_is_known_as_it_was() {
    let plan = Plan { lost: None, ..Plan::short(5, 5) };
    let year = is_known_as_it_was(plan).await;
    assert_eq!(year.figures.deliveries, 0);
}

/// Everything broke down for almost as long as Stripe lists events (30 days, and events were asked for every other day); then
/// Stripe is asked once.
#[tokio::test]
async fn one_cycle_after_weeks_of_silence_everything_is_known_as_it_was() {
    let plan = Plan { days: 150, silent_days: 27, ..Plan::short(6, 8) };
    let year = is_known_as_it_was(plan).await;
    assert!(year.figures.differed_at_the_end > 0, "there was much to find");
}

/// Stripe lists events for 30 days, and subscriptions for ever: after that long their terms are all that can be known.
#[tokio::test]
async fn one_cycle_after_a_year_of_silence_every_subscription_is_known() {
    let plan = Plan { silent_days: 365, probes: 0, ..Plan::short(6, 12) };
    let figures = Year::lived(plan).await.figures;
    assert!(figures.differed_at_the_end > 0, "there was much to find");
    assert!(figures.agrees_with_stripe(), "{}", figures.told(&plan));
}

#[tokio::test]
async fn without_asking_stripe_what_was_lost_makes_answers_wrong() {
    let plan = Plan { asks: false, ..Plan::short(2, 6) };
    let figures = Year::lived(plan).await.figures;
    assert!(!figures.differences.is_empty() && !figures.wrong.is_empty(), "{}", figures.told(&plan));
}

#[tokio::test]
async fn by_the_order_of_arrival_answers_are_wrong() {
    let plan = Plan { days: 120, lost: Some(0.0), asks: false, dated_by_arrival: true, ..Plan::short(1, 6) };
    let figures = Year::lived(plan).await.figures;
    assert!(!figures.wrong.is_empty(), "{}", figures.told(&plan));
}

mod long {
    use std::collections::BTreeMap;

    use super::lives::everything;
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment how to run")]
    fn seeds(usual: &[u64]) -> Vec<u64> {
        let one = std::env::var("YEAR_SEED").ok();
        one.map_or(usual.to_vec(), |seed| vec![seed.parse().expect("YEAR_SEED is a number, such as 7")])
    }

    fn whole(seed: u64) -> Plan {
        Plan { probes: 10_000, ..Plan::short(seed, 200) }
    }

    /// Lives all of these years before it complains about one, and sees to it that in several everything happened that can.
    async fn are_known_as_they_were(plans: impl Iterator<Item = Plan>) {
        let (mut years, mut done, mut failed) = (0, BTreeMap::<String, u32>::new(), Vec::new());
        for plan in plans {
            let figures = Year::lived(plan).await.figures;
            let told = figures.told(&plan);
            println!("{told}");
            years += 1;
            if !figures.is_clean() {
                failed.push(told);
            }
            for (what, times) in figures.done {
                *done.entry(what).or_default() += times;
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        let missing: Vec<_> = everything().into_iter().filter(|what| !done.contains_key(what)).collect();
        assert!(years < 2 || missing.is_empty(), "never happened: {missing:?} of {done:?}");
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn a_year_of_two_hundred_members_on_sqlite() {
        are_known_as_they_were(seeds(&[11, 12, 13, 14, 15]).into_iter().map(whole)).await;
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn a_year_of_two_hundred_members_on_postgres() {
        let on_postgres = |seed| Plan { store: Store::Postgres, ..whole(seed) };
        are_known_as_they_were(seeds(&[11, 12, 13, 14, 15]).into_iter().map(on_postgres)).await;
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn ten_thousand_decisions_of_a_year_are_given_again() {
        for seed in seeds(&[21]) {
            let plan = Plan { probes: 100, decisions: 10_000, ..whole(seed) };
            let again = every_decision_is_given_again(is_known_as_it_was(plan).await).await;
            assert_eq!(again.decisions, 10_000);
            assert!(again.of_one_instant > 0, "what one instant holds is looked at too: {again}");
        }
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn a_year_of_two_hundred_members_without_webhooks() {
        let plans = seeds(&[16, 17]).into_iter().map(|seed| Plan { lost: None, ..whole(seed) });
        are_known_as_they_were(plans).await;
    }

    #[tokio::test]
    #[ignore = "long: make soak"]
    async fn one_cycle_after_weeks_of_silence_of_two_hundred_members() {
        let plans = seeds(&[18, 19]).into_iter().map(|seed| Plan { silent_days: 27, ..whole(seed) });
        are_known_as_they_were(plans).await;
    }
}
