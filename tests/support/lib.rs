//! What the tests share.

pub mod app;
pub mod corpus;
pub mod postgres;
pub mod raw;
pub mod stripe;
