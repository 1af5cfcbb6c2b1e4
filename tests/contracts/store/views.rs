//! Views and their checkpoints.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::grant::Given;
use domain::ids::MemberId;
use domain::ports::Position;
use domain::subscription::{Anchors, CollectionPause, Item, Standing, Status, Terms};
use projections::parked::{ParkedStream, StreamId};
use projections::view_store::{
    Change, Checkpoint, DirectoryDump, DirectoryRow, IdKind, Promotion, SaveError, ViewState,
};
use storage::Storage;

use super::{Place, noon, on_both, seconds};

const VIEW: &str = "directory-v2";
const BUILT: &str = "directory-v2 rebuilt";

on_both! {
    a_view_that_is_not_known_begins_at_the_start,
    rows_parked_streams_and_checkpoint_are_saved_together,
    a_row_replaces_the_one_with_its_id,
    a_change_of_one_who_comes_too_late_is_not_made,
    of_those_who_save_at_once_one_moves_the_checkpoint,
    a_view_begun_again_is_empty_and_what_it_had_is_swept,
    a_view_built_beside_the_live_one_replaces_it_at_once,
    of_two_builds_the_later_one_counts,
    two_versions_of_a_view_are_kept_side_by_side,
    a_member_is_found_by_what_belongs_to_her,
    a_payer_that_was_unlinked_is_hers_no_more_and_is_remembered,
    a_member_is_found_by_how_an_id_of_hers_begins,
    what_is_typed_has_no_wildcards,
    a_dump_is_in_order,
}

fn member(id: &str, position: u64) -> DirectoryRow {
    DirectoryRow::Member { member: id.into(), registered_at: noon(), position: Position::new(position) }
}

fn customer(id: &str, member: &str, position: u64) -> DirectoryRow {
    link(id, member, true, position)
}

fn link(customer: &str, member: &str, linked: bool, position: u64) -> DirectoryRow {
    let (customer, member) = (customer.into(), member.into());
    DirectoryRow::Customer { customer, member, linked, position: Position::new(position) }
}

fn subscription(id: &str, customer: &str, status: Status, position: u64) -> DirectoryRow {
    let terms = Terms {
        items: vec![Item {
            price: Some("price_1".into()),
            product: None,
            period_end: Some(noon() + seconds(60)),
        }],
        plans: vec!["pro".into(), "basic".into()],
        started_at: Some(noon()),
        period_end: Some(noon() + seconds(60)),
        cancels_at_period_end: true,
        end_reason: Some("payment_failed \u{1F980}".to_owned()),
        collection_paused: Some(CollectionPause { behavior: "void".to_owned(), resumes_at: Some(noon()) }),
        ..Terms::new(customer.into(), status)
    };
    let anchors = Anchors { plans: vec!["pro".into()], grace_from: Some(noon()), ..Anchors::default() };
    DirectoryRow::Subscription {
        subscription: id.into(),
        standing: Box::new(Standing { terms, anchors }),
        position: Position::new(position),
    }
}

fn grant(id: &str, member: &str, until: Option<DateTime<Utc>>, revoked: bool, position: u64) -> DirectoryRow {
    let given = Given { member: member.into(), plan: "basic".into(), from: noon(), until };
    DirectoryRow::Grant { grant: id.into(), given, revoked, position: Position::new(position) }
}

fn checkout(session: &str, member: &str, position: u64) -> DirectoryRow {
    DirectoryRow::Checkout {
        session: session.to_owned(),
        member: member.into(),
        position: Position::new(position),
    }
}

fn at(position: u64) -> Position {
    Position::new(position)
}

fn saying(to: u64, rows: Vec<DirectoryRow>) -> Change {
    Change { to: at(to), rows, ..Change::default() }
}

fn parked(id: &str, position: u64) -> ParkedStream {
    let stream = StreamId { aggregate_type: "subscription".to_owned(), aggregate_id: id.to_owned() };
    ParkedStream { stream, position: at(position), why: "an unknown shape \u{1F980}".to_owned() }
}

async fn state(storage: &Storage, view: &str) -> ViewState {
    let state = storage.views.state(view).await.unwrap();
    assert_eq!(storage.views.checkpoint(view).await.unwrap(), state.checkpoint);
    state
}

/// Saves on top of what is there.
async fn save(storage: &Storage, view: &str, change: Change) -> Checkpoint {
    let from = state(storage, view).await.checkpoint;
    let saved = storage.views.save(view, from, change).await.unwrap();
    assert_eq!(state(storage, view).await.checkpoint, saved);
    saved
}

