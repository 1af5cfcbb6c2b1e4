mod busy;
mod life;
mod plain;

use chrono::{DateTime, TimeDelta, Utc};
use domain::access::Reason;
use domain::account::AccountCommand;
use domain::catalog::{KeepOrDeny, Policy};
use domain::customer::{CustomerCommand, Deletion};
use domain::grant::GrantCommand;
use domain::ids::{PlanId, SessionId};
use domain::ports::Position;
use domain::subscription::{
    CollectionPause, Dispute, DisputeStatus, Extension, Refund, RefundTold, Reversal, ReversedPayment,
    SubscriptionCommand, Terms,
};

use self::life::{ADVANCED, Life, VIDEO, after, content, day, grace_that_ran_out, terms};
use super::*;

fn reason(chronicle: &Chronicle, video: &str, as_of: AsOf) -> Reason {
    chronicle.explain(video, as_of).unwrap().decision.reason
}

fn reversed(
    source: &str,
    at: DateTime<Utc>,
    reversal: impl FnOnce() -> Reversal,
) -> (String, DateTime<Utc>, SubscriptionCommand) {
    let reversal = ReversedPayment { invoice: "in_1".into(), payment: "pi_1".into(), reversal: reversal() };
    (source.to_owned(), at, SubscriptionCommand::RecordReversal(reversal))
}

fn refund(source: &str, at: DateTime<Utc>, given_back: i64) -> (String, DateTime<Utc>, SubscriptionCommand) {
    reversed(source, at, || {
        Reversal::Refund(Refund {
            at,
            source: source.into(),
            told: RefundTold::Payment { given_back, paid: 1_700 },
            currency: Some("usd".to_owned()),
        })
    })
}

fn dispute(source: &str, at: DateTime<Utc>, status: &str) -> (String, DateTime<Utc>, SubscriptionCommand) {
    reversed(source, at, || {
        Reversal::Dispute(Dispute {
            at,
            source: source.into(),
            dispute: "dp_1".into(),
            status: DisputeStatus::from(status.to_owned()),
            reason: Some("fraudulent".to_owned()),
        })
    })
}

fn paused(plan: &str) -> Terms {
    let pause = CollectionPause { behavior: "void".to_owned(), resumes_at: None };
    Terms { collection_paused: Some(pause), ..terms("active", plan) }
}

/// A life for every reason that a member can be given, the video that is asked about, and the moment.
fn every_reason() -> Vec<(Reason, Life, &'static str)> {
    let with = |told: Vec<(&str, Terms)>| {
        let mut life = Life::new();
        for (source, terms) in told {
            life.soon(source, day(0), terms);
        }
        life
    };
    let then = |mut life: Life, told: (String, DateTime<Utc>, SubscriptionCommand)| {
        life.paid("evt_8", "in_1", day(0));
        life.told(told.1 + TimeDelta::seconds(2), &told.0, told.2);
        life
    };
    let active = || with(vec![("evt_1", terms("active", "basic"))]);
    let mut refunds_deny = active();
    let policy = Policy { refund_full: KeepOrDeny::Deny, ..Policy::default() };
    refunds_deny.applies(day(0), domain::catalog::Content { policy, ..content() });
    let mut grace = active();
    grace.failed("evt_3", "in_2", day(4)).soon("evt_4", day(4), terms("past_due", "basic"));
    let mut overdue = active();
    let ended = Policy { past_due_grace_seconds: 60, ..Policy::default() };
    overdue.applies(day(0), domain::catalog::Content { policy: ended, ..content() });
    overdue.failed("evt_3", "in_2", day(4)).soon("evt_4", day(4), terms("past_due", "basic"));
    let trial = Terms { trial_end: Some(day(14)), ..terms("trialing", "basic") };
    let cancelled = Terms { cancels_at: Some(day(30)), ..terms("active", "basic") };
    vec![
        (Reason::Free, Life::new(), "welcome"),
        (Reason::NoMembership, Life::new(), VIDEO),
        (Reason::Subscription, active(), VIDEO),
        (Reason::PlanTooLow, active(), ADVANCED),
        (Reason::Trial, with(vec![("evt_1", trial)]), VIDEO),
        (Reason::CancelsLater, with(vec![("evt_1", cancelled)]), VIDEO),
        (Reason::Grace, grace, VIDEO),
        (Reason::PastDue, overdue, VIDEO),
        (Reason::PaymentPending, with(vec![("evt_1", terms("incomplete", "basic"))]), VIDEO),
        (Reason::Unpaid, with(vec![("evt_1", terms("unpaid", "basic"))]), VIDEO),
        (Reason::Paused, with(vec![("evt_1", terms("paused", "basic"))]), VIDEO),
        (Reason::Ended, with(vec![("evt_1", terms("canceled", "basic"))]), VIDEO),
        (Reason::Disputed, then(active(), dispute("evt_9", day(3), "needs_response")), VIDEO),
        (Reason::Refunded, then(refunds_deny, refund("evt_9", day(3), 1_700)), VIDEO),
        (Reason::StatusUnknown, with(vec![("evt_1", terms("dreaming", "basic"))]), VIDEO),
        (Reason::Subscription, with(vec![("evt_1", paused("basic"))]), VIDEO),
    ]
}

