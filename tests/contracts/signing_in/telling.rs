//! Whatever is interrupted, the log is told in the end of everything that happened to an account.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accounts::{AccountError, NewAccount};
use domain::account::Role;
use domain::events::upcasters;
use domain::ids::MemberId;
use domain::metadata::Actor;
use domain::ports::Position;
use projections::access_index::{AccessIndex, IndexFollower};
use projections::directory::Directory;
use projections::parked::Batch;
use projections::past::Past;
use projections::runner::{self, Projection, progress};

use super::tampered::{Fault, Tampered};
use super::{Cut, EMAIL, PASSWORD, World, origin};
use crate::store::{Place, on_both};

on_both! {
    of_more_sessions_than_are_told_at_once_all_are_told_before_the_answer,
    a_change_the_log_could_not_be_told_of_is_told_later_and_once,
    fewer_rights_count_at_once_and_are_told_later,
    what_cannot_be_told_of_one_account_holds_up_no_other,
    an_account_whose_opening_was_interrupted_is_told_later,
    an_account_whose_deletion_was_interrupted_is_told_later_and_gone_at_once,
    a_session_is_in_the_history_before_it_can_be_used,
    what_ends_a_session_reaches_the_index_of_access,
    the_timeline_of_a_member_tells_of_her_account,
    an_account_is_not_deleted_while_it_is_paid_for,
    nothing_personal_is_in_the_history,
}

const NEW: &str = "a hundred tame swans";

async fn a_change_the_log_could_not_be_told_of_is_told_later_and_once(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let here = world.sign_in(EMAIL, PASSWORD).await.unwrap();
    let elsewhere = world.sign_in(EMAIL, PASSWORD).await.unwrap();
    let before = world.told(&member).await;
    world.cut_the_line(Cut::Everybodys);
    let asked = origin("req_change");
    let change = world.accounts.change_password(&member, &here.session, PASSWORD, NEW, &asked).await;
    assert!(matches!(change, Err(AccountError::Store(_))), "whoever asks learns that something is open");
    world.cut_the_line(Cut::Nobodys);
    assert_eq!(world.told(&member).await, before);
    let gone = world.accounts.refresh(&elsewhere.refresh_token, &origin("req_refresh")).await;
    assert!(matches!(gone, Err(AccountError::SessionEnded)), "the change itself is whole");
    world.accounts.refresh(&here.refresh_token, &origin("req_refresh")).await.unwrap();

    world.pass(61);
    for _ in 0..2 {
        world.accounts.tidy().await.unwrap();
    }
    let later = &world.history(&member).await[before.len()..];
    let names: Vec<_> = later.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(names, ["SessionRevoked", "PasswordChanged"]);
    let changed = &later[1].metadata;
    assert_eq!(changed.correlation_id, "req_change", "as if it had been told at once");
    assert_eq!(changed.actor, Actor::member(&member));
    assert!(changed.recorded_at > changed.occurred_at);
    assert_eq!(later[0].payload["session"], elsewhere.session.as_str());
    world.sign_in(EMAIL, NEW).await.unwrap();
}

async fn fewer_rights_count_at_once_and_are_told_later(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let give = async |role| world.accounts.set_role(&member, role, Actor::operator(), "req_role").await;
    give(Role::Support).await.unwrap();
    let support = world.sign_in(EMAIL, PASSWORD).await.unwrap();
    world.cut_the_line(Cut::Everybodys);
    give(Role::Member).await.unwrap_err();
    let renewed = world.accounts.refresh(&support.refresh_token, &origin("req_refresh")).await;
    assert!(matches!(renewed, Err(AccountError::SessionEnded)));
    world.cut_the_line(Cut::Nobodys);
    world.pass(61);
    world.accounts.tidy().await.unwrap();
    let told = world.told(&member).await;
    assert_eq!(told[told.len() - 2..], ["SessionRevoked", "RoleChanged"]);
}

