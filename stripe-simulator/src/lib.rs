//! A Stripe that runs on one's own machine.

#![recursion_limit = "256"]

pub mod engine;
mod shapes;
