//! What the tests share.

pub mod app;
pub mod corpus;
pub mod crash;
pub mod postgres;
pub mod stripe;
