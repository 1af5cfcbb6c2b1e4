//! Access tokens: who somebody is, for ten minutes, without a look at the store.

use std::fmt;
use std::sync::Arc;

use domain::account::Role;
use domain::ids::{MemberId, SessionId};
use thiserror::Error;

/// The keys that sign: the first signs, all of them verify.
#[derive(Clone)]
pub struct Keys(pub(crate) Arc<[Key]>);

pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: zeroize::Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// Why a list of keys cannot be used. Never says what an entry holds.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "entry {entry}: {problem}; expected kid:base64,… with at least 32 bytes each, such as 2026-11:$(openssl rand -base64 32)"
)]
pub struct BadKeys {
    pub(crate) entry: usize,
    pub(crate) problem: &'static str,
}

impl Keys {
    /// Reads `kid:base64,…`.
    pub fn parse(_text: &str) -> Result<Self, BadKeys> {
        todo!()
    }

    /// One key made of these bytes, as the demo has.
    pub fn one(id: &str, secret: [u8; 32]) -> Self {
        Self([Key { id: id.to_owned(), secret: zeroize::Zeroizing::new(secret.to_vec()) }].into())
    }
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who.
    pub member: MemberId,
    /// In which session. Whether that has been revoked, the access index knows.
    pub session: SessionId,
    /// With which rights.
    pub role: Role,
}

/// Why a text is no access token that counts now.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum BadAccessToken {
    /// It was one; renew it.
    #[error("the access token has expired")]
    Expired,
    /// It never was one of this service.
    #[error("it is not an access token of this service")]
    NotOurs,
}
