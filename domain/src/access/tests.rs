use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::catalog::{CatalogCommand, Content, Course, Plan, Roadmap, decide, evolve};
use crate::ids::VideoId;
use crate::subscription::{Anchors, CollectionPause, Item, Terms};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn days(days: i64) -> TimeDelta {
    TimeDelta::days(days)
}

fn catalog_with(policy: Policy) -> Catalog {
    let plan = |id: &str, rank| Plan {
        id: id.into(),
        name: id.to_uppercase(),
        rank,
        prices: vec![format!("price_{id}").into()],
        products: vec![],
        trial_days: None,
    };
    let roadmap = |id: &str, plans: &[&str]| Roadmap {
        id: id.into(),
        name: id.to_owned(),
        plans: plans.iter().map(|plan| (*plan).into()).collect(),
        place: 0,
    };
    let course = |id: &str, free| Course {
        id: id.into(),
        name: id.to_owned(),
        free,
        roadmap: if id == "deep" { "advanced".into() } else { "start".into() },
        place: 0,
    };
    let video = |id: &str, course: &str, free| Video {
        id: id.into(),
        name: id.to_owned(),
        free,
        course: course.into(),
        place: 0,
        playback: None,
    };
    let content = Content {
        policy,
        plans: vec![plan("basic", 1), plan("pro", 2)],
        roadmaps: vec![roadmap("start", &["basic", "pro"]), roadmap("advanced", &["pro"])],
        courses: vec![course("intro", true), course("first", false), course("deep", false)],
        videos: vec![
            video("hello", "intro", false),
            video("loops", "first", false),
            video("taste", "deep", true),
            video("replays", "deep", false),
        ],
    };
    let mut catalog = Catalog::default();
    for event in decide(&catalog.clone(), CatalogCommand::Apply(Box::new(content))).unwrap() {
        evolve(&mut catalog, &event);
    }
    catalog
}

fn standing(status: &str, plan: &str) -> Standing {
    Standing {
        terms: Terms {
            items: vec![Item {
                price: Some(format!("price_{plan}").into()),
                product: None,
                period_end: None,
            }],
            plans: vec![plan.into()],
            ..Terms::new("cus_1".into(), Status::from(status.to_owned()))
        },
        anchors: Anchors { plans: vec![plan.into()], ..Anchors::default() },
    }
}

fn ask_under(policy: Policy, standings: &[Standing], video: &str) -> Decision {
    let catalog = catalog_with(policy);
    let source = |standing: &Standing| {
        Source::new(standing, catalog.opened_by(&standing.terms.items, &standing.anchors.plans))
    };
    let video: VideoId = video.into();
    let video = catalog.video(video.as_str()).unwrap();
    decide_access(standings.iter().map(source), &catalog, &catalog.policy(), video, now())
}

fn ask(standings: &[Standing], video: &str) -> (bool, Reason) {
    let decision = ask_under(Policy::default(), standings, video);
    (decision.allowed, decision.reason)
}

#[test]
fn free_videos_and_videos_of_free_courses_are_open_to_anyone() {
    for video in ["hello", "taste"] {
        assert_eq!(ask(&[], video), (true, Reason::Free));
        assert_eq!(ask(&[standing("canceled", "basic")], video), (true, Reason::Free));
    }
}

#[test]
fn basic_opens_the_first_roadmap_and_pro_opens_both() {
    for (plan, video, expected) in [
        ("basic", "loops", (true, Reason::Subscription)),
        ("basic", "replays", (false, Reason::PlanTooLow)),
        ("pro", "loops", (true, Reason::Subscription)),
        ("pro", "replays", (true, Reason::Subscription)),
    ] {
        assert_eq!(ask(&[standing("active", plan)], video), expected, "{plan} {video}");
    }
}

