//! Stripe's words: its signature, its payloads in every API version, and what they mean to us.

pub mod signature;
pub mod translate;
mod wire;

pub use wire::{Envelope, Unreadable};
