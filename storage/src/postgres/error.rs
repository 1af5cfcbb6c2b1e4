//! What `PostgreSQL`'s errors mean to those who use the store.

use domain::ports::StoreError;
use sqlx::Error;

const READ_ONLY_TRANSACTION: &str = "25006";
/// Values that do not fit, missing tables or columns, broken rules, damaged files: classes of errors that stay.
const LASTING: [&str; 4] = ["22", "23", "42", "XX"];

/// Anything that another attempt may mend is "not available", the rest is unreadable.
#[expect(clippy::needless_pass_by_value, reason = "passed to map_err by name")]
pub(super) fn store_error(error: Error) -> StoreError {
    match &error {
        Error::Database(told) => {
            let code = told.code().unwrap_or_default();
            if code == READ_ONLY_TRANSACTION {
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