#[test]
fn a_plan_is_open_to_whoever_may_use_all_that_it_opens() {
    let catalog = catalog_with(Policy::default());
    let uses = |held: &str, plan: &str| {
        let standing = standing("active", held);
        let plans = catalog.opened_by(&standing.terms.items, &standing.anchors.plans);
        let source = std::iter::once(Source::new(&standing, plans));
        let decision = decide_plan(&plan.into(), &source, &catalog, &catalog.policy(), now());
        (decision.allowed, decision.reason)
    };
    assert_eq!(uses("basic", "basic"), (true, Reason::Subscription));
    assert_eq!(uses("basic", "pro"), (false, Reason::PlanTooLow));
    assert_eq!(uses("pro", "basic"), (true, Reason::Subscription));
    assert_eq!(uses("pro", "pro"), (true, Reason::Subscription));
}

#[test]
fn each_status_has_its_answer() {
    for (status, expected) in [
        ("incomplete", (false, Reason::PaymentPending)),
        ("incomplete_expired", (false, Reason::Ended)),
        ("trialing", (true, Reason::Trial)),
        ("active", (true, Reason::Subscription)),
        ("unpaid", (false, Reason::Unpaid)),
        ("paused", (false, Reason::Paused)),
        ("canceled", (false, Reason::Ended)),
        ("on_the_moon", (false, Reason::StatusUnknown)),
    ] {
        assert_eq!(ask(&[standing(status, "basic")], "loops"), expected, "{status}");
    }
    assert_eq!(ask(&[], "loops"), (false, Reason::NoMembership));
}

fn past_due_since(ago: TimeDelta) -> Standing {
    let mut standing = standing("past_due", "basic");
    standing.anchors.grace_from = Some(now() - ago);
    standing
}

#[test]
fn grace_ends_to_the_second() {
    let second = TimeDelta::seconds(1);
    assert_eq!(ask(&[past_due_since(days(14) - second)], "loops"), (true, Reason::Grace));
    assert_eq!(ask(&[past_due_since(days(14))], "loops"), (false, Reason::PastDue));
    let decision = ask_under(Policy::default(), &[past_due_since(days(4))], "loops");
    assert_eq!(decision.until, Some(now() + days(10)));
}

#[test]
fn time_that_staff_gave_keeps_the_video_open_to_its_second_and_never_shortens_what_the_policy_gives() {
    let given = |ago, until| {
        let mut standing = past_due_since(ago);
        standing.anchors.grace_until = Some(until);
        standing
    };
    let (second, asked) = (TimeDelta::seconds(1), |standing| ask(&[standing], "loops"));
    assert_eq!(asked(given(days(20), now() + second)), (true, Reason::Grace));
    assert_eq!(asked(given(days(20), now())), (false, Reason::PastDue));
    let decision = ask_under(Policy::default(), &[given(days(4), now() + days(1))], "loops");
    assert_eq!(decision.until, Some(now() + days(10)), "the policy gives more");
    let source = Source::new(&given(days(4), now() + days(20)), PlanSet::default());
    assert_eq!(source.next_change(&Policy::default(), now()), Some(now() + days(20)));
}

#[test]
fn a_debt_that_was_paid_is_no_debt_even_before_the_status_says_so() {
    let mut paid = past_due_since(days(30));
    paid.anchors.recovered_at = Some(now());
    assert_eq!(ask(&[paid], "loops"), (true, Reason::Subscription));
}

#[test]
fn an_end_that_is_scheduled_lets_watch_until_then() {
    let mut canceling = standing("active", "basic");
    canceling.terms.cancels_at = Some(now() + days(1));
    let decision = ask_under(Policy::default(), std::slice::from_ref(&canceling), "loops");
    assert_eq!((decision.allowed, decision.reason), (true, Reason::CancelsLater));
    assert_eq!(decision.until, Some(now() + days(1)));
    canceling.terms.cancels_at = Some(now());
    assert_eq!(ask(&[canceling], "loops"), (false, Reason::Ended));
}

#[test]
fn a_trial_is_not_over_before_the_provider_says_so() {
    let mut trial = standing("trialing", "basic");
    trial.terms.trial_end = Some(now() - days(1));
    let decision = ask_under(Policy::default(), &[trial], "loops");
    assert_eq!((decision.allowed, decision.reason, decision.until), (true, Reason::Trial, None));
}

