//! Customers and money: payment methods, payment intents, charges, refunds, disputes.

use serde_json::{Value, json};

use super::{address, decimal, list};
use crate::engine::cards::{Behaviour, Decline};
use crate::engine::model::{Charge, Customer, Dispute, PaymentIntent, PaymentMethod, Refund, Store};

pub(crate) fn customer(customer: &Customer, _: &Store) -> Value {
    if customer.deleted {
        return json!({ "id": customer.id, "object": "customer", "deleted": true });
    }
    json!({
        "id": customer.id, "object": "customer", "address": null, "balance": customer.balance,
        "created": customer.created, "currency": customer.currency, "customer_account": null,
        "default_source": null, "delinquent": customer.delinquent, "description": customer.description,
        "discount": null, "email": customer.email, "invoice_prefix": customer.invoice_prefix,
        "invoice_settings": {
            "custom_fields": null, "default_payment_method": customer.payment_method, "footer": null,
            "rendering_options": null,
        },
        "livemode": false, "metadata": customer.metadata, "name": customer.name,
        "next_invoice_sequence": customer.invoices + 1, "phone": customer.phone, "preferred_locales": [],
        "shipping": null, "tax_exempt": "none", "test_clock": null,
    })
}

fn billing_details(email: Option<&str>) -> Value {
    json!({ "address": address(), "email": email, "name": null, "phone": null, "tax_id": null })
}

fn fingerprint(last4: &str) -> String {
    format!("Sim{last4}Fingerprint")
}

pub(crate) fn payment_method(method: &PaymentMethod, _: &Store) -> Value {
    let card = &method.card;
    let mut shape = json!({
        "id": method.id, "object": "payment_method", "allow_redisplay": "unspecified",
        "billing_details": billing_details(method.email.as_deref()), "created": method.created,
        "customer": method.customer, "customer_account": null, "livemode": false,
        "metadata": method.metadata, "type": card.kind(),
    });
    shape[card.kind()] = if card.is_debit() {
        json!({
            "bank_code": "37040044", "branch_code": "", "country": "DE", "fingerprint": fingerprint(&card.last4),
            "generated_from": { "charge": null, "setup_attempt": null }, "last4": card.last4,
        })
    } else {
        json!({
            "brand": card.brand,
            "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
            "country": "US", "display_brand": card.brand, "exp_month": card.exp_month, "exp_year": card.exp_year,
            "fingerprint": fingerprint(&card.last4), "funding": "credit", "generated_from": null,
            "last4": card.last4, "networks": { "available": [card.brand], "preferred": null },
            "regulated_status": "unregulated", "three_d_secure_usage": { "supported": true }, "wallet": null,
        })
    };
    shape
}

fn error(decline: &Decline, intent: &PaymentIntent, store: &Store) -> Value {
    let method = intent.payment_method.as_deref().and_then(|id| store.payment_methods.find(id));
    let mut error = json!({
        "code": decline.code, "doc_url": format!("https://stripe.com/docs/error-codes/{}", decline.code),
        "message": decline.message,
        "payment_method": method.map(|method| payment_method(method, store)), "type": "card_error",
    });
    if let Some(code) = &decline.reason {
        error["decline_code"] = json!(code);
    }
    if let Some(charge) = &intent.latest_charge {
        error["charge"] = json!(charge);
    }
    error
}

