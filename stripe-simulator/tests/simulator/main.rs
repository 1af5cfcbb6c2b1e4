//! The simulator against what is known of Stripe: shapes, sequences, deliveries, its API and its pages.

// Said once more, so that clippy takes the helpers for tests too.
#[cfg(test)]
mod deliveries;
#[cfg(test)]
mod http;
#[cfg(test)]
mod random;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod support;
#[cfg(test)]
mod time;
#[cfg(test)]
mod truth;
