//! Stripe's deliveries, from the wire to the log.
//!
//! ```text
//! POST /webhooks/stripe ─▶ size cap ─▶ signature over the raw bytes ─▶ inbox (durable) ─▶ 200
//!                                                                        │
//!                          outcome ◀─ commands ◀─ translation ◀─ worker ◀┘
//! ```
//! Nothing is understood before it is stored, and nothing that is stored is lost: what cannot be used is parked with a
//! reason. Everything that knows Stripe's words is under [`stripe`].

pub mod backfill;
mod handling;
pub mod inbox;
pub mod notebook;
pub mod provider;
pub mod purchase;
pub mod reconcile;
pub mod rehearsal;
pub mod routes;
pub mod stripe;
mod wishes;
pub mod worker;
