//! A store in a file.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use migrations::SQLITE_VERSION;
use rusqlite::{Connection, ErrorCode};

use super::Finding;
use crate::sqlite::{connect, lock_file, version};

/// How long looking for damage takes at most, unless all of the file is to be looked at.
const PATIENCE: Duration = Duration::from_secs(10);
/// Less is soon used up, and then nothing can be acknowledged.
const LITTLE: u64 = 1024 * 1024 * 1024;
const VERY_LITTLE: u64 = 64 * 1024 * 1024;
const QUICK_CHECK: &str = "PRAGMA quick_check(1)";

pub(super) fn examine(path: &Path, deep: bool) -> Vec<Finding> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(data) if data.is_file() => {}
        Ok(_) => {
            return vec![Finding::problem("store", format!("{shown} is not a file"), "correct DATABASE_URL")];
        }
        Err(why) if why.kind() == ErrorKind::NotFound => {
            let remedy = "start the service once to create it, or correct DATABASE_URL";
            return vec![Finding::problem("store", format!("there is no database at {shown}"), remedy)];
        }
        Err(why) => {
            let remedy = "see that this user may read the file and its folder";
            return vec![Finding::problem("store", format!("{shown} cannot be read: {why}"), remedy)];
        }
    }
    let mut findings = vec![permissions(path), lock(path), space(path)];
    match connect(path).and_then(|connection| version(&connection).map(|version| (connection, version))) {
        Ok((connection, version)) => {
            findings.insert(0, Finding::ok("store", format!("SQLite {} at {shown}", rusqlite::version())));
            findings.push(tables(version));
            findings.push(damage(&connection, deep));
        }
        Err(why) => {
            let remedy =
                "see that it is a database of this service and that its disk works; else restore a backup";
            findings.insert(0, Finding::problem("store", format!("{shown} cannot be opened: {why}"), remedy));
        }
    }
    findings
}

/// It holds e-mail addresses, so only its owner may read it; that goes for the files beside it too.
fn permissions(path: &Path) -> Finding {
    let files = ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", path.display())));
    let open = |file: &&PathBuf| fs::metadata(file).is_ok_and(|data| data.permissions().mode() & 0o077 != 0);
    let open: Vec<_> = files.iter().filter(open).map(|file| file.display().to_string()).collect();
    if open.is_empty() {
        return Finding::ok("permissions", "only its owner can read it");
    }
    let open = open.join(" ");
    Finding::problem(
        "permissions",
        format!("other users of this machine can read or write {open}, which hold e-mail addresses"),
        format!("chmod 600 {open}"),
    )
}

/// Who may write. The lock itself is not tried: a service that starts at that moment would be refused.
fn lock(path: &Path) -> Finding {
    let Ok(file) = lock_file(path) else { return Finding::ok("lock", "nobody writes to it") };
    let pid: Option<u32> = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    let held = fs::metadata(&file).ok().zip(fs::read_to_string("/proc/locks").ok()).map(|(data, locks)| {
        let node = format!(":{}", data.ino());
        let is_it =
            |line: &str| line.contains(" FLOCK ") && line.split(' ').any(|word| word.ends_with(&node));
        locks.lines().any(is_it)
    });
    match (held, pid) {
        (Some(true), Some(pid)) => Finding::ok("lock", format!("process {pid} runs and writes to it")),
        (Some(true), None) => Finding::ok("lock", "a process runs and writes to it"),
        (None, Some(pid)) if Path::new(&format!("/proc/{pid}")).exists() => {
            Finding::ok("lock", format!("process {pid} wrote to it last, and runs"))
        }
        (_, Some(pid)) => Finding::ok(
            "lock",
            format!(
                "nobody writes to it; process {pid} did, and ended without being asked to, which is harmless"
            ),
        ),
        (_, None) => Finding::ok("lock", "nobody writes to it"),
    }
}

fn space(path: &Path) -> Finding {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let free = match rustix::fs::statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(why) => {
            let what = format!("the free space of {} is not known: {why}", folder.display());
            return Finding::warning("disk", what, "see that this user may read the folder");
        }
    };
    let what = format!("{} MiB are free at {}", free / (1024 * 1024), folder.display());
    let remedy = "make room, or move the database to a larger disk; when it is full, no delivery is taken";
    match free {
        0..VERY_LITTLE => Finding::problem("disk", what, remedy),
        VERY_LITTLE..LITTLE => Finding::warning("disk", what, remedy),
        _ => Finding::ok("disk", what),
    }
}

fn tables(version: usize) -> Finding {
    match version.cmp(&SQLITE_VERSION) {
        std::cmp::Ordering::Equal => Finding::ok("tables", format!("up to date (version {version})")),
        std::cmp::Ordering::Less => Finding::problem(
            "tables",
            format!("those of an older release: version {version}, this one needs {SQLITE_VERSION}"),
            "run membership migrate, or start the service, which does the same",
        ),
        std::cmp::Ordering::Greater => Finding::problem(
            "tables",
            format!("those of a newer release: version {version}, this one knows {SQLITE_VERSION}"),
            "use the release that wrote them, or a newer one",
        ),
    }
}

fn damage(connection: &Connection, deep: bool) -> Finding {
    let interrupt = connection.get_interrupt_handle();
    if !deep {
        // Ends with the process, and interrupting a connection that has gone does nothing.
        drop(thread::Builder::new().spawn(move || {
            thread::sleep(PATIENCE);
            interrupt.interrupt();
        }));
    }
    let remedy =
        "stop the service, keep a copy of the file, and restore the last backup (docs/operations.md)";
    match connection.query_row(QUICK_CHECK, [], |row| row.get::<_, String>(0)) {
        Ok(verdict) if verdict == "ok" => Finding::ok("integrity", "the file is sound (quick_check)"),
        Ok(damage) => {
            let first = damage.lines().next().unwrap_or_default();
            Finding::problem("integrity", format!("the file is damaged: {first}"), remedy)
        }
        Err(why) if why.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Finding::ok(
            "integrity",
            format!("no damage was found in {} seconds; --deep looks at all of it", PATIENCE.as_secs()),
        ),
        Err(why) => {
            Finding::problem("integrity", format!("the file cannot be looked through: {why}"), remedy)
        }
    }
}