async fn dump(storage: &Storage, view: &str) -> DirectoryDump {
    storage.views.dump(view).await.unwrap()
}

async fn a_view_that_is_not_known_begins_at_the_start(place: Place) {
    let storage = place.open().await;
    assert_eq!(state(&storage, VIEW).await, ViewState::default());
    assert_eq!(dump(&storage, VIEW).await, DirectoryDump::default());
    let from = Checkpoint { position: at(3), generation: 7, revision: 0 };
    let moved = storage.views.save(VIEW, from, saying(4, Vec::new())).await.unwrap_err();
    assert!(matches!(moved, SaveError::CheckpointMoved(name) if name == VIEW));
}

async fn rows_parked_streams_and_checkpoint_are_saved_together(place: Place) {
    let storage = place.open().await;
    let rows = vec![
        member("mem_ada", 1),
        customer("cus_1", "mem_ada", 2),
        subscription("sub_1", "cus_1", Status::Unknown("new_word".to_owned()), 3),
        grant("grt_1", "mem_ada", Some(noon() + seconds(60)), false, 4),
        checkout("cs_1", "mem_ada", 5),
    ];
    let change = Change { parked: vec![parked("sub_1", 4), parked("sub_2", 5)], ..saying(5, rows.clone()) };
    save(&storage, VIEW, change).await;
    assert_eq!(state(&storage, "another").await, ViewState::default());
    let both = [parked("sub_1", 4), parked("sub_2", 5)].into_iter().collect();
    let whole = DirectoryDump { checkpoint: at(5), parked: both, rows: rows.clone() };
    assert_eq!(dump(&storage, VIEW).await, whole);
    assert_eq!(state(&storage, VIEW).await.parked, whole.parked);
    // A stream that is cured and stands still again at a later event ends parked.
    let (first, second) = (parked("sub_1", 4).stream, parked("sub_2", 5).stream);
    let change =
        Change { cured: vec![first, second], parked: vec![parked("sub_2", 8)], ..saying(9, Vec::new()) };
    save(&storage, VIEW, change).await;
    storage.shutdown().await;

    let again = place.open().await;
    let left = [parked("sub_2", 8)].into_iter().collect();
    assert_eq!(dump(&again, VIEW).await, DirectoryDump { checkpoint: at(9), parked: left, rows });
}

async fn a_row_replaces_the_one_with_its_id(place: Place) {
    let storage = place.open().await;
    let first = vec![
        member("mem_ada", 1),
        customer("cus_1", "mem_ada", 2),
        link("cus_1", "mem_ada", false, 3),
        grant("grt_1", "mem_ada", None, false, 3),
        checkout("cs_1", "mem_ada", 3),
    ];
    save(&storage, VIEW, saying(3, first)).await;
    let second = vec![
        customer("cus_1", "mem_eve", 4),
        subscription("sub_1", "cus_1", Status::Active, 5),
        subscription("sub_1", "cus_2", Status::Canceled, 6),
        grant("grt_1", "mem_ada", Some(noon()), true, 6),
        checkout("cs_1", "mem_ada", 6),
    ];
    save(&storage, VIEW, saying(6, second)).await;
    let rows = vec![
        member("mem_ada", 1),
        link("cus_1", "mem_ada", false, 3),
        customer("cus_1", "mem_eve", 4),
        subscription("sub_1", "cus_2", Status::Canceled, 6),
        grant("grt_1", "mem_ada", Some(noon()), true, 6),
        checkout("cs_1", "mem_ada", 6),
    ];
    assert_eq!(dump(&storage, VIEW).await.rows, rows);
}

async fn a_change_of_one_who_comes_too_late_is_not_made(place: Place) {
    let storage = place.open().await;
    let first = save(&storage, VIEW, saying(5, vec![member("mem_ada", 1)])).await;
    // Nothing but its parked streams changes, and the position stays: that is a change, too.
    let change = Change { parked: vec![parked("sub_1", 4)], ..saying(5, Vec::new()) };
    let second = save(&storage, VIEW, change).await;
    let before = dump(&storage, VIEW).await;
    let another = Checkpoint { generation: second.generation + 1, ..second };
    for from in [Checkpoint::default(), first, another] {
        let late = saying(9, vec![member("mem_bob", 2), member("mem_ada", 9)]);
        let late = storage.views.save(VIEW, from, late).await;
        assert!(matches!(late, Err(SaveError::CheckpointMoved(_))), "{late:?}");
    }
    assert_eq!(dump(&storage, VIEW).await, before);
}

