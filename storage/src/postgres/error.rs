//! What `PostgreSQL`'s errors mean to those who use the store.

use cqrs_es::persist::PersistenceError;
use domain::ports::StoreError;
use sqlx::Error;

const READ_ONLY_TRANSACTION: &str = "25006";
/// Values that do not fit, missing tables or columns, broken rules, damaged files: errors that stay.
const LASTING: [&str; 5] = ["22", "23", "42", "XX001", "XX002"];
/// Starting, stopping, recovering, or no room for another connection.
const PASSING: [&str; 4] = ["57P01", "57P02", "57P03", "53"];

/// Anything that another attempt may mend is "not available", the rest is unreadable.
#[expect(clippy::needless_pass_by_value, reason = "passed to map_err by name")]
pub(super) fn store_error(error: Error) -> StoreError {
    match &error {
        Error::Database(told) => {
            let code = told.code().unwrap_or_default();
            if is_read_only(&error) {
                StoreError::ReadOnly("the database was opened for reading, or it is a standby".to_owned())
            } else if LASTING.iter().any(|class| code.starts_with(class)) {
                StoreError::Corrupt(error.to_string())
            } else {
                StoreError::Unavailable(error.to_string())
            }
        }
        Error::RowNotFound
        | Error::TypeNotFound { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::ColumnDecode { .. }
        | Error::Encode(_)
        | Error::Decode(_) => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Whether the database said this code.
pub(crate) fn is(error: &Error, code: &str) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|told| told == code)
}

/// Whether a change was refused because only reading is possible there.
pub(super) fn is_read_only(error: &Error) -> bool {
    is(error, READ_ONLY_TRANSACTION)
}

/// Whether a server that cannot be connected to may be there a little later.
pub(super) fn is_passing(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::PoolTimedOut => true,
        Error::Database(told) => {
            let code = told.code().unwrap_or_default();
            PASSING.iter().any(|class| code.starts_with(class))
        }
        _ => false,
    }
}

/// What the database said to postgres-es, where it was the database.
pub(super) fn of_the_log(error: &PersistenceError) -> Option<&Error> {
    match error {
        PersistenceError::ConnectionError(cause) | PersistenceError::UnknownError(cause) => {
            cause.downcast_ref()
        }
        _ => None,
    }
}
