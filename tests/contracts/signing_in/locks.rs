//! Locked accounts, and rights that are given: in force at once, told in the end, whatever is interrupted.

use accounts::store::{TokenKind, TokenRecord};
use accounts::{AccountError, Login, NewAccount, SignedIn};
use chrono::TimeDelta;
use domain::account::{Lock, Role, StaffLetter};
use domain::clock::Clock;
use domain::ids::MemberId;
use domain::metadata::Actor;
use sha2::{Digest, Sha256};

use super::{Cut, EMAIL, PASSWORD, World, origin};
use crate::store::{Place, on_both};

on_both! {
    a_locked_account_has_no_way_in_and_an_unlocked_one_has_all,
    a_lock_counts_at_once_and_is_told_later_and_once,
    a_lock_that_ends_by_itself_lets_her_in,
    rights_that_are_given_at_once_leave_an_owner,
    who_is_invited_is_told_and_confirmed_whatever_is_interrupted,
    who_is_invited_and_given_a_password_by_the_operator_comes_in_with_it,
}

const GOOD: Lock = Lock { until: None };

async fn lock(world: &World, member: &MemberId, lock: Lock) -> Result<(), AccountError> {
    world.accounts.lock(member, lock, "rmk_lock".into(), Actor::operator(), "req_lock").await.map(|_| ())
}

async fn unlock(world: &World, member: &MemberId) -> Result<(), AccountError> {
    world.accounts.unlock(member, "rmk_unlock".into(), Actor::operator(), "req_unlock").await.map(|_| ())
}

/// What the letter would hold with which she chooses a password.
async fn token(world: &World, member: &MemberId) -> String {
    let (token, now) = (format!("{member}-{}", world.clock.now()), world.clock.now());
    let record = TokenRecord {
        hash: Sha256::digest(token.as_bytes()).into(),
        kind: TokenKind::Reset,
        member: Some(member.clone()),
        email: Some(EMAIL.to_owned()),
        password: None,
        created_at: now,
        expires_at: now + TimeDelta::hours(1),
        tries: 0,
    };
    world.store.add_token(record).await.unwrap();
    token
}

/// Every way of signing in there is, each with what it came to.
async fn ways_in(
    world: &World,
    member: &MemberId,
    before: &SignedIn,
) -> [(&'static str, Result<(), AccountError>); 4] {
    let login = world.accounts.login(EMAIL, PASSWORD, &origin("req_login")).await.map(|_| ());
    let as_her = world.accounts.sign_in_as(member, Actor::operator(), &origin("req_as")).await.map(|_| ());
    let wrong = world.accounts.login(EMAIL, "another one altogether", &origin("req_wrong")).await.map(|_| ());
    let renewed = world.accounts.refresh(&before.refresh_token, &origin("req_refresh")).await.map(|_| ());
    [("password", login), ("as her", as_her), ("wrong password", wrong), ("renewal", renewed)]
}

async fn a_locked_account_has_no_way_in_and_an_unlocked_one_has_all(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let before = world.sign_in(EMAIL, PASSWORD).await.unwrap();
    lock(&world, &member, GOOD).await.unwrap();
    for (way, result) in ways_in(&world, &member, &before).await {
        match (way, result) {
            ("wrong password", Err(AccountError::WrongCredentials))
            | ("renewal", Err(AccountError::SessionEnded))
            | ("password" | "as her", Err(AccountError::Locked(GOOD))) => {}
            (way, result) => panic!("{way}: {result:?}"),
        }
    }
    let told = world.told(&member).await;
    assert_eq!(
        told[told.len() - 2..],
        ["AccountLocked", "SessionRevoked"],
        "no sign-in is told that never was"
    );
    unlock(&world, &member).await.unwrap();
    let [password, as_her, ..] = ways_in(&world, &member, &before).await;
    assert!(password.1.is_ok() && as_her.1.is_ok());
}

async fn a_lock_counts_at_once_and_is_told_later_and_once(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let before = world.sign_in(EMAIL, PASSWORD).await.unwrap();
    world.cut_the_line(Cut::Everybodys);
    lock(&world, &member, GOOD).await.unwrap_err();
    let renewed = world.accounts.refresh(&before.refresh_token, &origin("req_refresh")).await;
    assert!(matches!(renewed, Err(AccountError::SessionEnded)));
    assert!(matches!(world.sign_in(EMAIL, PASSWORD).await, Err(AccountError::Locked(_))));
    world.cut_the_line(Cut::Nobodys);
    world.pass(61);
    for _ in 0..2 {
        world.accounts.tidy().await.unwrap();
    }
    let told = world.told(&member).await;
    assert_eq!(told.iter().filter(|name| *name == "AccountLocked").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|name| *name == "SessionRevoked").count(), 1, "{told:?}");
    // The same words again, as after an answer that was lost.
    lock(&world, &member, GOOD).await.unwrap();
    assert_eq!(world.told(&member).await, told);
}

async fn a_lock_that_ends_by_itself_lets_her_in(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let until = "2026-11-22T12:01:00Z".parse().unwrap();
    lock(&world, &member, Lock { until: Some(until) }).await.unwrap();
    world.pass(59);
    assert!(matches!(world.sign_in(EMAIL, PASSWORD).await, Err(AccountError::Locked(_))));
    world.pass(1);
    world.sign_in(EMAIL, PASSWORD).await.unwrap();
}

