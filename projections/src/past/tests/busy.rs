//! A member with far more events than anybody has.

use std::time::{Duration, Instant};

use domain::subscription::{
    self, Anchors, Kind, Now, Observation, Standing, Subscription, SubscriptionEvent,
};

use super::*;

/// A subscription that is told of and paid again and again, so many events within 400 days.
fn told_of(events: i64) -> Chronicle {
    let mut life = Life::new();
    let mut state = Subscription::default();
    for place in 0..events {
        let at = after(place * (400 * 86_400 / events));
        let source = format!("evt_{place}");
        let event = if place % 2 == 0 {
            let terms = Terms { period_end: Some(at + TimeDelta::days(30)), ..terms("active", "basic") };
            let anchors = Anchors { plans: terms.plans.clone(), ..Anchors::default() };
            let standing = Standing { terms: terms.clone(), anchors };
            let kind = if place == 0 { Kind::Created } else { Kind::Changed };
            let source = source.as_str().into();
            let seen = Observation::new(source, at, kind, terms);
            let now = Box::new(Now { seen, standing });
            match place {
                0 => SubscriptionEvent::SubscriptionStarted { now },
                _ => SubscriptionEvent::PeriodRenewed { until: at + TimeDelta::days(30), now },
            }
        } else {
            let attempt = Life::attempt(&source, &format!("in_{place}"), at).into();
            SubscriptionEvent::PaymentReceived { attempt, standing: state.standing(None).map(Box::new) }
        };
        subscription::evolve(&mut state, &event);
        life.was(at + TimeDelta::seconds(2), &source, event);
    }
    life.chronicle()
}

fn took(what: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    what();
    begun.elapsed()
}

#[test]
fn far_more_events_than_anybody_has_are_explained() {
    let chronicle = told_of(2_000);
    let told = chronicle.explain(VIDEO, AsOf::at(day(399))).unwrap();
    assert_eq!((told.decision.reason, told.before.map(|flip| flip.at)), (Reason::Subscription, Some(day(0))));
    assert_eq!(told.after, None);
    assert_eq!(chronicle.flips(VIDEO, AsOf::at(day(399))).unwrap().len(), 1);
}

mod long {
    use super::*;

    #[test]
    #[ignore = "long: make soak"]
    fn what_explaining_takes_grows_as_the_events_do() {
        for events in [200, 2_000, 20_000] {
            let chronicle = told_of(events);
            let now = AsOf::at(day(399));
            let explained = took(|| assert!(chronicle.explain(VIDEO, now).is_ok()));
            let state = took(|| assert!(chronicle.state(now).plan.is_some()));
            let story = took(|| assert!(!chronicle.whole_story(Vec::new(), now.at).groups.is_empty()));
            let flips = took(|| assert!(chronicle.flips(VIDEO, now).is_ok()));
            println!(
                "{events} events: explained {explained:?}, state {state:?}, story {story:?}, turns {flips:?}"
            );
        }
    }
}