#[test]
fn every_reason_is_said_in_the_same_words_wherever_it_is_said() {
    for (expected, life, video) in every_reason() {
        let chronicle = life.chronicle();
        let as_of = AsOf::at(day(5));
        let told = chronicle.explain(video, as_of).unwrap();
        assert_eq!(told.decision.reason, expected);
        let catalog = chronicle.revisions.in_force(as_of).1;
        let words = told.decision.message(&catalog);
        assert_eq!(told.message, words, "the console");
        assert_eq!(told.text().lines().nth(1).unwrap().trim(), words, "the command line");
        let deciding = told.sources.iter().find(|source| source.decides);
        assert_eq!(deciding.map_or(&words, |source| &source.sentence), &words, "the source that decides");
        if let Some(flip) = told.before.filter(|_| told.after.is_none()) {
            assert_eq!(flip.to.allowed, told.decision.allowed);
        }
        assert!(told.decision.until.is_none() || words.contains("UTC"), "{words}");
    }
}

fn give(until: Option<DateTime<Utc>>) -> GrantCommand {
    let (member, plan, remark) = ("mem_ada".into(), "pro".into(), "rmk_1".into());
    GrantCommand::Give { member, plan, from: day(5), until, remark }
}

#[test]
fn what_was_given_counts_from_its_beginning_to_its_end_and_takes_nothing_that_was_bought() {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic")).gives(day(5), give(Some(day(10))));
    let chronicle = life.chronicle();
    let flips = chronicle.flips(ADVANCED, AsOf::at(day(20))).unwrap();
    let told: Vec<_> = flips.iter().map(|flip| (flip.at, flip.to.allowed, flip.by_time)).collect();
    assert_eq!(told, [(day(5), true, false), (day(10), false, true)]);
    assert_eq!(flips[0].event.as_ref().unwrap().event_type, "AccessGranted");
    let given = chronicle.explain(ADVANCED, AsOf::at(day(7))).unwrap();
    assert_eq!((given.decision.reason, given.decision.until), (Reason::Grant, Some(day(10))));
    let source = given.sources.iter().find(|source| source.decides).unwrap();
    assert_eq!(
        (source.kind, source.status.as_str(), source.remark.as_deref()),
        (SourceKind::Grant, "granted", Some("(erased)"))
    );
    assert_eq!(given.deciding[0].event_type, "AccessGranted");
    assert_eq!(reason(&chronicle, VIDEO, AsOf::at(day(11))), Reason::Subscription, "what was bought goes on");
    let over = chronicle.explain(ADVANCED, AsOf::at(day(11))).unwrap();
    let statuses: Vec<_> = over.sources.iter().map(|source| source.status.as_str()).collect();
    assert_eq!(statuses, ["active", "ended"]);
    let next = chronicle.state(AsOf::at(day(7))).next.unwrap();
    assert_eq!(next.sentence, "The access to Pro that was given ends (grt_1). Basic: paid for.");
}