async fn of_those_who_save_at_once_one_moves_the_checkpoint(place: Place) {
    let storage = Arc::new(place.open().await);
    for round in 0..10 {
        let from = state(&storage, VIEW).await.checkpoint;
        let saving: Vec<_> = (0..8)
            .map(|racer| {
                let storage = Arc::clone(&storage);
                let change = saying(round + 1, vec![member(&format!("mem_{round}_{racer}"), round)]);
                tokio::spawn(async move { storage.views.save(VIEW, from, change).await })
            })
            .collect();
        let mut saved = 0;
        for one in saving {
            match one.await.unwrap() {
                Ok(_) => saved += 1,
                Err(SaveError::CheckpointMoved(_)) => {}
                Err(SaveError::Store(why)) => panic!("{why}"),
            }
        }
        assert_eq!(saved, 1);
    }
    assert_eq!(dump(&storage, VIEW).await.rows.len(), 10);
}

/// Sweeps until nothing is left to remove.
async fn sweep(storage: &Storage) {
    while storage.views.sweep().await.unwrap() {}
}

async fn a_view_begun_again_is_empty_and_what_it_had_is_swept(place: Place) {
    let storage = place.open().await;
    let rows = || {
        vec![
            member("mem_ada", 1),
            customer("cus_1", "mem_ada", 2),
            subscription("sub_1", "cus_1", Status::Active, 3),
            grant("grt_1", "mem_ada", None, false, 3),
            checkout("cs_1", "mem_ada", 3),
        ]
    };
    let empty = storage.views.begin(VIEW).await.unwrap();
    let change = Change { parked: vec![parked("sub_1", 4)], ..saying(3, rows()) };
    storage.views.save(VIEW, empty, change).await.unwrap();
    storage.views.begin(VIEW).await.unwrap();
    assert_eq!(dump(&storage, VIEW).await, DirectoryDump::default());
    save(&storage, VIEW, saying(3, rows())).await;
    sweep(&storage).await;
    assert_eq!(dump(&storage, VIEW).await.rows, rows());
    for table in [
        "directory_members",
        "directory_customers",
        "directory_subscriptions",
        "directory_grants",
        "directory_checkouts",
        "generations",
    ] {
        assert_eq!(place.count(table).await, 1, "{table}");
    }
    assert_eq!(place.count("parked_streams").await, 0);
}

async fn a_view_built_beside_the_live_one_replaces_it_at_once(place: Place) {
    let storage = place.open().await;
    save(&storage, VIEW, saying(5, vec![member("mem_ada", 1), customer("cus_1", "mem_ada", 2)])).await;
    let before = dump(&storage, VIEW).await;
    let begun = storage.views.begin(BUILT).await.unwrap();
    let promote = async || storage.views.promote(BUILT, begun.generation, VIEW).await.unwrap();
    save(&storage, BUILT, saying(4, vec![member("mem_bob", 3)])).await;
    assert_eq!(dump(&storage, VIEW).await, before, "a build changes nothing that is live");
    assert_eq!(promote().await, Promotion::Behind);
    assert_eq!(dump(&storage, VIEW).await, before);
    let late = state(&storage, VIEW).await.checkpoint;
    save(&storage, BUILT, saying(5, vec![customer("cus_2", "mem_bob", 4)])).await;
    assert_eq!(promote().await, Promotion::Done(at(5)));
    let rows = vec![member("mem_bob", 3), customer("cus_2", "mem_bob", 4)];
    assert_eq!(dump(&storage, VIEW).await.rows, rows);
    assert_eq!(storage.views.customers_of(VIEW, &"mem_ada".into()).await.unwrap(), []);
    // Who was about to write to the old one finds out, though the position is the same.
    let late = storage.views.save(VIEW, late, saying(6, vec![member("mem_eve", 6)])).await;
    assert!(matches!(late, Err(SaveError::CheckpointMoved(_))), "{late:?}");
    assert_eq!(promote().await, Promotion::Gone);
    sweep(&storage).await;
    assert_eq!(dump(&storage, VIEW).await.rows, rows);
    assert_eq!(place.count("directory_members").await, 1);
    save(&storage, VIEW, saying(7, vec![member("mem_eve", 7)])).await;
}