pub(crate) fn payment_intent(intent: &PaymentIntent, store: &Store) -> Value {
    let succeeded = intent.status == "succeeded";
    let next_action = (intent.status == "requires_action").then(|| {
        json!({ "type": "use_stripe_sdk", "use_stripe_sdk": {
            "type": "three_d_secure_redirect", "stripe_js": "", "source": "",
        } })
    });
    json!({
        "id": intent.id, "object": "payment_intent", "amount": intent.amount, "amount_capturable": 0,
        "amount_details": { "tip": {} }, "amount_received": if succeeded { intent.amount } else { 0 },
        "application": null, "application_fee_amount": null, "automatic_payment_methods": null,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.canceled_at.map(|_| "void_invoice"), "capture_method": "automatic",
        "client_secret": format!("{}_secret_simulated", intent.id), "confirmation_method": "automatic",
        "created": intent.created, "currency": intent.currency, "customer": intent.customer,
        "customer_account": null, "description": "Subscription payment",
        "excluded_payment_method_types": null,
        "last_payment_error": intent.decline.as_ref().map(|decline| error(decline, intent, store)),
        "latest_charge": intent.latest_charge, "livemode": false, "managed_payments": null, "metadata": {},
        "next_action": next_action, "on_behalf_of": null, "payment_method": intent.payment_method,
        "payment_method_configuration_details": null, "payment_method_options": {},
        "payment_method_types": ["card", "sepa_debit"], "processing": null, "receipt_email": null,
        "review": null, "setup_future_usage": "off_session", "shipping": null, "source": null,
        "statement_descriptor": null, "statement_descriptor_suffix": null, "status": intent.status,
        "transfer_data": null, "transfer_group": null,
    })
}

pub(crate) fn charge(charge: &Charge, store: &Store) -> Value {
    let method = store.payment_methods.find(&charge.payment_method);
    let failed = charge.status == "failed";
    let outcome = json!({
        "advice_code": null, "network_advice_code": null, "network_decline_code": null,
        "network_status": if failed { "declined_by_network" } else { "approved_by_network" },
        "reason": charge.decline.as_ref().and_then(|decline| decline.reason.clone()),
        "risk_level": "normal",
        "seller_message": if failed { "The bank did not return any further details with this decline." } else { "Payment complete." },
        "type": if failed { "issuer_declined" } else { "authorized" },
    });
    let refunds: Vec<_> = store
        .refunds
        .iter()
        .filter(|refund| refund.charge == charge.id)
        .map(|kept| refund(kept, store))
        .collect();
    json!({
        "id": charge.id, "object": "charge", "amount": charge.amount,
        "amount_captured": if charge.status == "succeeded" { charge.amount } else { 0 },
        "amount_refunded": charge.refunded, "application": null, "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": (charge.status == "succeeded").then(|| charge.id.replacen("ch_", "txn_", 1)),
        "billing_details": billing_details(method.and_then(|method| method.email.as_deref())),
        "calculated_statement_descriptor": "SIMULATOR", "captured": charge.status != "failed",
        "created": charge.created, "currency": charge.currency, "customer": charge.customer,
        "description": "Subscription payment", "disputed": charge.disputed, "failure_balance_transaction": null,
        "failure_code": charge.decline.as_ref().map(|decline| &decline.code),
        "failure_message": charge.decline.as_ref().map(|decline| &decline.message), "fraud_details": {},
        "livemode": false, "metadata": {}, "on_behalf_of": null, "outcome": outcome,
        "paid": charge.status == "succeeded", "payment_intent": charge.payment_intent,
        "payment_method": charge.payment_method,
        "payment_method_details": method.map(|method| method_details(method, charge)),
        "receipt_email": null, "receipt_number": null, "receipt_url": null,
        "refunded": charge.refunded == charge.amount && charge.refunded > 0,
        "refunds": list(&format!("/v1/charges/{}/refunds", charge.id), refunds), "review": null,
        "shipping": null, "source": null, "source_transfer": null, "statement_descriptor": null,
        "statement_descriptor_suffix": null, "status": charge.status, "transfer_data": null,
        "transfer_group": null,
    })
}

