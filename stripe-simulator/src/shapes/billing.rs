//! Subscriptions, their invoices and their schedules.

use serde_json::{Value, json};

use super::payments::unit_amount;
use super::{catalogue, list, no_tax};
use crate::engine::model::{
    Invoice, InvoiceStatus, Item, Line, Metadata, Phase, Schedule, Store, Subscription,
};

pub(crate) fn subscription(subscription: &Subscription, store: &Store) -> Value {
    let items: Vec<_> = subscription.items.iter().map(|kept| item(kept, subscription, store)).collect();
    let only = match items.as_slice() {
        [only] => only.clone(),
        _ => Value::Null,
    };
    let mut shape = json!({
        "id": subscription.id, "object": "subscription", "application": null, "application_fee_percent": null,
        "automatic_tax": no_tax(), "billing_cycle_anchor": subscription.anchor,
        "billing_cycle_anchor_config": null, "billing_mode": billing_mode(subscription),
        "billing_schedules": [], "billing_thresholds": null, "cancel_at": subscription.cancel_at,
        "cancel_at_period_end": subscription.cancel_at_period_end, "canceled_at": subscription.canceled_at,
        "cancellation_details": {
            "comment": subscription.cancel_comment, "feedback": subscription.cancel_feedback,
            "reason": subscription.cancel_reason,
        },
        "collection_method": "charge_automatically", "created": subscription.created,
        "currency": subscription.currency, "customer": subscription.customer, "customer_account": null,
        "days_until_due": null, "default_payment_method": subscription.payment_method, "default_source": null,
        "default_tax_rates": [], "description": subscription.description, "discounts": [],
        "ended_at": subscription.ended_at,
        "invoice_settings": {
            "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null,
            "issuer": { "type": "self" },
        },
        "latest_invoice": subscription.latest_invoice, "livemode": false, "managed_payments": null,
        "metadata": subscription.metadata, "next_pending_invoice_item_invoice": null, "on_behalf_of": null,
        "pause_collection": subscription.pause_collection.as_ref().map(|pause| json!({
            "behavior": pause.behavior, "resumes_at": pause.resumes_at,
        })),
        "payment_settings": {
            "payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": null, "pending_setup_intent": null,
        "pending_update": pending_update(subscription, store), "plan": only["plan"],
        "quantity": only["quantity"], "schedule": subscription.schedule,
        "start_date": subscription.created, "status": subscription.status.name(), "test_clock": null,
        "transfer_data": null, "trial_end": subscription.trial_end(),
        "trial_settings": { "end_behavior": { "missing_payment_method": subscription.no_method.name() } },
        "trial_start": subscription.trial.map(|trial| trial.start),
    });
    // What is put in afterwards is not copied, as it would be inside the macro.
    shape["items"] = list(&format!("/v1/subscription_items?subscription={}", subscription.id), items);
    shape["items"]["total_count"] = json!(subscription.items.len());
    if let Some(reason) = &subscription.paused_for {
        shape["status_details"] =
            json!({ "paused": { "type": "subscription", "subscription": { "type": reason } } });
    }
    shape
}

fn billing_mode(subscription: &Subscription) -> Value {
    if subscription.flexible {
        json!({
            "type": "flexible", "updated_at": subscription.created,
            "flexible": { "proration_discounts": "included" },
        })
    } else {
        json!({ "type": "classic", "flexible": null })
    }
}

fn item(item: &Item, subscription: &Subscription, store: &Store) -> Value {
    let mut shape = json!({
        "id": item.id, "object": "subscription_item", "billing_thresholds": null, "created": item.created,
        "current_period_end": subscription.period.end, "current_period_start": subscription.period.start,
        "discounts": [], "metadata": item.metadata, "quantity": item.quantity,
        "subscription": subscription.id, "tax_rates": [],
    });
    let price = store.prices.find(&item.price);
    shape["plan"] = price.map(catalogue::plan).into();
    shape["price"] = price.map(|price| catalogue::price(price, store)).into();
    shape
}

fn pending_update(subscription: &Subscription, store: &Store) -> Value {
    let Some(pending) = &subscription.pending_update else { return Value::Null };
    let items: Vec<_> = pending.items.iter().map(|kept| item(kept, subscription, store)).collect();
    json!({
        "billing_cycle_anchor": null, "discounts": null, "expires_at": pending.expires_at, "metadata": null,
        "subscription_items": items, "trial_end": null, "trial_from_plan": null,
    })
}

pub(crate) fn invoice(invoice: &Invoice, store: &Store) -> Value {
    let customer = store.customers.find(&invoice.customer);
    let payer =
        invoice.payer.clone().or_else(|| customer.map(|kept| (kept.name.clone(), kept.email.clone())));
    let (name, email) = payer.unwrap_or_default();
    let metadata = &invoice.metadata;
    let lines: Vec<_> = invoice.lines.iter().map(|kept| line(kept, invoice, metadata, store)).collect();
    let (total, due, paid) = (invoice.total(), invoice.due(), invoice.paid());
    let hosted =
        invoice.finalized_at.map(|_| format!("https://invoice.stripe.com/i/acct_simulator/{}", invoice.id));
    let closed = matches!(invoice.status, InvoiceStatus::Paid | InvoiceStatus::Void);
    let mut shape = json!({
        "id": invoice.id, "object": "invoice", "account_country": "US", "account_name": "Simulator",
        "account_tax_ids": null, "amount_due": due, "amount_overpaid": 0,
        "amount_paid": if invoice.out_of_band { 0 } else { paid },
        "amount_remaining": if closed { 0 } else { due }, "amount_shipping": 0, "application": null,
        "attempt_count": invoice.attempts,
        "attempted": invoice.attempts > 0 || invoice.status == InvoiceStatus::Paid,
        "auto_advance": invoice.auto_advance && !closed,
        "automatic_tax": {
            "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null,
        },
        "automatically_finalizes_at": invoice.finalizes_at, "billing_reason": invoice.reason,
        "collection_method": "charge_automatically", "created": invoice.created, "currency": invoice.currency,
        "custom_fields": null, "customer": invoice.customer, "customer_account": null, "customer_address": null,
        "customer_email": email,
        "customer_name": name,
        "customer_phone": customer.and_then(|customer| customer.phone.as_ref()), "customer_shipping": null,
        "customer_tax_exempt": "none", "customer_tax_ids": [], "default_payment_method": null,
        "default_source": null, "default_tax_rates": [], "description": null, "discounts": [],
        "due_date": null, "effective_at": invoice.finalized_at,
        "ending_balance": invoice.finalized_at.map(|_| (total + invoice.balance).min(0)), "footer": null,
        "from_invoice": null, "hosted_invoice_url": hosted,
        "invoice_pdf": hosted.as_ref().map(|hosted| format!("{hosted}/pdf")), "issuer": { "type": "self" },
        "last_finalization_error": null, "latest_revision": null,
        "livemode": false, "metadata": {},
        "next_payment_attempt": invoice.next_attempt, "number": invoice.number, "on_behalf_of": null,
        "parent": {
            "quote_details": null, "type": "subscription_details",
            "subscription_details": { "metadata": metadata, "subscription": invoice.subscription },
        },
        "payment_settings": {
            "default_mandate": null, "payment_method_options": null, "payment_method_types": null,
        },
        "period_end": invoice.period.end, "period_start": invoice.period.start,
        "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "receipt_number": null,
        "rendering": null, "shipping_cost": null, "shipping_details": null, "starting_balance": invoice.balance,
        "statement_descriptor": null, "status": invoice.status.name(),
        "status_transitions": {
            "finalized_at": invoice.finalized_at,
            "marked_uncollectible_at": invoice.uncollectible_at, "paid_at": invoice.paid_at,
            "voided_at": invoice.voided_at,
        },
        "subtotal": total, "subtotal_excluding_tax": total, "test_clock": null, "total": total,
        "total_discount_amounts": [], "total_excluding_tax": total, "total_pretax_credit_amounts": [],
        "total_taxes": [], "webhooks_delivered_at": invoice.created,
    });
    shape["lines"] = list(&format!("/v1/invoices/{}/lines", invoice.id), lines);
    shape["lines"]["total_count"] = json!(invoice.lines.len());
    shape
}

fn line(line: &Line, invoice: &Invoice, metadata: &Metadata, store: &Store) -> Value {
    let price = store.prices.find(&line.price);
    let proration_details = json!({ "credited_items": null });
    json!({
        "id": line.id, "object": "line_item", "amount": line.amount, "currency": invoice.currency,
        "description": line.description, "discount_amounts": [], "discountable": !line.proration,
        "discounts": [], "invoice": invoice.id, "livemode": false, "metadata": metadata,
        "parent": {
            "invoice_item_details": null, "type": "subscription_item_details",
            "subscription_item_details": {
                "invoice_item": line.invoice_item, "proration": line.proration,
                "proration_details": proration_details, "subscription": invoice.subscription,
                "subscription_item": line.item,
            },
        },
        "period": { "end": line.period.end, "start": line.period.start }, "pretax_credit_amounts": [],
        "pricing": {
            "type": "price_details", "unit_amount_decimal": unit_amount(line.amount, line.quantity),
            "price_details": { "price": line.price, "product": price.map(|price| &price.product) },
        },
        "quantity": line.quantity, "quantity_decimal": line.quantity.to_string(),
        "subscription": invoice.subscription, "subtotal": line.amount, "taxes": [],
    })
}

/// The payment of an invoice.
pub(crate) fn invoice_payment(invoice: &Invoice, store: &Store) -> Option<Value> {
    let intent = store.payment_intents.find(invoice.payment_intent.as_deref()?)?;
    let paid = intent.status == "succeeded";
    let status = if paid {
        "paid"
    } else if intent.canceled_at.is_some() {
        "canceled"
    } else {
        "open"
    };
    Some(json!({
        "id": invoice.payment, "object": "invoice_payment", "amount_paid": paid.then_some(intent.amount),
        "amount_requested": intent.amount, "created": intent.created, "currency": invoice.currency,
        "invoice": invoice.id, "is_default": true, "livemode": false,
        "payment": { "payment_intent": intent.id, "type": "payment_intent" }, "status": status,
        "status_transitions": {
            "canceled_at": intent.canceled_at, "paid_at": invoice.paid_at.filter(|_| paid),
        },
    }))
}

/// The list that `expand[]=payments` adds to an invoice.
pub(crate) fn invoice_payments(invoice: &Invoice, store: &Store) -> Value {
    list("/v1/invoice_payments", invoice_payment(invoice, store).into_iter().collect())
}

/// A proration that waits for the next invoice.
pub(crate) fn invoice_item(line: &Line, subscription: &Subscription, at: i64, store: &Store) -> Value {
    let price = store.prices.find(&line.price);
    json!({
        "id": line.invoice_item, "object": "invoiceitem", "amount": line.amount,
        "currency": subscription.currency, "customer": subscription.customer, "customer_account": null,
        "date": at, "description": line.description, "discountable": false, "discounts": [], "invoice": null,
        "livemode": false, "metadata": {}, "net_amount": line.amount,
        "parent": {
            "type": "subscription_details",
            "subscription_details": { "subscription": subscription.id, "subscription_item": line.item },
        },
        "period": { "end": line.period.end, "start": line.period.start },
        "pricing": {
            "type": "price_details", "unit_amount_decimal": unit_amount(line.amount, line.quantity),
            "price_details": { "price": line.price, "product": price.map(|price| &price.product) },
        },
        "proration": true, "proration_details": { "discount_amounts": [] }, "quantity": line.quantity,
        "quantity_decimal": line.quantity.to_string(), "tax_rates": [], "test_clock": null,
    })
}

pub(crate) fn schedule(schedule: &Schedule, store: &Store) -> Value {
    let phases: Vec<_> = schedule.phases.iter().map(|kept| phase(kept, store)).collect();
    let current = schedule.phases.get(schedule.current).filter(|_| schedule.status == "active");
    json!({
        "id": schedule.id, "object": "subscription_schedule", "application": null,
        "billing_mode": { "type": "flexible", "flexible": { "proration_discounts": "included" } },
        "canceled_at": schedule.canceled_at, "completed_at": schedule.completed_at,
        "created": schedule.created,
        "current_phase": current.map(|phase| json!({ "end_date": phase.end, "start_date": phase.start })),
        "customer": schedule.customer, "customer_account": null,
        "default_settings": {
            "application_fee_percent": null, "automatic_tax": no_tax(), "billing_cycle_anchor": "automatic",
            "billing_thresholds": null, "collection_method": "charge_automatically",
            "default_payment_method": null, "description": null,
            "invoice_settings": invoice_settings(), "on_behalf_of": null, "transfer_data": null,
        },
        "end_behavior": schedule.end_behavior, "livemode": false, "metadata": schedule.metadata,
        "phases": phases, "released_at": schedule.released_at,
        "released_subscription": schedule.released_subscription, "status": schedule.status,
        "subscription": schedule.subscription, "test_clock": null,
    })
}

fn invoice_settings() -> Value {
    json!({
        "account_tax_ids": null, "custom_fields": null, "days_until_due": null, "description": null,
        "footer": null, "issuer": { "type": "self" },
    })
}

fn phase(phase: &Phase, store: &Store) -> Value {
    let item = |(price, quantity): &(String, i64)| {
        json!({
            "billing_thresholds": null, "discounts": [], "metadata": {},
            "plan": store.prices.find(price).map(catalogue::plan), "price": price, "quantity": quantity,
            "tax_rates": [],
        })
    };
    let items: Vec<_> = phase.items.iter().map(item).collect();
    json!({
        "add_invoice_items": [], "application_fee_percent": null, "automatic_tax": no_tax(),
        "billing_cycle_anchor": null, "billing_thresholds": null, "collection_method": null, "currency": "usd",
        "default_payment_method": null, "default_tax_rates": [], "description": null, "discounts": [],
        "end_date": phase.end, "invoice_settings": invoice_settings(), "items": items,
        "metadata": phase.metadata, "on_behalf_of": null, "proration_behavior": phase.proration_behavior,
        "start_date": phase.start, "transfer_data": null, "trial_end": null,
    })
}