#[test]
fn what_stays_open_is_said_of_the_plan_that_opens_the_most() {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic")).gives(day(5), give(None));
    life.soon("evt_2", day(6), Terms { cancels_at: Some(day(30)), ..terms("active", "basic") });
    let story = life.chronicle().story(vec![], &Filter::default(), day(7));
    let group = story.groups.iter().find(|group| group.cause == "evt_2").unwrap();
    let said = group.access.as_ref().map(|access| access.sentence.as_str());
    assert_eq!(said, Some("Pro stays open: given without a payment"));
}

#[test]
fn what_was_taken_back_had_been_given_until_then() {
    let mut life = Life::new();
    life.gives(day(5), give(None)).gives(day(8), GrantCommand::Revoke { remark: "rmk_2".into() });
    let chronicle = life.chronicle();
    assert_eq!(reason(&chronicle, ADVANCED, AsOf::at(day(7))), Reason::Grant);
    assert_eq!(reason(&chronicle, ADVANCED, AsOf::at(day(8))), Reason::Ended);
    let story = chronicle.story(vec![], &Filter::default(), day(20));
    let turns: Vec<_> = story.groups.iter().filter_map(|group| group.access.as_ref()).collect();
    let said: Vec<_> = turns.iter().map(|turn| turn.sentence.as_str()).collect();
    assert_eq!(said, ["opens Pro: given without a payment", "closes everything"]);
}

#[test]
fn a_payer_who_was_found_not_to_be_hers_never_was_but_was_known_as_hers() {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic"));
    life.pays(day(6), CustomerCommand::Unlink { member: "mem_ada".into(), remark: "rmk_1".into() });
    life.pays(day(7), CustomerCommand::Delete(Deletion { at: day(7), source: "evt_9".into() }));
    let chronicle = life.chronicle();
    assert_eq!(reason(&chronicle, VIDEO, AsOf::at(day(3))), Reason::NoMembership);
    let known_at = Some(day(3));
    assert_eq!(reason(&chronicle, VIDEO, AsOf { known_at, ..AsOf::at(day(3)) }), Reason::Subscription);
    let types: Vec<_> = chronicle.entries().into_iter().map(|entry| entry.event_type).collect();
    assert_eq!(types, ["MemberRegistered", "MemberLinked", "MemberUnlinked"], "the rest is not her history");
    assert_eq!(chronicle.payers(), []);
}

#[test]
fn time_to_settle_that_staff_gave_is_among_the_events_that_decide() {
    let mut life = grace_that_ran_out();
    let extension = Extension { at: day(40), remark: "rmk_1".into(), until: day(60) };
    life.told(day(40), "req_1", SubscriptionCommand::ExtendGrace(extension));
    let chronicle = life.chronicle();
    let told = chronicle.explain(VIDEO, AsOf::at(day(50))).unwrap();
    assert_eq!((told.decision.reason, told.decision.until), (Reason::Grace, Some(day(60))));
    assert_eq!(told.deciding.last().unwrap().event_type, "GraceExtended");
    assert_eq!(told.after.unwrap().event.unwrap().event_type, "GraceExtended");
    assert_eq!(chronicle.explain(VIDEO, AsOf::at(day(39))).unwrap().decision.until, Some(day(44)));
}

