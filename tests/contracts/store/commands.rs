//! Commands: what is appended, by whom first, and how it is read back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use domain::customer::{Customer, CustomerCommand, CustomerError, Deletion, LinkedThrough};
use domain::events::Event;
use domain::member::{Member, MemberCommand, MemberEvent};
use domain::metadata::{Actor, Context, Metadata};
use domain::ports::{CommandBus, CommandError, Executed, Position};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use storage::{Access, Upcasters};
use tokio::sync::Semaphore;
use webhook_ingest::inbox::{NewDelivery, Origin};

use super::{Place, checkout, clock, context, follow, noon, on_both, register, seconds};

on_both! {
    an_event_is_read_back_as_it_was_written,
    an_event_that_knows_when_it_was_true_says_so_and_others_follow_their_command,
    what_the_log_holds_is_there_after_opening_it_again,
    a_command_that_changes_nothing_answers_with_the_end_of_its_stream,
    a_refused_command_appends_nothing,
    two_who_race_for_one_aggregate_both_get_through,
    commands_on_many_aggregates_at_once_are_all_kept,
    only_one_of_two_members_gets_a_customer,
    an_event_of_an_older_shape_is_read_in_the_newest,
    an_event_that_cannot_be_read_is_an_error_and_not_skipped,
    events_cannot_be_changed_or_deleted,
}

async fn an_event_is_read_back_as_it_was_written(place: Place) {
    let storage = place.open().await;
    let context = Context {
        occurred_at: noon() - seconds(60),
        actor: Actor::service("shop"),
        cause: "evt_1".to_owned(),
        correlation_id: "req_9".to_owned(),
        about: None,
    };
    let executed = storage.members.execute("mem_ada", MemberCommand::Register, context).await.unwrap();
    assert_eq!(executed.events, [MemberEvent::MemberRegistered]);

    let stream = storage.feed.read_stream("member", "mem_ada").await.unwrap();
    assert_eq!(follow(&storage, 1).await, stream);
    let [event] = stream.as_slice() else { panic!("{stream:?}") };
    assert_eq!(event.position, executed.position);
    assert_eq!((event.aggregate_type.as_str(), event.aggregate_id.as_str()), ("member", "mem_ada"));
    assert_eq!((event.sequence, event.event_type.as_str()), (1, "MemberRegistered"));
    assert_eq!((event.event_version.as_str(), &event.payload), ("1", &json!({ "type": "MemberRegistered" })));
    let metadata = Metadata {
        occurred_at: noon() - seconds(60),
        recorded_at: noon(),
        actor: Actor::service("shop"),
        cause: "evt_1".to_owned(),
        correlation_id: "req_9".to_owned(),
    };
    assert_eq!(event.metadata, metadata);
    assert_eq!(
        Event::read(event, &[]).unwrap(),
        Event::Member("mem_ada".into(), MemberEvent::MemberRegistered)
    );
}

async fn an_event_that_knows_when_it_was_true_says_so_and_others_follow_their_command(place: Place) {
    let storage = place.open().await;
    let at = noon() - seconds(3_600);
    storage
        .customers
        .execute("cus_1", CustomerCommand::Delete(Deletion { source: "evt_1".into(), at }), context())
        .await
        .unwrap();
    let stream = storage.feed.read_stream("customer", "cus_1").await.unwrap();
    assert_eq!(stream[0].metadata.occurred_at, at);
    assert_eq!(stream[0].metadata.recorded_at, noon());
}

