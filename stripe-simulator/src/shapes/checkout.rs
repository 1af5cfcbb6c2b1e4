//! Checkout and portal sessions.

use serde_json::{Value, json};

use super::{address, catalogue, list, no_tax};
use crate::engine::model::{CheckoutSession, PortalSession, Store};

pub(crate) fn session(session: &CheckoutSession, store: &Store) -> Value {
    let customer = session.customer.as_deref().and_then(|id| store.customers.find(id));
    let email = customer.and_then(|customer| customer.email.as_ref()).or(session.email.as_ref());
    let details = (email.is_some() || session.status == "complete").then(|| {
        json!({
            "address": address(), "business_name": null, "email": email, "individual_name": null,
            "name": customer.and_then(|customer| customer.name.as_ref()), "phone": null, "tax_exempt": "none",
            "tax_ids": [],
        })
    });
    let mut automatic_tax = no_tax();
    automatic_tax["status"] = Value::Null;
    automatic_tax["provider"] = Value::Null;
    json!({
        "id": session.id, "object": "checkout.session", "adaptive_pricing": { "enabled": false },
        "after_expiration": null, "allow_promotion_codes": null, "amount_subtotal": session.amount,
        "amount_total": session.amount, "automatic_tax": automatic_tax, "billing_address_collection": null,
        "cancel_url": session.cancel_url, "client_reference_id": session.client_reference_id,
        "client_secret": null, "collected_information": null, "consent": null, "consent_collection": null,
        "created": session.created, "currency": session.currency, "currency_conversion": null,
        "custom_fields": [],
        "custom_text": {
            "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null,
        },
        "customer": session.customer, "customer_account": null,
        "customer_creation": if session.customer.is_some() { Value::Null } else { json!("always") },
        "customer_details": details, "customer_email": session.email, "discounts": [],
        "expires_at": session.expires_at, "integration_identifier": null, "invoice": session.invoice,
        "invoice_creation": null, "livemode": false, "locale": session.locale, "managed_payments": null,
        "metadata": session.metadata, "mode": "subscription", "origin_context": null, "payment_intent": null,
        "payment_link": null,
        "payment_method_collection": if session.method_if_required { "if_required" } else { "always" },
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card", "sepa_debit"], "payment_status": session.payment_status,
        "permissions": null, "phone_number_collection": { "enabled": false }, "recovered_from": null,
        "saved_payment_method_options": {
            "allow_redisplay_filters": ["always"], "payment_method_remove": "disabled",
            "payment_method_save": null,
        },
        "setup_intent": null, "shipping_address_collection": null, "shipping_cost": null,
        "shipping_options": [], "status": session.status, "submit_type": null,
        "subscription": session.subscription, "success_url": session.success_url,
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
        "ui_mode": "hosted", "url": Some(&session.url).filter(|_| session.status == "open"),
        "wallet_options": null,
    })
}

/// What a session sells.
pub(crate) fn line_items(session: &CheckoutSession, store: &Store) -> Value {
    let line = |(place, (id, quantity)): (usize, &(String, i64))| {
        let price = store.prices.find(id)?;
        let product = store.products.find(&price.product);
        let amount = price.amount.saturating_mul(*quantity);
        Some(json!({
            "id": format!("li_{place}_{}", session.id), "object": "item", "amount_discount": 0,
            "amount_subtotal": amount, "amount_tax": 0, "amount_total": amount, "currency": price.currency,
            "description": product.map(|product| &product.name), "price": catalogue::price(price, store),
            "quantity": quantity,
        }))
    };
    let lines = session.items.iter().enumerate().filter_map(line).collect();
    list(&format!("/v1/checkout/sessions/{}/line_items", session.id), lines)
}

pub(crate) fn portal(portal: &PortalSession, _: &Store) -> Value {
    json!({
        "id": portal.id, "object": "billing_portal.session", "configuration": "bpc_simulator",
        "created": portal.created, "customer": portal.customer, "customer_account": null, "flow": null,
        "livemode": false, "locale": portal.locale, "on_behalf_of": null, "return_url": portal.return_url,
        "url": portal.url,
    })
}