#[test]
fn an_event_that_arrives_late_changes_what_was_true_and_not_what_was_known() {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic"));
    life.seen("evt_2", day(5), day(8), terms("canceled", "basic"));
    let chronicle = life.chronicle();
    let (at, known_at) = (day(6), Some(day(6)));
    assert_eq!(reason(&chronicle, VIDEO, AsOf::at(at)), Reason::Ended);
    assert_eq!(reason(&chronicle, VIDEO, AsOf { known_at, ..AsOf::at(at) }), Reason::Subscription);
}

#[test]
fn a_live_decision_is_made_again_from_its_moment_and_its_position() {
    let mut life = grace_that_ran_out();
    let asked = [day(1), day(31), day(43), day(45)];
    let live = asked.map(|at| (at, reason(&life.chronicle(), VIDEO, AsOf::at(at)), life.position()));
    life.seen("evt_9", day(29), day(60), terms("canceled", "basic"));
    let chronicle = life.chronicle();
    for (at, given, position) in live {
        let again = AsOf { position: Some(position), ..AsOf::at(at) };
        assert_eq!(reason(&chronicle, VIDEO, again), given, "{at}");
    }
    assert_eq!(
        reason(&chronicle, VIDEO, AsOf::at(day(31))),
        Reason::Ended,
        "the control: without the position it is another"
    );
}

#[test]
fn a_decision_of_a_node_whose_clock_is_behind_is_made_again_too() {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic"));
    let position = Some(life.position());
    // Learned at two seconds past by one node's clock, asked at one second before by another's.
    let at = day(0) - TimeDelta::seconds(1);
    let chronicle = life.chronicle();
    assert_eq!(reason(&chronicle, VIDEO, AsOf { position, ..AsOf::at(at) }), Reason::Subscription);
    assert_eq!(reason(&chronicle, VIDEO, AsOf::at(at)), Reason::NoMembership);
}

#[test]
fn an_answer_turns_at_the_moment_and_with_the_event_that_turned_it() {
    let chronicle = grace_that_ran_out().chronicle();
    let flips = chronicle.flips(VIDEO, AsOf::at(day(100))).unwrap();
    let [opens, closes] = &flips[..] else { panic!("{flips:#?}") };
    assert_eq!(
        (opens.at, opens.from.reason, opens.to.reason),
        (day(0), Some(Reason::NoMembership), Some(Reason::Subscription))
    );
    assert!(!opens.by_time);
    assert_eq!(opens.event.as_ref().unwrap().event_type, "SubscriptionStarted", "{opens:#?}");
    assert_eq!(
        (closes.at, closes.from.reason, closes.to.reason),
        (day(44), Some(Reason::Grace), Some(Reason::PastDue))
    );
    assert!(closes.by_time, "no event did that");
    assert_eq!(closes.event.as_ref().unwrap().cause, "evt_4", "{closes:#?}");
}

#[test]
fn an_explanation_names_the_nearest_turns_before_and_after() {
    let chronicle = grace_that_ran_out().chronicle();
    for (at, before, after) in [
        (day(-5), None, Some(day(0))),
        (day(0), Some(day(0)), Some(day(44))),
        (day(43), Some(day(0)), Some(day(44))),
        (day(44), Some(day(44)), None),
        (day(90), Some(day(44)), None),
    ] {
        let told = chronicle.explain(VIDEO, AsOf::at(at)).unwrap();
        let moments = (told.before.map(|flip| flip.at), told.after.map(|flip| flip.at));
        assert_eq!(moments, (before, after), "{at}");
    }
}

#[test]
fn around_every_turn_the_answers_are_what_the_turn_says() {
    for (_, life, video) in every_reason() {
        let chronicle = life.chronicle();
        let flips = chronicle.flips(video, AsOf::at(day(100))).unwrap();
        let allowed = |at| chronicle.explain(video, AsOf::at(at)).unwrap().decision.allowed;
        for flip in &flips {
            assert_eq!(allowed(flip.at), flip.to.allowed, "{flip:#?}");
            assert_eq!(allowed(flip.at - TimeDelta::microseconds(1)), flip.from.allowed, "{flip:#?}");
        }
        // Between the turns nothing turns.
        let at_first = flips.first().map_or_else(|| allowed(day(-20)), |flip| flip.from.allowed);
        for quarter in -4 * 12..4 * 60 {
            let at = after(quarter * 6 * 3_600 + 7);
            let expected = flips.iter().rfind(|flip| flip.at <= at).map_or(at_first, |flip| flip.to.allowed);
            assert_eq!(allowed(at), expected, "{at}");
        }
    }
}

