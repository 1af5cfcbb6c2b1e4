//! Stripe, asked. Requests are written by async-stripe, whose types are generated from Stripe's own description and pin its API
//! version; answers are read leniently, as deliveries are, since every field of Stripe's may be missing one day.
//!
//! ```text
//! Provider (webhook-ingest) ─┐             ┌─ breaker: leaves Stripe alone while it does not answer
//! Billing  (domain) ─────────┴─▶ Gateway ─▶┤  retries: few, spread, as Stripe asks for
//!                                          └─ one time limit for each attempt
//! ```
//! Nothing else in this workspace names a crate of async-stripe's.

mod breaker;
mod commands;
mod gateway;
#[cfg(test)]
mod tests;
mod transport;

pub use gateway::Gateway;
pub use transport::{BadSettings, Limits, Settings};
