//! Refunds, disputes, what else happens to invoices, and what is scheduled.

use super::*;

fn paid(source: &str, seconds: i64, invoice: &str) -> SubscriptionCommand {
    SubscriptionCommand::RecordPayment(PaymentAttempt { invoice: invoice.into(), ..attempt(source, seconds) })
}

fn reversed(invoice: &str, reversal: Reversal) -> SubscriptionCommand {
    SubscriptionCommand::RecordReversal(ReversedPayment {
        invoice: invoice.into(),
        payment: "pi_1".into(),
        reversal,
    })
}

fn refund(source: &str, seconds: i64, told: RefundTold) -> SubscriptionCommand {
    let currency = Some("usd".to_owned());
    reversed("in_1", Reversal::Refund(Refund { at: at(seconds), source: source.into(), told, currency }))
}

fn given_back(amount: i64) -> RefundTold {
    RefundTold::Payment { given_back: amount, paid: 1_700 }
}

fn one(refund: &str, amount: i64, failed: bool) -> RefundTold {
    RefundTold::One { refund: refund.into(), amount, failed }
}

fn dispute(source: &str, seconds: i64, status: &str) -> SubscriptionCommand {
    reversed(
        "in_1",
        Reversal::Dispute(Dispute {
            at: at(seconds),
            source: source.into(),
            dispute: "dp_1".into(),
            status: status.to_owned().into(),
            reason: Some("fraudulent".to_owned()),
        }),
    )
}

/// An active subscription whose first invoice was paid.
fn member() -> Vec<SubscriptionCommand> {
    vec![observe(seen("evt_1", 0, Kind::Created, terms("active", "basic"))), paid("evt_2", 1, "in_1")]
}

fn anchors(told: impl IntoIterator<Item = SubscriptionCommand>) -> Anchors {
    after(member().into_iter().chain(told)).standing(None).unwrap().anchors
}

/// Any refund or dispute of one of the first three invoices.
pub(super) fn any_reversal() -> impl Strategy<Value = SubscriptionCommand> {
    let told = prop_oneof![
        (0_i64..3).prop_map(|part| given_back(part * 850)),
        (0_u32..2, any::<bool>()).prop_map(|(id, failed)| one(&format!("re_{id}"), 850, failed)),
    ];
    let refunds = (60_u32..70, 0_i64..8, told);
    let refunds = refunds.prop_map(|(id, second, told)| refund(&format!("evt_{id}"), second, told));
    let statuses =
        prop::sample::select(vec!["warning_closed", "needs_response", "under_review", "won", "lost"]);
    let disputes = (70_u32..80, 0_i64..8, statuses);
    let disputes = disputes.prop_map(|(id, second, status)| dispute(&format!("evt_{id}"), second, status));
    (prop_oneof![refunds, disputes], 0_u32..3).prop_map(|(mut command, invoice)| {
        if let SubscriptionCommand::RecordReversal(reversed) = &mut command {
            reversed.invoice = format!("in_{invoice}").into();
        }
        command
    })
}

#[test]
fn a_refund_in_parts_is_a_refund_once_all_of_it_is_given_back() {
    let mut subscription = after(member());
    let part = told(&mut subscription, refund("evt_3", 10, given_back(700)));
    assert_eq!(names(&part), ["PaymentPartlyRefunded"]);
    assert_eq!(subscription.standing(None).unwrap().anchors.refunded_at, None);
    let whole = told(&mut subscription, refund("evt_4", 20, given_back(1_700)));
    assert_eq!(names(&whole), ["PaymentRefunded"]);
    assert_eq!(subscription.standing(None).unwrap().anchors.refunded_at, Some(at(20)));
    assert_eq!(subscription.standing(Some(at(15))).unwrap().anchors.refunded_at, None);
    assert_eq!(subscription.evidence(None).deciding, ["evt_1".into(), "evt_4".into()]);
    assert_eq!(told(&mut subscription, refund("evt_4", 20, given_back(1_700))), []);
}

#[test]
fn a_refund_that_did_not_reach_the_payer_was_none() {
    let single = [refund("evt_3", 10, one("re_1", 1_700, false))];
    assert_eq!(anchors(single.clone()).refunded_at, Some(at(10)));
    let failed = refund("evt_4", 20, one("re_1", 1_700, true));
    assert_eq!(anchors([single[0].clone(), failed.clone()]).refunded_at, None);
    assert_eq!(anchors([refund("evt_3", 10, given_back(1_700)), failed.clone()]).refunded_at, None);
    let mut subscription = after(member());
    assert_eq!(names(&told(&mut subscription, failed)), ["RefundFailed"]);
    assert_eq!(told(&mut subscription, single[0].clone()).len(), 1);
    assert_eq!(subscription.standing(None).unwrap().anchors.refunded_at, None, "whichever came first");
}