#[test]
fn a_pause_of_collection_follows_the_policy() {
    let mut paused = standing("active", "basic");
    paused.terms.collection_paused = Some(CollectionPause { behavior: "void".to_owned(), resumes_at: None });
    let cases = [
        (WhileCollectionPaused::Keep, -1, (true, Reason::Subscription)),
        (WhileCollectionPaused::EndOfPeriod, 1, (true, Reason::Subscription)),
        (WhileCollectionPaused::EndOfPeriod, -1, (false, Reason::Paused)),
        (WhileCollectionPaused::Deny, 1, (false, Reason::Paused)),
    ];
    for (collection_paused, paid_for, expected) in cases {
        paused.anchors.paid_until = Some(now() + days(paid_for));
        let policy = Policy { collection_paused, ..Policy::default() };
        let decision = ask_under(policy, std::slice::from_ref(&paused), "loops");
        assert_eq!((decision.allowed, decision.reason), expected, "{collection_paused:?} {paid_for}");
    }
}

#[test]
fn the_best_of_several_subscriptions_answers_in_any_order() {
    let (active, ended, owing) =
        (standing("active", "basic"), standing("canceled", "pro"), past_due_since(days(20)));
    for sources in [[active.clone(), ended.clone()], [ended.clone(), active.clone()]] {
        assert_eq!(ask(&sources, "loops"), (true, Reason::Subscription));
        assert_eq!(ask(&sources, "replays"), (false, Reason::PlanTooLow));
    }
    assert_eq!(ask(&[ended, owing.clone()], "loops"), (false, Reason::PastDue));
    assert_eq!(ask(&[owing, active], "loops"), (true, Reason::Subscription));
}

#[test]
fn a_no_says_what_would_open_the_video() {
    let fix = |standings: &[Standing], video| ask_under(Policy::default(), standings, video).fix;
    let with = |action, plan: Option<&str>| Some(Fix { action, plan: plan.map(Into::into) });
    assert_eq!(fix(&[], "loops"), with(Action::Subscribe, Some("basic")));
    assert_eq!(fix(&[], "replays"), with(Action::Subscribe, Some("pro")));
    assert_eq!(fix(&[standing("active", "basic")], "replays"), with(Action::Upgrade, Some("pro")));
    assert_eq!(fix(&[standing("unpaid", "basic")], "loops"), with(Action::UpdatePaymentMethod, None));
    assert_eq!(fix(&[standing("active", "pro")], "replays"), None);
}

#[test]
fn every_answer_has_its_sentence() {
    let catalog = catalog_with(Policy::default());
    let sentence =
        |standings: &[Standing], video| ask_under(Policy::default(), standings, video).message(&catalog);
    assert_eq!(
        sentence(&[standing("active", "basic")], "replays"),
        "Your BASIC membership does not include this video."
    );
    assert_eq!(
        sentence(&[past_due_since(days(4))], "loops"),
        "A payment for your BASIC membership failed. You can watch until 24 November 2023, 22:13 UTC; please update your payment method."
    );
    assert_eq!(sentence(&[], "loops"), "This video needs a membership.");
}

#[test]
fn what_is_shown_never_depends_on_the_order_of_the_subscriptions() {
    let all: Vec<Standing> = ["unpaid", "paused", "incomplete", "canceled", "active"]
        .into_iter()
        .flat_map(|status| [standing(status, "basic"), standing(status, "pro")])
        .chain([past_due_since(days(2)), past_due_since(days(20))])
        .collect();
    for first in &all {
        for second in &all {
            for video in ["loops", "replays"] {
                let shown = |standings: &[Standing]| {
                    let decision = ask_under(Policy::default(), standings, video);
                    Decision { source: None, ..decision }
                };
                let pair = [first.clone(), second.clone()];
                let turned = [second.clone(), first.clone()];
                assert_eq!(shown(&pair), shown(&turned), "{} {}", first.terms.status, second.terms.status);
            }
        }
    }
}

fn given(from: TimeDelta, until: Option<TimeDelta>) -> Source {
    let (member, plan) = ("mem_ada".into(), "basic".into());
    let given = Given { member, plan, from: now() + from, until: until.map(|until| now() + until) };
    Source::granted(&given, false, catalog_with(Policy::default()).set_of(&["basic".into()]))
}

