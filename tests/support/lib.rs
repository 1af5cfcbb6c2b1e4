//! What the tests share.

pub mod app;
pub mod browser;
pub mod corpus;
pub mod crash;
pub mod fake_provider;
pub mod fake_stripe;
pub mod postgres;
pub mod proxy;
pub mod raw;
pub mod shop;
pub mod small_disk;
pub mod story;
pub mod stripe;
mod watchdog;
