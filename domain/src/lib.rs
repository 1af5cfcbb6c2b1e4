//! The rules of a membership, without I/O.
//!
//! Reading order: [`ids`] and [`clock`] name things, [`metadata`] says who did what when, then one module per
//! aggregate ([`subscription`], [`customer`], [`payment`], [`grant`], [`member`],
//! [`account`], [`catalog`]), then [`access`], the one place that answers
//! "may this member watch this video?", and [`ports`], what the outside has to provide.
//!
//! | word | meaning here |
//! |---|---|
//! | observation | what a subscription looked like at a moment, as the billing provider told it |
//! | terms | the part of an observation that access and history depend on |
//! | anchor | a moment that an earlier observation fixes for the current state, such as the start of grace |
//! | source of access | one thing a member has that may open videos: a subscription or a grant |
//! | deciding event | the provider event whose observation made the answer what it is |

pub mod access;
pub mod account;
pub mod billing;
pub mod catalog;
pub mod clock;
pub mod customer;
mod describe;
pub mod events;
pub mod grant;
pub mod idempotency;
pub mod ids;
pub mod member;
pub mod membership;
pub mod metadata;
pub mod money;
pub mod payment;
pub mod ports;
pub mod subscription;
pub mod tell;