#[test]
fn a_turn_that_a_change_of_the_catalogue_made_names_it() {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic"));
    let mut wanted = content();
    wanted.roadmaps[1].plans.push("basic".into());
    life.applies(day(10), wanted);
    let chronicle = life.chronicle();
    let flips = chronicle.flips(ADVANCED, AsOf::at(day(20))).unwrap();
    assert_eq!(flips.len(), 1, "{flips:#?}");
    assert_eq!((flips[0].at, flips[0].by_time), (day(10), false));
    assert_eq!(flips[0].event.as_ref().unwrap().event_type, "RoadmapDefined");
    let told = chronicle.explain(ADVANCED, AsOf::at(day(12))).unwrap();
    assert_eq!(told.policy.as_ref().map(|policy| (policy.revision, policy.since)), Some((2, day(10))));
    assert_eq!(told.rule, "Basic or Pro open projections.");
    let earlier = chronicle.explain(ADVANCED, AsOf::at(day(9))).unwrap();
    assert_eq!(earlier.policy.map(|policy| policy.revision), Some(1));
    assert_eq!(earlier.rule, "Pro opens projections.");
    let said: Vec<_> = earlier.other_plans.iter().map(|plan| plan.sentence.as_str()).collect();
    assert_eq!(
        said,
        ["Pro includes this video; she did not have it.", "Basic does not include this video; she had it."]
    );
}

#[test]
fn the_state_says_what_is_open_what_comes_next_and_what_was_paid() {
    let mut life = grace_that_ran_out();
    life.signs(day(1), AccountCommand::Open).signs(
        day(2),
        AccountCommand::SignIn {
            session: SessionId::from("ses_1"),
            new_device: true,
            second_factor: None,
            provider: None,
        },
    );
    let (source, at, command) = refund("evt_7", day(20), 500);
    life.told(at + TimeDelta::seconds(2), &source, command);
    let chronicle = life.chronicle();
    let early = chronicle.state(AsOf::at(day(10)));
    assert_eq!(early.plan, Some(PlanId::from("basic")));
    assert_eq!(early.sentence, "Basic: paid for.");
    assert_eq!(early.paid[0].sentence, "17.00 USD paid");
    assert_eq!(
        early.next.as_ref().map(|next| (next.at, next.sentence.as_str())),
        Some((day(30), "sub_1 renews."))
    );
    assert_eq!((early.account.signed_in_at, early.account.new_device), (Some(day(2)), true));
    let grace = chronicle.state(AsOf::at(day(31)));
    assert_eq!((grace.reason, grace.until), (Reason::Grace, Some(day(44))));
    assert_eq!(grace.paid[0].sentence, "12.00 USD paid: 17.00 USD less 5.00 USD");
    let last = grace.last_payment.unwrap();
    assert_eq!((last.succeeded, last.next_attempt_at), (false, Some(day(33))));
    assert!(
        last.sentence.starts_with("17.00 USD failed on ") && last.sentence.contains("; next try on "),
        "{}",
        last.sentence
    );
    let next = chronicle.state(AsOf::at(day(40))).next.unwrap();
    assert_eq!(next.at, day(44));
    assert_eq!(next.sentence, "Nothing is open. Basic: a payment failed and grace is over.");
    let over = chronicle.state(AsOf::at(day(50)));
    assert_eq!((over.plan, over.reason), (None, Reason::PastDue));
    let before = chronicle.state(AsOf::at(day(-1)));
    assert_eq!(
        (before.sentence.as_str(), before.sources.len()),
        ("Nothing is open: never had a membership.", 0)
    );
}

