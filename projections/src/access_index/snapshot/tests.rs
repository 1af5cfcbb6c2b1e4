use std::sync::LazyLock;

use domain::access::Reason;
use domain::events::upcasters;
use domain::metadata::Metadata;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::access_index::IndexFollower;
use crate::parked::Batch;
use crate::runner::Projection;

const STARTED: &str = include_str!("../../../../docs/events/subscription.SubscriptionStarted.v1.json");
const STATUSES: [&str; 9] = [
    "incomplete",
    "incomplete_expired",
    "trialing",
    "active",
    "past_due",
    "unpaid",
    "paused",
    "canceled",
    "a_new_word",
];

fn recorded(position: u64, kind: &str, id: &str, payload: Value) -> Recorded {
    Recorded {
        position: Position::new(position),
        aggregate_type: kind.to_owned(),
        aggregate_id: id.to_owned(),
        sequence: position,
        event_type: payload["type"].as_str().unwrap().to_owned(),
        event_version: "1".to_owned(),
        payload,
        metadata: Metadata::unknown(),
        garbled: None,
    }
}

/// Subscriptions in every state, half of them of a payer who is nobody's yet, and a stream that stands still. Made of the
/// golden files of stored events, which never change.
fn story() -> Vec<Recorded> {
    let golden = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let mut events = Vec::new();
    for text in [
        include_str!("../../../../docs/events/catalog.PolicySet.v1.json"),
        include_str!("../../../../docs/events/catalog.PlanDefined.v1.json"),
        include_str!("../../../../docs/events/catalog.RoadmapDefined.v1.json"),
        include_str!("../../../../docs/events/catalog.CourseDefined.v1.json"),
        include_str!("../../../../docs/events/catalog.VideoDefined.v1.json"),
    ] {
        events.push(("catalog", "catalog".to_owned(), golden(text)));
    }
    let member = golden(include_str!("../../../../docs/events/member.MemberRegistered.v1.json"));
    events.push(("member", "mem_1".to_owned(), member));
    events.push(("customer", "cus_1".to_owned(), linked()));
    for (number, status) in STATUSES.into_iter().enumerate() {
        for recovered in [true, false] {
            for customer in ["cus_1", "cus_2"] {
                let mut started = golden(&STARTED.replace("cus_1", customer).replace("past_due", status));
                let standing = &mut started["now"]["standing"];
                if !recovered {
                    standing["anchors"]["recovered_at"] = Value::Null;
                    standing["anchors"]["paid_until"] = Value::Null;
                    standing["terms"]["cancels_at"] = Value::Null;
                }
                if number % 2 == 0 {
                    standing["terms"]["collection_paused"] = Value::Null;
                    standing["terms"]["items"][0]["price"] = "price_2".into();
                }
                events.push(("subscription", format!("sub_{customer}_{number}_{recovered}"), started));
            }
        }
    }
    let given = golden(include_str!("../../../../docs/events/grant.AccessGranted.v1.json"));
    let taken = golden(include_str!("../../../../docs/events/grant.GrantRevoked.v1.json"));
    events.push(("grant", "grt_1".to_owned(), given.clone()));
    events.push(("grant", "grt_2".to_owned(), given.clone()));
    events.push(("grant", "grt_2".to_owned(), taken));
    events.push(("grant", "grt_3".to_owned(), of_another_member(given)));
    let unlinked = golden(include_str!("../../../../docs/events/customer.MemberUnlinked.v1.json"));
    let paid = golden(&STARTED.replace("cus_1", "cus_3"));
    events.push(("customer", "cus_3".to_owned(), linked()));
    events.push(("subscription", "sub_cus_3".to_owned(), paid));
    events.push(("customer", "cus_3".to_owned(), unlinked));
    let revoked = golden(include_str!("../../../../docs/events/account.SessionRevoked.v1.json"));
    events.push(("account", "mem_1".to_owned(), revoked));
    events.push(("subscription", "sub_cus_1_0_true".to_owned(), serde_json::json!({ "type": "Teleported" })));
    events.push(("member", "mem_2".to_owned(), serde_json::json!({ "type": "MemberRegistered" })));
    (1..).zip(events).map(|(position, (kind, id, payload))| recorded(position, kind, &id, payload)).collect()
}

/// The same of somebody who is not known yet.
fn of_another_member(mut event: Value) -> Value {
    event["member"] = "mem_3".into();
    event
}

fn linked() -> Value {
    serde_json::from_str(include_str!("../../../../docs/events/customer.MemberLinked.v1.json")).unwrap()
}

/// Takes events in as the follower does.
fn follow(follower: &mut IndexFollower, events: Vec<Recorded>) {
    let next = events.last().unwrap().position;
    let batch = Batch::read(events, follower.parked(), &upcasters());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(follower.apply(batch, next)).unwrap();
}

fn written() -> (Arc<AccessIndex>, Vec<u8>) {
    let index = Arc::new(AccessIndex::default());
    let mut follower = IndexFollower::new(index.clone());
    for page in story().chunks(7) {
        follow(&mut follower, page.to_vec());
    }
    let bytes = index.snapshot().unwrap();
    (index, bytes)
}

fn decisions(index: &AccessIndex) -> Vec<String> {
    let days = [0, 1_699_999_999, 1_700_000_003, 1_700_000_007, 1_701_000_000, 1_800_000_000];
    let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
    let check =
        |(member, seconds): (&str, i64)| format!("{:?}", index.check(&member.into(), "hello", at(seconds)));
    days.iter()
        .flat_map(|seconds| ["mem_1", "mem_2", "mem_3"].map(|member| check((member, *seconds))))
        .collect()
}

