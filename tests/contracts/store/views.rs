//! Views and their checkpoints.

use std::sync::Arc;

use domain::ports::Position;
use domain::subscription::{Anchors, CollectionPause, Item, Standing, Status, Terms};
use projections::view_store::{DirectoryDump, DirectoryRow, SaveError};

use super::{Place, noon, on_both, seconds};

const VIEW: &str = "directory";

on_both! {
    a_projection_that_is_not_known_begins_at_the_start,
    rows_and_checkpoint_are_saved_together,
    a_row_replaces_the_one_with_its_id,
    rows_of_one_who_comes_too_late_are_not_saved,
    of_those_who_save_at_once_one_moves_the_checkpoint,
    a_reset_empties_the_directory_and_its_checkpoint,
    a_member_is_found_by_what_belongs_to_her,
    a_dump_is_in_order,
}

fn member(id: &str, position: u64) -> DirectoryRow {
    DirectoryRow::Member { member: id.into(), registered_at: noon(), position: Position::new(position) }
}

fn customer(id: &str, member: &str, position: u64) -> DirectoryRow {
    DirectoryRow::Customer { customer: id.into(), member: member.into(), position: Position::new(position) }
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

fn at(position: u64) -> Position {
    Position::new(position)
}

async fn a_projection_that_is_not_known_begins_at_the_start(place: Place) {
    let views = place.open().await.views;
    assert_eq!(views.checkpoint(VIEW).await.unwrap(), Position::START);
    assert_eq!(views.dump(VIEW).await.unwrap(), DirectoryDump::default());
    let moved = views.save(VIEW, at(3), at(4), Vec::new()).await.unwrap_err();
    assert!(matches!(moved, SaveError::CheckpointMoved(name) if name == VIEW));
}

async fn rows_and_checkpoint_are_saved_together(place: Place) {
    let storage = place.open().await;
    let rows = vec![
        member("mem_ada", 1),
        customer("cus_1", "mem_ada", 2),
        subscription("sub_1", "cus_1", Status::Unknown("new_word".to_owned()), 3),
    ];
    storage.views.save(VIEW, Position::START, at(5), rows.clone()).await.unwrap();
    assert_eq!(storage.views.checkpoint(VIEW).await.unwrap(), at(5));
    assert_eq!(storage.views.checkpoint("another").await.unwrap(), Position::START);
    assert_eq!(
        storage.views.dump(VIEW).await.unwrap(),
        DirectoryDump { checkpoint: at(5), rows: rows.clone() }
    );
    storage.views.save(VIEW, at(5), at(9), Vec::new()).await.unwrap();
    storage.shutdown().await;

    let again = place.open().await;
    assert_eq!(again.views.dump(VIEW).await.unwrap(), DirectoryDump { checkpoint: at(9), rows });
}

async fn a_row_replaces_the_one_with_its_id(place: Place) {
    let views = place.open().await.views;
    let first = vec![member("mem_ada", 1), customer("cus_1", "mem_ada", 2), customer("cus_1", "mem_bob", 3)];
    views.save(VIEW, Position::START, at(3), first).await.unwrap();
    let second = vec![
        customer("cus_1", "mem_eve", 4),
        subscription("sub_1", "cus_1", Status::Active, 5),
        subscription("sub_1", "cus_2", Status::Canceled, 6),
    ];
    views.save(VIEW, at(3), at(6), second).await.unwrap();
    let rows = vec![
        member("mem_ada", 1),
        customer("cus_1", "mem_eve", 4),
        subscription("sub_1", "cus_2", Status::Canceled, 6),
    ];
    assert_eq!(views.dump(VIEW).await.unwrap(), DirectoryDump { checkpoint: at(6), rows });
}

async fn rows_of_one_who_comes_too_late_are_not_saved(place: Place) {
    let views = place.open().await.views;
    views.save(VIEW, Position::START, at(5), vec![member("mem_ada", 1)]).await.unwrap();
    let before = views.dump(VIEW).await.unwrap();
    for from in [Position::START, at(4), at(6)] {
        let late = views.save(VIEW, from, at(9), vec![member("mem_bob", 2), member("mem_ada", 9)]).await;
        assert!(matches!(late, Err(SaveError::CheckpointMoved(_))), "{late:?}");
    }
    assert_eq!(views.dump(VIEW).await.unwrap(), before);
}

async fn of_those_who_save_at_once_one_moves_the_checkpoint(place: Place) {
    let storage = Arc::new(place.open().await);
    for round in 0..10 {
        let saving: Vec<_> = (0..8)
            .map(|racer| {
                let storage = Arc::clone(&storage);
                let rows = vec![member(&format!("mem_{round}_{racer}"), round)];
                tokio::spawn(async move { storage.views.save(VIEW, at(round), at(round + 1), rows).await })
            })
            .collect();
        let mut saved = 0;
        for one in saving {
            match one.await.unwrap() {
                Ok(()) => saved += 1,
                Err(SaveError::CheckpointMoved(_)) => {}
                Err(SaveError::Store(why)) => panic!("{why}"),
            }
        }
        assert_eq!(saved, 1);
    }
    assert_eq!(storage.views.dump(VIEW).await.unwrap().rows.len(), 10);
}

async fn a_reset_empties_the_directory_and_its_checkpoint(place: Place) {
    let views = place.open().await.views;
    let rows = || {
        vec![
            member("mem_ada", 1),
            customer("cus_1", "mem_ada", 2),
            subscription("sub_1", "cus_1", Status::Active, 3),
        ]
    };
    views.reset(VIEW).await.unwrap();
    views.save(VIEW, Position::START, at(3), rows()).await.unwrap();
    views.reset(VIEW).await.unwrap();
    assert_eq!(views.dump(VIEW).await.unwrap(), DirectoryDump::default());
    views.save(VIEW, Position::START, at(3), rows()).await.unwrap();
    assert_eq!(views.dump(VIEW).await.unwrap().rows, rows());
}

async fn a_member_is_found_by_what_belongs_to_her(place: Place) {
    let views = place.open().await.views;
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
    views.save(VIEW, Position::START, at(8), rows).await.unwrap();
    let customers = views.customers_of(&"mem_ada".into()).await.unwrap();
    assert_eq!(customers, ["cus_B", "cus_a", "cus_b"].map(Into::into), "by bytes, as ids compare");
    let subscriptions = views.subscriptions_of(&customers).await.unwrap();
    assert_eq!(subscriptions, ["sub_1", "sub_2", "sub_3"].map(Into::into));
    assert_eq!(views.registered_at(&"mem_ada".into()).await.unwrap(), Some(noon()));
    assert_eq!(views.registered_at(&"mem_bob".into()).await.unwrap(), None);
    assert_eq!(views.customers_of(&"mem_eve".into()).await.unwrap(), []);
    assert_eq!(views.subscriptions_of(&[]).await.unwrap(), []);
}

async fn a_dump_is_in_order(place: Place) {
    let views = place.open().await.views;
    let sorted = vec![
        member("mem_-", 9),
        member("mem_A", 1),
        member("mem_a", 7),
        customer("cus_1", "mem_a", 8),
        customer("cus_2", "mem_A", 2),
        subscription("sub_1", "cus_2", Status::Trialing, 6),
        subscription("sub_2", "cus_1", Status::PastDue, 3),
    ];
    let mut shuffled = sorted.clone();
    shuffled.reverse();
    views.save(VIEW, Position::START, at(9), shuffled).await.unwrap();
    assert_eq!(views.dump(VIEW).await.unwrap().rows, sorted);
}
