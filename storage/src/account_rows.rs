//! What both databases keep of accounts as text.

use accounts::store::TokenKind;
use chrono::TimeDelta;
use domain::account::{RevokedBecause, Role};
use domain::ports::StoreError;

/// How many devices of a member are known at most: those used last.
pub(crate) const DEVICES: i64 = 50;
/// How many sessions of a member live at once at most: those in use last.
pub(crate) const SESSIONS_AT_ONCE: i64 = 50;
/// A device nobody has signed in from for so long is forgotten.
pub(crate) const DEVICE_LIFE: TimeDelta = TimeDelta::days(400);
/// The rules of counters look back no longer than this after the wait.
pub(crate) const COUNTER_LIFE: TimeDelta = TimeDelta::days(1);
/// How many rows of a table are removed at once: more would hold up others.
pub(crate) const SWEPT_AT_ONCE: i64 = 1_000;

pub(crate) fn role(text: &str) -> Result<Role, StoreError> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| StoreError::Corrupt(format!("{text:?} is not a role")))
}

pub(crate) fn token_kind(text: &str) -> Result<TokenKind, StoreError> {
    TokenKind::parse(text).ok_or_else(|| StoreError::Corrupt(format!("{text:?} is not a kind of token")))
}

pub(crate) fn why(text: &str) -> Result<RevokedBecause, StoreError> {
    RevokedBecause::parse(text).ok_or_else(|| StoreError::Corrupt(format!("{text:?} ends no session")))
}

pub(crate) fn joined(scopes: &[String]) -> String {
    scopes.join("+")
}

pub(crate) fn split(scopes: &str) -> Vec<String> {
    scopes.split('+').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}
