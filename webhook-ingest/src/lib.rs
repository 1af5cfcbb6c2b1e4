//! The deliveries of Stripe.

pub mod inbox;