#[test]
fn a_debt_that_a_credit_settles_is_no_payment_after_a_refund() {
    let by_credit = PaymentAttempt { invoice: "in_2".into(), amount: 0, ..attempt("evt_5", 30) };
    let failed = PaymentAttempt { amount: 1_700, at: at(20), source: "evt_4".into(), ..by_credit.clone() };
    let told = [
        refund("evt_3", 10, given_back(1_700)),
        SubscriptionCommand::RecordPaymentFailure(failed),
        SubscriptionCommand::RecordPayment(by_credit),
    ];
    assert_eq!(anchors(told.clone()).refunded_at, Some(at(10)));
    let paid = paid("evt_6", 40, "in_3");
    assert_eq!(anchors(told.into_iter().chain([paid])).refunded_at, None);
}

#[test]
fn a_refund_that_fails_in_the_second_it_was_made_is_none_whatever_the_ids_are() {
    for [whole, failed] in [["evt_3", "evt_4"], ["evt_4", "evt_3"]] {
        let told = [refund(whole, 10, given_back(1_700)), refund(failed, 10, one("re_1", 1_700, true))];
        assert_eq!(anchors(told).refunded_at, None, "{failed} after {whole}");
    }
}

#[test]
fn one_refund_told_by_the_payment_and_by_itself_is_given_back_once() {
    let half = [refund("evt_3", 10, given_back(850)), refund("evt_4", 10, one("re_1", 850, false))];
    assert_eq!(anchors(half).refunded_at, None);
}

#[test]
fn a_refund_of_an_earlier_payment_changes_nothing() {
    let renewed = paid("evt_3", days(30), "in_2");
    assert_eq!(anchors([renewed.clone(), refund("evt_4", days(31), given_back(1_700))]).refunded_at, None);
    let before = [refund("evt_4", days(29), given_back(1_700)), renewed];
    assert_eq!(anchors(before).refunded_at, None, "paying again ends it");
}

#[test]
fn an_inquiry_is_no_dispute() {
    let mut subscription = after(member());
    for (index, status) in
        ["warning_needs_response", "warning_under_review", "early_fraud_warning", "novel"].iter().enumerate()
    {
        let second = i64::try_from(index).unwrap() + 10;
        let events = told(&mut subscription, dispute(&format!("evt_{second}"), second, status));
        assert_eq!(names(&events), ["PaymentQuestioned"], "{status}");
    }
    assert_eq!(subscription.standing(None).unwrap().anchors.disputed_since, None);
    let closed = told(&mut subscription, dispute("evt_20", 20, "warning_closed"));
    assert_eq!(names(&closed), ["DisputeClosed"]);
}

#[test]
fn a_dispute_holds_from_its_opening_until_it_is_won() {
    let opened = dispute("evt_3", 10, "needs_response");
    let reviewed = dispute("evt_4", 20, "under_review");
    let won = dispute("evt_5", 30, "won");
    assert_eq!(anchors([opened.clone(), reviewed.clone()]).disputed_since, Some(at(10)));
    let subscription = after(member().into_iter().chain([opened, reviewed, won]));
    let held = |second| subscription.standing(Some(at(second))).unwrap().anchors;
    assert_eq!(held(9).disputed_since, None);
    assert_eq!(held(25).disputed_since, Some(at(10)));
    assert_eq!((held(30).disputed_since, held(30).dispute_lost_at), (None, None));
}

#[test]
fn a_lost_dispute_holds_until_something_is_paid_again() {
    let lost = [dispute("evt_3", 10, "needs_response"), dispute("evt_4", 20, "lost")];
    assert_eq!(anchors(lost.clone()).dispute_lost_at, Some(at(20)));
    let paid_again = lost.into_iter().chain([paid("evt_5", days(30), "in_2")]);
    assert_eq!(anchors(paid_again).dispute_lost_at, None);
}

#[test]
fn reversals_told_in_every_order_end_in_one_state() {
    let story = [
        refund("evt_3", 10, given_back(500)),
        refund("evt_4", 20, given_back(1_700)),
        refund("evt_5", 30, one("re_1", 1_200, true)),
        dispute("evt_6", 40, "needs_response"),
        dispute("evt_7", 40, "under_review"),
        dispute("evt_8", 50, "lost"),
    ];
    let expected = after(member().into_iter().chain(story.clone()));
    let mut orders = 0;
    every_order(&story, |order| {
        orders += 1;
        let with_copies = order.iter().chain(order).cloned();
        let state = after(with_copies.chain(member()));
        assert_eq!(state, expected);
        assert_eq!(state.standing(None), expected.standing(None));
    });
    assert_eq!(orders, 720);
    assert_eq!(expected.standing(None).unwrap().anchors.dispute_lost_at, Some(at(50)));
    assert_eq!(expected.standing(Some(at(25))).unwrap().anchors.refunded_at, Some(at(20)));
    assert_eq!(expected.standing(Some(at(35))).unwrap().anchors.refunded_at, None);
}