async fn what_cannot_be_told_of_one_account_holds_up_no_other(place: Place) {
    let world = World::at(&place).await;
    let mut members = Vec::new();
    for email in ["ada@example.com", "bob@example.com", "eve@example.com"] {
        let member = world.create(email).await.unwrap();
        let session = world.sign_in(email, PASSWORD).await.unwrap().session;
        world.cut_the_line(Cut::Everybodys);
        world.accounts.set_role(&member, Role::Support, Actor::operator(), "req_role").await.unwrap_err();
        world.accounts.logout(&member, &session, &origin("req_logout")).await.unwrap_err();
        world.cut_the_line(Cut::Nobodys);
        members.push(member);
    }
    let finished = async |member: &MemberId| {
        let told = world.told(member).await;
        told.ends_with(&["SessionRevoked".to_owned(), "RoleChanged".to_owned()])
    };
    world.pass(61);
    world.cut_the_line(Cut::Of(members[1].clone()));
    world.accounts.tidy().await.unwrap_err();
    assert!(finished(&members[0]).await && !finished(&members[1]).await && finished(&members[2]).await);
    world.cut_the_line(Cut::Nobodys);
    world.accounts.tidy().await.unwrap();
    assert!(finished(&members[1]).await);
}

async fn an_account_whose_opening_was_interrupted_is_told_later(place: Place) {
    let world = World::at(&place).await;
    world.cut_the_line(Cut::Everybodys);
    world.create(EMAIL).await.unwrap_err();
    world.cut_the_line(Cut::Nobodys);
    let member = world.accounts.account_by_email(EMAIL).await.unwrap().unwrap().member;
    world.accounts.tidy().await.unwrap();
    assert!(world.told(&member).await.is_empty(), "whoever opens it may still be about to tell");
    world.pass(61);
    for _ in 0..2 {
        world.accounts.tidy().await.unwrap();
    }
    assert_eq!(world.told(&member).await, ["AccountRegistered", "EmailVerified"]);
    let known = world.storage.feed.read_stream("member", member.as_str()).await.unwrap();
    assert_eq!(known.len(), 1);
}

async fn an_account_whose_deletion_was_interrupted_is_told_later_and_gone_at_once(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    world.sign_in(EMAIL, PASSWORD).await.unwrap();
    world.cut_the_line(Cut::Everybodys);
    world.accounts.delete_account(&member, PASSWORD, &origin("req_delete")).await.unwrap_err();
    world.cut_the_line(Cut::Nobodys);
    let gone = world.sign_in(EMAIL, PASSWORD).await.err().expect("it is deleted");
    assert!(matches!(gone, AccountError::WrongCredentials), "{gone}");
    world.pass(61);
    for _ in 0..2 {
        world.accounts.tidy().await.unwrap();
    }
    let told = world.told(&member).await;
    assert_eq!(told[told.len() - 2..], ["SessionRevoked", "AccountDeleted"]);
    assert_ne!(world.create(EMAIL).await.unwrap(), member, "who comes back is somebody else");
}

async fn of_more_sessions_than_are_told_at_once_all_are_told_before_the_answer(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    for _ in 0..105 {
        world.sign_in(EMAIL, PASSWORD).await.unwrap();
    }
    for role in [Role::Support, Role::Member] {
        world.accounts.set_role(&member, role, Actor::operator(), "req_role").await.unwrap();
    }
    let told = world.told(&member).await;
    assert_eq!(told.iter().filter(|name| *name == "SessionRevoked").count(), 105);
}

async fn a_session_is_in_the_history_before_it_can_be_used(place: Place) {
    let world = World::with(&place, |store| Tampered::with(store, Fault::BeginsNothing)).await;
    let member = world.create(EMAIL).await.unwrap();
    assert!(matches!(world.sign_in(EMAIL, PASSWORD).await.err(), Some(AccountError::Store(_))));
    assert_eq!(world.told(&member).await.last().map(String::as_str), Some("SignedIn"));
    assert!(world.store.sessions(&member).await.unwrap().is_empty());
}

async fn follow(world: &World, index: &Arc<AccessIndex>) {
    let mut follower = IndexFollower::new(index.clone());
    let head = world.storage.feed.head().await.unwrap();
    let mut at = Position::START;
    while at < head {
        let page = world.storage.feed.read(at, 100).await.unwrap();
        if page.events.is_empty() {
            world.storage.feed.changed(Duration::from_secs(1)).await;
        }
        at = page.next;
        let batch = Batch::read(page.events, follower.parked(), &upcasters());
        follower.apply(batch, at).await.unwrap();
    }
}

