//! Products and prices, and the plan that every price also is.

use serde_json::{Value, json};

use super::decimal;
use crate::engine::model::{Price, Product, Store};

pub(crate) fn product(product: &Product, _: &Store) -> Value {
    json!({
        "id": product.id, "object": "product", "active": product.active, "created": product.created,
        "default_price": product.default_price, "description": product.description, "images": [],
        "livemode": false, "marketing_features": [], "metadata": product.metadata, "name": product.name,
        "package_dimensions": null, "shippable": null, "statement_descriptor": null, "tax_code": null,
        "type": "service", "unit_label": null, "updated": product.updated, "url": null,
    })
}

pub(crate) fn price(price: &Price, _: &Store) -> Value {
    let recurring = price.recurring.map(|interval| {
        json!({
            "interval": interval.unit.name(), "interval_count": interval.count, "meter": null,
            "trial_period_days": null, "usage_type": "licensed",
        })
    });
    json!({
        "id": price.id, "object": "price", "active": price.active, "billing_scheme": "per_unit",
        "created": price.created, "currency": price.currency, "custom_unit_amount": null, "livemode": false,
        "lookup_key": price.lookup_key, "metadata": price.metadata, "nickname": price.nickname,
        "product": price.product, "recurring": recurring, "tax_behavior": "unspecified", "tiers_mode": null,
        "transform_quantity": null, "type": if recurring.is_some() { "recurring" } else { "one_time" },
        "unit_amount": price.amount, "unit_amount_decimal": decimal(price.amount),
    })
}

pub(crate) fn plan(price: &Price) -> Value {
    json!({
        "id": price.id, "object": "plan", "active": price.active, "amount": price.amount,
        "amount_decimal": decimal(price.amount), "billing_scheme": "per_unit", "created": price.created,
        "currency": price.currency, "interval": price.recurring.map(|interval| interval.unit.name()),
        "interval_count": price.recurring.map(|interval| interval.count), "livemode": false,
        "metadata": price.metadata, "meter": null, "nickname": price.nickname, "product": price.product,
        "tiers_mode": null, "transform_usage": null, "trial_period_days": null, "usage_type": "licensed",
    })
}
