//! The simulator against what is known of Stripe: shapes, sequences, deliveries, its API and its pages.

mod deliveries;
mod http;
mod sequences;
mod shapes;
mod support;
mod time;
