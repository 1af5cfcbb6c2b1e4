//! What the tests share.

pub mod app;
pub mod corpus;
pub mod fake_stripe;
pub mod postgres;
pub mod stripe;
