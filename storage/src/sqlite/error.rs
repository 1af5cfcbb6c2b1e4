//! What `SQLite`'s errors mean to those who use the store.

use domain::ports::StoreError;
use rusqlite::{Error, ErrorCode, ffi};

/// Anything that another attempt may mend is "not available", the rest is unreadable.
#[expect(clippy::needless_pass_by_value, reason = "passed to map_err by name")]
pub(super) fn store_error(error: Error) -> StoreError {
    let unreadable = match &error {
        Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::TypeMismatch
                | ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
                | ErrorCode::Unknown
        ),
        _ => true,
    };
    if unreadable {
        StoreError::Corrupt(error.to_string())
    } else {
        StoreError::Unavailable(error.to_string())
    }
}

/// Whether an insert into the log found its place taken: by the key, or by the trigger that guards it.
pub(super) fn is_taken(error: &Error) -> bool {
    error.sqlite_error().is_some_and(|failure| {
        matches!(failure.extended_code, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_TRIGGER)
    })
}