async fn what_the_log_holds_is_there_after_opening_it_again(place: Place) {
    let storage = place.open().await;
    register(&storage, "mem_ada").await;
    let before = follow(&storage, 1).await;
    storage.shutdown().await;

    let again = place.open().await;
    assert_eq!(follow(&again, 1).await, before);
    assert!(register(&again, "mem_ada").await.events.is_empty());
    again.members.execute("mem_ada", checkout("cs_1"), context()).await.unwrap();
    let stream = again.feed.read_stream("member", "mem_ada").await.unwrap();
    assert_eq!(stream.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
}

async fn a_command_that_changes_nothing_answers_with_the_end_of_its_stream(place: Place) {
    let storage = place.open().await;
    let first = register(&storage, "mem_ada").await;
    let other = register(&storage, "mem_bob").await;
    let again = register(&storage, "mem_ada").await;
    assert!(again.events.is_empty());
    assert_eq!(again.position, first.position);
    assert!(first.position < other.position);

    let nobody: Upcasters = Arc::new([]);
    let bus = storage.bus::<Silent>(&nobody);
    assert_eq!(bus.execute("none", (), context()).await.unwrap().position, Position::START);
}

async fn a_refused_command_appends_nothing(place: Place) {
    let storage = place.open().await;
    let link =
        |member: &str| CustomerCommand::Link { member: member.into(), through: LinkedThrough::Request };
    storage.customers.execute("cus_1", link("mem_ada"), context()).await.unwrap();
    let refused = storage.customers.execute("cus_1", link("mem_bob"), context()).await;
    let Err(CommandError::Refused(CustomerError::LinkedElsewhere(holder))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(holder.as_str(), "mem_ada");
    assert_eq!(storage.feed.read_stream("customer", "cus_1").await.unwrap().len(), 1);
}

/// Two buses, as in two processes: neither knows of the other's turns.
async fn two_who_race_for_one_aggregate_both_get_through(place: Place) {
    const EACH: usize = 40;
    let storage = place.open().await;
    let none: Upcasters = Arc::new([]);
    let buses: [Arc<dyn CommandBus<Member>>; 2] = [storage.bus(&none), storage.bus(&none)];
    let racing: Vec<_> = buses
        .into_iter()
        .enumerate()
        .map(|(racer, bus)| {
            tokio::spawn(async move {
                let mut positions = Vec::new();
                for step in 0..EACH {
                    let executed = insist(&*bus, checkout(&format!("cs_{racer}_{step}"))).await;
                    assert_eq!(executed.events.len(), 1);
                    positions.push(executed.position);
                }
                positions
            })
        })
        .collect();
    let mut positions = Vec::new();
    for racer in racing {
        let of_one = racer.await.unwrap();
        assert!(of_one.is_sorted());
        positions.extend(of_one);
    }
    positions.sort();

    let stream = storage.feed.read_stream("member", "mem_ada").await.unwrap();
    let sequences: Vec<u64> = stream.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=2 * EACH as u64).collect::<Vec<_>>(), "no gap, none lost");
    assert_eq!(stream.iter().map(|event| event.position).collect::<Vec<_>>(), positions);
    let sessions: BTreeSet<_> =
        stream.iter().map(|event| event.payload["checkout"]["session"].to_string()).collect();
    assert_eq!(sessions.len(), 2 * EACH);
}

/// Somebody who never rests can keep another one away for as long as she tries, which she is told.
async fn insist(bus: &dyn CommandBus<Member>, command: MemberCommand) -> Executed<MemberEvent> {
    loop {
        match bus.execute("mem_ada", command.clone(), context()).await {
            Err(CommandError::Contended(what)) => assert_eq!(what, "member mem_ada"),
            done => return done.unwrap(),
        }
    }
}

async fn commands_on_many_aggregates_at_once_are_all_kept(place: Place) {
    let storage = Arc::new(place.open().await);
    // More than there are connections, and not so many that any waits for one in vain.
    let at_once = Arc::new(Semaphore::new(32));
    let running: Vec<_> = (0..200)
        .map(|number| {
            let (storage, at_once) = (Arc::clone(&storage), Arc::clone(&at_once));
            tokio::spawn(async move {
                let _place = at_once.acquire().await.unwrap();
                register(&storage, &format!("mem_{number}")).await.position
            })
        })
        .collect();
    let mut positions = BTreeSet::new();
    for one in running {
        assert!(positions.insert(one.await.unwrap()), "each has a position of its own");
    }
    let seen = follow(&storage, 200).await;
    assert_eq!(seen.iter().map(|event| event.position).collect::<BTreeSet<_>>(), positions);
}

async fn only_one_of_two_members_gets_a_customer(place: Place) {
    let storage = place.open().await;
    let none: Upcasters = Arc::new([]);
    for round in 0..20 {
        let racing = ["mem_ada", "mem_bob"].map(|member| {
            let bus: Arc<dyn CommandBus<Customer>> = storage.bus(&none);
            let link = CustomerCommand::Link { member: member.into(), through: LinkedThrough::Request };
            tokio::spawn(async move { bus.execute(&format!("cus_{round}"), link, context()).await.is_ok() })
        });
        let mut won = 0;
        for racer in racing {
            won += usize::from(racer.await.unwrap());
        }
        assert_eq!(won, 1);
        assert_eq!(storage.feed.read_stream("customer", &format!("cus_{round}")).await.unwrap().len(), 1);
    }
}

