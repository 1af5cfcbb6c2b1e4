//! The billing provider's webhook as the document tells of it: the route itself is another crate's, and part of what the
//! outside relies on.

use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::error::Problem;

/// A delivery was kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookReceipt {
    /// Always `webhook_receipt`.
    #[schema(example = "webhook_receipt")]
    object: &'static str,
    /// Always true: it is kept, and will be carried out.
    received: bool,
    /// Whether an event with its id had been kept before.
    duplicate: bool,
}

/// Take a delivery.
///
/// For Stripe. Whatever carries a good signature is kept before it is answered, also what is no event, and is carried out
/// afterwards; what became of it is among the deliveries. The newest API shapes and older ones are read.
#[utoipa::path(
    post, path = "/webhooks/stripe", operation_id = "receiveStripeEvent", tag = "Webhook",
    params((
        "Stripe-Signature" = String, Header,
        description = "Stripe's signature over the bytes of the body, at most five minutes old",
        example = "t=1700000000,v1=401fbbceeb3818dc562ff77127ba1c62e47e24c9c6cde4d7a6eba85e32dbd058",
    )),
    request_body(content = Value, description = "An event of Stripe's, at most 1 MiB"),
    responses(
        (status = 200, description = "Kept, now or before", body = WebhookReceipt),
        (status = 400, description = "`bad_signature`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`too_large`: the body is larger than 1 MiB", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`: it could not be kept; deliver it again", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[expect(dead_code, reason = "it only describes another crate's route")]
fn receive() {}

/// The part of the document that tells of the webhook.
#[derive(OpenApi)]
#[openapi(paths(receive))]
pub(crate) struct Webhook;