#[test]
fn a_difference_says_what_changed_and_what_arrived_too_late_to_be_known() {
    let mut life = Life::new();
    life.soon("evt_1", day(0), terms("active", "basic"));
    life.seen("evt_2", day(5), day(8), terms("canceled", "basic"));
    let chronicle = life.chronicle();
    let diff = chronicle.diff(AsOf::at(day(6)), AsOf::at(day(9)));
    assert_eq!(diff.sentence, "1 event arrived later that changed this.");
    assert_eq!(diff.changes, [], "by what is known now it had ended before both");
    let status = diff.corrections.iter().find(|change| change.what == "status of sub_1").unwrap();
    assert_eq!((status.before.as_deref(), status.after.as_deref()), (Some("active"), Some("canceled")));
    let known_at = Some(day(6));
    let diff = chronicle.diff(AsOf { known_at, ..AsOf::at(day(6)) }, AsOf::at(day(9)));
    assert!(diff.changes.iter().any(|change| change.what == "access"), "{:#?}", diff.changes);
    let none = chronicle.diff(AsOf::at(day(1)), AsOf::at(day(4)));
    assert_eq!(
        (none.sentence.as_str(), none.changes.len()),
        ("Nothing arrived later about the time before.", 0)
    );
    let apart = chronicle.diff(AsOf::at(day(-1)), AsOf::at(day(1)));
    assert!(apart.between.iter().any(|entry| entry.cause == "evt_1"), "{:#?}", apart.between);
}

fn delivery(id: &str, at: DateTime<Utc>, outcome: &str, times_received: u32) -> DeliverySeen {
    DeliverySeen {
        id: id.to_owned(),
        event_type: "customer.subscription.updated".to_owned(),
        created: Some(at),
        received_at: at + TimeDelta::seconds(2),
        times_received,
        outcome: outcome.to_owned(),
        reason: None,
        detail: (outcome == "parked").then(|| "no member is known".to_owned()),
        settled_at: None,
    }
}

#[test]
fn a_story_says_of_each_cause_what_it_opened_or_closed_and_of_time_what_it_closed() {
    let deliveries = vec![
        delivery("evt_4", day(30), "applied", 3),
        delivery("evt_5", day(31), "no_change", 1),
        delivery("evt_6", day(32), "parked", 1),
    ];
    let chronicle = grace_that_ran_out().chronicle();
    let story = chronicle.story(deliveries.clone(), &Filter::default(), day(50));
    let group = |cause: &str| story.groups.iter().find(|group| group.cause == cause).unwrap();
    let access = |cause: &str| group(cause).access.as_ref().map(|access| access.sentence.clone());
    assert_eq!(access("evt_1").as_deref(), Some("opens Basic: paid for"));
    assert_eq!(access("evt_2"), None, "a payment of something open opens nothing");
    assert!(access("evt_4").unwrap().starts_with("Basic stays open: a payment failed, in grace until "));
    assert_eq!(access("time").as_deref(), Some("closes everything"));
    assert_eq!(group("time").at, day(44));
    assert!(
        group("evt_4").sentence.ends_with("(arrived 3 times, counted once)"),
        "{}",
        group("evt_4").sentence
    );
    assert!(group("evt_5").sentence.ends_with(": told what was known already"));
    assert!(group("evt_6").sentence.ends_with("(no member is known)"));
    let moments: Vec<_> = story.groups.iter().map(|group| group.at).collect();
    assert!(moments.is_sorted(), "{moments:?}");
    let earlier = chronicle.story(vec![], &Filter::default(), day(40));
    assert!(earlier.groups.iter().all(|group| group.cause != "time"), "it has not come yet");
}

