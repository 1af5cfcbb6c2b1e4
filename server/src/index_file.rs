//! The file that the access index is kept in between starts. A cache: without it, or with any doubt about it, the log is read
//! from its first event.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::ports::EventFeed;
use projections::access_index::{AccessIndex, Snapshot, decode};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often the index is written, if enough has changed.
const EVERY: Duration = Duration::from_mins(5);
/// How many events a start may have to read after the file was read.
const ENOUGH: u64 = 1_000;

/// Where the index is kept, and how much of it is.
pub(crate) struct IndexFile {
    path: PathBuf,
    /// How many events the index had taken in when it was last written.
    written: AtomicU64,
}

impl IndexFile {
    /// The file at `path`, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, written: AtomicU64::new(0) }
    }

    /// What the file holds, if it is whole, of this version and of this log. Otherwise one line says why not.
    pub(crate) async fn load(&self, feed: &dyn EventFeed) -> Option<Snapshot> {
        match self.read(feed).await {
            Ok(snapshot) => {
                if let Some(snapshot) = &snapshot {
                    let (members, position) = (snapshot.members(), snapshot.last().position);
                    tracing::info!(file = %self.path.display(), members, %position, "access index read from its file");
                }
                snapshot
            }
            Err(why) => {
                let file = self.path.display();
                tracing::warn!(%file, why, "access index not read from its file; reading the whole log instead");
                None
            }
        }
    }

    async fn read(&self, feed: &dyn EventFeed) -> Result<Option<Snapshot>, String> {
        let path = self.path.clone();
        let snapshot = spawn_blocking(move || match fs::read(path) {
            Ok(bytes) => decode(&bytes).map(Some).map_err(|why| why.to_string()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why.to_string()),
        });
        let Some(snapshot) = snapshot.await.map_err(|why| why.to_string())?? else { return Ok(None) };
        match snapshot.last().is_in(feed).await {
            Ok(true) => Ok(Some(snapshot)),
            Ok(false) => Err("the last event it knows of is not in this log".to_owned()),
            Err(why) => Err(why.to_string()),
        }
    }

    /// Writes the index now and then, until the task is dropped.
    pub(crate) async fn keep(self: Arc<Self>, index: Arc<AccessIndex>) {
        loop {
            sleep(EVERY).await;
            self.save(&index, ENOUGH).await;
        }
    }

    /// Writes the index, if so many events at least have been taken in since it was last written.
    pub(crate) async fn save(self: &Arc<Self>, index: &Arc<AccessIndex>, enough: u64) {
        let changes = index.changes();
        if changes.saturating_sub(self.written.load(Ordering::Relaxed)) < enough {
            return;
        }
        let (path, index) = (self.path.clone(), index.clone());
        let written = spawn_blocking(move || match index.snapshot() {
            Some(bytes) => replace(&path, &bytes),
            None => Ok(()),
        });
        let file = self.path.display();
        match written.await {
            Ok(Ok(())) => self.written.store(changes, Ordering::Relaxed),
            Ok(Err(error)) => {
                tracing::warn!(%file, %error, "access index not written; the next start takes longer");
            }
            Err(error) => {
                tracing::error!(%file, %error, "access index not written; the next start takes longer");
            }
        }
    }
}

/// Puts a file with these bytes in the place of another, so that at any moment, also after a power cut, either is there and
/// whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.to_owned().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // It tells who has which subscriptions.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        for bytes in [&b"first and longer"[..], b"second"] {
            replace(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert!(replace(&folder.path().join("nowhere/index"), b"").is_err());
    }
}
