//! Why a store cannot be opened: what, why, and what to do.

use std::path::PathBuf;

use thiserror::Error;

/// Why a store cannot be opened. No text holds a password.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The URL says nothing usable.
    #[error(
        "the database URL cannot be used: {0}; give sqlite://membership.db or postgres://user:password@host/database"
    )]
    Url(String),
    /// There is no such file.
    #[error(
        "there is no database at {}; start the service once to create it, or correct the path", .0.display()
    )]
    Missing(PathBuf),
    /// Another process writes to the file.
    #[error("another process{} is writing to {}; stop it or use its API", in_brackets(.pid.as_ref()), .path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// The other process, where its lock file tells.
        pid: Option<u32>,
    },
    /// The tables are those of an older release.
    #[error(
        "the tables of {store} are those of an older release; run membership migrate, or start the service once"
    )]
    Older {
        /// The file or database.
        store: String,
    },
    /// The tables are those of a newer release.
    #[error("the tables of {store} are those of a newer release; use that release or a newer one")]
    Newer {
        /// The file or database.
        store: String,
    },
    /// Bringing the tables up to date failed; they are as before.
    #[error(
        "the tables of {store} could not be brought up to date: {why}; nothing of the failed step was kept, mend the cause and start again"
    )]
    Migration {
        /// The file or database.
        store: String,
        /// What the database said.
        why: String,
    },
    /// It does not answer, is starting or stopping, has no room for another connection, or takes no changes.
    #[error(
        "{store} cannot be used at present: {why}; see that the server runs and that its address is right"
    )]
    Unreachable {
        /// The database.
        store: String,
        /// What went wrong.
        why: String,
    },
    /// It cannot be opened for another reason.
    #[error("{store} cannot be opened: {why}; {remedy}")]
    Unusable {
        /// The file or database.
        store: String,
        /// What went wrong.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl OpenError {
    /// Whether it may go by without anybody changing a setting.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

fn in_brackets(pid: Option<&u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
