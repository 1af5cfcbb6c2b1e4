//! Tokens of other back ends that can be made, listed and revoked while the service runs. Only their hashes are kept.

use std::sync::Arc;

use thiserror::Error;

/// Another back end, known by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCaller {
    /// The name its events carry.
    pub name: Arc<str>,
    /// What it may do, such as `access.read`.
    pub scopes: Arc<[String]>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewServiceToken {
    /// What is kept of it.
    pub record: crate::store::ServiceTokenRecord,
    /// The token itself. It is shown once.
    pub token: String,
}

/// Why a token cannot be made.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum BadServiceToken {
    /// Its name.
    #[error("the name has to have 1 to 64 letters, digits, '-', '_' or '.'")]
    Name,
    /// Its scopes.
    #[error("a token needs at least one scope, each made of letters, digits, '.', '-' and '_'")]
    Scopes,
}
