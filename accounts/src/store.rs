//! What is kept about accounts, and the port to where it is kept. Filled in by the next change.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// A service token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTokenRecord {
    /// Its id (`tok_…`), by which it is revoked.
    pub id: String,
    /// The name of the back end.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Where accounts are kept.
#[async_trait]
pub trait AccountStore: Send + Sync {}
