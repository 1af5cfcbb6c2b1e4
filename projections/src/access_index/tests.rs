use domain::access::Reason;
use domain::catalog::{CatalogCommand, Content, Course, Plan, Roadmap, decide, evolve};
use domain::grant::Given;
use domain::subscription::{Anchors, Status, Terms};

use super::*;

fn catalog(basic_prices: &[&str]) -> Catalog {
    let content = Content {
        plans: vec![Plan {
            id: "basic".into(),
            name: "Basic".to_owned(),
            rank: 1,
            prices: basic_prices.iter().map(|id| (*id).into()).collect(),
            products: vec![],
            trial_days: None,
        }],
        roadmaps: vec![Roadmap {
            id: "start".into(),
            name: "Start".to_owned(),
            plans: vec!["basic".into()],
            place: 0,
        }],
        courses: vec![Course {
            id: "rust".into(),
            name: "Rust".to_owned(),
            free: false,
            roadmap: "start".into(),
            place: 0,
        }],
        videos: vec![Video {
            id: "loops".into(),
            name: "Loops".to_owned(),
            free: false,
            course: "rust".into(),
            place: 0,
            playback: None,
        }],
        ..Content::default()
    };
    let mut catalog = Catalog::default();
    for event in decide(&catalog.clone(), CatalogCommand::Apply(Box::new(content))).unwrap() {
        evolve(&mut catalog, &event);
    }
    catalog
}

const AT: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn member() -> DirectoryRow {
    DirectoryRow::Member { member: "mem_ada".into(), registered_at: AT, position: Position::START }
}

fn customer(id: &str) -> DirectoryRow {
    link("mem_ada", id, true)
}

fn link(member: &str, customer: &str, linked: bool) -> DirectoryRow {
    let (customer, member) = (customer.into(), member.into());
    DirectoryRow::Customer { customer, member, linked, position: Position::START }
}

fn subscription(id: &str, customer: &str, status: Status) -> DirectoryRow {
    let terms = Terms {
        items: vec![Item { price: Some("price_b".into()), product: None, period_end: Some(AT) }],
        plans: vec!["basic".into()],
        ..Terms::new(customer.into(), status)
    };
    let anchors = Anchors { plans: vec!["basic".into()], ..Anchors::default() };
    DirectoryRow::Subscription {
        subscription: id.into(),
        standing: Box::new(Standing { terms, anchors }),
        position: Position::START,
    }
}

fn grant(id: &str, until: Option<DateTime<Utc>>, revoked: bool) -> DirectoryRow {
    let given = Given { member: "mem_ada".into(), plan: "basic".into(), from: AT, until };
    DirectoryRow::Grant { grant: id.into(), given, revoked, position: Position::START }
}

fn index_of(rows: &[DirectoryRow]) -> AccessIndex {
    let index = AccessIndex::default();
    index.set_catalog(catalog(&["price_b"]));
    for row in rows {
        index.put(row);
    }
    index
}

fn reason(index: &AccessIndex) -> Result<Reason, NotThere> {
    index.check(&"mem_ada".into(), "loops", AT).map(|checked| checked.decision.reason)
}

#[test]
fn who_or_what_is_not_known_is_not_there() {
    assert_eq!(reason(&index_of(&[])), Err(NotThere::Member));
    assert_eq!(reason(&index_of(&[customer("cus_1")])), Err(NotThere::Member));
    let nowhere = index_of(&[member()]).check(&"mem_ada".into(), "gone", AT);
    assert_eq!(nowhere.map(|checked| checked.decision), Err(NotThere::Video));
}

#[test]
fn rows_in_any_order_give_the_same_answer() {
    let rows = [member(), customer("cus_1"), subscription("sub_1", "cus_1", Status::Active)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let index = index_of(&order.map(|place| rows[place].clone()));
        assert_eq!(reason(&index), Ok(Reason::Subscription), "{order:?}");
    }
}

#[test]
fn a_subscription_is_replaced_and_not_added_again() {
    let index = index_of(&[
        member(),
        customer("cus_1"),
        subscription("sub_1", "cus_1", Status::Active),
        subscription("sub_1", "cus_1", Status::Canceled),
    ]);
    assert_eq!(reason(&index), Ok(Reason::Ended));
    assert_eq!(index.sources(&"mem_ada".into(), &index.catalog()).len(), 1);
}

#[test]
fn subscriptions_of_all_her_customers_count() {
    let index = index_of(&[
        member(),
        customer("cus_1"),
        customer("cus_2"),
        subscription("sub_1", "cus_1", Status::Canceled),
        subscription("sub_2", "cus_2", Status::Active),
    ]);
    assert_eq!(reason(&index), Ok(Reason::Subscription));
}