async fn of_two_builds_the_later_one_counts(place: Place) {
    let storage = place.open().await;
    let first = storage.views.begin(BUILT).await.unwrap();
    let second = storage.views.begin(BUILT).await.unwrap();
    assert_ne!(first.generation, second.generation);
    let late = storage.views.save(BUILT, first, saying(5, vec![member("mem_ada", 1)])).await;
    assert!(matches!(late, Err(SaveError::CheckpointMoved(_))), "{late:?}");
    assert_eq!(storage.views.promote(BUILT, first.generation, VIEW).await.unwrap(), Promotion::Gone);
    let done = storage.views.promote(BUILT, second.generation, VIEW).await.unwrap();
    assert_eq!(done, Promotion::Done(at(0)), "also where nothing is live yet");
    assert_eq!(state(&storage, VIEW).await.checkpoint.generation, second.generation);
}

async fn two_versions_of_a_view_are_kept_side_by_side(place: Place) {
    let storage = place.open().await;
    let rows = |member_id: &str| {
        vec![
            member(member_id, 1),
            customer("cus_1", member_id, 2),
            subscription("sub_1", "cus_1", Status::Active, 3),
        ]
    };
    save(&storage, VIEW, saying(3, rows("mem_ada"))).await;
    save(&storage, "directory-v3", saying(3, rows("mem_bob"))).await;
    sweep(&storage).await;
    for (view, mine, other) in [(VIEW, "mem_ada", "mem_bob"), ("directory-v3", "mem_bob", "mem_ada")] {
        assert_eq!(dump(&storage, view).await.rows, rows(mine));
        assert_eq!(storage.views.registered_at(view, &other.into()).await.unwrap(), None, "{view}");
        assert_eq!(storage.views.customers_of(view, &other.into()).await.unwrap(), [], "{view}");
        assert_eq!(storage.views.customers_of(view, &mine.into()).await.unwrap(), ["cus_1".into()], "{view}");
    }
}

async fn a_member_is_found_by_what_belongs_to_her(place: Place) {
    let storage = place.open().await;
    let rows = vec![
        member("mem_ada", 1),
        customer("cus_b", "mem_ada", 2),
        customer("cus_B", "mem_ada", 2),
        customer("cus_a", "mem_ada", 3),
        customer("cus_c", "mem_bob", 4),
        subscription("sub_2", "cus_b", Status::Active, 5),
        subscription("sub_1", "cus_b", Status::Canceled, 6),
        subscription("sub_3", "cus_a", Status::Active, 7),
        subscription("sub_4", "cus_c", Status::Active, 8),
    ];
    save(&storage, VIEW, saying(8, rows)).await;
    let views = &storage.views;
    let customers = views.customers_of(VIEW, &"mem_ada".into()).await.unwrap();
    assert_eq!(customers, ["cus_B", "cus_a", "cus_b"].map(Into::into), "by bytes, as ids compare");
    let subscriptions = views.subscriptions_of(VIEW, &customers).await.unwrap();
    assert_eq!(subscriptions, ["sub_1", "sub_2", "sub_3"].map(Into::into));
    assert_eq!(views.registered_at(VIEW, &"mem_ada".into()).await.unwrap(), Some(noon()));
    assert_eq!(views.registered_at(VIEW, &"mem_bob".into()).await.unwrap(), None);
    assert_eq!(views.customers_of(VIEW, &"mem_eve".into()).await.unwrap(), []);
    assert_eq!(views.subscriptions_of(VIEW, &[]).await.unwrap(), []);
}

async fn a_payer_that_was_unlinked_is_hers_no_more_and_is_remembered(place: Place) {
    let storage = place.open().await;
    let rows = vec![
        member("mem_ada", 1),
        customer("cus_2", "mem_ada", 2),
        link("cus_1", "mem_ada", false, 3),
        customer("cus_1", "mem_bob", 4),
        subscription("sub_1", "cus_1", Status::Active, 5),
        grant("grt_2", "mem_ada", None, true, 6),
        grant("grt_1", "mem_ada", None, false, 7),
        grant("grt_3", "mem_bob", None, false, 8),
    ];
    save(&storage, VIEW, saying(8, rows)).await;
    let views = &storage.views;
    let (ada, bob): (MemberId, MemberId) = ("mem_ada".into(), "mem_bob".into());
    assert_eq!(views.customers_of(VIEW, &ada).await.unwrap(), ["cus_2".into()]);
    assert_eq!(views.customers_of(VIEW, &bob).await.unwrap(), ["cus_1".into()]);
    assert_eq!(views.customers_ever_of(VIEW, &ada).await.unwrap(), ["cus_1", "cus_2"].map(Into::into));
    let found =
        |found: Vec<(String, MemberId)>| found.into_iter().map(|(_, member)| member).collect::<Vec<_>>();
    for (kind, id) in [(IdKind::Customer, "cus_1"), (IdKind::Subscription, "sub_1")] {
        assert_eq!(found(views.find(VIEW, kind, id, 9).await.unwrap()), std::slice::from_ref(&bob));
    }
    assert_eq!(
        views.grants_of(VIEW, &ada).await.unwrap(),
        ["grt_1", "grt_2"].map(Into::into),
        "also revoked"
    );
    assert_eq!(views.grants_of("another", &ada).await.unwrap(), []);
}