fn bought(standing: &Standing) -> Source {
    let plans = catalog_with(Policy::default()).set_of(&standing.anchors.plans);
    Source::new(standing, plans)
}

fn decide_at(sources: &[Source], video: &str, at: DateTime<Utc>) -> Decision {
    let catalog = catalog_with(Policy::default());
    let video = catalog.video(video).unwrap();
    decide_access(sources.iter().copied(), &catalog, &catalog.policy(), video, at)
}

#[test]
fn a_grant_opens_from_its_beginning_to_its_end() {
    let grant = given(days(1), Some(days(3)));
    let at = |moment| decide_at(&[grant], "loops", now() + moment);
    let before = at(days(0));
    assert_eq!((before.reason, before.plan), (Reason::NoMembership, None), "it is nothing yet");
    assert_eq!((at(days(1)).reason, at(days(1)).until), (Reason::Grant, Some(now() + days(3))));
    assert_eq!(at(days(3)).reason, Reason::Ended);
    let policy = Policy::default();
    let next = |moment| grant.next_change(&policy, now() + moment);
    assert_eq!(
        [next(days(0)), next(days(1)), next(days(3))],
        [Some(now() + days(1)), Some(now() + days(3)), None]
    );
    let message = at(days(1)).message(&catalog_with(policy.clone()));
    assert_eq!(message, "You were given access to this video until 17 November 2023, 22:13 UTC.");
}

#[test]
fn who_only_has_what_was_given_is_asked_to_buy_and_not_to_change() {
    let fix = |sources: &[Source]| decide_at(sources, "replays", now()).fix.unwrap().action;
    assert_eq!(fix(&[given(days(0), None)]), Action::Subscribe);
    assert_eq!(fix(&[given(days(0), None), bought(&standing("active", "basic"))]), Action::Upgrade);
}

#[test]
fn a_grant_waits_behind_what_is_paid_for_without_an_end_and_carries_on_where_that_ends() {
    let ends = |at| Standing {
        terms: Terms { cancels_at: Some(now() + at), ..standing("active", "basic").terms },
        ..standing("active", "basic")
    };
    let reason = |sources: &[Source]| decide_at(sources, "loops", now()).reason;
    let (some_days, for_good) = (given(days(0), Some(days(9))), given(days(0), None));
    let paid = bought(&standing("active", "basic"));
    for (sources, best) in [
        ([some_days, paid], Reason::Subscription),
        ([for_good, paid], Reason::Subscription),
        ([some_days, bought(&ends(days(5)))], Reason::Grant),
        ([some_days, bought(&ends(days(20)))], Reason::CancelsLater),
        ([for_good, bought(&standing("trialing", "basic"))], Reason::Trial),
        ([some_days, bought(&standing("canceled", "basic"))], Reason::Grant),
        ([given(days(1), None), bought(&standing("canceled", "basic"))], Reason::Ended),
    ] {
        let turned = [sources[1], sources[0]];
        assert_eq!((reason(&sources), reason(&turned)), (best, best));
    }
    assert!(!for_good.is_paying());
}

/// Every kind of source, open or not, now or later.
fn any_source() -> impl Strategy<Value = (bool, Source)> {
    let end = prop::option::of(-30_i64..30);
    let grants = (-30_i64..30, end.clone(), any::<bool>()).prop_map(|(from, length, revoked)| {
        let until = length.map(|length| now() + days(from + length.abs() + 1));
        let given = Given { member: "mem_ada".into(), plan: "basic".into(), from: now() + days(from), until };
        let plans = catalog_with(Policy::default()).set_of(&["basic".into()]);
        (false, Source::granted(&given, revoked, plans))
    });
    let words = ["active", "trialing", "unpaid", "paused", "incomplete", "canceled", "past_due"];
    let bought = (prop::sample::select(words.to_vec()), end).prop_map(|(status, end)| {
        let mut standing =
            if status == "past_due" { past_due_since(days(3)) } else { standing(status, "basic") };
        standing.terms.cancels_at = end.map(|end| now() + days(end));
        (true, bought(&standing))
    });
    prop_oneof![grants, bought]
}