fn method_details(method: &PaymentMethod, charge: &Charge) -> Value {
    let card = &method.card;
    if card.is_debit() {
        return json!({ "type": "sepa_debit", "sepa_debit": {
            "bank_code": "37040044", "branch_code": "", "country": "DE", "fingerprint": fingerprint(&card.last4),
            "last4": card.last4, "mandate": null,
        } });
    }
    let authenticated = matches!(card.behaviour, Behaviour::AuthenticateOnce | Behaviour::AuthenticateAlways);
    let three_d_secure = authenticated.then(|| {
        json!({
            "authentication_flow": "challenge", "electronic_commerce_indicator": "05", "exemption_indicator": null,
            "result": "authenticated", "result_reason": null, "transaction_id": null, "version": "2.2.0",
        })
    });
    json!({ "type": "card", "card": {
        "amount_authorized": charge.amount, "authorization_code": null, "brand": card.brand,
        "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
        "country": "US", "exp_month": card.exp_month, "exp_year": card.exp_year,
        "extended_authorization": { "status": "disabled" }, "fingerprint": fingerprint(&card.last4),
        "funding": "credit", "incremental_authorization": { "status": "unavailable" }, "installments": null,
        "last4": card.last4, "mandate": null, "multicapture": { "status": "unavailable" }, "network": card.brand,
        "network_token": { "used": false }, "network_transaction_id": null,
        "overcapture": { "maximum_amount_capturable": charge.amount, "status": "unavailable" },
        "regulated_status": "unregulated", "three_d_secure": three_d_secure, "transaction_link_id": null,
        "wallet": null,
    } })
}

pub(crate) fn refund(refund: &Refund, store: &Store) -> Value {
    let charge = store.charges.find(&refund.charge);
    let mut shape = json!({
        "id": refund.id, "object": "refund", "amount": refund.amount,
        "balance_transaction": refund.id.replacen("re_", "txn_", 1), "charge": refund.charge,
        "created": refund.created, "currency": refund.currency,
        "customer": charge.map(|charge| &charge.customer), "customer_account": null,
        "destination_details": { "card": { "type": "refund" }, "type": "card" }, "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "payment_method": charge.map(|charge| &charge.payment_method), "reason": refund.reason,
        "receipt_number": null, "source_transfer_reversal": null, "status": refund.status,
        "transfer_reversal": null,
    });
    if let Some(reason) = &refund.failure_reason {
        shape["failure_reason"] = json!(reason);
        shape["failure_balance_transaction"] = json!(refund.id.replacen("re_", "txn_failed_", 1));
    }
    shape
}

/// The evidence that could be given.
const EVIDENCE: [&str; 27] = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
];

pub(crate) fn dispute(dispute: &Dispute, store: &Store) -> Value {
    let mut evidence: serde_json::Map<_, _> =
        EVIDENCE.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    evidence.insert("enhanced_evidence".to_owned(), json!({}));
    let card = store.charges.find(&dispute.charge);
    let card = card.and_then(|charge| store.payment_methods.find(&charge.payment_method));
    let brand = card.map_or("visa", |method| &method.card.brand);
    let withdrawn = if dispute.is_inquiry() {
        Vec::new()
    } else {
        vec![json!({
            "id": dispute.id.replacen("du_", "txn_", 1), "object": "balance_transaction",
            "amount": -dispute.amount, "available_on": dispute.created, "balance_type": "payments",
            "created": dispute.created, "currency": dispute.currency,
            "description": format!("Chargeback withdrawal for {}", dispute.charge), "exchange_rate": null,
            "fee": 1500, "fee_details": [{
                "amount": 1500, "application": null, "currency": dispute.currency,
                "description": "Dispute fee", "type": "stripe_fee",
            }],
            "net": -dispute.amount - 1500, "reporting_category": "dispute", "source": dispute.id,
            "status": "available", "type": "adjustment",
        })]
    };
    json!({
        "id": dispute.id, "object": "dispute", "amount": dispute.amount, "balance_transactions": withdrawn,
        "charge": dispute.charge, "created": dispute.created, "currency": dispute.currency,
        "enhanced_eligibility_types": [], "evidence": evidence,
        "evidence_details": {
            "due_by": dispute.due_by, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0,
        },
        "is_charge_refundable": dispute.is_inquiry(), "livemode": false, "metadata": {},
        "payment_intent": dispute.payment_intent,
        "payment_method_details": { "card": {
            "brand": brand, "case_type": if dispute.is_inquiry() { "inquiry" } else { "chargeback" },
            "network": brand, "network_reason_code": "10.4",
        }, "type": "card" },
        "reason": dispute.reason, "status": dispute.status,
    })
}

/// A line's unit amount.
pub(crate) fn unit_amount(amount: i64, quantity: i64) -> Value {
    decimal(amount.checked_div(quantity).unwrap_or(amount))
}