async fn what_ends_a_session_reaches_the_index_of_access(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let [stays, signed_out, revoked, other] = [0; 4].map(|_| world.sign_in(EMAIL, PASSWORD));
    let (stays, signed_out) = (stays.await.unwrap(), signed_out.await.unwrap());
    let (revoked, other) = (revoked.await.unwrap(), other.await.unwrap());
    world.accounts.logout(&member, &signed_out.session, &origin("req_1")).await.unwrap();
    let actor = Actor::member(&member);
    world.accounts.revoke_session(&member, &revoked.session, actor, "req_2").await.unwrap();
    let ended = async |session: &accounts::SignedIn| {
        let index = Arc::new(AccessIndex::default());
        follow(&world, &index).await;
        index.session_is_revoked(&session.session)
    };
    assert!(ended(&signed_out).await && ended(&revoked).await);
    assert!(!ended(&stays).await && !ended(&other).await);
    world.accounts.change_password(&member, &stays.session, PASSWORD, NEW, &origin("req_3")).await.unwrap();
    assert!(ended(&other).await && !ended(&stays).await);
    world.accounts.set_role(&member, Role::Support, Actor::operator(), "req_4").await.unwrap();
    assert!(!ended(&stays).await, "more rights end nothing");
    world.accounts.set_role(&member, Role::Member, Actor::operator(), "req_5").await.unwrap();
    assert!(ended(&stays).await);
    let last = world.sign_in(EMAIL, NEW).await.unwrap();
    world.accounts.delete_account(&member, NEW, &origin("req_6")).await.unwrap();
    assert!(ended(&last).await);
}

async fn the_timeline_of_a_member_tells_of_her_account(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let session = world.sign_in(EMAIL, PASSWORD).await.unwrap().session;
    let last = world.accounts.logout(&member, &session, &origin("req_logout")).await.unwrap();
    let (feed, views) = (world.storage.feed.clone(), world.storage.views.clone());
    let (report, progress) = progress();
    let following =
        tokio::spawn(runner::follow(feed.clone(), Directory::new(views.clone()), report)).abort_handle();
    assert!(progress.wait_for(last, Duration::from_mins(1)).await);
    let remarks = world.storage.remarks.clone();
    let timeline = Past::new(feed, views, remarks, progress).timeline(&member).await.unwrap();
    following.abort();
    let told: Vec<_> = timeline.iter().map(|entry| entry.sentence.as_str()).collect();
    let expected = ["Member registered", "Account opened", "E-mail address confirmed"];
    assert_eq!(told, [&expected[..], &["Signed in from a new device", "Signed out"]].concat());
    assert_eq!(timeline[4].stream, format!("account/{member}"));
}

async fn an_account_is_not_deleted_while_it_is_paid_for(place: Place) {
    let world = World::at(&place).await;
    let member = world.create(EMAIL).await.unwrap();
    let delete = async || world.accounts.delete_account(&member, PASSWORD, &origin("req_delete")).await;
    world.outside.paying.store(true, Ordering::Relaxed);
    assert!(matches!(delete().await, Err(AccountError::Paying)));
    let session = world.sign_in(EMAIL, PASSWORD).await.unwrap();
    world.outside.paying.store(false, Ordering::Relaxed);
    delete().await.unwrap();
    let gone = world.accounts.refresh(&session.refresh_token, &origin("req_refresh")).await;
    assert!(matches!(gone, Err(AccountError::SessionEnded)));
}

async fn nothing_personal_is_in_the_history(place: Place) {
    let world = World::at(&place).await;
    let new = NewAccount { email: EMAIL, role: Role::Support, password: Some(PASSWORD) };
    let member: MemberId = world.accounts.create(new, Actor::operator(), "req_1").await.unwrap().member;
    let from = accounts::Origin {
        address: Some("203.0.113.77".parse().unwrap()),
        user_agent: Some("Lynx/2.8 of Ada".to_owned()),
        ..origin("req_2")
    };
    for password in [PASSWORD, "wrong, and not short"] {
        world.accounts.login(EMAIL, password, &from).await.ok();
    }
    world.accounts.delete_account(&member, PASSWORD, &from).await.unwrap();
    let log = format!("{:?}", world.history(&member).await);
    assert!(log.contains("SignedIn") && log.contains("AccountDeleted"));
    for personal in ["ada@example", "203.0.113", "Lynx", "geese"] {
        assert!(!log.contains(personal), "{personal}");
    }
}
