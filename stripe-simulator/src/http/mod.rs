//! Stripe over HTTP: its API, its pages, and the handles by which the simulator is steered.

pub(crate) mod api;
pub(crate) mod params;
mod read;
pub(crate) mod routes;
pub(crate) mod steering;
mod write;
