//! A disk that is small enough to be filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Takes the disk away when the test has gone without doing it. `$1` is the test's process, `$2` the folder.
const WATCHDOG: &str = r#"
while kill -0 "$1" && test -d "$2"; do sleep 0.3; done
test -d "$2" || exit 0
umount --lazy "$2"
rmdir "$2"
"#;

static DISKS: AtomicU32 = AtomicU32::new(0);

/// A file system in memory, gone when the value is.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
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
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        let disk = Self { folder };
        if !mounted {
            eprintln!("SKIPPED: a full disk cannot be tested, since only root may mount one: {mount:?}");
            return None;
        }
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG, "watchdog", &std::process::id().to_string()]).arg(&disk.folder);
        watchdog.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut watchdog, 0);
        watchdog.spawn().expect("the watchdog starts");
        Some(disk)
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