/// What each of two kinds of sources opens, they open together: neither ever takes what the other gives.
fn takes_nothing(
    sources: &[(bool, Source)],
    decide: impl Fn(&[Source], DateTime<Utc>) -> bool,
    moment: DateTime<Utc>,
) -> bool {
    let of = |paid: bool| sources.iter().filter(move |(kind, _)| *kind == paid).map(|(_, source)| *source);
    let (bought, given): (Vec<_>, Vec<_>) = (of(true).collect(), of(false).collect());
    let all: Vec<Source> = sources.iter().map(|(_, source)| *source).collect();
    decide(&all, moment) == (decide(&bought, moment) || decide(&given, moment))
}

proptest! {
    #[test]
    fn the_end_of_a_grant_takes_nothing_paid_and_the_end_of_a_payment_takes_no_grant(
        sources in prop::collection::vec(any_source(), 0..5),
        day in -40_i64..40,
    ) {
        let opens = |sources: &[Source], at| decide_at(sources, "loops", at).allowed;
        prop_assert!(takes_nothing(&sources, opens, now() + days(day)));
    }
}

/// The same where a member has one source into which all are merged, with the end that was set last.
#[test]
fn merged_sources_would_take_from_each_other() {
    let merged = |sources: &[Source], at| {
        let one = sources.iter().copied().reduce(|first, last| Source { ends_at: last.ends_at, ..first });
        decide_at(&one.into_iter().collect::<Vec<_>>(), "loops", at).allowed
    };
    let sources = [(true, bought(&standing("active", "basic"))), (false, given(days(0), Some(days(5))))];
    assert!(!takes_nothing(&sources, merged, now() + days(6)), "the end of the grant would end what is paid");
    let apart = |sources: &[Source], at| decide_at(sources, "loops", at).allowed;
    assert!(takes_nothing(&sources, apart, now() + days(6)));
}

#[test]
fn a_first_payment_opens_at_once() {
    let mut paid = standing("incomplete", "basic");
    paid.anchors.recovered_at = Some(now());
    assert_eq!(ask(&[paid], "loops"), (true, Reason::Subscription));
}

#[test]
fn a_grace_for_ever_is_no_trouble() {
    let policy = Policy { past_due_grace_seconds: u64::MAX, ..Policy::default() };
    let decision = ask_under(policy, &[past_due_since(days(4000))], "loops");
    assert_eq!((decision.allowed, decision.reason), (true, Reason::Grace));
}

#[test]
fn money_that_is_taken_back_ends_access_as_the_policy_says() {
    let anchored = |anchors: Anchors| Standing {
        anchors: Anchors { plans: vec!["basic".into()], ..anchors },
        ..standing("active", "basic")
    };
    let refunded = anchored(Anchors { refunded_at: Some(now()), ..Anchors::default() });
    let disputed = anchored(Anchors { disputed_since: Some(now()), ..Anchors::default() });
    let lost = anchored(Anchors { dispute_lost_at: Some(now()), ..Anchors::default() });
    let policy = |refund_full, dispute_open| Policy { refund_full, dispute_open, ..Policy::default() };
    let (keep, deny) = (KeepOrDeny::Keep, KeepOrDeny::Deny);
    let ask = |standing: &Standing, refund, dispute| {
        ask_under(policy(refund, dispute), std::slice::from_ref(standing), "loops").reason
    };
    assert_eq!(ask(&refunded, keep, deny), Reason::Subscription);
    assert_eq!(ask(&refunded, deny, keep), Reason::Refunded);
    assert_eq!(ask(&disputed, deny, keep), Reason::Subscription);
    assert_eq!(ask(&disputed, keep, deny), Reason::Disputed);
    assert_eq!(ask(&lost, keep, keep), Reason::Disputed, "the money is gone whatever the policy says");

    let other = standing("active", "basic");
    let both = ask_under(policy(deny, deny), &[disputed, other], "loops");
    assert!(both.allowed, "one subscription never takes what another gives: {both:?}");
}