#[test]
fn an_index_that_was_read_back_answers_and_goes_on_as_the_one_that_was_written() {
    let (index, bytes) = written();
    let snapshot = decode(&bytes).unwrap();
    assert_eq!((snapshot.members(), snapshot.last().position.get()), (2, story().len() as u64));
    let again = Arc::new(AccessIndex::default());
    let mut follower = IndexFollower::resume(again.clone(), snapshot);
    assert_eq!(decisions(&again), decisions(&index));
    assert_eq!(again.snapshot(), Some(bytes), "nothing is lost on the way");
    assert!(again.session_is_revoked(&"ses_1".into()) && !again.session_is_revoked(&"ses_2".into()));
    assert_eq!(follower.parked().len(), 1);
    assert_eq!(again.sources(&"mem_2".into(), &again.catalog()).len(), 0);
    // What waited for a payer still waits for her, and what stands still still does.
    let end = story().len() as u64;
    let mut theirs = linked();
    theirs["member"] = "mem_2".into();
    let more = vec![
        recorded(end + 1, "subscription", "sub_cus_1_0_true", serde_json::from_str(STARTED).unwrap()),
        recorded(end + 2, "customer", "cus_2", theirs),
    ];
    let parked_before = again.sources(&"mem_1".into(), &again.catalog());
    follow(&mut follower, more);
    assert_eq!(again.sources(&"mem_2".into(), &again.catalog()).len(), STATUSES.len() * 2);
    assert_eq!(again.sources(&"mem_1".into(), &again.catalog()), parked_before);
    // What was given to a member who is not there waits for her; what was unlinked waits for its payer.
    assert_eq!(again.sources(&"mem_3".into(), &again.catalog()).len(), 0);
    let mut linked_again = linked();
    linked_again["member"] = "mem_3".into();
    let registered = serde_json::json!({ "type": "MemberRegistered" });
    let more = vec![
        recorded(end + 3, "member", "mem_3", registered),
        recorded(end + 4, "customer", "cus_3", linked_again),
    ];
    follow(&mut follower, more);
    assert_eq!(again.sources(&"mem_3".into(), &again.catalog()).len(), 2);
    let paid = again.check(&"mem_2".into(), "hello", DateTime::from_timestamp(1_700_000_000, 0).unwrap());
    assert_eq!(paid.map(|checked| checked.decision.reason), Ok(Reason::Subscription));
}

/// What the bytes of the story hash to. It changes with the encoding and with the fold.
const GOLDEN: &str = "2d82b5a1f6e0083a23d38c7194b25f758c60dd4be9b6372e427f827edac3875a";

#[test]
fn what_a_snapshot_holds_has_not_changed_without_a_new_version() {
    let (_, bytes) = written();
    let digest = hex::encode(Sha256::digest(&bytes));
    assert_eq!(
        digest, GOLDEN,
        "the fold or its encoding has changed, so snapshots of this version mean something else: raise VERSION in \
         snapshot.rs and put the new digest here"
    );
}

#[test]
fn an_index_that_knows_nothing_is_not_written() {
    assert_eq!(AccessIndex::default().snapshot(), None);
}

#[test]
fn bytes_of_another_kind_or_version_are_told_apart() {
    let (_, bytes) = written();
    assert_eq!(decode(b"").unwrap_err(), SnapshotError::NotWhole);
    assert_eq!(
        decode(b"SQLite format 3\0 and so on, longer than the header of a snapshot is").unwrap_err(),
        SnapshotError::NotWhole
    );
    let mut newer = bytes;
    newer[8] = 6;
    assert_eq!(decode(&newer).unwrap_err(), SnapshotError::Version(6));
}

#[test]
fn a_length_or_count_out_of_all_measure_takes_no_memory() {
    let mut endless = seal(&[]);
    endless[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(decode(&endless).unwrap_err(), SnapshotError::NotWhole);
    // A list that says it has 2^63 things, behind a mark and no parked streams.
    let (_, bytes) = written();
    let mark = postcard::to_stdvec(decode(&bytes).unwrap().last()).unwrap();
    let huge = [&mark[..], &[0], &[0xff; 9], &[0x01]].concat();
    assert_eq!(decode(&seal(&huge)).unwrap_err(), SnapshotError::Damaged);
}

#[test]
fn a_subscription_of_a_bundle_that_is_not_there_makes_no_sense() {
    let held = StoredHeld {
        payer: 1,
        id: 2,
        bundle: 0,
        state: StoredState::Active,
        ends_at: None,
        collection_paused: None,
        reversed: [false; 3],
    };
    assert!(held.read(1).is_ok());
    assert!(held.read(0).is_err());
    assert!(StoredHeld { ends_at: Some(Moment(i64::MAX, 0)), ..held }.read(1).is_err());
}

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| written().1);

proptest! {
    #[test]
    fn no_damage_goes_unnoticed(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        inserted in prop::collection::vec(any::<u8>(), 0..20),
        place in any::<prop::sample::Index>(),
    ) {
        let bytes = &*BYTES;
        let mut damaged = bytes.clone();
        for (index, bits) in flips {
            damaged[index.index(bytes.len())] ^= bits;
        }
        damaged.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let place = place.index(damaged.len() + 1);
        damaged.splice(place..place, inserted);
        prop_assert_eq!(decode(&damaged).is_ok(), damaged == *bytes);
    }

    #[test]
    fn bytes_that_only_claim_to_be_whole_break_nothing(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut contents = BYTES[HEADER..].to_vec();
        for (index, bits) in flips {
            let index = index.index(contents.len());
            contents[index] ^= bits;
        }
        contents.truncate(cut.map_or(contents.len(), |cut| cut.index(contents.len())));
        if let Ok(snapshot) = decode(&seal(&contents)) {
            let index = Arc::new(AccessIndex::default());
            drop(IndexFollower::resume(index.clone(), snapshot));
            drop(decisions(&index));
        }
    }
}
