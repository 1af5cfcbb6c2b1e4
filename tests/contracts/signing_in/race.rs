//! Tabs that renew at once are one browser; a thief and its owner are two.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use accounts::{AccountError, Accounts, Renewed};
use domain::ids::MemberId;
use domain::ports::StoreError;

use super::tampered::{Fault, Tampered};
use super::{PASSWORD, World, origin};
use crate::store::{Place, on_both};

/// The fewest and the most that renew at once.
const TABS: (usize, usize) = (2, 50);
/// How many sessions a member has whose tokens are used again.
const STOLEN: usize = 20;

on_both! {
    tabs_that_renew_at_once_stay_signed_in_in_one_session,
    a_refresh_token_used_again_ends_its_session,
    a_thief_who_only_ever_renews_is_noticed_when_either_comes_again,
    whose_answer_was_lost_stays_signed_in_however_often,
    a_rotation_without_its_condition_is_noticed,
    a_reuse_that_ends_nothing_is_noticed,
}

/// What went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wrong {
    /// Tabs that were signed out.
    signed_out: usize,
    /// Rounds in which two tabs were given different tokens.
    forks: usize,
    /// Rounds after which not exactly one session lived, or it had been renewed more than once.
    families: usize,
    /// Sessions that went on after a spent token was used again.
    went_on: usize,
}

/// Renews, again as often as the store has no room: more ask at once than it has connections.
async fn refresh(accounts: &Accounts, token: &str, request: &str) -> Result<Renewed, AccountError> {
    let begun = Instant::now();
    loop {
        match accounts.refresh(token, &origin(request)).await {
            Err(AccountError::Store(StoreError::Unavailable(why))) => {
                assert!(begun.elapsed() < Duration::from_mins(1), "{why}");
            }
            done => return done,
        }
    }
}

/// So many rounds of tabs that renew at once, each with the token of the round before.
async fn race(world: &World, rounds: usize) -> Wrong {
    let mut wrong = Wrong::default();
    let member = world.create("ada@example.com").await.unwrap();
    let mut signed_in = None;
    let mut generation = 0;
    for round in 0..rounds {
        let token = if let Some(token) = signed_in.take() {
            token
        } else {
            generation = 1;
            world.sign_in("ada@example.com", PASSWORD).await.unwrap().refresh_token
        };
        let tabs = TABS.0 + round * 7 % (TABS.1 - TABS.0 + 1);
        let tabs: Vec<_> = (0..tabs)
            .map(|_| {
                let (accounts, token) = (world.accounts.clone(), token.clone());
                tokio::spawn(async move { refresh(&accounts, &token, "req_refresh").await })
            })
            .collect();
        let mut given = HashSet::new();
        for tab in tabs {
            match tab.await.unwrap() {
                Ok(renewed) => {
                    world.accounts.authenticate(&renewed.access_token).unwrap();
                    given.insert(renewed.refresh_token);
                }
                Err(AccountError::SessionEnded) => wrong.signed_out += 1,
                Err(other) => panic!("{other}"),
            }
        }
        generation += 1;
        wrong.forks += usize::from(given.len() > 1);
        let sessions = world.store.sessions(&member).await.unwrap();
        let one = matches!(&sessions[..], [session] if session.generation == generation);
        wrong.families += usize::from(!one);
        signed_in = given.into_iter().next().filter(|_| one);
        world.pass(31);
    }
    wrong
}

/// Two processes on one database are as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_two_processes_are_shown_at_once_is_spent_once() {
    let place = Place::postgres().await;
    let (one, other) = (World::at(&place).await, World::at(&place).await);
    let member = one.create("ada@example.com").await.unwrap();
    let mut token = one.sign_in("ada@example.com", PASSWORD).await.unwrap().refresh_token;
    for round in 0..20 {
        let tabs: Vec<_> = [&one, &other]
            .iter()
            .cycle()
            .take(8)
            .map(|world| {
                let (accounts, token) = (world.accounts.clone(), token.clone());
                tokio::spawn(async move { accounts.refresh(&token, &origin("req_refresh")).await })
            })
            .collect();
        let mut given = HashSet::new();
        for tab in tabs {
            given.insert(tab.await.unwrap().unwrap().refresh_token);
        }
        assert_eq!(given.len(), 1);
        token = given.into_iter().next().unwrap();
        let sessions = other.store.sessions(&member).await.unwrap();
        assert!(matches!(&sessions[..], [session] if session.generation == round + 2));
        one.pass(31);
        other.pass(31);
    }
}

