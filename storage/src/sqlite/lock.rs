//! The lock that makes a second writing process impossible.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Held while its process may write. The operating system lets go of it when the process ends, however it ends.
pub(super) struct Lock(File);

/// Who has the lock.
pub(super) enum Locked {
    /// This process, until the value is dropped.
    Mine(Lock),
    /// Another one.
    Taken {
        /// Its id, where the file tells.
        pid: Option<u32>,
    },
}

impl Lock {
    /// Tries to lock the database at `path`.
    pub(super) fn take(path: &Path) -> io::Result<Locked> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(lock_file(path)?)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Locked::Mine(Self(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let told = file.read_to_string(&mut text);
                Ok(Locked::Taken { pid: told.ok().and_then(|_| text.trim().parse().ok()) })
            }
            Err(TryLockError::Error(why)) => Err(why),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays: whoever deleted it could delete one that somebody else has just locked.
        let emptied = self.0.set_len(0).and_then(|()| self.0.rewind());
        if let Err(why) = emptied.and_then(|()| self.0.unlock()) {
            tracing::debug!(%why, "the lock is released when the process ends");
        }
    }
}

/// Beside the file itself, whatever name it was opened by.
pub(crate) fn lock_file(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.canonicalize()?.into_os_string();
    name.push(".lock");
    Ok(name.into())
}