async fn rights_that_are_given_at_once_leave_an_owner(place: Place) {
    let world = World::at(&place).await;
    let mut owners = Vec::new();
    for email in ["ada@example.com", "bob@example.com"] {
        let new = NewAccount { email, role: Role::Owner, password: Some(PASSWORD) };
        owners.push(world.accounts.create(new, Actor::operator(), "req_create").await.unwrap().member);
    }
    let take = |of: usize, by: usize| {
        let (accounts, member) = (world.accounts.clone(), owners[of].clone());
        let (actor, remark) = (Actor::staff(&owners[by]), format!("rmk_{of}").into());
        tokio::spawn(
            async move { accounts.give_role(&member, Role::Member, remark, actor, "req_take").await },
        )
    };
    let (first, second) = (take(1, 0), take(0, 1));
    let done = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{done:?}");
    assert!(done.iter().any(|done| matches!(done, Err(AccountError::LastOwner))), "{done:?}");
    let left = world.accounts.list(Some(Role::Owner), None, 9).await.unwrap();
    assert_eq!(left.len(), 1);
    let (owner, remark) = (&left[0].member, "rmk_3".into());
    assert!(matches!(lock(&world, owner, GOOD).await, Err(AccountError::LastOwner)));
    let deleted = world.accounts.delete_account(owner, PASSWORD, &origin("req_delete")).await;
    assert!(matches!(deleted, Err(AccountError::LastOwner)));
    let erased = world.accounts.erase(owner, Actor::operator(), "req_erase").await;
    assert!(matches!(erased, Err(AccountError::LastOwner)));
    let other = owners.iter().find(|one| *one != owner).unwrap();
    world.accounts.give_role(other, Role::Owner, remark, Actor::staff(owner), "req_give").await.unwrap();
    lock(&world, owner, GOOD).await.unwrap();
}

async fn who_is_invited_is_told_and_confirmed_whatever_is_interrupted(place: Place) {
    let world = World::at(&place).await;
    let actor = Actor::operator;
    world.cut_the_line(Cut::Everybodys);
    world.accounts.open_for_invitation(EMAIL, actor(), "req_invite").await.unwrap_err();
    world.cut_the_line(Cut::Nobodys);
    world.pass(61);
    world.accounts.tidy().await.unwrap();
    let member = world.accounts.open_for_invitation(EMAIL, actor(), "req_again").await.unwrap();
    assert_eq!(world.told(&member).await, ["AccountRegistered"], "nobody has shown that the address is hers");
    world.accounts.invite(&member, Role::Support, "rmk_1".into(), actor(), "req_invite").await.unwrap();
    assert_eq!(world.told(&member).await[1..], ["RoleChanged", "StaffSentLetter"]);
    assert!(world.accounts.may_send_letter(&member, StaffLetter::Invitation).await.is_ok());
    let login = world.accounts.login(EMAIL, PASSWORD, &origin("req_login")).await;
    assert!(matches!(login, Err(AccountError::WrongCredentials)));
    let known = world.accounts.account(&member).await.unwrap().unwrap();
    assert!(!known.verified && !known.has_password && known.role == Role::Support);
    // The line is cut while she chooses her password: the table knows, and the log is told later.
    let chosen = token(&world, &member).await;
    world.cut_the_line(Cut::Everybodys);
    world.accounts.reset_password(&chosen, PASSWORD, &origin("req_choose")).await.unwrap_err();
    world.cut_the_line(Cut::Nobodys);
    world.pass(61);
    world.accounts.tidy().await.unwrap();
    assert_eq!(world.told(&member).await.last().map(String::as_str), Some("EmailVerified"));
    let chosen = token(&world, &member).await;
    world.accounts.reset_password(&chosen, PASSWORD, &origin("req_choose")).await.unwrap();
    assert!(matches!(
        world.accounts.login(EMAIL, PASSWORD, &origin("req_login")).await,
        Ok(Login::SignedIn(signed_in)) if signed_in.role == Role::Support
    ));
    assert!(matches!(world.accounts.may_invite(EMAIL).await, Err(AccountError::AccountExists(_))));
}

async fn who_is_invited_and_given_a_password_by_the_operator_comes_in_with_it(place: Place) {
    let world = World::at(&place).await;
    let member = world.accounts.open_for_invitation(EMAIL, Actor::operator(), "req_invite").await.unwrap();
    world
        .accounts
        .invite(&member, Role::Owner, "rmk_1".into(), Actor::operator(), "req_invite")
        .await
        .unwrap();
    let new = |password| NewAccount { email: EMAIL, role: Role::Owner, password };
    let create = |new| world.accounts.create(new, Actor::operator(), "req_create");
    create(new(None)).await.unwrap();
    assert!(!world.accounts.account(&member).await.unwrap().unwrap().verified, "nothing was shown by that");
    assert!(!world.accounts.is_last_owner(&member).await.unwrap());
    assert_eq!(create(new(Some(PASSWORD))).await.unwrap().member, member);
    assert!(world.accounts.account(&member).await.unwrap().unwrap().verified);
    assert!(world.accounts.is_last_owner(&member).await.unwrap());
    assert!(world.told(&member).await.iter().any(|told| told == "EmailVerified"));
    world.sign_in(EMAIL, PASSWORD).await.unwrap();
}
