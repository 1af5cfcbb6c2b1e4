//! A disk that is small enough to be filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::watchdog::Watchdog;

static DISKS: AtomicU32 = AtomicU32::new(0);

/// A file system in memory, gone when the value is.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    _watchdog: Watchdog,
}

impl SmallDisk {
    /// One of so many megabytes; nothing where this process may not mount any, which is said on stderr.
    #[expect(clippy::print_stderr, reason = "what is not tested is said loudly")]
    pub fn of_megabytes(size: u32) -> Option<Self> {
        let count = DISKS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("membership-disk-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}m,mode=755"), "tmpfs"]).arg(&folder);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            fs::remove_dir(&folder).ok();
            eprintln!("SKIPPED: a full disk cannot be tested, since only root may mount one: {mount:?}");
            return None;
        }
        let watchdog = Watchdog::over(&folder, r#"umount --lazy "$2"; rmdir "$2""#);
        Some(Self { folder, _watchdog: watchdog })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("the disk can be written");
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes room again.
    pub fn clear(&self) {
        fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.folder).output().ok();
        fs::remove_dir(&self.folder).ok();
    }
}
