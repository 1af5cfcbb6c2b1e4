//! The plain way to find turns: ask about one moment after the other.

use proptest::prelude::*;

use super::*;

/// Something that is told of her subscription so many hours into the story, and learned so many hours later.
type Step = (usize, u8, i64, i64);

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0_usize..7, 0_u8..8, 0_i64..24 * 60, 0_i64..72), 1..14)
}

fn lived(steps: &[Step]) -> Life {
    let statuses = ["incomplete", "trialing", "active", "active", "past_due", "unpaid", "canceled"];
    let mut life = Life::new();
    for (number, (status, kind, hours, late)) in steps.iter().enumerate() {
        let (source, at) = (format!("evt_{number}"), after(hours * 3_600));
        let learned_at = at + TimeDelta::hours(*late);
        let invoice = format!("in_{}", number % 3);
        let attempt = Life::attempt(&source, &invoice, at);
        match kind {
            0 => life.told(learned_at, &source, SubscriptionCommand::RecordPaymentFailure(attempt)),
            1 => life.told(learned_at, &source, SubscriptionCommand::RecordPayment(attempt)),
            2 => life.seen(&source, at, learned_at, paused("basic")),
            3 => {
                let ends = Some(at + TimeDelta::hours(50));
                life.seen(&source, at, learned_at, Terms { cancels_at: ends, ..terms("active", "pro") })
            }
            _ => life.seen(&source, at, learned_at, terms(statuses[*status], "basic")),
        };
    }
    life
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_turns_are_those_that_asking_about_every_moment_shows(steps in any_steps()) {
        let chronicle = lived(&steps).chronicle();
        let end = AsOf::at(day(100));
        let flips = chronicle.flips(VIDEO, end).unwrap();
        let allowed = |at| chronicle.explain(VIDEO, AsOf::at(at)).unwrap().decision.allowed;
        let mut open = allowed(day(-20));
        for flip in &flips {
            prop_assert_eq!((flip.from.allowed, flip.to.allowed), (open, !open));
            prop_assert_eq!(allowed(flip.at), flip.to.allowed, "{:#?}", flip);
            prop_assert_eq!(allowed(flip.at - TimeDelta::microseconds(1)), flip.from.allowed, "{:#?}", flip);
            open = flip.to.allowed;
        }
        for hours in (-24..24 * 80).step_by(11) {
            let at = after(hours * 3_600 + 7);
            let told = chronicle.explain(VIDEO, AsOf::at(at)).unwrap();
            let (before, next) = (flips.iter().rfind(|flip| flip.at <= at), flips.iter().find(|flip| flip.at > at));
            let expected = before.map_or_else(|| allowed(day(-20)), |flip| flip.to.allowed);
            prop_assert_eq!(told.decision.allowed, expected, "{}", at);
            prop_assert_eq!(told.before.as_ref(), before, "before {}", at);
            prop_assert_eq!(told.after.as_ref().map(|flip| flip.at), next.map(|flip| flip.at), "after {}", at);
        }
    }
}