#[test]
fn what_time_closes_in_a_story_follows_the_rules_in_force_then() {
    let mut life = grace_that_ran_out();
    let longer = Policy { past_due_grace_seconds: 20 * 24 * 60 * 60, ..Policy::default() };
    life.applies(day(40), domain::catalog::Content { policy: longer, ..content() });
    let story = life.chronicle().story(vec![], &Filter::default(), day(60));
    let by_time: Vec<_> = story.groups.iter().filter(|group| group.cause == "time").collect();
    assert_eq!(by_time.iter().map(|group| group.at).collect::<Vec<_>>(), [day(50)], "{by_time:#?}");
    let none = Policy { past_due_grace_seconds: 0, ..Policy::default() };
    life.applies(day(45), domain::catalog::Content { policy: none, ..content() });
    let story = life.chronicle().story(vec![], &Filter::default(), day(60));
    let closed = story.groups.iter().rfind(|group| group.access.is_some()).unwrap();
    assert_eq!((closed.at, closed.sentence.as_str()), (day(45), "The catalogue changed: closes everything"));
}

#[test]
fn a_grant_that_had_ended_before_it_was_taken_back_ended_then() {
    let mut life = Life::new();
    life.gives(day(5), give(Some(day(10)))).gives(day(12), GrantCommand::Revoke { remark: "rmk_2".into() });
    let state = life.chronicle().state(AsOf::at(day(20)));
    assert_eq!((state.sources[0].status.as_str(), state.sources[0].until), ("revoked", Some(day(10))));
}

#[test]
fn a_story_is_filtered_and_read_page_by_page() {
    let deliveries = || vec![delivery("evt_5", day(31), "no_change", 1)];
    let chronicle = grace_that_ran_out().chronicle();
    let told = |filter: Filter| -> Vec<String> {
        let story = chronicle.story(deliveries(), &filter, day(40));
        story.groups.into_iter().map(|group| group.cause).collect()
    };
    let of = |kind| told(Filter { kind: Some(kind), ..Filter::default() });
    assert_eq!(of(EntryKind::Payments), ["evt_2", "evt_3"]);
    assert_eq!(of(EntryKind::Deliveries), ["evt_5"]);
    assert_eq!(told(Filter { event_type: Some("paymentfailed".into()), ..Filter::default() }), ["evt_3"]);
    let between = Filter { from: Some(day(0)), until: Some(day(30)), ..Filter::default() };
    assert_eq!(told(between), ["evt_1", "evt_2"]);
    let all = told(Filter::default());
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let filter = Filter { limit: Some(2), after: after.take(), ..Filter::default() };
        let page = chronicle.story(deliveries(), &filter, day(40));
        assert!(page.groups.len() <= 2);
        pages.extend(page.groups.into_iter().map(|group| group.cause));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, all);
    let newest = told(Filter { newest_first: true, ..Filter::default() });
    assert!(newest.iter().rev().eq(&all), "{newest:?}");
}

#[test]
fn one_event_says_what_it_changed_and_what_else_its_cause_did() {
    let life = grace_that_ran_out();
    let chronicle = life.chronicle();
    let fell_due =
        chronicle.entries().into_iter().find(|entry| entry.event_type == "PaymentFellDue").unwrap();
    let event = chronicle.event(fell_due.position).unwrap();
    assert_eq!((event.entry.cause.as_str(), event.before.as_str()), ("evt_4", "Basic: paid for."));
    assert!(event.after.starts_with("Basic: a payment failed, in grace until "), "{}", event.after);
    let status = event.changes.iter().find(|change| change.what == "status of sub_1").unwrap();
    assert_eq!((status.before.as_deref(), status.after.as_deref()), (Some("active"), Some("past_due")));
    assert!(event.payload.is_object() && event.previous.is_some());
    assert_eq!(chronicle.event(Position::new(9_999)), None);
    assert_eq!(chronicle.event(Position::new(1)), None, "the catalogue is not hers");
}