/// So many sessions of one member, of each of which a token is spent, the next one put to use, and the spent one used again, by
/// several at once.
async fn reuse(world: &World, member: &MemberId, email: &str, sessions: usize) -> Wrong {
    let mut tokens = Vec::new();
    for _ in 0..sessions {
        let spent = world.sign_in(email, PASSWORD).await.unwrap().refresh_token;
        let next = world.accounts.refresh(&spent, &origin("req_refresh")).await.unwrap();
        world.accounts.authenticate(&next.access_token).unwrap();
        tokens.push((spent, next.refresh_token));
    }
    let begun = Instant::now();
    while world.store.sessions(member).await.unwrap().iter().any(|session| session.seen < 2) {
        assert!(begun.elapsed() < Duration::from_mins(1), "what was seen is noted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.pass(31);
    let mut wrong = Wrong::default();
    for (number, (spent, next)) in tokens.into_iter().enumerate() {
        let thieves: Vec<_> = (0..TABS.0 + number)
            .map(|_| {
                let (accounts, spent) = (world.accounts.clone(), spent.clone());
                tokio::spawn(async move { refresh(&accounts, &spent, "req_stolen").await })
            })
            .collect();
        let mut went_on = false;
        for thief in thieves {
            went_on |= !matches!(thief.await.unwrap(), Err(AccountError::SessionEnded));
        }
        let next = world.accounts.refresh(&next, &origin("req_refresh")).await;
        went_on |= !matches!(next, Err(AccountError::SessionEnded));
        wrong.went_on += usize::from(went_on);
    }
    wrong
}

async fn tabs_that_renew_at_once_stay_signed_in_in_one_session(place: Place) {
    assert_eq!(race(&World::at(&place).await, 30).await, Wrong::default());
}

async fn a_refresh_token_used_again_ends_its_session(place: Place) {
    let world = World::at(&place).await;
    let member = world.create("ada@example.com").await.unwrap();
    assert_eq!(reuse(&world, &member, "ada@example.com", STOLEN).await, Wrong::default());
    let told = world.told(&member).await;
    assert_eq!(told.iter().filter(|name| *name == "SessionRevoked").count(), STOLEN, "each once");
}

/// Neither uses an access token, so nothing is ever seen of them but that they renew.
async fn a_thief_who_only_ever_renews_is_noticed_when_either_comes_again(place: Place) {
    let world = World::at(&place).await;
    let member = world.create("ada@example.com").await.unwrap();
    let renew = async |token: &str| {
        let renewed = world.accounts.refresh(token, &origin("req_refresh")).await;
        renewed.map(|renewed| renewed.refresh_token)
    };
    for the_second_goes_on in [false, true] {
        let shared = world.sign_in("ada@example.com", PASSWORD).await.unwrap().refresh_token;
        let first = renew(&shared).await.unwrap();
        world.pass(60);
        // An answer may have been lost: nobody can tell from here.
        let mut second = renew(&shared).await.unwrap();
        assert_ne!(first, second, "both have the same for ever");
        if the_second_goes_on {
            world.pass(60);
            second = renew(&second).await.unwrap();
        }
        world.pass(60);
        for token in [first, second] {
            assert!(matches!(renew(&token).await, Err(AccountError::SessionEnded)));
        }
        assert_eq!(world.told(&member).await.last().map(String::as_str), Some("SessionRevoked"));
        assert!(world.store.sessions(&member).await.unwrap().is_empty());
    }
}

async fn whose_answer_was_lost_stays_signed_in_however_often(place: Place) {
    let world = World::at(&place).await;
    world.create("ada@example.com").await.unwrap();
    let mut token = world.sign_in("ada@example.com", PASSWORD).await.unwrap().refresh_token;
    for wait in [60, 5, 3_600, 1] {
        for _ in 0..3 {
            world.accounts.refresh(&token, &origin("req_lost")).await.unwrap();
            world.pass(wait);
        }
        token = world.accounts.refresh(&token, &origin("req_arrived")).await.unwrap().refresh_token;
        world.pass(60);
    }
    // Two tabs that have both lost it are given the same.
    let lost = token.clone();
    world.accounts.refresh(&lost, &origin("req_lost")).await.unwrap();
    world.pass(60);
    let tabs = (0..8).map(|_| {
        let (accounts, token) = (world.accounts.clone(), lost.clone());
        tokio::spawn(async move { accounts.refresh(&token, &origin("req_tab")).await.unwrap().refresh_token })
    });
    let mut given = HashSet::new();
    for tab in tabs.collect::<Vec<_>>() {
        given.insert(tab.await.unwrap());
    }
    assert_eq!(given.len(), 1);
}

async fn a_rotation_without_its_condition_is_noticed(place: Place) {
    let world = World::with(&place, |store| Tampered::with(store, Fault::SpendsAnything)).await;
    let wrong = race(&world, 15).await;
    assert!(wrong.forks > 0 && wrong.families > 0, "{wrong:?}");
}

async fn a_reuse_that_ends_nothing_is_noticed(place: Place) {
    let world = World::with(&place, |store| Tampered::with(store, Fault::EndsNothing)).await;
    let member = world.create("ada@example.com").await.unwrap();
    let wrong = reuse(&world, &member, "ada@example.com", 3).await;
    assert_eq!(wrong.went_on, 3);
}

mod long {
    use super::*;

    const ROUNDS: usize = 1_000;

    async fn races(place: Place, store: &str) {
        let world = World::at(&place).await;
        let begun = Instant::now();
        let mut wrong = race(&world, ROUNDS).await;
        let (raced, begun) = (begun.elapsed(), Instant::now());
        for number in 0..ROUNDS / STOLEN {
            let email = format!("{number}@example.com");
            let member = world.create(&email).await.unwrap();
            wrong.went_on += reuse(&world, &member, &email, STOLEN).await.went_on;
            // So many sign-ins from one network have to wait for the next quarter of an hour.
            world.pass(900);
        }
        let reused = begun.elapsed();
        println!(
            "{store}: {ROUNDS} rounds of {} to {} tabs in {raced:.1?}, {ROUNDS} tokens used again in {reused:.1?}: {wrong:?}",
            TABS.0, TABS.1
        );
        assert_eq!(wrong, Wrong::default());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "long: make soak"]
    async fn refresh_races_in_a_file() {
        races(Place::sqlite(), "SQLite").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "long: make soak"]
    async fn refresh_races_in_a_database() {
        races(Place::postgres().await, "PostgreSQL").await;
    }
}