async fn an_event_of_an_older_shape_is_read_in_the_newest(place: Place) {
    place.open().await.shutdown().await;
    place.execute(&old_event("MemberSignedUp", "0")).await.unwrap();
    let storage = place.open().await;
    let upcasters: Upcasters = Arc::new([Box::new(SignedUp) as Box<dyn EventUpcaster>]);

    let bus = storage.bus::<Member>(&upcasters);
    let executed = bus.execute("mem_old", MemberCommand::Register, context()).await.unwrap();
    assert!(executed.events.is_empty(), "she was registered all along");

    let seen = follow(&storage, 1).await;
    assert_eq!(seen[0].event_type, "MemberSignedUp", "the log itself stays as it was written");
    let read = Event::read(&seen[0], &upcasters).unwrap();
    assert_eq!(read, Event::Member("mem_old".into(), MemberEvent::MemberRegistered));
}

async fn an_event_that_cannot_be_read_is_an_error_and_not_skipped(place: Place) {
    place.open().await.shutdown().await;
    place.execute(&old_event("Unheard", "7")).await.unwrap();
    let storage = place.open().await;
    let refused = storage.members.execute("mem_old", MemberCommand::Register, context()).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("unreadable") && text.contains("mem_old") && text.contains("Unheard"), "{text}");
}

async fn events_cannot_be_changed_or_deleted(place: Place) {
    let storage = place.open().await;
    register(&storage, "mem_ada").await;
    let before = follow(&storage, 1).await;
    storage.shutdown().await;

    let mut attempts =
        vec!["UPDATE events SET event_type = 'Other'".to_owned(), "DELETE FROM events".to_owned()];
    match place {
        Place::Sqlite(_) => {
            attempts.push(
                old_event("Other", "1").replace("INSERT", "INSERT OR REPLACE").replace("mem_old", "mem_ada"),
            );
        }
        Place::Postgres(_) => attempts.push("TRUNCATE events".to_owned()),
    }
    for attempt in attempts {
        assert!(place.execute(&attempt).await.is_err(), "{attempt}");
    }
    let again = storage::open(&place.url(), Access::Read, clock()).await.unwrap();
    assert_eq!(follow(&again, 1).await, before);
}

fn old_event(event_type: &str, version: &str) -> String {
    let metadata = json!({
        "occurred_at": noon(), "recorded_at": noon(), "actor": "system", "cause": "c", "correlation_id": "c",
    });
    format!(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
         VALUES ('member', 'mem_old', 1, '{event_type}', '{version}', '{{\"type\":\"{event_type}\"}}', '{metadata}')"
    )
}

/// What a member's registration was called before.
struct SignedUp;

impl EventUpcaster for SignedUp {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        (event_type, event_version) == ("MemberSignedUp", "0")
    }

    fn upcast(&self, event: SerializedEvent) -> SerializedEvent {
        SerializedEvent {
            event_type: "MemberRegistered".to_owned(),
            event_version: "1".to_owned(),
            payload: json!({ "type": "MemberRegistered" }),
            ..event
        }
    }
}

/// An aggregate to which nothing ever happens.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Silent;

impl cqrs_es::Aggregate for Silent {
    const TYPE: &'static str = "silent";
    type Command = ();
    type Event = MemberEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        (): (),
        (): &(),
        _sink: &cqrs_es::event_sink::EventSink<Self>,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn apply(&mut self, _event: MemberEvent) {}
}

/// A caller that gives up in the midst of a BEGIN leaves a transaction open in the connection. What the next one does in it
/// would be acknowledged and then lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_give_up_take_nobody_elses_work_with_them() {
    let place = Place::postgres().await;
    let storage = place.open().await;
    let mut kept = Vec::new();
    for number in 0..200_u64 {
        let given_up = storage.members.execute("mem_ada", checkout(&format!("cs_{number}")), context());
        // Somewhere between its first and its last message.
        drop(tokio::time::timeout(Duration::from_micros(100 * (number % 25)), given_up).await);
        let id = format!("evt_{number}");
        let delivery = NewDelivery {
            id: id.clone(),
            event_type: String::new(),
            created: None,
            customer: None,
            concerns: None,
            body: b"{}".to_vec(),
            received_at: noon(),
            origin: Origin::Webhook,
        };
        storage.inbox.store(delivery).await.unwrap();
        kept.push(id);
    }
    let mut other = PgConnection::connect(&place.url()).await.unwrap();
    let seen: Vec<String> = sqlx::query_scalar("SELECT id FROM inbox").fetch_all(&mut other).await.unwrap();
    kept.retain(|id| !seen.contains(id));
    assert!(kept.is_empty(), "acknowledged, and nobody else sees {kept:?}");
}