#[test]
fn a_payment_that_waits_for_the_payer_opens_grace_like_one_that_failed() {
    let past_due = seen("evt_3", days(30), Kind::Changed, terms("past_due", "basic"));
    let waiting = PaymentAttempt { invoice: "in_2".into(), ..attempt("evt_4", days(30) - 60) };
    let mut subscription = after(member());
    let events = told(&mut subscription, SubscriptionCommand::RecordActionRequired(waiting));
    assert_eq!(names(&events), ["PaymentActionRequired"]);
    told(&mut subscription, observe(past_due));
    assert_eq!(subscription.standing(None).unwrap().anchors.grace_from, Some(at(days(30) - 60)));
}

#[test]
fn what_happens_to_an_invoice_is_noted_once_and_changes_nothing() {
    let noted = Noted {
        invoice: "in_1".into(),
        note: InvoiceNote::MarkedUncollectible,
        at: at(50),
        source: "evt_3".into(),
    };
    let mut subscription = after(member());
    let before = subscription.standing(None);
    let note = SubscriptionCommand::NoteInvoice(noted);
    assert_eq!(names(&told(&mut subscription, note.clone())), ["InvoiceNoted"]);
    assert_eq!(told(&mut subscription, note), []);
    assert_eq!(subscription.standing(None), before);
}

#[test]
fn a_plan_change_that_is_scheduled_is_told_and_changes_nothing_until_it_happens() {
    let next = |from| Some(NextPlans { from: at(from), items: Vec::new(), plans: vec!["basic".into()] });
    let schedule = |source: &str, second, next| {
        SubscriptionCommand::RecordSchedule(Schedule { at: at(second), source: source.into(), next })
    };
    let mut subscription = after(member());
    let before = subscription.standing(None);
    assert_eq!(told(&mut subscription, schedule("evt_3", 10, None)), [], "nothing was scheduled before");
    assert_eq!(
        names(&told(&mut subscription, schedule("evt_4", 20, next(days(30))))),
        ["PlanChangeScheduled"]
    );
    assert_eq!(told(&mut subscription, schedule("evt_5", 30, next(days(30)))), [], "the same again");
    assert_eq!(told(&mut subscription, schedule("evt_2", 15, None)), [], "older");
    assert_eq!(subscription.standing(None), before);
    assert_eq!(names(&told(&mut subscription, schedule("evt_6", 40, None))), ["PlanChangeUnscheduled"]);
}

#[test]
fn an_invoice_paid_in_two_payments_is_given_back_when_both_are() {
    let of = |payment: &str, source: &str, second: i64, given_back: i64| {
        let told = RefundTold::Payment { given_back, paid: 850 };
        let refund = Refund { at: at(second), source: source.into(), told, currency: None };
        SubscriptionCommand::RecordReversal(ReversedPayment {
            invoice: "in_1".into(),
            payment: payment.into(),
            reversal: Reversal::Refund(refund),
        })
    };
    let one = of("pi_1", "evt_3", 10, 850);
    assert_eq!(anchors([one.clone()]).refunded_at, None);
    let both = anchors([one.clone(), of("pi_2", "evt_4", 20, 850)]);
    assert_eq!(both.refunded_at, Some(at(20)));
    assert_eq!(anchors([one, of("pi_2", "evt_4", 20, 100)]).refunded_at, None);
}

#[test]
fn one_failed_refund_that_is_told_again_and_again_failed_once() {
    let failed = |source: &str, second| refund(source, second, one("re_1", 500, true));
    let whole = refund("evt_5", 30, given_back(1_700));
    let told = [failed("evt_3", 10), whole, failed("evt_6", 40)];
    assert_eq!(anchors(told).refunded_at, Some(at(30)), "another refund took its place");
}

#[test]
fn a_dispute_that_is_decided_again_is_as_it_was_decided_last() {
    let told =
        [dispute("evt_3", 10, "needs_response"), dispute("evt_4", 20, "lost"), dispute("evt_5", 30, "won")];
    assert_eq!(anchors(told).dispute_lost_at, None);
}
