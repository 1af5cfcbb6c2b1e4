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

fn in_brackets(pid: Option<&u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
