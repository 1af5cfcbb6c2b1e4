//! Speaks to the providers that people sign in with: any that speaks OpenID Connect with discovery, by the authorization code
//! flow with PKCE.
//!
//! Nothing is asked of a provider before somebody wants to sign in with it, so one that is down holds up no start. What it tells
//! of itself is kept for an hour, its keys too; a key that is not known yet is looked for once more. Signatures are checked by
//! jsonwebtoken, as those of our own tokens are; `token.rs` says what is believed of one.

mod client;
mod settings;
mod token;

pub use client::OpenId;
pub use settings::{BadProviders, ProviderList};
