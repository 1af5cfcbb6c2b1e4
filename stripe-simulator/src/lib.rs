//! A Stripe that runs on one's own machine: its objects and what happens to them under a virtual clock, its
//! API, its hosted pages and its signed webhooks, disorderly on demand.
//!
//! In a process of its own it is a [`Server`]. In a test or a demo it is a [`Simulator`], which does no I/O:
//!
//! ```
//! use stripe_simulator::Simulator;
//!
//! let mut stripe = Simulator::new(1_793_000_000, 1, "whsec_test");
//! let session = stripe.checkout("price_basic_month", "mem_ada", 0)?;
//! stripe.pay(&session, "4242424242424242")?;
//! let (_customer, subscription) = stripe.bought(&session).unwrap_or_default();
//! stripe.advance(40 * 86_400);
//! let truth = stripe.truth(&subscription, stripe.now()).map(|truth| truth.status.clone());
//! assert_eq!(truth.as_deref(), Some("active"));
//! let deliveries = stripe.take_deliveries(1_793_000_000);
//! assert!(deliveries.iter().all(|delivery| delivery.signature.contains(",v1=")));
//! # Ok::<(), stripe_simulator::ApiError>(())
//! ```

#![recursion_limit = "256"]

mod delivery;
mod engine;
mod http;
mod pages;
mod shapes;
mod simulator;

pub use delivery::{ApiFaults, Delivery, Faults, Outbox, Progress, SignedDelivery, Try, sign};
pub use engine::clock::Seconds;
pub use engine::error::ApiError;
pub use engine::model::{Reversed, Truth};
pub use engine::{DunningEnd, Event, Settings};
pub use http::routes::{Companion, Driven, Options, Server, StartError, Time};
pub use shapes::NEWEST;
pub use simulator::Simulator;