async fn a_member_is_found_by_how_an_id_of_hers_begins(place: Place) {
    let storage = place.open().await;
    let rows = vec![
        member("mem_ada", 1),
        member("mem_adam", 1),
        member("mem_bob", 1),
        customer("cus_1a", "mem_ada", 2),
        customer("cus_1b", "mem_bob", 2),
        customer("cus_1B", "mem_bob", 2),
        subscription("sub_1", "cus_1a", Status::Active, 3),
        subscription("sub_2", "cus_nobodys", Status::Active, 3),
        grant("grt_1", "mem_bob", None, true, 4),
        checkout("cs_test_1", "mem_ada", 5),
        checkout("cs_test_2", "mem_bob", 5),
    ];
    save(&storage, VIEW, saying(5, rows)).await;
    let find = async |kind, prefix: &str, limit| storage.views.find(VIEW, kind, prefix, limit).await.unwrap();
    let pairs = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(id, member)| ((*id).to_owned(), (*member).into()))
            .collect::<Vec<(String, MemberId)>>()
    };
    let both = pairs(&[("mem_ada", "mem_ada"), ("mem_adam", "mem_adam")]);
    assert_eq!(find(IdKind::Member, "mem_ada", 9).await, both);
    assert_eq!(
        find(IdKind::Member, "mem_ada", 1).await,
        pairs(&[("mem_ada", "mem_ada")]),
        "no more than asked for"
    );
    let sorted = pairs(&[("cus_1B", "mem_bob"), ("cus_1a", "mem_ada"), ("cus_1b", "mem_bob")]);
    assert_eq!(find(IdKind::Customer, "cus_1", 9).await, sorted, "by bytes, as ids compare");
    assert_eq!(find(IdKind::Subscription, "sub_", 9).await, pairs(&[("sub_1", "mem_ada")]));
    assert_eq!(find(IdKind::Grant, "grt_1", 9).await, pairs(&[("grt_1", "mem_bob")]));
    assert_eq!(find(IdKind::Checkout, "cs_test_2", 9).await, pairs(&[("cs_test_2", "mem_bob")]));
    assert_eq!(find(IdKind::Checkout, "cs_test_3", 9).await, []);
    assert_eq!(storage.views.find("another", IdKind::Member, "mem_", 9).await.unwrap(), []);
}

async fn what_is_typed_has_no_wildcards(place: Place) {
    let storage = place.open().await;
    let rows = vec![member("mem_ada", 1), member("mem_a%", 1), member("memXada", 1)];
    save(&storage, VIEW, saying(1, rows)).await;
    for (typed, found) in
        [("mem_", 2), ("mem_a%", 1), ("%", 0), ("mem*", 0), ("mem_\\", 0), ("'", 0), ("", 3)]
    {
        let ids = storage.views.find(VIEW, IdKind::Member, typed, 9).await.unwrap();
        assert_eq!(ids.len(), found, "{typed}: {ids:?}");
    }
}

async fn a_dump_is_in_order(place: Place) {
    let storage = place.open().await;
    let sorted = vec![
        member("mem_-", 9),
        member("mem_A", 1),
        member("mem_a", 7),
        link("cus_1", "mem_A", false, 7),
        customer("cus_1", "mem_a", 8),
        customer("cus_2", "mem_A", 2),
        subscription("sub_1", "cus_2", Status::Trialing, 6),
        subscription("sub_2", "cus_1", Status::PastDue, 3),
        grant("grt_1", "mem_a", None, true, 5),
        grant("grt_2", "mem_A", Some(noon()), false, 4),
        checkout("cs_1", "mem_a", 3),
    ];
    let mut shuffled = sorted.clone();
    shuffled.reverse();
    save(&storage, VIEW, saying(9, shuffled)).await;
    assert_eq!(dump(&storage, VIEW).await.rows, sorted);
}