#[test]
fn a_payer_that_is_unlinked_takes_along_what_she_pays_for_and_nothing_else() {
    let rows = [
        member(),
        customer("cus_1"),
        customer("cus_2"),
        subscription("sub_1", "cus_1", Status::Active),
        subscription("sub_2", "cus_2", Status::Canceled),
        grant("grt_1", None, true),
    ];
    let index = index_of(&rows);
    assert_eq!(reason(&index), Ok(Reason::Subscription));
    index.put(&link("mem_bob", "cus_1", false));
    assert_eq!(reason(&index), Ok(Reason::Subscription), "she was not unlinked from her");
    index.put(&link("mem_ada", "cus_1", false));
    assert_eq!(reason(&index), Ok(Reason::Ended));
    assert_eq!(index.sources(&"mem_ada".into(), &index.catalog()).len(), 2);
    index.put(&subscription("sub_1", "cus_1", Status::Unpaid));
    assert_eq!(reason(&index), Ok(Reason::Ended), "what is told of her now is somebody else's");
    index.put(&customer("cus_1"));
    assert_eq!(reason(&index), Ok(Reason::Unpaid), "as it stands by then");
}

#[test]
fn a_payer_belongs_to_one_member_whatever_the_order_of_the_rows_is() {
    let bob = DirectoryRow::Member { member: "mem_bob".into(), registered_at: AT, position: Position::START };
    let rows = [
        link("mem_ada", "cus_1", false),
        link("mem_bob", "cus_1", true),
        subscription("sub_1", "cus_1", Status::Active),
        link("mem_ada", "cus_1", false),
        link("mem_bob", "cus_1", true),
    ];
    for start in 0..3 {
        let index = index_of(&[member(), bob.clone(), link("mem_ada", "cus_1", true)]);
        for row in &rows[start..start + 3] {
            index.put(row);
        }
        let held = |id: &str| index.sources(&id.into(), &index.catalog()).len();
        assert_eq!((held("mem_ada"), held("mem_bob")), (0, 1), "{start}");
    }
}

#[test]
fn what_is_given_counts_until_it_ends_and_pays_for_nothing() {
    let rows =
        [member(), grant("grt_1", Some(AT + chrono::Duration::days(1)), false), grant("grt_2", None, true)];
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        let index = index_of(&order.map(|place| rows[place].clone()));
        assert_eq!(reason(&index), Ok(Reason::Grant), "{order:?}");
        assert_eq!(index.paying_twice(), 0);
        let viewing = index.viewing(Some(&"mem_ada".into()));
        assert_eq!(viewing.next_change(AT), Some(AT + chrono::Duration::days(1)));
        index.put(&grant("grt_1", None, true));
        assert_eq!(reason(&index), Ok(Reason::Ended));
        assert!(!index.viewing(Some(&"mem_ada".into())).is_same_as(&viewing), "whoever watches is told");
    }
}

#[test]
fn another_catalogue_is_asked_what_it_would_open_with_what_was_given() {
    let index = index_of(&[member(), grant("grt_1", None, false)]);
    let open = |catalog: &Catalog| index.open_videos(&"mem_ada".into(), catalog, AT).len();
    assert_eq!((open(&catalog(&[])), open(&Catalog::default())), (1, 0));
    index.put(&grant("grt_1", None, true));
    assert_eq!(open(&catalog(&[])), 0);
}

/// A node keeps one of these for each subscription and grant.
#[test]
fn what_is_held_in_memory_stays_small() {
    assert!(size_of::<Held>() <= 96, "{} bytes", size_of::<Held>());
}

#[test]
fn another_catalogue_counts_at_once_and_a_price_that_left_it_takes_nothing() {
    let index = index_of(&[member(), customer("cus_1"), subscription("sub_1", "cus_1", Status::Active)]);
    index.set_catalog(catalog(&[]));
    assert_eq!(reason(&index), Ok(Reason::Subscription));
    index.set_catalog(Catalog::default());
    assert_eq!(reason(&index), Err(NotThere::Video));
}

#[test]
fn generated_and_chosen_ids_do_not_meet() {
    let chosen: MemberId = "mem_ada".into();
    let generated = MemberId::generate(AT, [1; 10]);
    assert_ne!(Key::of_member(&chosen), Key::of_member(&generated));
    assert_eq!(Key::of_member(&generated).0, generated.uuid().unwrap().as_u128());
}
