//! Time that staff gives to settle what is owed.

use super::*;

fn extension(remark: &str, given_at: i64, until: i64) -> Extension {
    Extension { at: at(given_at), remark: remark.into(), until: at(until) }
}

fn extend(remark: &str, given_at: i64, until: i64) -> SubscriptionCommand {
    SubscriptionCommand::ExtendGrace(extension(remark, given_at, until))
}

fn grace_until(subscription: &Subscription, moment: Option<i64>) -> Option<DateTime<Utc>> {
    subscription.standing(moment.map(at)).unwrap().anchors.grace_until
}

/// Everything that was told, with the extension wherever it comes in: what was given was given, whatever was known then.
fn with_extension(commands: &[SubscriptionCommand], place: usize, given: &Extension) -> Subscription {
    let mut subscription = after(commands[..place].to_vec());
    evolve(&mut subscription, &SubscriptionEvent::GraceExtended { extension: given.clone(), standing: None });
    for command in &commands[place..] {
        told(&mut subscription, command.clone());
    }
    subscription
}

#[test]
fn time_to_settle_is_given_only_while_something_is_owed() {
    let nothing =
        |commands: Vec<SubscriptionCommand>| told(&mut after(commands), extend("rmk_1", days(4), days(20)));
    assert_eq!(nothing(vec![]), []);
    assert_eq!(nothing(vec![observe(seen("evt_1", 0, Kind::Created, terms("active", "basic")))]), []);
    let unpaid = observe(seen("evt_9", days(4), Kind::Changed, terms("unpaid", "basic")));
    assert_eq!(nothing([owing().as_slice(), &[unpaid]].concat()), []);
    let paid = SubscriptionCommand::RecordPayment(attempt("evt_5", days(4)));
    assert_eq!(nothing([owing().as_slice(), &[paid]].concat()), []);
    assert_eq!(names(&nothing(owing().to_vec())), ["GraceExtended"]);
}

#[test]
fn time_to_settle_counts_from_the_moment_it_was_given_and_the_one_given_last_counts() {
    let mut subscription = after(owing());
    told(&mut subscription, extend("rmk_1", days(4), days(30)));
    told(&mut subscription, extend("rmk_2", days(5), days(20)));
    assert_eq!(grace_until(&subscription, Some(days(4) - 1)), None);
    assert_eq!(grace_until(&subscription, Some(days(4))), Some(at(days(30))));
    assert_eq!(grace_until(&subscription, None), Some(at(days(20))));
    assert_eq!(subscription.evidence(None).extended, Some("rmk_2".into()));
    assert_eq!(subscription.evidence(Some(at(days(4)))).extended, Some("rmk_1".into()));
}

#[test]
fn the_same_extension_told_twice_is_one() {
    let mut subscription = after(owing());
    assert_eq!(told(&mut subscription, extend("rmk_1", days(4), days(30))).len(), 1);
    assert_eq!(told(&mut subscription, extend("rmk_1", days(4), days(30))), []);
    assert_eq!(told(&mut subscription, extend("rmk_2", days(5), days(30))), [], "it is so already");
}

#[test]
fn time_to_settle_ends_with_the_debt_it_was_given_for() {
    let mut subscription = after(owing());
    told(&mut subscription, extend("rmk_1", days(4), days(90)));
    told(&mut subscription, SubscriptionCommand::RecordPayment(attempt("evt_5", days(5))));
    assert_eq!(grace_until(&subscription, None), None);
    told(&mut subscription, observe(seen("evt_6", days(5), Kind::Changed, terms("active", "basic"))));
    let later = PaymentAttempt { invoice: "in_2".into(), ..attempt("evt_7", days(35)) };
    told(&mut subscription, SubscriptionCommand::RecordPaymentFailure(later));
    told(&mut subscription, observe(seen("evt_8", days(35), Kind::Changed, terms("past_due", "basic"))));
    let standing = subscription.standing(None).unwrap();
    assert_eq!(standing.terms.status, Status::PastDue);
    assert_eq!(standing.anchors.grace_until, None, "the next debt has its own grace");
}

#[test]
fn an_extension_is_of_the_debt_that_is_there_also_when_the_providers_clock_is_ahead() {
    let mut subscription = after(owing());
    told(&mut subscription, extend("rmk_1", 50, days(30)));
    assert_eq!(grace_until(&subscription, None), Some(at(days(30))));
}

#[test]
fn a_debt_with_an_extension_ends_in_one_state_whatever_order_it_is_told_in() {
    let given = extension("rmk_1", days(4), days(30));
    let paid = SubscriptionCommand::RecordPayment(attempt("evt_5", days(20)));
    let mut all = owing().to_vec();
    all.push(paid);
    let expected = with_extension(&all, all.len(), &given);
    let moments = [0, 100, days(3), days(4), days(10), days(21)].map(|moment| Some(at(moment)));
    let answers = |held: &Subscription| moments.map(|moment| held.standing(moment));
    every_order(&all, |order| {
        for place in 0..=order.len() {
            let subscription = with_extension(order, place, &given);
            assert_eq!(subscription, expected);
            assert_eq!(answers(&subscription), answers(&expected));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_deliveries_in_any_order_around_an_extension_end_in_one_state(
        (given, shuffled) in any_deliveries(),
        second in 0_i64..8,
        places in (0_usize..99, 0_usize..99),
    ) {
        let extension = extension("rmk_1", second, days(9));
        let (one, other) = (places.0 % (given.len() + 1), places.1 % (shuffled.len() + 1));
        prop_assert_eq!(with_extension(&given, one, &extension), with_extension(&shuffled, other, &extension));
    }

    #[test]
    fn the_last_event_tells_the_standing_also_after_extensions(
        (_, shuffled) in any_deliveries(),
        seconds in prop::collection::vec(0_i64..8, 9..10),
    ) {
        let mut subscription = Subscription::default();
        let mut last = None;
        for (command, second) in shuffled.into_iter().zip(seconds) {
            let extension = extend(&format!("rmk_{second}"), second, days(9) + second);
            for command in [command, extension] {
                for event in told(&mut subscription, command) {
                    last = event.standing().or(last);
                }
                prop_assert_eq!(&subscription.standing(None), &last);
            }
        }
    }
}
